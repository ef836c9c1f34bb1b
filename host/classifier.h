/* Labels for texts, by a model with a classification adapter. */
#ifndef MIDASHI_HOST_CLASSIFIER_H
#define MIDASHI_HOST_CLASSIFIER_H

#include "host/embedder.h"

/* Row first_row + i has probabilities (n_labels), NULL where the text is blank. */
typedef enum status classifier_sink(void *context, size_t row, const float *probabilities,
                                    struct err *err);

/* embedder: loaded whole, without a prompt, with an adapter that has a head. Rows come in order.
 * A row's probabilities do not depend on other rows. Errors of embedder_run and the sink. */
enum status classifier_run(struct embedder *embedder, struct device *device,
                           const struct corpus_row *rows, size_t n_rows, classifier_sink *sink,
                           void *context, struct embedding_counts *counts,
                           const struct progress *progress, struct err *err);

#endif
