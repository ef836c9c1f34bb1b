/* The gradients by weights on a GPU, a matrix's and those of a joined matrix's adapters, against
 * the float64 references, and their promises about units. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/lora.h"
#include "kernels/weight_gradient.h"

static double *absolutes(const double *x, size_t n)
{
    double *y = malloc(n * sizeof *y + 1);
    for (size_t i = 0; i < n; i++)
        y[i] = fabs(x[i]);
    return y;
}

/* Units: none, empty ones, one row, around an mma's 16 rows and a step's 32, longer than all that
 * is under way; the report's. */
static const struct {
    int n_units;
    int32_t units[7];
} cuts[] = {
    {0, {0}},
    {1, {0, 0}},
    {1, {0, 1}},
    {1, {0, 48}},
    {4, {0, 7, 7, 60, 61}},
    {6, {0, 16, 32, 65, 65, 96, 129}},
    {2, {0, 176, 352}},
    {3, {0, 257, 258, 500}},
};
enum { N_CUTS = sizeof cuts / sizeof *cuts };

/* n rows of d values, those behind them in a row of `stride` NaN; packed: without those. */
static struct cuda_tensor send_rows(float **packed, int n, int d, int stride, uint64_t seed)
{
    size_t size = (size_t)n * (size_t)stride;
    float *x = test_floats(size);
    *packed = test_floats((size_t)n * (size_t)d);
    for (size_t i = 0; i < size; i++)
        x[i] = NAN;
    for (int row = 0; row < n; row++)
        fill_normal(x + row * stride, (size_t)d, seed + (uint64_t)row, 1.0f);
    struct cuda_tensor tensor = cuda_send(PRECISION_BF16, x, size);
    for (int row = 0; row < n; row++)
        memcpy(*packed + row * d, x + row * stride, (size_t)d * sizeof *x);
    free(x);
    return tensor;
}

static struct cuda_tensor send_units(int cut)
{
    return cuda_send_bytes(cuts[cut].units,
                           (size_t)(cuts[cut].n_units + 1) * sizeof *cuts[cut].units);
}

/* got against before + dyᵀ x. */
static void check_gradient_values(const float *got, const float *before, const float *dy,
                                  const float *x, int cut, int rows, int columns, const char *what)
{
    const int32_t *units = cuts[cut].units;
    int n_units = cuts[cut].n_units;
    size_t m = (size_t)units[n_units], n = (size_t)rows * (size_t)columns;
    double *want = to_doubles(before, n), *magnitude = malloc(n * sizeof *magnitude);
    double *dy64 = to_doubles(dy, m * (size_t)rows), *x64 = to_doubles(x, m * (size_t)columns);
    weight_gradient_ref(want, magnitude, dy64, x64, units, n_units, rows, columns);
    for (size_t i = 0; i < n; i++) {
        double limit = weight_gradient_cuda_tolerance(units, n_units) *
                       (magnitude[i] + fabs((double)before[i]));
        if (!(fabs((double)got[i] - want[i]) <= limit))
            ck_abort_msg("%s (%d, %d), cut %d: element %zu: got %.9g, want %.9g, limit %.3g", what,
                         rows, columns, cut, i, (double)got[i], want[i], limit);
    }
    free(want), free(magnitude), free(dy64), free(x64);
}

/* ---- one matrix ----------------------------------------------------------------------------- */

/* Around vectors of 8, the 16 columns of a warp, tiles of 32 and 64; either operand the wider one.
 */
static const int shapes[][2] = {{1, 1},    {2, 3},   {15, 5},   {8, 8},   {16, 64},  {72, 64},
                                {32, 136}, {7, 576}, {200, 77}, {33, 96}, {64, 129}, {136, 40}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void check_matrix(int rows, int columns, int cut, int more)
{
    struct err err;
    int m = cuts[cut].units[cuts[cut].n_units];
    size_t n = (size_t)rows * (size_t)columns;
    float *dw = test_floats(n), *dy, *x;
    fill_normal(dw, n, 1, 1.0f);
    struct cuda_tensor of_dw = cuda_send(PRECISION_F32, dw, n), of_units = send_units(cut);
    struct cuda_tensor of_dy = send_rows(&dy, m, rows, rows + more, 100);
    struct cuda_tensor of_x = send_rows(&x, m, columns, columns + more, 5000);
    cuda_good(more == 0 ? weight_gradient(&cuda_test, cuda_pointer(&of_dw), cuda_pointer(&of_dy),
                                          cuda_pointer(&of_x), cuda_pointer(&of_units),
                                          cuts[cut].n_units, rows, columns, &err)
                        : weight_gradient_cuda(
                              &cuda_test, cuda_pointer(&of_dw), cuda_pointer(&of_dy), rows + more,
                              cuda_pointer(&of_x), columns + more, cuda_pointer(&of_units),
                              cuts[cut].n_units, rows, columns, &err),
              &err);
    float *got = cuda_download(&of_dw);
    check_gradient_values(got, dw, dy, x, cut, rows, columns, "matrix");
    cuda_drop(&of_dy), cuda_drop(&of_x), cuda_drop(&of_units);
    free(got), free(dw), free(dy), free(x);
}

START_TEST(gradient_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int s = 0; s < N_SHAPES; s++)
        for (int cut = 0; cut < N_CUTS; cut++)
            if (cuda_test_full() || (s + cut + _i) % 3 == 0)
                check_matrix(shapes[s][0], shapes[s][1], cut,
                             (s + cut) % 3 == 0 ? 0
                             : s % 2            ? 8
                                                : 3);
    device_close(&cuda_test);
}
END_TEST

START_TEST(nan_stays_in_its_row_or_column)
{
    enum { M = 40, ROWS = 24, COLUMNS = 72 };
    static const int32_t units[] = {0, M};
    struct err err;
    float dy[M * ROWS], x[M * COLUMNS], dw[ROWS * COLUMNS] = {0};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(dy, M * ROWS, 10, 1.0f);
    fill_normal(x, M * COLUMNS, 11, 1.0f);
    dy[3 * ROWS + 7] = NAN;
    x[39 * COLUMNS + 18] = INFINITY;
    struct cuda_tensor of_dy = cuda_send(PRECISION_BF16, dy, M * ROWS);
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, M * COLUMNS);
    struct cuda_tensor of_dw = cuda_send(PRECISION_F32, dw, ROWS * COLUMNS);
    struct cuda_tensor of_units = cuda_send_bytes(units, sizeof units);
    cuda_good(weight_gradient(&cuda_test, cuda_pointer(&of_dw), cuda_pointer(&of_dy),
                              cuda_pointer(&of_x), cuda_pointer(&of_units), 1, ROWS, COLUMNS, &err),
              &err);
    float *got = cuda_download(&of_dw);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        if (isfinite(got[i]) != (i / COLUMNS != 7 && i % COLUMNS != 18))
            ck_abort_msg("element %d: %g", i, (double)got[i]);
    free(got), cuda_drop(&of_dy), cuda_drop(&of_x), cuda_drop(&of_units);
    device_close(&cuda_test);
}
END_TEST

/* ---- adapters of a joined matrix ------------------------------------------------------------ */

/* Parts' rows and ranks; a rank of 0 is a part without an adapter. */
struct join {
    int columns, n_parts, rows[LORA_PARTS], ranks[LORA_PARTS];
};
static const struct join joins[] = {
    {64, 1, {64}, {8}},
    {136, 3, {64, 32, 32}, {32, 32, 32}},
    {96, 3, {40, 24, 24}, {1, 0, 33}},
    {72, 2, {200, 200}, {16, 17}},
    {172, 1, {64}, {64}},       /* x, or dy, */
    {33, 2, {13, 50}, {5, 31}}, /* element by element */
    {200, 3, {8, 8, 16}, {0, 0, 0}},
};
enum { N_JOINS = sizeof joins / sizeof *joins };

static struct lora_parts parts_of(const struct join *join)
{
    struct lora_parts parts = {.n_parts = join->n_parts, .columns = join->columns};
    for (int p = 0; p < join->n_parts; p++) {
        struct lora_part *part = &parts.parts[p];
        part->rows = join->rows[p], part->first_row = parts.rows;
        part->rank = join->ranks[p], part->first_rank = parts.padded;
        part->padded = (part->rank + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
        part->scale = 0.5f, part->stream = 40 + (uint32_t)p;
        parts.rows += part->rows, parts.padded += part->padded;
    }
    return parts;
}

/* Operands on both sides; ds and s with a padding of 0. */
struct operands {
    struct lora_parts parts;
    int m, x_stride;
    float *dy, *x, *s, *ds;
    struct cuda_tensor of_dy, of_x, of_s, of_ds;
    struct cuda_tensor a[LORA_PARTS], b[LORA_PARTS];
    float *a_before[LORA_PARTS], *b_before[LORA_PARTS];
};

/* n rows of numbers with each part's padding. */
static float *ranks_of(const struct lora_parts *parts, int n, uint64_t seed)
{
    size_t size = (size_t)n * (size_t)parts->padded;
    float *x = test_floats(size);
    fill_normal(x, size, seed, 1.0f);
    for (int p = 0; p < parts->n_parts; p++)
        for (int row = 0; row < n; row++)
            for (int r = parts->parts[p].rank; r < parts->parts[p].padded; r++)
                x[row * parts->padded + parts->parts[p].first_rank + r] = 0;
    return x;
}

static size_t a_size(const struct lora_parts *parts, int p)
{
    return (size_t)parts->parts[p].rank * (size_t)parts->columns;
}

static size_t b_size(const struct lora_parts *parts, int p)
{
    return (size_t)parts->parts[p].rank * (size_t)parts->parts[p].rows;
}

static struct operands operands_of(const struct join *join, int m, int more)
{
    struct operands o = {.parts = parts_of(join), .m = m, .x_stride = join->columns + more};
    size_t n_ranks = (size_t)m * (size_t)o.parts.padded;
    o.of_x = send_rows(&o.x, m, join->columns, o.x_stride, 100);
    o.of_dy = send_rows(&o.dy, m, o.parts.rows, o.parts.rows, 5000);
    o.s = ranks_of(&o.parts, m, 3), o.ds = ranks_of(&o.parts, m, 4);
    o.of_s = cuda_send(PRECISION_BF16, o.s, n_ranks);
    o.of_ds = cuda_send(PRECISION_BF16, o.ds, n_ranks);
    for (int p = 0; p < o.parts.n_parts; p++) {
        o.a_before[p] = test_floats(a_size(&o.parts, p)),
        o.b_before[p] = test_floats(b_size(&o.parts, p));
        fill_normal(o.a_before[p], a_size(&o.parts, p), 7, 1.0f);
        fill_normal(o.b_before[p], b_size(&o.parts, p), 8, 1.0f);
        o.a[p] = cuda_send(PRECISION_F32, o.a_before[p], a_size(&o.parts, p));
        o.b[p] = cuda_send(PRECISION_F32, o.b_before[p], b_size(&o.parts, p));
    }
    return o;
}

static void operands_free(struct operands *o)
{
    cuda_drop(&o->of_x), cuda_drop(&o->of_dy), cuda_drop(&o->of_s), cuda_drop(&o->of_ds);
    free(o->x), free(o->dy), free(o->s), free(o->ds);
    for (int p = 0; p < o->parts.n_parts; p++)
        free(o->a_before[p]), free(o->b_before[p]);
}

/* Rows from `row` on, as a pass of their own. */
static void run(struct operands *o, const struct dropout *dropout, int row,
                const struct cuda_tensor *units, int n_units)
{
    struct err err;
    struct dropout of = {.threshold = 0};
    float *a[LORA_PARTS] = {NULL}, *b[LORA_PARTS] = {NULL};
    for (int p = 0; p < o->parts.n_parts; p++)
        if (o->parts.parts[p].rank)
            a[p] = cuda_pointer(&o->a[p]), b[p] = cuda_pointer(&o->b[p]);
    if (dropout)
        of = *dropout, of.first_row += row;
    size_t ranks_at = (size_t)row * (size_t)o->parts.padded;
    cuda_good(lora_gradients_cuda(&cuda_test, a, b, &o->parts,
                                  cuda_element(&o->of_dy, (size_t)row * (size_t)o->parts.rows),
                                  cuda_element(&o->of_x, (size_t)row * (size_t)o->x_stride),
                                  o->x_stride, cuda_element(&o->of_s, ranks_at),
                                  cuda_element(&o->of_ds, ranks_at), dropout ? &of : NULL,
                                  cuda_pointer(units), n_units, &err),
              &err);
}

/* x as part p's adapter sees it: what is kept times the scale, rounded to bfloat16. */
static float *dropped_of(const struct operands *o, const struct dropout *dropout, int p)
{
    struct device cpu = device_cpu(&cuda_test);
    size_t size = (size_t)o->m * (size_t)o->parts.columns;
    float *dropped = test_floats(size);
    struct dropout of = *dropout;
    of.stream = o->parts.parts[p].stream;
    dropout_fwd_cpu(&cpu, dropped, o->x, &of, o->m, o->parts.columns, false);
    for (size_t i = 0; i < size; i++)
        dropped[i] = bf16_to_float(bf16_from_float(dropped[i]));
    return dropped;
}

/* Some columns of a matrix by themselves. */
static float *columns_of(const float *matrix, int n, int stride, int first, int width)
{
    float *x = test_floats((size_t)n * (size_t)width);
    for (int row = 0; row < n; row++)
        memcpy(x + row * width, matrix + row * stride + first, (size_t)width * sizeof *x);
    return x;
}

static void check_join(const struct join *join, int cut, const struct dropout *dropout, int more)
{
    static const struct dropout none = {.threshold = 0};
    int m = cuts[cut].units[cuts[cut].n_units];
    struct operands o = operands_of(join, m, more);
    struct cuda_tensor units = send_units(cut);
    run(&o, dropout, 0, &units, cuts[cut].n_units);
    for (int p = 0; p < o.parts.n_parts; p++) {
        const struct lora_part *part = &o.parts.parts[p];
        float *a = cuda_download(&o.a[p]), *b = cuda_download(&o.b[p]);
        float *dropped = dropped_of(&o, dropout ? dropout : &none, p);
        float *ds = columns_of(o.ds, m, o.parts.padded, part->first_rank, part->rank);
        float *s = columns_of(o.s, m, o.parts.padded, part->first_rank, part->rank);
        float *dy = columns_of(o.dy, m, o.parts.rows, part->first_row, part->rows);
        check_gradient_values(a, o.a_before[p], ds, dropped, cut, part->rank, join->columns, "A");
        check_gradient_values(b, o.b_before[p], dy, s, cut, part->rows, part->rank, "B");
        free(a), free(b), free(dropped), free(ds), free(s), free(dy);
    }
    cuda_drop(&units);
    operands_free(&o);
}

static const struct dropout dropouts[] = {
    {.seed = 5, .step = 6, .first_row = 0, .threshold = 6554},
    {.seed = 0x123456789A, .step = 7, .first_row = 1LL << 40, .threshold = 32768},
    {.seed = 1, .step = 8, .first_row = 1001, .threshold = 60000},
};

START_TEST(adapters_gradients_match_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int j = 0; j < N_JOINS; j++)
        for (int cut = 0; cut < N_CUTS; cut++)
            if (cuda_test_full() || (j + cut + _i) % 3 == 0)
                check_join(&joins[j], cut, (j + cut) % 4 == 3 ? NULL : &dropouts[(j + cut) % 4],
                           cut % 2 ? 8 : 0);
    device_close(&cuda_test);
}
END_TEST

/* Through ds, which is made here from dy as the formula has it and rounded, and the mask's factors:
 * against the adapter's own reference. Two roundings to bfloat16 lie between: of ds and of drop(x).
 */
START_TEST(adapters_gradients_are_the_formulas)
{
    enum { CUT = 6 };
    const struct join join = {136, 1, {40}, {24}};
    const int32_t *units = cuts[CUT].units;
    int m = units[cuts[CUT].n_units];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    struct operands o = operands_of(&join, m, 0);
    struct lora_part *part = &o.parts.parts[0];
    struct dropout dropout = dropouts[0];
    size_t n_a = a_size(&o.parts, 0), n_b = b_size(&o.parts, 0), n_x = (size_t)m * 136;
    float *b = test_floats(n_b), *s = columns_of(o.s, m, part->padded, 0, part->rank);
    fill_normal(b, n_b, 9, 0.1f);
    for (int t = 0; t < m; t++)
        for (int r = 0; r < part->rank; r++) {
            double sum = 0;
            for (int i = 0; i < part->rows; i++)
                sum += 0.5 * (double)o.dy[t * part->rows + i] * (double)b[i * part->rank + r];
            o.ds[t * part->padded + r] = (float)sum;
        }
    cuda_drop(&o.of_ds);
    o.of_ds = cuda_send(PRECISION_BF16, o.ds, (size_t)(m * part->padded));
    struct cuda_tensor of_units = send_units(CUT);
    run(&o, &dropout, 0, &of_units, cuts[CUT].n_units);

    double *factor = malloc(n_x * sizeof *factor), *b64 = to_doubles(b, n_b);
    double *dy64 = to_doubles(o.dy, (size_t)(m * part->rows)), *x64 = to_doubles(o.x, n_x);
    double *s64 = to_doubles(s, (size_t)(m * part->rank));
    double *da = to_doubles(o.a_before[0], n_a), *db = to_doubles(o.b_before[0], n_b);
    double *da_size = absolutes(da, n_a), *db_size = absolutes(db, n_b);
    dropout.stream = part->stream;
    dropout_factors_ref(factor, &dropout, m, 136);
    struct lora_ref ref = {part->rows, 136, part->rank, 0.5, NULL, b64, factor};
    lora_bwd_ref(NULL, da, db, dy64, x64, s64, &ref, m);
    double *b_size_of = absolutes(b64, n_b), *dy_size = absolutes(dy64, (size_t)(m * part->rows));
    double *x_size = absolutes(x64, n_x), *s_size = absolutes(s64, (size_t)(m * part->rank));
    ref.b = b_size_of;
    lora_bwd_ref(NULL, da_size, db_size, dy_size, x_size, s_size, &ref, m);
    float *got_a = cuda_download(&o.a[0]), *got_b = cuda_download(&o.b[0]);
    double sums = weight_gradient_cuda_tolerance(units, cuts[CUT].n_units);
    for (size_t i = 0; i < n_a; i++)
        if (!(fabs((double)got_a[i] - da[i]) <= (sums + 2.02 * 0x1p-8) * da_size[i]))
            ck_abort_msg("A, element %zu: %.9g, not %.9g", i, (double)got_a[i], da[i]);
    for (size_t i = 0; i < n_b; i++)
        if (!(fabs((double)got_b[i] - db[i]) <= sums * db_size[i]))
            ck_abort_msg("B, element %zu: %.9g, not %.9g", i, (double)got_b[i], db[i]);
    free(got_a), free(got_b), free(factor), free(b64), free(dy64), free(x64), free(s64), free(da);
    free(db), free(da_size), free(db_size), free(b_size_of), free(dy_size), free(x_size);
    free(s_size), free(b), free(s);
    cuda_drop(&of_units);
    operands_free(&o);
    device_close(&cuda_test);
}
END_TEST

/* All units in one call, or each in a call of its own, among other rows or alone. */
START_TEST(bytes_do_not_depend_on_calls)
{
    static const int tried[] = {1, 2, 5};
    enum { CUT = 5 };
    const int32_t *units = cuts[CUT].units;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int j = 0; j < 3; j++) {
        struct operands one = operands_of(&joins[tried[j]], units[6], 0);
        struct operands many = operands_of(&joins[tried[j]], units[6], 0);
        struct cuda_tensor of_units = send_units(CUT);
        run(&one, &dropouts[1], 0, &of_units, 6);
        cuda_drop(&of_units);
        for (int u = 0, n; u < 6; u += n) {
            n = u == 2 ? 2 : 1; /* one call with two of them */
            int32_t some[3] = {0, units[u + 1] - units[u], units[u + n] - units[u]};
            of_units = cuda_send_bytes(some, sizeof some);
            run(&many, &dropouts[1], units[u], &of_units, n);
            cuda_drop(&of_units);
        }
        for (int p = 0; p < one.parts.n_parts; p++) {
            float *a = cuda_download(&one.a[p]), *b = cuda_download(&one.b[p]);
            float *a_many = cuda_download(&many.a[p]), *b_many = cuda_download(&many.b[p]);
            ck_assert_mem_eq(a, a_many, a_size(&one.parts, p) * sizeof *a);
            ck_assert_mem_eq(b, b_many, b_size(&one.parts, p) * sizeof *b);
            free(a), free(b), free(a_many), free(b_many);
        }
        operands_free(&one), operands_free(&many);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_gradients");
    TCase *tests = tcase_create("cuda_gradients");
    tcase_add_loop_test(tests, gradient_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_in_its_row_or_column, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, adapters_gradients_match_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, adapters_gradients_are_the_formulas, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, bytes_do_not_depend_on_calls, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
