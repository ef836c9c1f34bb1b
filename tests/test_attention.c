/* Packed causal attention against its float64 reference, and what batches promise: a text gets the
 * same bytes alone or in company, with any number of threads, and keeps its NaNs to itself. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/attention.h"

/* Empty, single, round the vector width of 8, the panel of 16, the key block of 128, and several
 * blocks. */
static const int lengths[] = {0,  1,  2,  7,  8,  9,   15,  16,  17,  0,   31,
                              32, 33, 63, 64, 65, 127, 128, 129, 500, 257, 0};
#define N_TEXTS ((int)(sizeof lengths / sizeof *lengths))

/* Windows: the query alone, round the panel and the key block, and longer than all texts. With one
 * head a tile has six positions: windows then begin in different blocks within a tile. */
static const struct {
    int n_heads, n_kv_heads, head_dim, window;
} cases[] = {
    {1, 1, 8, 0},   {8, 4, 8, 0},       {9, 3, 16, 0},
    {4, 1, 32, 0},  {9, 3, 64, 0},      {8, 4, 64, 0},
    {4, 1, 80, 0},  {1, 1, 80, 0},      {2, 1, 128, 0},
    {1, 1, 256, 0}, {3, 1, 10, 0},      {5, 5, 7, 0},
    {4, 2, 1, 0},   {1, 1, 33, 0},      {1, 1, 8, 1},
    {1, 1, 16, 2},  {8, 4, 16, 15},     {1, 1, 24, 16},
    {4, 1, 32, 17}, {1, 1, 8, 100},     {3, 1, 8, 127},
    {1, 1, 8, 128}, {9, 3, 16, 129},    {1, 1, 12, 130},
    {4, 2, 8, 256}, {1, 1, 8, 257},     {1, 1, 8, 499},
    {4, 2, 8, 500}, {1, 1, 8, INT_MAX}, {1, 1, ATTENTION_HEAD_DIM_LARGEST, 0},
};

/* One packed batch: inputs, and where its texts begin. */
struct batch {
    float *q, *k, *v, *out;
    int32_t *cu_seqlens;
    int n_texts, n_heads, n_kv_heads, head_dim, window;
    size_t q_size, k_size;
};

static struct batch make_batch(const int *text_lengths, int n_texts, int n_heads, int n_kv_heads,
                               int head_dim)
{
    struct batch batch = {
        .n_texts = n_texts, .n_heads = n_heads, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    batch.cu_seqlens = malloc(((size_t)n_texts + 1) * sizeof(int32_t));
    batch.cu_seqlens[0] = 0;
    for (int t = 0; t < n_texts; t++)
        batch.cu_seqlens[t + 1] = batch.cu_seqlens[t] + text_lengths[t];
    size_t n = (size_t)batch.cu_seqlens[n_texts];
    batch.q_size = n * (size_t)n_heads * (size_t)head_dim;
    batch.k_size = n * (size_t)n_kv_heads * (size_t)head_dim;
    batch.q = guarded_floats(batch.q_size);
    batch.k = guarded_floats(batch.k_size);
    batch.v = guarded_floats(batch.k_size);
    batch.out = guarded_floats(batch.q_size);
    fill_normal(batch.q, batch.q_size, 1, 1.5f);
    fill_normal(batch.k, batch.k_size, 2, 1.5f);
    fill_normal(batch.v, batch.k_size, 3, 1.0f);
    return batch;
}

static void free_batch(struct batch *batch)
{
    check_guarded(batch->q, batch->q_size);
    check_guarded(batch->k, batch->k_size);
    check_guarded(batch->v, batch->k_size);
    check_guarded(batch->out, batch->q_size);
    free(batch->cu_seqlens);
}

static void run(struct device *device, struct batch *batch)
{
    struct err err;
    float scale = 1 / sqrtf((float)batch->head_dim);
    ck_assert_int_eq(attention_fwd(device, batch->out, batch->q, batch->k, batch->v,
                                   batch->cu_seqlens, batch->cu_seqlens[batch->n_texts],
                                   batch->n_texts, batch->n_heads, batch->n_kv_heads,
                                   batch->head_dim, scale, batch->window, &err),
                     STATUS_OK);
}

static double *reference(const struct batch *batch)
{
    double *q = to_doubles(batch->q, batch->q_size), *k = to_doubles(batch->k, batch->k_size);
    double *v = to_doubles(batch->v, batch->k_size), *out = malloc(batch->q_size * sizeof *out + 1);
    double *scores = malloc((size_t)batch->cu_seqlens[batch->n_texts] * sizeof *scores + 1);
    attention_fwd_ref(out, q, k, v, batch->cu_seqlens, batch->n_texts, batch->n_heads,
                      batch->n_kv_heads, batch->head_dim,
                      (double)(1 / sqrtf((float)batch->head_dim)), batch->window, scores);
    free(q), free(k), free(v), free(scores);
    return out;
}

START_TEST(attention_matches_reference)
{
    int c = _i;
    struct batch batch =
        make_batch(lengths, N_TEXTS, cases[c].n_heads, cases[c].n_kv_heads, cases[c].head_dim);
    batch.window = cases[c].window;
    double *want = reference(&batch);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t j = 0; j < batch.q_size; j++)
            batch.out[j] = NAN;
        run(&device, &batch);
        check_close(batch.out, want, batch.q_size, attention_fwd_tolerance(batch.head_dim, 500), 0,
                    "%s %d/%d x %d, window %d", test_device_name(&device), batch.n_heads,
                    batch.n_kv_heads, batch.head_dim, batch.window);
        device_close(&device);
    }
    free(want);
    free_batch(&batch);
}
END_TEST

/* ---- what batches promise ------------------------------------------------------------------- */

/* Attention of rows first .. first+n-1 of the batch alone, as one text, against their rows in
 * batch->out: the same bytes. */
static void check_alone(struct device *device, const struct batch *batch, int first, int n,
                        const char *what)
{
    size_t q_row = (size_t)batch->n_heads * (size_t)batch->head_dim;
    size_t k_row = (size_t)batch->n_kv_heads * (size_t)batch->head_dim;
    size_t size = (size_t)n * q_row;
    float *alone = guarded_floats(size);
    const int32_t cu_seqlens[2] = {0, n};
    attention_fwd_cpu(device, alone, batch->q + (size_t)first * q_row,
                      batch->k + (size_t)first * k_row, batch->v + (size_t)first * k_row,
                      cu_seqlens, 1, batch->n_heads, batch->n_kv_heads, batch->head_dim,
                      1 / sqrtf((float)batch->head_dim), batch->window);
    ck_assert_msg(memcmp(alone, batch->out + (size_t)first * q_row, size * sizeof *alone) == 0,
                  "%s: %s: rows %d to %d", test_device_name(device), what, first, first + n);
    check_guarded(alone, size);
}

static const int windows[] = {0, 1, 60, 128, 300};
#define N_WINDOWS ((int)(sizeof windows / sizeof *windows))

START_TEST(attention_gives_a_text_the_same_bytes_alone)
{
    struct device device;
    struct batch batch = make_batch(lengths, N_TEXTS, 9, 3, 20);
    batch.window = windows[_i];
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        for (int t = 0; t < N_TEXTS; t++)
            check_alone(&device, &batch, batch.cu_seqlens[t], lengths[t], "alone");
        device_close(&device);
    }
    free_batch(&batch);
}
END_TEST

/* A query sees what stands before it alone: a text cut short gives the same bytes up to the cut. */
START_TEST(attention_is_causal)
{
    static const int cuts[] = {1, 5, 6, 63, 64, 65, 127, 128, 129, 192, 300, 499};
    const int length = 500;
    struct device device;
    struct batch batch = make_batch(&length, 1, 3, 1, 24);
    batch.window = windows[_i];
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++)
            check_alone(&device, &batch, 0, cuts[c], "cut");
        device_close(&device);
    }
    free_batch(&batch);
}
END_TEST

START_TEST(attention_is_the_same_for_any_number_of_threads)
{
    struct device device;
    struct batch batch = make_batch(lengths, N_TEXTS, 8, 4, 32);
    batch.window = windows[_i];
    float *first = malloc(batch.q_size * sizeof *first);
    static const char *names[] = {"portable", "avx2"};
    for (int isa = CPU_PORTABLE; isa <= CPU_AVX2 && cpu_has((enum cpu_isa)isa); isa++) {
        setenv("MIDASHI_CPU", names[isa], 1);
        for (int n_threads = 1; n_threads <= 5; n_threads += 2) {
            struct err err;
            ck_assert_int_eq(device_open(&device, "cpu", n_threads, &err), STATUS_OK);
            run(&device, &batch);
            if (n_threads == 1)
                memcpy(first, batch.out, batch.q_size * sizeof *first);
            ck_assert_mem_eq(first, batch.out, batch.q_size * sizeof *first);
            device_close(&device);
        }
    }
    free(first);
    free_batch(&batch);
}
END_TEST

/* Texts no longer than the window have the bytes that they have without one; a longer text has
 * them as far as the window reaches from its start. */
START_TEST(attention_is_the_same_within_a_window)
{
    const int window = windows[1 + _i], two[] = {window, 500};
    struct device device;
    struct batch batch = make_batch(two, 2, 3, 1, 24);
    size_t row = 3 * 24, n = 2 * (size_t)window * row;
    float *whole = malloc(batch.q_size * sizeof *whole);
    for (int i = 0; test_device(i, &device); i++) {
        batch.window = 0;
        run(&device, &batch);
        memcpy(whole, batch.out, batch.q_size * sizeof *whole);
        batch.window = window;
        run(&device, &batch);
        ck_assert_mem_eq(whole, batch.out, n * sizeof *whole);
        ck_assert(memcmp(whole + n, batch.out + n, row * sizeof *whole) != 0);
        device_close(&device);
    }
    free(whole);
    free_batch(&batch);
}
END_TEST

/* What a query sees begins at the window: keys before it may hold anything. */
START_TEST(attention_forgets_what_is_behind_the_window)
{
    const int length = 500, window = 100, changed = 250;
    struct device device;
    struct batch batch = make_batch(&length, 1, 3, 1, 24);
    batch.window = window;
    float *before = malloc(batch.q_size * sizeof *before);
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        memcpy(before, batch.out, batch.q_size * sizeof *before);
        fill_normal(batch.k, (size_t)changed * 24, 10 + (uint64_t)i, 30.0f);
        fill_normal(batch.v, (size_t)changed * 24, 20 + (uint64_t)i, 30.0f);
        run(&device, &batch);
        size_t last_seen = (size_t)(changed + window - 2) * 3 * 24;
        size_t first = last_seen + 3 * 24;
        ck_assert_mem_eq(before + first, batch.out + first,
                         (batch.q_size - first) * sizeof *before);
        ck_assert(memcmp(before + last_seen, batch.out + last_seen, 3 * 24 * sizeof *before) != 0);
        device_close(&device);
    }
    free(before);
    free_batch(&batch);
}
END_TEST

START_TEST(attention_keeps_texts_apart)
{
    static const int three[] = {40, 150, 23};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int poison = 0; poison < 3; poison++) {
            struct batch batch = make_batch(three, 3, 4, 2, 12);
            run(&device, &batch);
            float *clean = malloc(batch.q_size * sizeof *clean);
            memcpy(clean, batch.out, batch.q_size * sizeof *clean);
            /* The first query, key or value of the middle text (rows 40 to 189, 48 wide). */
            if (poison == 0)
                batch.q[40 * 48] = NAN;
            else if (poison == 1)
                batch.k[40 * 24] = NAN;
            else
                batch.v[40 * 24] = INFINITY;
            run(&device, &batch);
            ck_assert_mem_eq(clean, batch.out, 40 * 48 * sizeof *clean);
            ck_assert_mem_eq(clean + 190 * 48, batch.out + 190 * 48, 23 * 48 * sizeof *clean);
            ck_assert(!isfinite(batch.out[40 * 48]));
            free(clean);
            free_batch(&batch);
        }
        device_close(&device);
    }
}
END_TEST

/* ---- sizes and magnitudes ------------------------------------------------------------------- */

START_TEST(attention_takes_long_texts)
{
    static const int two[] = {8200, 3};
    struct device device;
    struct batch batch = make_batch(two, 2, 1, 1, 8);
    double *want = reference(&batch);
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        check_close(batch.out, want, batch.q_size, attention_fwd_tolerance(8, 8200), 0, "%s",
                    test_device_name(&device));
        device_close(&device);
    }
    free(want);
    free_batch(&batch);
}
END_TEST

START_TEST(attention_takes_many_heads_on_one)
{
    static const int some[] = {3, 20, 0, 1};
    struct device device;
    struct batch batch = make_batch(some, 4, ATTENTION_HEADS_LARGEST, 1, 4);
    double *want = reference(&batch);
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        check_close(batch.out, want, batch.q_size, attention_fwd_tolerance(4, 20), 0, "%s",
                    test_device_name(&device));
        device_close(&device);
    }
    free(want);
    free_batch(&batch);
}
END_TEST

/* Scores of several hundred: exp would overflow without the running maximum, and most
 * probabilities are 0. The error of a score grows with it: 2^-24 * (40 / 1.5)^2 more. */
START_TEST(attention_takes_large_scores)
{
    const int length = 300;
    struct device device;
    struct batch batch = make_batch(&length, 1, 2, 1, 16);
    fill_normal(batch.q, batch.q_size, 1, 40.0f);
    fill_normal(batch.k, batch.k_size, 2, 40.0f);
    double *want = reference(&batch);
    double growth = 40 * 40 / 2.25;
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &batch);
        check_close(batch.out, want, batch.q_size, growth * attention_fwd_tolerance(16, 300), 0,
                    "%s", test_device_name(&device));
        device_close(&device);
    }
    free(want);
    free_batch(&batch);
}
END_TEST

/* Beyond several hundred one key has all the weight, up to scores of 10^31: the difference to the
 * largest must be exact where it is 0, since one rounding of such a score is more than exp can
 * take (head_dim 12: scale is no power of 2). Scores themselves err as always, but two of them are
 * never that near here. */
START_TEST(attention_takes_scores_of_any_size)
{
    static const float deviations[] = {1e4f, 1e6f, 1e9f, 1e15f};
    const int length = 300;
    struct device device;
    struct batch batch = make_batch(&length, 1, 2, 1, 12);
    for (size_t s = 0; s < sizeof deviations / sizeof *deviations; s++) {
        fill_normal(batch.q, batch.q_size, 1, deviations[s]);
        fill_normal(batch.k, batch.k_size, 2, deviations[s]);
        double *want = reference(&batch);
        for (int i = 0; test_device(i, &device); i++) {
            run(&device, &batch);
            check_close(batch.out, want, batch.q_size, attention_fwd_tolerance(12, 300), 0,
                        "%s, deviation %g", test_device_name(&device), (double)deviations[s]);
            device_close(&device);
        }
        free(want);
    }
    free_batch(&batch);
}
END_TEST

/* Scores that overflow have no softmax: NaN, not a plausible number, in one block and in two. */
START_TEST(attention_gives_nan_where_scores_overflow)
{
    static const int three[] = {3, 130, 2};
    struct device device;
    for (int negative = 0; negative < 2; negative++) {
        struct batch batch = make_batch(three, 3, 1, 1, 4);
        for (size_t i = 3 * 4; i < 133 * 4; i++) {
            batch.q[i] = 3e38f;
            batch.k[i] = negative ? -3e38f : 3e38f;
        }
        for (int i = 0; test_device(i, &device); i++) {
            run(&device, &batch);
            for (size_t j = 0; j < batch.q_size; j++)
                ck_assert_int_eq(isnan(batch.out[j]) != 0, j >= 3 * 4 && j < 133 * 4);
            device_close(&device);
        }
        free_batch(&batch);
    }
}
END_TEST

START_TEST(attention_takes_no_texts)
{
    struct device device;
    const int32_t cu_seqlens[4] = {0, 0, 0, 0};
    float nothing[1] = {7};
    for (int i = 0; test_device(i, &device); i++) {
        attention_fwd_cpu(&device, nothing, nothing, nothing, nothing, cu_seqlens, 0, 2, 1, 8, 1,
                          0);
        attention_fwd_cpu(&device, nothing, nothing, nothing, nothing, cu_seqlens, 3, 2, 1, 8, 1,
                          0);
        ck_assert(nothing[0] == 7);
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, attention_matches_reference, 0, sizeof cases / sizeof *cases);
    tcase_add_loop_test(tests, attention_gives_a_text_the_same_bytes_alone, 0, N_WINDOWS);
    tcase_add_loop_test(tests, attention_is_causal, 0, N_WINDOWS);
    tcase_add_loop_test(tests, attention_is_the_same_for_any_number_of_threads, 0, N_WINDOWS);
    tcase_add_loop_test(tests, attention_is_the_same_within_a_window, 0, N_WINDOWS - 1);
    tcase_add_test(tests, attention_forgets_what_is_behind_the_window);
    tcase_add_test(tests, attention_keeps_texts_apart);
    tcase_add_test(tests, attention_takes_long_texts);
    tcase_add_test(tests, attention_takes_many_heads_on_one);
    tcase_add_test(tests, attention_takes_large_scores);
    tcase_add_test(tests, attention_takes_scores_of_any_size);
    tcase_add_test(tests, attention_gives_nan_where_scores_overflow);
    tcase_add_test(tests, attention_takes_no_texts);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
