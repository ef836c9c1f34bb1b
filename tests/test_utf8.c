/* UTF-8: every scalar value there and back, and every ill-formed start of two bytes and more. */
#include "tests/support.h"

#include <string.h>
#include "host/base/utf8.h"

START_TEST(utf8_every_character_round_trips)
{
    for (int32_t c = -2; c <= 0x110001; c++) {
        char bytes[4];
        int n = utf8_encode(c, bytes);
        bool scalar = c >= 0 && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        int want = !scalar ? 0 : c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        int32_t back = -1;
        bool right = n == want;
        if (scalar && right) {
            right = utf8_decode(bytes, (size_t)n, &back) == n && back == c &&
                    utf8_valid_length(bytes, (size_t)n) == (size_t)n;
            for (int cut = 1; cut < n; cut++) /* truncated */
                right = right && utf8_valid_length(bytes, (size_t)cut) == 0 &&
                        utf8_decode(bytes, (size_t)cut, &back) == 1 && back == -1;
        }
        if (!right) /* each assertion of Check costs a system call */
            ck_abort_msg("U+%04X", (unsigned)c);
    }
}
END_TEST

/* Counts what is valid among all strings of one, two and three bytes, against arithmetic: the
 * scalar values of each length. A validator that lets one more form through, or one less,
 * miscounts.
 */
START_TEST(utf8_accepts_no_other_bytes)
{
    long valid[4] = {0};
    for (int n = 1; n <= 3; n++)
        for (uint32_t v = 0; v < 1u << (8 * n); v++) {
            char bytes[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
            int32_t code_point;
            if (utf8_decode(bytes + 3 - n, (size_t)n, &code_point) == n && code_point >= 0)
                valid[n]++;
        }
    ck_assert_int_eq(valid[1], 0x80);
    ck_assert_int_eq(valid[2], 0x800 - 0x80);
    ck_assert_int_eq(valid[3], 0x10000 - 0x800 - 0x800);
    long four = 0;
    for (uint32_t first = 0xF0; first < 0x100; first++)
        for (uint32_t second = 0; second < 0x100; second++)
            for (uint32_t third = 0; third < 0x100; third++) {
                char bytes[4] = {(char)first, (char)second, (char)third, (char)0x85};
                four += utf8_valid_length(bytes, 4) == 4;
            }
    ck_assert_int_eq(four, 0x100000 / 64);
}
END_TEST

START_TEST(utf8_valid_length_finds_the_byte)
{
    static const struct {
        const char *text;
        size_t length, valid;
    } cases[] = {
        {"", 0, 0},
        {"a\0b", 3, 3},
        {"12345678\x80", 9, 8},
        {"1234567\xC3\xA9", 9, 9},
        {"1234567\xC3", 8, 7},
        {"\xE8\xA6\x8B\xE5\x87\xBA\xE3\x81", 8, 6},
        {"\xC0\x80", 2, 0},         /* overlong */
        {"x\xED\xA0\x80y", 5, 1},   /* a surrogate */
        {"\xF4\x90\x80\x80", 4, 0}, /* U+110000 */
        {"\xF0\x8F\xBF\xBF", 4, 0}, /* overlong U+FFFF */
        {"abc\xFF"
         "abcdefghijkl",
         16, 3},
        {"\xF0\x9F\x91\xA9\xE2\x80\x8D", 7, 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(utf8_valid_length(cases[i].text, cases[i].length) == cases[i].valid,
                      "case %zu", i);
    int32_t code_point;
    ck_assert_int_eq(utf8_decode("", 0, &code_point), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tests = tcase_create("utf8");
    tcase_add_test(tests, utf8_every_character_round_trips);
    tcase_add_test(tests, utf8_accepts_no_other_bytes);
    tcase_add_test(tests, utf8_valid_length_finds_the_byte);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
