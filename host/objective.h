/* What is trained for: from the stream behind a model's last layer to losses, and back.
 *
 *   classify     a head without bias on the last token's state after the final norm, softmax
 *                cross-entropy with the text's label; the head is trained too
 *   next-token   each token but a text's first from the state of the one before it, by the
 *                model's own output matrix
 *   contrastive  a text near its positive and far from the other positives of its unit, by the mean
 *                of its tokens' states after the final norm (kernels/contrastive.h)
 *
 * Texts come in units, the micro-batches of a step; only texts of one unit meet. */
#ifndef MIDASHI_HOST_OBJECTIVE_H
#define MIDASHI_HOST_OBJECTIVE_H

#include "host/llama_train.h"
#include "loaders/weights.h"

enum objective_kind {
    OBJECTIVE_CLASSIFY,
    OBJECTIVE_NEXT_TOKEN,
    OBJECTIVE_CONTRASTIVE,
};

/* From classify|next-token|contrastive; false for another word. */
bool objective_parse(enum objective_kind *kind, const char *word);
const char *objective_name(enum objective_kind kind);

/* A packed batch with what its losses need. Borrowed. */
struct objective_batch {
    struct llama_batch texts;
    const int32_t *token_units; /* (n_units + 1) rows of tokens */
    const int32_t *text_units;  /* (n_units + 1) texts; contrastive: anchors, and then as many
                                   positives, in the same order */
    int n_units;
    const int32_t *labels;                /* (n_texts) classify */
    const int32_t *next;                  /* (T) the token to come, -1: none; next-token */
    const int32_t *mean_begin, *mean_end; /* (n_texts) rows of tokens; contrastive */
    const uint8_t *excluded;              /* of each unit's pairs (pairs, pairs), unit after unit,
                                             as kernels/contrastive.h wants it */
};

struct objective_settings {
    enum objective_kind kind;
    int n_tokens, n_texts; /* of a batch at most */
    int largest_unit;      /* texts of a unit at most */
    float temperature;     /* contrastive */
    int near;              /* contrastive: rows of a group so near are no negatives; 0: no groups */
};

struct objective {
    struct objective_settings settings;
    struct llama *llama;
    struct lora_adapter *adapter;
    float *head_gradient;       /* borrowed; classify */
    struct dense_matrix output; /* next-token: (V, D) */
    int chunk_rows;             /* next-token: rows of logits at a time */
    float *pooled, *normed;     /* (n_texts or n_tokens, D) */
    float *dnormed, *dpooled;   /* likewise */
    float *logits;              /* (n_texts, labels) or (chunk_rows, V) */
    float *losses;              /* (n_texts or n_tokens) */
    double *scratch;            /* contrastive */
    struct arena arena;
};

/* Bytes that objective_open takes for its buffers; next-token: the output matrix apart, where it is
 * not the embedding. */
size_t objective_measure(const struct model_config *config, const struct lora_adapter *adapter,
                         const struct objective_settings *settings);

/* Next-token: whether the output matrix is one of its own, beside the embedding. */
bool objective_has_output(const struct model_config *config, const struct weights *weights);

/* gradients: in the layout of adapter->parameters, for the head's. STATUS_BAD_DATA: next-token, and
 * the files hold no output matrix. STATUS_RESOURCE: no memory. */
enum status objective_open(struct objective *objective, struct llama *llama,
                           struct lora_adapter *adapter, float *gradients,
                           const struct weights *weights, const struct objective_settings *settings,
                           struct err *err);
void objective_close(struct objective *objective); /* a zeroed one is allowed */

struct objective_result {
    double loss;     /* sum over the losses */
    int64_t correct; /* classify: texts whose label has the largest logit, the lowest where several
                        have */
};

/* Losses of the batch whose stream is llama->hidden, added to *result. dhidden (T, D) gets the
 * gradient of weight * (sum of losses) by the stream, and the head's gradient is added to; NULL:
 * not wanted. */
enum status objective_run(struct objective *objective, struct device *device,
                          const struct objective_batch *batch, float weight, float *dhidden,
                          struct objective_result *result, struct err *err);

#endif
