/* tokenizer.json, the format of Hugging Face's tokenizers library: models of type BPE with the
 * normalizers, pre-tokenizers and post-processors that Llama-family models use. Whatever else a
 * file asks for is refused by name, since ignoring it would give other ids. Truncation and padding
 * are settings of a run, not of the tokenizer, and are not looked at. */
#include "loaders/tokenizer_json.h"

#include <string.h>

/* ---- reading values ------------------------------------------------------------------------- */

enum status part_error(const struct reader *r, const char *place, const char *what)
{
    return err_set(r->err, STATUS_BAD_DATA, "%s: %s: %s", r->name, place, what);
}

enum status part_not_supported(const struct reader *r, const char *place, const char *kind,
                               const char *supported)
{
    return err_set(r->err, STATUS_BAD_DATA, "%s: %s: '%s' is not supported; %s", r->name, place,
                   kind, supported);
}

enum status part_bool(const struct reader *r, const json_t *object, const char *place,
                      const char *key, bool *value)
{
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found))
        return STATUS_OK;
    if (!json_is_boolean(found))
        return err_set(r->err, STATUS_BAD_DATA, "%s: %s.%s: not true or false", r->name, place,
                       key);
    *value = json_is_true(found);
    return STATUS_OK;
}

enum status part_string(const struct reader *r, const json_t *object, const char *place,
                        const char *key, const char **value, size_t *length)
{
    *value = NULL;
    *length = 0;
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found))
        return STATUS_OK;
    if (!json_is_string(found))
        return err_set(r->err, STATUS_BAD_DATA, "%s: %s.%s: not a string", r->name, place, key);
    *value = json_string_value(found);
    *length = json_string_length(found);
    return STATUS_OK;
}

enum status part_type(const struct reader *r, const json_t *part, const char *place,
                      const char **type)
{
    size_t length;
    if (!json_is_object(part))
        return part_error(r, place, "not an object");
    TRY(part_string(r, part, place, "type", type, &length));
    if (!*type)
        *type = "";
    return STATUS_OK;
}

/* ---- vocabulary and merges ------------------------------------------------------------------ */

static enum status add_token(const struct reader *r, const char *place, json_int_t id,
                             int32_t id_limit, const char *text, size_t length,
                             enum piece_kind kind)
{
    struct tokenizer *t = r->tokenizer;
    if (id < 0 || id >= id_limit)
        return err_set(r->err, STATUS_BAD_DATA, "%s: %s: '%s' has id %lld, out of range", r->name,
                       place, text, (long long)id);
    struct vocabulary *vocabulary = &t->vocabulary;
    if (id < vocabulary->count && vocabulary->pieces[id].kind != PIECE_ABSENT)
        return err_set(r->err, STATUS_BAD_DATA, "%s: %s: '%s' has id %lld, as '%.*s' has", r->name,
                       place, text, (long long)id, (int)vocabulary->pieces[id].length,
                       vocabulary->pieces[id].text);
    int32_t taken;
    if (!vocabulary_add(vocabulary, &t->arena, (int32_t)id, text, length, kind, &taken))
        return err_no_memory(r->err, "a vocabulary", length);
    if (taken >= 0)
        return err_set(r->err, STATUS_BAD_DATA, "%s: %s: '%s' has ids %d and %lld", r->name, place,
                       text, (int)taken, (long long)id);
    t->n_ids = vocabulary->count;
    return STATUS_OK;
}

/* Ids have few gaps in real files; a limit keeps one absurd id from taking all memory. */
static int32_t id_limit(size_t n_tokens)
{
    size_t limit = 2 * n_tokens + 65536;
    return limit < VOCABULARY_LARGEST ? (int32_t)limit : VOCABULARY_LARGEST;
}

static bool looks_like_byte(const char *text, size_t length)
{
    return length == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static enum status read_vocabulary(const struct reader *r, const json_t *model)
{
    struct tokenizer *t = r->tokenizer;
    const json_t *vocabulary = json_object_get(model, "vocab");
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0)
        return part_error(r, "model.vocab", "missing, empty or not an object");
    size_t n = json_object_size(vocabulary);
    int32_t limit = id_limit(n);
    if (n > VOCABULARY_LARGEST / 2 ||
        !vocabulary_reserve(&t->vocabulary, &t->arena, (int32_t)n + 1024))
        return err_no_memory(r->err, "a vocabulary", n * sizeof(struct piece));
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocabulary, text, id)
    {
        if (!json_is_integer(id))
            return err_set(r->err, STATUS_BAD_DATA,
                           "%s: model.vocab: '%s' has an id that is no "
                           "integer",
                           r->name, text);
        size_t length = strlen(text); /* keys hold no 0 byte: jansson refuses them */
        bool byte = t->byte_fallback && looks_like_byte(text, length);
        TRY(add_token(r, "model.vocab", json_integer_value(id), limit, text, length,
                      byte ? PIECE_BYTE : PIECE_NORMAL));
    }
    return STATUS_OK;
}

/* "left right", or ["left", "right"]. */
static bool split_merge(const json_t *merge, const char **left, size_t *n_left, const char **right,
                        size_t *n_right)
{
    if (json_is_string(merge)) {
        *left = json_string_value(merge);
        size_t length = json_string_length(merge);
        const char *space = memchr(*left, ' ', length);
        if (!space)
            return false;
        *n_left = (size_t)(space - *left);
        *right = space + 1;
        *n_right = length - *n_left - 1;
        return memchr(*right, ' ', *n_right) == NULL;
    }
    const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second))
        return false;
    *left = json_string_value(first);
    *n_left = json_string_length(first);
    *right = json_string_value(second);
    *n_right = json_string_length(second);
    return true;
}

static enum status read_merge(const struct reader *r, size_t i, const json_t *part,
                              struct bytes *joined, struct merge *merge)
{
    const struct vocabulary *vocabulary = &r->tokenizer->vocabulary;
    const char *left, *right;
    size_t n_left, n_right;
    if (!split_merge(part, &left, &n_left, &right, &n_right))
        return err_set(r->err, STATUS_BAD_DATA, "%s: model.merges: merge %zu is not two tokens",
                       r->name, i);
    joined->length = 0;
    if (!bytes_add(joined, left, n_left) || !bytes_add(joined, right, n_right))
        return err_no_memory(r->err, "a merge", n_left + n_right);
    *merge = (struct merge){
        .left = vocabulary_find(vocabulary, left, n_left),
        .right = vocabulary_find(vocabulary, right, n_right),
        .result = vocabulary_find(vocabulary, joined->data ? joined->data : "", joined->length),
        .rank = (uint32_t)i,
    };
    if (merge->left < 0 || merge->right < 0 || merge->result < 0)
        return err_set(r->err, STATUS_BAD_DATA,
                       "%s: model.merges: merge %zu ('%.*s' and '%.*s') names a token that is not "
                       "in model.vocab",
                       r->name, i, (int)(n_left < 64 ? n_left : 64), left,
                       (int)(n_right < 64 ? n_right : 64), right);
    return STATUS_OK;
}

/* *merges: fresh memory, the caller's. */
static enum status read_merges(const struct reader *r, const json_t *model, struct merge **merges,
                               size_t *n)
{
    const json_t *list = json_object_get(model, "merges");
    if (!json_is_array(list))
        return part_error(r, "model.merges", "missing or not a list");
    *n = json_array_size(list);
    if (*n >= INT32_MAX)
        return part_error(r, "model.merges", "more merges than any model has");
    *merges = mem_alloc(*n, sizeof **merges);
    if (!*merges)
        return err_no_memory(r->err, "merges", *n * sizeof **merges);
    struct bytes joined = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < *n && status == STATUS_OK; i++)
        status = read_merge(r, i, json_array_get(list, i), &joined, &(*merges)[i]);
    mem_free(joined.data);
    return status;
}

/* Everything of "model" but the merges, which come last. */
static enum status read_model(const struct reader *r, const json_t *model)
{
    struct tokenizer *t = r->tokenizer;
    const char *type, *text;
    size_t length;
    TRY(part_type(r, model, "model", &type));
    if (*type && strcmp(type, "BPE") != 0)
        return part_not_supported(r, "model", type, "BPE is");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        TRY(part_string(r, model, "model", affixes[i], &text, &length));
        if (length > 0)
            return part_not_supported(r, "model", affixes[i], "only models without it are");
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return part_not_supported(r, "model", "dropout", "set it to null");
    TRY(part_bool(r, model, "model", "byte_fallback", &t->byte_fallback));
    TRY(part_bool(r, model, "model", "fuse_unk", &t->fuse_unknown));
    TRY(part_bool(r, model, "model", "ignore_merges", &t->ignore_merges));
    TRY(read_vocabulary(r, model));
    TRY(part_string(r, model, "model", "unk_token", &text, &length));
    if (!text)
        return STATUS_OK;
    t->unknown = vocabulary_find(&t->vocabulary, text, length);
    if (t->unknown < 0)
        return err_set(r->err, STATUS_BAD_DATA, "%s: model.unk_token: '%s' is not in model.vocab",
                       r->name, text);
    return STATUS_OK;
}

/* ---- added tokens --------------------------------------------------------------------------- */

static enum status match_added(const struct reader *r, struct added_token token, bool normalised)
{
    struct tokenizer *t = r->tokenizer;
    if (!normalised)
        return added_add(t, &t->added, &token, r->err);
    /* It is looked for in normalised text, so its own text is normalised too. */
    struct bytes buffers[2] = {{0}};
    const char *text;
    size_t length;
    enum status status = normalise(t->normalisers, t->n_normalisers, token.text, token.length,
                                   buffers, &text, &length, r->err);
    if (status == STATUS_OK && length > 0) {
        token.text = arena_text(&t->arena, text, length);
        token.length = length;
        status = token.text ? added_add(t, &t->added_normalised, &token, r->err)
                            : err_no_memory(r->err, "added tokens", length);
    }
    mem_free(buffers[0].data);
    mem_free(buffers[1].data);
    return status;
}

static enum status read_added(const struct reader *r, const json_t *entry, int32_t limit)
{
    struct tokenizer *t = r->tokenizer;
    const char *place = "added_tokens", *content;
    size_t length;
    if (!json_is_object(entry))
        return part_error(r, place, "an entry that is not an object");
    TRY(part_string(r, entry, place, "content", &content, &length));
    const json_t *id = json_object_get(entry, "id");
    if (!content || !json_is_integer(id))
        return part_error(r, place, "an entry without content or id");
    bool special = false, normalised = false, single_word = false;
    struct added_token token = {.length = length, .id = (int32_t)json_integer_value(id)};
    TRY(part_bool(r, entry, place, "special", &special));
    normalised = !special;
    TRY(part_bool(r, entry, place, "normalized", &normalised));
    TRY(part_bool(r, entry, place, "single_word", &single_word));
    TRY(part_bool(r, entry, place, "lstrip", &token.strip_left));
    TRY(part_bool(r, entry, place, "rstrip", &token.strip_right));
    token.special = special;
    if (length == 0)
        return STATUS_OK;
    if (single_word && !special)
        return part_not_supported(r, place, content, "tokens without single_word are");
    int32_t known = vocabulary_find(&t->vocabulary, content, length);
    if (known >= 0 && known != json_integer_value(id))
        return err_set(r->err, STATUS_BAD_DATA, "%s: added_tokens: '%s' has id %lld, but %d before",
                       r->name, content, (long long)json_integer_value(id), (int)known);
    if (known < 0)
        TRY(add_token(r, place, json_integer_value(id), limit, content, length, PIECE_ADDED));
    struct piece *piece = &t->vocabulary.pieces[token.id];
    if (special)
        piece->kind = PIECE_CONTROL;
    token.text = piece->text;
    return match_added(r, token, normalised);
}

static enum status read_added_tokens(const struct reader *r, const json_t *root)
{
    const json_t *list = json_object_get(root, "added_tokens");
    if (!list || json_is_null(list))
        return STATUS_OK;
    if (!json_is_array(list))
        return part_error(r, "added_tokens", "not a list");
    int32_t limit = id_limit((size_t)r->tokenizer->n_ids + json_array_size(list));
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)list, i, entry) TRY(read_added(r, entry, limit));
    return STATUS_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

typedef enum status part_reader(const struct reader *r, const json_t *part, int depth);

static enum status read_part(const struct reader *r, const json_t *root, const char *key,
                             part_reader *read)
{
    const json_t *part = json_object_get(root, key);
    return !part || json_is_null(part) ? STATUS_OK : read(r, part, 0);
}

/* The file does not say which token begins and ends a text: what it puts round texts does, else the
 * names that the model families use. tokenizer_config.json overrules. */
static int32_t guess_special(const struct tokenizer *t, const int32_t *specials, int n,
                             const char *const *names)
{
    if (n > 0)
        return specials[0];
    for (; *names; names++) {
        int32_t id = vocabulary_find(&t->vocabulary, *names, strlen(*names));
        if (id >= 0 && t->vocabulary.pieces[id].kind == PIECE_CONTROL)
            return id;
    }
    return -1;
}

static enum status check_bytes(const struct reader *r)
{
    const struct tokenizer *t = r->tokenizer;
    for (int byte = 0; byte < 256 && t->byte_level && t->byte_fallback; byte++)
        if (t->byte_ids[byte] < 0)
            return part_not_supported(r, "model", "byte_fallback",
                                      "with ByteLevel, every byte must have a token");
    return STATUS_OK;
}

static enum status read_root(const struct reader *r, const json_t *root)
{
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", NULL};
    static const char *const eos[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", NULL};
    struct tokenizer *t = r->tokenizer;
    if (!json_is_object(root))
        return part_error(r, "the whole file", "not an object; this is no tokenizer.json");
    const json_t *model = json_object_get(root, "model");
    if (!model)
        return part_error(r, "model", "missing; this is no tokenizer.json");
    TRY(read_model(r, model));
    TRY(read_part(r, root, "normalizer", tokenizer_read_normaliser));
    TRY(read_part(r, root, "pre_tokenizer", tokenizer_read_pre_tokenizer));
    TRY(read_added_tokens(r, root));
    TRY(read_part(r, root, "post_processor", tokenizer_read_post_processor));
    struct merge *merges = NULL;
    size_t n = 0;
    enum status status = read_merges(r, model, &merges, &n);
    if (status == STATUS_OK)
        status = tokenizer_finish(t, merges, n, r->err);
    mem_free(merges);
    TRY(status);
    t->bos = guess_special(t, t->before, t->n_before, bos);
    t->eos = guess_special(t, t->behind, t->n_behind, eos);
    return check_bytes(r);
}

enum status tokenizer_load_json(json_t **root, const char *data, size_t size, size_t flags,
                                const char *name, struct err *err)
{
    json_error_t error;
    enum status status = json_parse(
        root, data, size, flags | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error, name, err);
    if (status == STATUS_BAD_DATA)
        err_set(err, status, "%s: line %d: not JSON (%s); fetch the file again", name, error.line,
                error.text);
    return status;
}

enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *data, size_t size,
                                const char *name, struct err *err)
{
    json_t *root;
    TRY(tokenizer_load_json(&root, data, size, 0, name, err));
    enum status status = read_root(&(struct reader){tokenizer, name, err}, root);
    json_decref(root);
    return status;
}
