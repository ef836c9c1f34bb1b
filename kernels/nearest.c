/* The nearest centre: CPU code and dispatch. See nearest.h, and nearest_pack.h for what is
 * multiplied.
 *
 *   task: up to 8 strips of 16 rows
 *     for each piece of up to 256 columns, for each group of centres     of 96 KiB: stays in L2
 *       for each strip: pack its piece                                   16 KiB: stays in L1
 *         for each tile of up to six centres: scores, added to those of the pieces before
 *         after the last piece: each row keeps its best score, whose it is, and the second best
 *     a row whose second best is below what the best is at least has its label
 *     the others once more: float64 for the centres that are not below
 *
 * What is kept of scores is the same for the 16 rows of a strip, so it is vector code without a
 * branch: 12 instructions a centre beside the 2 (d + 2) of its products. */
#include "kernels/nearest.h"

#include <math.h>
#include <stdatomic.h>
#include "host/base/at_most.h"
#include "host/base/divide_up.h"
#include "kernels/cpu.h"
#include "kernels/nearest_pack.h"
#include "kernels/own_distance.h"
#include "kernels/squared_distance.h"

/* ---- CPU: scores ---------------------------------------------------------------------------- */

#define STRIPS        8
#define ROWS_PER_TASK (STRIPS * GEMM_PANEL)
#define GROUP_BYTES   (96 << 10)
/* Centres whose scores are made before they are looked at. */
#define CHUNK 48
/* Centres whose scores may stand half summed, if columns are more than one piece. */
#define RANGE        2048
#define PANEL_FLOATS ((NEAREST_PIECE + NEAREST_EXTRA) * GEMM_PANEL)
#define PAIRS        64

/* Sixteen rows. */
struct strip {
    float best[GEMM_PANEL], second[GEMM_PANEL]; /* upper bounds */
    int32_t place[GEMM_PANEL];                  /* of the best */
    float square[GEMM_PANEL], reach[GEMM_PANEL];
};

_Static_assert(NEAREST_BEST_ROWS == ROWS_PER_TASK, "the rows of one call are those of a task");

/* Rows and centres whose distance is wanted. */
struct pairs {
    int n;
    const float *x[PAIRS], *centre[PAIRS];
    int32_t row[PAIRS], label[PAIRS];
    double distance[PAIRS];
};

/* A worker's scratch. */
struct workspace {
    float panels[STRIPS][PANEL_FLOATS];
    float chunk[CHUNK * GEMM_PANEL];
    float partial[STRIPS * RANGE * GEMM_PANEL];
    struct strip strips[STRIPS];
    struct pairs pairs;
};

_Static_assert(sizeof(struct workspace) <= DEVICE_SCRATCH_BYTES, "a worker's scratch holds it");
_Static_assert(PANEL_FLOATS % 16 == 0 && CHUNK % GEMM_TILE_ROWS == 0, "panels lie at cache lines");

struct nearest_job {
    const struct device *device;
    const struct gemm_tiles *tiles;
    const struct nearest_centres *centres;
    int32_t *label;
    double *distance;
    const float *x;
    int n, rows_per_task;
    atomic_llong n_rechecked;
    const struct nearest_bounds *bounds; /* of nearest_bounded_fwd; or NULL */
};

/* Looks at the scores (n, GEMM_PANEL) of a strip's rows and the centres at the places from `first`.
 * Places come in ascending order. */
typedef void visit_scores(void *context, struct strip *strip, const float *scores, int first,
                          int n);

/* Rows that are scored together. */
struct scoring {
    const struct nearest_job *job;
    struct workspace *work;
    const float *const *rows; /* n_strips * GEMM_PANEL */
    int n_strips;
    int n_places; /* centres they are compared with: the first ones */
    visit_scores *visit;
    void *context;
    const float *next[GEMM_PANEL]; /* what is packed next */
    struct gemm_ahead ahead;
};

/* One tile: scores (n, GEMM_PANEL) of a strip's piece and the centres at n places from `place`. */
static void multiply_tile(struct scoring *scoring, float *scores, const float *panel, int depth,
                          int piece, int place, int n)
{
    const struct nearest_centres *centres = scoring->job->centres;
    const struct gemm_tiles *tiles = scoring->job->tiles;
    const float *centre = nearest_panel_row(centres, piece, place);
    gemm_tile_ahead *tile = tiles->ahead_by_rows[n - 1];
    if (tile && scoring->ahead.row != scoring->ahead.end)
        tile(scores, GEMM_PANEL, centre, centres->stride, panel, depth, piece > 0, &scoring->ahead);
    else
        tiles->by_rows[n - 1](scores, GEMM_PANEL, centre, centres->stride, panel, depth, piece > 0);
}

/* The products of a strip's piece with the centres at n places from `first`. `partial`: where the
 * scores of these stand from piece to piece; NULL where there is one piece. */
static void multiply_group(struct scoring *scoring, struct strip *strip, const float *panel,
                           float *partial, int piece, int first, int n)
{
    const struct nearest_centres *centres = scoring->job->centres;
    const struct gemm_tiles *tiles = scoring->job->tiles;
    bool last = piece + 1 == centres->n_pieces;
    int depth = nearest_piece_columns(centres, piece) + (last ? NEAREST_EXTRA : 0);
    int n_tiles = (int)divide_up(n, tiles->largest), tiles_per_chunk = CHUNK / tiles->largest;
    int size = n / n_tiles, n_larger = n % n_tiles; /* the first n_larger tiles have one more */
    for (int t = 0, next = 0; t < n_tiles;) {
        int begin = next, end = at_most(t + tiles_per_chunk, n_tiles);
        float *scores = partial ? partial + (size_t)begin * GEMM_PANEL : scoring->work->chunk;
        for (; t < end; t++) {
            int at = next;
            next += size + (t < n_larger);
            multiply_tile(scoring, scores + (size_t)(at - begin) * GEMM_PANEL, panel, depth, piece,
                          first + at, next - at);
        }
        if (last)
            scoring->visit(scoring->context, strip, scores, first + begin, next - begin);
    }
}

static void pack_strip(const struct scoring *scoring, int s, float *panel, int piece)
{
    const struct nearest_centres *centres = scoring->job->centres;
    struct strip *strip = &scoring->work->strips[s];
    int n = nearest_piece_columns(centres, piece);
    for (int r = 0; piece == 0 && r < GEMM_PANEL; r++)
        strip->square[r] = 0;
    nearest_pack_rows(scoring->job->device->isa, panel, scoring->rows + s * GEMM_PANEL, centres,
                      piece * centres->piece, n, strip->square);
    if (piece + 1 < centres->n_pieces)
        return;
    panel += n * GEMM_PANEL;
    for (int r = 0; r < GEMM_PANEL; r++)
        panel[r] = 1;
    nearest_reach(centres, strip->reach, strip->square);
    for (int r = 0; r < GEMM_PANEL; r++)
        panel[GEMM_PANEL + r] = strip->reach[r];
}

/* While strip s is multiplied, its follower is fetched: the next strip of the same piece, or the
 * first one of the next piece. */
static void look_ahead(struct scoring *scoring, int s, int piece)
{
    const struct nearest_centres *centres = scoring->job->centres;
    bool same = s + 1 < scoring->n_strips;
    int next = same ? piece : piece + 1;
    scoring->ahead = (struct gemm_ahead){scoring->next, scoring->next, 0, 0};
    if (next == centres->n_pieces)
        return;
    for (int r = 0; r < GEMM_PANEL; r++)
        scoring->next[r] = scoring->rows[(same ? s + 1 : 0) * GEMM_PANEL + r] +
                           (size_t)next * (size_t)centres->piece;
    scoring->ahead.end += GEMM_PANEL;
    scoring->ahead.n_columns = nearest_piece_columns(centres, next);
    /* One line of each at once: their pages are looked up side by side. */
    for (int r = 0; r < GEMM_PANEL; r++)
        __builtin_prefetch(scoring->next[r], 0, 2);
}

/* All rows times the centres at n places from `first`. Where one group holds them, a strip's panel
 * is used once and its memory again for the next, so that it does not leave L1. */
static void score_range(struct scoring *scoring, int first, int n)
{
    const struct nearest_centres *centres = scoring->job->centres;
    struct workspace *work = scoring->work;
    int most = (int)(GROUP_BYTES / (centres->stride * sizeof(float)));
    int n_groups = (int)divide_up(n, most), group = (int)divide_up(n, n_groups);
    for (int piece = 0; piece < centres->n_pieces; piece++)
        for (int c = 0; c < n; c += group)
            for (int s = 0; s < scoring->n_strips; s++) {
                float *panel = work->panels[n_groups == 1 ? 0 : s];
                size_t place = (size_t)s * RANGE + (size_t)c;
                if (c == 0) {
                    pack_strip(scoring, s, panel, piece);
                    look_ahead(scoring, s, piece);
                }
                multiply_group(scoring, &work->strips[s], panel,
                               centres->n_pieces == 1 ? NULL : work->partial + place * GEMM_PANEL,
                               piece, first + c, at_most(n - c, group));
            }
}

static void score(struct scoring *scoring)
{
    const struct nearest_centres *centres = scoring->job->centres;
    int n = scoring->n_places, range = centres->n_pieces == 1 ? n : RANGE;
    for (int c = 0; c < n; c += at_most(n - c, range))
        score_range(scoring, c, at_most(n - c, range));
}

/* ---- CPU: the best of them ------------------------------------------------------------------- */

static void keep_best_portable(void *context, struct strip *strip, const float *scores, int first,
                               int n)
{
    (void)context;
    for (int c = 0; c < n; c++)
        for (int r = 0; r < GEMM_PANEL; r++) {
            float value = scores[c * GEMM_PANEL + r];
            if (value > strip->best[r]) {
                strip->second[r] = strip->best[r];
                strip->best[r] = value;
                strip->place[r] = first + c;
            } else if (value > strip->second[r])
                strip->second[r] = value;
        }
}

#if CPU_X86
struct best {
    __m256 best, second, place;
};

TARGET_AVX2
static inline struct best load_best(const struct strip *strip, int r)
{
    return (struct best){_mm256_loadu_ps(strip->best + r), _mm256_loadu_ps(strip->second + r),
                         _mm256_loadu_ps((const float *)(strip->place + r))};
}

TARGET_AVX2
static inline void store_best(struct strip *strip, int r, struct best b)
{
    _mm256_storeu_ps(strip->best + r, b.best);
    _mm256_storeu_ps(strip->second + r, b.second);
    _mm256_storeu_ps((float *)(strip->place + r), b.place);
}

TARGET_AVX2
static inline struct best better(struct best b, __m256 score, __m256i place)
{
    __m256 is_best = _mm256_cmp_ps(score, b.best, _CMP_GT_OQ);
    b.second = _mm256_max_ps(b.second, _mm256_min_ps(b.best, score));
    b.best = _mm256_max_ps(b.best, score);
    b.place = _mm256_blendv_ps(b.place, _mm256_castsi256_ps(place), is_best);
    return b;
}

TARGET_AVX2
static void keep_best_avx2(void *context, struct strip *strip, const float *scores, int first,
                           int n)
{
    (void)context;
    struct best left = load_best(strip, 0), right = load_best(strip, 8);
    __m256i place = _mm256_set1_epi32(first);
    for (int c = 0; c < n; c++) {
        left = better(left, _mm256_loadu_ps(scores + c * GEMM_PANEL), place);
        right = better(right, _mm256_loadu_ps(scores + c * GEMM_PANEL + 8), place);
        place = _mm256_add_epi32(place, _mm256_set1_epi32(1));
    }
    store_best(strip, 0, left);
    store_best(strip, 8, right);
}
#endif

static visit_scores *keep_best(enum cpu_isa isa)
{
#if CPU_X86
    if (isa == CPU_AVX2)
        return keep_best_avx2;
#endif
    (void)isa;
    return keep_best_portable;
}

/* ---- CPU: near ties ------------------------------------------------------------------------- */

/* Up to 16 rows that float64 decides. */
struct recheck {
    const struct nearest_job *job;
    struct pairs *pairs;
    float least[GEMM_PANEL]; /* scores below are not looked at */
    int n;
    const float *x[GEMM_PANEL];
    int index[GEMM_PANEL]; /* the row's number, from job->x */
    double distance[GEMM_PANEL];
    int32_t label[GEMM_PANEL];
};

static void measure_pairs(const struct nearest_job *job, struct pairs *pairs)
{
    squared_distance_pairs_cpu(job->device->isa, pairs->distance, pairs->x, pairs->centre, pairs->n,
                               job->centres->d);
}

/* The least distance, the lowest index in a tie; NaN and infinities are passed by. */
static void settle(struct recheck *recheck)
{
    struct pairs *pairs = recheck->pairs;
    measure_pairs(recheck->job, pairs);
    for (int p = 0; p < pairs->n; p++) {
        int r = pairs->row[p];
        double distance = pairs->distance[p], before = recheck->distance[r];
        if (distance < before || (distance == before && pairs->label[p] < recheck->label[r]))
            recheck->distance[r] = distance, recheck->label[r] = pairs->label[p];
    }
    pairs->n = 0;
}

static void add_pair(struct recheck *recheck, int r, int place)
{
    struct pairs *pairs = recheck->pairs;
    const struct nearest_centres *centres = recheck->job->centres;
    int c = nearest_at_place(centres, place);
    if (pairs->n == PAIRS)
        settle(recheck);
    int p = pairs->n++;
    pairs->x[p] = recheck->x[r];
    pairs->centre[p] = centres->centres + (size_t)c * (size_t)centres->d;
    pairs->row[p] = r, pairs->label[p] = c;
}

static void list_candidates(void *context, struct strip *strip, const float *scores, int first,
                            int n)
{
    (void)strip;
    struct recheck *recheck = context;
    for (int c = 0; c < n; c++) {
        const float *score = scores + c * GEMM_PANEL;
        int any = 0;
        for (int r = 0; r < GEMM_PANEL; r++)
            any |= score[r] >= recheck->least[r];
        for (int r = 0; any && r < recheck->n; r++)
            if (score[r] >= recheck->least[r])
                add_pair(recheck, r, first + c);
    }
}

static void write_labels(struct recheck *recheck)
{
    settle(recheck);
    for (int r = 0; r < recheck->n; r++)
        recheck->job->label[recheck->index[r]] = recheck->label[r];
    recheck->n = 0;
}

/* Decides the rows that were added by scoring them again. */
static void recheck_rows(struct recheck *recheck, struct workspace *work)
{
    if (recheck->n == 0)
        return;
    for (int r = recheck->n; r < GEMM_PANEL; r++)
        recheck->x[r] = recheck->x[0], recheck->least[r] = INFINITY;
    struct scoring scoring = {.job = recheck->job, .work = work, .rows = recheck->x};
    scoring.n_strips = 1, scoring.n_places = recheck->job->centres->k;
    scoring.visit = list_candidates, scoring.context = recheck;
    score(&scoring);
    write_labels(recheck);
}

static void add_row(struct recheck *recheck, int i)
{
    int r = recheck->n++;
    recheck->x[r] = recheck->job->x + (size_t)i * (size_t)recheck->job->centres->d;
    recheck->index[r] = i;
    recheck->distance[r] = INFINITY;
    recheck->label[r] = -1;
}

/* A row of which float32 tells nothing: it is not finite, or it or a centre is too long. */
static void compare_with_all(const struct nearest_job *job, struct workspace *work, int i)
{
    struct recheck recheck = {.job = job, .pairs = &work->pairs};
    add_row(&recheck, i);
    for (int c = 0; c < job->centres->k; c++)
        add_pair(&recheck, 0, c);
    write_labels(&recheck);
}

/* ---- CPU: rows ------------------------------------------------------------------------------- */

/* The largest float that is not above. */
static float rounded_down(double value)
{
    float rounded = (float)value;
    return (double)rounded > value ? nextafterf(rounded, -INFINITY) : rounded;
}

/* What the scores of row r of a strip say of its distances: `least`, as nearest_least has it. */
static void set_bounds(const struct nearest_job *job, int i, const struct strip *strip, int r,
                       double least)
{
    if (!job->bounds)
        return;
    const struct nearest_bounds *bounds = job->bounds;
    bounds->upper[i] = nearest_upper(job->centres, strip->square[r], least);
    bounds->lower[i] = nearest_lower(job->centres, strip->square[r], strip->second[r]);
    if (bounds->between)
        bounds->between[i] = bounds->lower[i] - bounds->upper[i];
}

/* Nothing is known of the row's distances: it is looked at again next time. */
static void forget_bounds(const struct nearest_job *job, int i)
{
    const struct nearest_bounds *bounds = job->bounds;
    if (!bounds)
        return;
    bounds->upper[i] = INFINITY, bounds->lower[i] = 0;
    if (bounds->between)
        bounds->between[i] = 0;
}

/* Scores n <= ROWS_PER_TASK rows of index; their strips say what is best. `rows`: memory for as
 * many pointers, which stay what the strips are of. */
static void score_rows(const struct nearest_job *job, struct workspace *work, const float **rows,
                       const int32_t *index, int n, int n_places)
{
    const struct nearest_centres *centres = job->centres;
    struct scoring scoring = {.job = job, .work = work, .rows = rows, .n_places = n_places};
    scoring.n_strips = (int)divide_up(n, GEMM_PANEL);
    for (int r = 0; r < scoring.n_strips * GEMM_PANEL; r++) {
        /* The last row stands in behind it. */
        rows[r] = job->x + (size_t)index[at_most(r, n - 1)] * (size_t)centres->d;
        struct strip *strip = &work->strips[r / GEMM_PANEL];
        strip->best[r % GEMM_PANEL] = strip->second[r % GEMM_PANEL] = -INFINITY;
        strip->place[r % GEMM_PANEL] = 0;
    }
    scoring.visit = keep_best(job->device->isa);
    score(&scoring);
}

void nearest_score_rows(struct device *device, int worker, struct nearest_best *out, const float *x,
                        const struct nearest_centres *centres, int n_places, const int32_t *index,
                        int n)
{
    struct nearest_job job = {.device = device, .centres = centres, .x = x};
    struct workspace *work = device_scratch(device, worker);
    const float *rows[ROWS_PER_TASK];
    job.tiles = gemm_tiles(device->isa);
    score_rows(&job, work, rows, index, n, n_places);
    for (int i = 0; i < n; i++) {
        const struct strip *strip = &work->strips[i / GEMM_PANEL];
        int r = i % GEMM_PANEL;
        out[i] = (struct nearest_best){strip->best[r], strip->second[r], strip->place[r],
                                       strip->square[r], strip->reach[r]};
    }
}

/* Labels of n <= ROWS_PER_TASK rows. Returns how many needed float64. */
static int assign_rows(struct nearest_job *job, struct workspace *work, const int32_t *index, int n)
{
    const struct nearest_centres *centres = job->centres;
    const float *rows[ROWS_PER_TASK];
    struct recheck recheck = {.job = job, .pairs = &work->pairs};
    int n_rechecked = 0;
    score_rows(job, work, rows, index, n, centres->k);

    float undecided[ROWS_PER_TASK]; /* what a candidate's score is at least; NaN: no matter */
    for (int i = 0; i < n; i++) {
        const struct strip *strip = &work->strips[i / GEMM_PANEL];
        int r = i % GEMM_PANEL;
        job->label[index[i]] = nearest_at_place(centres, strip->place[r]);
        undecided[i] = NAN;
        if (!nearest_is_bounded(strip->square[r])) {
            undecided[i] = -INFINITY;
            continue;
        }
        double bound = nearest_least(centres, strip->place[r], strip->best[r], strip->reach[r],
                                     strip->square[r]);
        set_bounds(job, index[i], strip, r, bound);
        if (!(strip->second[r] < bound))
            undecided[i] = rounded_down(bound);
    }
    for (int i = 0; i < n; i++) { /* the strips' memory is used again from here on */
        if (isnan(undecided[i]))
            continue;
        n_rechecked++;
        forget_bounds(job, index[i]);
        if (undecided[i] == -INFINITY) {
            compare_with_all(job, work, index[i]);
            continue;
        }
        recheck.least[recheck.n] = undecided[i];
        add_row(&recheck, index[i]);
        if (recheck.n == GEMM_PANEL)
            recheck_rows(&recheck, work);
    }
    recheck_rows(&recheck, work);
    return n_rechecked;
}

static void measure_rows(const struct nearest_job *job, int first, int n)
{
    int32_t index[ROWS_PER_TASK];
    double distance[ROWS_PER_TASK];
    int n_labelled = 0;
    for (int i = first; i < first + n; i++) {
        job->distance[i] = INFINITY;
        if (job->label[i] >= 0)
            index[n_labelled++] = i;
    }
    own_distance_rows_cpu(job->device->isa, distance, job->x, job->centres->centres, job->label,
                          index, n_labelled, job->centres->d);
    for (int p = 0; p < n_labelled; p++)
        job->distance[index[p]] = distance[p];
}

/* Labels of any number of rows. Returns how many needed float64. */
static int label_rows(struct nearest_job *job, struct workspace *work, const int32_t *index, int n)
{
    int n_rechecked = 0;
    work->pairs.n = 0;
    for (int at = 0; at < n && job->centres->bounded; at += ROWS_PER_TASK)
        n_rechecked += assign_rows(job, work, index + at, at_most(n - at, ROWS_PER_TASK));
    for (; n_rechecked < n && !job->centres->bounded; n_rechecked++) {
        forget_bounds(job, index[n_rechecked]);
        compare_with_all(job, work, index[n_rechecked]);
    }
    return n_rechecked;
}

int nearest_label_rows(struct device *device, int worker, int32_t *label, const float *x,
                       const struct nearest_centres *centres, const struct nearest_bounds *bounds,
                       const int32_t *index, int n)
{
    struct nearest_job job = {
        .device = device, .centres = centres, .label = label, .x = x, .bounds = bounds};
    job.tiles = gemm_tiles(device->isa);
    return label_rows(&job, device_scratch(device, worker), index, n);
}

static void nearest_task(void *context, int task, int worker)
{
    struct nearest_job *job = context;
    struct workspace *work = device_scratch(job->device, worker);
    int first = task * job->rows_per_task, n = at_most(job->n - first, job->rows_per_task);
    int32_t index[ROWS_PER_TASK] = {0};
    for (int i = 0; i < n; i++)
        index[i] = first + i;
    int n_rechecked = label_rows(job, work, index, n);
    if (job->distance)
        measure_rows(job, first, n);
    if (n_rechecked)
        atomic_fetch_add_explicit(&job->n_rechecked, n_rechecked, memory_order_relaxed);
}

void nearest_fwd_cpu(struct device *device, int32_t *label, double *distance, const float *x,
                     const struct nearest_centres *centres, int n, int64_t *n_rechecked)
{
    struct nearest_job job = {
        .device = device, .centres = centres, .label = label, .distance = distance, .x = x, .n = n};
    job.tiles = gemm_tiles(device->isa);
    /* Several tasks for each worker, where there are rows enough. */
    int strips = n / (4 * threads_size(device->threads) * GEMM_PANEL);
    job.rows_per_task = at_least(at_most(strips, STRIPS), 1) * GEMM_PANEL;
    threads_run(device->threads, (int)divide_up(n, job.rows_per_task), nearest_task, &job);
    if (n_rechecked)
        *n_rechecked += atomic_load(&job.n_rechecked);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status nearest_fwd(struct device *device, int32_t *label, double *distance, const float *x,
                        const struct nearest_centres *centres, int n, int64_t *n_rechecked,
                        struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nearest_fwd_cpu(device, label, distance, x, centres, n, n_rechecked);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("nearest", err);
}
