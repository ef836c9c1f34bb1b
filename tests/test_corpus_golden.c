/* Corpora against what Python's csv and json modules read: tests/golden/make_corpora.py. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/corpus.h"

/* The expected rows, one field after another. */
struct expected {
    struct file_map map;
    size_t at;
};

/* The next field; NULL for a row that is refused. */
static const unsigned char *next_field(struct expected *expected, uint32_t *length)
{
    ck_assert_uint_le(expected->at + 4, expected->map.size);
    memcpy(length, expected->map.data + expected->at, 4);
    expected->at += 4;
    if (*length == UINT32_MAX)
        return NULL;
    ck_assert_uint_le(expected->at + *length, expected->map.size);
    expected->at += *length;
    return expected->map.data + expected->at - *length;
}

static void open_expected(struct expected *expected, const char *name)
{
    char path[64];
    struct err err;
    *expected = (struct expected){0};
    snprintf(path, sizeof path, "corpora/%s.rows", name);
    ck_assert_msg(file_map(&expected->map, golden(path), &err) == STATUS_OK, "%s", err.text);
}

START_TEST(corpus_reads_as_python_does)
{
    static const struct {
        const char *name, *ending;
    } files[] = {{"minimal", "csv"}, {"quoted", "csv"},    {"assembled", "csv"},
                 {"tabs", "tsv"},    {"escaped", "jsonl"}, {"raw", "jsonl"}};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        struct expected expected;
        struct corpus corpus;
        struct err err;
        char path[64];
        open_expected(&expected, files[f].name);
        snprintf(path, sizeof path, "corpora/%s.%s", files[f].name, files[f].ending);
        ck_assert_msg(corpus_read(&corpus, golden(path), &(struct corpus_settings){0}, &err) ==
                          STATUS_OK,
                      "%s", err.text);
        for (size_t i = 0; i < corpus.n_rows; i++) {
            const struct corpus_row *row = &corpus.rows[i];
            uint32_t n_label, n_text;
            const unsigned char *label = next_field(&expected, &n_label);
            const unsigned char *text = next_field(&expected, &n_text);
            const char *got = row->label >= 0 ? corpus.labels[row->label] : "";
            ck_assert_msg(strlen(got) == n_label && memcmp(got, label, n_label) == 0,
                          "%s: row %zu: label %s", path, i + 1, got);
            ck_assert_msg(row->length == n_text && memcmp(row->text, text, n_text) == 0,
                          "%s: row %zu: text %s", path, i + 1, row->text);
        }
        ck_assert_uint_eq(corpus.n_rows, 150);
        ck_assert_uint_eq(expected.at, expected.map.size);
        corpus_free(&corpus);
        file_unmap(&expected.map);
    }
}
END_TEST

/* Each line alone, behind one that is good: read as Python reads it, or refused where Python does,
 * with the row. */
START_TEST(jsonl_refuses_what_python_refuses)
{
    static const char first[] = "{\"text\":\"first\"}\n";
    struct expected expected;
    struct file_map lines;
    struct err err;
    open_expected(&expected, "mutated");
    ck_assert_int_eq(file_map(&lines, golden("corpora/mutated.jsonl"), &err), STATUS_OK);
    const char *line = (const char *)lines.data, *end = line + lines.size;
    int n_lines = 0;
    for (; line < end; n_lines++) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        struct text_source source = {.size = sizeof first - 1 + (size_t)(next - line)};
        source.bytes = mem_resize(NULL, source.size + 1, 1);
        memcpy(source.bytes, first, sizeof first - 1);
        memcpy(source.bytes + sizeof first - 1, line, (size_t)(next - line));
        source.bytes[source.size] = '\0';
        struct corpus corpus;
        const struct corpus_settings settings = {.format = CORPUS_JSONL};
        enum status status = corpus_parse(&corpus, "x", &source, &settings, &err);
        uint32_t length;
        bool refused = !next_field(&expected, &length);
        ck_assert_msg((status != STATUS_OK) == refused, "line %d: %.*s: %s", n_lines + 1,
                      (int)(next - line - 1), line, refused ? "read" : err.text);
        if (refused) {
            check_error(status, &err, STATUS_BAD_DATA, "x: row 2 (line 2)", "a mutated line");
        } else {
            const unsigned char *text = next_field(&expected, &length);
            ck_assert_uint_eq(corpus.n_rows, 2);
            ck_assert_uint_eq(corpus.rows[1].length, length);
            ck_assert_int_eq(memcmp(corpus.rows[1].text, text, length), 0);
        }
        corpus_free(&corpus);
        line = next;
    }
    ck_assert_int_eq(n_lines, 600);
    file_unmap(&lines);
    file_unmap(&expected.map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("corpus_golden");
    TCase *tests = tcase_create("corpus_golden");
    tcase_add_test(tests, corpus_reads_as_python_does);
    tcase_add_test(tests, jsonl_refuses_what_python_refuses);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
