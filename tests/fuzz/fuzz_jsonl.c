/* Fuzzes .jsonl against jansson, line by line.
 *
 * The first byte chooses the keys; the rest is the file. What is read must be what jansson finds
 * there, and a line that is refused as bad JSON must be refused by jansson, and the other way
 * round. jansson alone refuses numbers that its types cannot hold, half a surrogate pair and a 0
 * byte in a key that is not asked for, and this reader alone deep nesting. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/corpus.h"
#include "tests/fuzz/fuzz.h"

static const char *const text_keys[] = {NULL, "a.b", "a.b.c", "0", "", "."};
static const char *const label_keys[] = {NULL, "a.l", "text", "b.c.d"};
#define N_TEXT_KEYS  (sizeof text_keys / sizeof *text_keys)
#define N_LABEL_KEYS (sizeof label_keys / sizeof *label_keys)

/* The rule of json_line_find over jansson's tree. */
static const json_t *find(const json_t *object, const char *path)
{
    const json_t *found = json_object_get(object, path);
    for (size_t n = strlen(path); !found && n-- > 0;) {
        char prefix[16];
        if (path[n] != '.')
            continue;
        memcpy(prefix, path, n);
        prefix[n] = '\0';
        const json_t *inner = json_object_get(object, prefix);
        if (json_is_object(inner))
            found = find(inner, path + n + 1);
    }
    return found;
}

/* The next line that is not only white space, or false. */
static bool next_line(const char **at, const char *end, const char **line, size_t *length)
{
    while (*at < end) {
        const char *line_end = memchr(*at, '\n', (size_t)(end - *at));
        *line = *at;
        *length = (size_t)((line_end ? line_end : end) - *at);
        *at = line_end ? line_end + 1 : end;
        for (size_t i = 0; i < *length; i++)
            if (!strchr(" \t\r", (*line)[i]) || !(*line)[i])
                return true;
    }
    return false;
}

static bool is_jansson_limit(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           code == json_error_null_character || strstr(error->text, "invalid Unicode");
}

static void check_row(const struct corpus *corpus, const struct corpus_row *row,
                      const json_t *value, const struct corpus_settings *settings)
{
    const json_t *text = value, *label = NULL;
    if (json_is_object(value)) {
        text = find(value, settings->text_column ? settings->text_column : "text");
        label = find(value, settings->label_column ? settings->label_column : "label");
    }
    REQUIRE(text && (json_is_string(text) || json_is_null(text)));
    size_t length = json_is_string(text) ? json_string_length(text) : 0;
    REQUIRE(row->length == length);
    REQUIRE(length == 0 || memcmp(row->text, json_string_value(text), length) == 0);
    bool has_label = json_is_number(label) || json_is_boolean(label) ||
                     (json_is_string(label) && json_string_length(label) > 0);
    REQUIRE(has_label == (row->label >= 0));
    if (json_is_string(label) && has_label)
        REQUIRE(strcmp(corpus->labels[row->label], json_string_value(label)) == 0);
    else if (json_is_boolean(label))
        REQUIRE(strcmp(corpus->labels[row->label], json_is_true(label) ? "true" : "false") == 0);
}

/* What an error says behind its row, its line and its byte; "" where it names no byte. */
static const char *complaint(const struct err *err)
{
    int n = 0;
    sscanf(err->text, "fuzz: row %*u (line %*u), byte %*u of the file: %n", &n);
    return n ? err->text + n : "";
}

/* The line that the error names was refused: was that right? */
static void check_error(const struct err *err, const char *line, size_t length)
{
    const char *what = complaint(err);
    if (strncmp(what, "invalid UTF-8", 13) == 0 || strncmp(what, "a 0 byte", 8) == 0)
        return;
    json_error_t error;
    json_t *value = json_loadb(line, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (strncmp(what, "bad JSON", 8) == 0)
        REQUIRE(!value || strstr(what, "nested deeper"));
    else
        REQUIRE(value || is_jansson_limit(&error));
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *bytes = (const char *)data + 1, *at = bytes, *end = bytes + size - 1, *line;
    const struct corpus_settings settings = {
        .format = CORPUS_JSONL,
        .text_column = text_keys[data[0] % N_TEXT_KEYS],
        .label_column = label_keys[data[0] / N_TEXT_KEYS % N_LABEL_KEYS],
    };
    struct text_source source = {.bytes = mem_resize(NULL, size, 1), .size = size - 1};
    memcpy(source.bytes, bytes, size - 1);
    source.bytes[size - 1] = '\0';
    struct corpus corpus;
    struct err err = {0};
    enum status status = corpus_parse(&corpus, "fuzz", &source, &settings, &err);
    size_t length, n_lines = 0, row = 0;
    if (status != STATUS_OK) {
        REQUIRE(err.status == status &&
                utf8_valid_length(err.text, strlen(err.text)) == strlen(err.text));
        if (sscanf(err.text, "fuzz: row %zu ", &row) != 1)
            return 0;
    }
    if (end - at >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    while (next_line(&at, end, &line, &length)) {
        if (++n_lines < row)
            continue;
        if (status != STATUS_OK) {
            check_error(&err, line, length);
            return 0;
        }
        json_error_t error;
        json_t *value = json_loadb(line, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        REQUIRE(n_lines <= corpus.n_rows && (value || is_jansson_limit(&error)));
        if (value)
            check_row(&corpus, &corpus.rows[n_lines - 1], value, &settings);
        json_decref(value);
    }
    REQUIRE(status == STATUS_OK && n_lines == corpus.n_rows);
    corpus_free(&corpus);
    return 0;
}
