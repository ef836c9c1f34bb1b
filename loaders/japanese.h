/* Japanese words by MeCab with IPADIC: lemmas of nouns and verbs.
 *
 * Kept are 名詞 but for 数 (numbers), 非自立 (non-independent), 接尾 (suffixes), 代名詞 (pronouns),
 * 特殊 and 接続詞的 (grammatical stems and conjunctions); and 動詞 only where they are 自立
 * (independent: no auxiliaries). Words that MeCab's dictionary lacks, Latin ones for example, are
 * nouns to it and kept as they stand. */
#ifndef MIDASHI_LOADERS_JAPANESE_H
#define MIDASHI_LOADERS_JAPANESE_H

#include <stddef.h>
#include "host/base/status.h"

struct japanese;

/* Looks for IPADIC in UTF-8: in the folder that MIDASHI_MECAB_DICTIONARY names, and only there
 * where it is set; else in MIDASHI_SYSROOT_MECAB_DICTIONARY where the build defines it, and in the
 * places where packages put it. STATUS_RESOURCE: none that fits (its place, or the packages that
 * hold one, are named). */
enum status japanese_open(struct japanese **out, struct err *err);
void japanese_close(struct japanese *japanese); /* NULL is allowed */

/* Calls word for the lemma of each kept word, in order. text: valid UTF-8 in normalisation form
 * NFKC, without control characters. Texts beyond 8 KiB are analysed in pieces, since MeCab counts
 * the bytes of a word and of the white space before it in 16 bits. A status that word returns ends
 * the walk and is passed on. STATUS_RESOURCE: MeCab gives up. */
enum status japanese_split(struct japanese *japanese, const char *text, size_t length,
                           enum status (*word)(void *context, const char *w, size_t w_length,
                                               struct err *err),
                           void *context, struct err *err);

#endif
