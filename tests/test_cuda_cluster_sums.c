/* Sums of clusters on a GPU: every bit of what the CPU keeps (host/cluster_totals), for each run.
 */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/cluster_totals.h"
#include "kernels/cluster_sums_cuda.h"

/* ---- inputs --------------------------------------------------------------------------------- */

enum { ALL_COME, SOME_MOVE, FEW_MOVE, NONE_MOVES, ALL_TO_ONE, WALKS };

/* Which runs are listed, a bit each. Rows of which there are none in a cluster: all but one of
 * `sparse`. */
struct shape {
    int n, k, d, n_runs;
    unsigned listed;
    int stride, sparse;
};

/* A row, a block and its neighbours, several; columns in fours and not, and very many; clusters
 * round a digit of the sort, and of three digits; with the last one, launches of two blocks and of
 * one. */
static const struct shape shapes[] = {
    {0, 3, 4, 1, 1, 0, 1},
    {1, 1, 1, 1, 1, 1, 1},
    {33, 2, 4, 2, 2, 40, 1},
    {700, 9, 33, 3, 5, 701, 1},
    {1025, 256, 8, 1, 1, 1025, 1},
    {2000, 257, 12, 2, 3, 2100, 1},
    {60, 20, 1028, 3, 6, 60, 1},
    {5, 3, 32772, 1, 1, 5, 1},
    {20, 2, 40001, 2, 2, 21, 1},
    {3000, 10000, 2, 1, 1, 3000, 1},
    {CLUSTER_BLOCK_ROWS - 1, 5, 1, 1, 1, CLUSTER_BLOCK_ROWS, 2},
    {CLUSTER_BLOCK_ROWS, 1000, 1, 1, 1, CLUSTER_BLOCK_ROWS, 2},
    {CLUSTER_BLOCK_ROWS + 1, 1, 4, 2, 3, CLUSTER_BLOCK_ROWS + 8, 4},
    {2 * CLUSTER_BLOCK_ROWS + 123, 40, 3, 2, 3, 2 * CLUSTER_BLOCK_ROWS + 123, 2},
    {2 * CLUSTER_BLOCK_ROWS + 1, 600000, 1, 3, 5, 2 * CLUSTER_BLOCK_ROWS + 1, 8},
};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

static float *rows_of(const struct shape *s)
{
    static const float others[] = {0, -0.0f, 1e-40f, -3e-45f, 1.2e-38f, 3e38f};
    size_t size = (size_t)s->n * (size_t)s->d;
    float *x = test_floats(size);
    fill_wide(x, size, (uint64_t)s->n);
    for (size_t i = 0; i < size; i++)
        if (mix64(7, i) % 64 == 0)
            x[i] = others[mix64(8, i) % 6];
    return x;
}

/* (runs, stride) after a walk; `before` those of the walk before it. What is none of the rows' has
 * bits of its own. */
static int32_t *labels_of(const struct shape *s, int walk, const int32_t *before)
{
    size_t size = (size_t)s->n_runs * (size_t)s->stride;
    int32_t *labels = test_alloc(size * sizeof *labels);
    for (size_t i = 0; i < size; i++) {
        uint64_t bits = mix64((uint64_t)walk, i);
        int32_t any = (int32_t)((bits >> 32) % ((uint64_t)s->k + 1)) - 1; /* or none */
        bool moves = walk == SOME_MOVE ? bits % 4 == 0 : bits % 64 == 0;
        if ((int)(i % (size_t)s->stride) >= s->n)
            labels[i] = 0x7E7E7E7E;
        else if (mix64(99, i) % (uint64_t)s->sparse != 0)
            labels[i] = -1;
        else if (walk == ALL_COME)
            labels[i] = any;
        else if (walk == ALL_TO_ONE)
            labels[i] = s->k - 1;
        else
            labels[i] = walk != NONE_MOVES && moves ? any : before[i];
    }
    return labels;
}

/* ---- walks ---------------------------------------------------------------------------------- */

/* What a walk leaves; of all runs. */
struct state {
    double *sums;
    int64_t *counts, *n_moved;
    int32_t *labels;
};

static size_t sums_size(const struct shape *s)
{
    return (size_t)s->k * (size_t)s->d;
}

/* sums and counts of something already, so that it is seen that they are added to, and whose. */
static struct state first_state(const struct shape *s)
{
    size_t runs = (size_t)s->n_runs, labels = runs * (size_t)s->stride;
    struct state state = {
        test_alloc(runs * sums_size(s) * sizeof(double)),
        test_alloc(runs * (size_t)s->k * sizeof(int64_t)),
        test_alloc(runs * sizeof(int64_t)),
        test_alloc(labels * sizeof(int32_t)),
    };
    for (size_t i = 0; i < runs * sums_size(s); i++)
        state.sums[i] = i % 3 == 0 ? -0.0 : (double)i * 0.3;
    for (size_t i = 0; i < runs * (size_t)s->k; i++)
        state.counts[i] = (int64_t)i << 33;
    for (size_t r = 0; r < runs; r++)
        state.n_moved[r] = 1000 * (int64_t)r;
    memset(state.labels, 0x7D, labels * sizeof(int32_t));
    return state;
}

static void free_state(struct state *state)
{
    free(state->sums), free(state->counts), free(state->n_moved), free(state->labels);
}

/* The CPU's. */
static void walk_on_cpu(struct state *state, const struct shape *s, const float *x,
                        const int32_t *next, bool none_before)
{
    struct device cpu = device_cpu(&cuda_test);
    struct err err;
    for (int run = 0; run < s->n_runs; run++) {
        struct cluster_totals totals;
        size_t k = (size_t)s->k, at = (size_t)run * (size_t)s->stride;
        double *sums = state->sums + (size_t)run * sums_size(s);
        int64_t *counts = state->counts + (size_t)run * k;
        int32_t *labels = state->labels + at;
        if (!(s->listed >> run & 1))
            continue;
        cuda_good(cluster_totals_open(&totals, &cpu, s->k, s->d, &err), &err);
        memcpy(totals.sums, sums, sums_size(s) * sizeof *sums);
        memcpy(totals.counts, counts, k * sizeof *counts);
        cluster_totals_begin(&totals, false);
        cuda_good(
            cluster_totals_add(&totals, x, none_before ? NULL : labels, next + at, s->n, &err),
            &err);
        cluster_totals_end(&totals);
        memcpy(sums, totals.sums, sums_size(s) * sizeof *sums);
        memcpy(counts, totals.counts, k * sizeof *counts);
        cluster_totals_close(&totals);
        for (int i = 0; i < s->n; i++)
            state->n_moved[run] += none_before || labels[i] != next[at + (size_t)i];
        memcpy(labels, next + at, (size_t)s->n * sizeof *labels);
    }
}

static void walk_on_gpu(struct state *state, const struct shape *s, const struct cuda_tensor *x,
                        const int32_t *next, bool none_before)
{
    size_t runs = (size_t)s->n_runs, labels = runs * (size_t)s->stride;
    struct run_list list = {0};
    struct err err;
    for (int run = 0; run < s->n_runs; run++)
        if (s->listed >> run & 1)
            list.of[list.n++] = run;
    struct cuda_tensor sums =
        cuda_send_bytes(state->sums, runs * sums_size(s) * sizeof *state->sums);
    struct cuda_tensor counts =
        cuda_send_bytes(state->counts, runs * (size_t)s->k * sizeof *state->counts);
    struct cuda_tensor n_moved = cuda_send_bytes(state->n_moved, runs * sizeof *state->n_moved);
    struct cuda_tensor label = cuda_send_ints(state->labels, labels);
    struct cuda_tensor of_next = cuda_send_ints(next, labels);
    struct cuda_tensor scratch =
        cuda_empty(PRECISION_NF4, cluster_sums_cuda_bytes(s->n, s->k, s->d, s->n_runs));
    cuda_good(cluster_sums_add_cuda(&cuda_test, cuda_pointer(&sums), cuda_pointer(&counts),
                                    cuda_pointer(&n_moved), cuda_pointer(x), cuda_pointer(&label),
                                    cuda_pointer(&of_next), s->stride, none_before, s->n, s->k,
                                    s->d, &list, cuda_pointer(&scratch), &err),
              &err);
    free_state(state);
    state->sums = cuda_download_bytes(&sums);
    state->counts = cuda_download_bytes(&counts);
    state->n_moved = cuda_download_bytes(&n_moved);
    state->labels = cuda_download_bytes(&label);
    cuda_drop(&of_next), cuda_drop(&scratch);
}

static void same(const struct state *got, const struct state *want, const struct shape *s, int walk)
{
    size_t runs = (size_t)s->n_runs;
    for (size_t i = 0; i < runs * sums_size(s); i++)
        if (memcmp(&got->sums[i], &want->sums[i], sizeof *got->sums) != 0)
            ck_abort_msg("%d x %d, k %d, walk %d: sum %zu is %a and not %a", s->n, s->d, s->k, walk,
                         i, got->sums[i], want->sums[i]);
    ck_assert_mem_eq(got->counts, want->counts, runs * (size_t)s->k * sizeof *got->counts);
    ck_assert_mem_eq(got->n_moved, want->n_moved, runs * sizeof *got->n_moved);
    ck_assert_mem_eq(got->labels, want->labels, runs * (size_t)s->stride * sizeof *got->labels);
}

static void check_walks(const struct shape *s)
{
    float *x = rows_of(s);
    struct cuda_tensor of_x = cuda_send_bytes(x, (size_t)s->n * (size_t)s->d * sizeof *x);
    struct state got = first_state(s), want = first_state(s);
    int32_t *before = NULL;
    for (int walk = 0; walk < WALKS; walk++) {
        int32_t *next = labels_of(s, walk, before);
        walk_on_cpu(&want, s, x, next, walk == 0);
        walk_on_gpu(&got, s, &of_x, next, walk == 0);
        same(&got, &want, s, walk);
        free(before);
        before = next;
    }
    free(before), free(x);
    free_state(&got), free_state(&want);
    cuda_drop(&of_x);
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Several blocks take their time: two settings, or all where all of the tests are asked for. */
#define LONG (2 * CLUSTER_BLOCK_ROWS)

START_TEST(sums_are_the_cpus)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int t = 0; t < N_SHAPES; t++)
        if (shapes[t].n < LONG || _i % 3 == 0 || cuda_test_full())
            check_walks(&shapes[t]);
    device_close(&cuda_test);
}
END_TEST

/* All in one cluster of the many columns that a model's vectors have, and back. */
START_TEST(one_cluster_has_all)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    static const struct shape one[] = {{300, 1, 516, 1, 1, 300, 1}, {90, 3, 511, 2, 3, 91, 1}};
    for (int t = 0; t < 2; t++)
        check_walks(&one[t]);
    device_close(&cuda_test);
}
END_TEST

/* NaN and infinities reach their column of their cluster and nothing else. */
START_TEST(nan_stays_in_its_column)
{
    enum { N = 50, K = 4, D = 8, BAD = 17, COLUMN = 5 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const struct shape s = {N, K, D, 1, 1, N, 1};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int b = 0; b < 3; b++) {
        float *x = rows_of(&s);
        x[BAD * D + COLUMN] = bad[b];
        struct cuda_tensor of_x = cuda_send_bytes(x, (size_t)N * D * sizeof *x);
        struct state got = first_state(&s), want = first_state(&s);
        int32_t *next = labels_of(&s, ALL_COME, NULL);
        next[BAD] = 2;
        walk_on_cpu(&want, &s, x, next, true);
        walk_on_gpu(&got, &s, &of_x, next, true);
        double *element = &got.sums[2 * D + COLUMN];
        ck_assert(b == 0 ? isnan(*element) : *element == (double)bad[b]);
        *element = want.sums[2 * D + COLUMN] = 0;
        same(&got, &want, &s, 0);
        free(x), free(next), free_state(&got), free_state(&want);
        cuda_drop(&of_x);
    }
    device_close(&cuda_test);
}
END_TEST

/* However many rows, clusters and columns there are. */
START_TEST(scratch_is_bounded)
{
    static const int sizes[][3] = {{5894, 20, 4096},     {1000000, 1000, 64},
                                   {1000000, 10000, 64}, {100000000, 10000, 576},
                                   {5894, 10000, 8192},  {1000000, 20, 64}};
    for (size_t t = 0; t < sizeof sizes / sizeof *sizes; t++)
        for (int runs = 1; runs <= RUNS_LARGEST; runs++)
            ck_assert_uint_le(cluster_sums_cuda_bytes(sizes[t][0], sizes[t][1], sizes[t][2], runs),
                              (size_t)68 << 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_cluster_sums");
    TCase *tests = tcase_create("cuda_cluster_sums");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, sums_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, one_cluster_has_all, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_in_its_column, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, scratch_is_bounded);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
