/* Errors as one line of text, whatever comes in through the arguments. */
#include "tests/support.h"

#include <string.h>
#include "host/base/status.h"
#include "host/base/utf8.h"

START_TEST(err_set_formats)
{
    struct err err;
    ck_assert_int_eq(err_set(&err, STATUS_BAD_DATA, "%s: row %d", "a.csv", 7), STATUS_BAD_DATA);
    ck_assert_int_eq(err.status, STATUS_BAD_DATA);
    ck_assert_str_eq(err.text, "a.csv: row 7");
    ck_assert_int_eq(err_prefix(&err, "line %d", 3), STATUS_BAD_DATA);
    ck_assert_str_eq(err.text, "line 3: a.csv: row 7");
    ck_assert_int_eq(err_no_memory(&err, "a thing", 12), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "not enough memory for a thing (12 bytes)");
    ck_assert_int_eq(err_no_memory(&err, "a thing", 0), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "not enough memory for a thing");
    ck_assert_int_eq(err_set(NULL, STATUS_FAILED, "nobody listens"), STATUS_FAILED);
}
END_TEST

START_TEST(err_set_keeps_one_good_line)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\nb\r\tc\x7F\x1B[31m", "a b  c  [31m"},
        {"見出し", "見出し"},
        {"\xE8\xA6", "??"},
        {"a\xFF"
         "b\xC3",
         "a?b?"},
        {"\xED\xA0\x80|\xC3\xA9", "???|\xC3\xA9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        err_set(&err, STATUS_FAILED, "%s", cases[i].in);
        ck_assert_str_eq(err.text, cases[i].out);
    }
}
END_TEST

/* Cut at a character's boundary, at every offset of a three-byte character. */
START_TEST(err_set_cuts_long_texts)
{
    char text[2000];
    for (int offset = 0; offset < 3; offset++) {
        memset(text, 'x', (size_t)offset);
        for (size_t i = (size_t)offset; i + 4 < sizeof text; i += 3)
            memcpy(text + i, "見", 4);
        struct err err;
        err_set(&err, STATUS_FAILED, "%s", text);
        size_t length = strlen(err.text);
        ck_assert_uint_ge(length, sizeof err.text - 4);
        ck_assert_uint_lt(length, sizeof err.text);
        ck_assert_uint_eq(utf8_valid_length(err.text, length), length);
        ck_assert_ptr_null(strchr(err.text, '?'));
        err_prefix(&err, "%s", text);
        ck_assert_uint_eq(utf8_valid_length(err.text, strlen(err.text)), strlen(err.text));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_test(tests, err_set_formats);
    tcase_add_test(tests, err_set_keeps_one_good_line);
    tcase_add_test(tests, err_set_cuts_long_texts);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
