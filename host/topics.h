/* Topics from embeddings: transform, cluster, and name each cluster with words.
 *
 * The method of KAKEN 21K12017's final report: k-means on the texts' vectors; a vector for each
 * word, V = (X / column sums of X)ᵀ · E, with X the TF-IDF matrix; a topic is named by the words
 * whose vectors have the highest cosine to its centroid: here, other than there, by words that its
 * texts have. Words and centroids go through the same transform as the texts. */
#ifndef MIDASHI_HOST_TOPICS_H
#define MIDASHI_HOST_TOPICS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/memory.h"
#include "host/base/progress.h"
#include "host/kmeans.h"
#include "host/representation.h"
#include "host/score.h"
#include "host/tfidf.h"
#include "host/topic_count.h"
#include "host/transform.h"
#include "loaders/corpus.h"

struct topics_settings {
    /* k is the number of topics; 0: topic_count_choose's. */
    struct kmeans_settings kmeans;
    enum transform_normalise normalise;
    int remove_components;
    int n_words;          /* words a topic */
    int min_df;           /* 0: auto */
    const char *language; /* NULL: by script */
    bool keep_single;     /* keep words of one character */
    bool token_pattern;   /* lemmas are split again by scikit-learn's default token pattern */
    bool any_words;       /* name a topic also by words that none of its texts has */
    /* (n_rows) true: the row has no part in clusters, vocabulary and words, and is assigned to the
     * nearest centre afterwards. NULL: none. */
    const bool *held_out;
};

/* What was found. Rows are those of the corpus; a blank text has topic -1 and zeros elsewhere. */
struct topics {
    int n_topics, n_words, width;
    size_t n_rows, n_used; /* n_used: rows that are neither blank nor held out */
    size_t n_held_out;     /* rows that are held out and not blank */
    size_t rows_before;    /* as in the corpus: row i is number rows_before + i + 1 */
    int32_t *topic;        /* (n_rows) */
    float *distance;       /* (n_rows) to its centre */
    float *margin;         /* (n_rows) distance to the next nearest centre, less distance; 0 where
                              there is one topic only */
    int64_t *size;         /* (n_topics) rows, those held out too */
    float *centres;        /* (n_topics, width) in the transformed space */
    int32_t *word;         /* (n_topics, n_words) into tfidf.words, best first, -1: none left */
    float *word_score;     /* (n_topics, n_words) cosines */
    struct transform transform;
    struct tfidf tfidf;       /* its rows are the used rows, in order */
    int min_df;               /* as settled */
    const char *language;     /* of the words, as settled */
    struct topic_count count; /* n_tried is 0 where the number was given */
    double inertia;
    int iterations;
    bool converged;
    bool has_labels;
    struct score score;          /* with labels only; of the rows held out, where there are any */
    struct score training_score; /* then, of the others */
    struct arena arena;          /* all of the above */
};

/* embeddings (corpus->n_rows, width): changed in place by the transform, which fits itself on the
 * rows that are used. On failure everything is released.
 * STATUS_USAGE: more topics than texts, an unknown language. STATUS_BAD_DATA: no word left (names
 * --min-df), an embedding that is not finite (its row). */
enum status topics_find(struct topics *topics, struct device *device, const struct corpus *corpus,
                        float *embeddings, int width, const struct topics_settings *settings,
                        const struct progress *progress, struct err *err);
void topics_free(struct topics *topics); /* a zeroed struct is allowed */

/* min_df for n texts: 10 from 5,000 on, else n / 500, at least 2 (1 for fewer than 20 texts, where
 * hardly a word comes twice). */
int topics_auto_min_df(size_t n_texts);

#endif
