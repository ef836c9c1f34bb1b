/* What the files that read tokenizer.json and tokenizer_config.json share. */
#ifndef MIDASHI_LOADERS_TOKENIZER_JSON_H
#define MIDASHI_LOADERS_TOKENIZER_JSON_H

#include "loaders/json.h"
#include "loaders/tokenizer_internal.h"

struct reader {
    struct tokenizer *tokenizer;
    const char *name; /* the file */
    struct err *err;
};

/* STATUS_BAD_DATA: "FILE: PLACE: WHAT", and "FILE: PLACE: 'KIND' is not supported; SUPPORTED". */
enum status part_error(const struct reader *r, const char *place, const char *what);
enum status part_not_supported(const struct reader *r, const char *place, const char *kind,
                               const char *supported);

/* Parses a whole file; the caller releases *root. flags: jansson's, beside those that every such
 * file needs. STATUS_BAD_DATA: not JSON, with the line. */
enum status tokenizer_load_json(json_t **root, const char *data, size_t size, size_t flags,
                                const char *name, struct err *err);

/* *value stays where the key is absent or null. */
enum status part_bool(const struct reader *r, const json_t *object, const char *place,
                      const char *key, bool *value);
/* *value is NULL where the key is absent or null. object may be anything. */
enum status part_string(const struct reader *r, const json_t *object, const char *place,
                        const char *key, const char **value, size_t *length);
/* "type" of a part, "" where it has none. */
enum status part_type(const struct reader *r, const json_t *part, const char *place,
                      const char **type);

/* The parts of the file that become steps of the pipeline (tokenizer_json_steps.c). The
 * post-processor needs all tokens to be there. */
enum status tokenizer_read_normaliser(const struct reader *r, const json_t *part, int depth);
enum status tokenizer_read_pre_tokenizer(const struct reader *r, const json_t *part, int depth);
enum status tokenizer_read_post_processor(const struct reader *r, const json_t *part, int depth);

#endif
