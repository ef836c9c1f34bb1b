/* How well topics agree with labels: normalised mutual information, purity, adjusted Rand index. */
#ifndef MIDASHI_HOST_SCORE_H
#define MIDASHI_HOST_SCORE_H

#include <stdint.h>
#include "host/base/status.h"

struct score {
    int n;                  /* rows that count */
    int n_topics, n_labels; /* different values among them */
    double nmi;             /* mutual information / mean of the two entropies, in [0, 1] */
    double purity;          /* share of rows that bear the commonest label of their topic */
    double adjusted_rand;   /* Hubert and Arabie 1985, in [-0.5, 1] */
};

/* topics (n), labels (n): any numbers that are >= 0; a row with a negative one in either is left
 * out. nmi is scikit-learn's normalized_mutual_info_score (arithmetic mean) and adjusted_rand its
 * adjusted_rand_score, in their special cases too: one topic against one label, or no row at all,
 * gives 1 for both. purity of no rows is 1. n >= 0. STATUS_RESOURCE: no memory. */
enum status score_topics(struct score *score, const int32_t *topics, const int32_t *labels, int n,
                         struct err *err);

#endif
