/* The gradient of packed causal attention: the reference against central differences of the forward
 * reference, the kernel against the reference, and what batches promise. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/attention.h"
#include "tests/gradient_check.h"

/* ---- the reference -------------------------------------------------------------------------- */

/* Small enough for differences by every element. */
static const struct {
    int n_heads, n_kv_heads, head_dim, window;
} small_cases[] = {{1, 1, 3, 0}, {4, 2, 2, 0}, {3, 1, 1, 0}, {2, 1, 2, 2}, {2, 2, 2, 3}};
static const int32_t small_texts[] = {0, 1, 1, 6, 9};
#define N_SMALL_TEXTS 4
#define N_SMALL       9

struct small {
    int n_heads, n_kv_heads, head_dim, window;
    double *q, *k, *v, *out, *dout, *scores;
};

static double loss(void *context)
{
    struct small *s = context;
    attention_fwd_ref(s->out, s->q, s->k, s->v, small_texts, N_SMALL_TEXTS, s->n_heads,
                      s->n_kv_heads, s->head_dim, 0.7, s->window, s->scores);
    return weighted_sum(s->out, s->dout, (size_t)(N_SMALL * s->n_heads * s->head_dim));
}

START_TEST(attention_bwd_reference_is_the_gradient)
{
    struct small s = {
        .n_heads = small_cases[_i].n_heads,
        .n_kv_heads = small_cases[_i].n_kv_heads,
        .head_dim = small_cases[_i].head_dim,
        .window = small_cases[_i].window,
    };
    size_t q_size = (size_t)(N_SMALL * s.n_heads * s.head_dim);
    size_t k_size = (size_t)(N_SMALL * s.n_kv_heads * s.head_dim);
    s.q = normal_doubles(q_size, 1, 1.0f), s.k = normal_doubles(k_size, 2, 1.0f);
    s.v = normal_doubles(k_size, 3, 1.0f), s.dout = normal_doubles(q_size, 4, 1.0f);
    s.out = zero_doubles(q_size), s.scores = zero_doubles(2 * N_SMALL);
    double *dq = zero_doubles(q_size), *dk = zero_doubles(k_size), *dv = zero_doubles(k_size);
    attention_bwd_ref(dq, dk, dv, NULL, NULL, NULL, s.dout, s.q, s.k, s.v, small_texts,
                      N_SMALL_TEXTS, s.n_heads, s.n_kv_heads, s.head_dim, 0.7, s.window, s.scores);
    check_gradient(loss, &s, s.q, dq, q_size, "dq, case %d", _i);
    check_gradient(loss, &s, s.k, dk, k_size, "dk, case %d", _i);
    check_gradient(loss, &s, s.v, dv, k_size, "dv, case %d", _i);
    free(s.q), free(s.k), free(s.v), free(s.dout), free(s.out), free(s.scores);
    free(dq), free(dk), free(dv);
}
END_TEST

/* ---- batches -------------------------------------------------------------------------------- */

/* Empty, single, round the vector width of 8, the panel of 16, the block of 96 keys (rows of heads:
 * 32, 48), and several blocks. */
static const int lengths[] = {0,  1,  2,  7,  8,  9,  15, 16,  17,  0,   31, 32,
                              33, 47, 48, 49, 95, 96, 97, 191, 193, 300, 0};
#define N_TEXTS ((int)(sizeof lengths / sizeof *lengths))
#define LONGEST 300

/* Windows: the query alone, round the panel and the block, and longer than all texts. */
static const struct {
    int n_heads, n_kv_heads, head_dim, window;
} cases[] = {
    {1, 1, 8, 0},   {8, 4, 8, 0},   {9, 3, 16, 0},  {4, 1, 32, 0},      {9, 3, 64, 0},
    {8, 4, 64, 0},  {4, 1, 80, 0},  {2, 1, 128, 0}, {1, 1, 256, 0},     {3, 1, 10, 0},
    {5, 5, 7, 0},   {4, 2, 1, 0},   {1, 1, 33, 0},  {7, 1, 24, 0},      {1, 1, 8, 1},
    {1, 1, 16, 2},  {8, 4, 16, 15}, {1, 1, 24, 16}, {4, 1, 32, 17},     {1, 1, 8, 95},
    {3, 1, 8, 96},  {1, 1, 8, 97},  {9, 3, 16, 98}, {4, 2, 8, 192},     {1, 1, 8, 193},
    {3, 1, 8, 299}, {4, 2, 8, 300}, {5, 1, 12, 40}, {1, 1, 8, INT_MAX},
};

/* One packed batch: inputs and gradients, and where its texts begin. */
struct batch {
    float *q, *k, *v, *out, *dout, *dq, *dk, *dv;
    int32_t *cu_seqlens;
    int n_texts, n_heads, n_kv_heads, head_dim, window, longest;
    size_t q_size, k_size;
};

static struct batch make_batch(const int *text_lengths, int n_texts, int n_heads, int n_kv_heads,
                               int head_dim)
{
    struct batch b = {
        .n_texts = n_texts, .n_heads = n_heads, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    b.cu_seqlens = malloc(((size_t)n_texts + 1) * sizeof(int32_t));
    b.cu_seqlens[0] = 0;
    for (int t = 0; t < n_texts; t++) {
        b.cu_seqlens[t + 1] = b.cu_seqlens[t] + text_lengths[t];
        b.longest = text_lengths[t] > b.longest ? text_lengths[t] : b.longest;
    }
    size_t n = (size_t)b.cu_seqlens[n_texts];
    b.q_size = n * (size_t)n_heads * (size_t)head_dim;
    b.k_size = n * (size_t)n_kv_heads * (size_t)head_dim;
    float **of_q[] = {&b.q, &b.out, &b.dout, &b.dq}, **of_k[] = {&b.k, &b.v, &b.dk, &b.dv};
    for (int i = 0; i < 4; i++) {
        *of_q[i] = guarded_floats(b.q_size);
        *of_k[i] = guarded_floats(b.k_size);
    }
    fill_normal(b.q, b.q_size, 1, 1.5f);
    fill_normal(b.k, b.k_size, 2, 1.5f);
    fill_normal(b.v, b.k_size, 3, 1.0f);
    fill_normal(b.dout, b.q_size, 4, 1.0f);
    return b;
}

static void free_batch(struct batch *b)
{
    float *of_q[] = {b->q, b->out, b->dout, b->dq}, *of_k[] = {b->k, b->v, b->dk, b->dv};
    for (int i = 0; i < 4; i++) {
        check_guarded(of_q[i], b->q_size);
        check_guarded(of_k[i], b->k_size);
    }
    free(b->cu_seqlens);
}

static void run(struct device *device, struct batch *b)
{
    struct err err;
    float scale = 1 / sqrtf((float)b->head_dim);
    int n = b->cu_seqlens[b->n_texts];
    for (size_t i = 0; i < b->q_size; i++)
        b->dq[i] = NAN;
    for (size_t i = 0; i < b->k_size; i++)
        b->dk[i] = b->dv[i] = NAN;
    ck_assert_int_eq(attention_fwd(device, b->out, b->q, b->k, b->v, b->cu_seqlens, n, b->n_texts,
                                   b->n_heads, b->n_kv_heads, b->head_dim, scale, b->window, &err),
                     STATUS_OK);
    ck_assert_int_eq(attention_bwd(device, b->dq, b->dk, b->dv, b->dout, b->out, b->q, b->k, b->v,
                                   b->cu_seqlens, n, b->n_texts, b->n_heads, b->n_kv_heads,
                                   b->head_dim, scale, b->window, &err),
                     STATUS_OK);
}

struct wanted {
    double *dq, *dk, *dv, *dq_magnitude, *dk_magnitude, *dv_magnitude;
};

static struct wanted reference(const struct batch *b)
{
    double *q = to_doubles(b->q, b->q_size), *k = to_doubles(b->k, b->k_size);
    double *v = to_doubles(b->v, b->k_size), *dout = to_doubles(b->dout, b->q_size);
    double *scores = zero_doubles(2 * (size_t)b->longest);
    struct wanted w = {zero_doubles(b->q_size), zero_doubles(b->k_size), zero_doubles(b->k_size),
                       zero_doubles(b->q_size), zero_doubles(b->k_size), zero_doubles(b->k_size)};
    attention_bwd_ref(w.dq, w.dk, w.dv, w.dq_magnitude, w.dk_magnitude, w.dv_magnitude, dout, q, k,
                      v, b->cu_seqlens, b->n_texts, b->n_heads, b->n_kv_heads, b->head_dim,
                      (double)(1 / sqrtf((float)b->head_dim)), b->window, scores);
    free(q), free(k), free(v), free(dout), free(scores);
    return w;
}

static void free_wanted(struct wanted *w)
{
    free(w->dq), free(w->dk), free(w->dv);
    free(w->dq_magnitude), free(w->dk_magnitude), free(w->dv_magnitude);
}

/* A weight below 2^-126 is 0; some hundred of them, times values of size 100 or so. */
#define VANISHED 1e-30

static void check_within(const float *got, const double *want, const double *magnitude, size_t n,
                         double tolerance, const char *what, const struct batch *b,
                         const struct device *device)
{
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= tolerance * magnitude[i] + VANISHED))
            ck_abort_msg(
                "%s: %s[%zu] of %d/%d x %d, window %d: %.9g, want %.9g, error %.3g of %.3g",
                test_device_name(device), what, i, b->n_heads, b->n_kv_heads, b->head_dim,
                b->window, (double)got[i], want[i], error, tolerance * magnitude[i]);
    }
}

/* score: the largest scale * sum |q k|; of normal values of deviation 1.5 at most 2.25 * 2 / pi
 * sqrt(head_dim) and a few deviations more. */
static double usual_score(int head_dim)
{
    return 2.25 * (0.64 * sqrt(head_dim) + 6);
}

static void check_batch(struct device *device, struct batch *b, const struct wanted *w,
                        double score)
{
    double tolerance =
        attention_bwd_tolerance(b->head_dim, b->longest * (b->n_heads / b->n_kv_heads), score);
    run(device, b);
    check_within(b->dq, w->dq, w->dq_magnitude, b->q_size, tolerance, "dq", b, device);
    check_within(b->dk, w->dk, w->dk_magnitude, b->k_size, tolerance, "dk", b, device);
    check_within(b->dv, w->dv, w->dv_magnitude, b->k_size, tolerance, "dv", b, device);
}

static void check_batch_everywhere(struct batch *b, double score)
{
    struct wanted want = reference(b);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        check_batch(&device, b, &want, score);
        device_close(&device);
    }
    free_wanted(&want);
    free_batch(b);
}

START_TEST(attention_bwd_matches_reference)
{
    struct batch b =
        make_batch(lengths, N_TEXTS, cases[_i].n_heads, cases[_i].n_kv_heads, cases[_i].head_dim);
    b.window = cases[_i].window;
    check_batch_everywhere(&b, usual_score(b.head_dim));
}
END_TEST

START_TEST(attention_bwd_takes_large_heads)
{
    static const int some[] = {5, 130, 1};
    struct batch b = make_batch(some, 3, 2, 1, ATTENTION_HEAD_DIM_LARGEST);
    check_batch_everywhere(&b, usual_score(b.head_dim));
}
END_TEST

START_TEST(attention_bwd_takes_many_heads_on_one)
{
    static const int some[] = {3, 20, 0, 100};
    struct batch b = make_batch(some, 4, ATTENTION_HEADS_LARGEST, 1, 4);
    check_batch_everywhere(&b, usual_score(b.head_dim));
}
END_TEST

START_TEST(attention_bwd_takes_long_texts)
{
    static const int two[] = {3000, 3};
    struct batch b = make_batch(two, 2, 2, 1, 8);
    check_batch_everywhere(&b, usual_score(b.head_dim));
}
END_TEST

/* Scores of several hundred: exp would overflow without the maximum, and most probabilities are 0.
 */
START_TEST(attention_bwd_takes_large_scores)
{
    const int length = 200;
    struct batch b = make_batch(&length, 1, 2, 1, 16);
    fill_normal(b.q, b.q_size, 1, 40.0f);
    fill_normal(b.k, b.k_size, 2, 40.0f);
    check_batch_everywhere(&b, 40 * 40 / 2.25 * usual_score(16));
}
END_TEST

/* One key has all the weight: dv is what the queries that chose it got, dS is 0 but for rounding.
 */
START_TEST(attention_bwd_takes_scores_of_any_size)
{
    static const float deviations[] = {1e4f, 1e6f, 1e9f, 1e15f};
    const int length = 200;
    struct batch b = make_batch(&length, 1, 2, 1, 12);
    b.dout[0] = 0;
    for (size_t s = 0; s < sizeof deviations / sizeof *deviations; s++) {
        fill_normal(b.q, b.q_size, 1, deviations[s]);
        fill_normal(b.k, b.k_size, 2, deviations[s]);
        struct wanted want = reference(&b);
        struct device device;
        for (int i = 0; test_device(i, &device); i++) {
            check_batch(&device, &b, &want, usual_score(12));
            device_close(&device);
        }
        free_wanted(&want);
    }
    free_batch(&b);
}
END_TEST

/* ---- what batches promise ------------------------------------------------------------------- */

static const int windows[] = {0, 1, 60, 96, 250};
#define N_WINDOWS ((int)(sizeof windows / sizeof *windows))

static void check_same(const float *x, const float *y, size_t n, const char *what, int text)
{
    ck_assert_msg(memcmp(x, y, n * sizeof *x) == 0, "%s of text %d", what, text);
}

START_TEST(attention_bwd_gives_a_text_the_same_bytes_alone)
{
    struct device device;
    struct batch b = make_batch(lengths, N_TEXTS, 6, 2, 20);
    b.window = windows[_i];
    size_t q_row = 6 * 20, k_row = 2 * 20;
    for (int i = 0; test_device(i, &device); i++) {
        run(&device, &b);
        for (int t = 0; t < N_TEXTS; t++) {
            struct batch alone = make_batch(&lengths[t], 1, 6, 2, 20);
            size_t at_q = (size_t)b.cu_seqlens[t] * q_row, at_k = (size_t)b.cu_seqlens[t] * k_row;
            alone.window = b.window;
            memcpy(alone.q, b.q + at_q, alone.q_size * sizeof(float));
            memcpy(alone.dout, b.dout + at_q, alone.q_size * sizeof(float));
            memcpy(alone.k, b.k + at_k, alone.k_size * sizeof(float));
            memcpy(alone.v, b.v + at_k, alone.k_size * sizeof(float));
            run(&device, &alone);
            check_same(alone.dq, b.dq + at_q, alone.q_size, "dq", t);
            check_same(alone.dk, b.dk + at_k, alone.k_size, "dk", t);
            check_same(alone.dv, b.dv + at_k, alone.k_size, "dv", t);
            free_batch(&alone);
        }
        device_close(&device);
    }
    free_batch(&b);
}
END_TEST

/* One head and several threads make rounds of what one thread walks through by heads. */
START_TEST(attention_bwd_is_the_same_for_any_number_of_threads)
{
    static const int some[] = {3, 700, 0, 97, 20};
    static const struct {
        int n_heads, n_kv_heads;
    } heads[] = {{1, 1}, {3, 1}, {5, 1}, {4, 2}, {16, 16}};
    static const char *names[] = {"portable", "avx2"};
    struct device device;
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++) {
        struct batch b = make_batch(some, 5, heads[h].n_heads, heads[h].n_kv_heads, 12);
        b.window = windows[_i];
        struct batch first = make_batch(some, 5, heads[h].n_heads, heads[h].n_kv_heads, 12);
        for (int isa = CPU_PORTABLE; isa <= CPU_AVX2 && cpu_has((enum cpu_isa)isa); isa++) {
            setenv("MIDASHI_CPU", names[isa], 1);
            for (int n_threads = 1; n_threads <= 5; n_threads++) {
                struct err err;
                ck_assert_int_eq(device_open(&device, "cpu", n_threads, &err), STATUS_OK);
                run(&device, &b);
                if (n_threads == 1) {
                    memcpy(first.dq, b.dq, b.q_size * sizeof(float));
                    memcpy(first.dk, b.dk, b.k_size * sizeof(float));
                    memcpy(first.dv, b.dv, b.k_size * sizeof(float));
                }
                check_same(first.dq, b.dq, b.q_size, "dq", n_threads);
                check_same(first.dk, b.dk, b.k_size, "dk", n_threads);
                check_same(first.dv, b.dv, b.k_size, "dv", n_threads);
                device_close(&device);
            }
        }
        free_batch(&b);
        free_batch(&first);
    }
}
END_TEST

static bool any_nan(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            return true;
    return false;
}

/* Rows 40 to 189, head_dim 12: the heads of kv head 0 may be spoilt, others not. */
static void check_apart(const struct batch *b, const struct batch *clean, bool is_of_head)
{
    for (int i = 0; i < 213; i++)
        for (int h = 0; h < 4; h++) {
            size_t at_q = (size_t)(i * 4 + h) * 12, at_k = (size_t)(i * 2 + h % 2) * 12;
            bool inside = i >= 40 && i < 190;
            if (!inside || (is_of_head && h >= 2))
                check_same(clean->dq + at_q, b->dq + at_q, 12, "dq", i);
            if (!inside || (is_of_head && h % 2 == 1)) {
                check_same(clean->dk + at_k, b->dk + at_k, 12, "dk", i);
                check_same(clean->dv + at_k, b->dv + at_k, 12, "dv", i);
            }
        }
}

START_TEST(attention_bwd_keeps_texts_and_heads_apart)
{
    static const int three[] = {40, 150, 23};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct batch clean = make_batch(three, 3, 4, 2, 12);
        run(&device, &clean);
        for (int poison = 0; poison < 4; poison++) {
            struct batch b = make_batch(three, 3, 4, 2, 12);
            float *where[] = {b.q + 40 * 48, b.k + 40 * 24, b.v + 40 * 24, b.dout + 40 * 48};
            *where[poison] = NAN;
            run(&device, &b);
            check_apart(&b, &clean, true);
            ck_assert(any_nan(b.dq, b.q_size) && any_nan(b.dk, b.k_size));
            free_batch(&b);
        }
        free_batch(&clean);
        device_close(&device);
    }
}
END_TEST

/* Scores that overflow have no softmax: NaN, not a plausible number, in one block and in several.
 */
START_TEST(attention_bwd_gives_nan_where_scores_overflow)
{
    static const int three[] = {3, 200, 2};
    struct device device;
    for (int negative = 0; negative < 2; negative++) {
        struct batch b = make_batch(three, 3, 1, 1, 4);
        for (size_t i = 3 * 4; i < 203 * 4; i++) {
            b.q[i] = 3e38f;
            b.k[i] = negative ? -3e38f : 3e38f;
        }
        for (int i = 0; test_device(i, &device); i++) {
            run(&device, &b);
            for (size_t j = 0; j < b.q_size; j++) {
                bool inside = j >= 3 * 4 && j < 203 * 4;
                ck_assert(isnan(b.dq[j]) == inside && isnan(b.dk[j]) == inside &&
                          isnan(b.dv[j]) == inside);
            }
            device_close(&device);
        }
        free_batch(&b);
    }
}
END_TEST

START_TEST(attention_bwd_takes_no_texts)
{
    struct device device;
    const int32_t cu_seqlens[4] = {0, 0, 0, 0};
    float x[1] = {7};
    for (int i = 0; test_device(i, &device); i++) {
        for (int n_texts = 0; n_texts <= 3; n_texts += 3)
            attention_bwd_cpu(&device, x, x, x, x, x, x, x, x, cu_seqlens, n_texts, 2, 1, 8, 1, 0);
        ck_assert(x[0] == 7);
        device_close(&device);
    }
}
END_TEST

START_TEST(attention_bwd_has_no_kernel_for_a_gpu)
{
    struct device gpu = {.kind = DEVICE_CUDA};
    struct err err;
    float x = 0;
    check_error(
        attention_bwd(&gpu, &x, &x, &x, &x, &x, &x, &x, &x, NULL, 0, 0, 1, 1, 1, 1, 0, &err), &err,
        STATUS_RESOURCE, "attention_bwd", "a GPU");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention_bwd");
    TCase *tests = tcase_create("attention_bwd");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, attention_bwd_reference_is_the_gradient, 0,
                        sizeof small_cases / sizeof *small_cases);
    tcase_add_loop_test(tests, attention_bwd_matches_reference, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tests, attention_bwd_takes_large_heads);
    tcase_add_test(tests, attention_bwd_takes_many_heads_on_one);
    tcase_add_test(tests, attention_bwd_takes_long_texts);
    tcase_add_test(tests, attention_bwd_takes_large_scores);
    tcase_add_test(tests, attention_bwd_takes_scores_of_any_size);
    tcase_add_loop_test(tests, attention_bwd_gives_a_text_the_same_bytes_alone, 0, N_WINDOWS);
    tcase_add_loop_test(tests, attention_bwd_is_the_same_for_any_number_of_threads, 0, N_WINDOWS);
    tcase_add_test(tests, attention_bwd_keeps_texts_and_heads_apart);
    tcase_add_test(tests, attention_bwd_gives_nan_where_scores_overflow);
    tcase_add_test(tests, attention_bwd_takes_no_texts);
    tcase_add_test(tests, attention_bwd_has_no_kernel_for_a_gpu);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
