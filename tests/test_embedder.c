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
#include "tests/model_writer.h"

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

/* The error of a vector relative to its length. Up to layer N the residual stream takes in 2 N
 * products, here and in transformers (4 N); a chain of 256 terms errs by about 2^-24 * sqrt(256) of
 * its magnitudes, and errors of random sign add like their squares. 4: the magnitudes of a product
 * are larger than its result. Seen: a third of this (SmolLM2, layer 20, portable code: 9.9e-6). */
static double tolerance(int layer)
{
    return 4 * 0x1p-24 * 16 * sqrt(4 * layer + 1);
}

/* Entry `index` of the golden file's n_layers holds layer `layer`. */
static void check_vectors(const float *got, const char *golden_name, int n_layers, int index,
                          int layer, const char *what)
{
    struct err err;
    struct npy npy;
    ck_assert_msg(npy_open(&npy, golden(golden_name), &err) == STATUS_OK, "%s", err.text);
    size_t d = (size_t)npy.columns;
    const float *want = npy.data;
    for (size_t i = 0; i < N_TEXTS; i++) {
        const float *w = want + (i * (size_t)n_layers + (size_t)index) * d;
        double error = 0, norm = 0;
        for (size_t j = 0; j < d; j++) {
            double difference = (double)got[i * d + j] - w[j];
            error += difference * difference;
            norm += (double)w[j] * w[j];
        }
        ck_assert_msg(sqrt(error) <= tolerance(layer) * sqrt(norm),
                      "%s: layer %d text %zu: relative error %g", what, layer, i,
                      sqrt(error / norm));
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
            check_vectors(collected.vectors[r], file, 3, r % 3, layers[r % 3],
                          test_device_name(&device));
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

/* Rows of NF4 that straddle blocks, and rows of whole blocks, which have a decoder of their own. */
static const struct model_shape whole_blocks = {128, 192, 2, 4, 2, 32, 257, 256};
static const struct model_shape *const shapes[] = {&tiny_shape, &whole_blocks};

/* path (4096): a copy, since the buffers of found paths rotate. */
static void random_model(char *path, const struct model_shape *shape)
{
    snprintf(path, 4096, "%s", temporary_folder());
    write_random_model(path, shape);
}

static void check_same_bytes(const float *a, const float *b, size_t n, const char *what)
{
    ck_assert_msg(memcmp(a, b, n * sizeof *a) == 0, "%s: the bytes differ", what);
}

START_TEST(a_text_has_the_same_vector_in_any_company)
{
    const struct embedding_request request = {POOLING_LAST_MEAN, 2};
    char path[4096];
    static const enum precision precisions[] = {PRECISION_NF4, PRECISION_BF16, PRECISION_F32};
    struct corpus corpus;
    read_texts(&corpus);
    size_t width = 2 * (size_t)shapes[_i]->hidden;
    random_model(path, shapes[_i]);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int p = 0; p < 3; p++) {
            struct embedder_settings settings = settings_of(precisions[p], 2, 0);
            settings.max_tokens = 64; /* lets a batch hold one text */
            struct collected together, small, alone;
            embed(&together, &device, path, &settings, corpus.rows, N_TEXTS, &request, 1);
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
    if (!cpu_has(CPU_AVX2))
        SKIP("needs AVX2");
    char path[4096];
    random_model(path, shapes[_i]);
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
    check_same_bytes(one.vectors[0], three.vectors[0], N_TEXTS * (size_t)shapes[_i]->hidden,
                     "1 and 3 threads");
    free(one.vectors[0]), free(three.vectors[0]);
    corpus_free(&corpus);
}
END_TEST

/* ---- truncation, blanks, prompts ------------------------------------------------------------ */

/* A text of nothing but what the normaliser drops has no tokens: blank, like one of spaces. */
START_TEST(long_and_blank_texts_are_counted)
{
    const char *text = "the cat sat on the mat and the dog sat on the cat";
    const struct corpus_row rows[] = {{text, strlen(text), -1, false},
                                      {" ", 1, -1, true},
                                      {"the cat", 7, -1, false},
                                      {"##", 2, -1, false}};
    const struct embedding_request requests[] = {{POOLING_LAST, 2}, {POOLING_MEAN, 2}};
    struct embedder_settings settings = settings_of(PRECISION_F32, 2, 0);
    settings.max_tokens = 8;
    char path[4096];
    random_model(path, &tiny_shape);
    write_byte_tokenizer(path, "#");
    struct device device;
    struct collected cut;
    test_device(0, &device);
    struct embedding_counts counts = embed(&cut, &device, path, &settings, rows, 4, requests, 2);
    ck_assert_uint_eq(counts.texts, 2);
    ck_assert_uint_eq(counts.blank, 2);
    ck_assert_uint_eq(counts.truncated, 1);
    ck_assert_uint_eq(counts.tokens, 16);
    for (int r = 0; r < 2; r++) {
        size_t d = (size_t)tiny_shape.hidden;
        const float *vectors = cut.vectors[r];
        for (size_t j = 0; j < d; j++)
            ck_assert(vectors[d + j] == 0 && vectors[3 * d + j] == 0);
        ck_assert(vectors[0] != 0 && vectors[2 * d] != 0);
        free(cut.vectors[r]);
    }
    device_close(&device);
}
END_TEST

/* With "{text} {text}" the mean is over the second copy, which has seen the first. */
START_TEST(prompts_pool_the_last_copy)
{
    char path[4096];
    random_model(path, &tiny_shape);
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
    check_same_bytes(plain.vectors[0], echo.vectors[0], (size_t)tiny_shape.hidden, "layer 0");
    ck_assert(
        memcmp(plain.vectors[1], echo.vectors[1], (size_t)tiny_shape.hidden * sizeof(float)) != 0);
    for (int r = 0; r < 2; r++)
        free(plain.vectors[r]), free(echo.vectors[r]);
    device_close(&device);
}
END_TEST

START_TEST(prompt_without_room_is_refused)
{
    char path[4096];
    random_model(path, &tiny_shape);
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

/* ---- limits --------------------------------------------------------------------------------- */

/* What attention does not take is refused before anything is computed; what it just takes runs. */
START_TEST(heads_that_attention_does_not_take_are_refused)
{
    static const struct {
        int n_heads, n_kv_heads, head_dim, batch_tokens;
        enum status status;
        const char *part;
    } cases[] = {
        {1, 1, 1024, 0, STATUS_OK, ""},
        {1, 1, 1026, 0, STATUS_BAD_DATA, "heads of 1026 values: attention takes at most 1024"},
        {512, 1, 2, 0, STATUS_OK, ""},
        {513, 1, 2, 0, STATUS_BAD_DATA, "513 attention heads: at most 512"},
        {513, 513, 2, 0, STATUS_BAD_DATA, "513 attention heads: at most 512"},
        {4, 2, 12, (1 << 20) + 1, STATUS_USAGE, "--batch-tokens"},
    };
    const struct corpus_row row = {"red ball", 8, -1, false};
    const struct embedding_request request = {POOLING_LAST, 1};
    struct device device;
    test_device(0, &device);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_shape shape = tiny_shape;
        shape.n_layers = 1;
        shape.n_heads = cases[i].n_heads, shape.n_kv_heads = cases[i].n_kv_heads;
        shape.head_dim = cases[i].head_dim;
        char path[4096];
        random_model(path, &shape);
        struct embedder_settings settings = settings_of(PRECISION_F32, 1, cases[i].batch_tokens);
        if (cases[i].status == STATUS_OK) {
            struct collected collected;
            embed(&collected, &device, path, &settings, &row, 1, &request, 1);
            ck_assert(isfinite(collected.vectors[0][0]));
            free(collected.vectors[0]);
            continue;
        }
        struct embedder embedder;
        struct err err;
        enum status status = embedder_open(&embedder, &device, path, &settings, NULL, &err);
        check_error(status, &err, cases[i].status, cases[i].part, "limits");
    }
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
    ck_assert_int_eq(r.pool, POOLING_LAST);
    ck_assert_int_eq(r.normalise, NORMALISE_CENTRE_L2);
    ck_assert_str_eq(r.prompt, "This sentence: \"{text}\" means in one word: \"");
    ck_assert_int_eq(r.layer, 29);
    ck_assert_int_eq(r.remove_components, 0);
    /* A model of one block: its output, since layer 0 is the same for all texts. */
    ck_assert_int_eq(representation_resolve(&r, &request, 1, &err), STATUS_OK);
    ck_assert_int_eq(r.layer, 1);

    request.prompt = "none";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.pool, POOLING_MEAN);
    ck_assert_int_eq(r.normalise, NORMALISE_CENTRE_L2);
    ck_assert_str_eq(r.prompt, "{text}");
    ck_assert_int_eq(r.layer, 10);
    ck_assert_int_eq(r.remove_components, 2);
    request.prompt = NULL;

    request.pool = "last";
    ck_assert_int_eq(representation_resolve(&r, &request, 30, &err), STATUS_OK);
    ck_assert_int_eq(r.layer, 30);
    ck_assert_int_eq(r.remove_components, 0);
    ck_assert_int_eq(r.normalise, NORMALISE_NONE);
    ck_assert_str_eq(r.prompt, "{text}");

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
    tcase_add_loop_test(tests, a_text_has_the_same_vector_in_any_company, 0, 2);
    tcase_add_loop_test(tests, threads_do_not_change_a_byte, 0, 2);
    tcase_add_test(tests, long_and_blank_texts_are_counted);
    tcase_add_test(tests, prompts_pool_the_last_copy);
    tcase_add_test(tests, prompt_without_room_is_refused);
    tcase_add_test(tests, heads_that_attention_does_not_take_are_refused);
    tcase_add_test(tests, representation_words_are_settled);
    tcase_add_test(tests, declared_pooling_is_what_auto_means);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
