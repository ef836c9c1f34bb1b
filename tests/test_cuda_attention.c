/* Attention on a GPU against its float64 reference, and what batches promise:
 * tests/test_attention.c asks the same of the CPU. */
#include "tests/cuda_support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/attention.h"
#include "tests/attention_batch.h"
#include "tests/cuda_counters.h"

/* n rows of q, k and v from row `first` on, on the device as texts of cu_seqlens; out as floats. */
static float *run_part(const struct batch *b, int first, int n, const int32_t *cu_seqlens,
                       int n_texts)
{
    struct err err;
    size_t out_size = (size_t)n * (size_t)b->q_row;
    float *copy = malloc(b->size * sizeof *copy + 1),
          *nothing = malloc(out_size * sizeof *nothing + 1);
    memcpy(copy, b->buffer, b->size * sizeof *copy);
    for (size_t i = 0; i < out_size; i++)
        nothing[i] = NAN;
    struct cuda_tensor buffer = cuda_send(PRECISION_BF16, copy, b->size);
    struct cuda_tensor out = cuda_send(PRECISION_BF16, nothing, out_size);
    struct cuda_tensor begins =
        cuda_send_bytes(cu_seqlens, ((size_t)n_texts + 1) * sizeof *cu_seqlens);
    struct places at = places_of(b, &buffer, first);
    cuda_good(attention_fwd_cuda(&cuda_test, cuda_pointer(&out), at.q, b->q_stride, at.k, at.v,
                                 b->kv_stride, cuda_pointer(&begins), n, n_texts, b->n_heads,
                                 b->n_kv_heads, b->head_dim, b->scale, b->window, &err),
              &err);
    float *got = cuda_download(&out);
    cuda_drop(&buffer), cuda_drop(&begins);
    free(copy), free(nothing);
    return got;
}

static float *run(const struct batch *b)
{
    return run_part(b, 0, b->n, b->cu_seqlens, b->n_texts);
}

/* ---- against the reference ------------------------------------------------------------------ */

/* score_error: what else a score may err by, relative to the usual. Every element within its own
 * bound, which follows from the average of |v| with the same weights. */
static void check_batch(const struct batch *b, const float *got)
{
    size_t size = (size_t)b->n * (size_t)b->q_row;
    int longest = longest_of(b);
    double *q = rows_of(b, b->q_begin, b->q_row, b->q_stride, false);
    double *k = rows_of(b, b->k_begin, b->k_row, b->kv_stride, false);
    double *v = rows_of(b, b->v_begin, b->k_row, b->kv_stride, false);
    double *sizes_of_v = rows_of(b, b->v_begin, b->k_row, b->kv_stride, true);
    double *want = malloc(size * sizeof *want + 1), *average = malloc(size * sizeof *average + 1);
    double *scores = malloc((size_t)longest * sizeof *scores + 1);
    attention_fwd_ref(want, q, k, v, b->cu_seqlens, b->n_texts, b->n_heads, b->n_kv_heads,
                      b->head_dim, (double)b->scale, b->window, scores);
    attention_fwd_ref(average, q, k, sizes_of_v, b->cu_seqlens, b->n_texts, b->n_heads,
                      b->n_kv_heads, b->head_dim, (double)b->scale, b->window, scores);
    check_rows(b, "out", got, want, average, size, b->q_row,
               attention_fwd_cuda_tolerance(b->head_dim, longest, largest_score(b, q, k)));
    free(q), free(k), free(v), free(sizes_of_v), free(want), free(average), free(scores);
}

/* Empty, single, round a group of 16 keys, a tile of 32 and 64, and a tile of queries. */
static const int lengths[] = {0, 1, 15, 16, 17, 0, 63, 64, 65, 129, 200, 0};
#define N_TEXTS ((int)(sizeof lengths / sizeof *lengths))

/* Heads of each instance's width and narrower, and some that are no vectors; windows of the query
 * alone, round a group and a tile, within the longest text and beyond. */
static const struct {
    int n_heads, n_kv_heads, head_dim, window;
    bool joined;
} cases[] = {
    {2, 1, 8, 0, true},     {3, 1, 32, 0, false},  {2, 2, 40, 0, true},
    {3, 1, 64, 0, true},    {4, 1, 64, 17, false}, {1, 1, 96, 0, false},
    {2, 1, 80, 33, true},   {4, 4, 128, 0, true},  {3, 1, 128, 1, true},
    {1, 1, 128, 64, false}, {1, 1, 256, 0, true},  {1, 1, 256, 100, false},
    {2, 1, 7, 0, true},     {1, 1, 7, 31, false},  {1, 1, 33, 0, false},
    {1, 1, 130, 65, true},  {1, 1, 1, 0, true},    {1, 1, 24, 199, true},
    {1, 1, 64, 50, false},  {1, 1, 128, 34, true}, {1, 1, 72, INT_MAX, false},
};

START_TEST(attention_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct batch b = make_batch(lengths, N_TEXTS, cases[c].n_heads, cases[c].n_kv_heads,
                                    cases[c].head_dim, cases[c].joined);
        b.window = cases[c].window;
        fill_batch(&b, 1.5f);
        float *got = run(&b);
        check_batch(&b, got);
        free(got);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* Through the dispatching function: rows one behind the other. */
START_TEST(attention_is_dispatched)
{
    static const int two[] = {40, 70};
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(two, 2, 4, 2, 16, false);
    fill_batch(&b, 1.5f);
    float *parts[3], *nothing = calloc((size_t)b.n * (size_t)b.q_row, sizeof *nothing);
    const size_t begins[3] = {b.q_begin, b.k_begin, b.v_begin};
    struct cuda_tensor tensors[3];
    for (int i = 0; i < 3; i++) {
        int row = i == 0 ? b.q_row : b.k_row, stride = i == 0 ? b.q_stride : b.kv_stride;
        parts[i] = malloc((size_t)b.n * (size_t)row * sizeof *parts[i]);
        for (int j = 0; j < b.n; j++)
            memcpy(parts[i] + (size_t)j * (size_t)row,
                   b.buffer + begins[i] + (size_t)j * (size_t)stride,
                   (size_t)row * sizeof *parts[i]);
        tensors[i] = cuda_send(PRECISION_BF16, parts[i], (size_t)b.n * (size_t)row);
        free(parts[i]);
    }
    struct cuda_tensor out = cuda_send(PRECISION_BF16, nothing, (size_t)b.n * (size_t)b.q_row);
    struct cuda_tensor texts = cuda_send_bytes(b.cu_seqlens, 3 * sizeof *b.cu_seqlens);
    cuda_good(attention_fwd(&cuda_test, cuda_pointer(&out), cuda_pointer(&tensors[0]),
                            cuda_pointer(&tensors[1]), cuda_pointer(&tensors[2]),
                            cuda_pointer(&texts), b.n, 2, b.n_heads, b.n_kv_heads, b.head_dim,
                            b.scale, 0, &err),
              &err);
    float *got = cuda_download(&out), *want = run(&b);
    ck_assert_mem_eq(got, want, (size_t)b.n * (size_t)b.q_row * sizeof *got);
    for (int i = 0; i < 3; i++)
        cuda_drop(&tensors[i]);
    cuda_drop(&texts);
    free(got), free(want), free(nothing);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* ---- what batches promise ------------------------------------------------------------------- */

/* The text of rows first .. first+n-1 alone against its rows in `among`: the same bytes. */
static void check_alone(const struct batch *b, const float *among, int first, int n)
{
    const int32_t cu_seqlens[2] = {0, n};
    float *alone = run_part(b, first, n, cu_seqlens, 1);
    const float *rows = among + (size_t)first * (size_t)b->q_row;
    ck_assert_msg(memcmp(alone, rows, (size_t)n * (size_t)b->q_row * sizeof *alone) == 0,
                  "rows %d to %d of heads of %d, window %d", first, first + n, b->head_dim,
                  b->window);
    free(alone);
}

/* Alone and in company, and cut short; heads of tiles of 64 keys and of 32. */
START_TEST(attention_gives_a_text_the_same_bytes_alone)
{
    static const int head_dims[] = {32, 128}, windows[] = {0, 50}, cuts[] = {1, 17, 64, 100, 129};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 4; i++) {
        struct batch b = make_batch(lengths, N_TEXTS, 2, 1, head_dims[i % 2], i % 2);
        b.window = windows[i / 2];
        fill_batch(&b, 1.5f);
        float *among = run(&b);
        for (int t = 0; t < N_TEXTS; t++)
            check_alone(&b, among, b.cu_seqlens[t], lengths[t]);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++)
            check_alone(&b, among, b.cu_seqlens[10], cuts[c]);
        free(among);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* A text no longer than the window has the bytes that it has without one. */
START_TEST(attention_is_the_same_within_a_window)
{
    static const int two[] = {70, 150};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 2; i++) {
        struct batch b = make_batch(two, 2, 2, 1, i ? 128 : 32, true);
        size_t same = 2 * 70 * (size_t)b.q_row, row = (size_t)b.q_row;
        fill_batch(&b, 1.5f);
        float *whole = run(&b);
        b.window = 70;
        float *windowed = run(&b);
        ck_assert_mem_eq(whole, windowed, same * sizeof *whole);
        ck_assert(memcmp(whole + same, windowed + same, row * sizeof *whole) != 0);
        free(whole), free(windowed);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* Hundreds of texts: two rounds of looking for one. More than 1,024 take a third. */
START_TEST(attention_finds_its_text)
{
    enum { MANY = 1100 };
    int many[MANY];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int t = 0; t < MANY; t++)
        many[t] = (int)(mix64(7, (uint64_t)t) % 5);
    many[33] = 70, many[500] = 130, many[MANY - 1] = 65;
    static const int counts[] = {31, 32, 33, 34, 300, MANY};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct batch b = make_batch(many, counts[i], 1, 1, 8, true);
        fill_batch(&b, 1.5f);
        float *got = run(&b);
        check_batch(&b, got);
        free(got);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* A text of thousands of tokens among short ones; the last with truncating sums, which take
 * softcuda ten times as long, so under a window. The short form of the tests has the first. */
static const struct {
    int setting, length, window;
} long_cases[] = {{0, 8192, 0}, {4, 10000, 0}, {1, 10000, 1500}};
#define LONG_CASES ((int)(sizeof long_cases / sizeof *long_cases))

START_TEST(attention_takes_long_texts)
{
    const int length = long_cases[_i].length, texts[] = {5, 70, length, 0, 33, 129};
    if (_i > 0 && !cuda_test_full())
        return;
    if (!cuda_test_device(long_cases[_i].setting))
        SKIP("needs nvcc");
    struct batch b = make_batch(texts, 6, 1, 1, 64, true);
    b.window = long_cases[_i].window;
    fill_batch(&b, 1.5f);
    float *got = run(&b);
    check_batch(&b, got);
    if (_i == 0)
        check_alone(&b, got, b.cu_seqlens[2], length);
    free(got);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* NaN in the first query, key or value of a text, and an infinity. */
START_TEST(attention_keeps_texts_apart)
{
    static const int three[] = {40, 70, 23};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(three, 3, 2, 1, 16, true);
    fill_batch(&b, 1.5f);
    float *clean = run(&b);
    const size_t places[3] = {b.q_begin, b.k_begin, b.v_begin};
    size_t row = (size_t)b.q_row, text = 40 * row, behind = 110 * row;
    for (int i = 0; i < 4; i++) {
        float *x = b.buffer + places[i % 3] + 40 * (size_t)b.q_stride, kept = *x;
        *x = i == 3 ? INFINITY : NAN;
        float *got = run(&b);
        ck_assert_mem_eq(clean, got, text * sizeof *got);
        ck_assert_mem_eq(clean + behind, got + behind, 23 * row * sizeof *got);
        ck_assert(isnan(got[text]));
        /* A query's NaN is its own. */
        if (i % 3 == 0)
            ck_assert_mem_eq(clean + text + row, got + text + row, 69 * row * sizeof *got);
        free(got);
        *x = kept;
    }
    free(clean);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* ---- magnitudes ----------------------------------------------------------------------------- */

/* One key has all the weight: rows of v, exactly. The difference to the largest score must be 0
 * where it is the largest, whatever its size. No two scores are as near as they err. */
START_TEST(attention_takes_scores_of_any_size)
{
    static const float deviations[] = {1e4f, 1e9f, 1e15f};
    const int length = 150;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof deviations / sizeof *deviations; i++) {
        struct batch b = make_batch(&length, 1, 2, 1, 24, true);
        fill_batch(&b, deviations[i]);
        float *got = run(&b);
        for (int j = 0; j < length; j++)
            for (int h = 0; h < 2; h++) {
                const float *best = b.buffer + b.v_begin + best_key(&b, j, h) * b.kv_stride;
                if (memcmp(got + j * b.q_row + h * 24, best, 24 * sizeof *best) != 0)
                    ck_abort_msg("deviation %g: query %d, head %d", (double)deviations[i], j, h);
            }
        free(got);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* Scores that overflow, upwards and downwards, have no softmax: NaN, and in their text alone. */
START_TEST(attention_gives_nan_where_scores_overflow)
{
    static const int three[] = {3, 130, 2};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int negative = 0; negative < 2; negative++) {
        struct batch b = make_batch(three, 3, 1, 1, 8, true);
        fill_batch(&b, 1.5f);
        overflow_rows(&b, 3, 133, negative);
        float *got = run(&b);
        for (int j = 0; j < b.n * b.q_row; j++)
            ck_assert_int_eq(isnan(got[j]) != 0, j >= 3 * 8 && j < 133 * 8);
        free(got);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- how memory is touched ------------------------------------------------------------------ */

/* No bank conflicts, and no sector of 32 bytes is moved for less than it holds. */
START_TEST(attention_touches_memory_well)
{
    static const int two[] = {130, 70}, head_dims[] = {16, 32, 64, 80, 96, 128, 256};
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++) {
        struct batch b = make_batch(two, 2, 2, 1, head_dims[i], true);
        fill_batch(&b, 1.5f);
        cuda_count_begin();
        free(run(&b));
        cuda_count_end_touched_well(1);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* No texts, only empty ones, and heads that no kernel takes. */
START_TEST(attention_has_limits)
{
    const int32_t none[4] = {0, 0, 0, 0};
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    struct cuda_tensor texts = cuda_send_bytes(none, sizeof none);
    void *begins = cuda_pointer(&texts);
    cuda_good(attention_fwd(&cuda_test, NULL, NULL, NULL, NULL, begins, 0, 0, 2, 1, 8, 1, 0, &err),
              &err);
    cuda_good(attention_fwd(&cuda_test, NULL, NULL, NULL, NULL, begins, 0, 3, 2, 1, 8, 1, 0, &err),
              &err);
    ck_assert_int_eq(
        attention_fwd(&cuda_test, NULL, NULL, NULL, NULL, begins, 0, 3, 2, 1, 257, 1, 0, &err),
        STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "attention: heads of 257 are too wide for the GPU's kernel, which "
                               "takes up to 256; use --device cpu");
    cuda_drop(&texts);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_attention");
    TCase *tests = tcase_create("cuda_attention");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, attention_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_is_dispatched, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_gives_a_text_the_same_bytes_alone, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_is_the_same_within_a_window, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_finds_its_text, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_keeps_texts_apart, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_takes_scores_of_any_size, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, attention_gives_nan_where_scores_overflow, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, attention_has_limits);
    tcase_add_test(tests, attention_touches_memory_well);
    suite_add_tcase(suite, tests);
    TCase *large = tcase_create("large");
    tcase_set_timeout(large, 1200);
    tcase_add_loop_test(large, attention_takes_long_texts, 0, LONG_CASES);
    suite_add_tcase(suite, large);
    return run_suite(suite);
}
