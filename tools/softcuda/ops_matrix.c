/* mma.sync and ldmatrix, of compute_80. A warp holds the matrices in its registers; which element
 * lies in which lane is the manual's ("Matrix Fragments for mma"), with g = lane / 4 and t = lane %
 * 4:
 *
 *   A, 16 x K   element a[i]: row g or g + 8, columns by t
 *   B, K x 8    element b[i]: column g, rows by t
 *   C, D 16 x 8 c0 c1: row g, columns 2t, 2t + 1; c2 c3: row g + 8
 *
 * Two models of the sum (machine.h): one chain of fused multiply-adds in ascending k; and, as
 * measured on cards (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores"), sums of a few
 * products and the accumulator, aligned to the largest of them and truncated. */
#include "tools/softcuda/access_plain.h"
#include "tools/softcuda/execute.h"
#include "tools/softcuda/half.h"
#include "tools/softcuda/ops.h"
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define MMA_VECTORS 1
#include "tools/softcuda/mma_vectors.h"
#endif

#define ROWS    16
#define COLUMNS 8
#define K_MOST  32

/* ---- fragments ------------------------------------------------------------------------------ */

static inline uint32_t lane_word(const struct warp *warp, const struct instruction *instruction,
                                 int source, int lane)
{
    return ((const uint32_t *)SOURCE(warp, instruction, source))[lane];
}

/* A register of A or B holds, in lanes 4i to 4i + 3, eight consecutive halves or four consecutive
 * tf32 of row i of A, or of column i of B: read as an array, they lie in order. */
ALWAYS_INLINE float half_value(uint16_t half, enum ptx_type type)
{
    return type == PTX_BF16 ? bf16_to_float(half) : f16_to_float(half);
}

/* The cards ignore the low 13 bits. */
ALWAYS_INLINE float tf32_value(uint32_t word)
{
    return float_from_bits(word & 0xFFFFE000u);
}

/* Eight or four consecutive elements of row or column `index`. */
ALWAYS_INLINE void read_run(float *to, const void *place, int index, enum ptx_type type)
{
    if (type == PTX_TF32) {
        const uint32_t *words = (const uint32_t *)place + 4 * index;
        for (int i = 0; i < 4; i++)
            to[i] = tf32_value(words[i]);
    } else {
        const uint16_t *halves = (const uint16_t *)place + 8 * index;
        for (int i = 0; i < 8; i++)
            to[i] = half_value(halves[i], type);
    }
}

/* a (16, k). Register r covers rows 8 (r % 2) to 8 (r % 2) + 7 and the run r / 2 of their columns.
 */
ALWAYS_INLINE void read_a(const struct warp *warp, const struct instruction *instruction, float *a,
                          enum ptx_type type, int k, int n_registers)
{
    int run = type == PTX_TF32 ? 4 : 8;
    for (int r = 0; r < n_registers; r++)
        for (int row = 0; row < 8; row++)
            read_run(a + (row + 8 * (r % 2)) * k + r / 2 * run, SOURCE(warp, instruction, r), row,
                     type);
}

/* b (k, 8). Register r covers the run r of rows, column by column. */
ALWAYS_INLINE void read_b(const struct warp *warp, const struct instruction *instruction, float *b,
                          enum ptx_type type, int first, int n_registers)
{
    for (int r = 0; r < n_registers; r++) {
        const uint32_t *words = SOURCE(warp, instruction, first + r);
        if (type == PTX_TF32) {
            for (int t = 0; t < 4; t++)
                for (int column = 0; column < COLUMNS; column++)
                    b[(4 * r + t) * COLUMNS + column] = tf32_value(words[4 * column + t]);
            continue;
        }
        for (int t = 0; t < 4; t++) {
            float *low = b + (8 * r + 2 * t) * COLUMNS, *high = low + COLUMNS;
            for (int column = 0; column < COLUMNS; column++) {
                uint32_t word = words[4 * column + t];
                low[column] = half_value((uint16_t)word, type);
                high[column] = half_value((uint16_t)(word >> 16), type);
            }
        }
    }
}

/* c (16, 8): registers 0 and 1 hold columns 2t and 2t + 1 of the upper eight rows, 2 and 3 of the
 * lower ones; of halves one register holds both. */
ALWAYS_INLINE void read_c(const struct warp *warp, const struct instruction *instruction, float *c,
                          int first, bool halves)
{
    for (int half = 0; half < 2; half++) {
        float *to = c + half * 8 * COLUMNS;
        if (halves) {
            const uint16_t *from = SOURCE(warp, instruction, first + half);
            for (int i = 0; i < 8 * COLUMNS; i++)
                to[i] = f16_to_float(from[i]);
            continue;
        }
        const float *even = SOURCE(warp, instruction, first + 2 * half);
        const float *odd = SOURCE(warp, instruction, first + 2 * half + 1);
        for (int lane = 0; lane < WARP_LANES; lane++) {
            to[2 * lane] = even[lane];
            to[2 * lane + 1] = odd[lane];
        }
    }
}

ALWAYS_INLINE uint32_t canonical_bits(float x)
{
    return x != x ? 0x7FFFFFFFu : bits_from_float(x);
}

ALWAYS_INLINE void write_d(struct warp *warp, const struct instruction *instruction, const float *d,
                           bool halves)
{
    for (int r = 0; r < (halves ? 2 : 4); r++) {
        if (instruction->destinations[r] < 0)
            continue;
        uint32_t *to = DESTINATION(warp, instruction, r);
        const float *from = halves ? d + r * 8 * COLUMNS : d + r / 2 * 8 * COLUMNS + r % 2;
        for (int lane = 0; lane < WARP_LANES; lane++) {
            if (halves)
                to[lane] = half_from_float(from[2 * lane], false) |
                           half_from_float(from[2 * lane + 1], false) << 16;
            else
                to[lane] = canonical_bits(from[2 * lane]);
        }
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

ALWAYS_INLINE void multiply_ieee(float *d, const float *a, const float *b, int k)
{
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < k; i++)
            for (int column = 0; column < COLUMNS; column++)
                d[row * COLUMNS + column] = __builtin_fmaf(a[row * k + i], b[i * COLUMNS + column],
                                                           d[row * COLUMNS + column]);
}

/* The exponent of a finite number other than 0, as frexp has it; very low for 0. */
static inline int exponent_of(double x)
{
    uint64_t bits = double_bits(x);
    return (bits << 1) == 0 ? -4000 : (int)(bits >> 52 & 0x7FF) - 1022;
}

/* c + the sum of n products: each is cut to 24 bits below the largest's leading one, and so is the
 * sum. */
static float sum_truncating(float c, const float *a, const float *b, int n)
{
    double terms[17];
    int largest = -4000;
    bool finite = true;
    terms[0] = (double)c;
    for (int i = 0; i < n; i++)
        terms[1 + i] = (double)a[i] * (double)b[i * COLUMNS]; /* exact */
    for (int i = 0; i <= n; i++) {
        finite &= isfinite(terms[i]) != 0;
        int exponent = exponent_of(terms[i]);
        largest = exponent > largest ? exponent : largest;
    }
    double sum = 0;
    if (!finite || largest == -4000) {
        for (int i = 0; i <= n; i++)
            sum += terms[i];
        return (float)sum;
    }
    /* Units of 2^(largest - 24): whole numbers below 2^30, whose sum is exact. */
    for (int i = 0; i <= n; i++)
        sum += trunc(ldexp(terms[i], 24 - largest));
    /* To 24 bits, or to whole units of 2^-149, toward zero. */
    int drop = exponent_of(sum) - 24, least = -149 - (largest - 24);
    drop = drop > least ? drop : least;
    if (sum != 0 && drop > 0)
        sum = ldexp(trunc(ldexp(sum, -drop)), drop);
    return (float)ldexp(sum, largest - 24);
}

static void multiply_truncating(float *d, const float *a, const float *b, int k, int block)
{
    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < COLUMNS; column++) {
            float sum = d[row * COLUMNS + column];
            for (int i = 0; i < k; i += block)
                sum = sum_truncating(sum, a + row * k + i, b + i * COLUMNS + column,
                                     block < k - i ? block : k - i);
            d[row * COLUMNS + column] = sum;
        }
}

/* ---- the instructions ----------------------------------------------------------------------- */

ALWAYS_INLINE enum next mma(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes, enum ptx_type type, int k, bool halves)
{
    float a[ROWS * K_MOST], b[K_MOST * COLUMNS], d[ROWS * COLUMNS];
    int per = type == PTX_TF32 ? 1 : 2;
    int a_registers = 2 * k / (4 * per), b_registers = k / (4 * per);
    enum next next;
    if (!warp_gather_all(warp, instruction, lanes, &next))
        return next;
    bool ieee = warp->cta->launch->settings->mma == MMA_IEEE;
#ifdef MMA_VECTORS
    if (ieee) {
        mma_by_vectors(warp, instruction, type, k, halves);
        return NEXT_GO;
    }
#endif
    read_a(warp, instruction, a, type, k, a_registers);
    read_b(warp, instruction, b, type, a_registers, b_registers);
    read_c(warp, instruction, d, a_registers + b_registers, halves);
    if (ieee)
        multiply_ieee(d, a, b, k);
    else
        multiply_truncating(d, a, b, k, type == PTX_TF32 ? 4 : 8);
    write_d(warp, instruction, d, halves);
    return NEXT_GO;
}

#define MMA(name, type, k, halves)                                                                 \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        return mma(warp, instruction, lanes, type, k, halves);                                     \
    }
MMA(mma_f16_k8, PTX_F16, 8, false)
MMA(mma_f16_k16, PTX_F16, 16, false)
MMA(mma_f16_k8_f16, PTX_F16, 8, true)
MMA(mma_f16_k16_f16, PTX_F16, 16, true)
MMA(mma_bf16_k8, PTX_BF16, 8, false)
MMA(mma_bf16_k16, PTX_BF16, 16, false)
MMA(mma_tf32_k4, PTX_TF32, 4, false)
MMA(mma_tf32_k8, PTX_TF32, 8, false)

/* Bytes: 4 in a register, sums of 32 bits that wrap, or with .satfinite stop at the limits. */
static int32_t byte_of(uint32_t word, int part, bool is_signed)
{
    uint32_t byte = word >> 8 * part & 0xFF;
    return is_signed ? (int8_t)byte : (int32_t)byte;
}

static enum next mma_bytes(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                           int k, bool a_signed, bool b_signed, bool sat)
{
    int32_t a[ROWS * K_MOST], b[K_MOST * COLUMNS];
    int a_registers = k / 8, b_registers = k / 16;
    enum next next;
    if (!warp_gather_all(warp, instruction, lanes, &next))
        return next;
    for (int r = 0; r < a_registers; r++)
        for (int lane = 0; lane < WARP_LANES; lane++)
            for (int part = 0; part < 4; part++)
                a[(lane / 4 + 8 * (r % 2)) * k + (r / 2) * 16 + lane % 4 * 4 + part] =
                    byte_of(lane_word(warp, instruction, r, lane), part, a_signed);
    for (int r = 0; r < b_registers; r++)
        for (int lane = 0; lane < WARP_LANES; lane++)
            for (int part = 0; part < 4; part++)
                b[(r * 16 + lane % 4 * 4 + part) * COLUMNS + lane / 4] =
                    byte_of(lane_word(warp, instruction, a_registers + r, lane), part, b_signed);
    uint32_t results[4][WARP_LANES];
    for (int r = 0; r < 4; r++)
        for (int lane = 0; lane < WARP_LANES; lane++) {
            int row = lane / 4 + 8 * (r / 2), column = lane % 4 * 2 + r % 2;
            int64_t sum =
                (int32_t)lane_word(warp, instruction, a_registers + b_registers + r, lane);
            for (int i = 0; i < k; i++)
                sum += a[row * k + i] * b[i * COLUMNS + column];
            if (sat)
                sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            results[r][lane] = (uint32_t)sum;
        }
    for (int r = 0; r < 4; r++)
        if (instruction->destinations[r] >= 0)
            memcpy(DESTINATION(warp, instruction, r), results[r], sizeof results[r]);
    return NEXT_GO;
}

#define MMA_BYTES(name, k, a_signed, b_signed)                                                     \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        return mma_bytes(warp, instruction, lanes, k, a_signed, b_signed, false);                  \
    }                                                                                              \
    static enum next name##_sat(struct warp *warp, const struct instruction *instruction,          \
                                uint32_t lanes)                                                    \
    {                                                                                              \
        return mma_bytes(warp, instruction, lanes, k, a_signed, b_signed, true);                   \
    }
MMA_BYTES(mma_ss_k16, 16, true, true)
MMA_BYTES(mma_su_k16, 16, true, false)
MMA_BYTES(mma_us_k16, 16, false, true)
MMA_BYTES(mma_uu_k16, 16, false, false)
MMA_BYTES(mma_ss_k32, 32, true, true)
MMA_BYTES(mma_su_k32, 32, true, false)
MMA_BYTES(mma_us_k32, 32, false, true)
MMA_BYTES(mma_uu_k32, 32, false, false)

/* ldmatrix: matrix i of 8 rows of 16 bytes, whose addresses lanes 8i to 8i + 7 hold. Lane l gets
 * the pair of halves (l / 4, 2 (l % 4)), transposed (2 (l % 4), l / 4) and the one below. */
ALWAYS_INLINE enum next load_matrices(struct warp *warp, const struct instruction *instruction,
                                      uint32_t lanes, int n, bool transposed)
{
    struct access access;
    enum next next;
    if (!warp_gather_all(warp, instruction, lanes, &next))
        return next;
    /* Rows whose lanes are gone are zeros. */
    uint32_t rows = (n == 4 ? ALL_LANES : (1u << 8 * n) - 1) & lanes;
    if (rows && !access_reach(warp, instruction, rows, 0, instruction->offset, PTX_SHARED,
                              ACCESS_READ, 16, 16, &access))
        return NEXT_STOP;
    for (int i = 0; i < n; i++) {
        uint32_t present = rows >> 8 * i & 0xFF;
        if (instruction->destinations[i] < 0)
            continue;
        uint32_t *d = DESTINATION(warp, instruction, i);
        if (!transposed && present == 0xFF) { /* lane l: the pair l of the rows, read on */
            for (int row = 0; row < 8; row++)
                memcpy(d + 4 * row, access.host[8 * i + row], 16);
            continue;
        }
        uint16_t matrix[8][8];
        for (int row = 0; row < 8; row++)
            if (present >> row & 1)
                memcpy(matrix[row], access.host[8 * i + row], 16);
            else
                memset(matrix[row], 0, 16);
        if (!transposed) {
            memcpy(d, matrix, sizeof matrix);
            continue;
        }
        for (int row = 0; row < 8; row++)
            for (int t = 0; t < 4; t++)
                d[4 * row + t] = matrix[2 * t][row] | (uint32_t)matrix[2 * t + 1][row] << 16;
    }
    return NEXT_GO;
}

#define LDMATRIX(name, n, transposed)                                                              \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        return load_matrices(warp, instruction, lanes, n, transposed);                             \
    }
LDMATRIX(ldmatrix_x1, 1, false)
LDMATRIX(ldmatrix_x2, 2, false)
LDMATRIX(ldmatrix_x4, 4, false)
LDMATRIX(ldmatrix_x1_trans, 1, true)
LDMATRIX(ldmatrix_x2_trans, 2, true)
LDMATRIX(ldmatrix_x4_trans, 4, true)

/* movmatrix: an 8 x 8 matrix of halves in a register of each lane, transposed. */
static enum next movmatrix(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    enum next next;
    uint16_t matrix[8][8];
    if (!warp_gather_all(warp, instruction, lanes, &next))
        return next;
    for (int lane = 0; lane < WARP_LANES; lane++) {
        uint32_t word = lane_word(warp, instruction, 0, lane);
        matrix[lane / 4][2 * (lane % 4)] = (uint16_t)word;
        matrix[lane / 4][2 * (lane % 4) + 1] = (uint16_t)(word >> 16);
    }
    uint32_t *d = DESTINATION(warp, instruction, 0);
    for (int lane = 0; lane < WARP_LANES; lane++)
        d[lane] = matrix[2 * (lane % 4)][lane / 4] | (uint32_t)matrix[2 * (lane % 4) + 1][lane / 4]
                                                         << 16;
    return NEXT_GO;
}

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_MATRIX, run                                                        \
    }
#define BYTE_FORMS(shape, operands, types, run)                                                    \
    FORM("mma.sync." shape ".row.col.s32." types ".s32", operands, run),                           \
        FORM("mma.sync." shape ".row.col.satfinite.s32." types ".s32", operands, run##_sat)

const struct form OPS_EXPORT(forms_matrix)[] = {
    FORM("mma.sync.m16n8k8.row.col.f32.f16.f16.f32", "4w=2w1w4w", mma_f16_k8),
    FORM("mma.sync.m16n8k16.row.col.f32.f16.f16.f32", "4w=4w2w4w", mma_f16_k16),
    FORM("mma.sync.m16n8k8.row.col.f16.f16.f16.f16", "2w=2w1w2w", mma_f16_k8_f16),
    FORM("mma.sync.m16n8k16.row.col.f16.f16.f16.f16", "2w=4w2w2w", mma_f16_k16_f16),
    FORM("mma.sync.m16n8k8.row.col.f32.bf16.bf16.f32", "4w=2w1w4w", mma_bf16_k8),
    FORM("mma.sync.m16n8k16.row.col.f32.bf16.bf16.f32", "4w=4w2w4w", mma_bf16_k16),
    FORM("mma.sync.m16n8k4.row.col.f32.tf32.tf32.f32", "4w=2w1w4w", mma_tf32_k4),
    FORM("mma.sync.m16n8k8.row.col.f32.tf32.tf32.f32", "4w=4w2w4w", mma_tf32_k8),
    BYTE_FORMS("m16n8k16", "4w=2w1w4w", "s8.s8", mma_ss_k16),
    BYTE_FORMS("m16n8k16", "4w=2w1w4w", "s8.u8", mma_su_k16),
    BYTE_FORMS("m16n8k16", "4w=2w1w4w", "u8.s8", mma_us_k16),
    BYTE_FORMS("m16n8k16", "4w=2w1w4w", "u8.u8", mma_uu_k16),
    BYTE_FORMS("m16n8k32", "4w=4w2w4w", "s8.s8", mma_ss_k32),
    BYTE_FORMS("m16n8k32", "4w=4w2w4w", "s8.u8", mma_su_k32),
    BYTE_FORMS("m16n8k32", "4w=4w2w4w", "u8.s8", mma_us_k32),
    BYTE_FORMS("m16n8k32", "4w=4w2w4w", "u8.u8", mma_uu_k32),
    FORM("ldmatrix.sync.m8n8.x1.shared.b16", "1w=a", ldmatrix_x1),
    FORM("ldmatrix.sync.m8n8.x2.shared.b16", "2w=a", ldmatrix_x2),
    FORM("ldmatrix.sync.m8n8.x4.shared.b16", "4w=a", ldmatrix_x4),
    FORM("ldmatrix.sync.m8n8.x1.trans.shared.b16", "1w=a", ldmatrix_x1_trans),
    FORM("ldmatrix.sync.m8n8.x2.trans.shared.b16", "2w=a", ldmatrix_x2_trans),
    FORM("ldmatrix.sync.m8n8.x4.trans.shared.b16", "4w=a", ldmatrix_x4_trans),
    FORM("movmatrix.sync.aligned.m8n8.trans.b16", "w=w", movmatrix),
    {0},
};
