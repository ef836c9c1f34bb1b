/* Centres from sums on a GPU: the CPU's bits, for the runs that are listed. */
#include "tests/cuda_support.h"

#include <stdlib.h>
#include <string.h>
#include "kernels/centre_update.h"
#include "tests/centre_inputs.h"

/* Round a warp, round a block's threads, round the columns that it takes at a time. */
static const struct shape {
    int k, d, n_runs;
    unsigned listed;
} shapes[] = {{1, 1, 1, 1},   {3, 31, 3, 5},   {20, 33, 2, 2},  {5, 300, 4, 6},
              {300, 8, 1, 1}, {2, 2048, 1, 1}, {3, 2049, 2, 3}, {2, 4111, 2, 1}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

/* Of all runs, (runs, k) centres one behind the other. */
struct results {
    float *updated;
    double *moved, *gain;
};

static struct results results_of_cpu(const struct shape *s, const struct centre_input *in,
                                     bool spherical)
{
    struct device cpu = device_cpu(&cuda_test);
    size_t k = (size_t)s->k, size = k * (size_t)s->d, runs = (size_t)s->n_runs;
    struct results out = {test_alloc(runs * size * sizeof(float)),
                          test_alloc(runs * k * sizeof(double)),
                          test_alloc(runs * k * sizeof(double))};
    memset(out.updated, 0x55, runs * size * sizeof(float));
    memset(out.moved, 0x55, runs * k * sizeof(double));
    memset(out.gain, 0x55, runs * k * sizeof(double));
    for (size_t run = 0; run < runs; run++) {
        if (!(s->listed >> run & 1))
            continue;
        centre_update_cpu(&cpu, out.updated + run * size, out.moved + run * k,
                          in->sums + run * size, in->counts + run * k, in->centres + run * size,
                          s->k, s->d, spherical);
        centre_gain_cpu(&cpu, out.gain + run * k, in->sums + run * size, in->counts + run * k,
                        in->centres + run * size, in->mean, s->k, s->d);
    }
    return out;
}

static struct cuda_tensor spoiled(size_t bytes)
{
    void *garbage = test_alloc(bytes);
    memset(garbage, 0x55, bytes);
    struct cuda_tensor tensor = cuda_send_bytes(garbage, bytes);
    free(garbage);
    return tensor;
}

static struct results results_of_gpu(const struct shape *s, const struct centre_input *in,
                                     bool spherical, bool together)
{
    size_t centres = (size_t)s->n_runs * (size_t)s->k, size = centres * (size_t)s->d;
    struct run_list list = {0};
    struct err err;
    for (int run = 0; run < s->n_runs; run++)
        if (s->listed >> run & 1)
            list.of[list.n++] = run;
    struct cuda_tensor sums = cuda_send_bytes(in->sums, size * sizeof *in->sums);
    struct cuda_tensor counts = cuda_send_bytes(in->counts, centres * sizeof *in->counts);
    struct cuda_tensor of_centres = cuda_send_bytes(in->centres, size * sizeof *in->centres);
    struct cuda_tensor of_mean = cuda_send_bytes(in->mean, (size_t)s->d * sizeof *in->mean);
    struct cuda_tensor updated = spoiled(size * sizeof(float));
    struct cuda_tensor moved = spoiled(centres * sizeof(double));
    struct cuda_tensor gain = spoiled(centres * sizeof(double));
    if (together)
        cuda_good(centre_gain_and_update(
                      &cuda_test, cuda_pointer(&gain), cuda_pointer(&updated), cuda_pointer(&moved),
                      cuda_pointer(&sums), cuda_pointer(&counts), cuda_pointer(&of_centres),
                      cuda_pointer(&of_mean), s->k, s->d, spherical, &list, &err),
                  &err);
    else {
        cuda_good(centre_update(&cuda_test, cuda_pointer(&updated), cuda_pointer(&moved),
                                cuda_pointer(&sums), cuda_pointer(&counts),
                                cuda_pointer(&of_centres), s->k, s->d, spherical, &list, &err),
                  &err);
        cuda_good(centre_gain(&cuda_test, cuda_pointer(&gain), cuda_pointer(&sums),
                              cuda_pointer(&counts), cuda_pointer(&of_centres),
                              cuda_pointer(&of_mean), s->k, s->d, &list, &err),
                  &err);
    }
    cuda_drop(&sums), cuda_drop(&counts), cuda_drop(&of_centres), cuda_drop(&of_mean);
    return (struct results){cuda_download_bytes(&updated), cuda_download_bytes(&moved),
                            cuda_download_bytes(&gain)};
}

static void free_results(struct results *results)
{
    free(results->updated), free(results->moved), free(results->gain);
}

START_TEST(centres_are_the_cpus)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int t = 0; t < N_SHAPES; t++) {
        const struct shape *s = &shapes[t];
        size_t centres = (size_t)s->n_runs * (size_t)s->k, size = centres * (size_t)s->d;
        struct centre_input in = centre_input_of((int)centres, s->d, (uint64_t)t);
        in.sums[0] = 1e-300, in.sums[size - 1] = -1e200; /* no float32 */
        memset(in.sums + size / 2 / (size_t)s->d * (size_t)s->d, 0,
               (size_t)s->d * sizeof *in.sums); /* a mean of no direction */
        for (int way = 0; way < 4; way++) {
            bool spherical = way & 1, together = way & 2;
            struct results want = results_of_cpu(s, &in, spherical);
            struct results got = results_of_gpu(s, &in, spherical, together);
            ck_assert_mem_eq(got.updated, want.updated, size * sizeof *got.updated);
            ck_assert_mem_eq(got.moved, want.moved, centres * sizeof *got.moved);
            ck_assert_mem_eq(got.gain, want.gain, centres * sizeof *got.gain);
            free_results(&got), free_results(&want);
        }
        centre_input_free(&in);
    }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_centre_update");
    TCase *tests = tcase_create("cuda_centre_update");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, centres_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
