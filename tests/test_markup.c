/* What is taken for markup, and what is not. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>
#include "loaders/markup.h"

static const struct {
    const char *text, *plain;
} cases[] = {
    {"", ""},
    {"plain", "plain"},
    {"<p>a ship<br/>sails</p>", " a ship sails "},
    {"<a href=\"http://x.org/?a=1&amp;b=2\" target=_blank>link</a>", " link "},
    {"<H1 class='a'\n>Big</H1 >", " Big "},
    {"<my-tag>x", " x"},
    {"a<!-- <b>hidden</b> -->b", "a b"},
    {"<!---->x<!-- open", " x<!-- open"},
    {"-->x<!--", "-->x<!--"},
    {"<!-->x", "<!-->x"},
    {"<!--<!-- a -->b<!-- c -->", " b "},
    {"猫<b>が</b>好き&nbsp;だ", "猫 が 好き だ"},
    {"fish &amp; chips&#8230; &#x2014;", "fish   chips   "},
    {"don&#39;t, won&apos;t, can&rsquo;t, isn&#8217;t, it&#x27;s, he&#039;s",
     "don't, won't, can't, isn't, it's, he's"},
    /* No markup. */
    {"a < b > c", "a < b > c"},
    {"1 <2> 3 <3", "1 <2> 3 <3"},
    {"<mail@example.org> <https://example.org>", "<mail@example.org> <https://example.org>"},
    {"<猫>", "<猫>"},
    {"if a <b then <c d>", "if a <b then  "},
    {"<a href=", "<a href="},
    {"<", "<"},
    {"</", "</"},
    {"</>", "</>"},
    {"<a", "<a"},
    {"AT&T; Q&A & R&D &", "AT&T; Q&A & R&D &"},
    {"&;&#;&#", "&;&#;&#"},
    {"&amp", "&amp"},
    {"&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
     "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"},
};

START_TEST(markup_is_told_from_text)
{
    size_t length = strlen(cases[_i].text);
    char *text = malloc(length), *out = malloc(length); /* exact: a sanitizer sees what is beyond */
    memcpy(text, cases[_i].text, length);
    size_t written = markup_strip(out, text, length);
    ck_assert_msg(written == strlen(cases[_i].plain) && memcmp(out, cases[_i].plain, written) == 0,
                  "%s: got %.*s", cases[_i].text, (int)written, out);
    ck_assert_uint_eq(markup_strip(text, text, length), written);
    ck_assert(memcmp(text, out, written) == 0);
    free(text);
    free(out);
}
END_TEST

/* Time grows with the length alone, also where nothing is closed. */
START_TEST(what_is_left_open_costs_no_more)
{
    static const char *const openings[] = {"<!--", "<a ", "&a", "<", "&#1", "-->"};
    enum { LENGTH = 8 << 20 };
    char *text = malloc(LENGTH);
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        size_t n = strlen(openings[i]);
        for (size_t at = 0; at < LENGTH; at++)
            text[at] = openings[i][at % n];
        ck_assert_uint_eq(markup_strip(text, text, LENGTH), LENGTH);
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("markup");
    TCase *tests = tcase_create("markup");
    tcase_add_loop_test(tests, markup_is_told_from_text, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tests, what_is_left_open_costs_no_more);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
