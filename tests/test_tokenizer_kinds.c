/* Every kind of tokenizer that is read, on small files that are always there: ids by the original
 * libraries (tests/golden/make_tokenizer_kinds.py), damaged files, and lack of memory. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/tokenizer.h"

static const char *const kinds[] = {
    "bytes_prefix.json",      "bytes_split.json",
    "bytes_inverted.json",    "bytes_fused.json",
    "bytes_dropped.json",     "metaspace_always.json",
    "metaspace_first.json",   "metaspace_never.json",
    "characters.json",        "characters_some_bytes.json",
    "characters_joined.json", "spm_user_defined.model",
    "spm_kept_spaces.model",  "spm_unknown.model",
    "spm_no_prefix.model",    "spm_plain_spaces.model",
    "gguf_smollm.gguf",       "gguf_llama_bpe.gguf",
    "gguf_qwen2.gguf",        "gguf_spm.gguf",
};
#define N_KINDS ((int)(sizeof kinds / sizeof *kinds))

/* ---- files ---------------------------------------------------------------------------------- */

/* A whole file in fresh memory, a 0 byte behind. */
static char *read_golden(const char *name, size_t *size)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tokenizer_kinds/%s", name);
    struct file_map map;
    struct err err;
    ck_assert_msg(file_map(&map, golden(relative), &err) == STATUS_OK, "%s", err.text);
    char *data = malloc(map.size + 1);
    ck_assert_ptr_nonnull(data);
    memcpy(data, map.data, map.size);
    data[map.size] = '\0';
    *size = map.size;
    file_unmap(&map);
    return data;
}

static struct tokenizer *open_kind(const char *name)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tokenizer_kinds/%s", name);
    struct tokenizer *tokenizer;
    struct err err;
    ck_assert_msg(tokenizer_open(&tokenizer, golden(relative), &err) == STATUS_OK, "%s", err.text);
    return tokenizer;
}

/* ---- ids ------------------------------------------------------------------------------------ */

/* Takes the numbers up to the end of the line or a bar off *place. */
static void take_ids(char **place, struct tokens *ids)
{
    struct err err;
    ids->count = 0;
    for (;;) {
        *place += strspn(*place, " ");
        if (**place == '\n' || **place == '|' || **place == '\0')
            break;
        int32_t id = (int32_t)strtol(*place, place, 10);
        ck_assert_int_eq(tokens_append(ids, &id, 1, &err), STATUS_OK);
    }
    *place += **place != '\0';
}

static void check_same(const struct tokens *got, const int32_t *want, size_t n, const char *what,
                       size_t number)
{
    for (size_t i = 0; i < n && i < got->count; i++)
        if (got->ids[i] != want[i])
            ck_abort_msg("%s, text %zu: token %zu is %d, want %d", what, number, i, got->ids[i],
                         want[i]);
    if (got->count != n)
        ck_abort_msg("%s, text %zu: %zu tokens, want %zu", what, number, got->count, n);
}

/* text by itself, and with the special tokens round it. */
static void check_text(const struct tokenizer *tokenizer, const json_t *text,
                       const struct tokens *want, const struct tokens *before,
                       const struct tokens *behind, const char *what, size_t number)
{
    struct tokens got = {0};
    struct err err;
    const char *bytes = json_string_value(text);
    size_t length = json_string_length(text);
    if (tokenizer_encode(tokenizer, bytes, length, false, &got, &err) != STATUS_OK)
        ck_abort_msg("%s, text %zu: %s", what, number, err.text);
    check_same(&got, want->ids, want->count, what, number);
    got.count = 0;
    if (tokenizer_encode(tokenizer, bytes, length, true, &got, &err) != STATUS_OK)
        ck_abort_msg("%s, text %zu: %s", what, number, err.text);
    struct tokens whole = {0};
    tokens_append(&whole, before->ids, before->count, &err);
    tokens_append(&whole, want->ids, want->count, &err);
    tokens_append(&whole, behind->ids, behind->count, &err);
    check_same(&got, whole.ids, whole.count, what, number);
    tokens_free(&whole);
    tokens_free(&got);
}

START_TEST(every_kind_gives_the_original_ids)
{
    const char *kind = kinds[_i];
    char name[256];
    snprintf(name, sizeof name, "%.*s.ids", (int)(strrchr(kind, '.') - kind), kind);
    size_t size;
    char *texts = read_golden("texts.jsonl", &size), *ids = read_golden(name, &size), *id = ids;
    struct tokenizer *tokenizer = open_kind(kind);
    struct tokens before = {0}, behind = {0}, want = {0};
    int n_before, n_behind;
    take_ids(&id, &before);
    take_ids(&id, &behind);
    tokenizer_specials(tokenizer, &n_before, &n_behind);
    ck_assert_int_eq(n_before, (int)before.count);
    ck_assert_int_eq(n_behind, (int)behind.count);
    size_t n = 0;
    for (char *line = texts, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
        json_t *text =
            json_loadb(line, (size_t)(end - line), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(text);
        take_ids(&id, &want);
        check_text(tokenizer, text, &want, &before, &behind, kind, n);
        json_decref(text);
    }
    ck_assert_uint_ge(n, 60);
    ck_assert_int_eq(*id, '\0');
    tokens_free(&before), tokens_free(&behind), tokens_free(&want);
    tokenizer_close(tokenizer);
    free(texts), free(ids);
}
END_TEST

/* ---- surfaces and the settings beside the file ---------------------------------------------- */

static void check_bytes(const struct tokenizer *tokenizer, const char *text, int token,
                        const char *want)
{
    struct tokens ids = {0};
    struct err err;
    const char *bytes;
    ck_assert_int_eq(tokenizer_encode(tokenizer, text, strlen(text), true, &ids, &err), STATUS_OK);
    ck_assert_uint_gt(ids.count, (size_t)token);
    size_t length = tokenizer_bytes(tokenizer, ids.ids[token], &bytes);
    ck_assert_msg(length == strlen(want) && memcmp(bytes, want, length) == 0,
                  "token %d of '%s' is '%.*s', want '%s'", token, text, (int)length, bytes, want);
    tokens_free(&ids);
}

START_TEST(tokens_stand_for_bytes)
{
    struct tokenizer *tokenizer = open_kind("bytes_prefix.json");
    check_bytes(tokenizer, "the", 0, "");          /* a special token */
    check_bytes(tokenizer, "the", 1, " the");      /* with the space put before */
    check_bytes(tokenizer, "<tool>", 1, "<tool>"); /* an added token */
    check_bytes(tokenizer, "\xE2\x82\xAC", 2, "\xE2");
    ck_assert_str_eq(tokenizer_kind(tokenizer), "byte-level BPE");
    tokenizer_close(tokenizer);
    tokenizer = open_kind("spm_user_defined.model");
    check_bytes(tokenizer, "the", 0, "");
    check_bytes(tokenizer, "the", 1, " the");
    check_bytes(tokenizer, "\xE2\x82\xAC", 2, "\xE2");
    check_bytes(tokenizer, "\t", 2, "\t");
    ck_assert_str_eq(tokenizer_kind(tokenizer), "SentencePiece-style BPE");
    ck_assert_int_eq(tokenizer_bos(tokenizer), 1);
    ck_assert_int_eq(tokenizer_eos(tokenizer), 2);
    tokenizer_close(tokenizer);
}
END_TEST

static const struct config_case {
    const char *config;
    int before, behind; /* -1: refused, with words in the message */
    const char *words;
} config_cases[] = {
    {"{}", 1, 0, ""},
    {"{\"add_bos_token\":null,\"model_max_length\":1000000000000000019884624838656}", 1, 0, ""},
    {"{\"add_bos_token\":false}", 0, 0, ""},
    {"{\"add_eos_token\":true}", 1, 1, ""},
    {"{\"add_bos_token\":false,\"add_eos_token\":true,\"eos_token\":{\"content\":\"<s>\"}}", 0, 1,
     ""},
    {"{\"add_bos_token\":true,\"bos_token\":\"</s>\"}", 1, 0, ""},
    {"{\"add_bos_token\":1}", -1, 0, "add_bos_token"},
    {"{\"bos_token\":7}", -1, 0, "bos_token"},
    {"{\"eos_token\":\"<|nowhere|>\"}", -1, 0, "eos_token"},
    {"[]", -1, 0, "object"},
    {"{\"bos_token\":", -1, 0, "line 1"},
};

START_TEST(the_settings_beside_a_tokenizer_overrule)
{
    char folder[4096]; /* the buffers of paths rotate */
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    size_t size;
    char *model = read_golden("spm_kept_spaces.model", &size);
    write_file(folder, "tokenizer.model", model, size);
    for (size_t i = 0; i < sizeof config_cases / sizeof *config_cases; i++) {
        const struct config_case *c = &config_cases[i];
        write_file(folder, "tokenizer_config.json", c->config, strlen(c->config));
        struct tokenizer *tokenizer;
        struct err err = {0};
        enum status status = tokenizer_open(&tokenizer, folder, &err);
        if (c->before < 0) {
            ck_assert_int_eq(status, STATUS_BAD_DATA);
            ck_assert_msg(strstr(err.text, c->words) && strstr(err.text, "tokenizer_config.json"),
                          "%s: %s", c->config, err.text);
            continue;
        }
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
        int before, behind;
        tokenizer_specials(tokenizer, &before, &behind);
        ck_assert_msg(before == c->before && behind == c->behind, "%s: %d and %d", c->config,
                      before, behind);
        tokenizer_close(tokenizer);
    }
    free(model);
}
END_TEST

START_TEST(folders_are_looked_through)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    struct tokenizer *tokenizer;
    struct err err = {0};
    ck_assert_int_eq(tokenizer_open(&tokenizer, folder, &err), STATUS_MISSING);
    ck_assert_msg(strstr(err.text, "tokenizer.json") != NULL, "%s", err.text);
    size_t size;
    char *data = read_golden("gguf_spm.gguf", &size);
    write_file(folder, "some-model.gguf", data, size);
    ck_assert_msg(tokenizer_open(&tokenizer, folder, &err) == STATUS_OK, "%s", err.text);
    tokenizer_close(tokenizer);
    write_file(folder, "another.gguf", data, size);
    check_error(tokenizer_open(&tokenizer, folder, &err), &err, STATUS_BAD_DATA,
                "2 .gguf files stand here; name one of them", "two");
    free(data);
    data = read_golden("bytes_prefix.json", &size); /* goes before any .gguf */
    write_file(folder, "tokenizer.json", data, size);
    ck_assert_msg(tokenizer_open(&tokenizer, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_str_eq(tokenizer_kind(tokenizer), "byte-level BPE");
    tokenizer_close(tokenizer);
    const char *beside = write_file(folder, "model.safetensors", "", 0);
    ck_assert_msg(tokenizer_open(&tokenizer, beside, &err) == STATUS_OK, "%s", err.text);
    ck_assert_str_eq(tokenizer_kind(tokenizer), "byte-level BPE");
    tokenizer_close(tokenizer);
    ck_assert_int_eq(tokenizer_open(&tokenizer, "tests/golden/no/such/file", &err), STATUS_MISSING);
    free(data);
}
END_TEST

/* ---- damage --------------------------------------------------------------------------------- */

#define NFC             "{\"type\":\"NFC\"}"
#define NFC4            NFC "," NFC "," NFC "," NFC ","
#define NFC16           NFC4 NFC4 NFC4 NFC4
#define NESTED(key, x)  "{\"type\":\"Sequence\",\"" key "\":[" x "]}"
#define NESTED3(key, x) NESTED(key, NESTED(key, NESTED(key, x)))
#define SPACES          "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"split\":false}"
#define SPACES4         SPACES "," SPACES "," SPACES "," SPACES ","
#define SPACES16        SPACES4 SPACES4 SPACES4 SPACES4

/* `from`, where it stands first in the file, becomes `to`. */
static const struct damage {
    const char *file, *from;
    size_t n_from;
    const char *to;
    size_t n_to;
    const char *words; /* NULL: the file still opens */
} damages[] = {
#define DAMAGE(file, from, to, words)                                                              \
    {                                                                                              \
        file, from, sizeof(from) - 1, to, sizeof(to) - 1, words                                    \
    }
    DAMAGE("bytes_prefix.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "Unigram"),
    DAMAGE("bytes_prefix.json", "\"type\":\"BPE\"", "\"type\":\"WordLevel\"", "WordLevel"),
    DAMAGE("bytes_prefix.json", "\"type\":\"BPE\"", "\"type\":7", "model.type"),
    DAMAGE("bytes_prefix.json", "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"",
           "end_of_word_suffix"),
    DAMAGE("bytes_prefix.json", "\"dropout\":null", "\"dropout\":0.1", "dropout"),
    DAMAGE("bytes_prefix.json", "\"ignore_merges\":false", "\"ignore_merges\":\"no\"",
           "ignore_merges"),
    DAMAGE("bytes_prefix.json", "\"unk_token\":null", "\"unk_token\":\"<gone>\"", "<gone>"),
    DAMAGE("bytes_prefix.json", "\"unk_token\":null", "\"unk_token\":[]", "unk_token"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":{\"!!\":0,", "id 0"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":{\"!!\":-1,", "out of range"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":{\"!!\":900000,", "out of range"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":{\"!!\":1e3,", "no integer"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":[],\"x\":{", "model.vocab"),
    DAMAGE("bytes_prefix.json", "\"vocab\":{", "\"vocab\":{},\"x\":{", "model.vocab"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":[\"t\",", "merge 0"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":[\"t h e\",", "merge 0"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":[[\"t\"],", "merge 0"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":[[\"t\",7],", "merge 0"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":[\"q q\",", "not in model.vocab"),
    DAMAGE("bytes_prefix.json", "\"merges\":[", "\"merges\":7,\"x\":[", "model.merges"),
    DAMAGE("bytes_prefix.json", "\"type\":\"NFC\"", "\"type\":\"NFKC\"", "NFKC"),
    DAMAGE("bytes_prefix.json", "\"type\":\"NFC\"", "\"type\":\"Replace\",\"content\":\"\"",
           "Replace"),
    DAMAGE("bytes_prefix.json", "\"type\":\"NFC\"", "\"type\":\"Prepend\"", "Prepend"),
    DAMAGE("bytes_prefix.json", "{\"type\":\"NFC\"}", "{\"type\":\"Sequence\"}", "Sequence"),
    DAMAGE("bytes_prefix.json", "{\"type\":\"NFC\"}", "[\"NFC\"]", "not an object"),
    DAMAGE("bytes_prefix.json", "{\"type\":\"NFC\"}",
           "{\"type\":\"Sequence\",\"normalizers\":[" NFC16 NFC "]}", "more than 16"),
    DAMAGE("bytes_prefix.json", "{\"type\":\"NFC\"}",
           NESTED3("normalizers", NESTED3("normalizers", NESTED3("normalizers", NFC))),
           "inside each other"),
    DAMAGE("bytes_prefix.json", "\"pre_tokenizer\":",
           "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" SPACES16 SPACES
           "]},\"x\":",
           "more than 16"),
    DAMAGE("bytes_prefix.json", "\"add_prefix_space\":true", "\"add_prefix_space\":0",
           "add_prefix"),
    DAMAGE("bytes_prefix.json", "\"type\":\"ByteLevel\"", "\"type\":\"Whitespace\"", "Whitespace"),
    DAMAGE("bytes_prefix.json", "\"SpecialToken\"", "\"Token\"", "unknown kind"),
    DAMAGE("bytes_prefix.json", "\"Sequence\":{\"id\":\"A\"", "\"Sequence\":{\"id\":\"B\"",
           "Sequence"),
    DAMAGE("bytes_prefix.json", "\"TemplateProcessing\"", "\"RobertaProcessing\"",
           "RobertaProcessing"),
    DAMAGE("bytes_prefix.json", "\"ids\":[", "\"ids\":[99999,", "not in the vocabulary"),
    DAMAGE("bytes_prefix.json", "\"ids\":[", "\"ids\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,", "16"),
    DAMAGE("bytes_prefix.json", "\"added_tokens\":[", "\"added_tokens\":[7,", "added_tokens"),
    DAMAGE("bytes_prefix.json", "\"added_tokens\":[", "\"added_tokens\":[{\"content\":\"x\"},",
           "id"),
    DAMAGE("bytes_prefix.json", "\"single_word\":false,\"lstrip\":true",
           "\"single_word\":true,\"lstrip\":true", "[left]"),
    DAMAGE("bytes_prefix.json", "\"id\":346", "\"id\":0", "id 0"),
    DAMAGE("bytes_prefix.json", "\"id\":346", "\"id\":-2", "out of range"),
    DAMAGE("bytes_prefix.json", "\"id\":346", "\"id\":4294967642", "out of range"),
    DAMAGE("bytes_prefix.json", "\"version\"", "\"model\":{},\"version\"", "not JSON"),
    DAMAGE("bytes_split.json", "\\\\s+", "\\\\w+", "\\w"),
    DAMAGE("bytes_split.json", "\\\\s+", "^a", "^"),
    DAMAGE("bytes_split.json", "\\\\s+", "(?<name>a)", "(?<"),
    DAMAGE("bytes_split.json", "\\\\s+", "a{,3}", "{,"),
    DAMAGE("bytes_split.json", "\\\\s+", "[a[b]]", "["),
    DAMAGE("bytes_split.json", "\\\\s+", "[a&&b]", "&&"),
    DAMAGE("bytes_split.json", "\\\\s+", "[!-\\\\s]", "'-'"),
    DAMAGE("bytes_split.json", "\\\\s+", "\\\\x80", "\\x80"),
    DAMAGE("bytes_split.json", "\\\\s+", "\\\\p{Xan}", "split pattern"),
    DAMAGE("bytes_split.json", "\\\\s+", "(a", "split pattern"),
    DAMAGE("bytes_split.json", "\\\\s+", "\\\\s*", "empty"),
    DAMAGE("bytes_split.json", "\"MergedWithNext\"", "\"Somehow\"", "Somehow"),
    DAMAGE("bytes_split.json", "\"pattern\":{\"Regex\"", "\"pattern\":{\"x\"", "without a pattern"),
    DAMAGE("bytes_split.json", "\"type\":\"Split\"", "\"type\":\"ByteLevel\"", "ByteLevel"),
    DAMAGE("bytes_split.json", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true",
           "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
           "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[0]}}",
           "once"),
    DAMAGE("metaspace_first.json", "\"first\"", "\"second\"", "second"),
    DAMAGE("metaspace_first.json", "\"replacement\"", "\"x\"", "replacement"),
    DAMAGE("spm_kept_spaces.model", "identity", "nmt_nfkc",
           NULL), /* the name alone decides nothing */
    DAMAGE("spm_kept_spaces.model", "<0x41>", "<0x42>", "the same as piece"),
    DAMAGE("spm_kept_spaces.model", "<0x41>", "<0xzz>", "byte 65"),
    DAMAGE("spm_kept_spaces.model", "<0x41>", "<0x\xFF\xFF>", "UTF-8"),
    DAMAGE("spm_kept_spaces.model", "\n\x05<unk>", "\n\x7F<unk>", "longer"),
    DAMAGE("gguf_smollm.gguf", "\4\0\0\0\0\0\0\0gpt2", "\4\0\0\0\0\0\0\0bert", "bert"),
    DAMAGE("gguf_smollm.gguf", "\6\0\0\0\0\0\0\0smollm", "\6\0\0\0\0\0\0\0tekken", "tekken"),
    DAMAGE("gguf_smollm.gguf", "ggml.pre", "ggml.xxx", "tokenizer.ggml.pre"),
    DAMAGE("gguf_smollm.gguf", "ggml.model", "ggml.mxxxx", "tokenizer.ggml.model"),
    DAMAGE("gguf_smollm.gguf", "ggml.tokens", "ggml.txxxxx", "tokenizer.ggml.tokens"),
    DAMAGE("gguf_smollm.gguf", "ggml.merges", "ggml.mxxxxx", "tokenizer.ggml.merges"),
    DAMAGE("gguf_smollm.gguf", "ggml.token_type", "ggml.merges_xxx", NULL), /* all normal */
    DAMAGE("gguf_smollm.gguf", "\3\0\0\0\0\0\0\0e r", "\3\0\0\0\0\0\0\0e-r", "two parts"),
    DAMAGE("gguf_smollm.gguf", "\3\0\0\0\0\0\0\0e r", "\3\0\0\0\0\0\0\0q q", "merge"),
    DAMAGE("gguf_smollm.gguf", "bos_token_id\4\0\0\0", "bos_token_id\6\0\0\0", "bos_token_id"),
    DAMAGE("gguf_spm.gguf", "ggml.scores", "ggml.sxxxxx", "tokenizer.ggml.scores"),
    DAMAGE("gguf_spm.gguf", "<0x41>", "<0x42>", "the same as token"),
    DAMAGE("gguf_spm.gguf", "<0x41>", "<0x\xFF\xFF>", "UTF-8"),
};
#undef DAMAGE

/* The file with the damage done, in fresh memory. */
static char *damage_file(const struct damage *damage, size_t *size)
{
    char *data = read_golden(damage->file, size);
    size_t n_from = damage->n_from, n_to = damage->n_to;
    char *at = memmem(data, *size, damage->from, n_from);
    ck_assert_msg(at != NULL, "%s: no '%s'", damage->file, damage->from);
    size_t before = (size_t)(at - data), behind = *size - before - n_from;
    char *damaged = malloc(*size + n_to);
    ck_assert_ptr_nonnull(damaged);
    memcpy(damaged, data, before);
    memcpy(damaged + before, damage->to, n_to);
    memcpy(damaged + before + n_to, at + n_from, behind);
    *size = before + n_to + behind;
    free(data);
    return damaged;
}

START_TEST(damage_is_named)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        size_t size;
        char *data = damage_file(&damages[i], &size);
        const char *path = write_file(folder, damages[i].file, data, size);
        struct tokenizer *tokenizer = NULL;
        struct err err = {0};
        enum status status = tokenizer_open(&tokenizer, path, &err);
        free(data);
        if (!damages[i].words) {
            ck_assert_msg(status == STATUS_OK, "case %zu: %s", i, err.text);
            tokenizer_close(tokenizer);
            continue;
        }
        ck_assert_msg(status == STATUS_BAD_DATA && !tokenizer, "case %zu ('%s'): status %d", i,
                      damages[i].to, status);
        ck_assert_msg(strncmp(err.text, path, strlen(path)) == 0 &&
                          strstr(err.text, damages[i].words),
                      "case %zu: %s", i, err.text);
    }
}
END_TEST

/* A .model is a row of fields, so a cut between two pieces cannot be seen; everything else can. */
START_TEST(cut_files_do_no_harm)
{
    static const char *const names[] = {"bytes_prefix.json", "spm_user_defined.model"};
    for (int k = 0; k < 2; k++) {
        size_t size;
        char *data = read_golden(names[k], &size);
        for (size_t cut = 0; cut + 2 < size; cut += 1 + cut / 64) {
            char *exact = malloc(cut + 1); /* so that a read behind the end is seen */
            ck_assert_ptr_nonnull(exact);
            memcpy(exact, data, cut);
            struct tokenizer *tokenizer = NULL;
            struct err err = {0};
            enum status status = tokenizer_open_memory(&tokenizer, exact, cut, names[k], &err);
            if (status != STATUS_BAD_DATA && (k == 0 || status != STATUS_OK))
                ck_abort_msg("%s cut at %zu: status %d: %s", names[k], cut, status, err.text);
            tokenizer_close(tokenizer);
            free(exact);
        }
        free(data);
    }
}
END_TEST

/* Merges that lead in a circle, with an empty token, or come twice: encoding ends, with the ids
 * that the tokenizers package (0.23.3) gives. */
START_TEST(merges_in_a_circle_end)
{
#define MODEL(vocab, merges)                                                                       \
    "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":null,"         \
    "\"post_processor\":null,\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab                        \
    "},\"merges\":[" merges "]}}"
    static const char *const models[] = {
        MODEL("\"\":0,\"a\":1,\"b\":2", "[\"\",\"a\"],[\"a\",\"\"]"),
        MODEL("\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4",
              "\"a b\",\"b a\",\"ab a\",\"a ba\",\"a b\""),
        MODEL("\"a\":0,\"aa\":1,\"aaaa\":2", "\"a a\",\"aa aa\",\"a a\""),
    };
    static const char *const texts[] = {"aabbaab", "abababab", "aaaaaaaaa"};
    static const struct {
        size_t n;
        int32_t ids[9];
    } want[3][3] = {
        {{7, {1, 1, 2, 2, 1, 1, 2}},
         {8, {1, 2, 1, 2, 1, 2, 1, 2}},
         {9, {1, 1, 1, 1, 1, 1, 1, 1, 1}}},
        {{4, {0, 2, 3, 2}}, {4, {4, 3, 3, 1}}, {9, {0, 0, 0, 0, 0, 0, 0, 0, 0}}},
        {{1, {2}}, {1, {2}}, {3, {2, 2, 0}}},
    };
    for (int m = 0; m < 3; m++) {
        struct tokenizer *tokenizer;
        struct err err;
        ck_assert_msg(tokenizer_open_memory(&tokenizer, models[m], strlen(models[m]), "m.json",
                                            &err) == STATUS_OK,
                      "%s", err.text);
        for (int i = 0; i < 3; i++) {
            struct tokens tokens = {0};
            ck_assert_int_eq(
                tokenizer_encode(tokenizer, texts[i], strlen(texts[i]), false, &tokens, &err),
                STATUS_OK);
            ck_assert_uint_eq(tokens.count, want[m][i].n);
            for (size_t j = 0; j < tokens.count; j++)
                ck_assert_int_eq(tokens.ids[j], want[m][i].ids[j]);
            tokens_free(&tokens);
        }
        tokenizer_close(tokenizer);
    }
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

static enum status open_and_close(void *context, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    enum status status = tokenizer_open(&tokenizer, context, err);
    tokenizer_close(tokenizer);
    return status;
}

static enum status encode(void *context, struct err *err)
{
    static const char text[] = "The m\xC3\xA9rket e\xCC\x81 \xE9\xAD\x9A <tool> there 42 [both] x";
    struct tokens tokens = {0};
    enum status status = tokenizer_encode(context, text, sizeof text - 1, true, &tokens, err);
    ck_assert(status == STATUS_OK || tokens.count == 0);
    tokens_free(&tokens);
    return status;
}

START_TEST(lack_of_memory_is_reported)
{
    char path[512];
    snprintf(path, sizeof path, "tests/golden/tokenizer_kinds/%s", kinds[_i]);
    ck_assert_int_ge(check_lack_of_memory(open_and_close, path, kinds[_i]), 10);
    struct tokenizer *tokenizer = open_kind(kinds[_i]);
    ck_assert_int_ge(check_lack_of_memory(encode, tokenizer, kinds[_i]), 2);
    tokenizer_close(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer_kinds");
    TCase *tests = tcase_create("tokenizer_kinds");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_kind_gives_the_original_ids, 0, N_KINDS);
    tcase_add_test(tests, tokens_stand_for_bytes);
    tcase_add_test(tests, the_settings_beside_a_tokenizer_overrule);
    tcase_add_test(tests, folders_are_looked_through);
    tcase_add_test(tests, damage_is_named);
    tcase_add_test(tests, cut_files_do_no_harm);
    tcase_add_test(tests, merges_in_a_circle_end);
    tcase_add_loop_test(tests, lack_of_memory_is_reported, 0, N_KINDS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
