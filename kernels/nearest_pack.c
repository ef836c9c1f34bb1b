/* Packing for the nearest centre. See nearest_pack.h. Centres are packed once an iteration of
 * k-means, in plain C and float64; rows are packed for every call, so that is vector code, as fast
 * as stores are. */
#include "kernels/nearest_pack.h"

#include <math.h>
#include <string.h>
#include "host/base/divide_up.h"
#include "kernels/cpu.h"
#include "kernels/nearest_bound.h"

/* ---- shapes --------------------------------------------------------------------------------- */

/* Of equal length, in whole vectors, so that the last one is not much shorter. */
static void cut_columns(struct nearest_centres *packed)
{
    int n = (int)divide_up(packed->d, NEAREST_PIECE);
    int piece = (int)divide_up(packed->d, n);
    packed->piece = (piece + 7) / 8 * 8;
    packed->n_pieces = (int)divide_up(packed->d, packed->piece);
    /* An odd number of cache lines: rows that a tile reads side by side lie in different sets. */
    int lines = (packed->piece + NEAREST_EXTRA + 15) / 16;
    packed->stride = (size_t)(lines | 1) * 16;
}

static size_t rounded_to_lines(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

size_t nearest_centres_bytes(int k, int d)
{
    struct nearest_centres packed = {.k = k, .d = d};
    size_t bytes;
    cut_columns(&packed);
    size_t row = packed.stride * (size_t)packed.n_pieces * sizeof(float) + sizeof(float);
    if (__builtin_mul_overflow(row, (size_t)k, &bytes) || bytes > SIZE_MAX - 64)
        return SIZE_MAX;
    return rounded_to_lines(bytes);
}

/* ---- the bound ------------------------------------------------------------------------------ */
/* docs/numerics.md derives what stands here. */

#define U 0x1p-24
/* For what the bound's own computing rounds, a few u. */
#define SLACK (1 + 0x1p-16)

/* What a score's sum errs by, relative to the sum of its terms' magnitudes: a term passes its
 * product, its piece and the pieces behind, and two more for what the comparison rounds. */
static double sum_error(const struct nearest_centres *packed)
{
    double m = packed->piece + NEAREST_EXTRA + packed->n_pieces + 2;
    return m * U / (1 - m * U);
}

static void set_bound(struct nearest_centres *packed)
{
    double e = sum_error(packed);
    struct nearest_bound *bound = &packed->bound;
    bound->square_growth = 1 / (1 - e);
    bound->row = (e + 2 * U + U * U) / (1 - e) * sqrt(bound->square_growth) * SLACK;
    bound->distance = nearest_distance_error(packed->d);
}

/* The two columns behind a centre's last, and its slack, from half the square of its length. */
static void bound_centre(const struct nearest_centres *packed, float extra[NEAREST_EXTRA],
                         float *slack, double half)
{
    double e = sum_error(packed), d = packed->d, rounding = (d + 8) * 0x1p-53;
    double least = half * (1 - rounding), most = half * (1 + rounding);
    double allowance = e / (1 - e) * SLACK * most + (d + NEAREST_EXTRA) * 0x1p-148;
    extra[0] = nearest_rounded_up(allowance - least);
    extra[1] = nearest_rounded_up(sqrt(2 * most) * (1 + 2 * U));
    *slack = nearest_rounded_up(2 * (extra[0] + most) * SLACK + packed->bound.distance * 2 * most);
}

void nearest_reach(const struct nearest_centres *centres, float reach[GEMM_PANEL],
                   const float square[GEMM_PANEL])
{
    float factor = (float)centres->bound.row;
    for (int r = 0; r < GEMM_PANEL; r++)
        reach[r] = factor * sqrtf(square[r]);
}

double nearest_least(const struct nearest_centres *centres, int place, float upper, float reach,
                     float square)
{
    const struct nearest_bound *bound = &centres->bound;
    int last = centres->n_pieces - 1;
    double length =
        nearest_panel_row(centres, last, place)[nearest_piece_columns(centres, last) + 1];
    double row = square * bound->square_growth;
    return upper - (double)centres->slack[place] - 2 * (double)reach * length -
           bound->distance * row;
}

static inline float root(double square)
{
    return (float)sqrt(square > 0 ? square : 0);
}

float nearest_upper(const struct nearest_centres *centres, float square, double least)
{
    const struct nearest_bound *bound = &centres->bound;
    double row = square * bound->square_growth;
    return root(row - 2 * least) * NEAREST_UP;
}

float nearest_lower(const struct nearest_centres *centres, float square, float second)
{
    const struct nearest_bound *bound = &centres->bound;
    double row = square / bound->square_growth / SLACK;
    return root(row - 2 * (double)second) * NEAREST_DOWN;
}

/* ---- centres -------------------------------------------------------------------------------- */

#define CENTRES_PER_TASK 4 /* few, so that 20 of 4,096 columns keep two threads busy alike */

struct pack_job {
    const struct nearest_centres *packed;
    float *panels, *slack;
};

/* Writes a piece of centre - shift, and adds the squares to four partial sums. */
static void pack_columns(float *out, double partial[4], const float *centre, const float *shift,
                         int n)
{
    for (int j = 0; j < n; j++) {
        float from = shift ? shift[j] : 0;
        double difference = (double)centre[j] - (double)from;
        out[j] = centre[j] - from;
        partial[j % 4] += difference * difference;
    }
}

static void pack_centres_task(void *context, int task, int worker)
{
    (void)worker;
    const struct pack_job *job = context;
    const struct nearest_centres *packed = job->packed;
    int end = packed->k - task * CENTRES_PER_TASK;
    end = task * CENTRES_PER_TASK + (end < CENTRES_PER_TASK ? end : CENTRES_PER_TASK);
    for (int place = task * CENTRES_PER_TASK; place < end; place++) {
        size_t c = (size_t)nearest_at_place(packed, place);
        const float *centre = packed->centres + c * (size_t)packed->d;
        double partial[4] = {0};
        for (int piece = 0; piece < packed->n_pieces; piece++) {
            size_t first = (size_t)piece * (size_t)packed->piece;
            int n = nearest_piece_columns(packed, piece);
            float *out = job->panels + (nearest_panel_row(packed, piece, place) - packed->panels);
            pack_columns(out, partial, centre + first, packed->shift ? packed->shift + first : NULL,
                         n);
            if (piece + 1 == packed->n_pieces)
                bound_centre(packed, out + n, job->slack + place,
                             (partial[0] + partial[1] + partial[2] + partial[3]) / 2);
        }
    }
}

void nearest_centres_pack(struct device *device, struct nearest_centres *packed, void *memory,
                          const float *centres, const float *shift, const int32_t *order, int k,
                          int d)
{
    *packed = (struct nearest_centres){
        .k = k, .d = d, .centres = centres, .shift = shift, .order = order};
    cut_columns(packed);
    set_bound(packed);
    float *panels = memory;
    float *slack = panels + (size_t)k * packed->stride * (size_t)packed->n_pieces;
    packed->panels = panels;
    packed->slack = slack;
    struct pack_job job = {packed, panels, slack};
    int n_tasks = (int)divide_up(k, CENTRES_PER_TASK);
    threads_run(device->threads, n_tasks, pack_centres_task, &job);

    int last = packed->n_pieces - 1, length = nearest_piece_columns(packed, last) + 1;
    packed->bounded = sum_error(packed) <= 0.125; /* columns up to 2^29 */
    for (int c = 0; c < k && packed->bounded; c++)
        packed->bounded = nearest_panel_row(packed, last, c)[length] < (float)NEAREST_LENGTH;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void pack_column(float *panel, const float *const rows[GEMM_PANEL], size_t column,
                        float shift, float square[GEMM_PANEL])
{
    for (int r = 0; r < GEMM_PANEL; r++) {
        float value = rows[r][column] - shift;
        panel[r] = value;
        square[r] += value * value;
    }
}

#if CPU_X86
/* Four columns of two rows, side by side, less the shift. */
TARGET_AVX2
static inline __m256 load_pair(const float *low, const float *high, __m256 shift)
{
    __m256 pair = _mm256_castps128_ps256(_mm_loadu_ps(low));
    return _mm256_sub_ps(_mm256_insertf128_ps(pair, _mm_loadu_ps(high), 1), shift);
}

/* Eight rows of the panel. Loading puts rows r and r + 4 side by side, which leaves eight shuffles
 * for four columns: half of a transposition in registers. */
TARGET_AVX2
static void pack_eight_rows(float *panel, const float *const rows[8], const float *shift,
                            size_t first, int n_columns, float square[8])
{
    const float *r0 = rows[0] + first, *r1 = rows[1] + first, *r2 = rows[2] + first;
    const float *r3 = rows[3] + first, *r4 = rows[4] + first, *r5 = rows[5] + first;
    const float *r6 = rows[6] + first, *r7 = rows[7] + first;
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0, less = s0;
    for (int j = 0; j < n_columns; j += 4, panel += 4 * GEMM_PANEL) {
        if (shift)
            less = _mm256_broadcast_ps((const __m128 *)(shift + first + j));
        __m256 p0 = load_pair(r0 + j, r4 + j, less), p1 = load_pair(r1 + j, r5 + j, less);
        __m256 p2 = load_pair(r2 + j, r6 + j, less), p3 = load_pair(r3 + j, r7 + j, less);
        __m256 low01 = _mm256_unpacklo_ps(p0, p1), low23 = _mm256_unpacklo_ps(p2, p3);
        __m256 high01 = _mm256_unpackhi_ps(p0, p1), high23 = _mm256_unpackhi_ps(p2, p3);
        __m256 c0 = _mm256_shuffle_ps(low01, low23, 0x44);
        __m256 c1 = _mm256_shuffle_ps(low01, low23, 0xEE);
        __m256 c2 = _mm256_shuffle_ps(high01, high23, 0x44);
        __m256 c3 = _mm256_shuffle_ps(high01, high23, 0xEE);
        _mm256_store_ps(panel, c0);
        _mm256_store_ps(panel + GEMM_PANEL, c1);
        _mm256_store_ps(panel + 2 * GEMM_PANEL, c2);
        _mm256_store_ps(panel + 3 * GEMM_PANEL, c3);
        s0 = _mm256_fmadd_ps(c0, c0, s0), s1 = _mm256_fmadd_ps(c1, c1, s1);
        s2 = _mm256_fmadd_ps(c2, c2, s2), s3 = _mm256_fmadd_ps(c3, c3, s3);
    }
    __m256 sum = _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3));
    _mm256_storeu_ps(square, _mm256_add_ps(_mm256_loadu_ps(square), sum));
}

static void pack_rows_avx2(float *panel, const float *const rows[GEMM_PANEL], const float *shift,
                           size_t first, int n_columns, float square[GEMM_PANEL])
{
    int whole = n_columns & ~3;
    for (int half = 0; half < GEMM_PANEL; half += 8)
        pack_eight_rows(panel + half, rows + half, shift, first, whole, square + half);
    for (int j = whole; j < n_columns; j++) {
        size_t column = first + (size_t)j;
        pack_column(panel + j * GEMM_PANEL, rows, column, shift ? shift[column] : 0, square);
    }
}
#endif

void nearest_pack_rows(enum cpu_isa isa, float *panel, const float *const rows[GEMM_PANEL],
                       const struct nearest_centres *centres, int first, int n_columns,
                       float square[GEMM_PANEL])
{
    const float *shift = centres->shift;
#if CPU_X86
    if (isa == CPU_AVX2) {
        pack_rows_avx2(panel, rows, shift, (size_t)first, n_columns, square);
        return;
    }
#endif
    (void)isa;
    float partial[GEMM_PANEL] = {0};
    for (int j = 0; j < n_columns; j++) {
        size_t column = (size_t)first + (size_t)j;
        pack_column(panel + j * GEMM_PANEL, rows, column, shift ? shift[column] : 0, partial);
    }
    for (int r = 0; r < GEMM_PANEL; r++)
        square[r] += partial[r];
}
