/* TF-IDF: the vocabulary of a corpus and a sparse row of weights for each text.
 *
 * As scikit-learn's TfidfVectorizer(lowercase=False, min_df=N) over the same words:
 *   weight[i,w] = count of w in text i * (log((1 + n) / (1 + df[w])) + 1), rows l2-normalised,
 * with words in the order of their bytes. */
#ifndef MIDASHI_HOST_TFIDF_H
#define MIDASHI_HOST_TFIDF_H

#include <stddef.h>
#include <stdint.h>
#include "host/base/memory.h"
#include "host/base/status.h"

/* Words come text by text: tfidf_add_word for each, then tfidf_end_text. */
struct tfidf_builder;

enum status tfidf_open(struct tfidf_builder **out, struct err *err);
void tfidf_close(struct tfidf_builder *builder); /* NULL is allowed */

/* A word of the text at hand; w is copied. length >= 1; any bytes but 0. */
enum status tfidf_add_word(struct tfidf_builder *builder, const char *w, size_t length,
                           struct err *err);
/* The text at hand is complete; it may have had no word. */
enum status tfidf_end_text(struct tfidf_builder *builder, struct err *err);

/* A matrix (n_rows, n_words) by rows. The entries of row i are row_start[i] .. row_start[i+1]-1,
 * with rising word numbers. A row may be empty. */
struct tfidf {
    int n_rows, n_words;
    const char **words; /* (n_words), each with a 0 byte behind, in the order of their bytes */
    int32_t *df;        /* (n_words) texts that have the word */
    int64_t *row_start; /* (n_rows + 1) */
    int32_t *word;      /* (row_start[n_rows]) */
    double *value;      /* (row_start[n_rows]) > 0 */
};

/* The matrix of all texts ended so far and the words that min_df >= 1 of them have; all of it lives
 * in arena. The builder stays as it is: another min_df may be tried.
 * STATUS_BAD_DATA where no word is left; the text names --min-df. */
enum status tfidf_finish(const struct tfidf_builder *builder, struct tfidf *out, int min_df,
                         struct arena *arena, struct err *err);

/* Texts ended and different words seen so far. */
int tfidf_n_texts(const struct tfidf_builder *builder);
int tfidf_n_words(const struct tfidf_builder *builder);

#endif
