/* The gradients of the GPU's kernels that work row by row: RMSNorm, rotary embedding with the
 * heads' norms, SwiGLU; against the float64 references, through the product's own path.
 * tests/test_cuda_pooling_bwd.c has pooling's. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"
#include "tests/cuda_rope.h"
#include "tests/gradient_check.h"

#define U         0x1p-24
#define SUBNORMAL 0x1p-133 /* of bfloat16: half its least number and more */

static float *normal(size_t n, int which, float deviation)
{
    float *x = test_floats(n);
    fill_normal(x, n, (uint64_t)which, deviation);
    return x;
}

/* got against want within share * magnitude, and the type's rounding. */
static void check_shares(const float *got, const double *want, const double *magnitude,
                         double share, enum precision type, size_t n, const char *what, int a,
                         int b, int c)
{
    for (size_t i = 0; i < n; i++) {
        double allowed = share * magnitude[i] + cuda_rounding(type) * fabs(want[i]) + SUBNORMAL;
        if (!(fabs((double)got[i] - want[i]) <= allowed))
            ck_abort_msg("%s %d, %d, %d: element %zu is %.9g, want %.9g, allowed %.2g", what, a, b,
                         c, i, (double)got[i], want[i], allowed);
    }
}

/* ---- RMSNorm -------------------------------------------------------------------------------- */

enum way { APART, IN_PLACE, ADDED, N_WAYS };

static void check_rmsnorm(enum precision type, int n, int d, enum way way)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d;
    float *x = normal(size, d, 3.0f), *dy = normal(size, 2, 1.0f), *before = normal(size, 4, 1.0f);
    float *weight = test_floats((size_t)d);
    fill_uniform(weight, (size_t)d, 3, -2.0f, 2.0f);
    struct cuda_tensor of_x = cuda_send(type, x, size), of_dy = cuda_send(type, dy, size);
    struct cuda_tensor of_weight = cuda_send(PRECISION_F32, weight, (size_t)d);
    struct cuda_tensor dx = way == IN_PLACE ? of_dy
                            : way == ADDED  ? cuda_send(type, before, size)
                                            : cuda_spoiled(type, size);
    double *x64 = to_doubles(x, size), *dy64 = to_doubles(dy, size);
    double *weight64 = to_doubles(weight, (size_t)d);
    double *want = to_doubles(before, size), *magnitude = zero_doubles(size);
    rmsnorm_bwd_ref(want, magnitude, dy64, x64, weight64, n, d, 1e-5, way == ADDED);
    cuda_good(type == PRECISION_BF16
                  ? rmsnorm_bwd(&cuda_test, cuda_pointer(&dx), cuda_pointer(&of_dy),
                                cuda_pointer(&of_x), cuda_pointer(&of_weight), n, d, 1e-5f,
                                way == ADDED, &err)
                  : rmsnorm_bwd_cuda(&cuda_test, type, cuda_pointer(&dx), cuda_pointer(&of_dy),
                                     cuda_pointer(&of_x), cuda_pointer(&of_weight), n, d, 1e-5f,
                                     way == ADDED, &err),
              &err);
    float *got = cuda_download(&dx);
    check_shares(got, want, magnitude, rmsnorm_bwd_cuda_tolerance(d), type, size,
                 type == PRECISION_BF16 ? "rmsnorm bf16" : "rmsnorm f32", n, d, way);
    if (way != IN_PLACE)
        cuda_drop(&of_dy);
    cuda_drop(&of_x), cuda_drop(&of_weight);
    free(got), free(x), free(dy), free(before), free(weight);
    free(x64), free(dy64), free(weight64), free(want), free(magnitude);
}

/* Widths round the vectors (4, 8), the warp, the block of 256 and what it keeps in registers (of
 * single elements 1024, of vectors 4096), the models' own, and odd ones. */
START_TEST(rmsnorm_bwd_matches_reference)
{
    static const int sizes[][2] = {{0, 8},    {1, 1},    {3, 4},    {2, 7},    {2, 8},
                                   {3, 31},   {2, 33},   {2, 172},  {1, 255},  {1, 257},
                                   {3, 576},  {1, 1023}, {1, 1025}, {1, 2056}, {1, 2047},
                                   {2, 4096}, {1, 4100}, {1, 4104}, {1, 8192}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = APART; way < N_WAYS; way++) {
            check_rmsnorm(PRECISION_BF16, sizes[i][0], sizes[i][1], (enum way)way);
            check_rmsnorm(PRECISION_F32, sizes[i][0], sizes[i][1], (enum way)way);
        }
    if (cuda_test_full())
        check_rmsnorm(PRECISION_BF16, 129, 4096, ADDED);
    device_close(&cuda_test);
}
END_TEST

/* A row has the same bytes alone and among others; NaN stays in its row. */
START_TEST(rmsnorm_bwd_does_not_see_other_rows)
{
    enum { ROWS = 5, D = 576, ROW = 1 };
    struct err err;
    float x[ROWS * D], dy[ROWS * D], weight[D];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, ROWS * D, 5, 1.0f);
    fill_normal(dy, ROWS * D, 6, 1.0f);
    fill_uniform(weight, D, 7, 0.5f, 2.0f);
    x[3 * D + 9] = dy[4 * D + 11] = NAN;
    for (int i = 0; i < 4; i++) {
        enum precision type = i & 1 ? PRECISION_BF16 : PRECISION_F32;
        size_t from = (size_t)ROW * D * (type == PRECISION_BF16 ? 2 : 4);
        struct cuda_tensor w = cuda_send(PRECISION_F32, weight, D);
        struct cuda_tensor of_x = cuda_send(type, x, ROWS * D);
        struct cuda_tensor of_dy = cuda_send(type, dy, ROWS * D);
        struct cuda_tensor all = cuda_send(type, dy, ROWS * D);
        struct cuda_tensor one = cuda_send(type, dy + ROW * D, D);
        cuda_good(rmsnorm_bwd_cuda(&cuda_test, type, cuda_pointer(&all), cuda_pointer(&of_dy),
                                   cuda_pointer(&of_x), cuda_pointer(&w), ROWS, D, 1e-6f, i & 2,
                                   &err),
                  &err);
        cuda_good(rmsnorm_bwd_cuda(&cuda_test, type, cuda_pointer(&one),
                                   (char *)cuda_pointer(&of_dy) + from,
                                   (char *)cuda_pointer(&of_x) + from, cuda_pointer(&w), 1, D,
                                   1e-6f, i & 2, &err),
                  &err);
        float *among = cuda_download(&all), *alone = cuda_download(&one);
        ck_assert_mem_eq(among + ROW * D, alone, D * sizeof *alone);
        for (int row = 0; row < ROWS; row++)
            ck_assert_int_eq(isnan(among[row * D + 100]), row >= 3);
        cuda_drop(&w), cuda_drop(&of_x), cuda_drop(&of_dy);
        free(among), free(alone);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- rotary embedding ----------------------------------------------------------------------- */

/* Half a head is pieces of eight or not; a lane, some lanes, a warp a head, and more than fits (a
 * head of 1024 of eights, of 66 and more of elements); more heads than a block's threads hold at
 * once. `behind`: v and more. raw_behind: behind a row of raw. */
static const struct {
    int n, n_heads, n_kv_heads, head_dim, behind, raw_behind;
} heads[] = {
    {0, 1, 1, 8, 0, 0},   {1, 1, 0, 2, 0, 1},        {3, 3, 1, 6, 6, 0},     {2, 8, 4, 8, 32, 0},
    {2, 3, 2, 16, 8, 3},  {2, 3, 2, 18, 5, 0},       {2, 9, 3, 64, 192, 64}, {1, 5, 2, 80, 160, 0},
    {1, 2, 1, 72, 0, 8},  {2, 4, 4, 128, 512, 16},   {1, 70, 10, 128, 4, 0}, {1, 70, 10, 128, 8, 0},
    {1, 2, 1, 256, 3, 2}, {1, 1, 1, 1022, 16, 1020}, {1, 1, 1, 1024, 8, 0},
};

/* With what the heads were before their norms, in rows of raw_stride. */
static struct rope_cuda rope_of(const struct rope_case *c, size_t stride, size_t raw_stride,
                                int n_heads, int n_kv_heads, int head_dim, bool normed)
{
    struct rope_cuda rope = rope_case_of(c, stride, n_heads, n_kv_heads, head_dim, normed);
    rope.raw = normed ? cuda_pointer(&c->raw) : NULL;
    rope.raw_stride = raw_stride;
    return rope;
}

/* A head's gradient. Turned back, a value errs by 4 roundings (cos, sin, two products and a sum) of
 * 1.5 u of the head's largest. */
static void check_head(const float *got, const float *dy, const float *raw, const float *norm,
                       const int32_t *position, const double *inv_freq, int head_dim, size_t which)
{
    double want[1024], error[1024], x[1024], weight[1024], largest = 0;
    size_t width = (size_t)head_dim;
    for (size_t j = 0; j < width; j++) {
        want[j] = dy[j], x[j] = raw[j], weight[j] = norm ? norm[j] : 1;
        largest = fmax(largest, fabs(want[j]));
    }
    for (size_t j = 0; j < width; j++)
        error[j] = 6 * U * largest;
    if (norm)
        rope_norm_bwd_ref(want, error, x, weight, *position, inv_freq, head_dim, ROPE_EPS);
    else
        rope_bwd_ref(want, position, inv_freq, 1, 1, head_dim);
    check_shares(got, want, error, 1, PRECISION_BF16, width, norm ? "rope and norm" : "rope",
                 (int)which, *position, 0);
}

static void check_rope(size_t which, bool normed)
{
    int n = heads[which].n, n_heads = heads[which].n_heads, head_dim = heads[which].head_dim;
    int n_all = n_heads + heads[which].n_kv_heads;
    struct err err;
    struct rope_case c;
    size_t turned = (size_t)n_all * (size_t)head_dim, stride = turned + (size_t)heads[which].behind;
    size_t raw_stride = turned + (size_t)heads[which].raw_behind;
    size_t size = (size_t)n * stride, raw_size = (size_t)n * raw_stride;
    float *x = normal(size, (int)which, 1.5f), *dy = normal(size, 99 + (int)which, 1.0f);
    rope_case_open(&c, n, head_dim);
    c.x = cuda_send(PRECISION_BF16, x, size);
    c.raw = cuda_spoiled(PRECISION_BF16, raw_size);
    struct rope_cuda rope =
        rope_of(&c, stride, raw_stride, n_heads, heads[which].n_kv_heads, head_dim, normed);
    cuda_good(rope_fwd_cuda(&cuda_test, &rope, n, &err), &err);
    cuda_drop(&c.x);
    c.x = cuda_send(PRECISION_BF16, dy, size);
    rope.x = cuda_pointer(&c.x);
    if (stride == turned && rope.n_kv_heads == 0 && !normed)
        cuda_good(rope_bwd(&cuda_test, rope.x, rope.positions, rope.cos_table, rope.sin_table, n,
                           n_heads, head_dim, &err),
                  &err);
    else
        cuda_good(rope_bwd_cuda(&cuda_test, &rope, n, &err), &err);
    float *got = cuda_download(&c.x), *raw = cuda_download(&c.raw);
    for (int row = 0; row < n; row++) {
        size_t at = (size_t)row * stride, raw_at = (size_t)row * raw_stride;
        if (normed)
            ck_assert_mem_eq(raw + raw_at, x + at, turned * sizeof *x);
        for (size_t i = normed ? turned : 0; i < raw_stride; i++)
            if (!isnan(raw[raw_at + i]))
                ck_abort_msg("case %zu: raw's row %d was written at %zu", which, row, i);
        ck_assert_mem_eq(got + at + turned, dy + at + turned, (stride - turned) * sizeof *x);
        for (int head = 0; head < n_all; head++) {
            size_t first = at + (size_t)head * (size_t)head_dim;
            check_head(got + first, dy + first, x + first,
                       normed ? c.norms + (head < n_heads ? 0 : head_dim) : NULL, &c.position[row],
                       c.inv_freq, head_dim, which);
        }
    }
    rope_case_close(&c);
    free(got), free(raw), free(x), free(dy);
}

START_TEST(rope_bwd_matches_reference)
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

/* A token's bytes are the same alone; NaN stays in its head, without norms in its pair. */
START_TEST(rope_bwd_does_not_see_others)
{
    enum { N = 4, HEADS = 3, KV = 2, DIM = 16, ALL = 5 * DIM, STRIDE = ALL + 8, ROW = 2 };
    enum { BAD = STRIDE + 2 * DIM + 3, PAIR = BAD + DIM / 2 }; /* row 1, head 2 */
    struct err err;
    float x[N * STRIDE], raw[N * ALL];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int normed = 0; normed < 2; normed++) {
        struct rope_case all, one;
        fill_normal(x, N * STRIDE, 1, 1.0f);
        fill_normal(raw, N * ALL, 2, 1.0f);
        x[BAD] = NAN;
        raw[3 * ALL + 1] = NAN; /* row 3, head 0 */
        rope_case_open(&all, N, DIM), rope_case_open(&one, N, DIM);
        all.x = cuda_send(PRECISION_BF16, x, N * STRIDE);
        all.raw = cuda_send(PRECISION_BF16, raw, N * ALL);
        one.x = cuda_send(PRECISION_BF16, x + ROW * STRIDE, STRIDE);
        one.raw = cuda_send(PRECISION_BF16, raw + ROW * ALL, ALL);
        struct rope_cuda of_all = rope_of(&all, STRIDE, ALL, HEADS, KV, DIM, normed);
        struct rope_cuda of_one = rope_of(&one, STRIDE, ALL, HEADS, KV, DIM, normed);
        of_one.positions += ROW;
        cuda_good(rope_bwd_cuda(&cuda_test, &of_all, N, &err), &err);
        cuda_good(rope_bwd_cuda(&cuda_test, &of_one, 1, &err), &err);
        float *among = cuda_download(&all.x), *alone = cuda_download(&one.x);
        ck_assert_mem_eq(among + ROW * STRIDE, alone, STRIDE * sizeof *alone);
        for (int i = 0; i < N * STRIDE; i++) {
            int head = i / STRIDE * 100 + i % STRIDE / DIM;
            bool bad = normed ? head == 102 || head == 300 : i == BAD || i == PAIR;
            if (isnan(among[i]) != bad)
                ck_abort_msg("norms %d: element %d is %g", normed, i, (double)among[i]);
        }
        rope_case_close(&all), rope_case_close(&one);
        cuda_drop(&all.raw), cuda_drop(&one.raw);
        free(among), free(alone);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- SwiGLU --------------------------------------------------------------------------------- */

/* Gate and up, and their gradients: each a matrix of its own; halves of one product; with odd
 * strides; over what they are the gradients of; dgate over dy. */
enum place { OWN, HALVES, ODD_STRIDES, OVER_INPUTS, OVER_DY, N_PLACES };

/* Below gate = -87.3 the exponential is 0 or subnormal, where the true gradients are less than 90 *
 * 2^-126 of abs(dy up) and abs(dy). Inputs are up to 4. */
#define SWIGLU_ABSOLUTE (90 * 0x1p-126 * 16)

/* Rows of two halves as the device has them. */
struct halves {
    size_t stride, second; /* of rows; where the second half of the first row begins */
    size_t size;           /* of both */
};

static struct halves halves_of(int n, int d, enum place place, size_t more)
{
    size_t rows = (size_t)n, width = (size_t)d;
    if (place == OWN || place == OVER_DY)
        return (struct halves){width, rows * width, 2 * rows * width};
    size_t stride = 2 * width + (place == ODD_STRIDES ? more : 0);
    return (struct halves){stride, width, rows * stride};
}

static void check_gradient_of_gate(double got, double want, double magnitude, double gate,
                                   const char *what, size_t i, enum place place)
{
    double allowed = SWIGLU_BWD_CUDA_TOLERANCE(gate) * magnitude +
                     cuda_rounding(PRECISION_BF16) * fabs(want) + SWIGLU_ABSOLUTE + SUBNORMAL;
    if (!(fabs(got - want) <= allowed))
        ck_abort_msg("%s[%zu], place %d: %.9g, want %.9g, gate %g", what, i, place, got, want,
                     gate);
}

static void check_swiglu(int n, int d, float spread, enum place place)
{
    struct err err;
    size_t width = (size_t)d, size = (size_t)n * width;
    struct halves from = halves_of(n, d, place, 3), to = halves_of(n, d, place, 5);
    if (place == OVER_INPUTS)
        to = from;
    float *in = test_floats(from.size), *dy = test_floats(size);
    double *dy64 = zero_doubles(size), *gate64 = zero_doubles(size), *up64 = zero_doubles(size);
    double *dgate = zero_doubles(size), *dup = zero_doubles(size), *magnitude = zero_doubles(size);
    for (size_t i = 0; i < from.size; i++)
        in[i] = NAN; /* behind the halves of a row */
    for (int row = 0; row < n; row++) {
        float *first = in + (size_t)row * from.stride;
        fill_uniform(first, width, (uint64_t)row, -spread, spread);
        fill_uniform(first + from.second, width, 99 + (uint64_t)row, -4, 4);
    }
    fill_uniform(dy, size, 7, -4, 4);
    struct cuda_tensor of_in = cuda_send(PRECISION_BF16, in, from.size);
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, size);
    struct cuda_tensor out = cuda_spoiled(PRECISION_BF16, to.size);
    for (size_t i = 0; i < size; i++) {
        size_t at = i / width * from.stride + i % width;
        dy64[i] = dy[i], gate64[i] = in[at], up64[i] = in[at + from.second];
    }
    swiglu_bwd_ref(dgate, dup, magnitude, dy64, gate64, up64, n, d);
    void *gate = cuda_pointer(&of_in), *up = cuda_element(&of_in, from.second);
    void *to_gate = place == OVER_INPUTS ? gate
                    : place == OVER_DY   ? cuda_pointer(&of_dy)
                                         : cuda_pointer(&out);
    void *to_up = place == OVER_INPUTS ? up : cuda_element(&out, to.second);
    cuda_good(
        to.stride == width && from.stride == width
            ? swiglu_bwd(&cuda_test, to_gate, to_up, cuda_pointer(&of_dy), gate, up, n, d, &err)
            : swiglu_bwd_cuda(&cuda_test, to_gate, to_up, to.stride, cuda_pointer(&of_dy), gate, up,
                              from.stride, n, d, &err),
        &err);
    float *results = cuda_download(&out), *inputs = cuda_download(&of_in);
    float *dys = cuda_download(&of_dy);
    const float *got_gate = place == OVER_INPUTS ? inputs : place == OVER_DY ? dys : results;
    const float *got_up = place == OVER_INPUTS ? inputs + to.second : results + to.second;
    for (size_t i = 0; i < size; i++) {
        size_t at = i / width * to.stride + i % width;
        check_gradient_of_gate((double)got_gate[at], dgate[i], magnitude[i], gate64[i], "dgate", i,
                               place);
        check_gradient_of_gate((double)got_up[at], dup[i], fabs(dup[i]), gate64[i], "dup", i,
                               place);
    }
    for (size_t i = 0; i < to.size; i++) /* nothing was written behind halves */
        if (place == ODD_STRIDES && i % to.stride >= 2 * width && !isnan(results[i]))
            ck_abort_msg("place %d: element %zu was written", place, i);
    free(results), free(inputs), free(dys), free(in), free(dy), free(dy64), free(gate64);
    free(up64), free(dgate), free(dup), free(magnitude);
}

START_TEST(swiglu_bwd_matches_reference)
{
    static const int sizes[][2] = {{0, 8},  {1, 1},   {2, 7},    {3, 8},    {5, 9},
                                   {2, 31}, {3, 172}, {2, 1536}, {1, 2056}, {1, 2047}};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int place = OWN; place < N_PLACES; place++)
            check_swiglu(sizes[s][0], sizes[s][1], place % 2 ? 6 : 120, (enum place)place);
    if (cuda_test_full())
        check_swiglu(33, 11008, 20, HALVES);
    device_close(&cuda_test);
}
END_TEST

/* An element's bytes are its three inputs', whatever the width, by vectors and by elements; NaN
 * stays in its element, and an infinite gate gives it. Gates of any finite size are safe. */
START_TEST(swiglu_bwd_has_its_edges)
{
    enum { D = 16 };
    struct err err;
    float gate[D] = {0, -0.0f, NAN, 1, INFINITY, -1e4f, -3e38f, 1e4f, 3e38f, -INFINITY, 2, -2, 1};
    float up[D] = {1, 1, 1, NAN, 2, 1, 1, 3, 1, 1, 0, 1, 1};
    float dy[D] = {2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, NAN};
    const float want_gate[D] = {1, 1, NAN, NAN, NAN, 0, 0, 3, 1, NAN, 0, 0, NAN};
    const float want_up[D] = {0, 0, NAN, 0.73f, INFINITY, 0, 0, 1e4f, 3e38f, NAN, 1.76f, 0, NAN};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct cuda_tensor of_gate = cuda_send(PRECISION_BF16, gate, D);
    struct cuda_tensor of_up = cuda_send(PRECISION_BF16, up, D);
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, D);
    float *results[4];
    for (int elements = 0; elements < 2; elements++) {
        struct cuda_tensor dgate = cuda_spoiled(PRECISION_BF16, D),
                           dup = cuda_spoiled(PRECISION_BF16, D);
        int n = elements ? D : 1, d = elements ? 1 : D;
        cuda_good(swiglu_bwd(&cuda_test, cuda_pointer(&dgate), cuda_pointer(&dup),
                             cuda_pointer(&of_dy), cuda_pointer(&of_gate), cuda_pointer(&of_up), n,
                             d, &err),
                  &err);
        results[2 * elements] = cuda_download(&dgate);
        results[2 * elements + 1] = cuda_download(&dup);
    }
    ck_assert_mem_eq(results[0], results[2], D * sizeof(float));
    ck_assert_mem_eq(results[1], results[3], D * sizeof(float));
    for (int i = 0; i < D; i++)
        for (int j = 0; j < 2; j++) {
            float got = results[j][i], want = j ? want_up[i] : want_gate[i];
            if (isnan(want) ? !isnan(got) : !(got == want || fabsf(got - want) <= 0.01f * want))
                ck_abort_msg("%s[%d] = %g, want %g", j ? "dup" : "dgate", i, (double)got,
                             (double)want);
        }
    for (int i = 0; i < 4; i++)
        free(results[i]);
    cuda_drop(&of_gate), cuda_drop(&of_up), cuda_drop(&of_dy);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_rows_bwd");
    TCase *tests = tcase_create("cuda_rows_bwd");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, rmsnorm_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rmsnorm_bwd_does_not_see_other_rows, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rope_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rope_bwd_does_not_see_others, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, swiglu_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, swiglu_bwd_has_its_edges, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
