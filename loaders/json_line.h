/* JSON texts (RFC 8259) read where they lie: checked, searched by key, their strings decoded in
 * place. What a line of a .jsonl needs, without a tree and without allocations, so that a line of
 * any length takes no memory beyond itself; numbers keep the digits they were written with. */
#ifndef MIDASHI_LOADERS_JSON_LINE_H
#define MIDASHI_LOADERS_JSON_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* A value inside checked JSON: [start, end), without white space round it. */
struct json_value {
    char *start, *end;
};

enum json_kind {
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_BOOLEAN,
    JSON_KIND_NULL,
};
#define JSON_LINE_DEEPEST 1000 /* objects and arrays inside one another */

/* Checks that [start, end) is one value with nothing but white space round it. Returns NULL and
 * sets *value, or says what is wrong at *fault. The bytes must be valid UTF-8, without a 0 byte.
 * Nesting deeper than JSON_LINE_DEEPEST is refused. */
const char *json_line_check(char *start, char *end, struct json_value *value, const char **fault);

enum json_kind json_line_kind(struct json_value value);
const char *json_kind_name(enum json_kind kind); /* "an object", "a number", ... */

/* The value at path inside a checked object. A key equal to the whole path wins; else the longest
 * key before a dot of the path whose value is an object that has the rest, by the same rule. Of
 * equal keys the last one counts. false: there is none. */
bool json_line_find(struct json_value object, const char *path, struct json_value *found);

/* Walks the keys of a checked object: *at NULL at first. false at the end. key is a string. */
bool json_line_next_key(struct json_value object, char **at, struct json_value *key);

/* What JSON can write but a text cannot hold, at *fault in a checked string: \u0000, or half a
 * surrogate pair. NULL where there is nothing of the kind. */
const char *json_line_check_text(struct json_value value, const char **fault);

/* Decodes a checked string in place and puts a 0 byte behind: the text begins at value.start + 1.
 * Returns its length. The string is no JSON any more. Half a surrogate pair becomes U+FFFD. */
size_t json_line_decode(struct json_value value);

#endif
