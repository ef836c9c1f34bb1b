/* Tokenizers: ids equal to the originals'. Vectors of llama.cpp and 400 titles each come from the
 * shared data; tests/golden/make_tokenizer.py made the rest with the original tools. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/corpus.h"
#include "loaders/tokenizer.h"

/* ---- help ----------------------------------------------------------------------------------- */

static struct tokenizer *open_tokenizer(const char *path)
{
    struct tokenizer *tokenizer;
    struct err err;
    ck_assert_msg(tokenizer_open(&tokenizer, path, &err) == STATUS_OK, "%s", err.text);
    return tokenizer;
}

/* A line of ids in decimal, as the golden files have them. */
static void parse_ids(const char *line, size_t length, struct tokens *ids)
{
    struct err err;
    ids->count = 0;
    for (const char *p = line; p < line + length;) {
        char *end;
        int32_t id = (int32_t)strtol(p, &end, 10);
        if (end == p || end > line + length)
            break;
        ck_assert_int_eq(tokens_append(ids, &id, 1, &err), STATUS_OK);
        p = end;
    }
}

static void check_ids(const struct tokenizer *tokenizer, const char *text, size_t length,
                      const struct tokens *want, const char *what, size_t number)
{
    struct tokens got = {0};
    struct err err;
    ck_assert_msg(tokenizer_encode(tokenizer, text, length, false, &got, &err) == STATUS_OK,
                  "%s %zu: %s", what, number, err.text);
    bool same = got.count == want->count;
    for (size_t i = 0; same && i < got.count; i++)
        same = got.ids[i] == want->ids[i];
    ck_assert_msg(same, "%s %zu: the ids differ (%zu, want %zu): %.*s", what, number, got.count,
                  want->count, (int)length, text);
    tokens_free(&got);
}

/* The next line of a mapped text file: its start and length; advances *place. */
static const char *next_line(const struct file_map *map, size_t *place, size_t *length)
{
    if (*place >= map->size)
        return NULL;
    const char *line = (const char *)map->data + *place;
    const char *end = memchr(line, '\n', map->size - *place);
    *length = end ? (size_t)(end - line) : map->size - *place;
    *place += *length + 1;
    return line;
}

static void map_file(struct file_map *map, const char *path)
{
    struct err err;
    ck_assert_msg(file_map(map, path, &err) == STATUS_OK, "%s", err.text);
}

/* ---- llama.cpp's vectors -------------------------------------------------------------------- */

static const char separator[] = "\n__ggml_vocab_test__\n";

static void check_vectors(const char *tokenizer_path, const char *inputs_path,
                          const char *outputs_path)
{
    struct tokenizer *tokenizer = open_tokenizer(tokenizer_path);
    struct file_map inputs, outputs;
    struct tokens want = {0};
    map_file(&inputs, inputs_path);
    map_file(&outputs, outputs_path);
    const char *text = (const char *)inputs.data, *end = text + inputs.size;
    size_t place = 0, n = 0, line_length;
    for (const char *line; (line = next_line(&outputs, &place, &line_length)); n++) {
        const char *next = memmem(text, (size_t)(end - text), separator, sizeof separator - 1);
        ck_assert_msg(next != NULL, "%s: fewer inputs than outputs", inputs_path);
        parse_ids(line, line_length, &want);
        check_ids(tokenizer, text, (size_t)(next - text), &want, inputs_path, n);
        text = next + sizeof separator - 1;
    }
    ck_assert_uint_ge(n, 30);
    tokens_free(&want);
    file_unmap(&inputs), file_unmap(&outputs);
    tokenizer_close(tokenizer);
}

static const struct {
    const char *tokenizer, *vectors;
} vector_cases[] = {
    {"tokenizers/llama2_spm.model", "ggml-vocab-llama-spm.gguf"},
    {"tokenizers/vectors/ggml-vocab-llama-spm.gguf", "ggml-vocab-llama-spm.gguf"},
    {"tokenizers/llama3_tokenizer.json", "ggml-vocab-llama-bpe.gguf"},
    {"tokenizers/qwen3_tokenizer.json", "ggml-vocab-qwen2.gguf"},
    {"tokenizers/vectors/ggml-vocab-gpt-2.gguf", "ggml-vocab-gpt-2.gguf"},
};

START_TEST(vectors_of_llama_cpp)
{
    char path[3][4096];
    const char *suffix[3] = {"", ".inp", ".out"};
    for (int i = 0; i < 3; i++) {
        char relative[256];
        if (i == 0)
            snprintf(relative, sizeof relative, "%s", vector_cases[_i].tokenizer);
        else
            snprintf(relative, sizeof relative, "tokenizers/vectors/%s%s", vector_cases[_i].vectors,
                     suffix[i]);
        const char *found = shared_data(relative);
        if (!found)
            SKIP("needs %s of the shared data", relative);
        snprintf(path[i], sizeof path[i], "%s", found);
    }
    check_vectors(path[0], path[1], path[2]);
}
END_TEST

/* ---- titles --------------------------------------------------------------------------------- */

static const struct {
    const char *tokenizer, *titles;
} title_cases[] = {
    {"tokenizers/llama2_spm.model", "tokenizers/vectors/golden_llama2_spm_400.tsv"},
    {"tokenizers/llama3_tokenizer.json", "tokenizers/vectors/golden_llama3_bpe_400.tsv"},
    {"tokenizers/qwen3_tokenizer.json", "tokenizers/vectors/golden_qwen3_bpe_400.tsv"},
};

START_TEST(four_hundred_titles)
{
    const char *tokenizer_path = shared_data(title_cases[_i].tokenizer);
    const char *titles_path = shared_data(title_cases[_i].titles);
    if (!tokenizer_path || !titles_path)
        SKIP("needs %s of the shared data", title_cases[_i].titles);
    struct tokenizer *tokenizer = open_tokenizer(tokenizer_path);
    struct file_map titles;
    struct tokens want = {0};
    size_t place = 0, length, n = 0;
    map_file(&titles, titles_path);
    for (const char *line; (line = next_line(&titles, &place, &length)); n++) {
        const char *tab = memchr(line, '\t', length);
        ck_assert_ptr_nonnull(tab);
        parse_ids(tab + 1, length - (size_t)(tab + 1 - line), &want);
        check_ids(tokenizer, line, (size_t)(tab - line), &want, "title", n);
    }
    ck_assert_uint_eq(n, 400);
    tokens_free(&want);
    file_unmap(&titles);
    tokenizer_close(tokenizer);
}
END_TEST

/* Mistral's ids of the first 400 livedoor titles, by a hash a title (FNV-1a over 32-bit ids). */
START_TEST(mistral_titles)
{
    const char *tokenizer_path = shared_data("tokenizers/mistral_v0.1_tokenizer.json");
    const char *corpus_path = shared_data("corpora/livedoor_titles.tsv");
    if (!tokenizer_path || !corpus_path)
        SKIP("needs mistral_v0.1_tokenizer.json and livedoor_titles.tsv of the shared data");
    struct tokenizer *tokenizer = open_tokenizer(tokenizer_path);
    struct corpus corpus;
    struct file_map hashes;
    struct tokens ids = {0};
    struct err err;
    ck_assert_int_eq(corpus_read(&corpus, corpus_path, &(struct corpus_settings){0}, &err),
                     STATUS_OK);
    map_file(&hashes, golden("tokenizer/mistral_titles.hash"));
    size_t place = 0, length, n = 0;
    for (const char *line; (line = next_line(&hashes, &place, &length)); n++) {
        uint64_t hash = 0xCBF29CE484222325u;
        ids.count = 0;
        ck_assert_int_eq(tokenizer_encode(tokenizer, corpus.rows[n].text, corpus.rows[n].length,
                                          false, &ids, &err),
                         STATUS_OK);
        for (size_t i = 0; i < ids.count; i++)
            for (int byte = 0; byte < 4; byte++)
                hash = (hash ^ ((uint32_t)ids.ids[i] >> 8 * byte & 0xFF)) * 0x100000001B3u;
        ck_assert_msg(hash == strtoull(line, NULL, 16), "title %zu: the ids differ", n);
    }
    ck_assert_uint_eq(n, 400);
    tokens_free(&ids);
    file_unmap(&hashes);
    corpus_free(&corpus);
    tokenizer_close(tokenizer);
}
END_TEST

/* ---- odd strings ---------------------------------------------------------------------------- */

static const struct {
    const char *name, *tokenizer; /* tokenizer NULL: the local SmolLM2 */
    int before;                   /* special tokens put before a text */
    int32_t bos;
} string_cases[] = {
    {"llama3", "tokenizers/llama3_tokenizer.json", 0, 128000}, /* its post-processor adds none */
    {"qwen3", "tokenizers/qwen3_tokenizer.json", 0, -1},
    {"mistral", "tokenizers/mistral_v0.1_tokenizer.json", 1, 1},
    {"tinystories", "models/tinystories-656k", 1, 1},
    {"llama2", "tokenizers/llama2_spm.model", 1, 1},
    {"smollm2", NULL, 0, 1},
};

/* The path of the case's tokenizer, or NULL. */
static const char *case_path(int i)
{
    const char *relative = string_cases[i].tokenizer;
    return relative ? shared_data(relative) : local_model("smollm2-135m");
}

START_TEST(odd_strings)
{
    const char *path = case_path(_i);
    if (!path)
        SKIP("needs the tokenizer of %s", string_cases[_i].name);
    struct tokenizer *tokenizer = open_tokenizer(path);
    struct file_map strings, ids;
    struct tokens want = {0};
    char name[128];
    snprintf(name, sizeof name, "tokenizer/%s.ids", string_cases[_i].name);
    map_file(&strings, golden("tokenizer/strings.jsonl"));
    map_file(&ids, golden(name));
    size_t string_place = 0, id_place = 0, length, id_length, n = 0;
    for (const char *line; (line = next_line(&strings, &string_place, &length)); n++) {
        json_t *string = json_loadb(line, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        const char *id_line = next_line(&ids, &id_place, &id_length);
        ck_assert_ptr_nonnull(string);
        ck_assert_ptr_nonnull(id_line);
        parse_ids(id_line, id_length, &want);
        check_ids(tokenizer, json_string_value(string), json_string_length(string), &want, name, n);
        json_decref(string);
    }
    ck_assert_uint_eq(n, 160);
    tokens_free(&want);
    file_unmap(&strings), file_unmap(&ids);
    tokenizer_close(tokenizer);
}
END_TEST

START_TEST(special_tokens_go_before)
{
    const char *path = case_path(_i);
    if (!path)
        SKIP("needs the tokenizer of %s", string_cases[_i].name);
    struct tokenizer *tokenizer = open_tokenizer(path);
    struct tokens plain = {0}, special = {0};
    struct err err;
    int before, behind;
    tokenizer_specials(tokenizer, &before, &behind);
    ck_assert_int_eq(before, string_cases[_i].before);
    ck_assert_int_eq(behind, 0);
    ck_assert_int_eq(tokenizer_bos(tokenizer), string_cases[_i].bos);
    ck_assert_int_eq(tokenizer_encode(tokenizer, "a text", 6, false, &plain, &err), STATUS_OK);
    ck_assert_int_eq(tokenizer_encode(tokenizer, "a text", 6, true, &special, &err), STATUS_OK);
    ck_assert_uint_eq(special.count, plain.count + (size_t)before);
    if (before)
        ck_assert_int_eq(special.ids[0], string_cases[_i].bos);
    ck_assert(memcmp(special.ids + before, plain.ids, plain.count * sizeof *plain.ids) == 0);
    tokens_free(&plain), tokens_free(&special);
    tokenizer_close(tokenizer);
}
END_TEST

/* The bytes of the ids, one behind the other, are the text again (with SentencePiece's space). */
START_TEST(bytes_of_ids_are_the_text)
{
    static const char text[] = "Zwölf Boxkämpfer; 見出し\n\t🙂 x";
    const char *path = case_path(_i);
    if (!path)
        SKIP("needs the tokenizer of %s", string_cases[_i].name);
    struct tokenizer *tokenizer = open_tokenizer(path);
    struct tokens ids = {0};
    struct err err;
    char back[256] = "";
    size_t length = 0;
    const char *bytes;
    ck_assert_int_eq(tokenizer_encode(tokenizer, text, sizeof text - 1, false, &ids, &err),
                     STATUS_OK);
    for (size_t i = 0; i < ids.count; i++) {
        size_t size = tokenizer_bytes(tokenizer, ids.ids[i], &bytes);
        ck_assert_uint_le(length + size, sizeof back);
        memcpy(back + length, bytes, size);
        length += size;
    }
    size_t space = back[0] == ' ';
    if (strcmp(string_cases[_i].name, "tinystories") == 0) {
        tokens_free(&ids);
        tokenizer_close(tokenizer);
        return; /* no byte fallback: what it does not know is lost */
    }
    ck_assert_uint_eq(length - space, sizeof text - 1);
    ck_assert(memcmp(back + space, text, length - space) == 0);
    ck_assert_uint_eq(tokenizer_bytes(tokenizer, -1, &bytes), 0);
    ck_assert_uint_eq(tokenizer_bytes(tokenizer, tokenizer_vocab_size(tokenizer), &bytes), 0);
    tokens_free(&ids);
    tokenizer_close(tokenizer);
}
END_TEST

/* ---- a tokenizer of our own, for what needs no data ----------------------------------------- */

#define HEAD "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"post_processor\":null,"
#define BYTE_LEVEL                                                                                 \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"  \
    "\"use_regex\":true},\"decoder\":null,"
#define MODEL(vocab, merges)                                                                       \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}}"

static enum status open_text(const char *json, struct tokenizer **tokenizer, struct err *err)
{
    const char *folder = temporary_folder();
    return tokenizer_open(tokenizer, write_file(folder, "tokenizer.json", json, strlen(json)), err);
}

START_TEST(damaged_files_are_refused)
{
    static const struct {
        const char *json, *words;
        enum status status;
    } cases[] = {
        {"", "", STATUS_BAD_DATA},
        {"{", "", STATUS_BAD_DATA},
        {"[]", "", STATUS_BAD_DATA},
        {"{\"model\":7}", "model", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "WordPiece",
         STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL "\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "Unigram",
         STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":0,\"b\":1", "\"a c\""), "", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":0,\"b\":1", "\"a b\""), "", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":0,\"b\":0", ""), "", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":-1", ""), "", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":99999999999", ""), "", STATUS_BAD_DATA},
        {HEAD BYTE_LEVEL MODEL("\"a\":\"0\"", ""), "", STATUS_BAD_DATA},
        {HEAD "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," MODEL("\"a\":0", ""),
         "BertPreTokenizer", STATUS_BAD_DATA},
        {"{\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":null," MODEL("\"a\":0",
                                                                                       ""),
         "BertNormalizer", STATUS_BAD_DATA},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *tokenizer = NULL;
        struct err err = {0};
        enum status status = open_text(cases[i].json, &tokenizer, &err);
        ck_assert_msg(status == cases[i].status, "case %zu: status %d: %s", i, status, err.text);
        ck_assert_msg(strstr(err.text, cases[i].words) && strstr(err.text, "tokenizer.json"),
                      "case %zu: %s", i, err.text);
        tokenizer_close(tokenizer);
    }
}
END_TEST

START_TEST(damaged_sentencepiece_models_are_refused)
{
    const char *path = shared_data("models/stories260K/tok512.model");
    if (!path)
        SKIP("needs tok512.model of the shared data");
    struct file_map map;
    map_file(&map, path);
    char folder[4096]; /* the buffers of paths rotate */
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    /* Cut anywhere, it is damaged; the whole opens. */
    for (size_t size = 0; size <= map.size; size += size < 64 || size > map.size - 64 ? 1 : 97) {
        struct tokenizer *tokenizer = NULL;
        struct err err = {0};
        const char *cut = write_file(folder, "tokenizer.model", map.data, size);
        enum status status = tokenizer_open(&tokenizer, cut, &err);
        if (size == map.size)
            ck_assert_msg(status == STATUS_OK, "%s", err.text);
        else
            ck_assert_msg(status == STATUS_OK || status == STATUS_BAD_DATA, "at %zu: status %d",
                          size, status);
        tokenizer_close(tokenizer);
        if (size + 97 > map.size && size < map.size - 64)
            size = map.size - 65;
    }
    file_unmap(&map);
}
END_TEST

START_TEST(invalid_text_names_its_byte)
{
    struct tokenizer *tokenizer;
    struct tokens ids = {0};
    struct err err = {0};
    ck_assert_msg(open_text(HEAD BYTE_LEVEL MODEL("\"a\":0,\"b\":1,\"ab\":2", "\"a b\""),
                            &tokenizer, &err) == STATUS_OK,
                  "%s", err.text);
    ck_assert_int_eq(tokenizer_encode(tokenizer, "ab\xFF", 3, false, &ids, &err), STATUS_BAD_DATA);
    ck_assert_msg(strstr(err.text, "byte 2") != NULL, "%s", err.text);
    ids.count = 0;
    ck_assert_int_eq(tokenizer_encode(tokenizer, "abab", 4, false, &ids, &err), STATUS_OK);
    ck_assert_uint_eq(ids.count, 2);
    ck_assert(ids.ids[0] == 2 && ids.ids[1] == 2);
    tokens_free(&ids);
    tokenizer_close(tokenizer);
}
END_TEST

struct encode_job {
    const struct tokenizer *tokenizer;
    size_t counts[64];
};

static void encode_task(void *context, int task, int worker)
{
    (void)worker;
    struct encode_job *job = context;
    struct tokens ids = {0};
    struct err err;
    for (int repeat = 0; repeat < 50; repeat++) {
        ids.count = 0;
        if (tokenizer_encode(job->tokenizer, "several threads, one tokenizer", 30, true, &ids,
                             &err))
            return;
    }
    job->counts[task] = ids.count;
    tokens_free(&ids);
}

START_TEST(threads_share_a_tokenizer)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    struct encode_job job = {.tokenizer = open_tokenizer(path)};
    struct threads *threads;
    struct err err;
    ck_assert_int_eq(threads_create(&threads, 3, &err), STATUS_OK);
    threads_run(threads, 64, encode_task, &job);
    for (int i = 0; i < 64; i++)
        ck_assert(job.counts[i] > 3 && job.counts[i] == job.counts[0]);
    threads_destroy(threads);
    tokenizer_close((struct tokenizer *)job.tokenizer);
}
END_TEST

/* Ten megabytes without a space must not crawl: seconds, where quadratic work would take hours. */
START_TEST(a_long_text_does_not_crawl)
{
    static const char *const paths[] = {"tokenizers/llama2_spm.model",
                                        "tokenizers/llama3_tokenizer.json"};
    const size_t length = (size_t)3 << 20;
    for (int i = 0; i < 2; i++) {
        const char *path = shared_data(paths[i]);
        if (!path)
            SKIP("needs %s of the shared data", paths[i]);
        struct tokenizer *tokenizer = open_tokenizer(path);
        struct tokens ids = {0};
        struct err err;
        char *text = malloc(length);
        for (size_t j = 0; j < length; j++)
            text[j] = (char)('a' + mix64(1, j) % 26);
        ck_assert_msg(tokenizer_encode(tokenizer, text, length, false, &ids, &err) == STATUS_OK,
                      "%s", err.text);
        ck_assert_uint_gt(ids.count, length / 10);
        free(text);
        tokens_free(&ids);
        tokenizer_close(tokenizer);
    }
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tests = tcase_create("tokenizer");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, vectors_of_llama_cpp, 0, COUNT(vector_cases));
    tcase_add_loop_test(tests, four_hundred_titles, 0, COUNT(title_cases));
    tcase_add_test(tests, mistral_titles);
    tcase_add_loop_test(tests, odd_strings, 0, COUNT(string_cases));
    tcase_add_loop_test(tests, special_tokens_go_before, 0, COUNT(string_cases));
    tcase_add_loop_test(tests, bytes_of_ids_are_the_text, 0, COUNT(string_cases));
    tcase_add_test(tests, damaged_files_are_refused);
    tcase_add_test(tests, damaged_sentencepiece_models_are_refused);
    tcase_add_test(tests, invalid_text_names_its_byte);
    tcase_add_test(tests, threads_share_a_tokenizer);
    tcase_add_test(tests, a_long_text_does_not_crawl);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
