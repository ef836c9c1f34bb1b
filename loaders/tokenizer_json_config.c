/* tokenizer_config.json: which tokens begin and end a text, where it says so. It lies beside
 * tokenizer.json and overrules it. */
#include "loaders/tokenizer_json.h"

/* "bos_token": its text, or an object that holds it, or null. */
static enum status read_config_token(const struct reader *r, const json_t *root, const char *key,
                                     int32_t *id)
{
    const json_t *token = json_object_get(root, key);
    if (json_is_object(token))
        token = json_object_get(token, "content");
    if (!token || json_is_null(token))
        return STATUS_OK;
    if (!json_is_string(token))
        return part_error(r, key, "not a token's text");
    const struct tokenizer *t = r->tokenizer;
    int32_t found =
        vocabulary_find(&t->vocabulary, json_string_value(token), json_string_length(token));
    if (found < 0 || found >= t->n_ids)
        return part_error(r, key, "a token that is not in the vocabulary");
    *id = found;
    return STATUS_OK;
}

/* add_bos_token and add_eos_token replace what the tokenizer puts on that side. */
static enum status read_config_add(const struct reader *r, const json_t *root, const char *key,
                                   int32_t id, int32_t *specials, int *n)
{
    bool present = json_is_boolean(json_object_get(root, key)), add = false;
    TRY(part_bool(r, root, "the whole file", key, &add));
    if (!present)
        return STATUS_OK;
    *n = 0;
    if (add && id >= 0)
        specials[(*n)++] = id;
    return STATUS_OK;
}

enum status tokenizer_read_config(struct tokenizer *tokenizer, const char *data, size_t size,
                                  const char *name, struct err *err)
{
    struct reader r = {tokenizer, name, err};
    json_t *root;
    /* model_max_length is often 10^30: no integer of ours, and nothing here reads numbers. */
    TRY(tokenizer_load_json(&root, data, size, JSON_DECODE_INT_AS_REAL, name, err));
    enum status status = STATUS_OK;
    if (!json_is_object(root))
        TRY_TO(status, part_error(&r, "the whole file", "not an object"), done);
    TRY_TO(status, read_config_token(&r, root, "bos_token", &tokenizer->bos), done);
    TRY_TO(status, read_config_token(&r, root, "eos_token", &tokenizer->eos), done);
    TRY_TO(status,
           read_config_add(&r, root, "add_bos_token", tokenizer->bos, tokenizer->before,
                           &tokenizer->n_before),
           done);
    TRY_TO(status,
           read_config_add(&r, root, "add_eos_token", tokenizer->eos, tokenizer->behind,
                           &tokenizer->n_behind),
           done);
done:
    json_decref(root);
    return status;
}
