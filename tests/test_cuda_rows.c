/* The GPU's kernels that work token by token, without sums over rows or with a text's: embedding,
 * bias, SwiGLU, rotary embedding, pooling; against the float64 references, through the product's
 * own path. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/bias.h"
#include "kernels/embedding.h"
#include "kernels/pooling.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"
#include "tests/cuda_rope.h"

#define U 0x1p-24

/* ---- embedding ------------------------------------------------------------------------------ */

/* Widths round the vector of 8, the warp and the block of 256 threads; rows none to several. */
static const int widths[] = {1, 7, 8, 9, 31, 64, 172, 257, 576, 2048, 2056};
#define N_WIDTHS (sizeof widths / sizeof *widths)

START_TEST(embedding_matches_reference)
{
    enum { VOCABULARY = 11 };
    static const int32_t tokens[] = {10, 0, 3, 3, 7};
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t w = 0; w < N_WIDTHS; w++) {
        int d = widths[w], n = w == 0 ? 0 : (int)(w % 5) + 1;
        size_t size = (size_t)n * (size_t)d, table_size = VOCABULARY * (size_t)d;
        float *values = test_floats(table_size);
        fill_normal(values, table_size, w, 1.0f);
        struct cuda_tensor of_table = cuda_send(PRECISION_BF16, values, table_size);
        struct cuda_tensor of_tokens = cuda_send_ints(tokens, 5),
                           y = cuda_spoiled(PRECISION_BF16, size);
        double *want = malloc(size * sizeof *want + 1);
        struct dense_matrix table = {PRECISION_F32, values, VOCABULARY, d};
        embedding_fwd_ref(want, tokens, &table, n);
        table = (struct dense_matrix){PRECISION_BF16, cuda_pointer(&of_table), VOCABULARY, d};
        cuda_good(
            embedding_fwd(&cuda_test, cuda_pointer(&y), cuda_pointer(&of_tokens), &table, n, &err),
            &err);
        float *got = cuda_download(&y);
        check_close(got, want, size, 0, 0, "embedding %d x %d", n, d);
        table.type = PRECISION_F32;
        check_error(embedding_fwd(&cuda_test, NULL, NULL, &table, n, &err), &err, STATUS_RESOURCE,
                    "bfloat16", "a table of float32");
        cuda_drop(&of_table), cuda_drop(&of_tokens);
        free(got), free(want), free(values);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- bias ----------------------------------------------------------------------------------- */

START_TEST(bias_matches_reference)
{
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t w = 0; w < N_WIDTHS; w++) {
        int d = widths[w], n = (int)(w % 4);
        size_t size = (size_t)n * (size_t)d;
        float *x = test_floats(size), *bias = test_floats((size_t)d);
        fill_normal(x, size, w, 1.0f);
        fill_uniform(bias, (size_t)d, 9, -2, 2);
        if (n == 3)
            x[d] = NAN;
        struct cuda_tensor y = cuda_send(PRECISION_BF16, x, size);
        struct cuda_tensor of_bias = cuda_send(PRECISION_F32, bias, (size_t)d);
        double *want = to_doubles(x, size), *bias64 = to_doubles(bias, (size_t)d);
        bias_fwd_ref(want, bias64, n, d);
        cuda_good(bias_fwd(&cuda_test, cuda_pointer(&y), cuda_pointer(&of_bias), n, d, &err), &err);
        float *got = cuda_download(&y);
        if (n == 3) { /* NaN has stayed in its element */
            ck_assert(isnan(got[d]));
            got[d] = 0, want[d] = 0;
        }
        check_close(got, want, size, 0, U + cuda_rounding(PRECISION_BF16), "bias %d x %d", n, d);
        cuda_drop(&of_bias);
        free(got), free(want), free(bias64), free(x), free(bias);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- SwiGLU --------------------------------------------------------------------------------- */

enum place { APART, HALVES, OVER_GATE, OVER_UP, ODD_STRIDE, N_PLACES };

/* docs/numerics.md: exp2's argument of up to 128 errs twice, 109 u; ex2.approx 4 u, the sum u,
 * the division 4 u, the product u. Below gate = -87.3 silu is 0 instead of at most 88 * 2^-126. */
#define SWIGLU_RELATIVE (120 * U)
#define SWIGLU_ABSOLUTE (88 * 0x1p-126)

static void check_swiglu(int n, int d, float spread, enum place place)
{
    struct err err;
    size_t width = (size_t)d, size = (size_t)n * width;
    size_t stride = place == HALVES ? 2 * width : place == ODD_STRIDE ? 2 * width + 3 : width;
    size_t up_at = stride > width ? width : size,
           in_size = stride > width ? (size_t)n * stride : 2 * size;
    float *in = test_floats(in_size);
    double *gate64 = malloc(size * sizeof *gate64 + 1), *up64 = malloc(size * sizeof *up64 + 1);
    double *want = malloc(size * sizeof *want + 1);
    for (size_t i = 0; i < in_size; i++)
        in[i] = NAN; /* behind the halves of a row */
    for (int row = 0; row < n; row++) {
        fill_uniform(in + (size_t)row * stride, width, (uint64_t)row, -spread, spread);
        fill_uniform(in + (size_t)row * stride + up_at, width, 99 + (uint64_t)row, -2, 2);
    }
    struct cuda_tensor of_in = cuda_send(PRECISION_BF16, in, in_size);
    for (size_t i = 0; i < size; i++) {
        gate64[i] = in[i / width * stride + i % width];
        up64[i] = in[i / width * stride + i % width + up_at];
    }
    swiglu_fwd_ref(want, gate64, up64, n, d);
    void *gate = cuda_pointer(&of_in), *up = cuda_element(&of_in, up_at);
    struct cuda_tensor y = cuda_spoiled(PRECISION_BF16, size);
    void *to = place == OVER_GATE ? gate : place == OVER_UP ? up : cuda_pointer(&y);
    cuda_good(stride == width ? swiglu_fwd(&cuda_test, to, gate, up, n, d, &err)
                              : swiglu_fwd_cuda(&cuda_test, to, gate, up, stride, n, d, &err),
              &err);
    float *apart = cuda_download(&y), *over = cuda_download(&of_in);
    float *got = place == OVER_GATE ? over : place == OVER_UP ? over + up_at : apart;
    check_close(got, want, size, SWIGLU_ABSOLUTE * 2 + 0x1p-133,
                SWIGLU_RELATIVE + cuda_rounding(PRECISION_BF16), "swiglu %d x %d to %g, place %d",
                n, d, (double)spread, place);
    free(apart), free(over), free(in), free(gate64), free(up64), free(want);
}

START_TEST(swiglu_matches_reference)
{
    static const int sizes[][2] = {{0, 8},  {1, 1},   {2, 7},    {3, 8},    {5, 9},
                                   {2, 31}, {3, 172}, {2, 1536}, {1, 2056}, {1, 2047}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int place = APART; place < N_PLACES; place++)
            check_swiglu(sizes[s][0], sizes[s][1], place % 2 ? 6 : 120, (enum place)place);
    device_close(&cuda_test);
}
END_TEST

START_TEST(swiglu_has_its_edges)
{
    struct err err;
    float gate[10] = {0, -0.0f, NAN, 1, INFINITY, -1e4f, -3e38f, 1e4f, 2, -INFINITY};
    float up[10] = {1, 1, 1, NAN, 2, 1, 1, 3, 0, 1};
    const float want[10] = {0, 0, NAN, NAN, INFINITY, 0, 0, 3e4f, 0, NAN};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct cuda_tensor of_gate = cuda_send(PRECISION_BF16, gate, 10);
    struct cuda_tensor of_up = cuda_send(PRECISION_BF16, up, 10);
    cuda_good(swiglu_fwd(&cuda_test, cuda_pointer(&of_gate), cuda_pointer(&of_gate),
                         cuda_pointer(&of_up), 1, 10, &err),
              &err);
    float *y = cuda_download(&of_gate);
    for (int j = 0; j < 10; j++)
        ck_assert_msg(isnan(want[j])   ? isnan(y[j])
                      : isinf(want[j]) ? y[j] == want[j]
                                       : fabsf(y[j] - want[j]) <= 0x1p-7f * want[j],
                      "silu(%g) * %g = %g", (double)gate[j], (double)up[j], (double)y[j]);
    free(y);
    cuda_drop(&of_up);
    device_close(&cuda_test);
}
END_TEST

/* ---- rotary embedding ----------------------------------------------------------------------- */

/* Half a head is pieces of four or not; a lane, some lanes, a warp a head, and more than fits; more
 * heads than a block's threads hold at once. `behind`: v and more. */
static const struct {
    int n, n_heads, n_kv_heads, head_dim, behind;
} heads[] = {
    {0, 1, 1, 8, 0},    {1, 1, 0, 2, 0},    {3, 3, 1, 6, 6},     {2, 8, 4, 8, 32},
    {2, 3, 2, 18, 5},   {2, 9, 3, 64, 192}, {1, 5, 2, 80, 160},  {2, 4, 4, 128, 512},
    {1, 40, 8, 128, 4}, {1, 2, 1, 256, 3},  {1, 1, 1, 1022, 16}, {1, 1, 1, 1024, 8},
};

/* want (n, n_all, head_dim): the turned heads of x. Returns the largest value before the turn. */
static double turned_heads(double *want, const float *x, size_t stride, const struct rope_case *c,
                           int n, int n_heads, int n_all, int head_dim, bool normed)
{
    double largest = 0, in[1024], norm[1024];
    for (int i = 0; i < n * n_all; i++) {
        double *head = want + (size_t)i * (size_t)head_dim;
        size_t first = (size_t)(i / n_all) * stride + (size_t)(i % n_all) * (size_t)head_dim;
        for (int j = 0; j < head_dim; j++) {
            in[j] = x[first + (size_t)j];
            norm[j] = c->norms[(i % n_all < n_heads ? 0 : head_dim) + j];
        }
        if (normed)
            rmsnorm_fwd_ref(head, in, norm, 1, head_dim, ROPE_EPS);
        else
            memcpy(head, in, (size_t)head_dim * sizeof *in);
        for (int j = 0; j < head_dim; j++)
            largest = fmax(largest, fabs(head[j]));
    }
    rope_fwd_ref(want, c->position, c->inv_freq, n, n_all, head_dim);
    return largest;
}

static void check_rope(size_t which, bool normed)
{
    int n = heads[which].n, n_heads = heads[which].n_heads, head_dim = heads[which].head_dim;
    int n_all = n_heads + heads[which].n_kv_heads;
    struct err err;
    struct rope_case c;
    size_t turned = (size_t)n_all * (size_t)head_dim, stride = turned + (size_t)heads[which].behind;
    size_t size = (size_t)n * stride;
    float *x = test_floats(size);
    double *want = malloc((size_t)n * turned * sizeof *want + 1);
    fill_normal(x, size, which, 1.5f);
    rope_case_open(&c, n, head_dim);
    c.x = cuda_send(PRECISION_BF16, x, size);
    double largest = turned_heads(want, x, stride, &c, n, n_heads, n_all, head_dim, normed);
    struct rope_cuda rope =
        rope_case_of(&c, stride, n_heads, heads[which].n_kv_heads, head_dim, normed);
    if (stride == turned && rope.n_kv_heads == 0 && !normed)
        cuda_good(rope_fwd(&cuda_test, rope.x, rope.positions, rope.cos_table, rope.sin_table, n,
                           n_heads, head_dim, &err),
                  &err);
    else
        cuda_good(rope_fwd_cuda(&cuda_test, &rope, n, &err), &err);
    float *got = cuda_download(&c.x);
    /* A turn is cos, sin, two products and a sum of values up to sqrt(2) largest: 4 roundings of
     * at most 1.5 u largest each. A norm's square sum is a chain and a butterfly, whose error the
     * root halves; root, division and two products add 4. */
    double norm = normed ? (fmax(8, head_dim / 32.0) + 5) / 2 + 4 : 0;
    for (int row = 0; row < n; row++) {
        float *at = got + (size_t)row * stride;
        check_close(at, want + (size_t)row * turned, turned, (6 + 1.5 * norm) * U * largest,
                    cuda_rounding(PRECISION_BF16), "rope %zu, norms %d, row %d", which, normed,
                    row);
        ck_assert_mem_eq(at + turned, x + (size_t)row * stride + turned,
                         (stride - turned) * sizeof *x);
    }
    rope_case_close(&c);
    free(got), free(x), free(want);
}

START_TEST(rope_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        check_rope(i, false);
        check_rope(i, true);
    }
    device_close(&cuda_test);
}
END_TEST

/* A token's bytes are the same alone; NaN stays in its head. */
START_TEST(rope_does_not_see_others)
{
    enum { N = 4, HEADS = 3, KV = 2, STRIDE = 5 * 16 + 8, ROW = 2, BAD = STRIDE + 2 * 16 + 3 };
    struct err err;
    float x[N * STRIDE];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int normed = 0; normed < 2; normed++) {
        struct rope_case all, one;
        fill_normal(x, N * STRIDE, 1, 1.0f);
        x[BAD] = NAN; /* row 1, head 2 */
        rope_case_open(&all, N, 16), rope_case_open(&one, N, 16);
        all.x = cuda_send(PRECISION_BF16, x, N * STRIDE);
        one.x = cuda_send(PRECISION_BF16, x + ROW * STRIDE, STRIDE);
        struct rope_cuda of_all = rope_case_of(&all, STRIDE, HEADS, KV, 16, normed);
        struct rope_cuda of_one = rope_case_of(&one, STRIDE, HEADS, KV, 16, normed);
        of_one.positions += ROW;
        cuda_good(rope_fwd_cuda(&cuda_test, &of_all, N, &err), &err);
        cuda_good(rope_fwd_cuda(&cuda_test, &of_one, 1, &err), &err);
        float *among = cuda_download(&all.x), *alone = cuda_download(&one.x);
        ck_assert_mem_eq(among + ROW * STRIDE, alone, STRIDE * sizeof *alone);
        for (int i = 0; i < N * STRIDE; i++)
            if (isnan(among[i]) && i / STRIDE * 100 + i % STRIDE / 16 != 102)
                ck_abort_msg("norms %d: NaN at %d", normed, i);
        ck_assert(isnan(among[BAD]));
        rope_case_close(&all), rope_case_close(&one);
        free(among), free(alone);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- pooling -------------------------------------------------------------------------------- */

/* Empty, single and longer ranges round the 32 rows of a chain; they may overlap, leave rows out,
 * and stand in any order. */
static const int32_t begin[] = {0, 0, 1, 5, 5, 37, 70, 30, 0, 7};
static const int32_t end[] = {0, 1, 5, 5, 37, 70, 103, 60, 130, 3};
#define N_TEXTS ((int)(sizeof begin / sizeof *begin))
#define N_ROWS  130

static void check_pooling(int d, enum pooling pooling, bool normed)
{
    struct err err;
    size_t size = N_ROWS * (size_t)d, out_size = N_TEXTS * (size_t)d;
    float *hidden = test_floats(size), *norm = test_floats((size_t)d);
    fill_normal(hidden, size, (uint64_t)d, 1.0f);
    fill_uniform(norm, (size_t)d, 4, -2, 2);
    struct cuda_tensor of_hidden = cuda_send(PRECISION_BF16, hidden, size);
    struct cuda_tensor of_norm = cuda_send(PRECISION_F32, norm, (size_t)d);
    struct cuda_tensor of_begin = cuda_send_ints(begin, N_TEXTS),
                       of_end = cuda_send_ints(end, N_TEXTS);
    struct cuda_tensor out = cuda_spoiled(PRECISION_F32, out_size);
    double *rows = to_doubles(hidden, size), *norm64 = to_doubles(norm, (size_t)d);
    double *want = malloc(out_size * sizeof *want);
    if (normed)
        rmsnorm_fwd_ref(rows, rows, norm64, N_ROWS, d, 1e-5);
    double largest = 0;
    for (size_t i = 0; i < size; i++)
        largest = fmax(largest, fabs(rows[i]));
    pooling_fwd_ref(want, rows, begin, end, N_TEXTS, d, pooling);
    cuda_good(normed ? pooling_fwd_cuda(&cuda_test, cuda_pointer(&out), cuda_pointer(&of_hidden),
                                        cuda_pointer(&of_begin), cuda_pointer(&of_end), N_TEXTS, d,
                                        pooling, cuda_pointer(&of_norm), 1e-5f, &err)
                     : pooling_fwd(&cuda_test, cuda_pointer(&out), cuda_pointer(&of_hidden),
                                   cuda_pointer(&of_begin), cuda_pointer(&of_end), N_TEXTS, d,
                                   pooling, &err),
              &err);
    float *got = cuda_download(&out);
    /* The norm: a lane's chain of d / 32 squares and a butterfly, halved by the root; root,
     * division and two products. A mean of rows up to `largest`: chains of 32 and of the chains,
     * the division. A row alone is a copy. */
    double of_scale = normed ? (d / 32.0 + 8 + 5) / 2 + 4 : 0;
    double of_mean = pooling == POOL_MEAN ? 32 + N_ROWS / 32.0 + 2 : 0;
    check_close(got, want, out_size, pooling == POOL_MEAN ? (of_mean + of_scale) * U * largest : 0,
                of_scale * U, "pooling %d, width %d, norm %d", pooling, d, normed);
    cuda_drop(&of_hidden), cuda_drop(&of_norm), cuda_drop(&of_begin), cuda_drop(&of_end);
    free(got), free(hidden), free(norm), free(rows), free(norm64), free(want);
}

/* Round pieces of four, the warp and both kinds of block. */
START_TEST(pooling_matches_reference)
{
    static const int of_pooling[] = {1, 7, 8, 31, 36, 128, 172, 516, 576};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t w = 0; w < sizeof of_pooling / sizeof *of_pooling; w++)
        for (int i = 0; i < 4; i++)
            check_pooling(of_pooling[w], i & 1 ? POOL_MEAN : POOL_LAST, i & 2);
    device_close(&cuda_test);
}
END_TEST

/* A column of more than a block's threads hold at once, and of more than one block. */
START_TEST(pooling_takes_wide_rows)
{
    enum { D = 2052, ROWS = 3 };
    struct err err;
    static float hidden[ROWS * D], norm[D];
    static double rows[ROWS * D], want[D], norm64[D];
    const int32_t from = 0, to = ROWS;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(hidden, ROWS * D, 2, 1.0f);
    fill_uniform(norm, D, 3, 0.5f, 2);
    struct cuda_tensor of_hidden = cuda_send(PRECISION_BF16, hidden, ROWS * D);
    struct cuda_tensor of_norm = cuda_send(PRECISION_F32, norm, D);
    struct cuda_tensor begins = cuda_send_ints(&from, 1), ends = cuda_send_ints(&to, 1);
    for (int normed = 0; normed < 2; normed++) {
        struct cuda_tensor out = cuda_spoiled(PRECISION_F32, D);
        for (int i = 0; i < ROWS * D; i++)
            rows[i] = hidden[i], norm64[i % D] = norm[i % D];
        if (normed)
            rmsnorm_fwd_ref(rows, rows, norm64, ROWS, D, 1e-5);
        pooling_fwd_ref(want, rows, &from, &to, 1, D, POOL_MEAN);
        cuda_good(pooling_fwd_cuda(&cuda_test, cuda_pointer(&out), cuda_pointer(&of_hidden),
                                   cuda_pointer(&begins), cuda_pointer(&ends), 1, D, POOL_MEAN,
                                   normed ? cuda_pointer(&of_norm) : NULL, 1e-5f, &err),
                  &err);
        float *got = cuda_download(&out);
        check_close(got, want, D, (ROWS + 3 + normed * (D / 64.0 + 11)) * U * 8, 0, "norm %d",
                    normed);
        free(got);
    }
    cuda_drop(&of_hidden), cuda_drop(&of_norm), cuda_drop(&begins), cuda_drop(&ends);
    device_close(&cuda_test);
}
END_TEST

/* A text's bytes are the same alone; NaN stays in it, and without the norm in its column. */
START_TEST(pooling_does_not_see_other_texts)
{
    enum { D = 36, ROWS = 90, FROM = 20, TO = 61 };
    struct err err;
    float hidden[ROWS * D], norm[D];
    const int32_t from[] = {0, FROM, TO, 0}, to[] = {FROM, TO, ROWS, TO - FROM};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(hidden, ROWS * D, 2, 1.0f);
    fill_uniform(norm, D, 3, 0.5f, 2);
    hidden[3 * D + 5] = NAN;
    struct cuda_tensor all = cuda_send(PRECISION_BF16, hidden, ROWS * D);
    struct cuda_tensor alone = cuda_send(PRECISION_BF16, hidden + FROM * D, (TO - FROM) * D);
    struct cuda_tensor of_norm = cuda_send(PRECISION_F32, norm, D);
    struct cuda_tensor begins = cuda_send_ints(from, 4), ends = cuda_send_ints(to, 4);
    const int32_t *of_begin = cuda_pointer(&begins), *of_end = cuda_pointer(&ends);
    for (int i = 0; i < 4; i++) {
        const float *weight = i & 2 ? cuda_pointer(&of_norm) : NULL;
        enum pooling pooling = i & 1 ? POOL_MEAN : POOL_LAST;
        struct cuda_tensor of_all = cuda_spoiled(PRECISION_F32, 3 * D),
                           of_one = cuda_spoiled(PRECISION_F32, D);
        cuda_good(pooling_fwd_cuda(&cuda_test, cuda_pointer(&of_all), cuda_pointer(&all), of_begin,
                                   of_end, 3, D, pooling, weight, 1e-5f, &err),
                  &err);
        cuda_good(pooling_fwd_cuda(&cuda_test, cuda_pointer(&of_one), cuda_pointer(&alone),
                                   of_begin + 3, of_end + 3, 1, D, pooling, weight, 1e-5f, &err),
                  &err);
        float *got = cuda_download(&of_all), *one = cuda_download(&of_one);
        ck_assert_mem_eq(got + D, one, D * sizeof *one);
        for (int j = 0; j < 3 * D; j++)
            if (isnan(got[j]) != (pooling == POOL_MEAN && j < D && (weight || j == 5)))
                ck_abort_msg("case %d: element %d is %g", i, j, (double)got[j]);
        free(got), free(one);
    }
    cuda_drop(&all), cuda_drop(&alone), cuda_drop(&of_norm), cuda_drop(&begins), cuda_drop(&ends);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_rows");
    TCase *tests = tcase_create("cuda_rows");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, embedding_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, bias_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, swiglu_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, swiglu_has_its_edges, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rope_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rope_does_not_see_others, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, pooling_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, pooling_takes_wide_rows, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, pooling_does_not_see_other_texts, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
