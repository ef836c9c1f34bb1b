/* The parts of tokenizer.json that become steps of the pipeline: normalizer, pre_tokenizer and
 * post_processor. A kind that is not listed here is refused by name. */
#include "loaders/tokenizer_json.h"

#include <string.h>

/* ---- sequences ------------------------------------------------------------------------------ */

/* Calls read on each part of a Sequence. Sequences inside sequences are flattened, to a depth that
 * no real file reaches. */
#define NESTING_DEEPEST 8
typedef enum status part_reader(const struct reader *r, const json_t *part, int depth);

static enum status read_sequence(const struct reader *r, const json_t *sequence, const char *place,
                                 const char *key, int depth, part_reader *read)
{
    const json_t *parts = json_object_get(sequence, key);
    if (!json_is_array(parts))
        return part_error(r, place, "a Sequence without its list");
    if (depth == NESTING_DEEPEST)
        return part_error(r, place, "too many Sequences inside each other");
    size_t i;
    json_t *part;
    json_array_foreach((json_t *)parts, i, part) TRY(read(r, part, depth + 1));
    return STATUS_OK;
}

/* An error that has no file's name yet gets it. */
static enum status named(const struct reader *r, enum status status, const struct err *own)
{
    return status == STATUS_OK ? status : err_set(r->err, status, "%s: %s", r->name, own->text);
}

/* ---- normalizer ----------------------------------------------------------------------------- */

static enum status add_normaliser(const struct reader *r, enum normaliser_kind kind,
                                  const char *from, size_t n_from, const char *to, size_t n_to)
{
    struct err own;
    enum status status = tokenizer_add_normaliser(r->tokenizer, kind, from, n_from, to, n_to, &own);
    return named(r, status, &own);
}

static enum status read_replace(const struct reader *r, const json_t *part)
{
    const char *from, *to;
    size_t n_from, n_to;
    const json_t *pattern = json_object_get(part, "pattern");
    TRY(part_string(r, pattern, "normalizer.pattern", "String", &from, &n_from));
    TRY(part_string(r, part, "normalizer", "content", &to, &n_to));
    if (!from || n_from == 0 || !to)
        return part_not_supported(r, "normalizer", "Replace",
                                  "it is with a String that is not empty as pattern");
    return add_normaliser(r, NORMALISE_REPLACE, from, n_from, to, n_to);
}

enum status tokenizer_read_normaliser(const struct reader *r, const json_t *part, int depth)
{
    const char *type, *text;
    size_t length;
    TRY(part_type(r, part, "normalizer", &type));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(r, part, "normalizer", "normalizers", depth,
                             tokenizer_read_normaliser);
    if (strcmp(type, "NFC") == 0)
        return add_normaliser(r, NORMALISE_NFC, "", 0, "", 0);
    if (strcmp(type, "Replace") == 0)
        return read_replace(r, part);
    if (strcmp(type, "Prepend") != 0)
        return part_not_supported(r, "normalizer", type, "NFC, Prepend, Replace and Sequence are");
    TRY(part_string(r, part, "normalizer", "prepend", &text, &length));
    if (!text)
        return part_error(r, "normalizer", "Prepend without its text");
    return add_normaliser(r, NORMALISE_PREPEND, "", 0, text, length);
}

/* ---- pre-tokenizer -------------------------------------------------------------------------- */

static enum status read_behaviour(const struct reader *r, const json_t *part,
                                  enum split_behaviour *behaviour)
{
    static const char *const names[] = {
        [SPLIT_REMOVED] = "Removed",
        [SPLIT_ISOLATED] = "Isolated",
        [SPLIT_CONTIGUOUS] = "Contiguous",
        [SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
    };
    const char *name;
    size_t length;
    TRY(part_string(r, part, "pre_tokenizer", "behavior", &name, &length));
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *behaviour = (enum split_behaviour)i;
            return STATUS_OK;
        }
    return part_not_supported(
        r, "pre_tokenizer.behavior", name ? name : "null",
        "Removed, Isolated, Contiguous, MergedWithPrevious and MergedWithNext are");
}

static enum status add_split(const struct reader *r, const char *pattern, size_t length,
                             bool literal, enum split_behaviour behaviour, bool invert)
{
    struct err own;
    enum status status =
        tokenizer_add_split(r->tokenizer, pattern, length, literal, behaviour, invert, &own);
    return named(r, status, &own);
}

static enum status add_spaces(const struct reader *r, const char *space, size_t length,
                              enum prepend_scheme prepend)
{
    struct err own;
    return named(r, tokenizer_add_spaces(r->tokenizer, space, length, prepend, &own), &own);
}

static enum status read_split(const struct reader *r, const json_t *part)
{
    const json_t *pattern = json_object_get(part, "pattern");
    const char *text;
    size_t length;
    bool invert = false;
    enum split_behaviour behaviour = SPLIT_ISOLATED;
    TRY(read_behaviour(r, part, &behaviour));
    TRY(part_bool(r, part, "pre_tokenizer", "invert", &invert));
    TRY(part_string(r, pattern, "pre_tokenizer.pattern", "Regex", &text, &length));
    bool literal = !text;
    if (literal)
        TRY(part_string(r, pattern, "pre_tokenizer.pattern", "String", &text, &length));
    if (!text || length == 0)
        return part_error(r, "pre_tokenizer", "Split without a pattern");
    return add_split(r, text, length, literal, behaviour, invert);
}

static enum status read_byte_level(const struct reader *r, const json_t *part)
{
    bool prefix = true, use_pattern = true;
    TRY(part_bool(r, part, "pre_tokenizer", "add_prefix_space", &prefix));
    TRY(part_bool(r, part, "pre_tokenizer", "use_regex", &use_pattern));
    if (prefix)
        TRY(add_spaces(r, " ", 1, PREPEND_ALWAYS));
    if (use_pattern)
        TRY(add_split(r, pattern_gpt2, strlen(pattern_gpt2), false, SPLIT_ISOLATED, false));
    r->tokenizer->byte_level = true;
    return STATUS_OK;
}

static enum status read_metaspace(const struct reader *r, const json_t *part)
{
    const char *space, *scheme;
    size_t length, n;
    bool prefix = true, split = true;
    TRY(part_string(r, part, "pre_tokenizer", "replacement", &space, &length));
    TRY(part_string(r, part, "pre_tokenizer", "prepend_scheme", &scheme, &n));
    TRY(part_bool(r, part, "pre_tokenizer", "add_prefix_space", &prefix));
    TRY(part_bool(r, part, "pre_tokenizer", "split", &split));
    if (!space || length == 0)
        return part_error(r, "pre_tokenizer", "Metaspace without a replacement");
    enum prepend_scheme prepend = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (scheme && strcmp(scheme, "always") == 0)
        prepend = PREPEND_ALWAYS;
    else if (scheme && strcmp(scheme, "first") == 0)
        prepend = PREPEND_FIRST;
    else if (scheme && strcmp(scheme, "never") == 0)
        prepend = PREPEND_NEVER;
    else if (scheme)
        return part_not_supported(r, "pre_tokenizer.prepend_scheme", scheme,
                                  "always, first and never are");
    TRY(add_spaces(r, space, length, prepend));
    return split ? add_split(r, space, length, true, SPLIT_MERGED_WITH_NEXT, false) : STATUS_OK;
}

enum status tokenizer_read_pre_tokenizer(const struct reader *r, const json_t *part, int depth)
{
    const char *type;
    TRY(part_type(r, part, "pre_tokenizer", &type));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(r, part, "pre_tokenizer", "pretokenizers", depth,
                             tokenizer_read_pre_tokenizer);
    if (r->tokenizer->byte_level) /* the next step would see mapped characters */
        return part_not_supported(r, "pre_tokenizer", type, "nothing may follow ByteLevel");
    if (strcmp(type, "Split") == 0)
        return read_split(r, part);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(r, part);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, part);
    if (strcmp(type, "Digits") != 0)
        return part_not_supported(r, "pre_tokenizer", type,
                                  "Split, ByteLevel, Metaspace, Digits and Sequence are");
    bool individual = false;
    TRY(part_bool(r, part, "pre_tokenizer", "individual_digits", &individual));
    return add_split(r, "\\p{N}", 5, false, individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, false);
}

/* ---- post-processor ------------------------------------------------------------------------- */

static enum status add_special(const struct reader *r, int32_t *specials, int *n, json_int_t id)
{
    struct tokenizer *t = r->tokenizer;
    if (*n == SPECIALS_LARGEST)
        return part_error(r, "post_processor", "more special tokens than are supported (16)");
    if (id < 0 || id >= t->n_ids || t->vocabulary.pieces[id].kind == PIECE_ABSENT)
        return part_error(r, "post_processor", "a special token whose id is not in the vocabulary");
    specials[(*n)++] = (int32_t)id;
    return STATUS_OK;
}

/* The ids of one special token of a template, which names it. */
static enum status read_template_special(const struct reader *r, const json_t *table,
                                         const json_t *item, int32_t *specials, int *n)
{
    const char *name;
    size_t length, i;
    TRY(part_string(r, item, "post_processor", "id", &name, &length));
    const json_t *ids = json_object_get(json_object_get(table, name ? name : ""), "ids");
    if (!json_is_array(ids))
        return part_error(r, "post_processor", "a special token without ids");
    json_t *id;
    json_array_foreach((json_t *)ids, i, id)
    {
        if (!json_is_integer(id))
            return part_error(r, "post_processor", "an id that is no integer");
        TRY(add_special(r, specials, n, json_integer_value(id)));
    }
    return STATUS_OK;
}

/* Behind one template a second would see the special tokens as a text of their own, and take its
 * form for two texts: no model does that. */
static enum status read_template(const struct reader *r, const json_t *part)
{
    struct tokenizer *t = r->tokenizer;
    const json_t *single = json_object_get(part, "single");
    const json_t *table = json_object_get(part, "special_tokens");
    if (!json_is_array(single))
        return part_error(r, "post_processor.single", "missing or not a list");
    if (t->n_before > 0 || t->n_behind > 0)
        return part_not_supported(r, "post_processor", "TemplateProcessing", "once, it is");
    bool text_seen = false;
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)single, i, item)
    {
        const json_t *special = json_object_get(item, "SpecialToken");
        const json_t *sequence = json_object_get(item, "Sequence");
        const char *id = json_string_value(json_object_get(sequence, "id"));
        if (sequence && (!id || strcmp(id, "A") != 0 || text_seen))
            return part_not_supported(r, "post_processor.single", "Sequence", "A, once, is");
        if (sequence)
            text_seen = true;
        else if (!special)
            return part_error(r, "post_processor.single", "an entry of an unknown kind");
        else if (text_seen)
            TRY(read_template_special(r, table, special, t->behind, &t->n_behind));
        else
            TRY(read_template_special(r, table, special, t->before, &t->n_before));
    }
    return text_seen ? STATUS_OK : part_error(r, "post_processor.single", "no place for the text");
}

enum status tokenizer_read_post_processor(const struct reader *r, const json_t *part, int depth)
{
    const char *type;
    TRY(part_type(r, part, "post_processor", &type));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(r, part, "post_processor", "processors", depth,
                             tokenizer_read_post_processor);
    if (strcmp(type, "ByteLevel") == 0) /* it moves offsets, not ids */
        return STATUS_OK;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(r, part);
    return part_not_supported(r, "post_processor", type,
                              "TemplateProcessing, ByteLevel and Sequence "
                              "are");
}
