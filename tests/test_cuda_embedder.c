/* Whole models on a GPU, that is on softcuda: near to float64, the same bytes in any batch, and
 * nothing lost when memory ends. Golden numbers: tests/golden/make_nf4_states.py. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/embedder.h"
#include "loaders/npy.h"
#include "tests/stories_model.h"

/* ---- help ----------------------------------------------------------------------------------- */

/* Rows of the first request. */
struct collected {
    size_t width;
    float *vectors;
};

static enum status collect(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    struct collected *collected = context;
    (void)err;
    if (request == 0)
        memcpy(collected->vectors + first_row * collected->width, vectors,
               n_rows * collected->width * sizeof *vectors);
    return STATUS_OK;
}

static void read_headlines(struct corpus *corpus)
{
    struct err err;
    cuda_good(corpus_read(corpus, "demo/headlines_en.tsv", &(struct corpus_settings){0}, &err),
              &err);
}

/* Opens, runs and closes. *vectors: the caller frees. */
static enum status embed_status(float **vectors, size_t *width, const char *model,
                                const struct corpus *corpus, size_t n_rows, enum pool pool,
                                int layer, int batch_tokens, struct err *err)
{
    struct embedder embedder;
    struct embedding_counts counts;
    struct model_config config;
    TRY(model_config_read(&config, model, err));
    const struct embedding_request request = {pool, layer < 0 ? config.n_layers : layer};
    const struct embedder_settings settings = {
        .precision = PRECISION_NF4,
        .prompt = "{text}",
        .n_layers = request.layer,
        .batch_tokens = batch_tokens,
    };
    TRY(embedder_open(&embedder, &cuda_test, model, &settings, NULL, err));
    struct collected collected = {(size_t)embedding_width(&embedder, pool), NULL};
    collected.vectors = malloc(n_rows * collected.width * sizeof *collected.vectors);
    enum status status = embedder_run(&embedder, &cuda_test, corpus->rows, n_rows, &request, 1,
                                      collect, &collected, &counts, NULL, err);
    embedder_close(&embedder);
    *vectors = collected.vectors;
    *width = collected.width;
    if (status != STATUS_OK)
        free(collected.vectors);
    return status;
}

static float *embed(size_t *width, const char *model, const struct corpus *corpus, size_t n_rows,
                    enum pool pool, int layer, int batch_tokens)
{
    struct err err;
    float *vectors = NULL;
    cuda_good(embed_status(&vectors, width, model, corpus, n_rows, pool, layer, batch_tokens, &err),
              &err);
    return vectors;
}

/* ---- against float64 ------------------------------------------------------------------------ */

/* The relative error over all rows, and that of the worst row. */
struct error {
    double all, worst;
};

static struct error error_of(const float *got, const float *want, size_t n, size_t width)
{
    struct error error = {0, 0};
    double errors = 0, norms = 0;
    for (size_t i = 0; i < n; i++) {
        double squares = 0, norm = 0;
        for (size_t j = 0; j < width; j++) {
            double w = want[i * width + j], difference = got[i * width + j] - w;
            squares += difference * difference;
            norm += w * w;
        }
        if (!(sqrt(squares / norm) <= error.worst))
            error.worst = sqrt(squares / norm);
        errors += squares;
        norms += norm;
    }
    error.all = sqrt(errors / norms);
    return error;
}

/* Texts where not all are asked for. */
#define FEW 16

/* At most twice the error of torch in bfloat16, of the same texts. */
static void check_model(const char *path, const char *name, size_t n_full)
{
    size_t n = cuda_test_full() || n_full < FEW ? n_full : FEW;
    struct err err;
    struct corpus corpus;
    struct npy exact, torch;
    char file[256];
    size_t width;
    read_headlines(&corpus);
    snprintf(file, sizeof file, "nf4_states/%s_float64.npy", name);
    cuda_good(npy_open(&exact, golden(file), &err), &err);
    snprintf(file, sizeof file, "nf4_states/%s_bf16.npy", name);
    cuda_good(npy_open(&torch, golden(file), &err), &err);
    ck_assert_int_eq(exact.rows, (int64_t)n_full);
    float *got = embed(&width, path, &corpus, n, POOLING_LAST, -1, 0);
    ck_assert_uint_eq(width, (size_t)exact.columns);
    struct error ours = error_of(got, exact.data, n, width);
    struct error theirs = error_of(torch.data, exact.data, n, width);
    ck_assert_msg(ours.all <= 2 * theirs.all && ours.worst <= 2 * theirs.worst,
                  "%s: relative error %.5f, worst text %.5f; torch's %.5f and %.5f", name, ours.all,
                  ours.worst, theirs.all, theirs.worst);
    free(got);
    npy_close(&exact), npy_close(&torch);
    corpus_free(&corpus);
}

START_TEST(tinystories_is_near_float64)
{
    const char *model = shared_data("models/tinystories-656k");
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    check_model(model, "tinystories", 200);
    device_close(&cuda_test);
}
END_TEST

START_TEST(stories260k_is_near_float64)
{
    const char *model = stories_model();
    if (!model)
        SKIP("needs models/stories260K of the shared data");
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    check_model(model, "stories260k", 200);
    device_close(&cuda_test);
}
END_TEST

START_TEST(smollm2_is_near_float64)
{
    const char *model = local_model("smollm2-135m");
    if (!model)
        SKIP("needs models/smollm2-135m");
    if (!cuda_test_device(1))
        SKIP("needs nvcc");
    check_model(model, "smollm2", 24);
    device_close(&cuda_test);
}
END_TEST

/* ---- the same bytes ------------------------------------------------------------------------- */

START_TEST(a_text_has_the_same_bytes_in_any_batch)
{
    enum { N = 12 };
    const char *model = shared_data("models/tinystories-656k");
    struct corpus corpus;
    size_t width;
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    read_headlines(&corpus);
    float *all = embed(&width, model, &corpus, N, POOLING_LAST_MEAN, -1, 4096);
    float *few = embed(&width, model, &corpus, N, POOLING_LAST_MEAN, -1, 512);
    ck_assert_mem_eq(all, few, N * width * sizeof *all);
    for (size_t row = 0; row < N; row += 5) {
        struct corpus one = {.rows = corpus.rows + row, .n_rows = 1};
        float *alone = embed(&width, model, &one, 1, POOLING_LAST_MEAN, -1, 512);
        ck_assert_mem_eq(all + row * width, alone, width * sizeof *alone);
        free(alone);
    }
    free(all), free(few);
    corpus_free(&corpus);
    device_close(&cuda_test);
}
END_TEST

/* ---- when memory ends ----------------------------------------------------------------------- */

static enum status embed_two(void *model, struct err *err)
{
    struct corpus corpus;
    float *vectors;
    size_t width;
    read_headlines(&corpus);
    enum status status =
        embed_status(&vectors, &width, model, &corpus, 2, POOLING_LAST_MEAN, -1, 0, err);
    corpus_free(&corpus);
    if (status == STATUS_OK)
        free(vectors);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    const char *model = shared_data("models/tinystories-656k");
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    int n = 1, result;
    while ((result = cuda_test_with_failure(n, embed_two, (void *)(uintptr_t)model)) ==
           CUDA_CLEAN_ERROR)
        n++;
    ck_assert_msg(result == 0, "allocation %d: exit code %d", n, result);
    ck_assert_msg(n > 8, "only %d allocations", n - 1);
}
END_TEST

START_TEST(what_does_not_fit_is_told)
{
    struct err err;
    struct cuda_arena arena = {0};
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    cuda_arena_take(&arena, (size_t)1 << 40, 1);
    ck_assert_int_eq(
        cuda_arena_open(&arena, cuda_test.cuda, "a very large model", "buy a card", &err),
        STATUS_RESOURCE);
    ck_assert_msg(strstr(err.text, "a very large model needs 1099.51 GB, of which 1088.77 GB are "
                                   "not free") &&
                      strstr(err.text, "; buy a card"),
                  "%s", err.text);
    /* Measured and then carved: every piece where it was planned. */
    for (int turn = 0; turn < 2; turn++) {
        char *base = (char *)(uintptr_t)arena.base;
        ck_assert_ptr_eq(cuda_arena_take(&arena, 3, 100), base);
        size_t mark = arena.used;
        ck_assert_ptr_eq(cuda_arena_take(&arena, 1, 5000), base + 512);
        cuda_arena_reset(&arena, mark);
        ck_assert_ptr_eq(cuda_arena_take(&arena, 1, 1), base + 512);
        ck_assert_uint_eq(arena.most, 512 + 5000);
        if (turn == 0)
            cuda_good(cuda_arena_open(&arena, cuda_test.cuda, "little", "", &err), &err);
    }
    ck_assert_uint_eq(arena.bytes, 512 + 5000);
    cuda_arena_close(&arena, cuda_test.cuda);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_embedder");
    TCase *tests = tcase_create("cuda_embedder");
    tcase_set_timeout(tests, 300); /* under all checks, on a busy machine */
    tcase_add_loop_test(tests, tinystories_is_near_float64, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, stories260k_is_near_float64, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_text_has_the_same_bytes_in_any_batch, 0, 3);
    tcase_add_test(tests, every_allocation_may_fail);
    tcase_add_test(tests, what_does_not_fit_is_told);
    suite_add_tcase(suite, tests);
    TCase *large = tcase_create("large");
    tcase_set_timeout(large, 1200); /* minutes, where much else runs */
    tcase_add_test(large, smollm2_is_near_float64);
    suite_add_tcase(suite, large);
    return run_suite(suite);
}
