/* The nearest centre on a GPU: its labels are those of float64 distances, bit for bit, whatever the
 * tensor cores make of the scores. */
#include "tests/cuda_support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/nearest.h"
#include "kernels/nearest_cuda.h"
#include "kernels/squared_distance.h"

/* ---- one call --------------------------------------------------------------------------------
 */

/* Labels of one run. */
struct labels {
    int32_t *label;
    int64_t n_rechecked;
};

struct call {
    int n, k, d;
    const float *x, *centres, *shift; /* shift NULL: none */
    bool split, half;                 /* half: rows are float16, which x's values must be */
};

static struct cuda_tensor send_rows(const struct call *call)
{
    size_t size = (size_t)call->n * (size_t)call->d;
    uint16_t *halves = test_alloc(size * sizeof *halves);
    for (size_t i = 0; i < size && call->half; i++)
        halves[i] = f16_from_float(call->x[i]);
    struct cuda_tensor x = call->half ? cuda_send_bytes(halves, size * sizeof *halves)
                                      : cuda_send_bytes(call->x, size * sizeof(float));
    free(halves);
    return x;
}

#define UNTOUCHED    (-77) /* a label that is not written */
#define COUNT_BEFORE 1000

/* Of centres (n_runs, k, d), those that `list` has: label is (n_runs, stride), n_rechecked
 * (n_runs), both allocated here, as they are afterwards. */
static void run_several(const struct call *call, int n_runs, const struct run_list *list,
                        int stride, int32_t **label_out, int64_t **count_out)
{
    struct err err;
    int n = call->n, k = call->k, d = call->d;
    size_t n_labels = (size_t)n_runs * (size_t)stride;
    int32_t *labels = test_alloc(n_labels * sizeof *labels);
    int64_t counts[RUNS_LARGEST];
    for (size_t i = 0; i < n_labels; i++)
        labels[i] = UNTOUCHED;
    for (int r = 0; r < n_runs; r++)
        counts[r] = COUNT_BEFORE + r;
    struct cuda_tensor x = send_rows(call);
    struct cuda_tensor centres =
        cuda_send_bytes(call->centres, (size_t)n_runs * (size_t)k * (size_t)d * sizeof(float));
    struct cuda_tensor shift =
        cuda_send_bytes(call->shift, call->shift ? (size_t)d * sizeof(float) : 0);
    struct cuda_tensor of_rows =
        cuda_empty(PRECISION_NF4, nearest_rows_cuda_bytes(n, d, call->split));
    struct cuda_tensor of_centres =
        cuda_empty(PRECISION_NF4, nearest_centres_cuda_bytes(n_runs, k, d, call->split));
    struct cuda_tensor scratch = cuda_empty(PRECISION_NF4, nearest_cuda_scratch_bytes(n, n_runs));
    struct cuda_tensor label = cuda_send_bytes(labels, n_labels * sizeof *labels);
    struct cuda_tensor count = cuda_send_bytes(counts, (size_t)n_runs * sizeof *counts);
    const float *of_shift = call->shift ? cuda_pointer(&shift) : NULL;
    struct nearest_rows_cuda rows;
    struct nearest_centres_cuda packed;
    cuda_good(nearest_rows_cuda_prepare(&cuda_test, &rows, cuda_pointer(&of_rows), cuda_pointer(&x),
                                        call->half ? NEAREST_ROWS_F16 : NEAREST_ROWS_F32, of_shift,
                                        n, d, call->split, &err),
              &err);
    cuda_good(nearest_centres_cuda_pack(&cuda_test, &packed, cuda_pointer(&of_centres),
                                        cuda_pointer(&centres), of_shift, n_runs, k, d, call->split,
                                        &err),
              &err);
    cuda_good(nearest_fwd_cuda(&cuda_test, cuda_pointer(&label), stride, &rows, &packed, list,
                               cuda_pointer(&scratch), cuda_pointer(&count), &err),
              &err);
    *label_out = cuda_download_bytes(&label);
    *count_out = cuda_download_bytes(&count);
    free(labels);
    cuda_drop(&x), cuda_drop(&centres), cuda_drop(&shift), cuda_drop(&of_rows);
    cuda_drop(&of_centres), cuda_drop(&scratch);
}

static const struct run_list only_run = {.n = 1};

static struct labels run(const struct call *call)
{
    struct labels labels;
    int64_t *count;
    run_several(call, 1, &only_run, call->n, &labels.label, &count);
    labels.n_rechecked = *count - COUNT_BEFORE;
    free(count);
    return labels;
}

static void free_labels(struct labels *labels)
{
    free(labels->label);
}

/* By the distances as the CPU has them, the lowest index of the least. */
static int32_t *labels_of_cpu(const struct call *call)
{
    struct device cpu = device_cpu(&cuda_test);
    size_t n = (size_t)call->n, k = (size_t)call->k;
    double *all = test_alloc(n * k * sizeof *all);
    int32_t *want = test_alloc(n * sizeof *want);
    squared_distance_fwd_cpu(&cpu, all, call->x, call->centres, call->n, call->k, call->d);
    for (size_t i = 0; i < n; i++) {
        double least = INFINITY;
        want[i] = -1;
        for (size_t c = 0; c < k; c++)
            if (all[i * k + c] < least)
                least = all[i * k + c], want[i] = (int32_t)c;
    }
    free(all);
    return want;
}

static void check_labels(const int32_t *got, const struct call *call, const char *what)
{
    int32_t *want = labels_of_cpu(call);
    for (int i = 0; i < call->n; i++)
        if (got[i] != want[i])
            ck_abort_msg("%s, %d x %d x %d%s: label %d is %d and not %d", what, call->n, call->k,
                         call->d, call->split ? ", split" : "", i, got[i], want[i]);
    free(want);
}

/* Returns how many rows were rechecked. */
static int64_t check(const struct call *call, const char *what)
{
    struct labels got = run(call);
    check_labels(got.label, call, what);
    int64_t n_rechecked = got.n_rechecked;
    ck_assert(n_rechecked >= 0 && n_rechecked <= call->n);
    free_labels(&got);
    return n_rechecked;
}

/* nearest_fwd_cpu's labels too, and, where rounding cannot matter, the reference's. */
static void check_against_others(const struct call *call)
{
    struct device cpu = device_cpu(&cuda_test);
    int n = call->n, k = call->k, d = call->d;
    double tolerance = squared_distance_fwd_tolerance(d);
    struct nearest_centres packed;
    void *memory;
    ck_assert_int_eq(posix_memalign(&memory, 64, nearest_centres_bytes(k, d)), 0);
    struct labels got = run(call);
    int32_t *of_cpu = test_alloc((size_t)n * sizeof *of_cpu);
    int32_t *of_ref = test_alloc((size_t)n * sizeof *of_ref);
    double *distance = test_alloc((size_t)n * sizeof *distance);
    double *second = test_alloc((size_t)n * sizeof *second);
    double *x = to_doubles(call->x, (size_t)n * (size_t)d);
    double *centres = to_doubles(call->centres, (size_t)k * (size_t)d);
    nearest_centres_pack(&cpu, &packed, memory, call->centres, call->shift, NULL, k, d);
    nearest_fwd_cpu(&cpu, of_cpu, NULL, call->x, &packed, n, NULL);
    nearest_fwd_ref(of_ref, distance, second, x, centres, n, k, d);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(got.label[i], of_cpu[i]);
        if (second[i] - distance[i] > 2 * tolerance * second[i])
            ck_assert_int_eq(got.label[i], of_ref[i]);
    }
    free_labels(&got);
    free(memory), free(of_cpu), free(of_ref), free(distance), free(second), free(x), free(centres);
}

static bool can_compare(void)
{
    struct device cpu = device_cpu(&cuda_test);
    return cpu.isa == CPU_AVX2;
}

#define DEVICE_OR_SKIP(setting)                                                                    \
    do {                                                                                           \
        if (!cuda_test_device(setting))                                                            \
            SKIP("needs nvcc");                                                                    \
        if (!can_compare()) {                                                                      \
            device_close(&cuda_test);                                                              \
            SKIP("needs AVX2, whose bits the GPU's float64 has");                                  \
        }                                                                                          \
    } while (0)

/* ---- inputs ---------------------------------------------------------------------------------- */

struct input {
    struct call call;
    float *x, *centres, *shift;
};

/* n rows round k points, those the centres, all round a common mean. */
static struct input make_input(int n, int k, int d, float deviation, float mean)
{
    struct input in = {.call = {.n = n, .k = k, .d = d}};
    size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)k * (size_t)d;
    in.x = test_alloc(x_size * sizeof *in.x);
    in.centres = test_alloc(c_size * sizeof *in.centres);
    in.shift = test_alloc((size_t)d * sizeof *in.shift);
    fill_normal(in.x, x_size, 1, deviation);
    fill_normal(in.centres, c_size, 2, 1.0f);
    for (int j = 0; j < d; j++)
        in.shift[j] = mean * (1 + (float)(j % 7) / 8);
    for (size_t i = 0; i < c_size; i++)
        in.centres[i] += in.shift[i % (size_t)d];
    for (size_t i = 0; i < x_size; i++) {
        size_t c = mix64(3, i / (size_t)d) % (size_t)k;
        in.x[i] += in.centres[c * (size_t)d + i % (size_t)d];
    }
    in.call.x = in.x, in.call.centres = in.centres, in.call.shift = in.shift;
    return in;
}

static void free_input(struct input *in)
{
    free(in->x), free(in->centres), free(in->shift);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* n round the tiles of 64 and 128 rows, k round those of 32, 64, 128 and 256 centres, d round a
 * step of 64 columns, whole vectors of four and not. */
static const struct {
    int n, k, d;
    bool full;
} cases[] = {
    {0, 3, 5, false},     {1, 1, 1, false},     {3, 1, 4, false},     {65, 2, 2, false},
    {64, 20, 64, false},  {63, 32, 65, false},  {130, 33, 63, false}, {70, 64, 128, false},
    {129, 65, 33, false}, {40, 100, 64, false}, {127, 128, 8, false}, {33, 129, 130, false},
    {66, 257, 5, false},  {20, 256, 64, false}, {9, 1000, 64, true},  {128, 1000, 2, false},
    {5, 20, 4096, false}, {70, 100, 576, true}, {65, 256, 576, true}, {200, 513, 3, false},
    {64, 20, 577, false},
};

START_TEST(nearest_is_what_float64_says)
{
    DEVICE_OR_SKIP(_i);
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
        if (cases[t].full && !cuda_test_full())
            continue;
        struct input in = make_input(cases[t].n, cases[t].k, cases[t].d, 1.0f, 0.5f);
        for (int split = 0; split < 2; split++) {
            in.call.split = split;
            in.call.shift = t % 3 == 2 ? NULL : in.shift;
            check(&in.call, "normal");
        }
        if (t % 4 == 0)
            check_against_others(&in.call);
        free_input(&in);
    }
    device_close(&cuda_test);
}
END_TEST

/* Centres that differ by ulps, and rows half-way between two: nothing but float64 can tell. */
START_TEST(near_ties_are_decided_in_float64)
{
    enum { N = 70, K = 39, D = 37 };
    DEVICE_OR_SKIP(_i);
    for (int split = 0; split < 2; split++) {
        struct input in = make_input(N, K, D, 0.25f, 0.5f);
        for (int c = 0; c < K; c++) /* triples, each an ulp or two from the other in one place */
            for (int j = 0; j < D; j++) {
                float value = in.centres[c / 3 * 3 * D + j];
                if (j == c % D)
                    value = nextafterf(value, c % 3 == 1 ? INFINITY : -INFINITY);
                in.centres[c * D + j] = value;
            }
        for (int i = 0; i < N; i++)
            for (int j = 0; j < D && i % 2; j++)
                in.x[i * D + j] = (in.centres[i % K * D + j] + in.centres[(i + 1) % K * D + j]) / 2;
        in.call.split = split;
        ck_assert_int_eq(check(&in.call, "near ties"), N);
        free_input(&in);
    }
    device_close(&cuda_test);
}
END_TEST

/* Of equal centres the lowest wins, of two, of as many as are listed, and of more. */
START_TEST(equal_centres_go_to_the_lowest)
{
    enum { N = 66, K = 45, D = 20 };
    static const int copies[] = {2, 7, 8, 9, K};
    DEVICE_OR_SKIP(_i);
    for (int split = 0; split < 2; split++)
        for (size_t t = 0; t < sizeof copies / sizeof *copies; t++) {
            struct input in = make_input(N, K, D, 0.5f, 0);
            for (int c = 0; c < K; c++)
                for (int j = 0; j < D; j++)
                    in.centres[c * D + j] = in.centres[c % (K / copies[t]) * D + j];
            in.call.split = split;
            struct labels got = run(&in.call);
            for (int i = 0; i < N; i++)
                ck_assert_int_lt(got.label[i], K / copies[t]);
            ck_assert_int_eq(got.n_rechecked, N);
            free_labels(&got);
            check(&in.call, "equal centres");
            free_input(&in);
        }
    device_close(&cuda_test);
}
END_TEST

/* With a mean of 1000 times the spread, the shift leaves scores that decide; without it nothing but
 * float64 does. */
START_TEST(shift_takes_a_large_mean)
{
    enum { N = 64, K = 20, D = 96 };
    DEVICE_OR_SKIP(_i);
    struct input in = make_input(N, K, D, 0.25f, 1000);
    ck_assert_int_le(check(&in.call, "large mean"), N / 20);
    in.call.shift = NULL;
    ck_assert_int_ge(check(&in.call, "large mean, no shift"), N / 2);
    in.call.split = true;
    check(&in.call, "large mean, no shift");
    free_input(&in);
    device_close(&cuda_test);
}
END_TEST

/* Rows as k-means has them when clusters overlap: one product leaves many undecided, the split few.
 * The bound is tight enough to be of use, 2^-16 or so. */
START_TEST(split_decides_what_one_product_does_not)
{
    enum { N = 256, K = 30, D = 128 };
    DEVICE_OR_SKIP(_i);
    struct input in = make_input(N, K, D, 8.0f, 0);
    int64_t one = check(&in.call, "overlapping");
    ck_assert_int_ge(one, N / 9);
    ck_assert(nearest_cuda_splits(false, false, one, N));
    in.call.split = true;
    int64_t split = check(&in.call, "overlapping");
    ck_assert_int_le(split, one / 16);
    free_input(&in);
    ck_assert(!nearest_cuda_splits(false, false, 10, 100));
    ck_assert(nearest_cuda_splits(false, false, 11, 100));
    ck_assert(!nearest_cuda_splits(false, true, 50, 100));
    ck_assert(nearest_cuda_splits(false, true, 51, 100));
    ck_assert(nearest_cuda_splits(true, true, 0, 100));
    device_close(&cuda_test);
}
END_TEST

/* NaN and infinities give -1 and touch no other row; values that float32's squares cannot hold are
 * left to float64, as are centres far away. */
START_TEST(rows_of_any_size)
{
    enum { N = 67, K = 11, D = 12 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    DEVICE_OR_SKIP(_i);
    for (int split = 0; split < 2; split++) {
        struct input in = make_input(N, K, D, 1, 0.5f);
        for (int i = 0; i < 3; i++)
            in.x[(5 + 20 * i) * D + i] = bad[i];
        in.x[9 * D] = 3e38f, in.x[10 * D + 1] = -0x1p70f, in.x[11 * D] = FLT_MAX;
        for (int j = 0; j < D; j++) {
            in.x[12 * D + j] *= 0x1p-140f;
            in.x[13 * D + j] = 0, in.x[14 * D + j] = in.shift[j];
        }
        in.call.split = split;
        check(&in.call, "any size");
        struct labels got = run(&in.call);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(got.label[5 + 20 * i], -1);
        free_labels(&got);
        in.centres[3 * D] = 0x1p80f, in.centres[4 * D] = -FLT_MAX;
        check(&in.call, "far centres");
        for (int i = 0; i < K * D; i++) /* all scores below the least float */
            in.centres[i] *= 0x1p-100f;
        for (int i = 0; i < N * D; i++)
            in.x[i] *= 0x1p-100f;
        in.call.shift = NULL;
        check(&in.call, "tiny");
        free_input(&in);
    }
    device_close(&cuda_test);
}
END_TEST

/* One centre so far out that its rounding is larger than the others' distances: the bound goes by
 * centre, so the rows of the others are decided none the less. */
START_TEST(far_centre_spoils_no_other)
{
    enum { N = 100, K = 12, D = 64 };
    DEVICE_OR_SKIP(_i);
    struct input in = make_input(N, K, D, 0.125f, 0);
    for (int j = 0; j < D; j++)
        in.centres[5 * D + j] += 1e4f;
    ck_assert_int_le(check(&in.call, "a far centre"), N / 4);
    free_input(&in);
    device_close(&cuda_test);
}
END_TEST

START_TEST(rows_of_float16_are_widened)
{
    static const int columns[] = {64, 37, 68};
    enum { N = 70, K = 21 };
    DEVICE_OR_SKIP(_i);
    for (size_t t = 0; t < 3; t++)
        for (int split = 0; split < 2; split++) {
            int d = columns[t];
            struct input in = make_input(N, K, d, 2, 0.5f);
            for (int i = 0; i < N * d; i++)
                in.x[i] = f16_to_float(f16_from_float(in.x[i]));
            in.call.half = true, in.call.split = split;
            check(&in.call, "float16");
            free_input(&in);
        }
    device_close(&cuda_test);
}
END_TEST

/* Nothing is lost to bfloat16 here, but cards that cut off what they add lose every small product
 * beside 256, which is 63 * 2^-9 of the first centre and nothing of the second: there those stand
 * in another step. The first is nearer, by the one small product that the second lacks. */
START_TEST(what_sums_cut_off_is_allowed_for)
{
    enum { K = 2, D = 128, HALF = D / 2 };
    const float small = 0x1.fcp-16f;
    float x[D], centres[K * D] = {0};
    DEVICE_OR_SKIP(_i);
    for (int j = 0; j < D; j++)
        x[j] = j < 2 * HALF - 1 ? 64 : 0; /* longer than the centres, whose squares are rounded */
    centres[0] = centres[D + HALF] = 256;
    for (int j = 0; j < HALF - 1; j++) {
        centres[1 + j] = small;
        centres[D + j] = j > 0 ? small : 0;
    }
    for (int split = 0; split < 2; split++) {
        struct call call = {.n = 1, .k = K, .d = D, .x = x, .centres = centres, .split = split};
        struct labels got = run(&call);
        ck_assert_int_eq(got.label[0], 0);
        ck_assert_int_eq(got.n_rechecked, 1);
        free_labels(&got);
        check(&call, "small products");
    }
    device_close(&cuda_test);
}
END_TEST

/* A row's label, and whether it was rechecked, do not depend on those beside it. */
START_TEST(rows_do_not_depend_on_company)
{
    enum { N = 150, K = 40, D = 24 };
    DEVICE_OR_SKIP(_i);
    struct input in = make_input(N, K, D, 3, 0);
    struct labels all = run(&in.call);
    int64_t n_rechecked = 0;
    for (int first = 0, n = 1; first < N; first += n, n = n * 3 + 1) {
        struct call part = in.call;
        part.x = in.x + first * D, part.n = n < N - first ? n : N - first;
        struct labels got = run(&part);
        ck_assert_mem_eq(got.label, all.label + first, (size_t)part.n * sizeof *got.label);
        n_rechecked += got.n_rechecked;
        free_labels(&got);
    }
    ck_assert_int_eq(n_rechecked, all.n_rechecked);
    ck_assert_int_gt(n_rechecked, 0);
    free_labels(&all);
    free_input(&in);
    device_close(&cuda_test);
}
END_TEST

/* Runs whose centres are some, or shifted a little, or far out, over the same rows; some are left
 * out, and labels lie in longer rows. A run gets what it gets alone: label, and what is rechecked;
 * nothing else is written. */
START_TEST(runs_do_not_depend_on_company)
{
    enum { RUNS = 7, D = 68 };
    static const struct {
        int n, k, beyond;
        struct run_list list;
    } lists[] = {
        {150, 20, 3, {.n = 4, .of = {1, 2, 4, 6}}},
        {65, 40, 0, {.n = 7, .of = {0, 1, 2, 3, 4, 5, 6}}},
        {70, 130, 58, {.n = 1, .of = {6}}},
        {129, 257, 1, {.n = 2, .of = {0, 5}}},
        {64, 33, 1, {.n = 0}},
    };
    DEVICE_OR_SKIP(_i);
    for (size_t t = 0; t < sizeof lists / sizeof *lists; t++)
        for (int split = 0; split < 2; split++) {
            int n = lists[t].n, k = lists[t].k, stride = n + lists[t].beyond;
            const struct run_list *list = &lists[t].list;
            size_t size = (size_t)k * D;
            struct input in = make_input(n, k, D, 3, 0.5f);
            float *all = test_alloc(RUNS * size * sizeof *all);
            fill_normal(all, RUNS * size, 9, 0.25f);
            for (int r = 0; r < RUNS; r++) /* the same centres, in another order in each run */
                for (size_t i = 0; i < size; i++)
                    all[(size_t)r * size + i] += in.centres[(i + (size_t)r * 5 * D) % size];
            in.call.split = split;
            struct call together = in.call;
            int32_t *label;
            int64_t *count;
            together.centres = all;
            run_several(&together, RUNS, list, stride, &label, &count);
            for (int r = 0, at = 0; r < RUNS; r++) {
                bool listed = at < list->n && list->of[at] == r;
                const int32_t *of_run = label + (size_t)r * (size_t)stride;
                int64_t n_rechecked = count[r] - COUNT_BEFORE - r;
                at += listed;
                if (listed) {
                    in.call.centres = all + (size_t)r * size;
                    check_labels(of_run, &in.call, "several runs");
                    struct labels alone = run(&in.call);
                    ck_assert_int_eq(n_rechecked, alone.n_rechecked);
                    ck_assert(split || n_rechecked > 0);
                    free_labels(&alone);
                } else
                    ck_assert_int_eq(n_rechecked, 0);
                for (int i = listed ? n : 0; i < stride; i++)
                    ck_assert_int_eq(of_run[i], UNTOUCHED);
            }
            free(all), free(label), free(count);
            free_input(&in);
        }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_nearest");
    TCase *tests = tcase_create("cuda_nearest");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, nearest_is_what_float64_says, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, near_ties_are_decided_in_float64, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, equal_centres_go_to_the_lowest, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, shift_takes_a_large_mean, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, split_decides_what_one_product_does_not, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rows_of_any_size, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, far_centre_spoils_no_other, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rows_of_float16_are_widened, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, what_sums_cut_off_is_allowed_for, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rows_do_not_depend_on_company, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, runs_do_not_depend_on_company, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
