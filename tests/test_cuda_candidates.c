/* The start of k-means on a GPU: distances to candidates, what they leave, and the rows that are
 * drawn, all bit for bit the CPU's. */
#include "tests/cuda_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "kernels/candidate_distance.h"
#include "kernels/potential.h"
#include "tests/candidate_inputs.h"

#define DEVICE_OR_SKIP(setting)                                                                    \
    do {                                                                                           \
        if (!cuda_test_device(setting))                                                            \
            SKIP("needs nvcc");                                                                    \
    } while (0)

static struct cuda_tensor send_floats(const float *x, size_t n)
{
    return cuda_send_bytes(x, n * sizeof *x);
}

static struct cuda_tensor empty_floats(size_t n)
{
    return cuda_empty(PRECISION_NF4, n * sizeof(float));
}

/* Any NaN is as good as another. */
static void check_floats(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 &&
            !(got[i] != got[i] && want[i] != want[i]))
            ck_abort_msg("%s: element %zu is %a and not %a", what, i, (double)got[i],
                         (double)want[i]);
}

/* ---- distances to candidates ----------------------------------------------------------------- */

static void check_distances(const float *x, const float *c, int n, int t, int d, const char *what)
{
    struct device cpu = device_cpu(&cuda_test);
    struct err err;
    size_t size = (size_t)n * (size_t)t;
    char text[128];
    snprintf(text, sizeof text, "%s, %d x %d x %d", what, n, t, d);
    struct cuda_tensor of_x = send_floats(x, (size_t)n * (size_t)d);
    struct cuda_tensor of_c = send_floats(c, (size_t)t * (size_t)d), out = empty_floats(size);
    cuda_good(candidate_distance_fwd(&cuda_test, cuda_pointer(&out), cuda_pointer(&of_x),
                                     cuda_pointer(&of_c), n, t, d, &err),
              &err);
    float *got = cuda_download_bytes(&out), *want = test_alloc(size * sizeof *want);
    candidate_distance_fwd_cpu(&cpu, want, x, c, n, t, d);
    check_floats(got, want, size, text);
    cuda_drop(&of_x), cuda_drop(&of_c);
    free(got), free(want);
}

/* n round tiles of 32 rows, t round 8 candidates a warp, 1 to 10 such groups, and chunks
 * of 80, d round steps of 64 columns, whole vectors and not. */
static const struct {
    int n, t, d;
} cases[] = {
    {0, 3, 5},    {3, 0, 5},    {1, 1, 1},     {2, 2, 7},     {33, 3, 8},   {31, 4, 64},
    {32, 5, 65},  {65, 6, 63},  {15, 7, 17},   {40, 8, 128},  {5, 9, 130},  {34, 16, 20},
    {3, 17, 196}, {64, 32, 3},  {35, 33, 12},  {7, 50, 257},  {36, 64, 9},  {33, 80, 16},
    {3, 81, 40},  {9, 176, 31}, {100, 5, 576}, {3, 11, 8192}, {2, 2, 8191}, {70, 110, 70},
};

START_TEST(distances_are_the_cpus)
{
    static const int exponents[][2] = {{-2, 3}, {-30, 30}, {-80, -60}, {-149, -70}, {50, 66}};
    DEVICE_OR_SKIP(_i);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int n = cases[k].n, t = cases[k].t, d = cases[k].d;
        size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)t * (size_t)d;
        const int *range = exponents[k % (sizeof exponents / sizeof *exponents)];
        float *x = test_alloc(x_size * sizeof *x), *c = test_alloc(c_size * sizeof *c);
        fill_any_size(x, x_size, 2 * k, range[0], range[1]);
        fill_any_size(c, c_size, 2 * k + 1, range[0], range[1]);
        check_distances(x, c, n, t, d, "distances");
        free(x), free(c);
    }
    device_close(&cuda_test);
}
END_TEST

/* Sums of all sizes, subnormal ones too; NaN and infinities; rows that are candidates. */
START_TEST(distances_of_any_size_are_the_cpus)
{
    enum { N = 40, T = 9, D = 19 };
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 2e19f};
    float x[N * D], c[T * D];
    DEVICE_OR_SKIP(_i);
    for (int low = -149; low < 120; low += 12) {
        fill_any_size(x, N * D, (uint64_t)(low + 200), low, low + 8);
        fill_any_size(c, T * D, (uint64_t)(low + 600), low, low + 8);
        memcpy(c + 3 * D, x + 5 * D, D * sizeof *c);
        check_distances(x, c, N, T, D, "any size");
    }
    fill_normal(x, N * D, 6, 1.0f);
    fill_normal(c, T * D, 7, 1.0f);
    for (int i = 0; i < 6; i++)
        x[(6 * i + 1) * D + 3 * i] = c[(i + 2) * D + 3 * i] = odd[i];
    check_distances(x, c, N, T, D, "odd values");
    device_close(&cuda_test);
}
END_TEST

/* ---- potentials ------------------------------------------------------------------------------ */

struct runs {
    int n, runs, trials;
    size_t n_distances, n_trials, n_sums;
    float *distance, *trial;
    struct cuda_tensor of_distance, of_trial;
};

static struct runs make(int n, int runs, int trials)
{
    struct runs r = {.n = n, .runs = runs, .trials = trials};
    r.n_distances = (size_t)n * (size_t)runs;
    r.n_trials = r.n_distances * (size_t)trials;
    r.n_sums = (size_t)potential_blocks(n) * (size_t)(runs * trials);
    r.distance = test_alloc(r.n_distances * sizeof *r.distance);
    r.trial = test_alloc(r.n_trials * sizeof *r.trial);
    fill_distances(r.distance, r.n_distances, 1);
    fill_distances(r.trial, r.n_trials, 2);
    put_odd_values(r.trial, r.n_trials);
    r.of_distance = send_floats(r.distance, r.n_distances);
    r.of_trial = send_floats(r.trial, r.n_trials);
    return r;
}

static void drop(struct runs *r)
{
    cuda_drop(&r->of_distance), cuda_drop(&r->of_trial);
    free(r->distance), free(r->trial);
}

/* Blocks of 512 rows in tiles of 128, groups of at most 32 columns. */
static const struct {
    int n, runs, trials;
} potentials[] = {
    {0, 2, 3},    {1, 1, 1},    {127, 3, 2},  {128, 1, 5},   {511, 2, 4},
    {513, 1, 32}, {641, 3, 11}, {1025, 2, 7}, {300, 16, 11}, {5894, 10, 5},
};

START_TEST(sums_are_the_cpus)
{
    DEVICE_OR_SKIP(_i);
    for (size_t k = 0; k < sizeof potentials / sizeof *potentials; k++) {
        struct device cpu = device_cpu(&cuda_test);
        struct err err;
        struct runs r = make(potentials[k].n, potentials[k].runs, potentials[k].trials);
        struct cuda_tensor sums = cuda_empty(PRECISION_NF4, r.n_sums * sizeof(double));
        cuda_good(potential_fwd(&cuda_test, cuda_pointer(&sums), cuda_pointer(&r.of_distance),
                                cuda_pointer(&r.of_trial), r.n, r.runs, r.trials, &err),
                  &err);
        double *got = cuda_download_bytes(&sums), *want = test_alloc(r.n_sums * sizeof *want);
        potential_fwd_cpu(&cpu, want, r.distance, r.trial, r.n, r.runs, r.trials);
        for (size_t i = 0; i < r.n_sums; i++)
            if (memcmp(&got[i], &want[i], sizeof *got) != 0)
                ck_abort_msg("%d x %d x %d: sum %zu is %.17g and not %.17g", r.n, r.runs, r.trials,
                             i, got[i], want[i]);
        free(got), free(want);
        drop(&r);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(what_is_kept_is_the_cpus)
{
    static const int best[RUNS_LARGEST] = {2, 0, 3, 1, 1};
    enum { N = 700, RUNS = 5, TRIALS = 4 };
    struct device cpu;
    struct err err;
    DEVICE_OR_SKIP(_i);
    cpu = device_cpu(&cuda_test);
    struct runs r = make(N, RUNS, TRIALS);
    for (int begin = 0; begin < 2; begin++) {
        if (begin) {
            cuda_good(potential_begin(&cuda_test, cuda_pointer(&r.of_distance), N, RUNS, &err),
                      &err);
            cuda_good(potential_begin(&cpu, r.distance, N, RUNS, &err), &err);
        }
        cuda_good(potential_keep(&cuda_test, cuda_pointer(&r.of_distance),
                                 cuda_pointer(&r.of_trial), best, N, RUNS, TRIALS, &err),
                  &err);
        potential_keep_cpu(&cpu, r.distance, r.trial, best, N, RUNS, TRIALS);
        float *got = test_alloc(r.n_distances * sizeof *got);
        cuda_good(cuda_copy_from(cuda_test.cuda, got, cuda_pointer(&r.of_distance),
                                 r.n_distances * sizeof *got, &err),
                  &err);
        cuda_good(cuda_synchronise(cuda_test.cuda, &err), &err);
        check_floats(got, r.distance, r.n_distances, "kept");
        free(got);
    }
    drop(&r);
    device_close(&cuda_test);
}
END_TEST

static double sum_of(const struct runs *r, int run, const struct potential_draw *draw, int rows)
{
    double sum = draw->before;
    for (int i = draw->block * POTENTIAL_ROWS; i < r->n && rows > 0; i++, rows--)
        sum += (double)r->distance[run * r->n + i];
    return sum;
}

/* Places all over the block and beyond it, where sums stand still, and where no row has a share. */
START_TEST(draws_are_the_cpus)
{
    static const struct {
        int n, runs, trials, d;
    } shapes[] = {{1, 1, 1, 1}, {700, 3, 5, 3}, {513, 16, 11, 4}, {1100, 1, 30, 520}};
    DEVICE_OR_SKIP(_i);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        int n = shapes[k].n, runs = shapes[k].runs, trials = shapes[k].trials, d = shapes[k].d;
        struct err err;
        struct runs r = make(n, runs, trials);
        size_t size = (size_t)(runs * trials) * (size_t)d, x_size = (size_t)n * (size_t)d;
        struct potential_draw *draws = test_alloc((size_t)(runs * trials) * sizeof *draws);
        float *x = test_alloc(x_size * sizeof *x), *want = test_alloc(size * sizeof *want);
        for (size_t i = 0; i < x_size; i++)
            x[i] = (float)i;
        for (int i = 0; i < n * runs; i++) /* most have no share; of the second run none */
            if (i % 7 || i / n == 1)
                r.distance[i] = 0;
        for (int c = 0; c < runs * trials; c++) {
            uint64_t bits = mix64(9, (uint64_t)c);
            draws[c].block = (int)(bits % (uint64_t)potential_blocks(n));
            draws[c].before = (double)(bits >> 60);
            draws[c].place = draws[c].before + (double)(bits >> 40) * 0x1p-18 - 1;
            if (c % 3 == 1) /* what rows come to, exactly, and more than all of the block's do */
                draws[c].place = sum_of(&r, c / trials, &draws[c], 100 + c % 300);
            else if (c % 7 == 2)
                draws[c].place = 1e9;
        }
        cuda_drop(&r.of_distance);
        r.of_distance = send_floats(r.distance, r.n_distances);
        struct cuda_tensor of_x = send_floats(x, x_size), candidates = empty_floats(size);
        cuda_good(potential_draw(&cuda_test, cuda_pointer(&candidates), cuda_pointer(&of_x),
                                 cuda_pointer(&r.of_distance), draws, n, runs, trials, d, &err),
                  &err);
        float *got = cuda_download_bytes(&candidates);
        potential_draw_cpu(want, x, r.distance, draws, n, runs, trials, d);
        check_floats(got, want, size, "drawn");
        cuda_drop(&of_x), drop(&r);
        free(got), free(want), free(x), free(draws);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_candidates");
    TCase *tests = tcase_create("cuda_candidates");
    tcase_add_loop_test(tests, distances_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, distances_of_any_size_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, sums_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, what_is_kept_is_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, draws_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
