/* NF4: the same bytes as bitsandbytes, on inputs of every awkward kind and on real weights. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/nf4.h"
#include "loaders/weights.h"

/* Hashes of what bitsandbytes makes of n values, without and with double quantisation. */
struct nf4_golden {
    const char *name;
    int n;
    uint64_t codes, absmax, decoded;
    uint32_t offset; /* float32 bits */
    uint64_t absmax_codes, nested_absmax, decoded_nested;
    const char *hex; /* the codes, where they are few */
};
#include "tests/golden/nf4.h"

static uint64_t fnv(const void *data, size_t n)
{
    const unsigned char *byte = data;
    uint64_t value = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        value = (value ^ byte[i]) * 0x100000001B3u;
    return value;
}

/* Everything that quantising n values gives, with a canary behind each array. */
struct quantized {
    size_t n, n_bytes, n_blocks, n_nested;
    uint8_t *codes, *absmax_codes;
    float *absmax, *nested_absmax;
};

static struct quantized allocate_quantized(size_t n)
{
    struct quantized q = {.n = n};
    q.n_bytes = nf4_code_bytes((int64_t)n);
    q.n_blocks = nf4_block_count((int64_t)n);
    q.n_nested = nf4_nested_block_count((int64_t)q.n_blocks);
    q.codes = test_alloc(q.n_bytes + 1);
    q.absmax_codes = test_alloc(q.n_blocks + 1);
    q.codes[q.n_bytes] = q.absmax_codes[q.n_blocks] = 0xA5;
    q.absmax = guarded_floats(q.n_blocks);
    q.nested_absmax = guarded_floats(q.n_nested);
    return q;
}

static void free_quantized(struct quantized *q)
{
    ck_assert_int_eq(q->codes[q->n_bytes], 0xA5);
    ck_assert_int_eq(q->absmax_codes[q->n_blocks], 0xA5);
    check_guarded(q->absmax, q->n_blocks);
    check_guarded(q->nested_absmax, q->n_nested);
    free(q->codes), free(q->absmax_codes);
}

/* The matrix (1, n). */
static struct nf4_matrix matrix_of(const struct quantized *q, bool nested, float offset)
{
    struct nf4_matrix w = {.rows = 1, .columns = (int)q->n, .codes = q->codes, .offset = offset};
    if (nested)
        w.absmax_codes = q->absmax_codes, w.nested_absmax = q->nested_absmax;
    else
        w.absmax = q->absmax;
    return w;
}

/* ---- against bitsandbytes ------------------------------------------------------------------- */

/* The kinds of tests/golden/make_nf4.py. */
static void make_input(float *x, const char *kind, int n)
{
    fill_uniform(x, (size_t)n, (uint64_t)n, -1, 1);
    for (int i = 0; i < n; i++) {
        if (strcmp(kind, "cubes") == 0)
            x[i] = x[i] * x[i] * x[i];
        else if (strcmp(kind, "zeros") == 0)
            x[i] = i / 64 == 1 && n >= 192 ? 0 : i % 3 == 0 ? 0 : i % 3 == 1 ? -0.0f : x[i];
        else if (strcmp(kind, "subnormal") == 0)
            x[i] *= 0x1p-130f;
        else if (strcmp(kind, "huge") == 0)
            x[i] *= 3e38f;
        else if (strcmp(kind, "ties") == 0) {
            float tie = (nf4_map[i % 15] + nf4_map[i % 15 + 1]) / 2;
            int step = i / 15 % 3;
            x[i] = i % 64 == 0 ? 1 : step == 0 ? tie : nextafterf(tie, step == 1 ? -2 : 2);
        } else
            ck_assert_str_eq(kind, "uniform");
    }
}

static void check_golden(struct device *device, const struct nf4_golden *want, const float *x)
{
    const char *device_name = test_device_name(device);
#define CHECK_HASH(data, bytes, hash)                                                              \
    ck_assert_msg(fnv(data, bytes) == (hash), "%s %s %d: " #hash " differ", device_name,           \
                  want->name, want->n)
    struct quantized q = allocate_quantized((size_t)want->n);
    nf4_quantize(device, q.codes, q.absmax, x, want->n);
    for (size_t i = 0; want->hex[2 * i]; i++) {
        unsigned byte;
        ck_assert_int_eq(sscanf(want->hex + 2 * i, "%2x", &byte), 1);
        ck_assert_msg(q.codes[i] == byte, "%s %s %d: byte %zu is %02X, want %02X", device_name,
                      want->name, want->n, i, q.codes[i], byte);
    }
    CHECK_HASH(q.codes, q.n_bytes, want->codes);
    CHECK_HASH(q.absmax, 4 * q.n_blocks, want->absmax);
    float *decoded = guarded_floats(q.n);
    struct nf4_matrix plain = matrix_of(&q, false, 0);
    nf4_dequantize(device, decoded, &plain, 0, 1);
    CHECK_HASH(decoded, 4 * q.n, want->decoded);

    /* The offset to 1e-6; the rest exactly, given bitsandbytes' offset. */
    float offset, want_offset = float_from_bits(want->offset);
    nf4_quantize_absmax(q.absmax_codes, q.nested_absmax, &offset, q.absmax, (int64_t)q.n_blocks);
    ck_assert_msg(fabsf(offset - want_offset) <= 1e-6f * want_offset,
                  "%s %s %d: offset %.9g, want %.9g", device_name, want->name, want->n,
                  (double)offset, (double)want_offset);
    nf4_nest_absmax(q.absmax_codes, q.nested_absmax, q.absmax, (int64_t)q.n_blocks, want_offset);
    CHECK_HASH(q.absmax_codes, q.n_blocks, want->absmax_codes);
    CHECK_HASH(q.nested_absmax, 4 * q.n_nested, want->nested_absmax);
    struct nf4_matrix nested = matrix_of(&q, true, want_offset);
    nf4_dequantize(device, decoded, &nested, 0, 1);
    CHECK_HASH(decoded, 4 * q.n, want->decoded_nested);
    check_guarded(decoded, q.n);
    free_quantized(&q);
}

START_TEST(generated_inputs_give_bitsandbytes_bytes)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t i = 0; i < sizeof nf4_goldens / sizeof *nf4_goldens; i++) {
        float *x = guarded_floats((size_t)nf4_goldens[i].n);
        make_input(x, nf4_goldens[i].name, nf4_goldens[i].n);
        check_golden(&device, &nf4_goldens[i], x);
        check_guarded(x, (size_t)nf4_goldens[i].n);
    }
    device_close(&device);
}
END_TEST

START_TEST(real_weights_give_bitsandbytes_bytes)
{
    const char *folder = shared_data("models/tinystories-656k");
    if (!folder)
        SKIP("needs ../shared/data/models/tinystories-656k");
    struct err err;
    struct model_config config;
    struct weights *weights;
    ck_assert_msg(model_config_read(&config, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(weights_open(&weights, folder, &config, &err) == STATUS_OK, "%s", err.text);
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t i = 0; i < sizeof nf4_goldens_tinystories / sizeof *nf4_goldens_tinystories; i++) {
        const struct nf4_golden *want = &nf4_goldens_tinystories[i];
        const struct weight *weight = weights_find(weights, want->name);
        ck_assert_msg(weight != NULL, "%s is missing", want->name);
        ck_assert_int_eq(weight->rows * weight->columns, want->n);
        float *x = guarded_floats((size_t)want->n);
        ck_assert_int_eq(weight_read(weights, weight, 0, weight->rows, x, &err), STATUS_OK);
        check_golden(&device, want, x);
        check_guarded(x, (size_t)want->n);
    }
    device_close(&device);
    weights_close(weights);
}
END_TEST

/* ---- against the reference ------------------------------------------------------------------ */

static void check_reference(struct device *device, const float *x, size_t n)
{
    struct quantized got = allocate_quantized(n), want = allocate_quantized(n);
    nf4_quantize(device, got.codes, got.absmax, x, (int64_t)n);
    nf4_quantize_ref(want.codes, want.absmax, x, (int64_t)n);
    ck_assert_msg(memcmp(got.codes, want.codes, got.n_bytes) == 0, "%s n %zu: codes differ",
                  test_device_name(device), n);
    for (size_t i = 0; i < got.n_blocks; i++)
        ck_assert_msg(got.absmax[i] == want.absmax[i] ||
                          (isnan(got.absmax[i]) && isnan(want.absmax[i])),
                      "%s n %zu: absmax %zu is %g, want %g", test_device_name(device), n, i,
                      (double)got.absmax[i], (double)want.absmax[i]);
    free_quantized(&got), free_quantized(&want);
}

/* Blocks cut short, tasks of 512 blocks cut short, the order of nibbles. */
START_TEST(quantising_matches_reference)
{
    static const size_t sizes[] = {0,  1,   2,   31,  33,   63,    64,    65,
                                   66, 127, 128, 129, 1000, 32767, 32768, 32769};
    static const float deviations[] = {1.0f, 0.02f, 1e-37f, 1e-39f, 1e-44f, 1e37f};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t d = 0; d < sizeof deviations / sizeof *deviations; d++) {
            float *x = guarded_floats(sizes[s]);
            fill_normal(x, sizes[s], 100 * s + d, deviations[d]);
            check_reference(&device, x, sizes[s]);
            check_guarded(x, sizes[s]);
        }
    device_close(&device);
}
END_TEST

/* An all-zero block, whole or short, has absmax 0 and code 7, and decodes to 0. */
START_TEST(zero_blocks)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    float x[64 + 13] = {0}, y[64 + 13];
    x[5] = -0.0f;
    struct quantized q = allocate_quantized(77);
    nf4_quantize(&device, q.codes, q.absmax, x, 77);
    for (size_t i = 0; i < q.n_bytes; i++)
        ck_assert_int_eq(q.codes[i], 0x77);
    ck_assert(q.absmax[0] == 0 && q.absmax[1] == 0);
    struct nf4_matrix w = matrix_of(&q, false, 0);
    nf4_dequantize(&device, y, &w, 0, 1);
    for (int i = 0; i < 77; i++)
        ck_assert(y[i] == 0);
    free_quantized(&q);
    device_close(&device);
}
END_TEST

/* What is not finite must not come back as a plausible number; its block alone is spoilt. */
START_TEST(values_that_are_not_finite)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
        for (int at = 64; at < 192; at += 9) {
            float x[200], y[200];
            fill_normal(x, 200, b, 1.0f);
            x[at] = bad[b];
            check_reference(&device, x, 200);
            struct quantized q = allocate_quantized(200);
            nf4_quantize(&device, q.codes, q.absmax, x, 200);
            struct nf4_matrix w = matrix_of(&q, false, 0);
            nf4_dequantize(&device, y, &w, 0, 1);
            for (int block = 0; block < 4; block++) {
                bool spoilt = false;
                for (int i = block * 64; i < block * 64 + 64 && i < 200; i++)
                    spoilt |= !isfinite(y[i]);
                ck_assert_int_eq(spoilt, block == at / 64);
            }
            float offset;
            nf4_quantize_absmax(q.absmax_codes, q.nested_absmax, &offset, q.absmax, 4);
            w = matrix_of(&q, true, offset);
            nf4_dequantize(&device, y, &w, 0, 1);
            ck_assert(!isfinite(y[at]));
            free_quantized(&q);
        }
    device_close(&device);
}
END_TEST

/* Pieces that begin at blocks give what the whole gives: loaders stream. */
START_TEST(pieces_equal_the_whole)
{
    enum { N = 5000 };
    struct device device;
    ck_assert(test_device(_i, &device));
    float *x = guarded_floats(N);
    fill_normal(x, N, 7, 1.0f);
    struct quantized whole = allocate_quantized(N), pieces = allocate_quantized(N);
    nf4_quantize(&device, whole.codes, whole.absmax, x, N);
    for (int i = 0; i < N; i += 64 * 7) {
        int n = N - i < 64 * 7 ? N - i : 64 * 7;
        nf4_quantize(&device, pieces.codes + i / 2, pieces.absmax + i / 64, x + i, n);
    }
    ck_assert_mem_eq(whole.codes, pieces.codes, whole.n_bytes);
    ck_assert_mem_eq(whole.absmax, pieces.absmax, 4 * whole.n_blocks);
    check_guarded(x, N);
    free_quantized(&whole), free_quantized(&pieces);
    device_close(&device);
}
END_TEST

/* Around nested blocks of 256, constant absmax, and values that fall on both ends of the map. */
START_TEST(nesting_matches_reference)
{
    static const int sizes[] = {0, 1, 2, 255, 256, 257, 511, 513, 20000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 3; kind++) {
            size_t n = (size_t)sizes[s], n_nested = nf4_nested_block_count(sizes[s]);
            float *absmax = guarded_floats(n), offset;
            fill_uniform(absmax, n, s, 0.01f, kind == 0 ? 0.05f : kind == 1 ? 3e4f : 0.01f);
            float *nested = guarded_floats(n_nested), *want_nested = guarded_floats(n_nested);
            uint8_t *codes = test_alloc(n), *want_codes = test_alloc(n);
            nf4_quantize_absmax(codes, nested, &offset, absmax, sizes[s]);
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += absmax[i];
            ck_assert(n == 0 || fabs(offset - sum / (double)n) <= 1e-7 * (double)offset);
            nf4_nest_absmax_ref(want_codes, want_nested, absmax, sizes[s], offset);
            ck_assert_msg(memcmp(codes, want_codes, n) == 0, "n %zu kind %d: codes", n, kind);
            ck_assert_msg(memcmp(nested, want_nested, 4 * n_nested) == 0, "n %zu kind %d", n, kind);
            check_guarded(absmax, n);
            check_guarded(nested, n_nested), check_guarded(want_nested, n_nested);
            free(codes), free(want_codes);
        }
}
END_TEST

/* Any rows of any shape, against the reference: exact. */
START_TEST(dequantising_matches_reference)
{
    static const int shapes[][2] = {{1, 1},  {3, 5},  {7, 100},  {5, 63},
                                    {4, 64}, {3, 65}, {300, 129}};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int is_nested = 0; is_nested < 2; is_nested++) {
            int rows = shapes[s][0], columns = shapes[s][1];
            size_t n = (size_t)rows * (size_t)columns;
            float *x = guarded_floats(n), *got = guarded_floats(n), offset;
            double *want = test_alloc(n * sizeof *want);
            fill_normal(x, n, s, 1.0f);
            struct quantized q = allocate_quantized(n);
            nf4_quantize(&device, q.codes, q.absmax, x, (int64_t)n);
            nf4_quantize_absmax(q.absmax_codes, q.nested_absmax, &offset, q.absmax,
                                (int64_t)q.n_blocks);
            struct nf4_matrix w = matrix_of(&q, is_nested, offset);
            w.rows = rows, w.columns = columns;
            nf4_dequantize_ref(want, &w);
            nf4_dequantize(&device, got, &w, 0, rows / 2);
            nf4_dequantize(&device, got + rows / 2 * columns, &w, rows / 2, rows - rows / 2);
            for (size_t i = 0; i < n; i++)
                ck_assert_msg(got[i] == want[i], "(%d, %d) element %zu", rows, columns, i);
            check_guarded(x, n), check_guarded(got, n);
            free(want);
            free_quantized(&q);
        }
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nf4");
    TCase *tests = tcase_create("nf4");
    tcase_set_timeout(tests, 300);
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, generated_inputs_give_bitsandbytes_bytes, 0, n_devices);
    tcase_add_loop_test(tests, real_weights_give_bitsandbytes_bytes, 0, n_devices);
    tcase_add_loop_test(tests, quantising_matches_reference, 0, n_devices);
    tcase_add_loop_test(tests, zero_blocks, 0, n_devices);
    tcase_add_loop_test(tests, values_that_are_not_finite, 0, n_devices);
    tcase_add_loop_test(tests, pieces_equal_the_whole, 0, n_devices);
    tcase_add_test(tests, nesting_matches_reference);
    tcase_add_loop_test(tests, dequantising_matches_reference, 0, n_devices);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
