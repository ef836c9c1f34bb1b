/* NF4 on a GPU: the CPU's bytes, which are bitsandbytes' (tests/test_nf4.c), and the references'.
 */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/nf4.h"

static const char *const source_names[] = {"f32", "bf16", "f16"};

/* x in the form of a file; afterwards x is what that holds. */
static struct cuda_tensor upload_source(enum nf4_source type, float *x, size_t n)
{
    if (type != NF4_FROM_F16)
        return cuda_send(type == NF4_FROM_F32 ? PRECISION_F32 : PRECISION_BF16, x, n);
    uint16_t *halves = test_alloc(n * sizeof *halves);
    for (size_t i = 0; i < n; i++) {
        halves[i] = f16_from_float(x[i]);
        x[i] = f16_to_float(halves[i]);
    }
    struct cuda_tensor tensor = cuda_send_bytes(halves, n * sizeof *halves);
    free(halves);
    return tensor;
}

/* n bytes of 0xA5: what is not written is seen. */
static struct cuda_tensor spoiled(size_t n)
{
    void *bytes = memset(test_alloc(n), 0xA5, n);
    struct cuda_tensor tensor = cuda_send_bytes(bytes, n);
    free(bytes);
    return tensor;
}

static void check_bytes(struct cuda_tensor *got, const void *want, const char *what, size_t n,
                        int kind)
{
    size_t bytes = got->bytes;
    void *data = cuda_download_bytes(got);
    ck_assert_msg(memcmp(data, want, bytes) == 0, "%s differ, n %zu, kind %d", what, n, kind);
    free(data);
}

/* ---- quantising ----------------------------------------------------------------------------- */

/* Against the reference, and the CPU's bytes; which NaN a NaN of binary16 becomes is the card's. */
static void check_quantize(enum nf4_source type, float *x, size_t n)
{
    struct err err;
    size_t n_bytes = nf4_code_bytes((int64_t)n), n_blocks = nf4_block_count((int64_t)n);
    struct cuda_tensor source = upload_source(type, x, n);
    struct cuda_tensor codes = spoiled(n_bytes), absmax = spoiled(4 * n_blocks);
    uint8_t *want_codes = test_alloc(n_bytes);
    float *want_absmax = test_alloc(4 * n_blocks);
    cuda_good(nf4_quantize_cuda(&cuda_test, cuda_pointer(&codes), cuda_pointer(&absmax),
                                cuda_pointer(&source), type, (int64_t)n, &err),
              &err);
    uint8_t *got = cuda_download_bytes(&codes);
    nf4_quantize_ref(want_codes, want_absmax, x, (int64_t)n);
    ck_assert_msg(memcmp(got, want_codes, n_bytes) == 0, "%s n %zu: codes are not the reference's",
                  source_names[type], n);
    nf4_quantize(&cuda_test, want_codes, want_absmax, x, (int64_t)n);
    ck_assert_mem_eq(got, want_codes, n_bytes);
    float *got_absmax = cuda_download_bytes(&absmax);
    for (size_t i = 0; i < n_blocks; i++)
        ck_assert_msg(memcmp(got_absmax + i, want_absmax + i, 4) == 0 ||
                          (type == NF4_FROM_F16 && isnan(got_absmax[i]) && isnan(want_absmax[i])),
                      "%s n %zu: absmax %zu is %g, want %g", source_names[type], n, i,
                      (double)got_absmax[i], (double)want_absmax[i]);
    cuda_drop(&source);
    free(got), free(got_absmax), free(want_codes), free(want_absmax);
}

/* Round a lane, a block, a warp and a CUDA block of values of each type. */
START_TEST(quantising_matches_reference)
{
    static const size_t sizes[] = {0,  1,   2,   3,   7,   8,    9,    31,   63,   64,  65,
                                   66, 127, 128, 129, 513, 1000, 1024, 2047, 2049, 9999};
    static const float deviations[] = {1.0f, 0.02f, 1e-37f, 1e-39f, 1e-44f, 1e37f};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int type = NF4_FROM_F32; type <= NF4_FROM_F16; type++) {
            float *x = test_alloc(sizes[s] * sizeof *x);
            size_t d = s % (sizeof deviations / sizeof *deviations);
            fill_normal(x, sizes[s], 100 * s, type == NF4_FROM_F16 ? 0.02f : deviations[d]);
            check_quantize((enum nf4_source)type, x, sizes[s]);
            free(x);
        }
    device_close(&cuda_test);
}
END_TEST

/* Every midpoint and its neighbours, blocks of zeros, NaN and infinities. */
START_TEST(awkward_values_match_reference)
{
    enum { N = 64 * 5 + 13 };
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float x[N], many[64 * 15];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int i = 0; i < 64 * 15; i++) {
        float tie = (nf4_map[i % 15] + nf4_map[i % 15 + 1]) / 2;
        int step = i / 15 % 3;
        many[i] = i % 64 == 0 ? 1 : step == 0 ? tie : nextafterf(tie, step == 1 ? -2 : 2);
    }
    check_quantize(NF4_FROM_F32, many, 64 * 15);
    for (int type = NF4_FROM_F32; type <= NF4_FROM_F16; type++) {
        memset(x, 0, sizeof x);
        x[5] = -0.0f, x[200] = 1;
        check_quantize((enum nf4_source)type, x, N);
        for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
            fill_normal(x, N, b, 1.0f);
            x[70 + 9 * b] = x[N - 1] = bad[b];
            check_quantize((enum nf4_source)type, x, N);
        }
    }
    device_close(&cuda_test);
}
END_TEST

/* Loaders stream: pieces that begin at blocks. */
START_TEST(pieces_equal_the_whole)
{
    enum { N = 5003, PIECE = 64 * 7, BLOCKS = (N + 63) / 64 };
    struct err err;
    float x[N], want_absmax[BLOCKS];
    uint8_t want_codes[(N + 1) / 2];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, N, 7, 1.0f);
    for (int type = NF4_FROM_F32; type <= NF4_FROM_F16; type++) {
        struct cuda_tensor source = upload_source((enum nf4_source)type, x, N);
        struct cuda_tensor codes = spoiled(sizeof want_codes), absmax = spoiled(4 * BLOCKS);
        size_t value = type == NF4_FROM_F32 ? 4 : 2;
        nf4_quantize(&cuda_test, want_codes, want_absmax, x, N);
        for (int i = 0; i < N; i += PIECE)
            cuda_good(nf4_quantize_cuda(&cuda_test, (uint8_t *)cuda_pointer(&codes) + i / 2,
                                        (float *)cuda_pointer(&absmax) + i / 64,
                                        (char *)cuda_pointer(&source) + (size_t)i * value,
                                        (enum nf4_source)type, N - i < PIECE ? N - i : PIECE, &err),
                      &err);
        check_bytes(&codes, want_codes, "codes", N, type);
        check_bytes(&absmax, want_absmax, "absmax", N, type);
        cuda_drop(&source);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- double quantisation -------------------------------------------------------------------- */

/* What a GPU makes of absmax (n), on the host. */
struct nested {
    uint8_t *codes;
    float *absmax, offset;
    size_t n_nested;
};

static struct nested quantize_absmax(float *absmax, size_t n)
{
    struct err err;
    struct nested got = {.n_nested = nf4_nested_block_count((int64_t)n)};
    struct cuda_tensor source = cuda_send(PRECISION_F32, absmax, n);
    struct cuda_tensor codes = spoiled(n), nested = spoiled(4 * got.n_nested), offset = spoiled(4);
    struct cuda_tensor sums = cuda_empty(PRECISION_NF4, 8 * got.n_nested);
    cuda_good(nf4_quantize_absmax_cuda(&cuda_test, cuda_pointer(&codes), cuda_pointer(&nested),
                                       cuda_pointer(&offset), cuda_pointer(&sums),
                                       cuda_pointer(&source), (int64_t)n, &err),
              &err);
    float *of_offset = cuda_download_bytes(&offset);
    got.codes = cuda_download_bytes(&codes), got.absmax = cuda_download_bytes(&nested);
    got.offset = *of_offset;
    free(of_offset);
    cuda_drop(&source), cuda_drop(&sums);
    return got;
}

/* Round nested blocks of 256 and the chains of 32 of them; the kinds of tests/test_nf4.c. */
START_TEST(nesting_matches_reference)
{
    static const int sizes[] = {0, 1, 2, 31, 33, 255, 256, 257, 511, 513, 2049, 8191, 8449, 20000};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 3; kind++) {
            size_t n = (size_t)sizes[s], n_nested = nf4_nested_block_count(sizes[s]);
            float *absmax = test_alloc(4 * n), *nested = test_alloc(4 * n_nested), offset;
            uint8_t *codes = test_alloc(n);
            fill_uniform(absmax, n, s, 0.01f, kind == 0 ? 0.05f : kind == 1 ? 3e4f : 0.01f);
            struct nested got = quantize_absmax(absmax, n);
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += absmax[i];
            ck_assert(n ? fabs(got.offset - sum / (double)n) <= 1e-7 * sum / (double)n
                        : got.offset == 0);
            nf4_nest_absmax_ref(codes, nested, absmax, sizes[s], got.offset);
            ck_assert_msg(memcmp(codes, got.codes, n) == 0, "n %zu kind %d: codes", n, kind);
            ck_assert_msg(memcmp(nested, got.absmax, 4 * n_nested) == 0, "n %zu kind %d", n, kind);
            nf4_quantize_absmax(codes, nested, &offset, absmax, sizes[s]);
            ck_assert_msg(memcmp(&offset, &got.offset, 4) == 0, "n %zu kind %d: offset", n, kind);
            ck_assert_mem_eq(codes, got.codes, n);
            ck_assert_mem_eq(nested, got.absmax, 4 * n_nested);
            free(absmax), free(nested), free(codes), free(got.codes), free(got.absmax);
        }
    device_close(&cuda_test);
}
END_TEST

/* Sums of absmax are exact in float64, or nearly: only numbers that no absmax is show their order.
 * Here large ones cancel, and which of the small ones are lost before they do is a matter of order.
 */
START_TEST(offsets_have_the_order_of_the_cpu)
{
    static const int sizes[] = {64, 256, 300, 8192, 100000};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = (size_t)sizes[s], n_nested = nf4_nested_block_count(sizes[s]);
        float *absmax = test_alloc(4 * n), *nested = test_alloc(4 * n_nested), offset;
        uint8_t *codes = test_alloc(n);
        fill_uniform(absmax, n, s, 0.01f, 0.05f);
        for (size_t i = 0; i < n / 16; i++) {
            size_t a = mix64(1, i) % n, b = mix64(2, i) % n;
            if (absmax[a] < 1 && absmax[b] < 1 && absmax[a] > 0 && absmax[b] > 0 && a != b)
                absmax[a] = 0x1p47f, absmax[b] = -0x1p47f;
        }
        struct nested got = quantize_absmax(absmax, n);
        nf4_quantize_absmax(codes, nested, &offset, absmax, sizes[s]);
        ck_assert_msg(memcmp(&offset, &got.offset, 4) == 0, "n %zu: offset %g, the CPU's %g", n,
                      (double)got.offset, (double)offset);
        free(absmax), free(nested), free(codes), free(got.codes), free(got.absmax);
    }
    device_close(&cuda_test);
}
END_TEST

/* One value anywhere makes the offset say so, and nothing else does. */
START_TEST(offsets_tell_what_is_not_finite)
{
    enum { N = 64 * 300 };
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    struct err err;
    static float x[N];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        fill_normal(x, N, b, 1.0f);
        x[(b * 7919 + 12000) % N] = bad[b];
        struct cuda_tensor source = cuda_send(PRECISION_F32, x, N);
        struct cuda_tensor codes = spoiled(N / 2), absmax = spoiled(4 * N / 64);
        cuda_good(nf4_quantize_cuda(&cuda_test, cuda_pointer(&codes), cuda_pointer(&absmax),
                                    cuda_pointer(&source), NF4_FROM_F32, N, &err),
                  &err);
        float *on_host = cuda_download_bytes(&absmax);
        struct nested got = quantize_absmax(on_host, N / 64);
        ck_assert_int_eq(isfinite(got.offset), isfinite(bad[b]));
        cuda_drop(&source), cuda_drop(&codes);
        free(on_host), free(got.codes), free(got.absmax);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- dequantising --------------------------------------------------------------------------- */

static void check_dequantize(enum precision type, const struct nf4_matrix *w, int64_t n)
{
    struct err err;
    size_t n_blocks = nf4_block_count(n), n_nested = nf4_nested_block_count((int64_t)n_blocks);
    struct cuda_tensor codes = cuda_send_bytes(w->codes, nf4_code_bytes(n));
    struct cuda_tensor absmax =
        cuda_send_bytes(w->absmax ? (const void *)w->absmax : "", w->absmax ? 4 * n_blocks : 0);
    struct cuda_tensor absmax_codes =
        cuda_send_bytes(w->absmax ? (const void *)"" : w->absmax_codes, w->absmax ? 0 : n_blocks);
    struct cuda_tensor nested = cuda_send_bytes(w->absmax ? (const void *)"" : w->nested_absmax,
                                                w->absmax ? 0 : 4 * n_nested);
    struct cuda_tensor offset = cuda_send_bytes(&w->offset, 4);
    struct cuda_tensor out = spoiled((size_t)n * (type == PRECISION_F32 ? 4 : 2));
    struct nf4_cuda_values values = {
        .codes = cuda_pointer(&codes),
        .absmax = w->absmax ? cuda_pointer(&absmax) : NULL,
        .absmax_codes = w->absmax ? NULL : cuda_pointer(&absmax_codes),
        .nested_absmax = w->absmax ? NULL : cuda_pointer(&nested),
        .offset = w->absmax ? NULL : cuda_pointer(&offset),
    };
    cuda_good(nf4_dequantize_cuda(&cuda_test, type, cuda_pointer(&out), &values, n, &err), &err);
    double *want = test_alloc((size_t)n * sizeof *want);
    nf4_dequantize_ref(want, w);
    void *got = cuda_download_bytes(&out);
    for (int64_t i = 0; i < n; i++) {
        bool same = type == PRECISION_F32 ? ((float *)got)[i] == (float)want[i]
                                          : ((uint16_t *)got)[i] == bf16_from_float((float)want[i]);
        if (!same)
            ck_abort_msg("n %lld, nested %d: value %lld", (long long)n, !w->absmax, (long long)i);
    }
    cuda_drop(&codes), cuda_drop(&absmax), cuda_drop(&absmax_codes), cuda_drop(&nested);
    cuda_drop(&offset);
    free(want), free(got);
}

START_TEST(dequantising_matches_reference)
{
    static const int sizes[] = {0, 1, 2, 5, 7, 8, 9, 63, 64, 65, 700, 2047, 2050, 20001};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 4; kind++) {
            int64_t n = sizes[s], n_blocks = (int64_t)nf4_block_count(n);
            float *x = test_alloc((size_t)n * sizeof *x), offset;
            float *absmax = test_alloc(4 * (size_t)n_blocks);
            float *nested = test_alloc(4 * nf4_nested_block_count(n_blocks));
            uint8_t *codes = test_alloc(nf4_code_bytes(n)),
                    *absmax_codes = test_alloc((size_t)n_blocks);
            fill_normal(x, (size_t)n, s, 1.0f);
            nf4_quantize(&cuda_test, codes, absmax, x, n);
            nf4_quantize_absmax(absmax_codes, nested, &offset, absmax, n_blocks);
            struct nf4_matrix w = {.rows = 1, .columns = (int)n, .codes = codes, .offset = offset};
            if (kind & 1)
                w.absmax_codes = absmax_codes, w.nested_absmax = nested;
            else
                w.absmax = absmax;
            check_dequantize(kind & 2 ? PRECISION_BF16 : PRECISION_F32, &w, n);
            free(x), free(absmax), free(nested), free(codes), free(absmax_codes);
        }
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_nf4");
    TCase *tests = tcase_create("cuda_nf4");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, quantising_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, awkward_values_match_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, pieces_equal_the_whole, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nesting_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, offsets_have_the_order_of_the_cpu, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, offsets_tell_what_is_not_finite, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, dequantising_matches_reference, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
