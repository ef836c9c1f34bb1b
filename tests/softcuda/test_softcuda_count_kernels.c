/* Counters of kernels as nvcc compiles them (kernels/count.cu), against closed forms. */
#include "tests/softcuda/rig.h"

#include <string.h>

static uint64_t counted(const struct rig *rig, enum counter counter)
{
    return rig->totals.value[counter];
}

static bool open_kernels(struct rig *rig, bool portable)
{
    rig_open(rig);
    rig->card = card_named("rtx4090");
    if (rig_load_kernel_file(rig, "count", portable))
        return true;
    rig_close(rig);
    return false;
}
#define OPEN(rig)                                                                                  \
    if (!open_kernels(rig, _i))                                                                    \
    SKIP("needs nvcc")

/* The parameters of nvcc's kernels: pointers, then ints. */
static void launch(struct rig *rig, const char *name, uint32_t grid_x, uint32_t grid_y,
                   uint32_t block_x, uint32_t block_y, int n_pointers, const uint64_t *pointers,
                   int n_ints, const int32_t *ints)
{
    unsigned char bytes[128] = {0};
    memcpy(bytes, pointers, (size_t)n_pointers * 8);
    if (n_ints > 0)
        memcpy(bytes + n_pointers * 8, ints, (size_t)n_ints * 4);
    ck_assert_msg(rig_launch_raw(rig, name, (uint32_t[3]){grid_x, grid_y, 1},
                                 (uint32_t[3]){block_x, block_y, 1}, 0, bytes) == STATUS_OK,
                  "%s: %s", name, rig->err.text);
}

static uint64_t zeros(struct rig *rig, size_t bytes)
{
    uint64_t address = rig_upload(rig, NULL, bytes);
    memset(rig_host(rig, address), 0, bytes);
    return address;
}

START_TEST(vector_add)
{
    struct rig rig;
    OPEN(&rig);
    enum { N = 1000 };
    uint64_t memory[3] = {zeros(&rig, 4 * N), zeros(&rig, 4 * N), zeros(&rig, 4 * N)};
    launch(&rig, "vector_add", 8, 1, 128, 1, 3, memory, 1, (int32_t[]){N});
    /* 1000 is 31 warps and 8 threads: 32 requests of 4 sectors, the last of 1. */
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_REQUESTS), 2 * 32);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_SECTORS), 2 * 4 * N / 32);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_LEAST), 2 * 4 * N / 32);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_BYTES), 2 * 4 * N);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_STORE_REQUESTS), 32);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_STORE_BYTES), 4 * N);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 2 * 4 * N);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_WRITE_BYTES), 4 * N);
    ck_assert_uint_eq(counted(&rig, COUNT_DIVERGENT_BRANCHES), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_BRANCHES), 32);
    ck_assert_uint_eq(counted(&rig, COUNT_FLOAT_OPERATIONS), N);
    /* The loads do not wait for each other. */
    ck_assert_uint_eq(counted(&rig, COUNT_LOAD_BATCHES), 32);
    rig_close(&rig);
}
END_TEST

START_TEST(strided_reads)
{
    static const struct {
        int stride;
        uint64_t sectors;
    } cases[] = {{1, 4}, {2, 8}, {3, 12}, {4, 16}, {8, 32}, {100, 32}};
    struct rig rig;
    OPEN(&rig);
    uint64_t memory[2] = {zeros(&rig, 4 * 64), zeros(&rig, 4 * 64 * 100)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        launch(&rig, "strided", 2, 1, 32, 1, 2, memory, 1, (int32_t[]){cases[i].stride});
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_REQUESTS), 2);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_SECTORS), 2 * cases[i].sectors);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_LEAST), 2 * 4);
    }
    rig_close(&rig);
}
END_TEST

/* A column of a tile of 32 words lies in one bank, of 33 words in 32. */
START_TEST(transpose_with_and_without_padding)
{
    struct rig rig;
    OPEN(&rig);
    enum { N = 96, REQUESTS = N * N / 32 };
    uint64_t memory[2] = {zeros(&rig, 4 * N * N), zeros(&rig, 4 * N * N)};
    float *in = rig_host(&rig, memory[1]), *out = rig_host(&rig, memory[0]);
    for (int i = 0; i < N * N; i++)
        in[i] = (float)i;
    for (int padded = 0; padded < 2; padded++) {
        launch(&rig, padded ? "transpose_padded" : "transpose_plain", N / 32, N / 32, 32, 8, 2,
               memory, 1, (int32_t[]){N});
        for (int i = 0; i < N * N; i++)
            ck_assert_float_eq(out[i % N * N + i / N], in[i]);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_STORE_REQUESTS), REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_STORE_WAVEFRONTS), REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LOAD_REQUESTS), REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LOAD_WAVEFRONTS),
                          (padded ? 1 : 32) * REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LOAD_LEAST), REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_SECTORS), 4 * REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_STORE_SECTORS), 4 * REQUESTS);
        ck_assert_uint_eq(counted(&rig, COUNT_BARRIERS), REQUESTS / 4);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(atomics_on_few_addresses)
{
    struct rig rig;
    OPEN(&rig);
    uint64_t memory[2] = {zeros(&rig, 4), zeros(&rig, 32)};
    launch(&rig, "tally", 3, 1, 64, 1, 2, memory, 0, NULL);
    /* 6 warps add to one word; of 3 CTAs the first 8 threads to 8 words. */
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ATOMIC_REQUESTS), 6 + 3);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ATOMIC_SECTORS), 6 + 3);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ATOMIC_CONFLICTS), 6 * 31);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_ATOMIC_REQUESTS), 6);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_ATOMIC_WAVEFRONTS), 6 * 4);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_ATOMICS), 9);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_ATOMIC_HITS), 7); /* all but the first of each word */
    ck_assert_int_eq(*(int *)rig_host(&rig, memory[0]), 3 * 63 * 32);
    rig_close(&rig);
}
END_TEST

START_TEST(local_arrays)
{
    struct rig rig;
    OPEN(&rig);
    uint64_t memory[2] = {zeros(&rig, 128), zeros(&rig, 16 * 128)};
    launch(&rig, "local_array", 1, 1, 32, 1, 2, memory, 0, NULL);
    /* The array is filled by 16 words of each thread, then 16 times a word is read and written (not
     * the first time, which would add 0) and another read; all threads go to the same place, since
     * all indices are 0. */
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_STORE_BYTES), 32 * 4 * (16 + 15));
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_STORE_SECTORS), 4 * (16 + 15));
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_LOAD_BYTES), 32 * 4 * (15 + 16));
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_LOAD_SECTORS), 4 * (15 + 16));
    rig_close(&rig);
}
END_TEST

/* M, N and K in units of tile and step. Each warp makes 32 x 32 and reads both operands of it by
 * ldmatrix.x4: four for each 16 columns. */
START_TEST(gemm_plain_and_swizzled)
{
    struct rig rig;
    OPEN(&rig);
    enum { M = 128, N = 192, K = 96, CTAS = M / 64 * N / 64, STEPS = K / 32, WARPS = 4 * CTAS };
    uint64_t memory[3] = {zeros(&rig, 4 * M * N), zeros(&rig, 2 * M * K), zeros(&rig, 2 * N * K)};
    for (int swizzled = 0; swizzled < 2; swizzled++) {
        launch(&rig, swizzled ? "gemm_swizzled" : "gemm_plain", N / 64, M / 64, 128, 1, 3, memory,
               2, (int32_t[]){N, K});
        ck_assert_uint_eq(counted(&rig, COUNT_MMA_INSTRUCTIONS), M / 16 * (N / 8) * (K / 16));
        ck_assert_uint_eq(counted(&rig, COUNT_MMA_MACS), (uint64_t)M * N * K);
        ck_assert_int_eq(rig.totals.n_mma, 1);
        ck_assert_str_eq(rig.totals.mma[0].shape, "m16n8k16.f32.bf16.bf16.f32");
        uint64_t matrices = WARPS * (K / 16) * 4 * 4;
        ck_assert_uint_eq(counted(&rig, COUNT_LDMATRIX_MATRICES), matrices);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_LEAST), matrices);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_WAVEFRONTS),
                          (swizzled ? 1 : 4) * matrices);
        /* A step of a CTA copies 2 tiles of 64 rows of 64 bytes, 512 bytes a request. */
        uint64_t bytes = (uint64_t)CTAS * STEPS * 2 * 64 * 64;
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ASYNC_BYTES), bytes);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ASYNC_REQUESTS), bytes / 512);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ASYNC_SECTORS), bytes / 32);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_ASYNC_LEAST), bytes / 32);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_ASYNC_BYTES), bytes);
        ck_assert_uint_eq(counted(&rig, COUNT_SHARED_ASYNC_WAVEFRONTS), bytes / 128);
        ck_assert_uint_eq(counted(&rig, COUNT_L1_SECTORS), 0); /* .cg */
        ck_assert_uint_eq(counted(&rig, COUNT_L2_READS), bytes / 32);
        /* L2 holds everything: each operand comes from memory once. */
        ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 2 * (M * K + N * K));
        ck_assert_uint_eq(counted(&rig, COUNT_DRAM_WRITE_BYTES), 4 * M * N);
        ck_assert_uint_eq(counted(&rig, COUNT_BARRIERS), 2 * STEPS * WARPS);
        ck_assert_uint_eq(counted(&rig, COUNT_ASYNC_WAITS), STEPS * WARPS);
        ck_assert_uint_eq(counted(&rig, COUNT_ASYNC_GROUPS), 2 * STEPS * WARPS);
        /* Rows of 32 bytes, 8 to a warp. */
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_STORE_BYTES), 4 * M * N);
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_STORE_SECTORS), 4 * M * N / 32);
        ck_assert_uint_eq(counted(&rig, COUNT_DIVERGENT_BRANCHES), 0);
    }
    rig_close(&rig);
}
END_TEST

/* Each of 4 CTAs reads its own 32 KB twice past L1: with an L2 that holds it all, from memory once.
 */
START_TEST(streams_that_fit_l2_and_do_not)
{
    struct rig rig;
    OPEN(&rig);
    enum { SPAN = 8192, CTAS = 4 };
    struct card card = *rig.card;
    rig.card = &card;
    uint64_t memory[2] = {zeros(&rig, 4 * 128 * CTAS), zeros(&rig, 4 * SPAN * CTAS)};
    for (int fits = 0; fits < 2; fits++) {
        card.l2_bytes = (uint64_t)(fits ? 256 : 8) * 1024;
        launch(&rig, "stream", CTAS, 1, 128, 1, 2, memory, 2, (int32_t[]){SPAN, 2});
        ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_BYTES), 2 * 4 * SPAN * CTAS);
        ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES),
                          (uint64_t)(fits ? 1 : 2) * 4 * SPAN * CTAS);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_count_kernels");
    TCase *tests = tcase_create("avx2 and portable");
    tcase_add_loop_test(tests, vector_add, 0, 2);
    tcase_add_loop_test(tests, strided_reads, 0, 2);
    tcase_add_loop_test(tests, transpose_with_and_without_padding, 0, 2);
    tcase_add_loop_test(tests, atomics_on_few_addresses, 0, 2);
    tcase_add_loop_test(tests, local_arrays, 0, 2);
    tcase_add_loop_test(tests, gemm_plain_and_swizzled, 0, 2);
    tcase_add_loop_test(tests, streams_that_fit_l2_and_do_not, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
