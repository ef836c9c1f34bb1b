/* The words of a text, for naming topics.
 *
 * Japanese by MeCab: lemmas of nouns, verbs and proper nouns (numbers, non-independent words and
 * suffixes left out). Other languages by ICU word boundaries, case-folded, without numbers and
 * without the language's stop words. */
#ifndef MIDASHI_LOADERS_WORDS_H
#define MIDASHI_LOADERS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

struct words;

struct words_settings {
    /* NULL: the script of each text decides (kana or Japanese kanji: ja). Else an ISO 639-1 code.
     */
    const char *language;
    bool keep_single; /* keep words of one character (user-perceived); default: drop them */
};

/* STATUS_USAGE: a language that is not known (the known ones are listed). MeCab and its dictionary
 * are looked for when the first Japanese text comes. */
enum status words_open(struct words **out, const struct words_settings *settings, struct err *err);
void words_close(struct words *words); /* NULL is allowed */

/* Calls word(context, w, length) for each word of the text in order; w is valid during the call
 * only, has no spaces and no control characters. text: valid UTF-8. Not thread-safe.
 * STATUS_RESOURCE: MeCab or a UTF-8 dictionary is missing (says which package to install). A status
 * that `word` returns ends the walk and is passed on. */
enum status words_split(struct words *words, const char *text, size_t length,
                        enum status (*word)(void *context, const char *w, size_t w_length,
                                            struct err *err),
                        void *context, struct err *err);

#endif
