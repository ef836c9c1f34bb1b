/* Rows' distances to their own centres on a GPU: the CPU's with AVX2, bit for bit, whatever the
 * values. */
#include "tests/cuda_support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/own_distance.h"
#include "kernels/squared_distance.h"

#define DEVICE_OR_SKIP(setting)                                                                    \
    do {                                                                                           \
        if (!cuda_test_device(setting))                                                            \
            SKIP("needs nvcc");                                                                    \
        if (device_cpu(&cuda_test).isa != CPU_AVX2) {                                              \
            device_close(&cuda_test);                                                              \
            SKIP("needs AVX2, whose bits the GPU's float64 has");                                  \
        }                                                                                          \
    } while (0)

struct input {
    int n, k, d;
    float *x, *centres;
    int32_t *label;
};

static struct input make_input(int n, int k, int d)
{
    struct input in = {.n = n, .k = k, .d = d};
    size_t rows = (size_t)n * (size_t)d, size = (size_t)k * (size_t)d;
    in.x = test_alloc(rows * sizeof *in.x);
    in.centres = test_alloc(size * sizeof *in.centres);
    in.label = test_alloc((size_t)n * sizeof *in.label);
    fill_normal(in.x, rows, 1, 1.0f);
    fill_normal(in.centres, size, 2, 1.0f);
    for (int i = 0; i < n; i++)
        in.label[i] = (int32_t)(mix64(3, (uint64_t)i) % (uint64_t)k);
    return in;
}

static void free_input(struct input *in)
{
    free(in->x), free(in->centres), free(in->label);
}

static double *run(const struct input *in)
{
    struct err err;
    size_t n = (size_t)in->n, k = (size_t)in->k, d = (size_t)in->d;
    struct cuda_tensor x = cuda_send_bytes(in->x, n * d * sizeof(float));
    struct cuda_tensor centres = cuda_send_bytes(in->centres, k * d * sizeof(float));
    struct cuda_tensor label = cuda_send_ints(in->label, n);
    struct cuda_tensor distance = cuda_empty(PRECISION_NF4, n * sizeof(double));
    cuda_good(own_distance_fwd(&cuda_test, cuda_pointer(&distance), cuda_pointer(&x),
                               cuda_pointer(&centres), cuda_pointer(&label), in->n, in->d, &err),
              &err);
    cuda_drop(&x), cuda_drop(&centres), cuda_drop(&label);
    return cuda_download_bytes(&distance);
}

/* Returns how many are finite. */
static int check(const struct input *in, const char *what)
{
    struct device cpu = device_cpu(&cuda_test);
    double *got = run(in), *want = test_alloc((size_t)in->n * sizeof *want);
    int n_finite = 0;
    own_distance_fwd_cpu(&cpu, want, in->x, in->centres, in->label, in->n, in->d);
    for (int i = 0; i < in->n; i++) {
        bool same = memcmp(&got[i], &want[i], sizeof *got) == 0;
        if (!same && !(isnan(got[i]) && isnan(want[i])))
            ck_abort_msg("%s, %d x %d: distance %d is %.17g and not %.17g", what, in->n, in->d, i,
                         got[i], want[i]);
        n_finite += isfinite(got[i]) != 0;
    }
    free(got), free(want);
    return n_finite;
}

/* n round a block's 16 rows and a warp's 8; d round vectors, the 16 columns of a quad's vectors and
 * the 64 that are under way at a time, in whole vectors and not. */
static const int shapes[][3] = {
    {0, 1, 4},   {1, 1, 1},    {7, 2, 3},     {8, 3, 4},     {9, 3, 5},     {15, 4, 15},
    {16, 5, 16}, {17, 5, 17},  {33, 6, 20},   {31, 7, 63},   {16, 8, 64},   {5, 9, 65},
    {18, 9, 68}, {20, 9, 127}, {20, 20, 128}, {21, 20, 144}, {40, 20, 577}, {18, 20, 4096},
};

START_TEST(distances_are_the_cpus)
{
    DEVICE_OR_SKIP(_i);
    for (size_t t = 0; t < sizeof shapes / sizeof *shapes; t++) {
        struct input in = make_input(shapes[t][0], shapes[t][1], shapes[t][2]);
        ck_assert_int_eq(check(&in, "normal"), in.n);
        free_input(&in);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(distances_are_those_of_the_reference)
{
    enum { N = 40, K = 7, D = 132 };
    DEVICE_OR_SKIP(_i);
    struct input in = make_input(N, K, D);
    double *x = to_doubles(in.x, N * D), *centres = to_doubles(in.centres, K * D), want[N];
    double *got = run(&in);
    own_distance_fwd_ref(want, x, centres, in.label, N, D);
    for (int i = 0; i < N; i++)
        ck_assert(fabs(got[i] - want[i]) <= squared_distance_fwd_tolerance(D) * want[i]);
    free(x), free(centres), free(got);
    free_input(&in);
    device_close(&cuda_test);
}
END_TEST

/* Values whose float64 is not their float32 with more zeros, on either side and on both, in vectors
 * and behind them. Distances from 2^-298 to 2^256 and NaN. */
START_TEST(values_of_any_size)
{
    static const float odd[] = {
        0,         -0.0f,   0x1p-149f,     -0x1p-149f,    0x1.fffffcp-127f, -0x1p-127f,
        0x1p-126f, FLT_MAX, -FLT_MAX,      0x1p-125f,     0x1p127f,         0x1.8p-130f,
        1,         -3e-39f, 0x1.000002p0f, 0x1.fffffep-1f};
    static const float worse[] = {NAN, INFINITY, -INFINITY};
    static const int columns[] = {148, 147, 64, 16, 5};
    enum { N = 70, K = 9, ODD = sizeof odd / sizeof *odd };
    DEVICE_OR_SKIP(_i);
    for (size_t t = 0; t < sizeof columns / sizeof *columns; t++) {
        struct input in = make_input(N, K, columns[t]);
        int d = in.d;
        for (int i = 0; i < N * d; i++)
            if (mix64(4, (uint64_t)i) % 3 == 0)
                in.x[i] = odd[mix64(5, (uint64_t)i) % ODD];
        ck_assert_int_eq(check(&in, "odd rows"), N);
        for (int i = 0; i < K * d; i++)
            if (mix64(6, (uint64_t)i) % 3 == 0)
                in.centres[i] = odd[mix64(7, (uint64_t)i) % ODD];
        ck_assert_int_eq(check(&in, "odd rows and centres"), N);
        for (int i = 0; i < N * d; i++) /* nothing but what is below the least normal number */
            in.x[i] = 0x1p-149f * (float)(int)(mix64(8, (uint64_t)i) % 5 - 2);
        for (int i = 0; i < K * d; i++)
            in.centres[i] = 0x1p-149f * (float)(int)(mix64(9, (uint64_t)i) % 5 - 2);
        ck_assert_int_eq(check(&in, "tiny"), N);
        free_input(&in);
        in = make_input(N, K, d);
        for (int i = 0; i < N; i += 2)
            in.x[i * d + i % d] = worse[i / 2 % 3];
        in.centres[4 * d + d / 2] = NAN, in.centres[5 * d] = INFINITY;
        int n_finite = check(&in, "not finite");
        ck_assert(n_finite > 0 && n_finite <= N / 2);
        free_input(&in);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_own_distance");
    TCase *tests = tcase_create("cuda_own_distance");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, distances_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, distances_are_those_of_the_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, values_of_any_size, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
