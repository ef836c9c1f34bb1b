/* Totals of clusters: the blocks' bytes, however rows come, and what is left of many changes. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/cluster_totals.h"

/* n rows, k clusters, d columns: none, less than a block, a block and its neighbours, several. */
static const struct {
    int n, k, d;
} cases[] = {
    {0, 3, 4},
    {1, 1, 1},
    {700, 9, 33},
    {CLUSTER_BLOCK_ROWS - 1, 5, 3},
    {CLUSTER_BLOCK_ROWS, 40, 2},
    {CLUSTER_BLOCK_ROWS + 1, 1, 17},
    {2 * CLUSTER_BLOCK_ROWS, 3, 1},
    {3 * CLUSTER_BLOCK_ROWS + 1234, 100, 5},
    {3000, 3000, 2},
};
#define N_CASES (sizeof cases / sizeof *cases)
#define WALKS   4

/* Labels of every walk; the first one is from nowhere. The later, the fewer rows change. */
struct input {
    int n, k, d;
    float *x;
    int32_t *labels[WALKS];
};

static struct input input_of(size_t which)
{
    struct input in = {.n = cases[which].n, .k = cases[which].k, .d = cases[which].d};
    in.x = test_alloc((size_t)in.n * (size_t)in.d * sizeof *in.x);
    fill_wide(in.x, (size_t)in.n * (size_t)in.d, which);
    for (int walk = 0; walk < WALKS; walk++) {
        in.labels[walk] = test_alloc((size_t)in.n * sizeof *in.labels[walk]);
        for (int i = 0; i < in.n; i++) {
            uint64_t bits = mix64(10 * which + (uint64_t)walk, (uint64_t)i);
            bool stays = walk > 0 && bits % (1u << (2 * walk)) != 0;
            int32_t any = (int32_t)((bits >> 32) % ((uint64_t)in.k + 1)) - 1; /* or none */
            in.labels[walk][i] = stays ? in.labels[walk - 1][i] : any;
        }
    }
    return in;
}

static void input_free(struct input *in)
{
    free(in->x);
    for (int walk = 0; walk < WALKS; walk++)
        free(in->labels[walk]);
}

static const int32_t *before(const struct input *in, int walk)
{
    return walk > 0 ? in->labels[walk - 1] : NULL;
}

static void *zeros(size_t count, size_t size)
{
    void *values = test_alloc(count * size);
    memset(values, 0, count * size);
    return values;
}

/* A row in a cluster that it comes to (sign 1), or leaves. */
static void naive_move(double *partial, int64_t *counts, const struct input *in, int i,
                       int32_t cluster, int sign)
{
    if (cluster < 0)
        return;
    counts[cluster] += sign;
    for (int j = 0; j < in->d; j++)
        partial[(int64_t)cluster * in->d + j] += sign * (double)in->x[(int64_t)i * in->d + j];
}

/* One walk of the contract. */
static void naive_walk(double *sums, int64_t *counts, const struct input *in, int walk)
{
    size_t size = (size_t)in->k * (size_t)in->d;
    for (int row = 0; row < in->n; row += CLUSTER_BLOCK_ROWS) {
        double *partial = zeros(size, sizeof *partial);
        for (int i = row; i < in->n && i < row + CLUSTER_BLOCK_ROWS; i++) {
            int32_t old = walk > 0 ? in->labels[walk - 1][i] : -1, now = in->labels[walk][i];
            if (old == now)
                continue;
            naive_move(partial, counts, in, i, old, -1);
            naive_move(partial, counts, in, i, now, 1);
        }
        for (size_t e = 0; e < size; e++)
            sums[e] += partial[e];
        free(partial);
    }
}

/* In calls of up to `most` rows, drawn. */
static void add_walk(struct cluster_totals *totals, const struct input *in, int walk, int most)
{
    const int32_t *from = before(in, walk), *to = in->labels[walk];
    struct err err;
    cluster_totals_begin(totals, walk == 0);
    for (int row = 0, call = 0, n; row < in->n; row += n, call++) {
        n = (int)(mix64((uint64_t)most, (uint64_t)call) % ((uint64_t)most + 1));
        n = n < in->n - row ? n : in->n - row;
        ck_assert_int_eq(cluster_totals_add(totals, in->x + (size_t)row * (size_t)in->d,
                                            from ? from + row : NULL, to + row, n, &err),
                         STATUS_OK);
    }
    cluster_totals_end(totals);
}

START_TEST(totals_are_their_blocks)
{
    static const int most[] = {INT32_MAX, 1000, 50000, 140000};
    struct device device;
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t);
        size_t size = (size_t)in.k * (size_t)in.d;
        for (int i = 0; test_device(i, &device); i++) {
            for (int m = 0; m < 4; m++) {
                struct cluster_totals totals;
                struct err err;
                double *sums = zeros(size, sizeof *sums);
                int64_t *counts = zeros((size_t)in.k, sizeof *counts);
                ck_assert_int_eq(cluster_totals_open(&totals, &device, in.k, in.d, &err),
                                 STATUS_OK);
                for (int walk = 0; walk < WALKS; walk++) {
                    naive_walk(sums, counts, &in, walk);
                    add_walk(&totals, &in, walk, most[m]);
                    ck_assert_mem_eq(totals.sums, sums, size * sizeof *sums);
                    ck_assert_mem_eq(totals.counts, counts, (size_t)in.k * sizeof *counts);
                }
                cluster_totals_close(&totals);
                free(sums), free(counts);
            }
            device_close(&device);
        }
        input_free(&in);
    }
}
END_TEST

/* What all walks added to the sums, without signs, and how many additions a cluster's had: its
 * moves, and a block's end in each walk. */
static void magnitudes(double *magnitude, double *additions, const struct input *in, int n_walks)
{
    double blocks = in->n / CLUSTER_BLOCK_ROWS + 1;
    for (int c = 0; c < in->k; c++)
        additions[c] = blocks * n_walks;
    for (int walk = 0; walk < n_walks; walk++)
        for (int i = 0; i < in->n; i++) {
            int32_t moves[] = {walk > 0 ? in->labels[walk - 1][i] : -1, in->labels[walk][i]};
            for (int m = 0; m < 2; m++) {
                if (moves[m] < 0 || moves[0] == moves[1])
                    continue;
                additions[moves[m]]++;
                for (int j = 0; j < in->d; j++)
                    magnitude[(int64_t)moves[m] * in->d + j] +=
                        fabs((double)in->x[(int64_t)i * in->d + j]);
            }
        }
}

/* The sums after all walks differ from those of their last labels alone by what the additions of
 * both round: each by 2^-53 of a sum that is at most all that ever was added. */
START_TEST(changes_leave_what_fresh_sums_are)
{
    struct device device;
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(t), last = in;
        size_t size = (size_t)in.k * (size_t)in.d;
        last.labels[0] = in.labels[WALKS - 1];
        double *magnitude = zeros(2 * size, sizeof *magnitude);
        double *additions = zeros(2 * (size_t)in.k, sizeof *additions);
        magnitudes(magnitude, additions, &in, WALKS);
        magnitudes(magnitude + size, additions + in.k, &last, 1);
        ck_assert(test_device(0, &device));
        struct cluster_totals kept, fresh;
        struct err err;
        ck_assert_int_eq(cluster_totals_open(&kept, &device, in.k, in.d, &err), STATUS_OK);
        ck_assert_int_eq(cluster_totals_open(&fresh, &device, in.k, in.d, &err), STATUS_OK);
        for (int walk = 0; walk < WALKS; walk++)
            add_walk(&kept, &in, walk, 5000);
        add_walk(&fresh, &last, 0, 5000);
        ck_assert_mem_eq(kept.counts, fresh.counts, (size_t)in.k * sizeof *kept.counts);
        for (size_t e = 0; e < size; e++) {
            size_t c = e / (size_t)in.d;
            double allowed =
                0x1p-53 * 1.001 *
                (additions[c] * magnitude[e] + additions[(size_t)in.k + c] * magnitude[size + e]);
            if (!(fabs(kept.sums[e] - fresh.sums[e]) <= allowed))
                ck_abort_msg("%d x %d, element %zu: %.17g, fresh %.17g, allowed %g", in.n, in.d, e,
                             kept.sums[e], fresh.sums[e], allowed);
        }
        cluster_totals_close(&kept);
        cluster_totals_close(&fresh);
        free(magnitude), free(additions);
        device_close(&device);
        input_free(&in);
    }
}
END_TEST

/* A walk that stops in a block leaves nothing behind. */
START_TEST(a_broken_walk_is_forgotten)
{
    struct device device;
    struct input in = input_of(7);
    for (int i = 0; test_device(i, &device); i++) {
        struct cluster_totals totals, want;
        struct err err;
        ck_assert_int_eq(cluster_totals_open(&totals, &device, in.k, in.d, &err), STATUS_OK);
        ck_assert_int_eq(cluster_totals_open(&want, &device, in.k, in.d, &err), STATUS_OK);
        cluster_totals_begin(&totals, true);
        ck_assert_int_eq(
            cluster_totals_add(&totals, in.x, NULL, in.labels[1], CLUSTER_BLOCK_ROWS + 777, &err),
            STATUS_OK);
        add_walk(&totals, &in, 0, 3000);
        add_walk(&want, &in, 0, 3000);
        ck_assert_mem_eq(totals.sums, want.sums, (size_t)in.k * (size_t)in.d * sizeof *totals.sums);
        ck_assert_mem_eq(totals.counts, want.counts, (size_t)in.k * sizeof *totals.counts);
        cluster_totals_close(&totals);
        cluster_totals_close(&want);
        device_close(&device);
    }
    input_free(&in);
}
END_TEST

static enum status open_and_close(void *context, struct err *err)
{
    struct cluster_totals totals;
    enum status status = cluster_totals_open(&totals, context, 20, 30, err);
    cluster_totals_close(&totals);
    return status;
}

START_TEST(lack_of_memory_is_an_error)
{
    struct device device;
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(check_lack_of_memory(open_and_close, &device, "totals"), 5);
    device_close(&device);
    ck_assert_uint_ge(cluster_totals_bytes(20, 30), 2 * 20 * 30 * 8 + 20 * 8 + 20);
    ck_assert_uint_eq(cluster_totals_bytes(INT32_MAX, INT32_MAX), SIZE_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster_totals");
    TCase *tests = tcase_create("cluster_totals");
    tcase_add_test(tests, totals_are_their_blocks);
    tcase_add_test(tests, changes_leave_what_fresh_sums_are);
    tcase_add_test(tests, a_broken_walk_is_forgotten);
    tcase_add_test(tests, lack_of_memory_is_an_error);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
