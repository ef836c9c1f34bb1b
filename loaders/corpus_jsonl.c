/* Corpora in JSON lines: .jsonl. See corpus.h and json_line.h.
 *
 * A line is an object, of which two values are looked up, or a bare string. The file stays in
 * memory as one piece, and texts and labels are decoded where they lie. */
#include <stdio.h>
#include <string.h>
#include "loaders/corpus_columns.h"
#include "loaders/corpus_rows.h"
#include "loaders/json_line.h"

struct jsonl {
    struct corpus_reading *reading;
    const char *text_key, *label_key;
    char *line;    /* being read */
    size_t number; /* its number, from 1 */
    bool any_object, any_label;
};

/* ---- messages ------------------------------------------------------------------------------- */

static enum status row_error(const struct jsonl *j, const char *what, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA, "%s: row %zu (line %zu): %s", j->reading->name,
                   j->reading->n_rows + 1, j->number, what);
}

static enum status byte_error(const struct jsonl *j, const char *at, const char *kind,
                              const char *what, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA, "%s: row %zu (line %zu), byte %zu of the file: %s%s",
                   j->reading->name, j->reading->n_rows + 1, j->number,
                   (size_t)(at - j->reading->corpus->bytes), kind, what);
}

/* A key that is not there. In the first row that is a slip in the command, later a hole in the
 * data. */
static enum status missing_key(const struct jsonl *j, struct json_value object, const char *wanted,
                               const char *flag, struct err *err)
{
    struct table_field keys[CORPUS_LISTED_NAMES + 1];
    struct json_value key;
    size_t n = 0;
    for (char *at = NULL; json_line_next_key(object, &at, &key); n++)
        if (n <= CORPUS_LISTED_NAMES)
            keys[n] = (struct table_field){key.start + 1, (size_t)(key.end - key.start) - 2};
    char list[CORPUS_NAMES_LIST];
    corpus_names_list(list, sizeof list, keys, n);
    if (j->reading->n_rows == 0)
        return err_set(
            err, STATUS_USAGE, "%s: row 1 (line %zu) has no key \"%.60s\"; %s takes one of %s",
            j->reading->name, j->number, wanted, flag, n ? list : "its keys, but it has none");
    return err_set(err, STATUS_BAD_DATA,
                   "%s: row %zu (line %zu) has no key \"%.60s\", only %s; add it, or null for a "
                   "blank text",
                   j->reading->name, j->reading->n_rows + 1, j->number, wanted, n ? list : "none");
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* A string, decoded. */
static enum status take_string(const struct jsonl *j, struct json_value value,
                               struct table_field *out, struct err *err)
{
    const char *fault, *what = json_line_check_text(value, &fault);
    if (what)
        return byte_error(j, fault, "", what, err);
    size_t length = json_line_decode(value);
    *out = (struct table_field){.text = value.start + 1, .length = length};
    return STATUS_OK;
}

/* The label of an object: a string, or a number or boolean as it is written. Nothing else is one;
 * where --label asked for it, that is an error. */
static enum status take_label(struct jsonl *j, struct json_value value, struct table_field *label,
                              struct err *err)
{
    enum json_kind kind = json_line_kind(value);
    char what[192];
    switch (kind) {
    case JSON_KIND_STRING:
        j->any_label = true;
        return take_string(j, value, label, err);
    case JSON_KIND_NUMBER:
    case JSON_KIND_BOOLEAN:
        j->any_label = true;
        *value.end = '\0'; /* a comma, a bracket or white space */
        *label = (struct table_field){value.start, (size_t)(value.end - value.start)};
        return STATUS_OK;
    case JSON_KIND_NULL:
        j->any_label = true;
        return STATUS_OK;
    case JSON_KIND_OBJECT:
    case JSON_KIND_ARRAY:
        break;
    }
    if (!j->reading->settings->label_column)
        return STATUS_OK;
    snprintf(what, sizeof what, "\"%.60s\" is %s; a label is a string, a number, true or false",
             j->label_key, json_kind_name(kind));
    return row_error(j, what, err);
}

static enum status add_object(struct jsonl *j, struct json_value object, struct err *err)
{
    struct table_field text = {.text = object.end - 1}, label = {0};
    struct json_value text_value, label_value;
    j->any_object = true;
    if (!json_line_find(object, j->text_key, &text_value))
        return missing_key(j, object, j->text_key, "--text", err);
    enum json_kind kind = json_line_kind(text_value);
    if (kind != JSON_KIND_STRING && kind != JSON_KIND_NULL) {
        char what[256];
        int length = snprintf(what, sizeof what,
                              "\"%.60s\" is %s; a text is a string, or null for a blank one",
                              j->text_key, json_kind_name(kind));
        if (kind == JSON_KIND_OBJECT)
            snprintf(what + length, sizeof what - (size_t)length,
                     "; --text %.60s.KEY takes what it has under KEY", j->text_key);
        return row_error(j, what, err);
    }
    /* Both are found before either is decoded, which overwrites. They may be the same value. */
    bool has_label = json_line_find(object, j->label_key, &label_value);
    bool same = has_label && label_value.start == text_value.start;
    if (kind == JSON_KIND_STRING)
        TRY(take_string(j, text_value, &text, err));
    if (same && kind == JSON_KIND_STRING) {
        j->any_label = true;
        label = text;
    } else if (has_label) {
        TRY(take_label(j, label_value, &label, err));
    }
    if (kind == JSON_KIND_NULL)
        *text.text = '\0'; /* the object's closing bracket */
    return corpus_add_row(j->reading, text.text, text.length, label.text, err);
}

static enum status add_string(struct jsonl *j, struct json_value string, struct err *err)
{
    struct table_field text;
    if (j->reading->settings->text_column)
        return err_set(err, STATUS_USAGE,
                       "%s: row %zu (line %zu) is a string, not an object with keys; leave --text "
                       "out",
                       j->reading->name, j->reading->n_rows + 1, j->number);
    TRY(take_string(j, string, &text, err));
    return corpus_add_row(j->reading, text.text, text.length, NULL, err);
}

/* The line [j->line, end) as a row; one of white space is none. */
static enum status add_line(struct jsonl *j, char *end, struct err *err)
{
    const char *fault, *what;
    const char *bytes = j->reading->corpus->bytes;
    struct json_value value;
    if (j->line + strspn(j->line, " \t\r") == end)
        return STATUS_OK;
    if ((size_t)(end - bytes) > j->reading->fault.byte)
        return byte_error(j, bytes + j->reading->fault.byte, "", j->reading->fault.what, err);
    if ((what = json_line_check(j->line, end, &value, &fault)))
        return byte_error(j, fault, "bad JSON: ", what, err);
    switch (json_line_kind(value)) {
    case JSON_KIND_OBJECT:
        return add_object(j, value, err);
    case JSON_KIND_STRING:
        return add_string(j, value, err);
    case JSON_KIND_ARRAY:
        return row_error(j,
                         "an array; a line holds an object or a string (jq -c '.[]' makes lines of "
                         "an array)",
                         err);
    default:
        return row_error(j, "neither an object nor a string", err);
    }
}

/* ---- the whole file ------------------------------------------------------------------------- */

static void describe(const struct jsonl *j, char guess[256])
{
    if (!j->any_object)
        snprintf(guess, 256, "a JSON string a line; no labels");
    else if (j->any_label)
        snprintf(guess, 256, "text is key \"%.60s\", label is key \"%.60s\"", j->text_key,
                 j->label_key);
    else
        snprintf(guess, 256, "text is key \"%.60s\"; no labels", j->text_key);
}

enum status corpus_read_jsonl(struct corpus_reading *reading, size_t size, struct err *err)
{
    const struct corpus_settings *settings = reading->settings;
    struct jsonl j = {
        .reading = reading,
        .text_key = settings->text_column ? settings->text_column : "text",
        .label_key = settings->label_column ? settings->label_column : "label",
        .line = reading->corpus->bytes,
    };
    if (settings->header == CORPUS_HEADER_YES)
        return err_set(err, STATUS_USAGE, "%s: a .jsonl has keys and no header; leave --header out",
                       reading->name);
    char *end = j.line + size, *next;
    if (size >= 3 && memcmp(j.line, "\xEF\xBB\xBF", 3) == 0)
        j.line += 3;
    for (; j.line < end; j.line = next) {
        char *line_end = memchr(j.line, '\n', (size_t)(end - j.line));
        if (!line_end)
            line_end = end;
        next = line_end < end ? line_end + 1 : end;
        j.number++;
        TRY(add_line(&j, line_end, err));
    }
    if (settings->label_column && !j.any_label && reading->n_rows > 0)
        return err_set(err, STATUS_USAGE,
                       "%s: no row has a key \"%.60s\"; leave %s out, or name another key",
                       reading->name, j.label_key,
                       settings->label_option ? settings->label_option : "--label");
    describe(&j, reading->corpus->guess);
    return STATUS_OK;
}
