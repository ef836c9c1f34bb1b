/* The gradient of attention on a GPU against its float64 reference, and what batches promise:
 * tests/test_attention_bwd.c asks the same of the CPU. */
#include "tests/cuda_support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/attention.h"
#include "tests/attention_batch.h"
#include "tests/cuda_counters.h"

/* dq, dk and dv, row behind row, in one array. */
struct gradients {
    float *dq, *dk, *dv;
    size_t q_size, k_size; /* of dq; of dk and dv */
};

static float *make_dout(const struct batch *b)
{
    size_t size = (size_t)b->n * (size_t)b->q_row;
    float *dout = malloc(size * sizeof *dout + 1);
    fill_normal(dout, size, 4, 1.0f);
    for (size_t i = 0; i < size; i++)
        dout[i] = bf16_to_float(bf16_from_float(dout[i]));
    return dout;
}

static struct cuda_tensor send_copy(const float *x, size_t size)
{
    float *copy = malloc(size * sizeof *copy + 1);
    for (size_t i = 0; i < size; i++)
        copy[i] = x ? x[i] : NAN;
    struct cuda_tensor tensor = cuda_send(PRECISION_BF16, copy, size);
    free(copy);
    return tensor;
}

/* The rows of a part of `buffer` to `to`, and NaN to the buffer, in which only what lies between
 * rows must have been NaN before. */
static void take_rows(float *to, float *buffer, int n, int row, int stride)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < row; j++) {
            to[(size_t)i * (size_t)row + (size_t)j] =
                buffer[(size_t)i * (size_t)stride + (size_t)j];
            buffer[(size_t)i * (size_t)stride + (size_t)j] = NAN;
        }
}

/* n rows from row `first` on as texts of cu_seqlens, forwards and backwards. The gradients lie as
 * q, k and v do; between rows nothing is written. */
static struct gradients run_part(const struct batch *b, const float *dout, int first, int n,
                                 const int32_t *cu_seqlens, int n_texts)
{
    struct err err;
    size_t q_size = (size_t)n * (size_t)b->q_row, k_size = (size_t)n * (size_t)b->k_row;
    struct gradients got = {malloc((q_size + 2 * k_size) * sizeof *got.dq + 1), NULL, NULL, q_size,
                            k_size};
    got.dk = got.dq + q_size, got.dv = got.dk + k_size;
    struct cuda_tensor buffer = send_copy(b->buffer, b->size), out = send_copy(NULL, q_size);
    struct cuda_tensor gradient = send_copy(NULL, b->size);
    struct cuda_tensor slope = send_copy(dout + (size_t)first * (size_t)b->q_row, q_size);
    struct cuda_tensor begins =
        cuda_send_bytes(cu_seqlens, ((size_t)n_texts + 1) * sizeof *cu_seqlens);
    struct cuda_tensor scratch = cuda_empty(PRECISION_F32, 4 * (size_t)b->n_heads * (size_t)n);
    struct places at = places_of(b, &buffer, first);
    uint16_t *to = cuda_pointer(&gradient);
    cuda_good(attention_fwd_cuda(&cuda_test, cuda_pointer(&out), at.q, b->q_stride, at.k, at.v,
                                 b->kv_stride, cuda_pointer(&begins), n, n_texts, b->n_heads,
                                 b->n_kv_heads, b->head_dim, b->scale, b->window, &err),
              &err);
    cuda_good(attention_bwd_cuda(&cuda_test, to + b->q_begin, b->q_stride, to + b->k_begin,
                                 to + b->v_begin, b->kv_stride, cuda_pointer(&slope),
                                 cuda_pointer(&out), at.q, b->q_stride, at.k, at.v, b->kv_stride,
                                 cuda_pointer(&begins), n, n_texts, b->n_heads, b->n_kv_heads,
                                 b->head_dim, b->scale, b->window, cuda_pointer(&scratch), &err),
              &err);
    float *all = cuda_download(&gradient);
    take_rows(got.dq, all + b->q_begin, n, b->q_row, b->q_stride);
    take_rows(got.dk, all + b->k_begin, n, b->k_row, b->kv_stride);
    take_rows(got.dv, all + b->v_begin, n, b->k_row, b->kv_stride);
    for (size_t i = 0; i < b->size; i++)
        if (!isnan(all[i]))
            ck_abort_msg("element %zu between the rows was written", i);
    free(all);
    cuda_drop(&buffer), cuda_drop(&out), cuda_drop(&slope), cuda_drop(&begins);
    cuda_drop(&scratch);
    return got;
}

static struct gradients run(const struct batch *b, const float *dout)
{
    return run_part(b, dout, 0, b->n, b->cu_seqlens, b->n_texts);
}

/* ---- against the reference ------------------------------------------------------------------ */

static void check_batch(const struct batch *b, const float *dout, const struct gradients *got)
{
    size_t q_size = got->q_size, k_size = got->k_size, all = q_size + 2 * k_size;
    int longest = longest_of(b);
    double *q = rows_of(b, b->q_begin, b->q_row, b->q_stride, false);
    double *k = rows_of(b, b->k_begin, b->k_row, b->kv_stride, false);
    double *v = rows_of(b, b->v_begin, b->k_row, b->kv_stride, false);
    double *slope = malloc(q_size * sizeof *slope + 1);
    double *want = malloc(2 * all * sizeof *want + 1), *magnitude = want + all;
    double *scores = malloc(2 * (size_t)longest * sizeof *scores + 1);
    for (size_t i = 0; i < q_size; i++)
        slope[i] = (double)dout[i];
    attention_bwd_ref(want, want + q_size, want + q_size + k_size, magnitude, magnitude + q_size,
                      magnitude + q_size + k_size, slope, q, k, v, b->cu_seqlens, b->n_texts,
                      b->n_heads, b->n_kv_heads, b->head_dim, (double)b->scale, b->window, scores);
    double tolerance = attention_bwd_cuda_tolerance(
        b->head_dim, longest, longest * (b->n_heads / b->n_kv_heads), largest_score(b, q, k));
    check_rows(b, "dq", got->dq, want, magnitude, q_size, b->q_row, tolerance);
    check_rows(b, "dk", got->dk, want + q_size, magnitude + q_size, k_size, b->k_row, tolerance);
    check_rows(b, "dv", got->dv, want + q_size + k_size, magnitude + q_size + k_size, k_size,
               b->k_row, tolerance);
    free(q), free(k), free(v), free(slope), free(want), free(scores);
}

/* The batch's gradients by the slopes that make_dout makes. */
static void check_run(const struct batch *b)
{
    float *dout = make_dout(b);
    struct gradients got = run(b, dout);
    check_batch(b, dout, &got);
    free(got.dq), free(dout);
}

/* Empty, single, round a group of 16, a tile of 32 and 64, and a block of rows. The short form has
 * fewer. */
static const int lengths[] = {0, 1, 15, 16, 17, 0, 63, 64, 65, 129, 200, 0};
static const int short_lengths[] = {0, 1, 17, 0, 64, 97, 0};

static struct batch make_texts(int n_heads, int n_kv_heads, int head_dim, bool joined, int window)
{
    int n = cuda_test_full() ? (int)(sizeof lengths / sizeof *lengths)
                             : (int)(sizeof short_lengths / sizeof *short_lengths);
    struct batch b = make_batch(cuda_test_full() ? lengths : short_lengths, n, n_heads, n_kv_heads,
                                head_dim, joined);
    b.window = window;
    fill_batch(&b, 1.5f);
    return b;
}

/* Heads of each instance's width and narrower, and some that are no vectors; windows of the query
 * alone, round a group and a tile, within the longest text and beyond. The short form has every
 * third in a setting. */
static const struct {
    int n_heads, n_kv_heads, head_dim, window;
    bool joined;
} cases[] = {
    {2, 1, 8, 0, true},     {3, 1, 32, 0, false},  {2, 2, 40, 0, true},
    {3, 1, 64, 0, true},    {4, 1, 64, 17, false}, {1, 1, 96, 0, false},
    {2, 1, 80, 33, true},   {4, 2, 128, 0, true},  {3, 1, 128, 1, true},
    {1, 1, 128, 64, false}, {1, 1, 256, 0, true},  {1, 1, 256, 50, false},
    {2, 1, 7, 0, true},     {1, 1, 7, 31, false},  {1, 1, 33, 0, false},
    {2, 1, 130, 65, true},  {1, 1, 1, 0, true},    {1, 1, 24, 96, true},
    {1, 1, 64, 50, false},  {2, 2, 128, 34, true}, {1, 1, 72, INT_MAX, false},
};

START_TEST(gradient_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        if (!cuda_test_full() && (int)c % 3 != _i % 3)
            continue;
        struct batch b = make_texts(cases[c].n_heads, cases[c].n_kv_heads, cases[c].head_dim,
                                    cases[c].joined, cases[c].window);
        check_run(&b);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* Dozens of texts take two rounds of looking for one. */
START_TEST(gradient_finds_its_text)
{
    int many[40];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int t = 0; t < 40; t++)
        many[t] = (int)(mix64(7, (uint64_t)t) % 5);
    many[33] = 70, many[39] = 65;
    struct batch b = make_batch(many, 40, 2, 1, 8, true);
    fill_batch(&b, 1.5f);
    check_run(&b);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* The report's step on one head, and a long text under grouped heads; the latter in the long form
 * of the tests. */
START_TEST(gradient_takes_long_texts)
{
    static const int long_text[] = {5, 2048, 33};
    int titles[16];
    for (int t = 0; t < 16; t++)
        titles[t] = 44;
    if (_i > 0 && !cuda_test_full())
        return;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = _i ? make_batch(long_text, 3, 2, 1, _i == 1 ? 128 : 64, true)
                        : make_batch(titles, 16, 1, 1, 128, true);
    b.window = _i == 3 ? 700 : 0;
    fill_batch(&b, 1.5f);
    check_run(&b);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* ---- what batches promise ------------------------------------------------------------------- */

static void check_same(const struct batch *b, const struct gradients *alone,
                       const struct gradients *among, int first)
{
    size_t q = (size_t)first * (size_t)b->q_row, k = (size_t)first * (size_t)b->k_row;
    ck_assert_mem_eq(alone->dq, among->dq + q, alone->q_size * sizeof(float));
    ck_assert_mem_eq(alone->dk, among->dk + k, alone->k_size * sizeof(float));
    ck_assert_mem_eq(alone->dv, among->dv + k, alone->k_size * sizeof(float));
}

/* Alone and in company, with a window and without, heads in registers and not. */
START_TEST(gradient_gives_a_text_the_same_bytes_alone)
{
    static const int head_dims[] = {32, 128, 256}, windows[] = {0, 50};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < (cuda_test_full() ? 6 : 2); i++) {
        struct batch b = make_texts(2, 1, head_dims[i % 3], i % 2, windows[i % 2]);
        float *dout = make_dout(&b);
        struct gradients among = run(&b, dout);
        for (int t = 0; t < b.n_texts; t++) {
            const int32_t cu_seqlens[2] = {0, b.cu_seqlens[t + 1] - b.cu_seqlens[t]};
            struct gradients alone =
                run_part(&b, dout, b.cu_seqlens[t], cu_seqlens[1], cu_seqlens, 1);
            check_same(&b, &alone, &among, b.cu_seqlens[t]);
            free(alone.dq);
        }
        free(among.dq), free(dout);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* A text no longer than the window has the bytes that it has without one. */
START_TEST(gradient_is_the_same_within_a_window)
{
    static const int two[] = {70, 90};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(two, 2, 2, 1, _i % 2 ? 128 : 32, true);
    fill_batch(&b, 1.5f);
    float *dout = make_dout(&b);
    struct gradients whole = run(&b, dout);
    b.window = 70;
    struct gradients windowed = run(&b, dout), first = windowed;
    first.q_size = 70 * (size_t)b.q_row, first.k_size = 70 * (size_t)b.k_row;
    check_same(&b, &first, &whole, 0);
    ck_assert(memcmp(whole.dv + first.k_size, windowed.dv + first.k_size,
                     first.k_size * sizeof(float)) != 0);
    free(whole.dq), free(windowed.dq), free(dout);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* NaN in the first query, key, value or slope of a text, and an infinity; and in the other kv head
 * nothing is to be seen of it. */
START_TEST(gradient_keeps_texts_apart)
{
    static const int three[] = {40, 70, 23};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct batch b = make_batch(three, 3, 4, 2, 16, true);
    fill_batch(&b, 1.5f);
    float *dout = make_dout(&b);
    struct gradients clean = run(&b, dout);
    float *places[5] = {b.buffer + b.q_begin + 40 * (size_t)b.q_stride,
                        b.buffer + b.k_begin + 40 * (size_t)b.kv_stride,
                        b.buffer + b.v_begin + 40 * (size_t)b.kv_stride,
                        dout + 40 * (size_t)b.q_row};
    places[4] = places[0];
    for (int i = 0; i < 5; i++) {
        float kept = *places[i];
        *places[i] = i == 4 ? INFINITY : NAN;
        struct gradients got = run(&b, dout);
        size_t n_nan = 0;
        for (int row = 0; row < 2 * b.n; row++) {
            bool of_q = row < b.n;
            size_t size = (size_t)(of_q ? b.q_row : b.k_row), at = (size_t)(row % b.n) * size;
            bool apart = row % b.n < 40 || row % b.n >= 110;
            for (size_t c = apart ? 0 : size / 2; c < size; c++) {
                float x = of_q ? got.dq[at + c] : got.dk[at + c];
                float y = of_q ? clean.dq[at + c] : clean.dk[at + c];
                if (memcmp(&x, &y, sizeof x) != 0)
                    ck_abort_msg("place %d: row %d, column %zu: %g, not %g", i, row, c, (double)x,
                                 (double)y);
                if (!of_q && memcmp(&got.dv[at + c], &clean.dv[at + c], sizeof x) != 0)
                    ck_abort_msg("place %d: dv, row %d, column %zu", i, row, c);
            }
            for (size_t c = 0; c < size / 2; c++)
                n_nan += isnan(of_q ? got.dq[at + c] : got.dk[at + c]) != 0;
        }
        ck_assert_uint_gt(n_nan, 0);
        free(got.dq);
        *places[i] = kept;
    }
    free(clean.dq), free(dout);
    free_batch(&b);
    device_close(&cuda_test);
}
END_TEST

/* ---- magnitudes ----------------------------------------------------------------------------- */

/* One key has all the weight, exactly: its dv is a sum of slopes. dS is what is left of
 * dout . v - dout . out, nothing but roundings, times 1; all is finite. */
START_TEST(gradient_takes_scores_of_any_size)
{
    static const float deviations[] = {1e4f, 1e9f, 1e15f};
    const int length = 100;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof deviations / sizeof *deviations; i++) {
        struct batch b = make_batch(&length, 1, 2, 1, 24, true);
        fill_batch(&b, deviations[i]);
        float *dout = make_dout(&b);
        struct gradients got = run(&b, dout);
        double *want = calloc(2 * got.k_size, sizeof *want), *magnitude = want + got.k_size;
        for (int j = 0; j < length; j++)
            for (int h = 0; h < 2; h++) {
                size_t best = (size_t)best_key(&b, j, h);
                for (int c = 0; c < 24; c++) {
                    double slope = (double)dout[(j * 2 + h) * 24 + c];
                    want[best * 24 + (size_t)c] += slope;
                    magnitude[best * 24 + (size_t)c] += fabs(slope);
                }
            }
        double tolerance = 0x1p-23 * 10 * 2 * 128 / 8; /* what mma may cut */
        check_rows(&b, "dv", got.dv, want, magnitude, got.k_size, b.k_row, tolerance);
        for (size_t c = 0; c < got.q_size + 2 * got.k_size; c++)
            if (!isfinite(got.dq[c]))
                ck_abort_msg("deviation %g: element %zu is %g", (double)deviations[i], c,
                             (double)got.dq[c]);
        free(got.dq), free(dout), free(want);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* Scores that overflow, upwards and downwards, have no softmax: NaN, and in their text alone. */
START_TEST(gradient_is_nan_where_scores_overflow)
{
    static const int three[] = {3, 80, 2};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int negative = 0; negative < 2; negative++) {
        struct batch b = make_batch(three, 3, 1, 1, 8, true);
        fill_batch(&b, 1.5f);
        overflow_rows(&b, 3, 83, negative);
        float *dout = make_dout(&b);
        struct gradients got = run(&b, dout);
        for (int j = 0; j < 3 * b.n * 8; j++)
            ck_assert_int_eq(isnan(got.dq[j]) != 0, j / 8 % b.n >= 3 && j / 8 % b.n < 83);
        free(got.dq), free(dout);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- how memory is touched ------------------------------------------------------------------ */

/* No bank conflicts, and no sector of 32 bytes is moved for less than it holds. */
START_TEST(gradient_touches_memory_well)
{
    static const int two[] = {130, 70}, head_dims[] = {16, 64, 80, 96, 128, 256};
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++) {
        struct batch b = make_batch(two, 2, 2, 1, head_dims[i], true);
        fill_batch(&b, 1.5f);
        float *dout = make_dout(&b);
        cuda_count_begin();
        free(run(&b, dout).dq);
        cuda_count_end_touched_well(3); /* attention's own among them */
        free(dout);
        free_batch(&b);
    }
    device_close(&cuda_test);
}
END_TEST

/* No texts, only empty ones, heads that no kernel takes, and the form without scratch. */
START_TEST(gradient_has_limits)
{
    const int32_t none[4] = {0, 0, 0, 0};
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    struct cuda_tensor texts = cuda_send_bytes(none, sizeof none);
    void *begins = cuda_pointer(&texts);
    for (int n_texts = 0; n_texts < 4; n_texts += 3)
        cuda_good(attention_bwd_cuda(&cuda_test, NULL, 16, NULL, NULL, 8, NULL, NULL, NULL, 16,
                                     NULL, NULL, 8, begins, 0, n_texts, 2, 1, 8, 1, 0, NULL, &err),
                  &err);
    ck_assert_int_eq(attention_bwd_cuda(&cuda_test, NULL, 514, NULL, NULL, 257, NULL, NULL, NULL,
                                        514, NULL, NULL, 257, begins, 0, 3, 2, 1, 257, 1, 0, NULL,
                                        &err),
                     STATUS_RESOURCE);
    ck_assert_ptr_nonnull(strstr(err.text, "heads of 257 are too wide"));
    ck_assert_int_eq(attention_bwd(&cuda_test, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                   begins, 0, 3, 2, 1, 8, 1, 0, &err),
                     STATUS_RESOURCE);
    cuda_drop(&texts);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_attention_bwd");
    TCase *tests = tcase_create("cuda_attention_bwd");
    tcase_set_timeout(tests, cuda_test_full() ? 600 : 60);
    tcase_add_loop_test(tests, gradient_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_finds_its_text, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_gives_a_text_the_same_bytes_alone, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_is_the_same_within_a_window, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_keeps_texts_apart, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_takes_scores_of_any_size, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, gradient_is_nan_where_scores_overflow, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, gradient_touches_memory_well);
    tcase_add_test(tests, gradient_has_limits);
    suite_add_tcase(suite, tests);
    TCase *large = tcase_create("large");
    tcase_set_timeout(large, 1200);
    tcase_add_loop_test(large, gradient_takes_long_texts, 0, 4);
    suite_add_tcase(suite, large);
    return run_suite(suite);
}
