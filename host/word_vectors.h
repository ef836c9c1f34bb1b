/* Words in the space of the embeddings, and the words nearest to a topic.
 *
 * A word's vector is the mean of the embeddings of the texts, weighted by its TF-IDF in them:
 *   V = (X / column sums of X)^T E
 * (Masada 2024, final report of KAKEN 21K12017: single words embedded alone give poor vectors in
 * Japanese, this combination good ones). */
#ifndef MIDASHI_HOST_WORD_VECTORS_H
#define MIDASHI_HOST_WORD_VECTORS_H

#include <stdint.h>
#include "host/base/device.h"
#include "host/tfidf.h"

/* vectors    (n_words, d)  out, float32, rounded once from float64 sums in the order of the rows
 * x          (n_rows, n_words)
 * embeddings (n_rows, d)   float32; a text without words is not read
 * d >= 1. STATUS_RESOURCE: no memory. */
enum status word_vectors(struct device *device, float *vectors, const struct tfidf *x,
                         const float *embeddings, int d, struct err *err);

/* For each topic the words that its texts have. */
struct topic_words {
    int64_t *start; /* (k + 1) topic t's are word[start[t]] .. word[start[t + 1] - 1] */
    int32_t *word;  /* rising within a topic */
};

/* topic (x->n_rows): of each text, 0 .. k - 1. What it makes lives in arena. STATUS_RESOURCE: no
 * memory. */
enum status topic_words_find(struct topic_words *out, const struct tfidf *x, const int32_t *topic,
                             int k, struct arena *arena, struct err *err);

/* For each centre the m words of the highest cosine, best first, equal ones by lower number.
 * word    (k, m)        out; -1 behind the last where there are fewer
 * score   (k, m)        out, the cosine in [-1, 1], computed in float64; 0 where word is -1
 * vectors (n_words, d)  float32
 * centres (k, d)        float32
 * of                    of each centre these words alone; NULL: of all n_words
 * The cosine with a zero vector is 0; one that is NaN counts as -1. k >= 0, m >= 1, d >= 1.
 * STATUS_RESOURCE: no memory. */
enum status words_nearest(struct device *device, int32_t *word, float *score, const float *vectors,
                          int n_words, const float *centres, int k, int d, int m,
                          const struct topic_words *of, struct err *err);

#endif
