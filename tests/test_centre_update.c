/* Centres from sums: against float64, and the same bits on every device. */
#include "kernels/centre_update.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/centre_inputs.h"
#include "tests/support.h"

static const struct {
    int k, d;
} shapes[] = {{1, 1}, {3, 5}, {20, 31}, {7, 32}, {2, 33}, {1000, 64}, {20, 4096}, {9, 8191}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

struct results {
    float *updated;
    double *moved, *gain;
};

static struct results results_of(struct device *device, const struct centre_input *in,
                                 bool spherical)
{
    size_t k = (size_t)in->k, size = k * (size_t)in->d;
    struct results out = {guarded_floats(size), test_alloc(k * sizeof(double)),
                          test_alloc(k * sizeof(double))};
    struct err err;
    ck_assert_int_eq(centre_update(device, out.updated, out.moved, in->sums, in->counts,
                                   in->centres, in->k, in->d, spherical, NULL, &err),
                     STATUS_OK);
    ck_assert_int_eq(centre_gain(device, out.gain, in->sums, in->counts, in->centres, in->mean,
                                 in->k, in->d, NULL, &err),
                     STATUS_OK);
    return out;
}

static void free_results(struct results *results, size_t size)
{
    check_guarded(results->updated, size);
    free(results->moved), free(results->gain);
}

static void hold_to_reference(const struct results *got, const struct centre_input *in,
                              bool spherical)
{
    int k = in->k, d = in->d;
    size_t size = (size_t)k * (size_t)d;
    double *centres = to_doubles(in->centres, size), *of_mean = to_doubles(in->mean, (size_t)d);
    double *updated = test_alloc(size * sizeof *updated);
    double *rounded = to_doubles(got->updated, size);
    double *want = test_alloc((size_t)k * sizeof *want);
    double *magnitude = test_alloc((size_t)k * sizeof *magnitude);
    centre_update_ref(updated, in->sums, in->counts, centres, k, d, spherical);
    check_close(got->updated, updated, size, 0x1p-150, centre_update_tolerance(d), "%d x %d", k, d);
    centre_moved_ref(want, rounded, centres, k, d);
    for (int c = 0; c < k; c++)
        ck_assert(fabs(got->moved[c] - want[c]) <= centre_moved_tolerance(d) * want[c]);
    centre_gain_ref(want, magnitude, in->sums, in->counts, centres, of_mean, k, d);
    for (int c = 0; c < k; c++)
        ck_assert(fabs(got->gain[c] - want[c]) <= centre_gain_tolerance(d) * magnitude[c]);
    free(centres), free(of_mean), free(updated), free(rounded), free(want), free(magnitude);
}

START_TEST(centres_are_what_float64_says)
{
    struct centre_input in = centre_input_of(shapes[_i].k, shapes[_i].d, (uint64_t)_i);
    size_t k = (size_t)in.k, size = k * (size_t)in.d;
    for (int way = 0; way < 2; way++) {
        struct device device;
        struct results first = {NULL, NULL, NULL};
        for (int i = 0; test_device(i, &device); i++) {
            struct results got = results_of(&device, &in, way);
            hold_to_reference(&got, &in, way);
            if (i > 0) {
                ck_assert_mem_eq(got.updated, first.updated, size * sizeof *got.updated);
                ck_assert_mem_eq(got.moved, first.moved, k * sizeof *got.moved);
                ck_assert_mem_eq(got.gain, first.gain, k * sizeof *got.gain);
                free_results(&got, size);
            } else
                first = got;
            device_close(&device);
        }
        free_results(&first, size);
    }
    centre_input_free(&in);
}
END_TEST

/* An empty cluster keeps its centre, and one whose mean has no direction; nothing moves. */
START_TEST(centres_without_rows_stay)
{
    enum { K = 3, D = 37 };
    struct device device;
    struct centre_input in = centre_input_of(K, D, 5);
    in.counts[0] = 0;
    memset(in.sums + D, 0, D * sizeof *in.sums);
    for (int i = 0; test_device(i, &device); i++) {
        for (int spherical = 0; spherical < 2; spherical++) {
            struct results got = results_of(&device, &in, spherical);
            ck_assert_mem_eq(got.updated, in.centres, D * sizeof *got.updated);
            ck_assert(got.moved[0] == 0 && got.moved[2] > 0);
            for (int j = 0; j < D; j++)
                ck_assert(got.updated[D + j] == (spherical ? in.centres[D + j] : 0));
            ck_assert(spherical ? got.moved[1] == 0 : got.moved[1] > 0);
            free_results(&got, (size_t)K * D);
        }
        device_close(&device);
    }
    centre_input_free(&in);
}
END_TEST

static double joined(double chain[32])
{
    for (int step = 16; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            chain[l] += chain[l + step];
    return chain[0];
}

/* The order of the header, element by element. */
START_TEST(sums_have_32_chains)
{
    enum { K = 50, D = 177 };
    struct device device;
    struct centre_input in = centre_input_of(K, D, 6);
    for (int i = 0; test_device(i, &device); i++) {
        struct results got = results_of(&device, &in, false);
        for (int c = 0; c < K; c++) {
            double moved[32] = {0}, gain[32] = {0}, count = (double)in.counts[c];
            for (int j = 0; j < D; j++) {
                int e = c * D + j;
                double difference = (double)got.updated[e] - (double)in.centres[e];
                double offset = (double)in.centres[e] - (double)in.mean[j];
                double rest = in.sums[e] - count * (double)in.mean[j];
                moved[j % 32] += difference * difference;
                gain[j % 32] += offset * (count * offset - 2 * rest);
            }
            ck_assert(got.moved[c] == joined(moved));
            ck_assert(got.gain[c] == joined(gain));
        }
        free_results(&got, (size_t)K * D);
        device_close(&device);
    }
    centre_input_free(&in);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("centre_update");
    TCase *tests = tcase_create("centre_update");
    tcase_add_loop_test(tests, centres_are_what_float64_says, 0, N_SHAPES);
    tcase_add_test(tests, centres_without_rows_stay);
    tcase_add_test(tests, sums_have_32_chains);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
