/* A text to ids: the pipeline that tokenizer_internal.h tells of. All working memory belongs to the
 * call, so that threads can share a tokenizer. */
#include "loaders/tokenizer_internal.h"

#include <string.h>
#include <unicode/uchar.h>
#include "host/base/utf8.h"

/* ---- state of one call ---------------------------------------------------------------------- */

struct encoding {
    const struct tokenizer *tokenizer;
    struct tokens *tokens;
    struct err *err;
    pcre2_match_data *match;            /* made when the first split step comes */
    struct bytes normalised[2];         /* see normalise */
    struct bytes spaced[STEPS_LARGEST]; /* what step i wrote; a step may cut it on and on */
    struct bytes word;                  /* a word as a byte-level vocabulary writes it */
    int32_t *symbols;                   /* the run of symbols that is being gathered */
    size_t n_symbols, capacity;
    struct merge_scratch scratch;
    enum {
        AFTER_TOKEN,
        AFTER_UNKNOWN,           /* the last id of this word is the unknown token, */
        AFTER_UNKNOWN_CHARACTER, /* for a character that merging left over */
    } after;
};

static void encoding_free(struct encoding *e)
{
    pcre2_match_data_free(e->match);
    for (int i = 0; i < 2; i++)
        mem_free(e->normalised[i].data);
    for (int i = 0; i < STEPS_LARGEST; i++)
        mem_free(e->spaced[i].data);
    mem_free(e->word.data);
    mem_free(e->symbols);
    mem_free(e->scratch.memory);
}

static enum status no_memory(struct encoding *e)
{
    return err_no_memory(e->err, "a text's tokens", e->tokens->count * sizeof(int32_t));
}

static enum status put_id(struct encoding *e, int32_t id)
{
    return tokens_append(e->tokens, &id, 1, e->err);
}

/* ---- merging -------------------------------------------------------------------------------- */

/* The bytes of a character as byte tokens; false where one of them is missing. */
static bool fallback_bytes(const struct tokenizer *t, const char *text, size_t length, int32_t *ids)
{
    for (size_t i = 0; i < length; i++) {
        ids[i] = t->byte_ids[(unsigned char)text[i]];
        if (ids[i] < 0)
            return false;
    }
    return t->byte_fallback;
}

/* A symbol that is left after merging: a token, or a character that no token stands for. Runs of
 * unknown characters have become one token before merging; only what comes up here can add to one.
 */
static enum status put_symbol(struct encoding *e, int32_t symbol)
{
    const struct tokenizer *t = e->tokenizer;
    if (symbol < t->n_ids) {
        bool unknown = symbol == t->unknown;
        if (unknown && t->fuse_unknown && e->after == AFTER_UNKNOWN_CHARACTER)
            return STATUS_OK;
        e->after = unknown ? AFTER_UNKNOWN : AFTER_TOKEN;
        return put_id(e, symbol);
    }
    const struct piece *piece = &t->vocabulary.pieces[symbol];
    int32_t ids[4];
    if (fallback_bytes(t, piece->text, piece->length, ids)) {
        e->after = AFTER_TOKEN;
        for (uint32_t i = 0; i < piece->length; i++)
            TRY(put_id(e, ids[i]));
        return STATUS_OK;
    }
    bool joins = t->fuse_unknown && e->after != AFTER_TOKEN;
    e->after = AFTER_UNKNOWN_CHARACTER;
    return t->unknown < 0 || joins ? STATUS_OK : put_id(e, t->unknown);
}

/* Merges the symbols gathered so far, and writes the ids. */
static enum status end_run(struct encoding *e)
{
    size_t n = merges_apply(&e->tokenizer->merges, e->symbols, e->n_symbols, &e->scratch);
    if (n == SIZE_MAX)
        return no_memory(e);
    e->n_symbols = 0;
    for (size_t i = 0; i < n; i++)
        TRY(put_symbol(e, e->symbols[i]));
    return STATUS_OK;
}

static enum status add_symbol(struct encoding *e, int32_t symbol)
{
    if (e->n_symbols > 0 &&
        !merges_cross(&e->tokenizer->merges, e->symbols[e->n_symbols - 1], symbol))
        TRY(end_run(e));
    if (e->n_symbols == e->capacity) {
        size_t capacity = 2 * e->capacity + 256;
        int32_t *grown = mem_resize(e->symbols, capacity, sizeof *grown);
        if (!grown)
            return no_memory(e);
        e->symbols = grown;
        e->capacity = capacity;
    }
    e->symbols[e->n_symbols++] = symbol;
    return STATUS_OK;
}

/* The unknown token stands for one character, or for a run of them, before any merge, as in
 * tokenizers; it waits until the next character that is known (*waiting). */
static enum status add_unknown(struct encoding *e, bool *waiting)
{
    if (e->tokenizer->unknown < 0)
        return STATUS_OK;
    if (*waiting && !e->tokenizer->fuse_unknown)
        TRY(add_symbol(e, e->tokenizer->unknown));
    *waiting = true;
    return STATUS_OK;
}

static enum status end_unknown(struct encoding *e, bool *waiting)
{
    if (*waiting)
        TRY(add_symbol(e, e->tokenizer->unknown));
    *waiting = false;
    return STATUS_OK;
}

static enum status encode_characters(struct encoding *e, const char *text, size_t length)
{
    const struct tokenizer *t = e->tokenizer;
    bool waiting = false;
    for (size_t at = 0; at < length;) {
        int32_t c, bytes[4];
        size_t n = (size_t)utf8_decode(text + at, length - at, &c);
        int32_t symbol = c < 0x10000 ? t->character_ids[c]
                                     : vocabulary_find_symbol(&t->vocabulary, text + at, n);
        if (symbol >= 0) {
            TRY(end_unknown(e, &waiting));
            TRY(add_symbol(e, symbol));
        } else if (fallback_bytes(t, text + at, n, bytes)) {
            for (size_t i = 0; i < n; i++)
                TRY(add_symbol(e, bytes[i]));
        } else {
            TRY(add_unknown(e, &waiting));
        }
        at += n;
    }
    return end_unknown(e, &waiting);
}

static enum status encode_bytes(struct encoding *e, const char *text, size_t length)
{
    const struct tokenizer *t = e->tokenizer;
    bool waiting = false;
    for (size_t i = 0; i < length; i++) {
        int32_t symbol = t->byte_ids[(unsigned char)text[i]];
        if (symbol < 0) {
            TRY(add_unknown(e, &waiting));
            continue;
        }
        TRY(end_unknown(e, &waiting));
        TRY(add_symbol(e, symbol));
    }
    return end_unknown(e, &waiting);
}

/* The piece that is the whole word, or -1. */
static enum status find_word(struct encoding *e, const char *text, size_t length, int32_t *id)
{
    const struct tokenizer *t = e->tokenizer;
    *id = -1;
    if (length > t->longest_piece)
        return STATUS_OK;
    if (t->byte_level) { /* as the vocabulary writes it */
        e->word.length = 0;
        for (size_t i = 0; i < length; i++) {
            const struct byte_text *byte = &t->byte_texts[(unsigned char)text[i]];
            if (!bytes_add(&e->word, byte->text, byte->length))
                return no_memory(e);
        }
        text = e->word.data;
        length = e->word.length;
    }
    int32_t found = vocabulary_find(&t->vocabulary, text, length);
    if (found >= 0 && t->vocabulary.pieces[found].kind == PIECE_NORMAL)
        *id = found;
    return STATUS_OK;
}

/* One word of the split steps. */
static enum status encode_word(struct encoding *e, const char *text, size_t length)
{
    const struct tokenizer *t = e->tokenizer;
    e->after = AFTER_TOKEN;
    if (t->ignore_merges) {
        int32_t id = -1;
        TRY(find_word(e, text, length, &id));
        if (id >= 0)
            return put_id(e, id);
    }
    TRY(t->byte_level ? encode_bytes(e, text, length) : encode_characters(e, text, length));
    return end_run(e);
}

/* ---- split steps ---------------------------------------------------------------------------- */

static enum status split(struct encoding *e, int step, const char *text, size_t length, bool first);

static enum status split_spaces(struct encoding *e, int step, const char *text, size_t length,
                                bool first)
{
    const struct step *s = &e->tokenizer->steps[step];
    bool prefixed = length >= s->space_length && memcmp(text, s->space, s->space_length) == 0;
    bool prepend = s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first);
    struct bytes *out = &e->spaced[step];
    out->length = 0;
    bool done = true;
    if (prepend && !prefixed && text[0] != ' ')
        done = bytes_add(out, s->space, s->space_length);
    for (size_t at = 0; at < length && done;) {
        const char *space = memchr(text + at, ' ', length - at);
        size_t stop = space ? (size_t)(space - text) : length;
        done = bytes_add(out, text + at, stop - at) &&
               (!space || bytes_add(out, s->space, s->space_length));
        at = stop + 1;
    }
    return done ? split(e, step + 1, out->data, out->length, first) : no_memory(e);
}

/* Parts arrive in order, delimiters and what is between them, and are held until the behaviour says
 * that nothing more joins them. */
struct splitter {
    struct encoding *e;
    int step;
    const char *text;
    bool first;
    size_t start, end; /* the part that is held; empty where start == end */
    bool held_match;   /* it is a delimiter by itself */
    bool after_match;  /* the part before the next one is a delimiter */
};

static enum status splitter_release(struct splitter *s)
{
    size_t start = s->start;
    if (start == s->end)
        return STATUS_OK;
    s->start = s->end;
    return split(s->e, s->step + 1, s->text + start, s->end - start, s->first && start == 0);
}

static enum status splitter_part(struct splitter *s, enum split_behaviour behaviour, size_t start,
                                 size_t end, bool match)
{
    if (start == end)
        return STATUS_OK;
    bool held = s->start < s->end, join = false;
    switch (behaviour) {
    case SPLIT_REMOVED:
        if (match)
            return STATUS_OK;
        break;
    case SPLIT_ISOLATED:
        break;
    case SPLIT_CONTIGUOUS:
        join = held && match == s->held_match;
        break;
    case SPLIT_MERGED_WITH_PREVIOUS:
        join = held && match && !s->after_match;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        join = held && s->held_match && !match;
        break;
    }
    if (!join) {
        TRY(splitter_release(s));
        s->start = start;
    }
    s->end = end;
    s->held_match = match;
    s->after_match = match;
    return STATUS_OK;
}

static enum status split_by_pattern(struct encoding *e, int step, const char *text, size_t length,
                                    bool first)
{
    const struct tokenizer *t = e->tokenizer;
    const struct step *s = &t->steps[step];
    if (!e->match)
        e->match = pcre2_match_data_create(1, t->pattern_memory);
    if (!e->match)
        return no_memory(e);
    struct splitter splitter = {.e = e, .step = step, .text = text, .first = first};
    for (size_t at = 0; at < length;) {
        size_t start, end;
        TRY(pattern_find(s->pattern, text, length, at, e->match, t->match_limits, &start, &end,
                         e->err));
        TRY(splitter_part(&splitter, s->behaviour, at, start, s->invert));
        TRY(splitter_part(&splitter, s->behaviour, start, end, !s->invert));
        at = end;
    }
    return splitter_release(&splitter);
}

/* first: text starts where the whole text does. */
static enum status split(struct encoding *e, int step, const char *text, size_t length, bool first)
{
    if (length == 0)
        return STATUS_OK;
    if (step == e->tokenizer->n_steps)
        return encode_word(e, text, length);
    switch (e->tokenizer->steps[step].kind) {
    case STEP_SPACES:
        return split_spaces(e, step, text, length, first);
    case STEP_SPLIT:
        return split_by_pattern(e, step, text, length, first);
    }
    return STATUS_OK;
}

/* ---- added tokens --------------------------------------------------------------------------- */

/* The longest added token that stands at text, or NULL. */
static const struct added_token *added_at(const struct added_tokens *added, const char *text,
                                          size_t length)
{
    unsigned char byte = (unsigned char)text[0];
    for (int i = added->first[byte]; i < added->first[byte + 1]; i++) {
        const struct added_token *token = &added->tokens[i];
        if (token->length <= length && memcmp(token->text, text, token->length) == 0)
            return token;
    }
    return NULL;
}

/* Where the white space that ends at text[0..end) starts. */
static size_t space_before(const char *text, size_t end, size_t from)
{
    while (end > from) {
        size_t start = end - 1;
        while (start > from && ((unsigned char)text[start] & 0xC0) == 0x80)
            start--;
        int32_t c;
        utf8_decode(text + start, end - start, &c);
        if (!u_isUWhiteSpace(c))
            break;
        end = start;
    }
    return end;
}

static size_t space_behind(const char *text, size_t at, size_t length)
{
    while (at < length) {
        int32_t c;
        int n = utf8_decode(text + at, length - at, &c);
        if (!u_isUWhiteSpace(c))
            break;
        at += (size_t)n;
    }
    return at;
}

typedef enum status text_sink(struct encoding *e, const char *text, size_t length, bool first);

/* Writes the ids of the added tokens in a text, and hands what is between them to sink. */
static enum status cut_added(struct encoding *e, const struct added_tokens *added, const char *text,
                             size_t length, bool first, text_sink *sink)
{
    size_t done = 0;
    for (size_t at = 0; added->count > 0 && at < length;) {
        const struct added_token *token = added_at(added, text + at, length - at);
        if (!token) {
            at++;
            continue;
        }
        size_t start = at, end = at + token->length;
        at = end;
        if (token->special) /* its name in a text is plain text */
            continue;
        if (token->strip_left)
            start = space_before(text, start, done);
        if (token->strip_right)
            end = at = space_behind(text, end, length);
        if (start > done)
            TRY(sink(e, text + done, start - done, first && done == 0));
        TRY(put_id(e, token->id));
        done = end;
    }
    return done < length ? sink(e, text + done, length - done, first && done == 0) : STATUS_OK;
}

static enum status split_segment(struct encoding *e, const char *text, size_t length, bool first)
{
    return split(e, 0, text, length, first);
}

static enum status normalise_segment(struct encoding *e, const char *text, size_t length,
                                     bool first)
{
    const struct tokenizer *t = e->tokenizer;
    TRY(normalise(t->normalisers, t->n_normalisers, text, length, e->normalised, &text, &length,
                  e->err));
    return cut_added(e, &t->added_normalised, text, length, first, split_segment);
}

/* ---- the whole ------------------------------------------------------------------------------ */

#define TEXT_LONGEST ((size_t)1 << 30) /* positions in a run fit 32 bits */

static enum status encode(struct encoding *e, const char *text, size_t length, bool special)
{
    const struct tokenizer *t = e->tokenizer;
    for (int i = 0; special && i < t->n_before; i++)
        TRY(put_id(e, t->before[i]));
    TRY(cut_added(e, &t->added, text, length, true, normalise_segment));
    for (int i = 0; special && i < t->n_behind; i++)
        TRY(put_id(e, t->behind[i]));
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             bool special, struct tokens *tokens, struct err *err)
{
    if (length > TEXT_LONGEST)
        return err_set(err, STATUS_BAD_DATA, "a text of %zu bytes: at most %zu can be tokenized",
                       length, TEXT_LONGEST);
    size_t valid = utf8_valid_length(text, length);
    if (valid < length)
        return err_set(err, STATUS_BAD_DATA, "byte %zu of the text: not UTF-8; convert the text",
                       valid);
    struct encoding e = {.tokenizer = tokenizer, .tokens = tokens, .err = err};
    size_t count = tokens->count;
    enum status status = encode(&e, text, length, special);
    if (status != STATUS_OK)
        tokens->count = count;
    encoding_free(&e);
    return status;
}
