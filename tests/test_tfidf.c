/* TF-IDF and the default token pattern against scikit-learn and Python's re. */
#include "tests/golden_tfidf.h"

#include <math.h>
#include <unicode/uchar.h>

/* ---- the token pattern ----------------------------------------------------------------------- */

/* Python 3.11 knows Unicode 14: what ICU has from later versions cannot be compared. */
START_TEST(token_pattern_has_the_word_characters_of_python)
{
    FILE *file = fopen(golden("cluster/word_characters.txt"), "r");
    ck_assert_ptr_nonnull(file);
    unsigned first = 0, last = 0;
    bool more = fscanf(file, "%x %x", &first, &last) == 2;
    for (unsigned c = 0; c < 0x110000; c++) {
        while (more && c > last)
            more = fscanf(file, "%x %x", &first, &last) == 2;
        UVersionInfo age;
        u_charAge((UChar32)c, age);
        if (age[0] > 14)
            continue;
        bool want = more && c >= first;
        if (token_pattern_is_word((int32_t)c) != want) /* ck_assert_msg a million times is slow */
            ck_abort_msg("U+%04X: want %d", c, want);
    }
    ck_assert(!more && !token_pattern_is_word(-1));
    fclose(file);
}
END_TEST

struct joined {
    char text[256];
    int stop_after; /* words; 0: never */
};

static enum status join(void *context, const char *w, size_t length, struct err *err)
{
    struct joined *joined = context;
    size_t used = strlen(joined->text);
    snprintf(joined->text + used, sizeof joined->text - used, "%.*s|", (int)length, w);
    if (joined->stop_after > 0 && --joined->stop_after == 0)
        return err_set(err, STATUS_INTERRUPTED, "enough");
    return STATUS_OK;
}

START_TEST(token_pattern_splits)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"a", ""},
        {"ab", "ab|"},
        {"a bc d ef", "bc|ef|"},
        {"don't e-mail x_y _ __", "don|mail|x_y|__|"},
        {"海辺の町、駅 駅前", "海辺の町|駅前|"},
        {"caf\xC3\xA9s 10\xC2\xBD", "caf\xC3\xA9s|10\xC2\xBD|"},
        {"e\xCC\x81t\xC3\xA9", "t\xC3\xA9|"},       /* a combining accent ends a token */
        {"ab\xFFhello\xE3\x81", "ab|hello|"},       /* ill-formed bytes too */
        {"\xE3\x81\x82\xF0\x9F\x9A\x8C zz", "zz|"}, /* one kana, a bus */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct joined joined = {0};
        struct err err;
        ck_assert_int_eq(
            token_pattern_split(cases[i].text, strlen(cases[i].text), join, &joined, &err),
            STATUS_OK);
        ck_assert_str_eq(joined.text, cases[i].want);
    }
    struct joined joined = {.stop_after = 2};
    struct err err;
    ck_assert_int_eq(token_pattern_split("ab cd ef", 8, join, &joined, &err), STATUS_INTERRUPTED);
    ck_assert_str_eq(joined.text, "ab|cd|");
}
END_TEST

/* ---- TF-IDF ---------------------------------------------------------------------------------- */

static struct tfidf_builder *must_open(void)
{
    struct tfidf_builder *builder;
    struct err err;
    ck_assert_int_eq(tfidf_open(&builder, &err), STATUS_OK);
    return builder;
}

static void must_finish(const struct tfidf_builder *builder, struct tfidf *x, int min_df,
                        struct arena *arena)
{
    struct err err;
    if (tfidf_finish(builder, x, min_df, arena, &err) != STATUS_OK)
        ck_abort_msg("%s", err.text);
}

static void check_matrix(FILE *file, const struct tfidf *x)
{
    for (int w = 0; w < x->n_words; w++) {
        char word[256];
        int df;
        ck_assert_int_eq(fscanf(file, "%255s %d", word, &df), 2);
        ck_assert_str_eq(x->words[w], word);
        ck_assert_int_eq(x->df[w], df);
    }
    ck_assert_int_eq(x->row_start[0], 0);
    for (int i = 0; i < x->n_rows; i++) {
        int n;
        ck_assert_int_eq(fscanf(file, "%d", &n), 1);
        ck_assert_int_eq(x->row_start[i + 1] - x->row_start[i], n);
        for (int64_t e = x->row_start[i]; e < x->row_start[i + 1]; e++) {
            int word;
            double value;
            ck_assert_int_eq(fscanf(file, "%d %lf", &word, &value), 2);
            ck_assert_int_eq(x->word[e], word);
            ck_assert_msg(fabs(x->value[e] - value) <= 1e-14, "row %d, %s: %.17g, want %.17g", i,
                          x->words[word], x->value[e], value);
        }
    }
}

START_TEST(tfidf_matches_scikit_learn)
{
    struct tfidf_builder *builder = must_open();
    struct err err;
    ck_assert_int_eq(golden_add_texts(builder, &err), STATUS_OK);
    FILE *file = fopen(golden("cluster/tfidf.txt"), "r");
    ck_assert_ptr_nonnull(file);
    int min_df, n_rows, n_words, n_cases = 0;
    while (fscanf(file, "%d %d %d", &min_df, &n_rows, &n_words) == 3) {
        struct arena arena = {0};
        struct tfidf x;
        must_finish(builder, &x, min_df, &arena);
        ck_assert_int_eq(x.n_rows, n_rows);
        ck_assert_int_eq(x.n_words, n_words);
        check_matrix(file, &x);
        if (min_df == 1)
            ck_assert_int_eq(tfidf_n_words(builder), n_words);
        arena_free(&arena);
        n_cases++;
    }
    ck_assert(feof(file) && n_cases == 3);
    ck_assert_int_eq(tfidf_n_texts(builder), n_rows);
    fclose(file);
    tfidf_close(builder);
}
END_TEST

/* 30,000 different words, enough for the table to grow, each twice in one text of ten words. */
START_TEST(tfidf_takes_many_words)
{
    enum { WORDS = 30000, PER_TEXT = 10 };
    struct tfidf_builder *builder = must_open();
    struct err err;
    char word[32];
    for (int i = 0; i < WORDS; i++) {
        int length = snprintf(word, sizeof word, "w%d", (int)(i * 7919L % WORDS));
        for (int twice = 0; twice < 2; twice++)
            ck_assert_int_eq(tfidf_add_word(builder, word, (size_t)length, &err), STATUS_OK);
        if (i % PER_TEXT == PER_TEXT - 1)
            ck_assert_int_eq(tfidf_end_text(builder, &err), STATUS_OK);
    }
    ck_assert_int_eq(tfidf_n_words(builder), WORDS);
    struct arena arena = {0};
    struct tfidf x;
    must_finish(builder, &x, 1, &arena);
    ck_assert_int_eq(x.n_words, WORDS);
    ck_assert_int_eq(x.row_start[x.n_rows], WORDS);
    for (int w = 0; w < WORDS; w++) {
        ck_assert(w == 0 || strcmp(x.words[w - 1], x.words[w]) < 0);
        ck_assert_int_eq(x.df[w], 1);
    }
    for (int64_t e = 0; e < WORDS; e++) {
        ck_assert(fabs(x.value[e] - 1 / sqrt(PER_TEXT)) < 1e-14);
        ck_assert(e % PER_TEXT == 0 || x.word[e - 1] < x.word[e]);
    }
    arena_free(&arena);
    tfidf_close(builder);
}
END_TEST

START_TEST(tfidf_names_an_empty_vocabulary)
{
    struct tfidf_builder *builder = must_open();
    struct arena arena = {0};
    struct tfidf x;
    struct err err;
    ck_assert_int_eq(tfidf_finish(builder, &x, 1, &arena, &err), STATUS_BAD_DATA);
    ck_assert_int_eq(tfidf_add_word(builder, "once", 4, &err), STATUS_OK);
    ck_assert_int_eq(tfidf_end_text(builder, &err), STATUS_OK);
    ck_assert_int_eq(tfidf_end_text(builder, &err), STATUS_OK);
    ck_assert_int_eq(tfidf_finish(builder, &x, 2, &arena, &err), STATUS_BAD_DATA);
    ck_assert_ptr_nonnull(strstr(err.text, "--min-df"));
    must_finish(builder, &x, 1, &arena);
    ck_assert_int_eq(x.n_rows, 2);
    ck_assert(x.row_start[1] == 1 && x.row_start[2] == 1 && x.value[0] == 1);
    arena_free(&arena);
    tfidf_close(builder);
}
END_TEST

static enum status count_words(void *context, struct err *err)
{
    (void)context;
    struct tfidf_builder *builder = NULL;
    struct arena arena = {0};
    struct tfidf x;
    enum status status = tfidf_open(&builder, err);
    if (status == STATUS_OK)
        status = golden_add_texts(builder, err);
    if (status == STATUS_OK)
        status = tfidf_finish(builder, &x, 2, &arena, err);
    ck_assert(status == STATUS_OK || arena.total == 0);
    arena_free(&arena);
    tfidf_close(builder);
    return status;
}

START_TEST(tfidf_reports_lack_of_memory)
{
    ck_assert_int_ge(check_lack_of_memory(count_words, NULL, "tfidf"), 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tfidf");
    TCase *tests = tcase_create("tfidf");
    tcase_add_test(tests, token_pattern_has_the_word_characters_of_python);
    tcase_add_test(tests, token_pattern_splits);
    tcase_add_test(tests, tfidf_matches_scikit_learn);
    tcase_add_test(tests, tfidf_takes_many_words);
    tcase_add_test(tests, tfidf_names_an_empty_vocabulary);
    tcase_add_test(tests, tfidf_reports_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
