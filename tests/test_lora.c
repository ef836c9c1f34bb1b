/* A low-rank adapter, forwards and backwards, against its float64 references, and these against
 * central differences; with dropout and without. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/lora.h"
#include "kernels/weight_gradient.h"
#include "tests/gradient_check.h"

#define UNITS 3

/* Empty, single, around tiles and panels; ranks that fill no panel, one, and two. */
static const struct shape {
    int rows, columns, rank;
    int32_t units[UNITS + 1];
} shapes[] = {
    {1, 1, 1, {0, 0, 0, 0}},      {3, 5, 1, {0, 1, 1, 2}},      {7, 9, 3, {0, 2, 5, 6}},
    {16, 24, 8, {0, 7, 13, 20}},  {33, 64, 8, {0, 1, 14, 33}},  {40, 100, 16, {0, 30, 31, 48}},
    {96, 70, 32, {0, 9, 40, 64}}, {64, 576, 32, {0, 5, 7, 25}},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the references ------------------------------------------------------------------------- */

/* What a reference works on: the numbers, or their absolute values. */
struct problem {
    struct lora_ref lora;
    int m;
    size_t n_x, n_y, n_s, n_a, n_b;
    double *x, *y, *dy, *s, *a, *b, *factor;
    double *dx, *da, *db;
};

static struct problem make_problem(const struct shape *shape, bool drops)
{
    size_t m = (size_t)shape->units[UNITS], rank = (size_t)shape->rank;
    struct problem p = {.m = (int)m};
    struct dropout dropout = {11, 2, 3, 17, 13107};
    p.n_x = m * (size_t)shape->columns, p.n_y = m * (size_t)shape->rows, p.n_s = m * rank;
    p.n_a = rank * (size_t)shape->columns, p.n_b = rank * (size_t)shape->rows;
    p.x = normal_doubles(p.n_x, 1, 1);
    p.y = normal_doubles(p.n_y, 2, 1);
    p.dy = normal_doubles(p.n_y, 3, 1);
    p.a = normal_doubles(p.n_a, 4, 0.3f);
    p.b = normal_doubles(p.n_b, 5, 0.3f);
    p.dx = normal_doubles(p.n_x, 6, 1);
    p.da = normal_doubles(p.n_a, 7, 1);
    p.db = normal_doubles(p.n_b, 8, 1);
    p.s = zero_doubles(p.n_s);
    p.factor = zero_doubles(p.n_x);
    dropout_factors_ref(p.factor, &dropout, (int)m, shape->columns);
    p.lora = (struct lora_ref){shape->rows, shape->columns,         shape->rank, 0.75, p.a,
                               p.b,         drops ? p.factor : NULL};
    return p;
}

static void free_problem(struct problem *p)
{
    free(p->x), free(p->y), free(p->dy), free(p->s), free(p->a), free(p->b), free(p->factor);
    free(p->dx), free(p->da), free(p->db);
}

static double loss(void *context)
{
    struct problem *p = context;
    memset(p->y, 0, p->n_y * sizeof *p->y);
    lora_fwd_ref(p->y, p->s, p->x, &p->lora, p->m);
    return weighted_sum(p->y, p->dy, p->n_y);
}

START_TEST(references_match_differences)
{
    for (int drops = 0; drops < 2; drops++)
        for (int shape = 0; shape < 4; shape++) {
            struct problem p = make_problem(&shapes[shape], drops);
            memset(p.dx, 0, p.n_x * sizeof *p.dx);
            memset(p.da, 0, p.n_a * sizeof *p.da);
            memset(p.db, 0, p.n_b * sizeof *p.db);
            loss(&p); /* s */
            lora_bwd_ref(p.dx, p.da, p.db, p.dy, p.x, p.s, &p.lora, p.m);
            check_gradient(loss, &p, p.x, p.dx, p.n_x, "x, shape %d, drops %d", shape, drops);
            check_gradient(loss, &p, p.a, p.da, p.n_a, "a, shape %d, drops %d", shape, drops);
            check_gradient(loss, &p, p.b, p.db, p.n_b, "b, shape %d, drops %d", shape, drops);
            free_problem(&p);
        }
}
END_TEST

/* ---- the kernels ---------------------------------------------------------------------------- */

static float *guarded_copy(const double *from, size_t n)
{
    float *x = guarded_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)from[i];
    return x;
}

static void make_absolute(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fabs(x[i]);
}

static void absolute_problem(struct problem *p)
{
    make_absolute(p->x, p->n_x), make_absolute(p->y, p->n_y), make_absolute(p->dy, p->n_y);
    make_absolute(p->a, p->n_a), make_absolute(p->b, p->n_b), make_absolute(p->s, p->n_s);
    make_absolute(p->dx, p->n_x), make_absolute(p->da, p->n_a), make_absolute(p->db, p->n_b);
}

static void check(const char *what, const struct device *device, int shape, int drops,
                  const float *got, const double *want, const double *magnitude, size_t n,
                  double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * magnitude[i]))
            ck_abort_msg("%s, %s, shape %d, drops %d: element %zu: got %.9g, want %.9g, limit %.3g",
                         what, test_device_name(device), shape, drops, i, (double)got[i], want[i],
                         tolerance * magnitude[i]);
}

static void check_shape(struct device *device, int shape, int drops)
{
    const int32_t *units = shapes[shape].units;
    struct problem p = make_problem(&shapes[shape], drops),
                   size = make_problem(&shapes[shape], drops);
    struct dropout dropout = {11, 2, 3, 17, drops ? 13107 : 0};
    float *x = guarded_copy(p.x, p.n_x), *y = guarded_copy(p.y, p.n_y);
    float *dy = guarded_copy(p.dy, p.n_y), *a = guarded_copy(p.a, p.n_a);
    float *b = guarded_copy(p.b, p.n_b), *s = guarded_floats(p.n_s), *ds = guarded_floats(p.n_s);
    float *dx = guarded_copy(p.dx, p.n_x), *da = guarded_copy(p.da, p.n_a);
    float *db = guarded_copy(p.db, p.n_b), *dropped = drops ? guarded_floats(p.n_x) : NULL;
    float *da_alone = guarded_copy(p.da, p.n_a), *db_alone = guarded_copy(p.db, p.n_b);
    struct lora lora = {p.lora.rows, p.lora.columns, p.lora.rank, 0.75f, a, b};
    struct err err;

    ck_assert_int_eq(lora_fwd(device, y, s, dropped, x, &lora, &dropout, p.m, &err), STATUS_OK);
    lora_fwd_ref(p.y, p.s, p.x, &p.lora, p.m);
    absolute_problem(&size);
    lora_fwd_ref(size.y, size.s, size.x, &size.lora, p.m);
    check("s", device, shape, drops, s, p.s, size.s, p.n_s, lora_s_tolerance(&lora));
    check("y", device, shape, drops, y, p.y, size.y, p.n_y, lora_y_tolerance(&lora));

    /* The backward pass is given the forward's s, rounded as it is. */
    for (size_t i = 0; i < p.n_s; i++)
        p.s[i] = s[i], size.s[i] = fabs((double)s[i]);
    ck_assert_int_eq(
        lora_bwd(device, dx, da, db, ds, dropped, dy, x, s, &lora, &dropout, units, UNITS, &err),
        STATUS_OK);
    lora_bwd_ref(p.dx, p.da, p.db, p.dy, p.x, p.s, &p.lora, p.m);
    lora_bwd_ref(size.dx, size.da, size.db, size.dy, size.x, size.s, &size.lora, p.m);
    check("dx", device, shape, drops, dx, p.dx, size.dx, p.n_x, lora_dx_tolerance(&lora));
    check("da", device, shape, drops, da, p.da, size.da, p.n_a,
          lora_da_tolerance(&lora, units, UNITS));
    check("db", device, shape, drops, db, p.db, size.db, p.n_b,
          weight_gradient_tolerance(units, UNITS));

    /* Without dx the rest is the same. */
    ck_assert_int_eq(lora_bwd(device, NULL, da_alone, db_alone, ds, dropped, dy, x, s, &lora,
                              &dropout, units, UNITS, &err),
                     STATUS_OK);
    ck_assert(memcmp(da, da_alone, p.n_a * sizeof *da) == 0);
    ck_assert(memcmp(db, db_alone, p.n_b * sizeof *db) == 0);

    check_guarded(x, p.n_x), check_guarded(y, p.n_y), check_guarded(dy, p.n_y);
    check_guarded(a, p.n_a), check_guarded(b, p.n_b), check_guarded(s, p.n_s);
    check_guarded(ds, p.n_s), check_guarded(dx, p.n_x), check_guarded(da, p.n_a);
    check_guarded(db, p.n_b), check_guarded(da_alone, p.n_a), check_guarded(db_alone, p.n_b);
    if (dropped)
        check_guarded(dropped, p.n_x);
    free_problem(&p), free_problem(&size);
}

START_TEST(adapters_match_references)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (int shape = 0; shape < N_SHAPES; shape++)
        for (int drops = 0; drops < 2; drops++)
            check_shape(&device, shape, drops);
    device_close(&device);
}
END_TEST

/* The units of a step in one pass or one by one, 1 thread or 3: the same bytes, forwards and
 * backwards, with dropout. */
START_TEST(bytes_do_not_depend_on_passes_or_threads)
{
    enum { ROWS = 40, COLUMNS = 100, RANK = 8, M = 60 };
    static const int32_t units[] = {0, 17, 18, M};
    static float x[M * COLUMNS], dy[M * ROWS], a[RANK * COLUMNS], b[ROWS * RANK], s[M * RANK];
    static float ds[M * RANK], dropped[M * COLUMNS];
    static struct {
        float y[M * ROWS], dx[M * COLUMNS], da[RANK * COLUMNS], db[ROWS * RANK];
    } first, got;
    struct lora lora = {ROWS, COLUMNS, RANK, 2, a, b};
    const char *isa = cpu_has(CPU_AVX2) ? "avx2" : "portable";
    struct err err;
    fill_normal(x, M * COLUMNS, 1, 1);
    fill_normal(dy, M * ROWS, 2, 1);
    fill_normal(a, RANK * COLUMNS, 3, 1);
    fill_normal(b, ROWS * RANK, 4, 1);
    for (int way = 0; way < 4; way++) {
        struct device device;
        setenv("MIDASHI_CPU", isa, 1);
        ck_assert_int_eq(device_open(&device, "cpu", way % 2 ? 3 : 1, &err), STATUS_OK);
        memset(&got, 0, sizeof got);
        int n_passes = way < 2 ? 1 : UNITS, n_units = UNITS / n_passes;
        for (int pass = 0; pass < n_passes; pass++) {
            int row = units[pass];
            int32_t own[UNITS + 1];
            for (int u = 0; u <= n_units; u++)
                own[u] = units[pass + u] - row;
            struct dropout dropout = {1, 1, 1, 1000 + row, 6554};
            ck_assert_int_eq(lora_fwd(&device, got.y + row * ROWS, s, dropped, x + row * COLUMNS,
                                      &lora, &dropout, own[n_units], &err),
                             STATUS_OK);
            ck_assert_int_eq(lora_bwd(&device, got.dx + row * COLUMNS, got.da, got.db, ds, dropped,
                                      dy + row * ROWS, x + row * COLUMNS, s, &lora, &dropout, own,
                                      n_units, &err),
                             STATUS_OK);
        }
        if (way == 0)
            first = got;
        ck_assert_msg(memcmp(&first, &got, sizeof got) == 0, "way %d differs", way);
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lora");
    TCase *tests = tcase_create("lora");
    tcase_add_test(tests, references_match_differences);
    tcase_add_loop_test(tests, adapters_match_references, 0, cpu_has(CPU_AVX2) ? 3 : 1);
    tcase_add_test(tests, bytes_do_not_depend_on_passes_or_threads);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
