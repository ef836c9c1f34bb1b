/* The nearest centre: labels are exactly those of float64 distances, whatever float32 makes of the
 * scores. What kernels/nearest_two.h says is the contract bit for bit, since its distances are
 * those of kernels/squared_distance.h; the naive reference says the same where no two distances are
 * equal to rounding. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/memory.h"
#include "kernels/gemm_tile.h"
#include "kernels/nearest.h"
#include "kernels/nearest_two.h"
#include "kernels/squared_distance.h"

/* ---- what the tests share ------------------------------------------------------------------- */

struct input {
    int n, k, d;
    float *x, *centres, *shift; /* shift NULL: none */
};

static struct input input_of(int n, int k, int d)
{
    struct input in = {.n = n, .k = k, .d = d};
    in.x = guarded_floats((size_t)n * (size_t)d);
    in.centres = guarded_floats((size_t)k * (size_t)d);
    return in;
}

static void input_free(struct input *in)
{
    check_guarded(in->x, (size_t)in->n * (size_t)in->d);
    check_guarded(in->centres, (size_t)in->k * (size_t)in->d);
    if (in->shift)
        check_guarded(in->shift, (size_t)in->d);
}

/* The rows' mean; of no rows zeros. */
static void shift_by_mean(struct input *in)
{
    size_t d = (size_t)in->d;
    in->shift = guarded_floats(d);
    for (size_t j = 0; j < d; j++) {
        double sum = 0;
        for (int i = 0; i < in->n; i++)
            sum += (double)in->x[(size_t)i * d + j];
        in->shift[j] = in->n ? (float)(sum / in->n) : 0;
    }
}

static float *row(const struct input *in, int i)
{
    return in->x + (size_t)i * (size_t)in->d;
}

static float *centre(const struct input *in, int c)
{
    return in->centres + (size_t)c * (size_t)in->d;
}

static void fill(const struct input *in, uint64_t seed, float rows, float centres)
{
    fill_normal(in->x, (size_t)in->n * (size_t)in->d, seed, rows);
    fill_normal(in->centres, (size_t)in->k * (size_t)in->d, seed + 1000, centres);
}

/* Labels of n rows from `first`; `reversed`: the last centre stands first. Returns how many were
 * rechecked. */
static int64_t assign(struct device *device, int32_t *label, double *distance,
                      const struct input *in, bool reversed, int first, int n)
{
    struct nearest_centres packed;
    struct err err;
    int64_t n_rechecked = 5;
    void *memory = mem_alloc(nearest_centres_bytes(in->k, in->d), 1);
    int32_t *order = test_alloc((size_t)in->k * sizeof *order);
    ck_assert_ptr_nonnull(memory);
    for (int place = 0; place < in->k; place++)
        order[place] = in->k - 1 - place;
    memset(memory, 0xFF, nearest_centres_bytes(in->k, in->d)); /* NaN */
    nearest_centres_pack(device, &packed, memory, in->centres, in->shift, reversed ? order : NULL,
                         in->k, in->d);
    ck_assert_int_eq(nearest_fwd(device, label, distance, in->x + (size_t)first * (size_t)in->d,
                                 &packed, n, &n_rechecked, &err),
                     STATUS_OK);
    mem_free(memory);
    free(order);
    return n_rechecked - 5;
}

/* Holds labels and distances, on all devices, against float64's. Returns how many rows were
 * rechecked, which is the same with any number of threads. */
static int64_t check_labels(const struct input *in, const char *what)
{
    size_t n = (size_t)in->n;
    int32_t *label = test_alloc((n + 1) * sizeof *label), *want = test_alloc(n * sizeof *want);
    double *distance = test_alloc((n + 1) * sizeof *distance);
    double *want_distance = test_alloc(n * sizeof *want_distance);
    int64_t n_rechecked[3] = {0};
    struct device device;
    int i = 0;
    for (; test_device(i, &device); i++) {
        nearest_two_fwd_cpu(&device, want, want_distance, NULL, in->x, in->centres, in->n, in->k,
                            in->d);
        for (int way = 0; way < 3; way++) {
            bool with_distance = way == 1;
            label[n] = 77, distance[n] = 77; /* canaries */
            n_rechecked[i] =
                assign(&device, label, with_distance ? distance : NULL, in, way == 2, 0, in->n);
            for (size_t r = 0; r < n; r++) {
                if (label[r] != want[r])
                    ck_abort_msg("%s, %s, %d x %d x %d: row %zu has label %d, not %d", what,
                                 test_device_name(&device), in->n, in->k, in->d, r, label[r],
                                 want[r]);
                if (with_distance && memcmp(&distance[r], &want_distance[r], sizeof *distance) != 0)
                    ck_abort_msg("%s, %s, %d x %d x %d: row %zu: distance %.17g, not %.17g", what,
                                 test_device_name(&device), in->n, in->k, in->d, r, distance[r],
                                 want_distance[r]);
            }
            ck_assert_msg(label[n] == 77 && distance[n] == 77, "%s", what);
        }
        device_close(&device);
    }
    if (i == 3)
        ck_assert_msg(n_rechecked[1] == n_rechecked[2], "%s", what);
    free(label), free(want), free(distance), free(want_distance);
    return n_rechecked[i - 1];
}

/* ---- any data ------------------------------------------------------------------------------- */

/* n, k, d around the strip of 16 rows and the task of 128, the tile of 6 (3) centres, the chunk of
 * 48 and the group (90 centres of whole pieces, 1,536 of few columns), the vector of 4 columns,
 * pieces of 256, and the 2,048 centres whose scores may stand half summed. */
static const struct {
    int n, k, d;
} cases[] = {
    {0, 3, 5},       {1, 1, 1},       {1, 5, 3},      {15, 4, 4},      {16, 6, 5},
    {17, 7, 31},     {31, 2, 33},     {32, 12, 64},   {33, 13, 65},    {127, 47, 17},
    {128, 48, 12},   {129, 49, 20},   {300, 97, 2},   {530, 20, 63},   {40, 95, 40},
    {6, 20, 4096},   {18, 20, 8192},  {20, 100, 576}, {19, 91, 255},   {20, 181, 256},
    {21, 182, 257},  {22, 90, 258},   {23, 6, 264},   {24, 5, 512},    {150, 185, 513},
    {17, 2100, 300}, {34, 4100, 260}, {130, 1600, 3}, {140, 10000, 2}, {20, 10000, 9},
};
#define N_CASES (sizeof cases / sizeof *cases)

START_TEST(nearest_matches_reference)
{
    for (size_t t = 0; t < N_CASES; t++) {
        struct input in = input_of(cases[t].n, cases[t].k, cases[t].d);
        size_t n = (size_t)in.n;
        fill(&in, t, 2.0f, 1.0f);
        double *x = to_doubles(in.x, n * (size_t)in.d);
        double *centres = to_doubles(in.centres, (size_t)in.k * (size_t)in.d);
        int32_t *want = test_alloc(n * sizeof *want), *label = test_alloc(n * sizeof *label);
        double *distance = test_alloc(2 * n * sizeof *distance), *second = distance + n;
        nearest_fwd_ref(want, distance, second, x, centres, in.n, in.k, in.d);
        struct device device;
        for (int i = 0; test_device(i, &device); i++) {
            assign(&device, label, NULL, &in, false, 0, in.n);
            for (size_t r = 0; r < n; r++)
                if (label[r] != want[r])
                    ck_abort_msg("%s, %d x %d x %d: row %zu has label %d, not %d",
                                 test_device_name(&device), in.n, in.k, in.d, r, label[r], want[r]);
            device_close(&device);
        }
        free(x), free(centres), free(want), free(label), free(distance);
        check_labels(&in, "no shift");
        shift_by_mean(&in);
        check_labels(&in, "the mean");
        input_free(&in);
    }
}
END_TEST

/* Embeddings as models make them: a common mean of a hundred times the spread, in a few columns
 * more than in the others; rows lie about their clusters' centres. Without the shift, scores say
 * next to nothing; labels are the same. */
START_TEST(nearest_is_right_far_from_the_origin)
{
    enum { N = 2000, K = 50, D = 96 };
    struct input in = input_of(N, K, D);
    float mean[D], *noise = test_alloc(N * D * sizeof *noise);
    fill_normal(mean, D, 1, 100.0f);
    mean[3] = 900, mean[40] = -1500;
    fill_normal(in.centres, K * D, 2, 1.0f);
    fill_normal(noise, N * D, 3, 1.0f);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            row(&in, i)[j] = centre(&in, i * 7 % K)[j] + noise[i * D + j] + mean[j];
    for (int i = 0; i < K * D; i++)
        in.centres[i] += mean[i % D];
    int64_t without = check_labels(&in, "no shift");
    shift_by_mean(&in);
    int64_t with = check_labels(&in, "the mean");
    ck_assert_int_gt(without, N / 2);
    ck_assert_int_lt(with, N / 100);
    free(noise);
    input_free(&in);
}
END_TEST

/* ---- ties ------------------------------------------------------------------------------------ */

/* Small whole numbers: every distance is exact, and many are equal. */
START_TEST(nearest_breaks_ties_to_the_lowest)
{
    static const int widths[] = {1, 2, 5, 16, 300};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        struct input in = input_of(200, 130, widths[w]);
        for (int i = 0; i < in.n * in.d; i++)
            in.x[i] = (float)(mix64(w, (uint64_t)i) % 3);
        for (int i = 0; i < in.k * in.d; i++)
            in.centres[i] = (float)(mix64(w + 50, (uint64_t)i) % 3);
        for (int c = 60; c < in.k; c++) /* and each again, seventy further on */
            memcpy(centre(&in, c), centre(&in, (c + 60) % 70), (size_t)in.d * sizeof(float));
        ck_assert_int_gt(check_labels(&in, "ties"), 0);
        input_free(&in);
    }
}
END_TEST

START_TEST(nearest_takes_the_first_of_equal_centres)
{
    enum { N = 70, K = 300, D = 20 };
    struct input in = input_of(N, K, D);
    fill(&in, 5, 1.0f, 1.0f);
    for (int c = 1; c < K; c++)
        memcpy(centre(&in, c), centre(&in, 0), D * sizeof(float));
    ck_assert_int_eq(check_labels(&in, "equal centres"), N);
    int32_t label[N];
    struct device device;
    ck_assert(test_device(0, &device));
    assign(&device, label, NULL, &in, false, 0, N);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(label[i], 0);
    device_close(&device);
    input_free(&in);
}
END_TEST

/* Rows in the middle of two centres, then moved by up to three units of the last place in one
 * column: which one is nearer is beyond float32. */
START_TEST(nearest_decides_by_single_ulps)
{
    static const int widths[] = {1, 2, 5, 64, 300, 700};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        struct input in = input_of(600, 40, widths[w]);
        fill(&in, 10 + w, 1.0f, 1.0f);
        for (int c = 0; c < in.k; c++)
            centre(&in, c)[0] += 50.0f * (float)(c / 2); /* pairs lie apart */
        for (int i = 0; i < in.n; i++) {
            const float *a = centre(&in, i % 20 * 2), *b = a + in.d;
            for (int j = 0; j < in.d; j++)
                row(&in, i)[j] = a[j] / 2 + b[j] / 2;
            float *value = row(&in, i) + i % in.d;
            for (int ulp = 0; ulp < i % 4; ulp++)
                *value = nextafterf(*value, i % 8 < 4 ? INFINITY : -INFINITY);
        }
        ck_assert_int_eq(check_labels(&in, "ulps"), in.n);
        shift_by_mean(&in);
        check_labels(&in, "ulps, the mean");
        input_free(&in);
    }
}
END_TEST

/* Gaps from far less to far more than what scores err by. Values are of one sign and slightly above
 * powers of two, so that the roundings of a sum are too: its error comes near the bound. */
START_TEST(nearest_decides_at_every_gap)
{
    static const int widths[] = {3, 64, 256, 1000};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        struct input in = input_of(2000, 2, widths[w]);
        for (int i = 0; i < in.n * in.d; i++)
            in.x[i] = 1 + 0x1p-12f * (float)(mix64(w, (uint64_t)i) % 64);
        for (int j = 0; j < in.d; j++) {
            centre(&in, 0)[j] = 1 + 0x1p-13f * (float)(1 + j % 7);
            centre(&in, 1)[j] = 1 + 0x1p-13f * (float)(1 + (j + 3) % 7);
        }
        for (int i = 0; i < in.n; i++) {
            /* Moved along the line between the centres, to a relative gap of 2^-30 .. 2^-8. */
            const float *a = centre(&in, 0), *b = centre(&in, 1);
            double difference = 0, along = 0, gap = exp2(-8 - 22.0 * i / in.n) * (i % 2 ? 1 : -1);
            for (int j = 0; j < in.d; j++) {
                double step = (double)b[j] - (double)a[j];
                difference += step * step;
                along += step * ((double)row(&in, i)[j] - ((double)a[j] + (double)b[j]) / 2);
            }
            for (int j = 0; j < in.d && difference > 0; j++) {
                double step = (double)b[j] - (double)a[j];
                row(&in, i)[j] -= (float)(step * (along / difference - gap * in.d));
            }
        }
        check_labels(&in, "gaps");
        shift_by_mean(&in);
        check_labels(&in, "gaps, the mean");
        input_free(&in);
    }
}
END_TEST

/* ---- magnitudes ----------------------------------------------------------------------------- */

/* Squares beyond float32's range, on either side, and sums of them that are finite. */
START_TEST(nearest_is_right_at_any_magnitude)
{
    static const struct {
        float rows, centres;
    } scales[] = {
        {1e30f, 1e30f},   {1e30f, 1},       {1, 1e30f},       {3e18f, 3e18f},   {5e19f, 1},
        {5e19f, 5e19f},   {2e18f, 2e20f},   {1e19f, 1e18f},   {1e-30f, 1e-30f}, {1e-30f, 1},
        {1, 1e-30f},      {1e-20f, 1e-20f}, {1e-23f, 1e-23f}, {1e-40f, 1e-40f}, {1e-44f, 1e-44f},
        {1e-30f, 1e-44f}, {5e37f, 5e37f},   {1e30f, 1e-30f},  {0, 0},           {0, 1},
        {1, 0},
    };
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int d = 1; d <= 400; d = d * 17 + 2) {
            struct input in = input_of(70, 30, d);
            fill(&in, 20 + s, scales[s].rows, scales[s].centres);
            check_labels(&in, "scaled");
            shift_by_mean(&in);
            check_labels(&in, "scaled, the mean");
            input_free(&in);
        }
}
END_TEST

/* Products of one sign, each below half of the smallest float, so that their sum stays 0. */
START_TEST(nearest_is_right_where_products_vanish)
{
    static const float scales[] = {1e-21f, 1e-22f, 3e-23f, 1e-23f, 1e-24f};
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
        struct input in = input_of(100, 30, 600);
        fill_uniform(in.x, 100 * 600, 30, 0.5f * scales[s], 1.5f * scales[s]);
        fill_uniform(in.centres, 30 * 600, 31, 0.5f * scales[s], 1.5f * scales[s]);
        check_labels(&in, "vanishing products");
        input_free(&in);
    }
}
END_TEST

/* Magnitudes in one input: rows and centres of 2^-140 .. 2^120 beside each other. */
START_TEST(nearest_is_right_for_mixed_magnitudes)
{
    struct input in = input_of(300, 60, 12);
    fill(&in, 40, 1.0f, 1.0f);
    for (int i = 0; i < in.n * in.d; i++)
        in.x[i] = ldexpf(in.x[i], (int)(mix64(1, (uint64_t)i / 24) % 260) - 140);
    for (int i = 0; i < in.k * in.d; i++)
        in.centres[i] = ldexpf(in.centres[i], (int)(mix64(2, (uint64_t)i / 12) % 200) - 140);
    check_labels(&in, "mixed");
    shift_by_mean(&in);
    check_labels(&in, "mixed, the mean");
    for (int j = 0; j < in.d; j++) /* differences that overflow */
        in.shift[j] = j % 2 ? 3e38f : -3e38f;
    for (int i = 0; i < in.n * in.d; i++)
        in.x[i] = in.x[i] > 0 ? 3e38f : in.x[i];
    check_labels(&in, "differences that overflow");
    input_free(&in);
}
END_TEST

/* The bound is each centre's own: one far away does not blur the others. */
START_TEST(nearest_is_not_blurred_by_one_far_centre)
{
    struct input in = input_of(500, 20, 64);
    fill(&in, 50, 1.0f, 1.0f);
    int64_t before = check_labels(&in, "near centres");
    for (int j = 0; j < in.d; j++)
        centre(&in, 7)[j] = 1e6f;
    int64_t after = check_labels(&in, "one far away");
    ck_assert_int_le(before, 2);
    ck_assert_int_le(after, 2);
    input_free(&in);
}
END_TEST

START_TEST(nearest_marks_rows_that_are_not_finite)
{
    struct input in = input_of(40, 9, 70);
    fill(&in, 60, 1.0f, 1.0f);
    row(&in, 1)[0] = NAN;
    row(&in, 17)[69] = INFINITY;
    row(&in, 18)[5] = -INFINITY, row(&in, 18)[6] = INFINITY;
    row(&in, 39)[32] = NAN;
    check_labels(&in, "not finite");
    int32_t label[40];
    double distance[40];
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        assign(&device, label, distance, &in, false, 0, 40);
        for (int r = 0; r < 40; r++) {
            bool bad = r == 1 || r == 17 || r == 18 || r == 39;
            if ((label[r] < 0) != bad || isinf(distance[r]) != bad)
                ck_abort_msg("row %d: %d, %g", r, label[r], distance[r]);
        }
        device_close(&device);
    }
    input_free(&in);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------------- */

/* Cut anywhere, by one thread or three. */
START_TEST(nearest_does_not_depend_on_company)
{
    enum { N = 301, K = 33, D = 40 };
    struct input in = input_of(N, K, D);
    fill(&in, 70, 1.0f, 1.0f);
    for (int i = 0; i < N; i += 9) /* near ties, some behind one another */
        for (int j = 0; j < D; j++)
            row(&in, i)[j] = row(&in, i | 1)[j] = centre(&in, 4)[j] / 2 + centre(&in, i % K)[j] / 2;
    shift_by_mean(&in);
    struct device device;
    int32_t whole[N], part[N], first[N];
    double distance[N], part_distance[N], first_distance[N];
    int64_t first_rechecked = 0;
    for (int i = 0; test_device(i, &device); i++) {
        int64_t n_rechecked = assign(&device, whole, distance, &in, false, 0, N);
        for (int cut = 0; cut <= N; cut += cut % 16 < 2 ? 1 : 7) {
            memset(part, 0x55, sizeof part);
            int64_t sum = assign(&device, part, part_distance, &in, false, 0, cut);
            sum += assign(&device, part + cut, part_distance + cut, &in, false, cut, N - cut);
            if (memcmp(whole, part, sizeof whole) != 0 ||
                memcmp(distance, part_distance, sizeof distance) != 0 || sum != n_rechecked)
                ck_abort_msg("%s, cut at %d", test_device_name(&device), cut);
        }
        if (i == 2) {
            ck_assert_mem_eq(whole, first, sizeof whole);
            ck_assert_mem_eq(distance, first_distance, sizeof distance);
            ck_assert_int_eq(n_rechecked, first_rechecked);
        }
        memcpy(first, whole, sizeof whole);
        memcpy(first_distance, distance, sizeof distance);
        first_rechecked = n_rechecked;
        device_close(&device);
    }
    input_free(&in);
}
END_TEST

START_TEST(nearest_counts_what_it_rechecks)
{
    enum { N = 400, K = 25, D = 48 };
    struct input in = input_of(N, K, D);
    fill(&in, 80, 0.01f, 10.0f);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            row(&in, i)[j] += centre(&in, i % K)[j];
    ck_assert_int_eq(check_labels(&in, "wide gaps"), 0);
    for (int i = 5; i < N; i += 10)
        for (int j = 0; j < D; j++)
            row(&in, i)[j] = centre(&in, 0)[j] / 2 + centre(&in, 1)[j] / 2;
    /* All others are nearer to these than a third centre is: both are candidates, and only here. */
    for (int c = 2; c < K; c++)
        centre(&in, c)[0] += 1000;
    for (int i = 0; i < N; i++)
        if (i % 10 != 5 && i % K >= 2)
            row(&in, i)[0] += 1000;
    ck_assert_int_eq(check_labels(&in, "forty near ties"), 40);
    input_free(&in);
}
END_TEST

/* A tile that fetches memory beside its products makes the same sums, bit for bit, whatever is left
 * to fetch. */
START_TEST(tiles_fetch_ahead_beside_the_same_sums)
{
    static const int depths[] = {0, 1, 3, 4, 5, 31, 66, 256, 258};
    const struct gemm_tiles *tiles = gemm_tiles(cpu_has(CPU_AVX2) ? CPU_AVX2 : CPU_PORTABLE);
    enum { STRIDE = 272 };
    float *panel = mem_alloc(258 * GEMM_PANEL, sizeof *panel), x[GEMM_TILE_ROWS * STRIDE];
    float y[GEMM_TILE_ROWS * GEMM_PANEL], z[GEMM_TILE_ROWS * GEMM_PANEL];
    const float *rows[2] = {x, x + STRIDE};
    fill_normal(panel, 258 * GEMM_PANEL, 90, 1.0f);
    fill_normal(x, GEMM_TILE_ROWS * STRIDE, 91, 1.0f);
    for (size_t t = 0; t < sizeof depths / sizeof *depths; t++)
        for (int n = 1; n <= tiles->largest && tiles->ahead_by_rows[n - 1]; n++)
            for (int add = 0; add < 2; add++) {
                fill_normal(y, GEMM_TILE_ROWS * GEMM_PANEL, 92, 1.0f);
                memcpy(z, y, sizeof z);
                struct gemm_ahead ahead = {rows, rows + 2, 0, 40};
                tiles->by_rows[n - 1](y, GEMM_PANEL, x, STRIDE, panel, depths[t], add);
                tiles->ahead_by_rows[n - 1](z, GEMM_PANEL, x, STRIDE, panel, depths[t], add,
                                            &ahead);
                if (memcmp(y, z, sizeof y) != 0)
                    ck_abort_msg("%d rows, depth %d", n, depths[t]);
                int lines = depths[t] / 4; /* of two rows' three */
                ck_assert_int_eq(ahead.row - rows, lines < 6 ? lines / 3 : 2);
                ck_assert_int_eq(ahead.column, lines < 6 ? lines % 3 * 16 : 0);
            }
    mem_free(panel);
}
END_TEST

START_TEST(nearest_says_what_packing_wants)
{
    ck_assert_uint_ge(nearest_centres_bytes(1, 1), 3 * sizeof(float));
    ck_assert_uint_ge(nearest_centres_bytes(1000, 576), 1000 * 578 * sizeof(float));
    ck_assert_uint_le(nearest_centres_bytes(1000, 576), 1200 * 578 * sizeof(float));
    ck_assert_uint_eq(nearest_centres_bytes(20, 4096) % 64, 0);
    ck_assert_uint_eq(nearest_centres_bytes(INT32_MAX, INT32_MAX), SIZE_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nearest");
    TCase *tests = tcase_create("nearest");
    tcase_add_test(tests, nearest_matches_reference);
    tcase_add_test(tests, nearest_is_right_far_from_the_origin);
    tcase_add_test(tests, nearest_breaks_ties_to_the_lowest);
    tcase_add_test(tests, nearest_takes_the_first_of_equal_centres);
    tcase_add_test(tests, nearest_decides_by_single_ulps);
    tcase_add_test(tests, nearest_decides_at_every_gap);
    tcase_add_test(tests, nearest_is_right_at_any_magnitude);
    tcase_add_test(tests, nearest_is_right_where_products_vanish);
    tcase_add_test(tests, nearest_is_right_for_mixed_magnitudes);
    tcase_add_test(tests, nearest_is_not_blurred_by_one_far_centre);
    tcase_add_test(tests, nearest_marks_rows_that_are_not_finite);
    tcase_add_test(tests, nearest_does_not_depend_on_company);
    tcase_add_test(tests, nearest_counts_what_it_rechecks);
    tcase_add_test(tests, tiles_fetch_ahead_beside_the_same_sums);
    tcase_add_test(tests, nearest_says_what_packing_wants);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
