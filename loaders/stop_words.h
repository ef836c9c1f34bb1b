/* Words that say nothing about a topic: articles, pronouns, prepositions, auxiliaries and the like.
 *
 * Lists for ten languages, case-folded, with the straight apostrophe ('). The share of a text's
 * words that a list covers also tells the language: function words are the most frequent ones. */
#ifndef MIDASHI_LOADERS_STOP_WORDS_H
#define MIDASHI_LOADERS_STOP_WORDS_H

#include <stddef.h>
#include "host/base/status.h"

enum stop_language {
    STOP_NONE = -1, /* no list */
    STOP_ENGLISH,
    STOP_GERMAN,
    STOP_FRENCH,
    STOP_SPANISH,
    STOP_ITALIAN,
    STOP_PORTUGUESE,
    STOP_DUTCH, /* up to here: Latin script */
    STOP_CHINESE,
    STOP_KOREAN,
    STOP_JAPANESE, /* lemmas */
    N_STOP_LANGUAGES
};
#define N_STOP_LATIN (STOP_DUTCH + 1)

/* ISO 639-1: "en". language is not STOP_NONE. */
const char *stop_language_code(enum stop_language language);
/* STOP_NONE where there is no list for the code. */
enum stop_language stop_language_find(const char *code);

/* All lists in one table; immutable once open. */
struct stop_words;
enum status stop_words_open(struct stop_words **out, struct err *err);
void stop_words_close(struct stop_words *stop_words); /* NULL is allowed */

/* Bit i is set where word[0..length) is in the list of language i. The word is case-folded. */
unsigned stop_words_lookup(const struct stop_words *stop_words, const char *word, size_t length);

/* What is left of a case-folded word without the function word that is written onto it by an
 * apostrophe: French "l'homme" and Italian "dell'arte" lose their start, English "apple's" its end.
 * Returns the new start and sets *length; the word itself where there is nothing to take off. */
const char *stop_words_trim(enum stop_language language, const char *word, size_t *length);

#endif
