/* What the scripts and the function words of a corpus say about its languages: the rules of
 * words_observe (loaders/words.h). */
#ifndef MIDASHI_LOADERS_LANGUAGES_H
#define MIDASHI_LOADERS_LANGUAGES_H

#include <stdbool.h>
#include <stddef.h>
#include "loaders/stop_words.h"

enum script {
    SCRIPT_NONE,       /* no letters */
    SCRIPT_EAST_ASIAN, /* kana and Han */
    SCRIPT_HANGUL,
    SCRIPT_LATIN,
    SCRIPT_OTHER,
    N_SCRIPTS
};

struct text_letters {
    size_t kana, han, hangul, latin, other;
};

/* Sums over texts, so their order does not matter. Zeroed is an empty corpus. */
struct languages {
    size_t n_texts[N_SCRIPTS];
    size_t n_with_kana;           /* of SCRIPT_EAST_ASIAN */
    size_t latin_words;           /* of texts in SCRIPT_LATIN */
    size_t covered[N_STOP_LATIN]; /* how many of them are in each list */
};

struct text_letters count_letters(const char *text, size_t length);
enum script main_script(const struct text_letters *letters);

/* Adds one text. */
void languages_observe(struct languages *languages, const struct stop_words *stop_words,
                       const char *text, size_t length);
/* Whether a text with these letters goes to MeCab. */
bool languages_japanese(const struct languages *languages, const struct text_letters *letters);
/* The list for the corpus's Latin texts, or STOP_NONE. */
enum stop_language languages_latin(const struct languages *languages);
/* An ISO 639-1 code, or "und". */
const char *languages_main(const struct languages *languages);

#endif
