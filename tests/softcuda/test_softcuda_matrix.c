/* mma.sync against the PTX manual's index formulas and sums, both written here anew: one chain of
 * fmaf, and whole numbers aligned to the largest term. */
#include "tests/softcuda/rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES     32
#define REGISTERS 10 /* at most 4 of A, 2 of B, 4 of C */
#define K_MOST    32

enum kind { F16, BF16, TF32, S8S8, S8U8, U8S8, U8U8 };

struct shape {
    const char *opcode;
    enum kind kind;
    int k;
    bool halves, satfinite; /* of the accumulators */
};

#define BYTES_OF(k, kind, types)                                                                   \
    {"mma.sync.aligned.m16n8k" #k ".row.col.s32." types ".s32", kind, k, false, false},            \
    {                                                                                              \
        "mma.sync.aligned.m16n8k" #k ".row.col.satfinite.s32." types ".s32", kind, k, false, true  \
    }
static const struct shape shapes[] = {
    {"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", F16, 8, false, false},
    {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", F16, 16, false, false},
    {"mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", F16, 8, true, false},
    {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", F16, 16, true, false},
    {"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", BF16, 8, false, false},
    {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", BF16, 16, false, false},
    {"mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", TF32, 4, false, false},
    {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", TF32, 8, false, false},
    BYTES_OF(16, S8S8, "s8.s8"),
    BYTES_OF(16, S8U8, "s8.u8"),
    BYTES_OF(16, U8S8, "u8.s8"),
    BYTES_OF(16, U8U8, "u8.u8"),
    BYTES_OF(32, S8S8, "s8.s8"),
    BYTES_OF(32, S8U8, "s8.u8"),
    BYTES_OF(32, U8S8, "u8.s8"),
    BYTES_OF(32, U8U8, "u8.u8"),
};
#define SHAPES (int)(sizeof shapes / sizeof *shapes)

static bool is_bytes(const struct shape *shape)
{
    return shape->kind >= S8S8;
}

/* Elements in a register. */
static int per_register(const struct shape *shape)
{
    return is_bytes(shape) ? 4 : shape->kind == TF32 ? 1 : 2;
}

/* ---- the manual's formulas ------------------------------------------------------------------ */

/* "Matrix Fragments for mma.m16n8k4 (.tf32), .m16n8k8, .m16n8k16, .m16n8k32": of the element i of a
 * lane, groupID = lane >> 2, threadID_in_group = lane % 4. */
static void place_a(const struct shape *shape, int lane, int i, int *row, int *column)
{
    int group = lane >> 2, thread = lane % 4;
    if (shape->kind == TF32 && shape->k == 4) {
        *row = i == 0 ? group : group + 8;
        *column = thread;
    } else if (shape->kind == TF32) {
        *row = i == 0 || i == 2 ? group : group + 8;
        *column = i == 0 || i == 1 ? thread : thread + 4;
    } else if (!is_bytes(shape) && shape->k == 8) {
        *row = i < 2 ? group : group + 8;
        *column = thread * 2 + (i & 1);
    } else if (!is_bytes(shape)) {
        *row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
        *column = i < 4 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8;
    } else if (shape->k == 16) {
        *row = i < 4 ? group : group + 8;
        *column = thread * 4 + (i & 3);
    } else {
        *row = i < 4 || (8 <= i && i < 12) ? group : group + 8;
        *column = i < 8 ? thread * 4 + (i & 3) : thread * 4 + (i & 3) + 16;
    }
}

static void place_b(const struct shape *shape, int lane, int i, int *row, int *column)
{
    int group = lane >> 2, thread = lane % 4;
    *column = group;
    if (shape->kind == TF32)
        *row = i == 0 ? thread : thread + 4;
    else if (!is_bytes(shape))
        *row = i < 2 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8;
    else
        *row = i < 4 ? thread * 4 + (i & 3) : thread * 4 + (i & 3) + 16;
}

static void place_c(int lane, int i, int *row, int *column)
{
    *row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
    *column = lane % 4 * 2 + (i & 1);
}

/* ---- running -------------------------------------------------------------------------------- */

/* Elements as bits: of 8, 16 or 32 bits. */
struct problem {
    uint32_t a[16][K_MOST], b[K_MOST][8], c[16][8];
};

struct counts {
    int a, b, c; /* registers */
};

static struct counts counts_of(const struct shape *shape)
{
    int per = per_register(shape);
    return (struct counts){16 * shape->k / LANES / per, 8 * shape->k / LANES / per,
                           shape->halves ? 2 : 4};
}

static void put(uint32_t *words, int first, int per, int lane, int i, uint32_t bits)
{
    int width = 32 / per;
    words[(first + i / per) * LANES + lane] |= bits << width * (i % per);
}

static void pack(const struct shape *shape, const struct problem *problem, uint32_t *words)
{
    struct counts counts = counts_of(shape);
    int per = per_register(shape), per_c = shape->halves ? 2 : 1, row, column;
    memset(words, 0, REGISTERS * LANES * sizeof *words);
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < counts.a * per; i++) {
            place_a(shape, lane, i, &row, &column);
            put(words, 0, per, lane, i, problem->a[row][column]);
        }
        for (int i = 0; i < counts.b * per; i++) {
            place_b(shape, lane, i, &row, &column);
            put(words, counts.a, per, lane, i, problem->b[row][column]);
        }
        for (int i = 0; i < 4; i++) {
            place_c(lane, i, &row, &column);
            put(words, counts.a + counts.b, per_c, lane, i, problem->c[row][column]);
        }
    }
}

static int list_registers(char *text, size_t size, int first, int n, int step)
{
    int at = snprintf(text, size, "{");
    for (int i = 0; i < n; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%%r%d", i ? ", " : "", first + step * i);
    return at + snprintf(text + at, size - (size_t)at, "}");
}

/* Where D lies: apart, over the registers of A, or over those of C from the last one on. */
enum { APART, OVER_A, OVER_C, WAYS };

/* Block i of 32 threads multiplies problem i. p0: results, p1: words. */
static void load_mma(struct rig *rig, const struct shape *shape, bool portable, int way)
{
    struct counts counts = counts_of(shape);
    int n = counts.a + counts.b + counts.c;
    int d = way == APART ? 30 : way == OVER_A ? 10 : 9 + n, step = way == OVER_C ? -1 : 1;
    char body[4096], *at = body;
    at += sprintf(at, "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x;\n"
                      "mad.lo.u32 %%r3, %%r2, 320, %%r1; mul.wide.u32 %%d1, %%r3, 4;\n"
                      "mad.lo.u32 %%r4, %%r2, 128, %%r1; mul.wide.u32 %%d2, %%r4, 4;\n"
                      "ld.param.u64 %%d3, [p1]; add.u64 %%d3, %%d3, %%d1;\n"
                      "ld.param.u64 %%d4, [p0]; add.u64 %%d4, %%d4, %%d2;\n");
    for (int i = 0; i < n; i++)
        at += sprintf(at, "ld.global.u32 %%r%d, [%%d3+%d];\n", 10 + i, 128 * i);
    at += sprintf(at, "%s ", shape->opcode);
    at += list_registers(at, 200, d, counts.c, step);
    at += sprintf(at, ", ");
    at += list_registers(at, 200, 10, counts.a, 1);
    at += sprintf(at, ", ");
    at += list_registers(at, 200, 10 + counts.a, counts.b, 1);
    at += sprintf(at, ", ");
    at += list_registers(at, 200, 10 + counts.a + counts.b, counts.c, 1);
    at += sprintf(at, ";\n");
    for (int i = 0; i < counts.c; i++)
        at += sprintf(at, "st.global.u32 [%%d4+%d], %%r%d;\n", 128 * i, d + step * i);
    rig_load_body(rig, 2, body, portable);
}

/* Results as bits (n, 16, 8), the caller's to free. */
static uint32_t *multiply(const struct shape *shape, const struct problem *problems, int n,
                          enum mma_model model, bool portable, int way)
{
    struct rig rig;
    uint32_t *words = malloc((size_t)n * REGISTERS * LANES * sizeof *words);
    uint32_t *results = calloc((size_t)n * 128, sizeof *results);
    rig_open(&rig);
    rig.settings.mma = model;
    load_mma(&rig, shape, portable, way);
    for (int i = 0; i < n; i++)
        pack(shape, &problems[i], words + i * REGISTERS * LANES);
    const uint64_t parameters[] = {rig_upload(&rig, results, (size_t)n * 128 * 4),
                                   rig_upload(&rig, words, (size_t)n * REGISTERS * LANES * 4)};
    ck_assert_int_eq(rig_launch(&rig, NULL, (uint32_t[3]){(uint32_t)n, 1, 1},
                                (uint32_t[3]){32, 1, 1}, 0, 2, parameters),
                     STATUS_OK);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_GOOD);
    const uint32_t *got = rig_host(&rig, parameters[0]);
    for (int p = 0; p < n; p++)
        for (int lane = 0; lane < LANES; lane++)
            for (int i = 0; i < 4; i++) {
                int row, column;
                place_c(lane, i, &row, &column);
                uint32_t word = got[p * 128 + (shape->halves ? i / 2 : i) * LANES + lane];
                results[p * 128 + row * 8 + column] =
                    shape->halves ? word >> 16 * (i % 2) & 0xFFFF : word;
            }
    rig_close(&rig);
    free(words);
    return results;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* f16 from its fields. */
static float of_half(uint32_t bits)
{
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    float x = exponent == 31  ? (fraction ? NAN : INFINITY)
              : exponent == 0 ? ldexpf((float)fraction, -24)
                              : ldexpf((float)(1024 + fraction), exponent - 25);
    return bits >> 15 ? -x : x;
}

/* To nearest, ties to even: whole units of the last place, by nearbyint's rounding. */
static uint32_t to_half(float x)
{
    uint32_t sign = signbit(x) ? 0x8000 : 0;
    int exponent;
    if (isnan(x))
        return 0x7FFF;
    if (fabsf(x) >= 65520.0f)
        return sign | 0x7C00;
    if (x == 0.0f)
        return sign;
    frexpf(x, &exponent);
    int unit = exponent - 11 > -24 ? exponent - 11 : -24;
    double units = nearbyint(ldexp(fabs((double)x), -unit));
    /* 2048 units are the next exponent's first number: its bits come out of the sum. */
    return sign | (uint32_t)(units + (unit > -24 ? (unit + 24) * 1024.0 : 0.0));
}

static float value_of(const struct shape *shape, uint32_t bits)
{
    return shape->kind == F16 ? of_half(bits) : of_bits(shape->kind == BF16 ? bits << 16 : bits);
}

/* What an input is to the multiplier: tf32 has 10 bits of fraction, those below are not seen. */
static float input_of(const struct shape *shape, uint32_t bits)
{
    return value_of(shape, shape->kind == TF32 ? bits & ~0x1FFFu : bits);
}

static uint32_t one_of(const struct shape *shape, int x)
{
    if (is_bytes(shape))
        return (uint32_t)x & 0xFF;
    return shape->kind == F16    ? to_half((float)x)
           : shape->kind == BF16 ? bits_of((float)x) >> 16
                                 : bits_of((float)x);
}

static uint32_t accumulator(const struct shape *shape, float x)
{
    return is_bytes(shape) ? (uint32_t)(int32_t)x : shape->halves ? to_half(x) : bits_of(x);
}

/* The tests are few and long, and count mismatches rather than matches: under a sanitizer each
 * test's process costs, and so does each assertion. */
static const char *handlers(bool portable)
{
    return portable ? "portable" : "avx2";
}

#define FOR_SHAPES(shape) for (const struct shape *shape = shapes; shape < shapes + SHAPES; shape++)

/* ---- one-hot -------------------------------------------------------------------------------- */

/* A has a 3 at (row, i), B a 5 at (j, column): D lights up where i = j, at (row, column) only. */
static void check_one_product(const struct shape *shape, bool portable)
{
    int k = shape->k, n_lit = 16 * 8 * k, n = n_lit + 128;
    struct problem *problems = calloc((size_t)n, sizeof *problems);
    for (int p = 0; p < n; p++) {
        int row = p % 16, column = p / 16 % 8, i = p / 128 % k;
        int j = p < n_lit ? i : (i + 1 + (row * 8 + column) % (k - 1)) % k;
        problems[p].a[row][i] = one_of(shape, 3);
        problems[p].b[j][column] = one_of(shape, 5);
    }
    uint32_t *results = multiply(shape, problems, n, MMA_IEEE, portable, APART);
    const uint32_t dark = accumulator(shape, 0.0f), bright = accumulator(shape, 15.0f);
    for (int p = 0; p < n; p++)
        for (int at = 0; at < 128; at++) {
            bool lit = p < n_lit && at == p % 16 * 8 + p / 16 % 8;
            if (results[p * 128 + at] != (lit ? bright : dark))
                ck_abort_msg("%s, %s, problem %d: D (%d, %d) is 0x%X", shape->opcode,
                             handlers(portable), p, at / 8, at % 8, results[p * 128 + at]);
        }
    free(problems), free(results);
}

START_TEST(one_product)
{
    FOR_SHAPES(shape)
    check_one_product(shape, _i);
}
END_TEST

/* C goes to D at its own place. */
START_TEST(accumulators_keep_their_places)
{
    FOR_SHAPES(shape)
    {
        struct problem problem = {0};
        for (int at = 0; at < 128; at++)
            problem.c[at / 8][at % 8] = accumulator(shape, (float)(at - 64));
        uint32_t *results = multiply(shape, &problem, 1, MMA_IEEE, _i, APART);
        for (int at = 0; at < 128; at++)
            ck_assert_msg(results[at] == accumulator(shape, (float)(at - 64)),
                          "%s, %s: D (%d, %d) is 0x%X", shape->opcode, handlers(_i), at / 8, at % 8,
                          results[at]);
        free(results);
    }
}
END_TEST

/* ---- floating point ------------------------------------------------------------------------- */

/* x = m 2^e with a whole m. */
static void split(float x, int64_t *m, int *e)
{
    *m = (int64_t)ldexpf(frexpf(x, e), 24);
    *e -= 24;
}

static int bit_length(uint64_t x)
{
    return x ? 64 - __builtin_clzll(x) : 0;
}

/* m 2^e in units of 2^unit, toward zero. */
static int64_t cut(int64_t m, int e, int unit)
{
    int shift = unit - e;
    uint64_t size = (uint64_t)(m < 0 ? -m : m);
    if (m == 0)
        return 0;
    size = shift <= 0 ? size << -shift : shift > 63 ? 0 : size >> shift;
    return m < 0 ? -(int64_t)size : (int64_t)size;
}

/* One block: the terms in whole units of 24 bits below the largest's first bit. */
static float block_sum(float c, const float *a, const float *b, int n)
{
    int64_t m[9], sum = 0;
    int e[9], top = INT32_MIN;
    split(c, &m[0], &e[0]);
    for (int i = 0; i < n; i++) {
        int64_t ma, mb;
        int ea, eb;
        split(a[i], &ma, &ea);
        split(b[i], &mb, &eb);
        m[1 + i] = ma * mb;
        e[1 + i] = ea + eb;
    }
    for (int i = 0; i <= n; i++) {
        int length = bit_length((uint64_t)(m[i] < 0 ? -m[i] : m[i]));
        if (m[i] != 0 && e[i] + length > top)
            top = e[i] + length;
    }
    if (top == INT32_MIN)
        return 0.0f;
    for (int i = 0; i <= n; i++)
        sum += cut(m[i], e[i], top - 24);
    int extra = bit_length((uint64_t)(sum < 0 ? -sum : sum)) - 24;
    if (extra < -149 - (top - 24)) /* below the normal numbers fewer bits are kept */
        extra = -149 - (top - 24);
    if (extra > 0)
        return copysignf((float)ldexp((double)cut(sum, 0, extra), top - 24 + extra),
                         sum < 0 ? -1.0f : 1.0f);
    return (float)ldexp((double)sum, top - 24);
}

static float sum_of(const struct shape *shape, const struct problem *problem, int row, int column,
                    enum mma_model model, double *exact, double *magnitude)
{
    float a[K_MOST], b[K_MOST];
    float c = shape->halves ? of_half(problem->c[row][column]) : of_bits(problem->c[row][column]);
    *exact = (double)c;
    *magnitude = fabs((double)c);
    float sum = c;
    for (int i = 0; i < shape->k; i++) {
        a[i] = input_of(shape, problem->a[row][i]);
        b[i] = input_of(shape, problem->b[i][column]);
        *exact += (double)a[i] * (double)b[i];
        *magnitude += fabs((double)a[i] * (double)b[i]);
    }
    if (model == MMA_TRUNCATING && isfinite(*magnitude)) {
        int block = shape->kind == TF32 ? 4 : 8;
        for (int i = 0; i < shape->k; i += block)
            sum = block_sum(sum, a + i, b + i, block);
        return sum;
    }
    for (int i = 0; i < shape->k; i++)
        sum = fmaf(a[i], b[i], sum);
    return sum;
}

/* Random numbers around 2^center, as far as 2^spread from it: sums lose bits and cancel; now and
 * then a 0, and where special says so infinities and NaN. */
static float random_value(uint64_t *state, int spread, int center, bool special)
{
    uint64_t bits = mix64(77, (*state)++);
    if (special && bits % 67 == 0)
        return bits >> 32 & 1 ? INFINITY : -INFINITY;
    if (special && bits % 71 == 0)
        return NAN;
    if (bits % 31 == 0)
        return bits >> 32 & 1 ? 0.0f : -0.0f;
    float x = ldexpf(1.0f + (float)(bits >> 40) * 0x1p-24f,
                     (int)(bits >> 8 & 0xFF) % (2 * spread + 1) - spread + center);
    return bits >> 33 & 1 ? x : -x;
}

static uint32_t input_bits(const struct shape *shape, float x)
{
    if (shape->kind == F16)
        return to_half(x);
    return shape->kind == BF16 ? bits_of(x) >> 16 : bits_of(x);
}

#define RANDOM 60
static void fill_random(const struct shape *shape, struct problem *problems)
{
    uint64_t state = 0;
    for (int p = 0; p < RANDOM; p++) {
        int spread = p % 3 == 0 ? 0 : p % 3 == 1 ? 3 : shape->kind == F16 ? 7 : 15;
        bool special = p >= RANDOM * 3 / 4;
        /* Some products and sums are subnormal. */
        int center = p % 5 == 4 && shape->kind != F16 ? -72 : 0;
        for (int row = 0; row < 16; row++)
            for (int i = 0; i < shape->k; i++)
                problems[p].a[row][i] =
                    input_bits(shape, random_value(&state, spread, center, special));
        for (int i = 0; i < shape->k * 8; i++)
            problems[p].b[i / 8][i % 8] =
                input_bits(shape, random_value(&state, spread, center, special));
        for (int at = 0; at < 128; at++)
            problems[p].c[at / 8][at % 8] =
                accumulator(shape, random_value(&state, 2 * spread, 2 * center, special));
    }
}

static void check_random_floats(const struct shape *shape, enum mma_model model, bool portable,
                                int way)
{
    struct problem *problems = calloc(RANDOM, sizeof *problems);
    fill_random(shape, problems);
    uint32_t *results = multiply(shape, problems, RANDOM, model, portable, way);
    for (int p = 0; p < RANDOM; p++)
        for (int at = 0; at < 128; at++) {
            double exact, magnitude;
            float sum = sum_of(shape, &problems[p], at / 8, at % 8, model, &exact, &magnitude);
            uint32_t want = shape->halves ? to_half(sum) : isnan(sum) ? 0x7FFFFFFFu : bits_of(sum);
            uint32_t got = results[p * 128 + at];
            if (got != want)
                ck_abort_msg("%s, %s, %s, way %d, problem %d, D (%d, %d): 0x%X, not 0x%X (%g)",
                             shape->opcode, handlers(portable),
                             model == MMA_IEEE ? "ieee" : "truncating", way, p, at / 8, at % 8, got,
                             want, (double)sum);
            /* A block of n cuts n + 1 terms and its sum, each by a unit in the last of 24 bits. */
            int block = shape->kind == TF32 ? 4 : 8, blocks = shape->k / block;
            double bound = blocks * ((block + 3) * 0x1p-23 * magnitude + block * 0x1p-149);
            if (isfinite(sum) && !shape->halves && !(fabs((double)sum - exact) <= bound))
                ck_abort_msg("%s, problem %d, D (%d, %d): %g is far from %g", shape->opcode, p,
                             at / 8, at % 8, (double)sum, exact);
        }
    free(problems), free(results);
}

START_TEST(random_floats)
{
    int n = 0;
    FOR_SHAPES(shape)
    for (int model = MMA_IEEE; model <= MMA_TRUNCATING && !is_bytes(shape); model++)
        check_random_floats(shape, (enum mma_model)model, _i, n++ % WAYS);
}
END_TEST

/* ---- bytes ---------------------------------------------------------------------------------- */

static void check_random_bytes(const struct shape *shape, bool portable, int way)
{
    struct problem *problems = calloc(RANDOM, sizeof *problems);
    bool a_signed = shape->kind == S8S8 || shape->kind == S8U8;
    bool b_signed = shape->kind == S8S8 || shape->kind == U8S8;
    for (int p = 0; p < RANDOM; p++) {
        /* Every third: the largest numbers, at the accumulator's ends. */
        uint64_t at = (uint64_t)p << 20;
        for (int i = 0; i < 16 * shape->k; i++)
            problems[p].a[i / shape->k][i % shape->k] =
                p % 3 == 0 ? 0x7F + (mix64(1, at++) & 1) : mix64(1, at++) & 0xFF;
        for (int i = 0; i < 8 * shape->k; i++)
            problems[p].b[i / 8][i % 8] = p % 3 == 0 ? 0x7F : mix64(1, at++) & 0xFF;
        for (int i = 0; i < 128; i++)
            problems[p].c[i / 8][i % 8] = p % 3 == 2
                                              ? (uint32_t)mix64(1, at++)
                                              : (mix64(1, at) & 1 ? 0x7FFFFFFFu : 0x80000000u) ^
                                                    (uint32_t)(mix64(1, at) >> 52 & 0xFFF);
    }
    uint32_t *results = multiply(shape, problems, RANDOM, MMA_IEEE, portable, way);
    int n_over = 0;
    for (int p = 0; p < RANDOM; p++)
        for (int at = 0; at < 128; at++) {
            int64_t sum = (int32_t)problems[p].c[at / 8][at % 8];
            for (int i = 0; i < shape->k; i++) {
                int a = (int)problems[p].a[at / 8][i], b = (int)problems[p].b[i][at % 8];
                sum += (a_signed && a > 127 ? a - 256 : a) * (b_signed && b > 127 ? b - 256 : b);
            }
            bool over = sum > INT32_MAX || sum < INT32_MIN;
            n_over += over;
            uint32_t want = !over || !shape->satfinite ? (uint32_t)sum
                            : sum > 0                  ? 0x7FFFFFFFu
                                                       : 0x80000000u;
            if (results[p * 128 + at] != want)
                ck_abort_msg("%s, %s, way %d, problem %d, D (%d, %d): %d, not %d", shape->opcode,
                             handlers(portable), way, p, at / 8, at % 8, (int)results[p * 128 + at],
                             (int)want);
        }
    ck_assert_int_gt(n_over, 0);
    free(problems), free(results);
}

START_TEST(random_bytes)
{
    FOR_SHAPES(shape)
    if (is_bytes(shape))
        check_random_bytes(shape, _i, (int)(shape - shapes) % WAYS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_matrix");
    TCase *tests = tcase_create("portable and avx2");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, one_product, 0, 2);
    tcase_add_loop_test(tests, accumulators_keep_their_places, 0, 2);
    tcase_add_loop_test(tests, random_floats, 0, 2);
    tcase_add_loop_test(tests, random_bytes, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
