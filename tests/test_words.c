/* Words: expectations written by hand for each language, and the choice of the language. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "loaders/corpus.h"
#include "loaders/japanese.h"
#include "loaders/stop_words.h"
#include "loaders/text_pieces.h"
#include "loaders/words.h"

struct list {
    char *text; /* the words, '|' between two; malloc */
    size_t length, capacity, n_words;
    size_t stop_at; /* return STATUS_FAILED at this word, from 1; 0: never */
};

static enum status collect(void *context, const char *w, size_t n, struct err *err)
{
    struct list *list = context;
    if (++list->n_words == list->stop_at)
        return err_set(err, STATUS_FAILED, "enough");
    if (list->length + n + 2 > list->capacity) {
        list->capacity = 2 * (list->capacity + n + 2);
        list->text = realloc(list->text, list->capacity);
    }
    if (list->length)
        list->text[list->length++] = '|';
    memcpy(list->text + list->length, w, n);
    list->length += n;
    list->text[list->length] = '\0';
    return STATUS_OK;
}

static struct words *open_words(const char *language, bool keep_single)
{
    struct words *words;
    struct words_settings settings = {.language = language, .keep_single = keep_single};
    struct err err;
    ck_assert_msg(words_open(&words, &settings, &err) == STATUS_OK, "%s", err.text);
    return words;
}

/* The words of one text, as a list. The caller frees list.text. */
static struct list split(struct words *words, const char *text, size_t length)
{
    struct list list = {.text = calloc(1, 1), .capacity = 1};
    struct err err = {0};
    enum status status = words_split(words, text, length, collect, &list, &err);
    ck_assert_msg(status == STATUS_OK, "%s", err.text);
    return list;
}

static void check_split(struct words *words, const char *text, const char *want)
{
    struct list list = split(words, text, strlen(text));
    ck_assert_msg(strcmp(list.text, want) == 0, "\"%s\" gives\n  %s, not\n  %s", text, list.text,
                  want);
    free(list.text);
}

/* False where MeCab's dictionary is not there. */
static bool has_japanese(void)
{
    struct words *words = open_words("ja", false);
    struct list list = {.text = calloc(1, 1), .capacity = 1};
    struct err err = {0};
    enum status status = words_split(words, "猫", 3, collect, &list, &err);
    if (status != STATUS_OK) {
        ck_assert_int_eq(status, STATUS_RESOURCE);
        ck_assert_ptr_nonnull(strstr(err.text, "mecab-ipadic-utf8"));
    }
    free(list.text);
    words_close(words);
    return status == STATUS_OK;
}
#define NEED_JAPANESE()                                                                            \
    if (!has_japanese())                                                                           \
    SKIP("needs MeCab's dictionary IPADIC in UTF-8")

/* ---- languages with boundaries by ICU ------------------------------------------------------- */

START_TEST(words_of_languages)
{
    static const struct {
        const char *language, *text, *want;
    } cases[] = {
        {"en", "Apple's new iPhone isn't the cheapest phone of 2012!",
         "apple|new|iphone|cheapest|phone"},
        {"en", "It’s Wi-Fi: don’t e-mail me 1,000.50 times a day", "wi|fi|mail|times|day"},
        {"en", "the the THE The", ""},
        {"en", "x yy x 42 4K 3D b2b _emphasis_ __ foo_bar", "yy|4k|3d|b2b|emphasis|foo_bar"},
        {"en", "naïve CAFÉ cafe\xCC\x81 ﬁnance ＦＵＬＬ soft\xC2\xADhyphen",
         "naïve|café|café|finance|full|softhyphen"},
        {"de", "Die Straße war gestern für alle Fußgänger gesperrt, außer in Köln.",
         "strasse|gestern|fussgänger|gesperrt|köln"},
        {"fr", "L'homme qu’on n'a pas vu aujourd'hui dans l’École d’Hiver",
         "homme|vu|aujourd'hui|école|hiver"},
        {"es", "¿Dónde está la biblioteca más cercana? ¡El niño duerme!",
         "biblioteca|cercana|niño|duerme"},
        {"it", "L'arte dell'amore non c'è più nella città", "arte|amore|città"},
        {"pt", "Não há informações sobre a eleição em São Paulo", "informações|eleição|paulo"},
        {"nl", "De fiets van mijn buurman staat nog in de schuur", "fiets|buurman|staat|schuur"},
        {"tr", "ISPARTA İzmir", "ısparta|izmir"},
        {"ru", "Новый ПОЕЗД едет в Москву", "новый|поезд|едет|москву"},
        {"el", "ΟΔΟΣ", "οδοσ"},
        {"th", "ภาษาไทยง่ายนิดเดียว", "ภาษา|ไทย|ง่าย|นิด|เดียว"},
        {"ko", "정부는 새로운 정책을 발표했다 그리고 이번", "정부는|새로운|정책을|발표했다"},
        {"zh", "我们正在学习中文", "学习|中文"},
        {"en", "😀 👩‍💻 ❤️ 1️⃣ 🇯🇵 ok", "ok"},
        {"en", "", ""},
        {"en", " \t\n ... --- !!", ""},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct words *words = open_words(cases[c].language, false);
        ck_assert_str_eq(words_language(words), cases[c].language);
        check_split(words, cases[c].text, cases[c].want);
        words_close(words);
    }
}
END_TEST

START_TEST(words_of_one_character_on_request)
{
    struct words *words = open_words("EN", true);
    check_split(words, "vitamin C, plan B and x = 5", "vitamin|c|plan|b|x");
    words_close(words);
}
END_TEST

/* A 0 byte and control characters part words, and nothing of them comes out. */
START_TEST(words_hold_no_control_characters)
{
    struct words *words = open_words("en", false);
    struct list list = split(words,
                             "alpha\0beta\x01gamma\x7F"
                             "delta\xC2\x85omega",
                             29);
    ck_assert_str_eq(list.text, "alpha|beta|gamma|delta|omega");
    free(list.text);
    words_close(words);
}
END_TEST

/* ---- Japanese ------------------------------------------------------------------------------- */

/* MeCab's own analysis of each sentence was read (`mecab -d .../ipadic-utf8`), and the classes that
 * words leave out were crossed off by hand. */
START_TEST(words_of_japanese)
{
    NEED_JAPANESE();
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"映画公開、iPhone 4Sを使う！", "映画|公開|iPhone|使う"},
        {"税金を払うのは私たちなんですけど！", "税金|払う"},
        {"彼は早く走ることができる", "走る"},
        {"東京オリンピックで３人の選手が勉強しました。", "東京|オリンピック|選手|勉強"},
        {"便利なアプリを食べていた２０１２年", "便利|アプリ|食べる"},
        {"ＡＮＤＲＯＩＤとAndroidとｱﾝﾄﾞﾛｲﾄﾞ", "ANDROID|Android|アンドロイド"},
        {"The Best of IT for パソコン ☆ ｗｗｗ !!", "Best|IT|パソコン|www"},
        {"すもももももももものうち", "すもも|もも|もも"},
        {"ーーー 々 ①② ㈱", ""},
        {"", ""},
    };
    for (int forced = 0; forced < 2; forced++) {
        struct words *words = open_words(forced ? "ja" : NULL, false);
        if (!forced)
            words_observe(words, "これは日本語です", strlen("これは日本語です"));
        ck_assert_str_eq(words_language(words), "ja");
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            check_split(words, cases[c].text, cases[c].want);
        words_close(words);
    }
    struct words *words = open_words("ja", true);
    check_split(words, "空と海のXを見た", "空|海|X|見る");
    check_split(words, "三百人の子、それは駅", "子|駅"); /* 三 and 百 are numbers */
    words_close(words);
}
END_TEST

/* Pieces of 8 KiB: 20,000 sentences give the words of one, so many times. Spaces beyond what MeCab
 * can count are no trouble either. */
START_TEST(words_of_long_japanese_texts)
{
    NEED_JAPANESE();
    static const char sentence[] = "新しい映画の公開を待つ。";
    enum { N_TIMES = 20000 };
    size_t n = strlen(sentence), length = n * N_TIMES;
    char *text = malloc(length + 1);
    for (size_t i = 0; i < N_TIMES; i++)
        memcpy(text + i * n, sentence, n);
    struct words *words = open_words("ja", false);
    struct list list = split(words, text, length);
    ck_assert_uint_eq(list.n_words, 3 * N_TIMES); /* 映画 公開 待つ */
    ck_assert(strncmp(list.text, "映画|公開|待つ|映画|", strlen("映画|公開|待つ|映画|")) == 0);
    free(list.text);
    memset(text, ' ', length);
    memcpy(text + 100000, "映画", 6);
    list = split(words, text, length);
    ck_assert_str_eq(list.text, "映画");
    free(list.text);
    words_close(words);
    struct japanese *japanese;
    struct err err;
    list = (struct list){0};
    ck_assert_int_eq(japanese_open(&japanese, &err), STATUS_OK);
    ck_assert_int_eq(japanese_split(japanese, text, length, collect, &list, &err), STATUS_OK);
    ck_assert_str_eq(list.text, "映画");
    free(list.text), free(text);
    japanese_close(japanese);
}
END_TEST

START_TEST(words_say_which_dictionary_is_missing)
{
    static const char *const folders[] = {"/nonexistent/dictionary", "/"};
    for (size_t i = 0; i < 2; i++) {
        setenv("MIDASHI_MECAB_DICTIONARY", folders[i], 1);
        struct words *words = open_words(NULL, false); /* nothing Japanese so far */
        check_split(words, "plain English words", "plain|english|words");
        struct list list = {0};
        struct err err;
        ck_assert_int_eq(words_split(words, "ねこ", 6, collect, &list, &err), STATUS_RESOURCE);
        ck_assert_ptr_nonnull(strstr(err.text, folders[i]));
        ck_assert_ptr_nonnull(strstr(err.text, "MIDASHI_MECAB_DICTIONARY"));
        words_close(words);
    }
    unsetenv("MIDASHI_MECAB_DICTIONARY");
}
END_TEST

/* A dictionary that is there but cannot be opened is not called missing. */
START_TEST(words_say_which_dictionary_cannot_be_opened)
{
    NEED_JAPANESE();
    struct japanese *japanese;
    struct err err;
    /* Files can be looked at, but no more be opened. */
    struct rlimit files;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, files.rlim_max}), 0);
    enum status status = japanese_open(&japanese, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    check_error(status, &err, STATUS_RESOURCE, "MeCab can", "no files");
    ck_assert_ptr_null(strstr(err.text, "is not there"));
}
END_TEST

/* Dictionaries in EUC-JP, and in UTF-8 with other classes, are told from IPADIC. */
START_TEST(words_refuse_other_dictionaries)
{
    static const char *const folders[] = {"/var/lib/mecab/dic/ipadic",
                                          "/var/lib/mecab/dic/juman-utf8"};
    bool tried = false;
    for (size_t i = 0; i < 2; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s/sys.dic", folders[i]);
        FILE *dictionary = fopen(file, "rb");
        if (!dictionary)
            continue;
        fclose(dictionary);
        tried = true;
        setenv("MIDASHI_MECAB_DICTIONARY", folders[i], 1);
        struct words *words = open_words("ja", false);
        struct list list = {0};
        struct err err;
        ck_assert_int_eq(words_split(words, "ねこ", 6, collect, &list, &err), STATUS_RESOURCE);
        ck_assert_ptr_nonnull(strstr(err.text, "not IPADIC in UTF-8"));
        words_close(words);
    }
    unsetenv("MIDASHI_MECAB_DICTIONARY");
    if (!tried)
        SKIP("needs mecab-ipadic (EUC-JP) or mecab-jumandic-utf8");
}
END_TEST

/* ---- the choice of the language ------------------------------------------------------------- */

/* texts: '|' between two. The language of the corpus, and the words of one text in it. */
static void check_corpus(const char *texts, const char *language, const char *text,
                         const char *want)
{
    struct words *words = open_words(NULL, false);
    for (const char *at = texts; *at;) {
        size_t length = strcspn(at, "|");
        words_observe(words, at, length);
        at += length + (at[length] == '|');
    }
    ck_assert_msg(strcmp(words_language(words), language) == 0, "%s: %s", texts,
                  words_language(words));
    check_split(words, text, want);
    words_close(words);
}

START_TEST(words_tell_languages)
{
    check_corpus("", "und", "the cat and the dog", "cat|dog");
    check_corpus("", "und", "Ubuntu Linux Kernel", "ubuntu|linux|kernel");
    check_corpus("how do i get a new card|where is my money|42", "en", "Where is THE card?",
                 "card");
    check_corpus("wo ist der Bahnhof|Züge fahren nicht nach Köln", "de", "der Zug in Köln",
                 "zug|köln");
    check_corpus("le chat est dans la maison|il pleut sur la ville", "fr", "le chat d'hiver",
                 "chat|hiver");
    check_corpus("el perro está en la casa", "es", "la casa", "casa");
    check_corpus("il gatto è nella casa", "it", "la casa", "casa");
    check_corpus("o gato não está na casa", "pt", "na casa", "casa");
    check_corpus("de kat zit op het dak van een huis", "nl", "het dak", "dak");
    check_corpus("Ubuntu Linux Kernel|Debian Stable Release", "und", "the kernel", "the|kernel");
    check_corpus("Новый поезд едет", "und", "едет поезд", "едет|поезд");
    check_corpus("北京今天天气很好|我们学习中文|鲜の每日|明天会下雨|他在上海工作", "zh",
                 "我们学习中文", "学习|中文");
    check_corpus("오늘 날씨가 좋다", "ko", "오늘 날씨가 좋다", "오늘|날씨가|좋다");
}
END_TEST

START_TEST(words_tell_japanese)
{
    NEED_JAPANESE();
    /* Kanji alone, and Latin alone, among Japanese titles. */
    static const char titles[] = "映画を公開する|新型車の発表|東京都知事選挙|Android 4.0 Review";
    check_corpus(titles, "ja", "映画公開", "映画|公開");
    check_corpus(titles, "ja", "走った The Android", "走る|Android");
    check_corpus(titles, "ja", "The Android Review", "Android|Review");
    check_corpus(titles, "ja", "Новый ПОЕЗД", "новый|поезд");
    check_corpus("", "und", "子犬が走った", "子犬|走る");
}
END_TEST

/* The order of the first pass does not matter. */
START_TEST(words_observe_in_any_order)
{
    static const char *const texts[] = {"北京今天天气很好", "where is the card", "我们学习中文",
                                        "猫がいる",         "what is that",      "how are you",
                                        "not all of them"};
    for (int first = 0; first < 7; first++) {
        struct words *words = open_words(NULL, false);
        for (int i = 0; i < 7; i++) {
            const char *text = texts[(i * 5 + first) % 7];
            words_observe(words, text, strlen(text));
        }
        ck_assert_str_eq(words_language(words), "en");
        check_split(words, "where is the card", "card");
        words_close(words);
    }
}
END_TEST

START_TEST(words_refuse_languages)
{
    static const char *const codes[] = {"", "e", "xx", "eng", "english", "日本"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct words *words;
        struct words_settings settings = {.language = codes[i]};
        struct err err;
        ck_assert_int_eq(words_open(&words, &settings, &err), STATUS_USAGE);
        ck_assert_ptr_null(words);
        ck_assert_ptr_nonnull(strstr(err.text, "en, de, fr, es, it, pt, nl, zh, ko, ja"));
    }
}
END_TEST

/* ---- the lists, pieces, failures ------------------------------------------------------------ */

START_TEST(stop_words_are_found)
{
    struct stop_words *stop_words;
    struct err err;
    ck_assert_int_eq(stop_words_open(&stop_words, &err), STATUS_OK);
    ck_assert_uint_eq(stop_words_lookup(stop_words, "the", 3), 1u << STOP_ENGLISH);
    ck_assert_uint_eq(stop_words_lookup(stop_words, "die", 3),
                      1u << STOP_GERMAN | 1u << STOP_DUTCH);
    ck_assert_uint_eq(stop_words_lookup(stop_words, "thee", 4), 0);
    ck_assert_uint_eq(stop_words_lookup(stop_words, "card", 4), 0);
    ck_assert_uint_eq(stop_words_lookup(stop_words, "", 0), 0);
    stop_words_close(stop_words);
    ck_assert_int_eq(stop_language_find("nl"), STOP_DUTCH);
    ck_assert_int_eq(stop_language_find("sv"), STOP_NONE);
}
END_TEST

START_TEST(text_is_cut_where_it_may_be)
{
    ck_assert_uint_eq(text_piece("one two", 7, 7), 7);
    ck_assert_uint_eq(text_piece("one two", 7, 6), 4);
    ck_assert_uint_eq(text_piece("onetwo", 6, 4), 4);
    ck_assert_uint_eq(text_piece("ああああ", 12, 8), 6);
    ck_assert_uint_eq(text_piece("あ。ああ", 12, 11), 6);
    ck_assert_uint_eq(text_piece("\xF0\x9F\x98\x80\xF0\x9F\x98\x80", 8, 5), 4);
}
END_TEST

/* One word of a megabyte, and 100,000 words: each byte comes out once. */
START_TEST(words_of_long_texts)
{
    size_t length = 1 << 20;
    char *text = malloc(length);
    memset(text, 'A', length);
    struct words *words = open_words("en", false);
    struct list list = split(words, text, length);
    ck_assert_uint_eq(list.n_words, length >> 16); /* in pieces of 64 KiB */
    ck_assert_uint_eq(list.length - (list.n_words - 1), length);
    free(list.text);
    for (size_t i = 0; i + 10 <= length; i += 10)
        memcpy(text + i, "wordsmith ", 10);
    list = split(words, text, length / 10 * 10);
    ck_assert_uint_eq(list.n_words, length / 10);
    ck_assert_uint_eq(list.length + 1, length / 10 * 10);
    free(list.text), free(text);
    words_close(words);
}
END_TEST

/* One character that NFKC makes 18 (U+FDFA), 20,000 times. */
START_TEST(words_grow_under_normalisation)
{
    enum { N_TIMES = 20000 };
    char *text = malloc(N_TIMES * 4);
    for (int i = 0; i < N_TIMES; i++)
        memcpy(text + 4 * i, "\xEF\xB7\xBA ", 4);
    struct words *words = open_words("ar", false);
    struct list list = split(words, text, N_TIMES * 4);
    ck_assert_uint_eq(list.n_words, 4 * N_TIMES); /* four words in each */
    free(list.text), free(text);
    words_close(words);
}
END_TEST

START_TEST(words_pass_failures_on)
{
    for (int japanese = 0; japanese < (has_japanese() ? 2 : 1); japanese++) {
        const char *text = japanese ? "映画の公開を待つ" : "some plain words";
        struct words *words = open_words(japanese ? "ja" : "en", false);
        struct list list = {.stop_at = 2};
        struct err err;
        ck_assert_int_eq(words_split(words, text, strlen(text), collect, &list, &err),
                         STATUS_FAILED);
        ck_assert_str_eq(err.text, "enough");
        ck_assert_uint_eq(list.n_words, 2);
        free(list.text);
        words_close(words);
    }
}
END_TEST

static enum status split_once(void *context, struct err *err)
{
    bool japanese = *(bool *)context;
    const char *text = japanese ? "映画の公開を待つ" : "some plain words";
    struct words_settings settings = {.language = japanese ? "ja" : "en"};
    struct words *words = NULL;
    struct list list = {0};
    enum status status = words_open(&words, &settings, err);
    if (status == STATUS_OK)
        status = words_split(words, text, strlen(text), collect, &list, err);
    words_close(words);
    free(list.text);
    return status;
}

START_TEST(words_survive_lack_of_memory)
{
    for (int japanese = 0; japanese < (has_japanese() ? 2 : 1); japanese++)
        /* words, lists, two of UTF-16, one of UTF-8 */
        ck_assert_int_ge(check_lack_of_memory(split_once, &(bool){japanese},
                                              japanese ? "Japanese words" : "English words"),
                         5);
}
END_TEST

/* All titles at hand: words are what words.h says, and the report's frequent ones are among them.
 */
START_TEST(words_of_livedoor)
{
    const char *path = shared_data("corpora/livedoor_titles.tsv");
    if (!path)
        SKIP("needs ../shared/data/corpora/livedoor_titles.tsv");
    NEED_JAPANESE();
    struct corpus corpus;
    struct corpus_settings settings = {0};
    struct err err;
    ck_assert_int_eq(corpus_read(&corpus, path, &settings, &err), STATUS_OK);
    struct words *words = open_words(NULL, false);
    for (size_t i = 0; i < corpus.n_rows; i++)
        words_observe(words, corpus.rows[i].text, corpus.rows[i].length);
    ck_assert_str_eq(words_language(words), "ja");
    size_t n_words = 0, n_films = 0;
    for (size_t i = 0; i < corpus.n_rows; i++) {
        struct list list = split(words, corpus.rows[i].text, corpus.rows[i].length);
        n_words += list.n_words;
        n_films += strstr(list.text, "映画") != NULL;
        free(list.text);
    }
    /* About 8 words a title; 映画 is in several hundred. */
    ck_assert(n_words > 5 * corpus.n_rows && n_words < 14 * corpus.n_rows);
    ck_assert(n_films > 200);
    words_close(words);
    corpus_free(&corpus);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("words");
    TCase *tests = tcase_create("words");
    tcase_add_test(tests, words_of_languages);
    tcase_add_test(tests, words_of_one_character_on_request);
    tcase_add_test(tests, words_hold_no_control_characters);
    tcase_add_test(tests, words_of_japanese);
    tcase_add_test(tests, words_of_long_japanese_texts);
    tcase_add_test(tests, words_say_which_dictionary_is_missing);
    tcase_add_test(tests, words_say_which_dictionary_cannot_be_opened);
    tcase_add_test(tests, words_refuse_other_dictionaries);
    tcase_add_test(tests, words_tell_languages);
    tcase_add_test(tests, words_tell_japanese);
    tcase_add_test(tests, words_observe_in_any_order);
    tcase_add_test(tests, words_refuse_languages);
    tcase_add_test(tests, stop_words_are_found);
    tcase_add_test(tests, text_is_cut_where_it_may_be);
    tcase_add_test(tests, words_of_long_texts);
    tcase_add_test(tests, words_grow_under_normalisation);
    tcase_add_test(tests, words_pass_failures_on);
    tcase_add_test(tests, words_survive_lack_of_memory);
    tcase_add_test(tests, words_of_livedoor);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
