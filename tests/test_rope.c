/* Rotary position embedding against its float64 reference and against transformers
 * (tests/golden/make_rope.py). */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/rope.h"
#include "tests/gradient_check.h"

#define N_POSITIONS 9001 /* rows of the tables here: beyond the original context of 8,192 */

#define LLAMA3(divide_by)                                                                          \
    {                                                                                              \
        .scaling = ROPE_LLAMA3, .theta = 500000, .factor = divide_by, .low_frequency_factor = 1,   \
        .high_frequency_factor = 4, .original_max_positions = 8192                                 \
    }

static const struct rope_config configs[] = {
    {.scaling = ROPE_DEFAULT, .theta = 10000},
    {.scaling = ROPE_LINEAR, .theta = 10000, .factor = 4},
    LLAMA3(8),
    LLAMA3(32),
    {.scaling = ROPE_DIVIDED, .theta = 500000, .divisors = {[0 ... 9] = 1, 1.5f, [11 ... 127] = 8}},
};
#define N_CONFIGS (sizeof configs / sizeof *configs)

/* Round the vector width (8 pairs: head_dim 16) and the task size of 16 tokens. */
static const struct {
    int n, n_heads, head_dim;
} cases[] = {{0, 1, 8},   {1, 1, 2},  {1, 3, 6},  {15, 2, 8},  {16, 9, 16}, {17, 3, 18},
             {33, 4, 32}, {5, 9, 64}, {5, 1, 80}, {5, 4, 128}, {3, 2, 256}};

/* Two products of |x| <= 4 with table values rounded to float32, a sum: 4 roundings of at most
 * 2^-24 * 4 * sqrt(2). */
#define TURN_TOLERANCE (0x1p-24 * 4 * 4)

static void check_case(struct device *device, const struct rope_config *config, int n, int n_heads,
                       int head_dim, bool backwards)
{
    size_t size = (size_t)n * (size_t)n_heads * (size_t)head_dim;
    size_t table_size = (size_t)N_POSITIONS * (size_t)(head_dim / 2);
    float *cos_table = guarded_floats(table_size), *sin_table = guarded_floats(table_size);
    float *x = guarded_floats(size);
    double inv_freq[128], inv_freq_ref[128];
    int32_t positions[33];
    for (int i = 0; i < n; i++) /* 0, beyond the original context, then anywhere */
        positions[i] = i == 0   ? 0
                       : i == 1 ? N_POSITIONS - 1
                                : (int32_t)(mix64(5, (uint64_t)i) % N_POSITIONS);
    fill_uniform(x, size, 1, -4, 4);
    rope_frequencies(inv_freq, head_dim, config);
    rope_frequencies_ref(inv_freq_ref, head_dim, config);
    /* float64: the reference's exponent, up to ln(500,000) = 13, is rounded: 13 * 2^-53 and a few
     * more. */
    for (int i = 0; i < head_dim / 2; i++)
        ck_assert(fabs(inv_freq[i] - inv_freq_ref[i]) <= 40 * 0x1p-53 * inv_freq_ref[i]);
    rope_table(cos_table, sin_table, inv_freq, N_POSITIONS, head_dim);
    double *want = to_doubles(x, size);
    (backwards ? rope_bwd_ref : rope_fwd_ref)(want, positions, inv_freq_ref, n, n_heads, head_dim);
    struct err err;
    ck_assert_int_eq((backwards ? rope_bwd : rope_fwd)(device, x, positions, cos_table, sin_table,
                                                       n, n_heads, head_dim, &err),
                     STATUS_OK);
    check_close(x, want, size, TURN_TOLERANCE, 0, "%s scaling %d, %d x %d x %d, backwards %d",
                test_device_name(device), config->scaling, n, n_heads, head_dim, backwards);
    free(want);
    check_guarded(x, size);
    check_guarded(cos_table, table_size);
    check_guarded(sin_table, table_size);
}

START_TEST(rope_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int backwards = 0; backwards < 2; backwards++)
                check_case(&device, &configs[c % N_CONFIGS], cases[c].n, cases[c].n_heads,
                           cases[c].head_dim, backwards);
        device_close(&device);
    }
}
END_TEST

struct small {
    double *x, *y, *dy;
    const int32_t *positions;
    double inv_freq[4];
};

static double loss(void *context)
{
    struct small *s = context;
    memcpy(s->y, s->x, 3 * 2 * 8 * sizeof(double));
    rope_fwd_ref(s->y, s->positions, s->inv_freq, 3, 2, 8);
    return weighted_sum(s->y, s->dy, 3 * 2 * 8);
}

START_TEST(rope_bwd_reference_is_the_gradient)
{
    static const int32_t positions[3] = {0, 1, 1000};
    enum { SIZE = 3 * 2 * 8 };
    struct small s = {normal_doubles(SIZE, 1, 1.0f),
                      zero_doubles(SIZE),
                      normal_doubles(SIZE, 2, 1.0f),
                      positions,
                      {0}};
    double dx[SIZE];
    memcpy(dx, s.dy, sizeof dx);
    rope_frequencies_ref(s.inv_freq, 8, &configs[0]);
    rope_bwd_ref(dx, positions, s.inv_freq, 3, 2, 8);
    check_gradient(loss, &s, s.x, dx, SIZE, "rope");
    free(s.x), free(s.y), free(s.dy);
}
END_TEST

/* What a GGUF's converter does with Llama 3's scaling: the divisors, rounded to float32, in place
 * of the formula. */
START_TEST(rope_divisors_stand_for_llama3)
{
    enum { HALF = 64 };
    struct rope_config plain = {.scaling = ROPE_DEFAULT, .theta = 500000};
    struct rope_config divided = {.scaling = ROPE_DIVIDED, .theta = 500000};
    double before[HALF], want[HALF], got[HALF];
    rope_frequencies(before, 2 * HALF, &plain);
    rope_frequencies(want, 2 * HALF, &configs[2]);
    for (int i = 0; i < HALF; i++)
        divided.divisors[i] = (float)(before[i] / want[i]);
    rope_frequencies(got, 2 * HALF, &divided);
    for (int i = 0; i < HALF; i++)
        ck_assert(fabs(got[i] - want[i]) <= 0x1p-24 * want[i]);
    ck_assert(divided.divisors[0] == 1 && divided.divisors[HALF - 1] == 8);
}
END_TEST

/* A turn keeps lengths, and scores depend on the difference of positions only. */
START_TEST(rope_turns_relative)
{
    enum { D = 64, N = 6 };
    double inv_freq[D / 2];
    float cos_table[512 * D / 2], sin_table[512 * D / 2], q[N * D], k[N * D];
    const int32_t at_q[N] = {0, 1, 100, 300, 411, 500}, at_k[N] = {11, 12, 111, 311, 422, 511};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int row = 0; row < N; row++) {
            fill_normal(q + row * D, D, 1, 1.0f);
            fill_normal(k + row * D, D, 2, 1.0f);
        }
        rope_frequencies(inv_freq, D, &configs[0]);
        rope_table(cos_table, sin_table, inv_freq, 512, D);
        rope_fwd_cpu(&device, q, at_q, cos_table, sin_table, N, 1, D);
        rope_fwd_cpu(&device, k, at_k, cos_table, sin_table, N, 1, D);
        double scores[N] = {0};
        for (int row = 0; row < N; row++)
            for (int j = 0; j < D; j++)
                scores[row] += (double)q[row * D + j] * (double)k[row * D + j];
        for (int row = 1; row < N; row++)
            ck_assert(fabs(scores[row] - scores[0]) <= D * 16 * 0x1p-24);
        device_close(&device);
    }
}
END_TEST

/* ---- transformers --------------------------------------------------------------------------- */

static void read_numbers(FILE *file, const char *name, double *numbers, int n)
{
    char word[32];
    ck_assert_int_eq(fscanf(file, "%31s", word), 1);
    ck_assert_str_eq(word, name);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(fscanf(file, "%lf", &numbers[i]), 1);
}

/* One `position` of the golden file. transformers works in float32: its frequencies err by
 * `relative`, so angles by p * f * relative and two roundings more. */
static void check_position(FILE *file, const double *inv_freq, double relative, int head_dim)
{
    int p, half = head_dim / 2;
    double cos_want[128], sin_want[128], turned[256];
    ck_assert_int_eq(fscanf(file, " position %d", &p), 1);
    read_numbers(file, "cos", cos_want, half);
    read_numbers(file, "sin", sin_want, half);
    read_numbers(file, "turned", turned, head_dim);
    size_t table_size = ((size_t)p + 1) * (size_t)half;
    float *cos_table = guarded_floats(table_size), *sin_table = guarded_floats(table_size), x[256];
    rope_table(cos_table, sin_table, inv_freq, p + 1, head_dim);
    for (int j = 0; j < head_dim; j++)
        x[j] = (float)(j * 37 % 101) / 50 - 1;
    struct device device;
    test_device(0, &device);
    rope_fwd_cpu(&device, x, &p, cos_table, sin_table, 1, 1, head_dim);
    device_close(&device);
    for (int i = 0; i < half; i++) {
        size_t row = (size_t)p * (size_t)half + (size_t)i;
        double tolerance = p * inv_freq[i] * (relative + 2 * 0x1p-24) + 2 * 0x1p-24;
        ck_assert_msg(fabs(cos_table[row] - cos_want[i]) <= tolerance &&
                          fabs(sin_table[row] - sin_want[i]) <= tolerance,
                      "head_dim %d, position %d, pair %d", head_dim, p, i);
        ck_assert_msg(fabs(x[i] - turned[i]) <= 2 * tolerance + 4 * 0x1p-24 &&
                          fabs(x[half + i] - turned[half + i]) <= 2 * tolerance + 4 * 0x1p-24,
                      "turned: head_dim %d, position %d, pair %d", head_dim, p, i);
    }
    check_guarded(cos_table, table_size);
    check_guarded(sin_table, table_size);
}

START_TEST(rope_matches_transformers)
{
    static const char *names[] = {"default", "linear", "llama3"};
    FILE *file = fopen(golden("rope.txt"), "r");
    ck_assert_ptr_nonnull(file);
    char name[16];
    int head_dim, n_positions, n_cases = 0;
    struct rope_config config;
    while (fscanf(file, " case %15s %lf %lf %lf %lf %d %d %d", name, &config.theta, &config.factor,
                  &config.low_frequency_factor, &config.high_frequency_factor,
                  &config.original_max_positions, &head_dim, &n_positions) == 8) {
        for (int i = 0; i < 3; i++)
            if (strcmp(name, names[i]) == 0)
                config.scaling = (enum rope_scaling)i;
        double inv_freq[128], want[128];
        rope_frequencies(inv_freq, head_dim, &config);
        read_numbers(file, "frequencies", want, head_dim / 2);
        /* A rounded exponent 2i/d times ln(theta), the power, the division, and the same once more
         * where the llama3 scaling mixes two frequencies. */
        double relative = 2 * 0x1p-24 * (log(config.theta) + 4);
        for (int i = 0; i < head_dim / 2; i++)
            ck_assert_msg(fabs(inv_freq[i] - want[i]) <= relative * want[i],
                          "%s, head_dim %d, pair %d: %.9g, want %.9g", name, head_dim, i,
                          inv_freq[i], want[i]);
        for (int i = 0; i < n_positions; i++)
            check_position(file, inv_freq, relative, head_dim);
        n_cases++;
    }
    fclose(file);
    ck_assert_int_eq(n_cases, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rope");
    TCase *tests = tcase_create("rope");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, rope_matches_reference);
    tcase_add_test(tests, rope_bwd_reference_is_the_gradient);
    tcase_add_test(tests, rope_divisors_stand_for_llama3);
    tcase_add_test(tests, rope_turns_relative);
    tcase_add_test(tests, rope_matches_transformers);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
