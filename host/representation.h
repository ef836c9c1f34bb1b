/* How a text becomes a vector: the choices behind --pool, --layer, --prompt, --normalise and
 * --remove-components, and what their `auto`s mean (docs/quality.md says why). */
#ifndef MIDASHI_HOST_REPRESENTATION_H
#define MIDASHI_HOST_REPRESENTATION_H

#include <stdbool.h>
#include "host/base/status.h"
#include "host/transform.h"
#include "loaders/sentence_transformers.h"

enum pool {
    POOLING_LAST,      /* the last token's hidden state */
    POOLING_MEAN,      /* the mean over the text's own tokens */
    POOLING_LAST_MEAN, /* both, one behind the other: twice the width */
    POOLING_MEAN_ALL,  /* the mean over all tokens, special ones and the prompt's too */
};

/* What the user asked for; NULL is "auto". */
struct representation_request {
    const char *pool;              /* auto|last|mean|last+mean|mean-all */
    const char *layer;             /* auto|N, negative from the end */
    const char *normalise;         /* auto|none|centre|l2|centre+l2 */
    const char *prompt;            /* auto|none|echo|one-word|TEMPLATE with {text} */
    const char *remove_components; /* auto|D */
    /* What the model itself says, as a sentence-transformers folder does; read where pool is auto.
     * NULL where it says nothing. */
    const struct sentence_pooling *declared;
    bool classifier; /* an adapter with a classification head is on the model */
    bool embedder;   /* an adapter that was trained to embed */
};

struct representation {
    enum pool pool;
    int layer; /* 0 the embeddings, n_layers the last block's output */
    enum transform_normalise normalise;
    int remove_components;
    const char *prompt; /* a template with one or more {text}; "{text}" is none */
};

/* Settles every choice for a model of n_layers blocks. All `auto`: the prompt one-word, the last
 * token one block before the end, centre+l2, nothing removed. With another --prompt (none is one),
 * the other `auto`s are the mean at a third of the depth, centre+l2, two components removed. When
 * --pool is given they are --layer -1 --normalise none --remove-components 0 --prompt none, so that
 * what was asked for is what is done. When it is auto and the model declares a pooling, they are
 * the model's own: mean-all or last, --layer -1, l2 where the model normalises, nothing removed, no
 * prompt. With an embedder's adapter they are the
 * mean, --layer -1, centre+l2, no prompt. With a classifier's they are what its head was trained
 * on: the last token,
 * --layer -1, nothing else. STATUS_USAGE: an unknown word, a number out of range, a template
 * without {text}, a declared pooling that is not built. */
enum status representation_resolve(struct representation *out,
                                   const struct representation_request *request, int n_layers,
                                   struct err *err);

/* From none|centre|l2|centre+l2. STATUS_USAGE: another word. */
enum status normalise_parse(enum transform_normalise *normalise, const char *word, struct err *err);

/* From 0 .. TRANSFORM_MOST_REMOVED. STATUS_USAGE: anything else. */
enum status remove_components_parse(int *removed, const char *word, struct err *err);

const char *pool_name(enum pool pool);
const char *normalise_name(enum transform_normalise normalise);

#endif
