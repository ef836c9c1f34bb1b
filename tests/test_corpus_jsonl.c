/* Corpora in JSON lines, and what all formats share: which rows, which format, how fast. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "host/base/memory.h"
#include "loaders/corpus.h"
#include "loaders/json_line.h"

/* settings: "TEXT/LABEL", empty for NULL. */
static enum status parse(struct corpus *corpus, enum corpus_format format, const char *bytes,
                         size_t size, const char *settings, struct err *err)
{
    char text[64] = "", label[64] = "";
    sscanf(settings, "%63[^/]", text);
    const char *slash = strchr(settings, '/');
    if (slash)
        sscanf(slash, "/%63s", label);
    const struct corpus_settings parsed = {.format = format,
                                           .text_column = text[0] ? text : NULL,
                                           .label_column = label[0] ? label : NULL};
    struct text_source source = {.bytes = mem_resize(NULL, size + 1, 1), .size = size};
    memcpy(source.bytes, bytes, size);
    source.bytes[size] = '\0';
    return corpus_parse(corpus, "x", &source, &parsed, err);
}

/* "LABEL>TEXT|..." */
static const char *format_rows(const struct corpus *corpus)
{
    static char out[1024];
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < corpus->n_rows; i++) {
        const struct corpus_row *row = &corpus->rows[i];
        ck_assert_int_eq(row->text[row->length], '\0');
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%s%s%s", i ? "|" : "",
                                 row->label >= 0 ? corpus->labels[row->label] : "",
                                 row->label >= 0 ? ">" : "", row->text);
    }
    return out;
}

static const struct {
    const char *bytes, *settings, *rows, *guess;
} good[] = {
    {"{\"text\":\"one\",\"label\":\"x\"}\n{\"label\":\"y\",\"text\":\"two\"}", "", "x>one|y>two",
     "text is key \"text\", label is key \"label\""},
    {"\xEF\xBB\xBF{\"text\":\"one\"}\r\n\r\n  \n{\"text\":\"two\"}\r\n", "", "one|two",
     "text is key \"text\"; no labels"},
    {"\"one\"\n\"t\\u0077o\"\n", "", "one|two", "a JSON string a line; no labels"},
    {"{\"text\":null}\n{\"text\":\"two\"}\n\"three\"", "", "|two|three", NULL},
    /* Labels that are no strings keep the digits they were written with. */
    {"{\"text\":\"a\",\"label\":1.10}\n{\"text\":\"b\",\"label\":123456789012345678901234567890}\n"
     "{\"text\":\"c\",\"label\":true }\n{\"label\":-1e2,\"text\":\"d\"}\n",
     "", "1.10>a|123456789012345678901234567890>b|true>c|-1e2>d", NULL},
    {"{\"text\":\"a\",\"label\":null}\n{\"text\":\"b\",\"label\":\"\"}\n{\"text\":\"c\"}\n"
     "{\"text\":\"d\",\"label\":\"l\"}",
     "", "a|b|c|l>d", NULL},
    {"{\"text\":\"a\",\"label\":[1]}\n{\"text\":\"b\",\"label\":{\"text\":\"\"}}", "", "a|b",
     "text is key \"text\"; no labels"},
    /* Keys: nested, with dots, escaped, digits, twice. */
    {"{\"a\":{\"b\":{\"c\":\"one\"},\"l\":1}}", "a.b.c/a.l", "1>one",
     "text is key \"a.b.c\", label is key \"a.l\""},
    {"{\"a\":{\"b\":\"nested\"},\"a.b\":\"literal\"}", "a.b", "literal", NULL},
    {"{\"a.b\":\"literal\",\"a\":{\"b\":\"nested\"}}", "a.b", "literal", NULL},
    {"{\"a\":{\"b.c\":\"x\"},\"a.b\":{\"c\":\"y\"}}", "a.b.c", "y", NULL},
    {"{\"a\":{\"b.c\":\"x\"},\"a.b\":{\"d\":\"y\"},\"a.b.c.d\":0}", "a.b.c", "x", NULL},
    {"{\"t\\u0065xt\":\"one\"}", "", "one", NULL},
    {"{\"0\":\"one\",\"1\":2}", "0/1", "2>one", NULL},
    {"{\"text\":\"one\",\"text\":\"two\"}", "", "two", NULL},
    {"{\"a\":{\"b\":1},\"a\":{\"b\":\"two\"}}", "a.b", "two", NULL},
    {"{\"\":\"no\",\"text\":\"one\",\"x\":{\"text\":\"}\\\"]\"}}", "", "one", NULL},
    {"{\"text\":\"a\\\\\\\"b\"}", "text/text", "a\\\"b>a\\\"b", NULL},
    {"{\"text\":\"one\",\"x\":\"\\ud800\\u0000\",\"\\udc00\":1}", "", "one", NULL},
};

START_TEST(jsonl_reads)
{
    for (size_t c = 0; c < sizeof good / sizeof *good; c++) {
        struct corpus corpus;
        struct err err = {0};
        enum status status = parse(&corpus, CORPUS_JSONL, good[c].bytes, strlen(good[c].bytes),
                                   good[c].settings, &err);
        ck_assert_msg(status == STATUS_OK, "case %zu: %s", c, err.text);
        ck_assert_msg(strcmp(format_rows(&corpus), good[c].rows) == 0, "case %zu: %s", c,
                      format_rows(&corpus));
        if (good[c].guess)
            ck_assert_msg(strcmp(corpus.guess, good[c].guess) == 0, "case %zu: %s", c,
                          corpus.guess);
        corpus_free(&corpus);
    }
}
END_TEST

static const struct {
    const char *bytes, *settings;
    enum status status;
    const char *message;
} bad[] = {
    {"", "", STATUS_BAD_DATA, "x: no texts: the file has no rows"},
    {"\n \n", "", STATUS_BAD_DATA, "x: no texts: the file has no rows"},
    {"{\"text\":null}", "", STATUS_BAD_DATA, "x: no texts: all rows are blank"},
    {"{\"text\":\"a\"}\n\n{\"text\":\"b\"", "", STATUS_BAD_DATA,
     "x: row 2 (line 3), byte 14 of the file: bad JSON: an object that is never closed"},
    {"{\"text\":\"a\" \"b\"}", "", STATUS_BAD_DATA,
     "row 1 (line 1), byte 12 of the file: bad JSON: a comma is missing"},
    {"{text:\"a\"}", "", STATUS_BAD_DATA, "byte 1 of the file: bad JSON: a key in double quotes"},
    {"{'text':'a'}", "", STATUS_BAD_DATA, "byte 1 of the file: bad JSON: a key in double quotes"},
    {"{\"text\":\"a}", "", STATUS_BAD_DATA, "byte 8 of the file: bad JSON: a string that is never"},
    {"{\"text\":\"a\tb\"}", "", STATUS_BAD_DATA, "byte 10 of the file: bad JSON: a control char"},
    {"{\"text\":\"\\x\"}", "", STATUS_BAD_DATA, "byte 9 of the file: bad JSON: an escape that"},
    {"{\"text\":\"\\u12g4\"}", "", STATUS_BAD_DATA, "byte 9 of the file: bad JSON: \\u needs"},
    {"{\"text\":\"a\",\"n\":01}", "", STATUS_BAD_DATA, "byte 17 of the file: bad JSON: a number"},
    {"{\"text\":\"a\",\"n\":NaN}", "", STATUS_BAD_DATA,
     "byte 16 of the file: bad JSON: this is no"},
    {"{\"text\":\"a\"},", "", STATUS_BAD_DATA, "byte 12 of the file: bad JSON: something stands"},
    {"{\"text\":", "", STATUS_BAD_DATA, "byte 8 of the file: bad JSON: a value is missing"},
    {"{\"text\":\"a\\u0000\"}", "", STATUS_BAD_DATA, "byte 10 of the file: \\u0000, a 0 byte"},
    {"{\"text\":\"\\ud83d\"}", "", STATUS_BAD_DATA, "byte 9 of the file: half a surrogate pair"},
    {"{\"text\":\"\\ud83d\\ud83d\"}", "", STATUS_BAD_DATA, "byte 9 of the file: half a surrogate"},
    {"{\"text\":\"\\ude00\"}", "", STATUS_BAD_DATA, "byte 9 of the file: half a surrogate pair"},
    {"{\"text\":\"a\",\"label\":\"\\ude00\"}", "", STATUS_BAD_DATA, "byte 21 of the file: half a"},
    {"{\"text\":\"a\"}\n{\"text\":\"\xFF\"}", "", STATUS_BAD_DATA,
     "row 2 (line 2), byte 22 of the file: invalid UTF-8 (0xFF)"},
    {"{\"text\":7}", "", STATUS_BAD_DATA, "row 1 (line 1): \"text\" is a number; a text is"},
    {"{\"text\":\"a\"}\n{\"text\":{}}", "", STATUS_BAD_DATA,
     "row 2 (line 2): \"text\" is an object; a text is a string, or null for a blank one; --text "
     "text.KEY takes what it has under KEY"},
    {"{\"text\":\"a\",\"l\":[]}", "/l", STATUS_BAD_DATA,
     "row 1 (line 1): \"l\" is an array; a label"},
    {"[{\"text\":\"a\"}]", "", STATUS_BAD_DATA, "row 1 (line 1): an array; a line holds"},
    {"12", "", STATUS_BAD_DATA, "row 1 (line 1): neither an object nor a string"},
    {"{\"a\":\"1\",\"b.c\":{\"d\":1}}", "body", STATUS_USAGE,
     "row 1 (line 1) has no key \"body\"; --text takes one of \"a\", \"b.c\""},
    {"{}", "", STATUS_USAGE,
     "row 1 (line 1) has no key \"text\"; --text takes one of its keys, but"},
    {"{\"text\":\"a\"}\n{\"t\":\"b\"}", "", STATUS_BAD_DATA,
     "row 2 (line 2) has no key \"text\", only \"t\"; add it, or null for a blank text"},
    {"{\"text\":{\"a\":1}}", "text.b", STATUS_USAGE, "row 1 (line 1) has no key \"text.b\""},
    {"{\"text\":\"a\",\"k\":1}", "/kind", STATUS_USAGE, "no row has a key \"kind\"; leave --label"},
    {"\"a\"", "text", STATUS_USAGE, "row 1 (line 1) is a string, not an object with keys"},
};

START_TEST(jsonl_refuses)
{
    for (size_t c = 0; c < sizeof bad / sizeof *bad; c++) {
        struct corpus corpus;
        struct err err = {0};
        enum status status =
            parse(&corpus, CORPUS_JSONL, bad[c].bytes, strlen(bad[c].bytes), bad[c].settings, &err);
        check_error(status, &err, bad[c].status, bad[c].message, bad[c].bytes);
        ck_assert_ptr_null(corpus.bytes);
    }
    struct corpus corpus;
    struct err err;
    const char zero[] = "{\"text\":\"a\"}\n{\"text\":\"\0\"}";
    check_error(parse(&corpus, CORPUS_JSONL, zero, sizeof zero - 1, "", &err), &err,
                STATUS_BAD_DATA, "row 2 (line 2), byte 22 of the file: a 0 byte", "a 0 byte");
}
END_TEST

/* Objects and arrays in one another: 1,000 levels are read, one more is refused, and a million do
 * not run the stack over. */
START_TEST(jsonl_bounds_nesting)
{
    static const size_t levels[] = {JSON_LINE_DEEPEST - 1, JSON_LINE_DEEPEST, 1000000};
    for (size_t i = 0; i < 3; i++) {
        char *bytes = malloc(2 * levels[i] + 64);
        size_t at = (size_t)sprintf(bytes, "{\"text\":\"a\",\"deep\":");
        memset(bytes + at, '[', levels[i]);
        memset(bytes + at + levels[i], ']', levels[i]);
        at += 2 * levels[i];
        bytes[at++] = '}';
        struct corpus corpus;
        struct err err = {0};
        enum status status = parse(&corpus, CORPUS_JSONL, bytes, at, "", &err);
        if (i == 0)
            ck_assert_msg(status == STATUS_OK, "%s", err.text);
        else
            check_error(status, &err, STATUS_BAD_DATA, "nested deeper than 1000", "nesting");
        corpus_free(&corpus);
        free(bytes);
    }
}
END_TEST

/* ---- rows ----------------------------------------------------------------------------------- */

START_TEST(corpus_takes_some_rows)
{
    static const struct {
        size_t first, last;
        const char *rows, *guess;
        size_t before, n_blank;
        int n_labels;
    } cases[] = {
        {0, 0, "x>one|y>|x>three|z>four", NULL, 0, 1, 3},
        {2, 3, "y>|x>three", "; rows 2 to 3 of 4", 1, 1, 2},
        {3, 0, "x>three|z>four", "; rows 3 to 4 of 4", 2, 0, 2},
        {0, 1, "x>one", "; rows 1 to 1 of 4", 0, 0, 1},
        {4, 99, "z>four", "; rows 4 to 4 of 4", 3, 0, 1},
        {1, 4, "x>one|y>|x>three|z>four", NULL, 0, 1, 3},
        {2, 2, "y>", "; rows 2 to 2 of 4", 1, 1, 1},
    };
    static const char bytes[] = "label\ttext\nx\tone\ny\t\nx\tthree\nz\tfour\n";
    const char *path = write_file(temporary_folder(), "a.tsv", bytes, sizeof bytes - 1);
    struct corpus corpus;
    struct err err;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct corpus_settings settings = {.first_row = cases[c].first,
                                                 .last_row = cases[c].last};
        ck_assert_msg(corpus_read(&corpus, path, &settings, &err) == STATUS_OK, "%s", err.text);
        ck_assert_str_eq(format_rows(&corpus), cases[c].rows);
        ck_assert_uint_eq(corpus.rows_before, cases[c].before);
        ck_assert_uint_eq(corpus.n_blank, cases[c].n_blank);
        ck_assert_int_eq(corpus.n_labels, cases[c].n_labels);
        ck_assert(!cases[c].guess == !strstr(corpus.guess, "rows"));
        if (cases[c].guess)
            ck_assert_ptr_nonnull(strstr(corpus.guess, cases[c].guess));
        corpus_free(&corpus);
    }
    const struct corpus_settings behind = {.first_row = 5};
    check_error(corpus_read(&corpus, path, &behind, &err), &err, STATUS_USAGE,
                "a.tsv: --rows begins at 5, but there are 4 rows", "rows behind the last");
}
END_TEST

/* The hash is of the rows that were taken. */
START_TEST(corpus_hash_is_of_the_rows_taken)
{
    struct corpus some, alone;
    struct err err;
    const char *three = write_file(temporary_folder(), "3.txt", "one\ntwo\nthree\n", 14);
    const char *one = write_file(temporary_folder(), "1.txt", "two\n", 4);
    const struct corpus_settings second = {.first_row = 2, .last_row = 2}, all = {0};
    ck_assert_int_eq(corpus_read(&some, three, &second, &err), STATUS_OK);
    ck_assert_int_eq(corpus_read(&alone, one, &all, &err), STATUS_OK);
    ck_assert_mem_eq(some.hash, alone.hash, 16);
    corpus_free(&some);
    corpus_free(&alone);
}
END_TEST

/* ---- formats -------------------------------------------------------------------------------- */

START_TEST(corpus_format_overrules_the_name)
{
    static const struct {
        const char *name;
        enum corpus_format format;
        const char *rows;
    } cases[] = {
        {"a.NDJSON", CORPUS_BY_NAME, "b,c|\"d"},   {"a.jsonl", CORPUS_TXT, "\"b,c\"|\"\\\"d\""},
        {"a.tsv", CORPUS_JSONL, "b,c|\"d"},        {"a", CORPUS_JSONL, "b,c|\"d"},
        {"a.gz", CORPUS_TXT, "\"b,c\"|\"\\\"d\""},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct corpus corpus;
        struct err err;
        const struct corpus_settings settings = {.format = cases[c].format};
        static const char bytes[] = "\"b,c\"\n\"\\\"d\"\n";
        const char *path = write_file(temporary_folder(), cases[c].name, bytes, sizeof bytes - 1);
        enum status status = corpus_read(&corpus, path, &settings, &err);
        if (strcmp(cases[c].name, "a.gz") == 0) {
            check_error(status, &err, STATUS_BAD_DATA, "damaged gzip data", "plain text named .gz");
            continue;
        }
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
        ck_assert_str_eq(format_rows(&corpus), cases[c].rows);
        corpus_free(&corpus);
    }
}
END_TEST

/* ---- time ----------------------------------------------------------------------------------- */

/* Processor seconds of reading bytes, which are freed. */
static double time_parse(enum corpus_format format, char *bytes, size_t size, const char *settings)
{
    struct corpus corpus;
    struct err err = {0};
    clock_t start = clock();
    enum status status = parse(&corpus, format, bytes, size, settings, &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    ck_assert_msg(status == STATUS_OK, "%s", err.text);
    ck_assert_uint_eq(corpus.n_rows, 2);
    corpus_free(&corpus);
    free(bytes);
    return seconds;
}

/* prefix, then n times unit, then suffix, on two lines. */
static char *two_lines(size_t *size, const char *header, const char *prefix, const char *unit,
                       size_t n, const char *suffix)
{
    size_t n_unit = strlen(unit), capacity = strlen(header) + 2 * (n * n_unit + 64);
    char *bytes = malloc(capacity), *at = bytes + sprintf(bytes, "%s", header);
    for (int line = 0; line < 2; line++) {
        at += sprintf(at, "%s", prefix);
        for (size_t i = 0; i < n; i++, at += n_unit)
            memcpy(at, unit, n_unit);
        at += sprintf(at, "%s\n", suffix);
    }
    *size = (size_t)(at - bytes);
    return bytes;
}

/* Texts of 10 MB and rows of 100,000 fields take a fraction of a second here; anything quadratic
 * would take minutes. */
START_TEST(corpus_reads_in_linear_time)
{
    static const struct {
        enum corpus_format format;
        const char *prefix, *unit;
        size_t n;
        const char *suffix;
    } cases[] = {
        {CORPUS_TXT, "", "a text ", 1500000, ""},
        {CORPUS_TXT, "a", " ", 10000000, ""},
        {CORPUS_CSV, "\"", "\"\"", 5000000, "\""},
        {CORPUS_CSV, "\"", "a\r\n", 3000000, "\""},
        {CORPUS_CSV, "a", ",", 10000000, ""},
        {CORPUS_TSV, "a", "\t", 100000, "b"},
        {CORPUS_JSONL, "{\"text\":\"", "\\u00e9", 1700000, "\"}"},
        {CORPUS_JSONL, "{\"text\":\"", "\\\"a", 3500000, "\"}"},
        {CORPUS_JSONL, "{\"text\":\"a\"", ",\"k\":\"\"", 1500000, "}"},
        {CORPUS_JSONL, "{\"text\":\"a\",\"k\":[0", ",[]", 3500000, "]}"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t size;
        bool column = cases[c].format == CORPUS_CSV || cases[c].format == CORPUS_TSV;
        char *bytes =
            two_lines(&size, "", cases[c].prefix, cases[c].unit, cases[c].n, cases[c].suffix);
        double seconds = time_parse(cases[c].format, bytes, size, column ? "1" : "");
        ck_assert_msg(seconds < 3, "case %zu: %.2f s for %zu bytes", c, seconds, size);
    }
}
END_TEST

START_TEST(jsonl_survives_lack_of_memory)
{
    static const char bytes[] = "{\"text\":\"a\\u00e9\",\"label\":\"x\"}\n\"b\"\n";
    const char *path = write_file(temporary_folder(), "a.jsonl", bytes, sizeof bytes - 1);
    /* The file, the rows, the labels, their slots. */
    ck_assert_int_eq(check_corpus_lacks_memory(path, "a.jsonl"), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("corpus_jsonl");
    TCase *tests = tcase_create("corpus_jsonl");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, jsonl_reads);
    tcase_add_test(tests, jsonl_refuses);
    tcase_add_test(tests, jsonl_bounds_nesting);
    tcase_add_test(tests, jsonl_survives_lack_of_memory);
    tcase_add_test(tests, corpus_takes_some_rows);
    tcase_add_test(tests, corpus_hash_is_of_the_rows_taken);
    tcase_add_test(tests, corpus_format_overrules_the_name);
    tcase_add_test(tests, corpus_reads_in_linear_time);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
