/* The words of a text, for naming topics.
 *
 * Japanese by MeCab (loaders/japanese.h): lemmas of nouns, verbs and proper nouns, in the case of
 * the text; verbs and nouns that only carry grammar (する, こと) and, unless all in capitals,
 * English function words (the, For) are left out. Other languages by ICU's word boundaries,
 * case-folded, without numbers and without the language's stop words; "l'homme" is "homme" in
 * French, "apple's" is "apple" in English.
 *
 * In both, texts are brought to NFKC first, so that full-width ＡＢＣ and half-width ｱｲｳ are the
 * same words as ABC and アイウ; U+2019 counts as an apostrophe; a word holds at least one letter.
 */
#ifndef MIDASHI_LOADERS_WORDS_H
#define MIDASHI_LOADERS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

struct words;

struct words_settings {
    /* NULL: the scripts decide, see words_observe. Else an ISO 639-1 code, in any case, for all
     * texts: "ja" is MeCab, every other ICU. */
    const char *language;
    bool keep_single; /* keep words of one character (a code point, in NFKC); default: drop them */
};

/* STATUS_USAGE: no ISO 639-1 code (those that have stop words are listed). STATUS_RESOURCE: no
 * memory, or ICU lacks its data. MeCab and its dictionary are looked for when the first Japanese
 * text comes. */
enum status words_open(struct words **out, const struct words_settings *settings, struct err *err);
void words_close(struct words *words); /* NULL is allowed */

/* A first pass over the corpus, in any order: counts what the scripts and the function words of the
 * texts say about its languages. text: valid UTF-8.
 *
 * A text belongs to the script that most of its letters are of, a kana, Han or Hangul character
 * counting as three. Texts of kana and Han are Japanese where at least a quarter of them in the
 * corpus hold kana (titles may be all kanji); where fewer do, those with a fifth of kana are, and
 * the others are Chinese. Latin texts take the stop words of the one language whose list covers
 * most of the corpus's Latin words, if it covers 12 % of them; in a corpus that is mostly Japanese
 * they go to MeCab like the rest. Without this pass each text is a corpus of its own. */
void words_observe(struct words *words, const char *text, size_t length);

/* The language of most texts observed so far, or the one that the settings gave, as an ISO 639-1
 * code; "und" (undetermined) where it is not known. */
const char *words_language(const struct words *words);

/* Calls word(context, w, length) for each word of the text in order; w is valid during the call
 * only, has no spaces and no control characters. text: valid UTF-8. Not thread-safe.
 * STATUS_RESOURCE: no memory, or MeCab or its dictionary is missing (says which package to
 * install). A status that `word` returns ends the walk and is passed on. */
enum status words_split(struct words *words, const char *text, size_t length,
                        enum status (*word)(void *context, const char *w, size_t w_length,
                                            struct err *err),
                        void *context, struct err *err);

#endif
