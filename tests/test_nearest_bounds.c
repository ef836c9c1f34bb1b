/* Rows with bounds: the labels are those without, the bounds hold, and most rows are not looked at.
 */
#include "kernels/nearest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/nearest_two.h"
#include "tests/support.h"

struct shape {
    int n, k, d;
    float spread; /* of rows round their group's centre, beside centres of deviation 1 */
    float step;   /* that centres move by */
    float mean;   /* of all */
};
static const struct shape shapes[] = {
    {1, 1, 1, 1, 0.1f, 0},           {40, 2, 1, 0.2f, 0.1f, 0},       {300, 3, 2, 0.1f, 0.05f, 100},
    {700, 20, 16, 0.5f, 0.02f, 0},   {500, 7, 300, 0.3f, 0.2f, 5},    {400, 50, 8, 3, 0.3f, 0},
    {200, 9, 4, 1e-3f, 1e-4f, 1e3f}, {3000, 130, 12, 0.4f, 0.05f, 0}, {2500, 96, 3, 0.2f, 0.02f, 7},
    {2000, 130, 64, 0.7f, 0.04f, 0}, {1500, 96, 100, 1, 0.1f, 3},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)
#define STEPS    7

struct rows {
    const struct shape *shape;
    float *x, *centres, *moved, *upper, *lower, *between, *drift, *shift;
    int32_t *label, *want, *order;
    void *memory;
    struct nearest_bounds bounds;
};

static void open_rows(struct rows *r, const struct shape *s)
{
    size_t n = (size_t)s->n, k = (size_t)s->k, d = (size_t)s->d;
    *r = (struct rows){.shape = s};
    r->x = test_alloc(n * d * sizeof(float)), r->centres = test_alloc(k * d * sizeof(float));
    r->moved = test_alloc(k * d * sizeof(float)), r->drift = test_alloc(k * sizeof(float));
    r->upper = test_alloc(n * sizeof(float)), r->lower = test_alloc(n * sizeof(float));
    r->between = test_alloc(n * sizeof(float));
    r->label = test_alloc(n * sizeof(int32_t)), r->want = test_alloc(n * sizeof(int32_t));
    r->shift = test_alloc(d * sizeof(float)), r->order = test_alloc(k * sizeof(int32_t));
    ck_assert_int_eq(posix_memalign(&r->memory, 64, nearest_centres_bytes(s->k, s->d)), 0);
    fill_normal(r->centres, k * d, 1, 1);
    fill_normal(r->x, n * d, 2, s->spread);
    for (size_t j = 0; j < k * d; j++)
        r->centres[j] += s->mean;
    for (size_t i = 0; i < n * d; i++)
        r->x[i] += r->centres[i / d % k * d + i % d];
    for (size_t j = 0; j < d; j++)
        r->shift[j] = s->mean;
    r->bounds =
        (struct nearest_bounds){.upper = r->upper, .lower = r->lower, .between = r->between};
}

static void close_rows(struct rows *r)
{
    free(r->x), free(r->centres), free(r->moved), free(r->drift), free(r->upper), free(r->lower);
    free(r->between), free(r->label), free(r->want), free(r->order), free(r->shift),
        free(r->memory);
}

/* Some centres move, one of them far. */
static void move_centres(struct rows *r, int step)
{
    const struct shape *s = r->shape;
    size_t d = (size_t)s->d, size = (size_t)s->k * d;
    fill_normal(r->moved, size, 10 + (uint64_t)step, s->step);
    r->bounds.farthest = 0, r->bounds.drift_of_others = 0;
    for (int c = 0; c < s->k; c++) {
        double square = 0;
        for (size_t j = 0; j < d; j++) {
            float *value = &r->centres[(size_t)c * d + j], before = *value;
            float by = r->moved[(size_t)c * d + j];
            *value += c % 3 == 2 ? 0 : c == step % s->k ? 5 * by : by;
            square += ((double)*value - (double)before) * ((double)*value - (double)before);
        }
        r->drift[c] = nextafterf((float)sqrt(square) * (1 + 0x1p-22f), INFINITY);
    }
    for (int c = 1; c < s->k; c++)
        if (r->drift[c] > r->drift[r->bounds.farthest])
            r->bounds.farthest = c;
    for (int c = 0; c < s->k; c++)
        if (c != r->bounds.farthest)
            r->bounds.drift_of_others = fmaxf(r->bounds.drift_of_others, r->drift[c]);
    r->bounds.drift = r->drift;
    for (int place = 0; place < s->k; place++) { /* by drift, the farthest first */
        int at = place;
        for (; at > 0 && r->drift[r->order[at - 1]] < r->drift[place]; at--)
            r->order[at] = r->order[at - 1];
        r->order[at] = place;
    }
}

static double distance(const struct rows *r, int i, int c)
{
    double square = 0;
    for (int j = 0; j < r->shape->d; j++) {
        double difference = (double)r->x[(size_t)i * (size_t)r->shape->d + (size_t)j] -
                            (double)r->centres[(size_t)c * (size_t)r->shape->d + (size_t)j];
        square += difference * difference;
    }
    return sqrt(square);
}

static void check_rows(const struct rows *r, int step)
{
    const struct shape *s = r->shape;
    for (int i = 0; i < s->n; i++) {
        /* Each ck_assert writes to a file: no assertion a row. */
        if (r->label[i] != r->want[i])
            ck_abort_msg("step %d: row %d: label %d, want %d", step, i, r->label[i], r->want[i]);
        if (!((double)r->upper[i] >= distance(r, i, r->label[i])))
            ck_abort_msg("step %d: row %d: upper bound %g", step, i, (double)r->upper[i]);
        for (int c = 0; c < s->k; c++)
            if (c != r->label[i] && !((double)r->lower[i] <= distance(r, i, c)))
                ck_abort_msg("step %d: row %d: lower bound %g", step, i, (double)r->lower[i]);
    }
}

/* Labels rows while their centres move, and checks each step. Returns how many pairs of a row and a
 * centre were compared after the first. */
static int64_t run_steps(struct device *device, const struct shape *shape, bool tighten,
                         bool ordered)
{
    struct rows r;
    int64_t n_compared = 0;
    open_rows(&r, shape);
    for (int step = 0; step < STEPS; step++) {
        struct nearest_centres packed;
        struct nearest_counts counts = {0};
        struct err err;
        const int32_t *order = ordered && step > 0 ? r.order : NULL;
        nearest_centres_pack(device, &packed, r.memory, r.centres, r.shift, order, shape->k,
                             shape->d);
        r.bounds.tighten = tighten;
        ck_assert_int_eq(
            nearest_bounded_fwd(device, r.label, r.x, &packed, &r.bounds, shape->n, &counts, &err),
            STATUS_OK);
        ck_assert_int_eq(nearest_fwd(device, r.want, NULL, r.x, &packed, shape->n, NULL, &err),
                         STATUS_OK);
        check_rows(&r, step);
        if (!ordered)
            ck_assert_int_eq(counts.tightened,
                             tighten && step > 0 ? counts.compared / shape->k + counts.kept : 0);
        ck_assert(step > 0 || counts.compared == (int64_t)shape->n * shape->k);
        n_compared += step > 0 ? counts.compared : 0;
        move_centres(&r, step);
    }
    close_rows(&r);
    return n_compared;
}

/* Without an order and with one, measuring rows' own distances or not. */
START_TEST(labels_are_those_without_bounds)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        run_steps(&device, &shapes[_i / 4], _i % 2, _i / 2 % 2);
        device_close(&device);
    }
}
END_TEST

/* One centre always moves as far as what is between bounds, the others a fifth of it: no row keeps
 * its label without being compared. */
START_TEST(an_order_saves_comparisons)
{
    static const struct shape far = {2000, 130, 64, 0.7f, 0.2f, 0};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        int64_t with = run_steps(&device, &far, false, true);
        int64_t without = run_steps(&device, &far, false, false);
        ck_assert_msg(with < without / 3 * 2, "%s: %lld pairs with an order, %lld without",
                      test_device_name(&device), (long long)with, (long long)without);
        device_close(&device);
    }
}
END_TEST

/* Rows of values about 2^-75, whose squares are half of the least float and become 0 or twice as
 * much, all of a row alike; a centre in their midst and others of all lengths, from less than
 * theirs to so long that their products are ordinary numbers. */
START_TEST(bounds_hold_where_squares_vanish)
{
    static const float scales[] = {0.3f, 0.7f, 1, 1.001f, 1.2f, 1.5f, 1.74f, 2, 8, 300};
    static const int widths[] = {1, 3, 64, 300, 2000};
    enum { N_SCALES = sizeof scales / sizeof *scales, N_WIDTHS = sizeof widths / sizeof *widths };
    enum { N = 4 * N_SCALES, K = 7, LONGEST = 50 };
    int64_t n_decided = 0;
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int t = 0; t < N_WIDTHS * LONGEST; t++) {
            const struct shape shape = {.n = N, .k = K, .d = widths[t / LONGEST]};
            struct rows r;
            struct nearest_centres packed;
            struct nearest_counts counts = {0};
            struct err err;
            open_rows(&r, &shape);
            for (int j = 0; j < N * shape.d; j++)
                r.x[j] = scales[j / shape.d % N_SCALES] * (j % 7 < _i ? -0x1p-75f : 0x1p-75f);
            for (int j = 0; j < K * shape.d; j++) {
                int c = j / shape.d;
                float length = ldexpf(1 + (float)c / 8, -78 + t % LONGEST);
                r.centres[j] = c == K / 2 ? 0 : (j + c) % 5 < c ? length : -length;
            }
            nearest_two_fwd_cpu(&device, r.want, NULL, NULL, r.x, r.centres, N, K, shape.d);
            nearest_centres_pack(&device, &packed, r.memory, r.centres, NULL, NULL, K, shape.d);
            ck_assert_int_eq(
                nearest_bounded_fwd(&device, r.label, r.x, &packed, &r.bounds, N, &counts, &err),
                STATUS_OK);
            check_rows(&r, 0);
            n_decided += N - counts.rechecked;
            close_rows(&r);
        }
        device_close(&device);
    }
    ck_assert_int_gt(n_decided, N);
}
END_TEST

/* Groups far apart and centres that hardly move: no row is read, not even to measure it. */
START_TEST(rows_that_keep_their_label_are_not_read)
{
    static const struct shape far = {2000, 10, 32, 0.01f, 1e-4f, 0};
    struct device device;
    struct rows r;
    struct nearest_centres packed;
    struct nearest_counts counts = {0};
    struct err err;
    ck_assert(test_device(0, &device));
    open_rows(&r, &far);
    r.bounds.tighten = true;
    nearest_centres_pack(&device, &packed, r.memory, r.centres, NULL, NULL, far.k, far.d);
    ck_assert_int_eq(
        nearest_bounded_fwd(&device, r.label, r.x, &packed, &r.bounds, far.n, &counts, &err),
        STATUS_OK);
    move_centres(&r, 0);
    memcpy(r.want, r.label, (size_t)far.n * sizeof *r.want);
    for (int i = 0; i < far.n * far.d; i++)
        r.x[i] = NAN;
    nearest_centres_pack(&device, &packed, r.memory, r.centres, NULL, NULL, far.k, far.d);
    counts = (struct nearest_counts){0};
    ck_assert_int_eq(
        nearest_bounded_fwd(&device, r.label, r.x, &packed, &r.bounds, far.n, &counts, &err),
        STATUS_OK);
    ck_assert(counts.compared == 0 && counts.tightened == 0);
    ck_assert_mem_eq(r.label, r.want, (size_t)far.n * sizeof *r.want);
    close_rows(&r);
    device_close(&device);
}
END_TEST

/* A row on the middle of two centres keeps no label by its bounds: a tie goes to the lowest index,
 * also when a centre comes to it by moving. */
START_TEST(ties_go_to_the_lowest_index)
{
    const float x[2] = {0, 0};
    float centres[3 * 2] = {5, 0, 0, 3, 3, 0}, upper[1], lower[1], drift[3] = {2.1f, 0, 0};
    int32_t label[1];
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        void *memory;
        struct nearest_centres packed;
        struct nearest_counts counts = {0};
        struct nearest_bounds bounds = {.upper = upper, .lower = lower};
        struct err err;
        ck_assert_int_eq(posix_memalign(&memory, 64, nearest_centres_bytes(3, 2)), 0);
        centres[0] = 5;
        for (int step = 0; step < 2; step++) {
            nearest_centres_pack(&device, &packed, memory, centres, NULL, NULL, 3, 2);
            ck_assert_int_eq(
                nearest_bounded_fwd(&device, label, x, &packed, &bounds, 1, &counts, &err),
                STATUS_OK);
            ck_assert_int_eq(label[0], step == 0 ? 1 : 0);
            centres[0] = 3;
            bounds.drift = drift;
        }
        free(memory);
        device_close(&device);
    }
}
END_TEST

/* A centre comes from afar to where it is as near as the row's own one, but for some units of the
 * last place, and is of all the one that a row is compared with: the row's own is none of the
 * first. */
START_TEST(own_centres_count_where_they_do_not_stand_first)
{
    enum { K = 64, D = 64 };
    const float x[D] = {0};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int near = -8; near <= 8; near++)
            for (int own = 0; own < K; own += K - 1) {
                float centres[K * D] = {0}, upper[1], lower[1], between[1], drift[K] = {0};
                int32_t label[1], want[1], order[K];
                void *memory;
                struct nearest_centres packed;
                struct nearest_counts counts;
                struct nearest_bounds bounds = {.upper = upper, .lower = lower, .between = between};
                struct err err;
                int comes = K - 1 - own;
                ck_assert_int_eq(posix_memalign(&memory, 64, nearest_centres_bytes(K, D)), 0);
                for (int c = 0; c < K; c++) {
                    centres[c * D] = 1000, centres[c * D + 1] = (float)c;
                    order[c] = c == 0 ? comes : c == comes ? 0 : c;
                }
                centres[own * D] = 0, centres[own * D + 1] = 3;
                for (int step = 0; step < 2; step++) {
                    nearest_centres_pack(&device, &packed, memory, centres, NULL,
                                         step ? order : NULL, K, D);
                    counts = (struct nearest_counts){0};
                    ck_assert_int_eq(
                        nearest_bounded_fwd(&device, label, x, &packed, &bounds, 1, &counts, &err),
                        STATUS_OK);
                    centres[comes * D] = 3 + (float)near * 0x1p-19f, centres[comes * D + 1] = 0;
                    drift[comes] = 998;
                    bounds.drift = drift, bounds.farthest = comes;
                }
                ck_assert_int_eq(nearest_fwd(&device, want, NULL, x, &packed, 1, NULL, &err),
                                 STATUS_OK);
                ck_assert_int_eq(want[0], near < 0 || (near == 0 && own > 0) ? comes : own);
                ck_assert_msg(label[0] == want[0], "%d units: label %d", near, label[0]);
                if (abs(near) == 8) /* the first 32nd of the centres was enough */
                    ck_assert_int_eq(counts.compared, K / 32);
                free(memory);
            }
        device_close(&device);
    }
}
END_TEST

/* A row is compared with the eight centres that have moved farthest, and the first one behind them
 * comes straight at it: the lower bound is its distance then. */
START_TEST(lower_bounds_hold_behind_the_first_centres)
{
    enum { K = 256, D = 64, FIRST = K / 32 };
    const float x[D] = {0};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float centres[K * D] = {0}, drift[K], upper[1], lower[1], between[1];
        int32_t label[1], order[K];
        void *memory;
        struct nearest_centres packed;
        struct nearest_counts counts;
        struct nearest_bounds bounds = {.upper = upper, .lower = lower, .between = between};
        struct err err;
        ck_assert_int_eq(posix_memalign(&memory, 64, nearest_centres_bytes(K, D)), 0);
        for (int c = 0; c < K; c++) { /* the row's own centre is the last */
            centres[c * D] = 1000, centres[c * D + 1] = (float)c;
            drift[c] = c < FIRST ? 998 : 0.39f;
            order[c] = c;
        }
        centres[(K - 1) * D] = 0, centres[(K - 1) * D + 1] = 3;
        centres[FIRST * D] = 3.6f, centres[FIRST * D + 1] = 0;
        for (int step = 0; step < 2; step++) {
            counts = (struct nearest_counts){0};
            nearest_centres_pack(&device, &packed, memory, centres, NULL, step ? order : NULL, K,
                                 D);
            ck_assert_int_eq(
                nearest_bounded_fwd(&device, label, x, &packed, &bounds, 1, &counts, &err),
                STATUS_OK);
            ck_assert_int_eq(label[0], K - 1);
            centres[FIRST * D] = 3.2f;
            drift[FIRST] = 0.4001f;
            bounds.drift = drift, bounds.farthest = 0, bounds.drift_of_others = 998;
        }
        ck_assert_int_eq(counts.compared, FIRST);
        ck_assert(upper[0] >= 3 && upper[0] < 3.0001f);
        ck_assert_msg(lower[0] <= 3.2f && lower[0] > 3.199f, "lower bound %g", (double)lower[0]);
        free(memory);
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nearest_bounds");
    TCase *tests = tcase_create("nearest_bounds");
    tcase_add_loop_test(tests, labels_are_those_without_bounds, 0, 4 * N_SHAPES);
    tcase_add_test(tests, an_order_saves_comparisons);
    tcase_add_loop_test(tests, bounds_hold_where_squares_vanish, 0, 2);
    tcase_add_test(tests, rows_that_keep_their_label_are_not_read);
    tcase_add_test(tests, ties_go_to_the_lowest_index);
    tcase_add_test(tests, own_centres_count_where_they_do_not_stand_first);
    tcase_add_test(tests, lower_bounds_hold_behind_the_first_centres);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
