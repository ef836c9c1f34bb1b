/* Losses on a GPU against the float64 references: softmax and cross-entropy, a step's total, a
 * classification head's products, the contrastive loss. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cross_entropy.h"
#include "kernels/head.h"
#include "kernels/matmul.h"
#include "kernels/weight_gradient.h"

static const char *name_of(enum precision type)
{
    return type == PRECISION_BF16 ? "bf16" : "f32";
}

/* ---- softmax and cross-entropy -------------------------------------------------------------- */

/* Widths round the vectors (4, 8), the warp, the block of 512 and its passes, in elements and in
 * vectors; a vocabulary. */
static const struct {
    int n, d;
    bool full;
} cases[] = {
    {0, 8, false},    {1, 1, false},      {3, 2, false},     {1, 7, false},    {2, 8, false},
    {5, 9, false},    {6, 31, false},     {3, 32, false},    {4, 33, false},   {2, 255, false},
    {2, 256, false},  {2, 511, false},    {7, 513, false},   {3, 1032, false}, {2, 2048, false},
    {2, 4104, false}, {1, 8201, false},   {33, 150, true},   {4, 32000, true}, {2, 32001, true},
    {2, 49152, true}, {1, 151936, false}, {3, 152000, true},
};
#define N_CASES (sizeof cases / sizeof *cases)
/* Logits' sizes: a usual model's; where exponentials end; far beyond. */
static const float spreads[] = {3, 60, 1e6f};
#define N_SPREADS (sizeof spreads / sizeof *spreads)

/* Below it, exponentials may be 0. */
#define LEAST 0x1p-126

static void check_softmax(int n, int d, float spread, bool in_place)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d;
    float *x = test_alloc(size * sizeof *x);
    double *want = test_alloc(size * sizeof *want);
    fill_uniform(x, size, 1, -spread, spread);
    double *x64 = to_doubles(x, size);
    softmax_fwd_ref(want, x64, n, d);
    struct cuda_tensor of_x = cuda_send(PRECISION_F32, x, size), y = of_x;
    if (!in_place)
        y = cuda_spoiled(PRECISION_F32, size);
    cuda_good(softmax_fwd(&cuda_test, cuda_pointer(&y), cuda_pointer(&of_x), n, d, &err), &err);
    float *got = cuda_download(&y);
    check_close(got, want, size, LEAST,
                softmax_fwd_cuda_tolerance(PRECISION_F32, d, 2 * (double)spread),
                "softmax %d x %d, %g, in place %d", n, d, (double)spread, in_place);
    if (!in_place)
        cuda_drop(&of_x);
    free(got), free(x), free(x64), free(want);
}

START_TEST(softmax_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < N_CASES; c++)
        for (size_t s = 0; s < N_SPREADS && (cuda_test_full() || !cases[c].full); s++)
            check_softmax(cases[c].n, cases[c].d, spreads[s], (c + s) % 2);
    device_close(&cuda_test);
}
END_TEST

/* Rows without a label; the first one, the last one, others. */
static int32_t label_of(int i, int d)
{
    if (i % 5 == 3)
        return -1;
    return i % 5 == 1 ? 0 : i % 5 == 2 ? d - 1 : (int32_t)(mix64(5, (uint64_t)i) % (uint64_t)d);
}

static int32_t is_correct(const float *row, int label, int d)
{
    int largest = 0;
    for (int j = 1; j < d; j++)
        largest = row[j] > row[largest] ? j : largest;
    return largest == label;
}

enum place { APART, OVER_LOGITS, NO_GRADIENT, PLACES };

/* got and correct of a call; the caller frees what it gets. */
struct outcome {
    float *losses, *dlogits; /* of NO_GRADIENT the logits, as they were */
    int32_t *correct;
};

static void free_outcome(struct outcome *o)
{
    free(o->losses), free(o->dlogits), free(o->correct);
}

/* logits are rounded to the type. */
static struct outcome run_cross_entropy(enum precision type, float *logits, const int32_t *labels,
                                        int n, int d, float weight, enum place place)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d, rows = (size_t)n;
    struct cuda_tensor x = cuda_send(type, logits, size);
    struct cuda_tensor y = place == APART ? cuda_spoiled(type, size) : x;
    struct cuda_tensor losses = cuda_spoiled(PRECISION_F32, rows),
                       of_labels = cuda_send_ints(labels, rows);
    struct cuda_tensor correct = cuda_empty(PRECISION_NF4, rows * sizeof(int32_t));
    cuda_good(cross_entropy_cuda(&cuda_test, type, cuda_pointer(&losses),
                                 place == NO_GRADIENT ? NULL : cuda_pointer(&y), cuda_pointer(&x),
                                 cuda_pointer(&of_labels), cuda_pointer(&correct), n, d, weight,
                                 &err),
              &err);
    struct outcome o = {cuda_download(&losses), cuda_download(&y), cuda_download_bytes(&correct)};
    if (place == APART)
        cuda_drop(&x);
    cuda_drop(&of_labels);
    return o;
}

/* In every other row the label's logit is the largest, or as large as others. */
static void check_cross_entropy(enum precision type, int n, int d, float spread, enum place place)
{
    size_t size = (size_t)n * (size_t)d, rows = (size_t)n;
    const float weight = 0.37f;
    float *logits = test_alloc(size * sizeof *logits);
    int32_t *labels = test_alloc(rows * sizeof *labels);
    fill_uniform(logits, size, 2, -spread, spread);
    for (int i = 0; i < n; i++) {
        labels[i] = label_of(i, d);
        if (i % 2 && labels[i] >= 0)
            logits[(size_t)i * (size_t)d + (size_t)labels[i]] = spread;
    }
    struct outcome got = run_cross_entropy(type, logits, labels, n, d, weight, place);
    double *logits64 = to_doubles(logits, size), *want = test_alloc(size * sizeof *want);
    double *want_losses = test_alloc(rows * sizeof *want_losses);
    cross_entropy_ref(want_losses, want, logits64, labels, n, d, (double)weight);
    check_close(got.losses, want_losses, rows, cross_entropy_cuda_tolerance(type, d), 0x1p-24,
                "%s losses %d x %d, %g", name_of(type), n, d, (double)spread);
    if (place == NO_GRADIENT)
        ck_assert_mem_eq(got.dlogits, logits, size * sizeof *logits);
    else
        check_close(got.dlogits, want, size, LEAST,
                    softmax_fwd_cuda_tolerance(type, d, 2 * (double)spread) +
                        (type == PRECISION_BF16 ? cuda_rounding(type) : 0),
                    "%s gradient %d x %d, %g, place %d", name_of(type), n, d, (double)spread,
                    place);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(got.correct[i], is_correct(logits + (size_t)i * (size_t)d, labels[i], d));
    free_outcome(&got);
    free(logits), free(labels), free(logits64), free(want), free(want_losses);
}

START_TEST(cross_entropy_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < N_CASES; c++)
        for (size_t s = 0; s < N_SPREADS && (cuda_test_full() || !cases[c].full); s++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                enum precision type = bf16 ? PRECISION_BF16 : PRECISION_F32;
                for (int place = 0; place < PLACES; place++)
                    if (cases[c].d < 10000 || place == (int)(c + s) % PLACES)
                        check_cross_entropy(type, cases[c].n, cases[c].d, spreads[s],
                                            (enum place)place);
            }
    device_close(&cuda_test);
}
END_TEST

/* Rows 0 to 9 of d logits, and what comes of them. */
static void check_edges(enum precision type, int d)
{
    enum { N = 10, WIDEST = 16 };
    float logits[N * WIDEST];
    int32_t labels[N] = {0, 1, 2, 3, 4, 5, -1, 8, 0, 1};
    fill_normal(logits, (size_t)(N * d), 3, 1.0f);
#define AT(i, j) ((i)*d + (j))
    logits[AT(1, 1)] = 9, logits[AT(1, 8)] = NAN; /* the label's is the largest of the others */
    logits[AT(2, 2)] = -INFINITY;                 /* the label itself */
    logits[AT(3, 0)] = INFINITY;
    for (int j = 0; j < d; j++) {
        logits[AT(4, j)] = -INFINITY;
        logits[AT(5, j)] = j == 5 ? 3e38f : -3e38f;
        logits[AT(6, j)] = NAN; /* without a label */
        logits[AT(7, j)] = j == 0 ? 40 : 0;
        logits[AT(8, j)] = logits[AT(9, j)] = 7; /* equal ones */
    }
    struct outcome got = run_cross_entropy(type, logits, labels, N, d, 2.0f, APART);
    const float *losses = got.losses, *dlogits = got.dlogits;
    for (int j = 0; j < d; j++) {
        ck_assert(isfinite(dlogits[AT(0, j)]) && isnan(dlogits[AT(1, j)]));
        ck_assert(j == 2 ? dlogits[AT(2, j)] == -2 : dlogits[AT(2, j)] > 0);
        ck_assert(isnan(dlogits[AT(3, j)]) && isnan(dlogits[AT(4, j)]));
        ck_assert(dlogits[AT(5, j)] == 0 && dlogits[AT(6, j)] == 0);
    }
    ck_assert(isfinite(losses[0]) && isnan(losses[1]) && losses[2] == INFINITY);
    ck_assert(isnan(losses[3]) && isnan(losses[4]));
    ck_assert(losses[5] == 0 && losses[6] == 0 && losses[7] == 40 && dlogits[AT(7, 8)] == -2);
    ck_assert(losses[8] == losses[9] && fabs((double)losses[8] - log(d)) < 1e-6);
    for (int i = 0; i < N; i++) /* of equal ones the first; no other row's label is the largest */
        if (i)
            ck_assert_int_eq(got.correct[i], i == 5 || i == 8);
    free_outcome(&got);
    /* A label of probability nearly 1: what is left is kept, of the loss too. */
    labels[7] = 0;
    for (int size = 20; size <= 40; size += 20) {
        double left = (d - 1) * exp(-size);
        logits[AT(7, 0)] = (float)size;
        got = run_cross_entropy(type, logits + AT(7, 0), labels + 7, 1, d, 1.0f, OVER_LOGITS);
        ck_assert(fabs((double)got.dlogits[0] / -left - 1) < 0x1p-8 + 1e-5);
        ck_assert(size == 40 ? got.losses[0] == 0 : fabs((double)got.losses[0] / left - 1) < 1e-5);
        ck_assert_int_eq(got.correct[0], 1);
        free_outcome(&got);
    }
#undef AT
}

START_TEST(cross_entropy_has_its_edges)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 4; i++)
        check_edges(i & 1 ? PRECISION_BF16 : PRECISION_F32, i & 2 ? 16 : 9);
    device_close(&cuda_test);
}
END_TEST

/* A row's bytes are the same alone and among others, in place and apart; and of the dispatch. */
START_TEST(rows_do_not_depend_on_their_place)
{
    enum { N = 5, D = 1032, ROW = 2 };
    struct err err;
    static float logits[N * D];
    int32_t labels[N] = {3, -1, 700, 0, 1031};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int bf16 = 0; bf16 < 2; bf16++) {
        enum precision type = bf16 ? PRECISION_BF16 : PRECISION_F32;
        fill_normal(logits, N * D, 6, 3.0f);
        logits[D] = NAN, logits[3 * D + 5] = NAN;
        struct outcome all = run_cross_entropy(type, logits, labels, N, D, 0.1f, APART);
        struct outcome one =
            run_cross_entropy(type, logits + ROW * D, labels + ROW, 1, D, 0.1f, OVER_LOGITS);
        ck_assert_mem_eq(all.losses + ROW, one.losses, sizeof *one.losses);
        ck_assert_mem_eq(all.dlogits + ROW * D, one.dlogits, D * sizeof *one.dlogits);
        for (int i = 0; i < N; i++)
            ck_assert(isnan(all.losses[i]) == (i == 3) && isnan(all.dlogits[i * D]) == (i == 3));
        if (bf16) {
            struct cuda_tensor x = cuda_send(type, logits, N * D);
            struct cuda_tensor losses = cuda_spoiled(PRECISION_F32, N),
                               ints = cuda_send_ints(labels, N);
            cuda_good(cross_entropy(&cuda_test, cuda_pointer(&losses), cuda_pointer(&x),
                                    cuda_pointer(&x), cuda_pointer(&ints), N, D, 0.1f, &err),
                      &err);
            float *again = cuda_download(&x);
            ck_assert_mem_eq(again + ROW * D, one.dlogits, D * sizeof *again);
            free(again);
            cuda_drop(&losses), cuda_drop(&ints);
        }
        free_outcome(&all), free_outcome(&one);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- a step's losses ------------------------------------------------------------------------ */

static void add_losses(struct cuda_tensor *record, const float *losses, const int32_t *correct,
                       int n)
{
    struct err err;
    float *copy = test_alloc((size_t)n * sizeof *copy);
    if (n)
        memcpy(copy, losses, (size_t)n * sizeof *copy);
    struct cuda_tensor x = cuda_send(PRECISION_F32, copy, (size_t)n);
    struct cuda_tensor ints =
        cuda_send_ints(correct ? correct : (const int32_t[]){0}, correct ? (size_t)n : 1);
    cuda_good(losses_total_cuda(&cuda_test, cuda_pointer(record), cuda_pointer(&x),
                                correct ? cuda_pointer(&ints) : NULL, n, &err),
              &err);
    cuda_drop(&x), cuda_drop(&ints);
    free(copy);
}

/* One chain, exactly; in two calls the same; the rest of the record is left alone. */
START_TEST(losses_are_totalled)
{
    static const int sizes[] = {0, 1, 16, 255, 256, 257, 513, 3000};
    static float losses[3000];
    static int32_t correct[3000];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_uniform(losses, 3000, 7, 0, 12);
    for (int i = 0; i < 3000; i++)
        correct[i] = mix64(8, (uint64_t)i) % 3 == 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s], half = n / 2;
        const struct step_record before = {1.25, 3, ((int64_t)1 << 33) + 5, 0.5f, 7};
        double loss = before.loss;
        int64_t count = before.correct;
        for (int i = 0; i < n; i++)
            loss += (double)losses[i], count += correct[i];
        for (int parts = 1; parts <= 3; parts++) { /* the third: without `correct` */
            struct cuda_tensor record = cuda_send_bytes(&before, sizeof before);
            const int32_t *counted = parts == 3 ? NULL : correct;
            add_losses(&record, losses, counted, parts == 2 ? half : n);
            if (parts == 2)
                add_losses(&record, losses + half, counted + half, n - half);
            struct step_record *got = cuda_download_bytes(&record);
            ck_assert(got->loss == loss && got->norm == 3 && got->gradient_scale == 0.5f);
            ck_assert(got->correct == (counted ? count : before.correct) && got->stopped == 7);
            free(got);
        }
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- a classification head ------------------------------------------------------------------ */

/* Rows round the block's 8 warps, widths round a lane's four and a warp's 128 and the block's 512.
 */
static const struct {
    int n, n_labels, d;
} heads[] = {{0, 3, 4},   {1, 1, 1},   {3, 2, 5},     {16, 9, 64},   {7, 20, 127},
             {9, 5, 132}, {8, 3, 513}, {17, 33, 516}, {5, 150, 576}, {16, 4, 4096}};
#define N_HEADS (sizeof heads / sizeof *heads)

static float *normal(size_t n, uint64_t seed)
{
    float *x = test_alloc(n * sizeof *x);
    fill_normal(x, n, seed, 1.0f);
    return x;
}

/* The error is held against magnitudes, which are never 0 here. */
static void check_shares(const float *got, const double *want, const double *magnitude, size_t n,
                         double tolerance, const char *name, size_t which)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * magnitude[i]))
            ck_abort_msg("%s, head %zu, element %zu: %.9g instead of %.9g", name, which, i,
                         (double)got[i], want[i]);
}

static void check_head_products(size_t which)
{
    struct err err;
    int n = heads[which].n, n_labels = heads[which].n_labels, d = heads[which].d;
    size_t n_x = (size_t)n * (size_t)d, n_y = (size_t)n * (size_t)n_labels;
    size_t n_head = (size_t)n_labels * (size_t)d, most = n_x + n_y + 1;
    float *x = normal(n_x, 1), *head = normal(n_head, 2), *dy = normal(n_y, 3);
    double *x64 = to_doubles(x, n_x), *head64 = to_doubles(head, n_head);
    double *dy64 = to_doubles(dy, n_y);
    double *want = test_alloc(most * sizeof *want),
           *magnitude = test_alloc(most * sizeof *magnitude);
    struct cuda_tensor of_x = cuda_send(PRECISION_F32, x, n_x);
    struct cuda_tensor of_head = cuda_send(PRECISION_F32, head, n_head);
    struct cuda_tensor of_dy = cuda_send(PRECISION_F32, dy, n_y);
    struct cuda_tensor y = cuda_spoiled(PRECISION_F32, n_y), dx = cuda_spoiled(PRECISION_F32, n_x);
    cuda_good(head_fwd_cuda(&cuda_test, cuda_pointer(&y), cuda_pointer(&of_x),
                            cuda_pointer(&of_head), n, n_labels, d, &err),
              &err);
    cuda_good(head_bwd_input_cuda(&cuda_test, cuda_pointer(&dx), cuda_pointer(&of_dy),
                                  cuda_pointer(&of_head), n, n_labels, d, &err),
              &err);
    float *got = cuda_download(&y), *got_dx = cuda_download(&dx);
    matmul_fwd_ref(want, magnitude, x64, head64, n, n_labels, d, false);
    check_shares(got, want, magnitude, n_y, head_fwd_tolerance(d), "y", which);
    matmul_bwd_input_ref(want, magnitude, dy64, head64, n, n_labels, d, false);
    check_shares(got_dx, want, magnitude, n_x, head_bwd_input_tolerance(n_labels), "dx", which);
    cuda_drop(&of_x), cuda_drop(&of_head), cuda_drop(&of_dy);
    free(x), free(head), free(dy), free(x64), free(head64), free(dy64);
    free(want), free(magnitude), free(got), free(got_dx);
}

START_TEST(head_products_match_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < N_HEADS; i++)
        check_head_products(i);
    device_close(&cuda_test);
}
END_TEST

/* n_units units of n rows, the second one empty. */
static void make_units(int32_t *units, int n_units, int n)
{
    for (int u = 0; u <= n_units; u++)
        units[u] = u == 1 || u == 2 ? n / n_units : n * u / n_units;
    units[0] = 0, units[n_units] = n;
}

static float *head_gradient(const float *dhead, size_t which, const float *dy, const float *x,
                            const int32_t *units, int n_units)
{
    struct err err;
    int n = units[n_units], n_labels = heads[which].n_labels, d = heads[which].d;
    size_t n_x = (size_t)n * (size_t)d, n_y = (size_t)n * (size_t)n_labels;
    size_t n_head = (size_t)n_labels * (size_t)d;
    float *copy = test_alloc((n_x + n_y + n_head) * sizeof *copy);
    memcpy(copy, dhead, n_head * sizeof *copy);
    struct cuda_tensor gradient = cuda_send(PRECISION_F32, copy, n_head);
    memcpy(copy, x, n_x * sizeof *copy);
    struct cuda_tensor of_x = cuda_send(PRECISION_F32, copy, n_x);
    memcpy(copy, dy, n_y * sizeof *copy);
    struct cuda_tensor of_dy = cuda_send(PRECISION_F32, copy, n_y);
    struct cuda_tensor of_units = cuda_send_ints(units, (size_t)n_units + 1);
    cuda_good(head_gradient_cuda(&cuda_test, cuda_pointer(&gradient), cuda_pointer(&of_dy),
                                 cuda_pointer(&of_x), cuda_pointer(&of_units), n_units, n_labels, d,
                                 &err),
              &err);
    cuda_drop(&of_x), cuda_drop(&of_dy), cuda_drop(&of_units);
    free(copy);
    return cuda_download(&gradient);
}

/* dhead of one label and column, in the order that the contract has. */
static float chain(float dhead, const float *dy, const float *x, const int32_t *units, int n_units,
                   size_t n_labels, size_t d)
{
    for (int u = 0; u < n_units; u++) {
        float sum = 0;
        for (size_t t = (size_t)units[u]; t < (size_t)units[u + 1]; t++)
            sum = fmaf(dy[t * n_labels], x[t * d], sum);
        dhead += sum;
    }
    return dhead;
}

/* The bytes, too, and those of units in two calls instead of one. */
static void check_head_gradient(size_t which, int n_units)
{
    int n = heads[which].n, n_labels = heads[which].n_labels, d = heads[which].d;
    size_t n_x = (size_t)n * (size_t)d, n_y = (size_t)n * (size_t)n_labels;
    size_t n_head = (size_t)n_labels * (size_t)d;
    int32_t units[8], rest[8];
    float *x = normal(n_x, 1), *dy = normal(n_y, 3), *dhead = normal(n_head, 4);
    double *x64 = to_doubles(x, n_x), *dy64 = to_doubles(dy, n_y);
    double *want = to_doubles(dhead, n_head), *magnitude = to_doubles(dhead, n_head);
    make_units(units, n_units, n);
    weight_gradient_ref(want, magnitude, dy64, x64, units, n_units, n_labels, d);
    for (size_t i = 0; i < n_head; i++)
        magnitude[i] += fabs((double)dhead[i]);
    float *got = head_gradient(dhead, which, dy, x, units, n_units);
    check_shares(got, want, magnitude, n_head, weight_gradient_tolerance(units, n_units), "dhead",
                 which);
    for (size_t i = 0; i < n_head; i++)
        if (got[i] != chain(dhead[i], dy + i / (size_t)d, x + i % (size_t)d, units, n_units,
                            (size_t)n_labels, (size_t)d))
            ck_abort_msg("head %zu, element %zu has another order", which, i);
    int first = n_units / 2, rows = units[first];
    for (int u = first; u <= n_units; u++)
        rest[u - first] = units[u] - rows;
    float *half = head_gradient(dhead, which, dy, x, units, first);
    float *whole = head_gradient(half, which, dy + (size_t)rows * (size_t)n_labels,
                                 x + (size_t)rows * (size_t)d, rest, n_units - first);
    ck_assert_mem_eq(got, whole, n_head * sizeof *got);
    free(got), free(half), free(whole);
    free(x), free(dy), free(dhead), free(x64), free(dy64), free(want), free(magnitude);
}

START_TEST(head_gradient_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < N_HEADS; i++)
        for (int n_units = 1; n_units <= 7; n_units += 3)
            check_head_gradient(i, n_units);
    device_close(&cuda_test);
}
END_TEST

/* The bytes are the same for a row alone, among others, and at addresses of single elements; a NaN
 * stays in its row. */
START_TEST(head_does_not_see_where_it_lies)
{
    enum { N = 11, LABELS = 6, D = 132, ROW = 9 };
    struct err err;
    static float x[N * D + 1], head[LABELS * D + 1];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, N * D + 1, 1, 1.0f);
    fill_normal(head, LABELS * D + 1, 2, 1.0f);
    x[4 * D + 1] = NAN;
    struct cuda_tensor all = cuda_send(PRECISION_F32, x, N * D);
    struct cuda_tensor weight = cuda_send(PRECISION_F32, head, LABELS * D);
    memmove(x + 1, x + ROW * D, D * sizeof *x);
    memmove(head + 1, head, LABELS * D * sizeof *head);
    struct cuda_tensor moved_x = cuda_send(PRECISION_F32, x, D + 1);
    struct cuda_tensor moved_head = cuda_send(PRECISION_F32, head, LABELS * D + 1);
    struct cuda_tensor y = cuda_spoiled(PRECISION_F32, N * LABELS);
    struct cuda_tensor alone = cuda_spoiled(PRECISION_F32, LABELS);
    cuda_good(head_fwd_cuda(&cuda_test, cuda_pointer(&y), cuda_pointer(&all), cuda_pointer(&weight),
                            N, LABELS, D, &err),
              &err);
    cuda_good(head_fwd_cuda(&cuda_test, cuda_pointer(&alone), (float *)cuda_pointer(&moved_x) + 1,
                            (float *)cuda_pointer(&moved_head) + 1, 1, LABELS, D, &err),
              &err);
    float *of_all = cuda_download(&y), *of_one = cuda_download(&alone);
    ck_assert_mem_eq(of_all + ROW * LABELS, of_one, LABELS * sizeof *of_one);
    for (int i = 0; i < N * LABELS; i++)
        ck_assert(isnan(of_all[i]) == (i / LABELS == 4));
    cuda_drop(&all), cuda_drop(&weight), cuda_drop(&moved_x), cuda_drop(&moved_head);
    free(of_all), free(of_one);
    device_close(&cuda_test);
}
END_TEST

/* A grid is at most 65,535 blocks high and deep. */
START_TEST(head_takes_more_labels_than_a_grid_is_high)
{
    enum { LABELS = 65537, D = 4 };
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    float *head = test_alloc((size_t)LABELS * D * sizeof *head);
    float x[D] = {1, 2, 3, 4};
    for (int i = 0; i < LABELS * D; i++)
        head[i] = (float)(i % 1021);
    struct cuda_tensor of_x = cuda_send(PRECISION_F32, x, D);
    struct cuda_tensor weight = cuda_send(PRECISION_F32, head, LABELS * D);
    struct cuda_tensor y = cuda_spoiled(PRECISION_F32, LABELS);
    cuda_good(head_fwd_cuda(&cuda_test, cuda_pointer(&y), cuda_pointer(&of_x),
                            cuda_pointer(&weight), 1, LABELS, D, &err),
              &err);
    float *got = cuda_download(&y);
    for (int label = 0; label < LABELS; label++) {
        const float *w = head + label * D;
        ck_assert_float_eq(got[label], w[0] + 2 * w[1] + 3 * w[2] + 4 * w[3]);
    }
    cuda_drop(&of_x), cuda_drop(&weight);
    free(got), free(head);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_losses");
    TCase *tests = tcase_create("cuda_losses");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, softmax_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, cross_entropy_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, cross_entropy_has_its_edges, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rows_do_not_depend_on_their_place, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, losses_are_totalled, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, head_products_match_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, head_gradient_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, head_does_not_see_where_it_lies, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, head_takes_more_labels_than_a_grid_is_high);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
