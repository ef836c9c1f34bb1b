/* Sums of clusters: CPU code and dispatch.
 *
 *   chunk: at most 262,144 rows
 *     parts of 4,096 rows, in parallel: find the moves in them
 *     windows, parts with enough moves together, in parallel: sort by cluster, share out
 *     window after window: its shares, in parallel: some clusters, or some columns of one
 *
 * A move is a row that comes to a cluster or leaves it; a row that changes is two. Sorted by
 * cluster, with rows ascending, four are added at a time to a sum that is loaded and stored once,
 * and each element has one writer. A cluster with too many of the moves is divided by columns.
 *
 * Rows are then read in another order than they lie in, and from one to the next there is little
 * that the processor guesses. So they are fetched 2 KB ahead of their use, and a window is 4 MB of
 * rows: few enough pages for the TLB. But it has 16 moves a cluster, or else sums would pass
 * through the caches as often as rows. A single thread with short rows, and sums that stay in its
 * cache, is faster with rows as they lie.
 *
 * What is sequential: windows follow one another, and so do a cluster's rows. All rows in one
 * cluster, with few columns, are one thread's work. */
#include "kernels/cluster_sums.h"

#include <assert.h>
#include <string.h>
#include "host/base/at_most.h"
#include "host/base/divide_up.h"
#include "kernels/cpu.h"

#define CHUNK 262144
#define PART  4096

#define WINDOW_BYTES (4 << 20)
#define WINDOW_MOVES 16    /* a cluster */
#define MOST_MOVES   65536 /* about: a window is sorted by one thread */

#define SHARES       32         /* of a window, where they are worth a task: */
#define LEAST_SHARE  (16 << 10) /* bytes of rows */
#define LINE         16         /* columns are divided at multiples of it, */
#define WIDE         64         /* and of this where that is enough for the threads */
#define MOST_THREADS 64         /* that a cluster is divided for */
/* With all moves s <= SHARES shares: any two neighbouring runs of clusters have more than a share,
 * and a cluster that has more by itself ends one. Of h such clusters there are at most 2 pieces a
 * thread, and one more each: 2 (s - h) + h + 1 runs and 2 MOST_THREADS + h pieces. */
#define MOST_SHARES (2 * SHARES + 1 + 2 * MOST_THREADS)

#define NARROW   128         /* columns */
#define FEW_SUMS (256 << 10) /* bytes */

#define ROWS_AT_ONCE 4
#define AHEAD_BYTES  2048
#define MOST_AHEAD   32 /* rows */

struct move {
    int32_t cluster;
    uint32_t row; /* twice its place in the chunk, and 1 more where it leaves */
};

/* Moves first .. last-1 of a window, columns begin .. end-1. */
struct share {
    int first, last, begin, end;
};

struct window {
    int first_row, n_parts, n_moves, n_shares;
    const struct move *moves; /* sorted */
    struct share shares[MOST_SHARES];
};

/* A chunk, whose arrays lie in the caller's scratch. */
struct sums_job {
    double *sums;
    int64_t *counts;
    bool *touched;
    const float *x;
    const int32_t *from, *to;
    int n, k, d;
    enum cpu_isa isa;
    int n_threads;
    bool in_order; /* moves are not sorted */

    struct move *moves[2]; /* two for each row: those of a part begin at twice its first row */
    struct window *windows;
    int *n_found; /* moves of each part, in moves[0] */
    int n_windows;
    const struct window *window; /* whose shares are added */
};

/* ---- moves ---------------------------------------------------------------------------------- */

#define COMPARED 16 /* rows at once: most of them stay where they are */

static void find_task(void *context, int part, int worker)
{
    (void)worker;
    const struct sums_job *job = context;
    const int32_t *from = job->from, *to = job->to;
    int first = part * PART, last = first + at_most(job->n - first, PART), n = 0, end;
    struct move *moves = job->moves[0] + 2 * (size_t)first;
    for (int begin = first; begin < last; begin = end) {
        end = begin + at_most(last - begin, COMPARED);
        if (from && memcmp(from + begin, to + begin, (size_t)(end - begin) * sizeof *to) == 0)
            continue;
        for (int i = begin; i < end; i++) {
            int32_t left = from ? from[i] : -1;
            assert(left < job->k && to[i] < job->k);
            if (left == to[i])
                continue;
            if (left >= 0)
                moves[n++] = (struct move){left, 2 * (uint32_t)i + 1};
            if (to[i] >= 0)
                moves[n++] = (struct move){to[i], 2 * (uint32_t)i};
        }
    }
    job->n_found[part] = n;
}

#define DIGIT 11 /* bits that are sorted by at once; their counters are 8 KB */

/* By cluster, those of one in the order they are in: by the lowest digit first, from moves to spare
 * and back again. Returns where they end. */
static struct move *sort_moves(struct move *moves, struct move *spare, int n, int k)
{
    int bits = 1;
    while (bits < 31 && (k - 1) >> bits)
        bits++;
    int width = (int)divide_up(bits, divide_up(bits, DIGIT));
    for (int shift = 0; shift < bits; shift += width) {
        uint32_t place[1 << DIGIT] = {0}, mask = (1u << width) - 1, before = 0;
        for (int i = 0; i < n; i++)
            place[(uint32_t)moves[i].cluster >> shift & mask]++;
        for (uint32_t digit = 0; digit <= mask; digit++) {
            uint32_t size = place[digit];
            place[digit] = before;
            before += size;
        }
        for (int i = 0; i < n; i++)
            spare[place[(uint32_t)moves[i].cluster >> shift & mask]++] = moves[i];
        struct move *sorted = spare;
        spare = moves, moves = sorted;
    }
    return moves;
}

static void add_share(struct window *window, int first, int last, int begin, int end)
{
    if (first == last)
        return;
    assert(window->n_shares < MOST_SHARES);
    window->shares[window->n_shares++] = (struct share){first, last, begin, end};
}

/* How many pieces of columns a cluster with so many of the window's moves is divided into: by its
 * share of the threads' work, or twice that where pieces stay wide. */
static int pieces_of_cluster(const struct sums_job *job, const struct window *window, int moves)
{
    int64_t work = (int64_t)moves * job->n_threads, all = window->n_moves;
    int needed = (int)((work + all - 1) / all), better = (int)((2 * work + all - 1) / all);
    return at_most(at_most(better, at_least(needed, job->d / WIDE)), (int)divide_up(job->d, LINE));
}

/* Clusters one after another until they would be more than a share; one that is more by itself may
 * be divided. */
static void share_out(const struct sums_job *job, struct window *window)
{
    const struct move *moves = window->moves;
    int d = job->d, run = 0; /* where it begins */
    int share = at_least((int)divide_up(window->n_moves, SHARES),
                         at_least(LEAST_SHARE / (int)sizeof *job->x / d, 1));
    for (int i = 0, end; i < window->n_moves; i = end) {
        for (end = i + 1; end < window->n_moves && moves[end].cluster == moves[i].cluster; end++)
            ;
        if (end - run > share) {
            add_share(window, run, i, 0, d);
            run = i;
        }
        if (end - i > share) {
            int columns =
                (int)divide_up(divide_up(d, LINE), pieces_of_cluster(job, window, end - i));
            for (int j = 0; j < d; j += columns * LINE)
                add_share(window, i, end, j, j + at_most(d - j, columns * LINE));
            run = end;
        }
    }
    add_share(window, run, window->n_moves, 0, d);
}

static void sort_task(void *context, int task, int worker)
{
    (void)worker;
    const struct sums_job *job = context;
    struct window *window = &job->windows[task];
    size_t begin = 2 * (size_t)window->first_row;
    struct move *moves = job->moves[0] + begin;
    int part = window->first_row / PART, n = 0;
    for (int i = 0; i < window->n_parts; i++) {
        memmove(moves + n, moves + 2 * PART * i, (size_t)job->n_found[part + i] * sizeof *moves);
        n += job->n_found[part + i];
    }
    if (job->in_order) {
        window->moves = moves;
        add_share(window, 0, n, 0, job->d);
        return;
    }
    window->moves = sort_moves(moves, job->moves[1] + begin, n, job->k);
    share_out(job, window);
}

static void make_windows(struct sums_job *job)
{
    int bytes = WINDOW_BYTES / (int)sizeof *job->x / job->d;
    int moves = at_most(job->k, MOST_MOVES / WINDOW_MOVES) * WINDOW_MOVES;
    int enough = at_most(at_least(bytes, moves), MOST_MOVES);
    struct window *window = NULL;
    job->n_windows = 0;
    for (int part = 0; part * PART < job->n; part++) {
        if (!window || window->n_moves >= enough) {
            window = &job->windows[job->n_windows++];
            window->first_row = part * PART;
            window->n_parts = window->n_moves = window->n_shares = 0;
        }
        window->n_parts++;
        window->n_moves += job->n_found[part];
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* Rows of one cluster, one behind the other: sum[j] += sign * x[j], whose product is exact. */
struct addends {
    const float *x[ROWS_AT_ONCE], *ahead[ROWS_AT_ONCE];
    double sign[ROWS_AT_ONCE];
};

#if CPU_X86
/* n is a constant wherever this is inlined, so that the arrays are registers. */
TARGET_AVX2
static inline __attribute__((always_inline)) void
rows_avx2(double *sum, const struct addends *addends, int columns, int n)
{
    const float *x[ROWS_AT_ONCE], *ahead[ROWS_AT_ONCE];
    __m256d sign[ROWS_AT_ONCE];
    UNROLL
    for (int r = 0; r < n; r++) {
        x[r] = addends->x[r], ahead[r] = addends->ahead[r];
        sign[r] = _mm256_broadcast_sd(&addends->sign[r]);
        _mm_prefetch((const char *)ahead[r], _MM_HINT_T0);
    }
    int j = 0;
    for (; j + 16 <= columns; j += 16) {
        __m256d part[4];
        UNROLL
        for (int q = 0; q < 4; q++)
            part[q] = _mm256_loadu_pd(sum + j + 4 * q);
        UNROLL
        for (int r = 0; r < n; r++) {
            _mm_prefetch((const char *)(ahead[r] + j), _MM_HINT_T0);
            UNROLL
            for (int q = 0; q < 4; q++)
                part[q] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x[r] + j + 4 * q)), sign[r],
                                          part[q]);
        }
        UNROLL
        for (int q = 0; q < 4; q++)
            _mm256_storeu_pd(sum + j + 4 * q, part[q]);
    }
    for (; j + 4 <= columns; j += 4) {
        __m256d part = _mm256_loadu_pd(sum + j);
        UNROLL
        for (int r = 0; r < n; r++)
            part = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x[r] + j)), sign[r], part);
        _mm256_storeu_pd(sum + j, part);
    }
    for (; j < columns; j++) {
        double part = sum[j];
        UNROLL
        for (int r = 0; r < n; r++)
            part += addends->sign[r] * (double)x[r][j];
        sum[j] = part;
    }
}

TARGET_AVX2
static void add_avx2(double *sum, const struct addends *addends, int columns, int n)
{
    if (n == ROWS_AT_ONCE)
        rows_avx2(sum, addends, columns, ROWS_AT_ONCE);
    else
        rows_avx2(sum, addends, columns, 1);
}
#endif

static void add_portable(double *sum, const struct addends *addends, int columns, int n)
{
    for (int r = 0; r < n; r++) {
        const float *x = addends->x[r];
        double sign = addends->sign[r];
        for (int j = 0; j < columns; j++)
            sum[j] += sign * (double)x[j];
    }
}

static const float *row_of(const struct sums_job *job, uint32_t row)
{
    return job->x + (size_t)(row / 2) * (size_t)job->d;
}

static void share_task(void *context, int task, int worker)
{
    (void)worker;
    const struct sums_job *job = context;
    const struct move *moves = job->window->moves;
    struct share share = job->window->shares[task];
    int columns = share.end - share.begin;
    int ahead =
        at_most(at_least(AHEAD_BYTES / (int)sizeof *job->x / columns, ROWS_AT_ONCE), MOST_AHEAD);
    for (int i = share.first, n; i < share.last; i += n) {
        int32_t cluster = moves[i].cluster;
        int64_t difference = 0;
        struct addends addends;
        for (n = 1; n < ROWS_AT_ONCE && i + n < share.last; n++)
            if (moves[i + n].cluster != cluster)
                break;
        n = n < ROWS_AT_ONCE ? 1 : n;
        for (int r = 0; r < n; r++) {
            uint32_t row = moves[i + r].row,
                     next = moves[at_most(i + r + ahead, share.last - 1)].row;
            addends.x[r] = row_of(job, row) + share.begin;
            addends.ahead[r] = row_of(job, next) + share.begin;
            addends.sign[r] = row % 2 ? -1 : 1;
            difference += row % 2 ? -1 : 1;
        }
        double *sum = job->sums + (size_t)cluster * (size_t)job->d + (size_t)share.begin;
#if CPU_X86
        if (job->isa == CPU_AVX2)
            add_avx2(sum, &addends, columns, n);
        else
#endif
            add_portable(sum, &addends, columns, n);
        if (share.begin > 0)
            continue;
        job->counts[cluster] += difference;
        if (job->touched)
            job->touched[cluster] = true;
    }
}

/* ---- chunks --------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t cluster_sums_bytes(int n)
{
    size_t rows = (size_t)at_most(n, CHUNK), parts = (size_t)divide_up((int64_t)rows, PART);
    return 2 * aligned(2 * rows * sizeof(struct move)) + aligned(parts * sizeof(struct window)) +
           aligned(parts * sizeof(int));
}

static void carve(struct sums_job *job, char *scratch, int n)
{
    size_t rows = (size_t)at_most(n, CHUNK), parts = (size_t)divide_up((int64_t)rows, PART);
    for (int i = 0; i < 2; i++) {
        job->moves[i] = (struct move *)(void *)scratch;
        scratch += aligned(2 * rows * sizeof(struct move));
    }
    job->windows = (struct window *)(void *)scratch;
    scratch += aligned(parts * sizeof(struct window));
    job->n_found = (int *)(void *)scratch;
}

void cluster_sums_add_cpu(struct device *device, double *sums, int64_t *counts, bool *touched,
                          const float *x, const int32_t *from, const int32_t *to, int n, int k,
                          int d, void *scratch)
{
    struct sums_job job = {.sums = sums, .counts = counts, .touched = touched, .k = k, .d = d};
    job.isa = device->isa;
    job.n_threads = at_most(threads_size(device->threads), MOST_THREADS);
    job.in_order =
        job.n_threads == 1 && d <= NARROW && (size_t)k * (size_t)d * sizeof *sums <= FEW_SUMS;
    carve(&job, scratch, n);
    for (int row = 0; row < n; row += job.n) {
        job.x = x + (size_t)row * (size_t)d;
        job.from = from ? from + row : NULL;
        job.to = to + row;
        job.n = at_most(n - row, CHUNK);
        threads_run(device->threads, (int)divide_up(job.n, PART), find_task, &job);
        make_windows(&job);
        threads_run(device->threads, job.n_windows, sort_task, &job);
        for (int i = 0; i < job.n_windows; i++) {
            job.window = &job.windows[i];
            threads_run(device->threads, job.window->n_shares, share_task, &job);
        }
    }
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status cluster_sums_add(struct device *device, double *sums, int64_t *counts, bool *touched,
                             const float *x, const int32_t *from, const int32_t *to, int n, int k,
                             int d, void *scratch, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        cluster_sums_add_cpu(device, sums, counts, touched, x, from, to, n, k, d, scratch);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("cluster_sums", err);
}
