/* Sums of clusters: the reference's bytes, in whatever pieces rows come, by any number of threads.
 */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cluster_sums.h"

/* Who goes where. */
enum pattern {
    EVERY_ROW,   /* from nowhere, each to a cluster */
    SOME,        /* many stay; some come from nowhere, some go there */
    FEW,         /* nearly all stay */
    ONE_CLUSTER, /* nine of ten into the last cluster, the rest anywhere */
    LEAVING,     /* all to nowhere */
};

/* n rows, k clusters, d columns: none, one; around vectors of 4 and 16 columns, four rows, parts of
 * 4,096 rows and chunks of 262,144; k = 1, k = n, clusters that are sorted by two and by three
 * digits; columns that are divided among threads. Rows in order are those of one thread with few
 * short sums. */
static const struct {
    int n, k, d;
    enum pattern pattern;
} cases[] = {
    {0, 3, 5, EVERY_ROW},         {1, 1, 1, EVERY_ROW},        {1, 7, 3, SOME},
    {2, 2, 2, EVERY_ROW},         {5, 1, 17, EVERY_ROW},       {9, 9, 16, EVERY_ROW},
    {33, 33, 31, SOME},           {70, 2, 15, LEAVING},        {300, 20, 64, SOME},
    {4095, 100, 7, SOME},         {4096, 20, 33, EVERY_ROW},   {4097, 3, 129, ONE_CLUSTER},
    {8193, 2048, 5, SOME},        {8192, 2049, 130, SOME},     {12300, 100, 20, FEW},
    {3000, 5000000, 1, SOME},     {20000, 20000, 1, SOME},     {9000, 1, 150, EVERY_ROW},
    {9000, 5, 600, ONE_CLUSTER},  {6000, 40, 577, SOME},       {700, 20, 4099, SOME},
    {262143, 50, 1, SOME},        {262145, 7, 3, ONE_CLUSTER}, {530000, 1000, 2, FEW},
    {70000, 300, 140, EVERY_ROW}, {40000, 2, 33, LEAVING},
};
#define N_CASES (sizeof cases / sizeof *cases)

struct input {
    int n, k, d;
    float *x;
    int32_t *from, *to; /* from NULL: EVERY_ROW */
};

static int32_t any_cluster(uint64_t bits, int k)
{
    return (int32_t)((bits >> 20) % (uint64_t)k);
}

static void fill_labels(struct input *in, enum pattern pattern)
{
    for (int i = 0; i < in->n; i++) {
        uint64_t bits = mix64(77, (uint64_t)i), dice = bits % 10;
        int32_t to = any_cluster(bits, in->k), from = any_cluster(mix64(78, (uint64_t)i), in->k);
        if (pattern == ONE_CLUSTER && dice > 0)
            to = in->k - 1;
        if (pattern == FEW && (bits >> 8 & 255) > 2)
            from = to;
        if (pattern == SOME)
            from = dice < 4 ? to : dice < 5 ? -1 : from, to = dice == 5 ? -1 : dice == 6 ? -3 : to;
        if (pattern == LEAVING)
            to = -1;
        in->to[i] = to;
        if (in->from)
            in->from[i] = from;
    }
}

static struct input input_of(size_t which)
{
    struct input in = {.n = cases[which].n, .k = cases[which].k, .d = cases[which].d};
    size_t size = (size_t)in.n * (size_t)in.d;
    in.x = guarded_floats(size);
    fill_wide(in.x, size, which);
    in.to = test_alloc((size_t)in.n * sizeof *in.to);
    if (cases[which].pattern != EVERY_ROW)
        in.from = test_alloc((size_t)in.n * sizeof *in.from);
    fill_labels(&in, cases[which].pattern);
    return in;
}

static void input_free(struct input *in)
{
    check_guarded(in->x, (size_t)in->n * (size_t)in->d);
    free(in->from), free(in->to);
}

/* Sums and counts to begin with, some of them not zero, and a canary behind each. */
struct output {
    size_t size;
    int k;
    double *sums;
    int64_t *counts;
    bool *touched;
};

static struct output output_of(int k, int d)
{
    struct output out = {.size = (size_t)k * (size_t)d, .k = k};
    out.sums = test_alloc((out.size + 1) * sizeof *out.sums);
    out.counts = test_alloc(((size_t)k + 1) * sizeof *out.counts);
    out.touched = test_alloc((size_t)k * sizeof *out.touched);
    for (size_t i = 0; i <= out.size; i++)
        out.sums[i] = i % 3 ? (double)i * 0.37 : 0;
    for (int c = 0; c <= k; c++)
        out.counts[c] = c % 5;
    memset(out.touched, 0, (size_t)k * sizeof *out.touched);
    return out;
}

static void check_output(struct output *got, const struct output *want, const struct device *device,
                         const struct input *in, const char *what)
{
    for (size_t i = 0; i <= got->size; i++)
        if (memcmp(&got->sums[i], &want->sums[i], sizeof(double)) != 0)
            ck_abort_msg("%s, %s with %d threads, %d x %d, %d clusters: element %zu: %a, want %a",
                         what, test_device_name(device), threads_size(device->threads), in->n,
                         in->d, in->k, i, got->sums[i], want->sums[i]);
    ck_assert_mem_eq(got->counts, want->counts, ((size_t)got->k + 1) * sizeof *got->counts);
    for (int c = 0; c < got->k; c++)
        if (got->touched[c] != want->touched[c])
            ck_abort_msg("%s: cluster %d of %d: touched %d", what, c, got->k, got->touched[c]);
}

static void output_free(struct output *out)
{
    free(out->sums), free(out->counts), free(out->touched);
}

static struct output reference(const struct input *in)
{
    struct output want = output_of(in->k, in->d);
    double *x = to_doubles(in->x, (size_t)in->n * (size_t)in->d);
    cluster_sums_add_ref(want.sums, want.counts, x, in->from, in->to, in->n, in->d);
    for (int i = 0; i < in->n; i++) {
        int32_t from = in->from ? in->from[i] : -1;
        if (from >= 0 && from != in->to[i])
            want.touched[from] = true;
        if (in->to[i] >= 0 && from != in->to[i])
            want.touched[in->to[i]] = true;
    }
    free(x);
    return want;
}

static void *scratch_of(int n)
{
    size_t size = cluster_sums_bytes(n);
    void *scratch = aligned_alloc(64, size + 64); /* a multiple of 64 */
    ck_assert_ptr_nonnull(scratch);
    memset(scratch, 0xA5, size + 64);
    return scratch;
}

static void scratch_free(char *scratch, int n)
{
    for (size_t i = cluster_sums_bytes(n); i < cluster_sums_bytes(n) + 64; i++)
        if ((unsigned char)scratch[i] != 0xA5)
            ck_abort_msg("written behind the scratch of %d rows", n);
    free(scratch);
}

START_TEST(sums_are_the_reference)
{
    struct device device;
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t);
        struct output want = reference(&in);
        for (int i = 0; test_device(i, &device); i++) {
            struct output got = output_of(in.k, in.d);
            void *scratch = scratch_of(in.n);
            struct err err;
            ck_assert_int_eq(cluster_sums_add(&device, got.sums, got.counts, got.touched, in.x,
                                              in.from, in.to, in.n, in.k, in.d, scratch, &err),
                             STATUS_OK);
            check_output(&got, &want, &device, &in, "whole");
            scratch_free(scratch, in.n);
            output_free(&got);
            device_close(&device);
        }
        output_free(&want);
        input_free(&in);
    }
}
END_TEST

/* The same rows in calls of any number of rows, none among them; without `touched`. */
START_TEST(rows_may_come_in_any_pieces)
{
    struct device device;
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t);
        struct output want = reference(&in);
        void *scratch = scratch_of(in.n);
        memset(want.touched, 0, (size_t)in.k * sizeof *want.touched);
        for (int i = 0; test_device(i, &device); i++) {
            struct output got = output_of(in.k, in.d);
            for (int row = 0, call = 0, n; row < in.n; row += n, call++) {
                uint64_t dice = mix64(t, (uint64_t)call);
                n = (int)(dice % (uint64_t)(in.n / 5 + 2));
                n = n < in.n - row ? n : in.n - row;
                cluster_sums_add_cpu(
                    &device, got.sums, got.counts, NULL, in.x + (size_t)row * (size_t)in.d,
                    in.from ? in.from + row : NULL, in.to + row, n, in.k, in.d, scratch);
            }
            check_output(&got, &want, &device, &in, "pieces");
            output_free(&got);
            device_close(&device);
        }
        scratch_free(scratch, in.n);
        output_free(&want);
        input_free(&in);
    }
}
END_TEST

/* More threads than clusters, columns or shares. */
START_TEST(any_number_of_threads_will_do)
{
    static const int threads[] = {2, 8, 70};
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t);
        struct output want = reference(&in);
        void *scratch = scratch_of(in.n);
        for (int i = 0; i < 3; i++) {
            struct device device;
            struct err err;
            ck_assert_int_eq(device_open(&device, "cpu", threads[i], &err), STATUS_OK);
            struct output got = output_of(in.k, in.d);
            cluster_sums_add_cpu(&device, got.sums, got.counts, got.touched, in.x, in.from, in.to,
                                 in.n, in.k, in.d, scratch);
            check_output(&got, &want, &device, &in, "threads");
            output_free(&got);
            device_close(&device);
        }
        scratch_free(scratch, in.n);
        output_free(&want);
        input_free(&in);
    }
}
END_TEST

/* NaN in rows that stay where they are, or that are nowhere. */
START_TEST(rows_that_stay_do_not_matter)
{
    struct device device;
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t);
        struct output want = reference(&in);
        void *scratch = scratch_of(in.n);
        for (int i = 0; i < in.n; i++)
            if (in.from ? in.from[i] == in.to[i] || (in.from[i] < 0 && in.to[i] < 0) : in.to[i] < 0)
                for (int j = 0; j < in.d; j++)
                    in.x[(size_t)i * (size_t)in.d + (size_t)j] = NAN;
        for (int i = 0; test_device(i, &device); i++) {
            struct output got = output_of(in.k, in.d);
            cluster_sums_add_cpu(&device, got.sums, got.counts, got.touched, in.x, in.from, in.to,
                                 in.n, in.k, in.d, scratch);
            check_output(&got, &want, &device, &in, "NaN");
            output_free(&got);
            device_close(&device);
        }
        scratch_free(scratch, in.n);
        output_free(&want);
        input_free(&in);
    }
}
END_TEST

/* A row that moves takes NaN and infinities with it, to its columns of its clusters only. */
START_TEST(what_is_not_finite_keeps_to_its_column)
{
    enum { N = 200, K = 6, D = 37, BAD_ROW = 101, BAD_COLUMN = 5 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int bad = 0; bad < 2; bad++) {
            struct input in = {.n = N, .k = K, .d = D, .x = guarded_floats(N * D)};
            in.from = test_alloc(N * sizeof *in.from), in.to = test_alloc(N * sizeof *in.to);
            fill_normal(in.x, N * D, 3, 1.0f);
            fill_labels(&in, ONE_CLUSTER);
            in.x[BAD_ROW * D + BAD_COLUMN] = bad ? INFINITY : NAN;
            in.from[BAD_ROW] = 1, in.to[BAD_ROW] = 4;
            void *scratch = scratch_of(N);
            struct output got = output_of(K, D);
            cluster_sums_add_cpu(&device, got.sums, got.counts, got.touched, in.x, in.from, in.to,
                                 N, K, D, scratch);
            for (int c = 0; c < K; c++)
                for (int j = 0; j < D; j++)
                    ck_assert_int_eq(isfinite(got.sums[c * D + j]) == 0,
                                     (c == 1 || c == 4) && j == BAD_COLUMN);
            scratch_free(scratch, N);
            output_free(&got);
            input_free(&in);
        }
        device_close(&device);
    }
}
END_TEST

START_TEST(scratch_is_bounded)
{
    for (int64_t n = 0; n <= INT32_MAX; n += 1 + n / 3) {
        ck_assert_uint_le(cluster_sums_bytes((int)n), (size_t)9 << 20);
        ck_assert_uint_eq(cluster_sums_bytes((int)n) % 64, 0);
    }
    ck_assert_uint_le(cluster_sums_bytes(INT32_MAX), (size_t)9 << 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster_sums");
    TCase *tests = tcase_create("cluster_sums");
    tcase_add_test(tests, sums_are_the_reference);
    tcase_add_test(tests, rows_may_come_in_any_pieces);
    tcase_add_test(tests, any_number_of_threads_will_do);
    tcase_add_test(tests, rows_that_stay_do_not_matter);
    tcase_add_test(tests, what_is_not_finite_keeps_to_its_column);
    tcase_add_test(tests, scratch_is_bounded);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
