/* What a run asks of the driver, call by call, and how large batches are where memory is short. On
 * softcuda, with a model of random weights. */
#include "tests/cuda_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/amount.h"
#include "host/base/cuda_memory.h"
#include "host/embedder.h"
#include "tests/model_writer.h"

/* ---- a model and texts ---------------------------------------------------------------------- */

#define N_TEXTS    40
#define MAX_TOKENS 64

static char text_bytes[N_TEXTS][MAX_TOKENS];
static struct corpus_row rows[N_TEXTS];

/* Text i has 20 + i bytes, and a token more. */
static const char *write_model(void)
{
    for (int i = 0; i < N_TEXTS; i++) {
        for (int j = 0; j < 20 + i; j++)
            text_bytes[i][j] = (char)('a' + (i * 7 + j * 3) % 26);
        rows[i] = (struct corpus_row){.text = text_bytes[i], .length = (size_t)(20 + i)};
    }
    const char *folder = temporary_folder();
    write_random_model(folder, &tiny_shape);
    return folder;
}

static enum status open_model(struct embedder *embedder, const char *model,
                              enum precision precision, int batch_tokens, struct err *err)
{
    const struct embedder_settings settings = {
        .precision = precision,
        .prompt = "{text}",
        .n_layers = tiny_shape.n_layers,
        .max_tokens = MAX_TOKENS,
        .batch_tokens = batch_tokens,
    };
    return embedder_open(embedder, &cuda_test, model, &settings, NULL, err);
}

/* ---- what the driver is asked --------------------------------------------------------------- */

static enum status hand_on(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    (void)context, (void)first_row, (void)n_rows, (void)vectors, (void)err;
    if (request == 0)
        cuda_calls_note('k');
    return STATUS_OK;
}

/* Between a batch's numbers and its vectors there are launches alone, on the one stream: nothing is
 * allocated, loaded or waited for. The host waits for a batch when the next one is queued, hands it
 * on, and tokenises meanwhile. Batches are of many tokens, and of few, which other kernels take. */
START_TEST(a_batch_is_a_row_of_launches)
{
    static const enum precision precisions[] = {PRECISION_NF4, PRECISION_BF16};
    const struct embedding_request requests[] = {{POOLING_LAST_MEAN, tiny_shape.n_layers},
                                                 {POOLING_MEAN_ALL, 1}};
    struct embedder embedder;
    struct embedding_counts counts;
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *model = write_model();
    cuda_good(open_model(&embedder, model, precisions[_i], 8 * MAX_TOKENS, &err), &err);
    struct corpus_row few = {.text = "a", .length = 1};
    cuda_calls_listen();
    cuda_good(embedder_run(&embedder, &cuda_test, &few, 1, requests, 2, hand_on, NULL, &counts,
                           NULL, &err),
              &err);
    ck_assert_str_eq(cuda_calls, "PPAuLdrWkSF");
    cuda_calls_clear();
    cuda_good(embedder_run(&embedder, &cuda_test, rows, N_TEXTS, requests, 2, hand_on, NULL,
                           &counts, NULL, &err),
              &err);
    ck_assert_uint_eq(counts.tokens, N_TEXTS * 21 + N_TEXTS * (N_TEXTS - 1) / 2);
    ck_assert_str_eq(cuda_calls, "PPA"
                                 "uLdr"   /* the first is queued, */
                                 "uLdrWk" /* the second; the first is waited for and handed on */
                                 "uLdrWk"
                                 "uLdrWk"
                                 "WkSF");
    cuda_calls_end();
    embedder_close(&embedder);
    device_close(&cuda_test);
}
END_TEST

/* A batch that memory chooses leaves little free: all kernels, those that quantise too, are there
 * before it is chosen. */
START_TEST(kernels_are_loaded_before_memory_is_taken)
{
    static const enum precision precisions[] = {PRECISION_NF4, PRECISION_BF16};
    struct embedder embedder;
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *model = write_model();
    cuda_calls_listen_to_memory();
    cuda_good(open_model(&embedder, model, precisions[_i], 0, &err), &err);
    ck_assert_str_eq(cuda_calls, "MAPPPP"); /* loading has a ring */
    cuda_calls_end();
    embedder_close(&embedder);
    device_close(&cuda_test);
}
END_TEST

/* ---- batches by free memory ----------------------------------------------------------------- */

/* What softcuda allocates is a multiple of. */
#define GRANULE 512

/* Another program's, so to speak: leaves `bytes`, rounded down to whole granules. */
static CUdeviceptr other_program;

static void leave_free(size_t bytes)
{
    struct err err;
    size_t available;
    cuda_good(cuda_memory_free(cuda_test.cuda, &available, &err), &err);
    size_t taken = available - bytes / GRANULE * GRANULE;
    ck_assert_int_eq(cuda_test.cuda->driver.MemAlloc(&other_program, taken), CUDA_SUCCESS);
    cuda_good(cuda_memory_free(cuda_test.cuda, &available, &err), &err);
    ck_assert_uint_eq(available, bytes / GRANULE * GRANULE);
}

static void leave_all_free(void)
{
    ck_assert_int_eq(cuda_test.cuda->driver.MemFree(other_program), CUDA_SUCCESS);
}

/* Of the model with batches of so many tokens. Kernels are loaded once, and stay. */
static size_t bytes_needed(const char *model, int batch_tokens)
{
    struct embedder embedder;
    struct err err;
    cuda_good(open_model(&embedder, model, PRECISION_NF4, batch_tokens, &err), &err);
    ck_assert_int_eq(embedder.llama.batch_tokens, batch_tokens);
    size_t bytes = cuda_test.cuda->allocated.now;
    ck_assert_uint_gt(bytes, embedder.llama.weight_bytes);
    embedder_close(&embedder);
    ck_assert_uint_eq(cuda_test.cuda->allocated.now, 0);
    return bytes;
}

static enum status collect(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    size_t width = 2 * (size_t)tiny_shape.hidden;
    (void)request, (void)err;
    memcpy((float *)context + first_row * width, vectors, n_rows * width * sizeof *vectors);
    return STATUS_OK;
}

/* Opens with a batch as memory allows, embeds where `vectors` (N_TEXTS, 2 * hidden) is not NULL,
 * and closes. Returns the batch's tokens. */
static int run_within(const char *model, size_t bytes, float *vectors)
{
    const struct embedding_request request = {POOLING_LAST_MEAN, tiny_shape.n_layers};
    struct embedder embedder;
    struct embedding_counts counts;
    struct err err;
    leave_free(bytes);
    cuda_good(open_model(&embedder, model, PRECISION_NF4, 0, &err), &err);
    int batch_tokens = embedder.llama.batch_tokens;
    if (vectors)
        cuda_good(embedder_run(&embedder, &cuda_test, rows, N_TEXTS, &request, 1, collect, vectors,
                               &counts, NULL, &err),
                  &err);
    embedder_close(&embedder);
    leave_all_free();
    return batch_tokens;
}

/* What the embedder takes beside the model: numbers, and the vectors of a pair. */
static size_t bytes_beside(int batch_tokens)
{
    size_t tokens = (size_t)batch_tokens, texts = tokens < 4096 ? tokens : 4096;
    return 5 * tokens * sizeof(int32_t) + 2 * texts * (size_t)tiny_shape.hidden * sizeof(float);
}

START_TEST(batches_are_as_large_as_memory_allows)
{
    enum { WIDTH = N_TEXTS * 2 * 48 };
    static float in_large[WIDTH], in_small[WIDTH];
    ck_assert_int_eq(tiny_shape.hidden, 48);
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *model = write_model();
    size_t smallest = bytes_needed(model, MAX_TOKENS);
    /* More than a batch can use. */
    size_t plenty = 2 * (bytes_needed(model, 16384) + bytes_beside(16384));
    ck_assert_int_eq(run_within(model, plenty, in_large), 16384);
    /* Enough for so many, with what stays free, and for no more. */
    static const int sizes[] = {4096 + 64, 960};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t bytes = bytes_needed(model, sizes[i]) + bytes_beside(sizes[i]);
        bytes = (size_t)((double)bytes / 0.95) + GRANULE;
        ck_assert_int_eq(run_within(model, bytes, in_small), sizes[i]);
        ck_assert_mem_eq(in_large, in_small, sizeof in_large);
        ck_assert_int_eq(run_within(model, bytes - 2 * GRANULE, NULL), sizes[i] - 64);
    }
    /* A text at a time, if there is no other way: what stays free else is used up. */
    size_t beside = bytes_beside(MAX_TOKENS) + GRANULE;
    ck_assert_int_eq(run_within(model, smallest + beside, in_small), MAX_TOKENS);
    ck_assert_mem_eq(in_large, in_small, sizeof in_large);
    /* To the last byte. */
    ck_assert_int_eq(run_within(model, smallest + GRANULE - 1, NULL), MAX_TOKENS);
    device_close(&cuda_test);
}
END_TEST

/* Fails with `part` in its text and, where it is not NULL, without `absent`. */
static void check_refused(const char *model, enum precision precision, int batch_tokens,
                          const char *part, const char *absent)
{
    struct embedder embedder;
    struct err err;
    check_error(open_model(&embedder, model, precision, batch_tokens, &err), &err, STATUS_RESOURCE,
                part, "a model that does not fit");
    ck_assert_msg(!absent || !strstr(err.text, absent), "%s", err.text);
    ck_assert_uint_eq(cuda_test.cuda->allocated.now, 0);
}

START_TEST(a_model_that_does_not_fit_says_by_how_much)
{
    char text[256];
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *model = write_model();
    size_t smallest = bytes_needed(model, MAX_TOKENS), large = bytes_needed(model, 16384);
    /* A granule less than holds it: fewer than 512 bytes are missing. */
    size_t less = (smallest - 1) / GRANULE * GRANULE;
    leave_free(less);
    snprintf(text, sizeof text,
             "cuda:0: the model with a batch of 64 tokens needs %s, of which %zu byte%s not free (",
             amount_of(smallest).text, smallest - less, smallest - less == 1 ? " is" : "s are");
    check_refused(model, PRECISION_NF4, 0, text, "--batch-tokens");
    check_refused(model, PRECISION_NF4, 0,
                  "; use a smaller --max-tokens, a smaller model, or --device cpu",
                  "--batch-tokens");
    leave_all_free();
    /* A batch that the user wants, and that could be smaller. */
    leave_free(large - 100000);
    snprintf(text, sizeof text, "the model with a batch of 16384 tokens needs %s, of which ",
             amount_of(large).text);
    check_refused(model, PRECISION_NF4, 16384, text, "--max-tokens");
    check_refused(model, PRECISION_NF4, 16384, "; use a smaller --batch-tokens, a smaller model",
                  NULL);
    check_refused(model, PRECISION_BF16, 16384, "; use --precision nf4, a smaller --batch-tokens",
                  "smaller model");
    leave_all_free();
    device_close(&cuda_test);
}
END_TEST

/* An earlier launch's failure, as drivers report it in any call behind it. */
static CUresult allocate_after_failure(CUdeviceptr *address, size_t bytes)
{
    (void)bytes;
    *address = 1;
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult allocate_host_after_failure(void **address, size_t bytes, unsigned flags)
{
    (void)bytes, (void)flags;
    *address = cuda_calls;
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

START_TEST(other_failures_are_no_lack_of_memory)
{
    struct err err;
    CUdeviceptr address;
    void *host;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const struct cuda_driver real = cuda_test.cuda->driver;
    cuda_test.cuda->driver.MemAlloc = allocate_after_failure;
    cuda_test.cuda->driver.MemHostAlloc = allocate_host_after_failure;
    check_error(cuda_memory_take(cuda_test.cuda, &address, 1, "a byte", "buy one", &err), &err,
                STATUS_RESOURCE, "cuda: cuMemAlloc: CUDA_ERROR_ILLEGAL_ADDRESS: ", "memory");
    ck_assert_uint_eq(address, 0);
    ck_assert_uint_eq(cuda_test.cuda->allocated.now, 0);
    check_error(cuda_pinned_alloc(cuda_test.cuda, &host, 1, &err), &err, STATUS_RESOURCE,
                "cuda: cuMemHostAlloc: CUDA_ERROR_ILLEGAL_ADDRESS: ", "page-locked memory");
    ck_assert_ptr_null(host);
    cuda_test.cuda->driver = real;
    device_close(&cuda_test);
}
END_TEST

/* A batch is at least a text, which may be too long for attention. */
START_TEST(a_text_longer_than_any_batch_is_refused)
{
    struct model_shape shape = tiny_shape;
    struct embedder embedder;
    struct err err;
    shape.max_positions = 1 << 21;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *folder = temporary_folder();
    write_random_model(folder, &shape);
    const struct embedder_settings settings = {
        .precision = PRECISION_NF4,
        .prompt = "{text}",
        .n_layers = shape.n_layers,
        .max_tokens = (1 << 20) + 1,
    };
    check_error(embedder_open(&embedder, &cuda_test, folder, &settings, NULL, &err), &err,
                STATUS_USAGE, "a batch of 1048577 tokens: at most 1048576 are taken", "max_tokens");
    device_close(&cuda_test);
}
END_TEST

/* The model fits, the vectors of a batch do not. */
START_TEST(vectors_that_do_not_fit_are_told)
{
    const struct embedding_request request = {POOLING_LAST_MEAN, tiny_shape.n_layers};
    struct embedder embedder;
    struct embedding_counts counts;
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    const char *model = write_model();
    leave_free(bytes_needed(model, 1024) + 2 * GRANULE);
    cuda_good(open_model(&embedder, model, PRECISION_NF4, 1024, &err), &err);
    check_error(embedder_run(&embedder, &cuda_test, rows, N_TEXTS, &request, 1, hand_on, NULL,
                             &counts, NULL, &err),
                &err, STATUS_RESOURCE, "a batch of vectors needs", "vectors");
    ck_assert_msg(strstr(err.text, "; use a smaller --batch-tokens"), "%s", err.text);
    embedder_close(&embedder);
    leave_all_free();
    ck_assert_uint_eq(cuda_test.cuda->allocated.now, 0);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_batches");
    TCase *tests = tcase_create("cuda_batches");
    tcase_set_timeout(tests, 300); /* under sanitizers, on a busy machine */
    tcase_add_loop_test(tests, a_batch_is_a_row_of_launches, 0, 2);
    tcase_add_loop_test(tests, kernels_are_loaded_before_memory_is_taken, 0, 2);
    tcase_add_test(tests, batches_are_as_large_as_memory_allows);
    tcase_add_test(tests, a_model_that_does_not_fit_says_by_how_much);
    tcase_add_test(tests, other_failures_are_no_lack_of_memory);
    tcase_add_test(tests, a_text_longer_than_any_batch_is_refused);
    tcase_add_test(tests, vectors_that_do_not_fit_are_told);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
