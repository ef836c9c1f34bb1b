/* The embedder against transformers in float32, and the promise that a text has the same vector
 * alone and in any company. Golden numbers: tests/golden/make_hidden_states.py. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/embedder.h"
#include "host/representation.h"
#include "loaders/npy.h"

#define N_TEXTS 12

/* ---- help ----------------------------------------------------------------------------------- */

static void read_texts(struct corpus *corpus)
{
    struct err err;
    ck_assert_msg(corpus_read(corpus, golden("hidden_states/texts.txt"),
                              &(struct corpus_settings){0}, &err) == STATUS_OK,
                  "%s", err.text);
    ck_assert_uint_eq(corpus->n_rows, N_TEXTS);
}

/* Vectors of all requests: request r, row i at [r][i]. */
struct collected {
    const struct embedder *embedder;
    const struct embedding_request *requests;
    size_t n_rows, next_row[9];
    float *vectors[9];
};

static enum status collect(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    (void)err;
    struct collected *collected = context;
    size_t width = (size_t)embedding_width(collected->embedder, collected->requests[request].pool);
    ck_assert_uint_eq(first_row, collected->next_row[request]);
    collected->next_row[request] += n_rows;
    memcpy(collected->vectors[request] + first_row * width, vectors,
           n_rows * width * sizeof *vectors);
    return STATUS_OK;
}

static struct embedder_settings settings_of(enum precision precision, int n_layers,
                                            int batch_tokens)
{
    return (struct embedder_settings){
        .precision = precision,
        .prompt = "{text}",
        .n_layers = n_layers,
        .batch_tokens = batch_tokens,
    };
}

/* The caller frees the vectors. */
static struct embedding_counts embed(struct collected *collected, struct device *device,
                                     const char *model, const struct embedder_settings *settings,
                                     const struct corpus_row *rows, size_t n_rows,
                                     const struct embedding_request *requests, int n_requests)
{
    struct err err;
    struct embedder embedder;
    struct embedding_counts counts;
    ck_assert_msg(embedder_open(&embedder, device, model, settings, NULL, &err) == STATUS_OK, "%s",
                  err.text);
    *collected = (struct collected){&embedder, requests, n_rows, {0}, {0}};
    for (int r = 0; r < n_requests; r++)
        collected->vectors[r] =
            malloc(n_rows * (size_t)embedding_width(&embedder, requests[r].pool) * sizeof(float));
    ck_assert_msg(embedder_run(&embedder, device, rows, n_rows, requests, n_requests, collect,
                               collected, &counts, NULL, &err) == STATUS_OK,
                  "%s", err.text);
    for (int r = 0; r < n_requests; r++)
        ck_assert_uint_eq(collected->next_row[r], n_rows);
    embedder_close(&embedder);
    return counts;
}

/* ---- against transformers ------------------------------------------------------------------- */

/* Relative error of each vector by its length: |got - want| / |want| <= 1e-4. */
static void check_vectors(const float *got, const char *golden_name, int n_layers, int layer,
                          const char *what)
{
    struct err err;
    struct npy npy;
    ck_assert_msg(npy_open(&npy, golden(golden_name), &err) == STATUS_OK, "%s", err.text);
    size_t d = (size_t)npy.columns;
    const float *want = npy.data;
    for (size_t i = 0; i < N_TEXTS; i++) {
        const float *w = want + (i * (size_t)n_layers + (size_t)layer) * d;
        double error = 0, norm = 0;
        for (size_t j = 0; j < d; j++) {
            double difference = (double)got[i * d + j] - w[j];
            error += difference * difference;
            norm += (double)w[j] * w[j];
        }
        ck_assert_msg(sqrt(error) <= 1e-4 * sqrt(norm), "%s: layer %d text %zu: relative error %g",
                      what, layer, i, sqrt(error / norm));
    }
    npy_close(&npy);
}

static void check_model(const char *found, const char *name, const int layers[3])
{
    char path[4096]; /* the buffers of found paths rotate */
    snprintf(path, sizeof path, "%s", found);
    static const enum pool pools[] = {POOLING_LAST, POOLING_MEAN, POOLING_MEAN_ALL};
    struct embedding_request requests[9];
    for (int r = 0; r < 9; r++)
        requests[r] = (struct embedding_request){pools[r / 3], layers[r % 3]};
    struct embedder_settings settings = settings_of(PRECISION_F32, layers[2], 0);
    struct corpus corpus;
    read_texts(&corpus);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct collected collected;
        embed(&collected, &device, path, &settings, corpus.rows, corpus.n_rows, requests, 9);
        for (int r = 0; r < 9; r++) {
            char file[128];
            snprintf(file, sizeof file, "hidden_states/%s_%s.npy", name, pool_name(pools[r / 3]));
            check_vectors(collected.vectors[r], file, 3, r % 3, test_device_name(&device));
            free(collected.vectors[r]);
        }
        device_close(&device);
    }
    corpus_free(&corpus);
}

START_TEST(tinystories_matches_transformers)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    check_model(path, "tinystories", (int[]){0, 1, 2});
}
END_TEST

START_TEST(smollm2_matches_transformers)
{
    const char *path = local_model("smollm2-135m");
    if (!path)
        SKIP("needs models/smollm2-135m; tools/fetch-model.sh smollm2-135m gets it");
    check_model(path, "smollm2", (int[]){0, 20, 30});
}
END_TEST

/* ---- batch invariance ----------------------------------------------------------------------- */

static void check_same_bytes(const float *a, const float *b, size_t n, const char *what)
{
    ck_assert_msg(memcmp(a, b, n * sizeof *a) == 0, "%s: the bytes differ", what);
}

START_TEST(a_text_has_the_same_vector_in_any_company)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    const struct embedding_request request = {POOLING_LAST_MEAN, 2};
    static const enum precision precisions[] = {PRECISION_NF4, PRECISION_BF16, PRECISION_F32};
    struct corpus corpus;
    read_texts(&corpus);
    size_t width = 2 * 128;
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int p = 0; p < 3; p++) {
            struct embedder_settings settings = settings_of(precisions[p], 2, 0);
            struct collected together, small, alone;
            embed(&together, &device, path, &settings, corpus.rows, N_TEXTS, &request, 1);
            settings.max_tokens = 64; /* longer than every text here; lets a batch hold one text */
            settings.batch_tokens = 64;
            embed(&small, &device, path, &settings, corpus.rows, N_TEXTS, &request, 1);
            check_same_bytes(together.vectors[0], small.vectors[0], N_TEXTS * width, "batches");
            for (size_t row = 0; row < N_TEXTS; row += 5) {
                embed(&alone, &device, path, &settings, &corpus.rows[row], 1, &request, 1);
                check_same_bytes(together.vectors[0] + row * width, alone.vectors[0], width,
                                 "alone");
                free(alone.vectors[0]);
            }
            free(together.vectors[0]), free(small.vectors[0]);
        }
        device_close(&device);
    }
    corpus_free(&corpus);
}
END_TEST

START_TEST(threads_do_not_change_a_byte)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cpu_has(CPU_AVX2))
        SKIP("needs AVX2");
    const struct embedding_request request = {POOLING_MEAN, 1};
    struct embedder_settings settings = settings_of(PRECISION_NF4, 1, 0);
    struct corpus corpus;
    read_texts(&corpus);
    struct collected one, three;
    struct device device;
    test_device(1, &device);
    embed(&one, &device, path, &settings, corpus.rows, N_TEXTS, &request, 1);
    device_close(&device);
    test_device(2, &device);
    embed(&three, &device, path, &settings, corpus.rows, N_TEXTS, &request, 1);
    device_close(&device);
    check_same_bytes(one.vectors[0], three.vectors[0], N_TEXTS * 128, "1 and 3 threads");
    free(one.vectors[0]), free(three.vectors[0]);
    corpus_free(&corpus);
}
END_TEST

/* ---- truncation, blanks, prompts ------------------------------------------------------------ */

START_TEST(long_and_blank_texts_are_counted)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    const char *text = "the cat sat on the mat and the dog sat on the cat";
    const struct corpus_row rows[] = {
        {text, strlen(text), -1, false}, {" ", 1, -1, true}, {"the cat", 7, -1, false}};
    const struct embedding_request request = {POOLING_LAST, 2};
    struct embedder_settings settings = settings_of(PRECISION_F32, 2, 0);
    settings.max_tokens = 8;
    struct device device;
    struct collected cut;
    test_device(0, &device);
    struct embedding_counts counts = embed(&cut, &device, path, &settings, rows, 3, &request, 1);
    ck_assert_uint_eq(counts.texts, 2);
    ck_assert_uint_eq(counts.blank, 1);
    ck_assert_uint_eq(counts.truncated, 1);
    for (int j = 0; j < 128; j++)
        ck_assert(cut.vectors[0][128 + j] == 0);
    ck_assert(cut.vectors[0][0] != 0 && cut.vectors[0][2 * 128] != 0);
    free(cut.vectors[0]);
    device_close(&device);
}
END_TEST

/* With "{text} {text}" the mean is over the second copy, which has seen the first. */
START_TEST(prompts_pool_the_last_copy)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    const struct corpus_row row = {"red ball", 8, -1, false};
    const struct embedding_request requests[] = {{POOLING_MEAN, 0}, {POOLING_MEAN, 2}};
    struct embedder_settings settings = settings_of(PRECISION_F32, 2, 0);
    struct device device;
    struct collected plain, echo;
    test_device(0, &device);
    embed(&plain, &device, path, &settings, &row, 1, requests, 2);
    settings.prompt = "a story: {text} again: {text}";
    embed(&echo, &device, path, &settings, &row, 1, requests, 2);
    /* Layer 0 knows no neighbours: the same tokens give the same mean. Layer 2 does. */
    check_same_bytes(plain.vectors[0], echo.vectors[0], 128, "layer 0");
    ck_assert(memcmp(plain.vectors[1], echo.vectors[1], 128 * sizeof(float)) != 0);
    for (int r = 0; r < 2; r++)
        free(plain.vectors[r]), free(echo.vectors[r]);
    device_close(&device);
}
END_TEST

START_TEST(prompt_without_room_is_refused)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    struct embedder_settings settings = settings_of(PRECISION_F32, 2, 0);
    settings.max_tokens = 3;
    settings.prompt = "Rewrite the sentence: {text}, rewritten sentence: {text}";
    struct device device;
    struct embedder embedder;
    struct err err;
    test_device(0, &device);
    ck_assert_int_eq(embedder_open(&embedder, &device, path, &settings, NULL, &err), STATUS_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "--max-tokens 3"));
    device_close(&device);
}
END_TEST

/* ---- choices -------------------------------------------------------------------------------- */

START_TEST(representation_words_are_settled)
{
    struct representation r;
    struct err err;
    struct representation_request request = {0};
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.pool, POOLING_MEAN);
    ck_assert_int_eq(r.normalise, NORMALISE_CENTRE_L2);
    ck_assert_str_eq(r.prompt, "{text}");

    ck_assert_int_eq(r.layer, 10);
    ck_assert_int_eq(r.remove_components, 2);

    request.pool = "last";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.layer, 30);
    ck_assert_int_eq(r.remove_components, 0);
    ck_assert_int_eq(r.normalise, NORMALISE_NONE);

    static const struct {
        const char *layer;
        int want; /* -1: refused */
    } layers[] = {{"0", 0},   {"30", 30}, {"-1", 30},
                  {"-31", 0}, {"31", -1}, {"-32", -1},
                  {"", -1},   {"2x", -1}, {"99999999999999999999", -1}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        request.layer = layers[i].layer;
        enum status status = representation_resolve(&r, &request, 30, &err);
        ck_assert_int_eq(status, layers[i].want < 0 ? STATUS_USAGE : STATUS_OK);
        if (layers[i].want >= 0)
            ck_assert_int_eq(r.layer, layers[i].want);
    }
    request.layer = NULL;
    static const char *const wrong[] = {"65", "-1", "", "2x", " 2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        request.remove_components = wrong[i];
        ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_USAGE);
    }
    request.remove_components = "64";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.remove_components, 64);
    request.prompt = "no slot";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "{text}"));
}
END_TEST

/* What a sentence-transformers folder declares decides under auto, and only there. */
START_TEST(declared_pooling_is_what_auto_means)
{
    struct representation r;
    struct err err;
    struct sentence_pooling declared = {.mode = SENTENCE_LAST, .l2 = true};
    struct representation_request request = {.declared = &declared};
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.pool, POOLING_LAST);
    ck_assert_int_eq(r.layer, 30);
    ck_assert_int_eq(r.normalise, NORMALISE_L2);
    ck_assert_int_eq(r.remove_components, 0);
    ck_assert_str_eq(r.prompt, "{text}");

    declared = (struct sentence_pooling){.mode = SENTENCE_MEAN};
    request.layer = "5";
    request.normalise = "centre";
    request.pool = "auto";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.pool, POOLING_MEAN_ALL);
    ck_assert_int_eq(r.layer, 5);
    ck_assert_int_eq(r.normalise, NORMALISE_CENTRE);
    request.normalise = NULL;
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.normalise, NORMALISE_NONE);

    declared = (struct sentence_pooling){.mode = SENTENCE_OTHER, .what = "pooling by cls"};
    check_error(representation_resolve(&r, &request, 30, &err), &err, STATUS_USAGE,
                "--pool auto: the model asks for pooling by cls, which is not built; give --pool",
                "cls");
    request.pool = "mean";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.pool, POOLING_MEAN);

    static const char *const words[] = {"none", "centre", "l2", "centre+l2"};
    for (int i = 0; i < 4; i++) {
        request.normalise = words[i];
        ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
        ck_assert_str_eq(normalise_name(r.normalise), words[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("embedder");
    TCase *tests = tcase_create("embedder");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, tinystories_matches_transformers);
    tcase_add_test(tests, smollm2_matches_transformers);
    tcase_add_test(tests, a_text_has_the_same_vector_in_any_company);
    tcase_add_test(tests, threads_do_not_change_a_byte);
    tcase_add_test(tests, long_and_blank_texts_are_counted);
    tcase_add_test(tests, prompts_pool_the_last_copy);
    tcase_add_test(tests, prompt_without_room_is_refused);
    tcase_add_test(tests, representation_words_are_settled);
    tcase_add_test(tests, declared_pooling_is_what_auto_means);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
