/* Texts made up for timing: short lines of English words, some ten tokens each, around 16 themes,
 * so that there are words to count and clusters to find. */
#ifndef MIDASHI_BENCH_SYNTHETIC_H
#define MIDASHI_BENCH_SYNTHETIC_H

#include <stdint.h>
#include "loaders/corpus.h"

/* n >= 1 texts; the same n and seed give the same. Release it with corpus_free. */
enum status synthetic_corpus(struct corpus *corpus, size_t n, uint64_t seed, struct err *err);

/* Rows of (n, d) around k centres, all uniform by Philox: the spread of a cluster is a fifth of
 * that of the centres. */
void synthetic_rows(float *x, int n, int d, int k, uint64_t seed);

#endif
