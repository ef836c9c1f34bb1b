/* The vocabulary inside a GGUF: the metadata tokenizer.ggml.*, as llama.cpp's converter writes it
 * and llama.cpp reads it. "gpt2" is byte-level BPE, whose split pattern the file only names;
 * "llama" is SentencePiece's BPE with scores. */
#include "loaders/tokenizer_internal.h"

#include <string.h>
#include "host/base/utf8.h"
#include "loaders/gguf.h"

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* What the names in tokenizer.ggml.pre stand for: the original tokenizers' own steps. */
static const struct known_split {
    const char *name;
    const char *digits;  /* split off first, or NULL */
    const char *pattern; /* NULL: GPT-2's */
    bool nfc, ignore_merges, add_bos;
} known_splits[] = {
    {.name = "gpt-2"},
    {.name = "smollm", .digits = "\\p{N}"},
    {.name = "llama-bpe",
     .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     .ignore_merges = true,
     .add_bos = true},
    {.name = "qwen2",
     .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     .nfc = true},
};

struct reader {
    struct tokenizer *tokenizer;
    const struct gguf *gguf;
    struct err *err;
};

static enum status bad(const struct reader *r, const char *key, const char *what)
{
    return err_set(r->err, STATUS_BAD_DATA, "%s: tokenizer.ggml.%s: %s", gguf_path(r->gguf), key,
                   what);
}

static bool text_is(struct gguf_text text, const char *name)
{
    return text.length == strlen(name) && memcmp(text.text, name, text.length) == 0;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static enum status read_token(const struct reader *r, int32_t id, struct gguf_text text,
                              int64_t type, bool scored)
{
    struct tokenizer *t = r->tokenizer;
    enum piece_kind kind = type == TYPE_UNKNOWN ? PIECE_UNKNOWN
                           : type == TYPE_CONTROL || type == TYPE_UNUSED
                               ? PIECE_CONTROL /* fillers of the embedding matrix: never found */
                           : type == TYPE_USER_DEFINED   ? PIECE_ADDED
                           : type == TYPE_BYTE && scored ? PIECE_BYTE
                                                         : PIECE_NORMAL;
    if (type < TYPE_NORMAL || type > TYPE_BYTE)
        return bad(r, "token_type", "a type that is not known; convert the model again");
    int32_t taken;
    if (utf8_valid_length(text.text, text.length) < text.length)
        return err_set(r->err, STATUS_BAD_DATA,
                       "%s: tokenizer.ggml.tokens: token %d is not UTF-8; convert the model again",
                       gguf_path(r->gguf), (int)id);
    if (!vocabulary_add(&t->vocabulary, &t->arena, id, text.text, text.length, kind, &taken))
        return err_no_memory(r->err, "a vocabulary", text.length);
    if (taken >= 0)
        return err_set(r->err, STATUS_BAD_DATA,
                       "%s: tokenizer.ggml.tokens: token %d is the same as token %d; convert the "
                       "model again",
                       gguf_path(r->gguf), (int)id, (int)taken);
    if (kind != PIECE_ADDED || text.length == 0)
        return STATUS_OK;
    const struct piece *piece = &t->vocabulary.pieces[id];
    struct added_token token = {.text = piece->text, .length = piece->length, .id = id};
    return added_add(t, &t->added, &token, r->err);
}

static enum status read_tokens(const struct reader *r, bool scored)
{
    struct gguf_array tokens = {0}, types = {0};
    TRY(gguf_get_array(r->gguf, "tokenizer.ggml.tokens", &tokens, r->err));
    TRY(gguf_get_array(r->gguf, "tokenizer.ggml.token_type", &types, r->err));
    if (tokens.count == 0 || tokens.type != GGUF_STRING)
        return bad(r, "tokens", "no list of tokens; this file has no tokenizer");
    if (tokens.count > VOCABULARY_LARGEST)
        return bad(r, "tokens", "more tokens than any model has");
    if (types.count > 0 && types.count != tokens.count)
        return bad(r, "token_type", "not as many as tokens; convert the model again");
    struct tokenizer *t = r->tokenizer;
    t->n_ids = (int32_t)tokens.count;
    if (!vocabulary_reserve(&t->vocabulary, &t->arena, t->n_ids))
        return err_no_memory(r->err, "a vocabulary", tokens.count * sizeof(struct piece));
    struct gguf_text text;
    for (int32_t id = 0; gguf_array_next_text(&tokens, &text); id++) {
        int64_t type = TYPE_NORMAL;
        if (types.count > 0 && !gguf_array_integer(&types, (uint64_t)id, &type))
            return bad(r, "token_type", "not a list of integers; convert the model again");
        TRY(read_token(r, id, text, type, scored));
    }
    return STATUS_OK;
}

/* An id under `key`; *id stays where the key is absent. A special token is never found in texts,
 * whatever its type says. */
static enum status read_id(const struct reader *r, const char *name, const char *key, int32_t *id)
{
    int64_t value = *id;
    TRY(gguf_get_integer(r->gguf, key, &value, r->err));
    if (value < -1 || value >= r->tokenizer->n_ids)
        return bad(r, name, "no such token; convert the model again");
    *id = (int32_t)value;
    struct piece *piece = value >= 0 ? &r->tokenizer->vocabulary.pieces[value] : NULL;
    if (piece && piece->kind == PIECE_NORMAL)
        piece->kind = PIECE_CONTROL;
    return STATUS_OK;
}

/* bos, eos and unknown come in with their defaults. */
static enum status read_specials(const struct reader *r, bool add_bos, bool add_eos)
{
    struct tokenizer *t = r->tokenizer;
    TRY(read_id(r, "bos_token_id", "tokenizer.ggml.bos_token_id", &t->bos));
    TRY(read_id(r, "eos_token_id", "tokenizer.ggml.eos_token_id", &t->eos));
    TRY(gguf_get_bool(r->gguf, "tokenizer.ggml.add_bos_token", &add_bos, r->err));
    TRY(gguf_get_bool(r->gguf, "tokenizer.ggml.add_eos_token", &add_eos, r->err));
    if (add_bos && t->bos >= 0)
        t->before[t->n_before++] = t->bos;
    if (add_eos && t->eos >= 0)
        t->behind[t->n_behind++] = t->eos;
    return STATUS_OK;
}

/* ---- byte-level BPE ------------------------------------------------------------------------- */

static enum status read_merge(const struct reader *r, struct gguf_text text, uint32_t rank,
                              struct bytes *joined, struct merge *merge)
{
    const struct vocabulary *vocabulary = &r->tokenizer->vocabulary;
    /* A space separates the two; the first character may be one itself. */
    const char *space = text.length > 1 ? memchr(text.text + 1, ' ', text.length - 1) : NULL;
    if (!space)
        return bad(r, "merges", "a merge without two parts; convert the model again");
    size_t left = (size_t)(space - text.text), right = text.length - left - 1;
    joined->length = 0;
    if (!bytes_add(joined, text.text, left) || !bytes_add(joined, space + 1, right))
        return err_no_memory(r->err, "a merge", text.length);
    *merge = (struct merge){
        .left = vocabulary_find(vocabulary, text.text, left),
        .right = vocabulary_find(vocabulary, space + 1, right),
        .result = vocabulary_find(vocabulary, joined->data, joined->length),
        .rank = rank,
    };
    if (merge->left < 0 || merge->right < 0 || merge->result < 0)
        return err_set(r->err, STATUS_BAD_DATA,
                       "%s: tokenizer.ggml.merges: merge %u names a token that is not there; "
                       "convert the model again",
                       gguf_path(r->gguf), (unsigned)rank);
    return STATUS_OK;
}

static enum status read_merges(const struct reader *r)
{
    struct gguf_array array = {0};
    TRY(gguf_get_array(r->gguf, "tokenizer.ggml.merges", &array, r->err));
    if (array.count == 0 || array.type != GGUF_STRING)
        return bad(r, "merges", "no list of merges; convert the model again");
    if (array.count >= RANK_NONE)
        return bad(r, "merges", "more merges than any model has");
    struct merge *merges = mem_alloc((size_t)array.count, sizeof *merges);
    if (!merges)
        return err_no_memory(r->err, "merges", array.count * sizeof *merges);
    struct bytes joined = {0};
    struct gguf_text text;
    enum status status = STATUS_OK;
    uint32_t n = 0;
    for (; status == STATUS_OK && gguf_array_next_text(&array, &text); n++)
        status = read_merge(r, text, n, &joined, &merges[n]);
    if (status == STATUS_OK)
        status = tokenizer_finish(r->tokenizer, merges, n, r->err);
    mem_free(joined.data);
    mem_free(merges);
    return status;
}

static enum status find_split(const struct reader *r, const struct known_split **split)
{
    *split = NULL;
    struct gguf_text pre = {"", 0};
    TRY(gguf_get_text(r->gguf, "tokenizer.ggml.pre", &pre, r->err));
    for (size_t i = 0; i < sizeof known_splits / sizeof *known_splits; i++)
        if (text_is(pre, known_splits[i].name)) {
            *split = &known_splits[i];
            return STATUS_OK;
        }
    if (pre.length == 0)
        return bad(r, "pre",
                   "missing, so how words are split is not known; convert the model with "
                   "a newer llama.cpp");
    return err_set(r->err, STATUS_BAD_DATA,
                   "%s: tokenizer.ggml.pre: '%.*s' is not supported; gpt-2, smollm, llama-bpe and "
                   "qwen2 are",
                   gguf_path(r->gguf), (int)(pre.length < 64 ? pre.length : 64), pre.text);
}

static enum status read_byte_level(const struct reader *r)
{
    struct tokenizer *t = r->tokenizer;
    const struct known_split *split;
    TRY(find_split(r, &split));
    TRY(read_tokens(r, false));
    TRY(read_specials(r, split->add_bos, false));
    t->byte_level = true;
    t->ignore_merges = split->ignore_merges;
    if (split->nfc)
        TRY(tokenizer_add_normaliser(t, NORMALISE_NFC, "", 0, "", 0, r->err));
    if (split->digits)
        TRY(tokenizer_add_split(t, split->digits, strlen(split->digits), false, SPLIT_ISOLATED,
                                false, r->err));
    const char *pattern = split->pattern ? split->pattern : pattern_gpt2;
    TRY(tokenizer_add_split(t, pattern, strlen(pattern), false, SPLIT_ISOLATED, false, r->err));
    return read_merges(r);
}

/* ---- SentencePiece -------------------------------------------------------------------------- */

static enum status read_scored(const struct reader *r)
{
    struct tokenizer *t = r->tokenizer;
    TRY(read_tokens(r, true));
    t->bos = t->n_ids > 1 ? 1 : -1;
    t->eos = t->n_ids > 2 ? 2 : -1;
    t->unknown = 0;
    TRY(read_id(r, "unknown_token_id", "tokenizer.ggml.unknown_token_id", &t->unknown));
    TRY(read_specials(r, true, false));
    t->byte_fallback = true;
    bool prefix = true;
    TRY(gguf_get_bool(r->gguf, "tokenizer.ggml.add_space_prefix", &prefix, r->err));
    if (prefix)
        TRY(tokenizer_add_normaliser(t, NORMALISE_PREPEND, "", 0, SPACE_MARK, 3, r->err));
    TRY(tokenizer_add_normaliser(t, NORMALISE_REPLACE, " ", 1, SPACE_MARK, 3, r->err));
    struct gguf_array array = {0};
    TRY(gguf_get_array(r->gguf, "tokenizer.ggml.scores", &array, r->err));
    if (array.count != (uint64_t)t->n_ids)
        return bad(r, "scores", "not as many as tokens; convert the model again");
    float *scores = mem_alloc((size_t)t->n_ids, sizeof *scores);
    if (!scores)
        return err_no_memory(r->err, "a vocabulary", (size_t)t->n_ids * sizeof *scores);
    enum status status = STATUS_OK;
    for (int32_t id = 0; id < t->n_ids && status == STATUS_OK; id++) {
        double score = 0;
        if (!gguf_array_number(&array, (uint64_t)id, &score))
            status = bad(r, "scores", "not a list of numbers; convert the model again");
        scores[id] = (float)score;
    }
    if (status == STATUS_OK)
        status = tokenizer_finish_scored(t, scores, gguf_path(r->gguf), r->err);
    mem_free(scores);
    return status;
}

enum status tokenizer_read_gguf(struct tokenizer *tokenizer, const struct gguf *gguf,
                                struct err *err)
{
    struct reader r = {tokenizer, gguf, err};
    struct gguf_text model = {"", 0};
    TRY(gguf_get_text(gguf, "tokenizer.ggml.model", &model, err));
    if (text_is(model, "gpt2"))
        return read_byte_level(&r);
    if (text_is(model, "llama"))
        return read_scored(&r);
    if (model.length == 0)
        return bad(&r, "model", "missing: this file has no tokenizer; use one with a vocabulary");
    return err_set(err, STATUS_BAD_DATA,
                   "%s: tokenizer.ggml.model: '%.*s' is not supported; gpt2 and llama are",
                   gguf_path(gguf), (int)(model.length < 64 ? model.length : 64), model.text);
}
