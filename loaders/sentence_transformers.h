/* What a sentence-transformers folder says of pooling.
 *
 * modules.json lists the steps from a text to its vector: a Transformer, a Pooling with a folder of
 * its own (1_Pooling/config.json), perhaps a Normalize. The pooling is a string or list,
 * "pooling_mode", or six booleans, "pooling_mode_mean_tokens" and so on, in older files; none of
 * them set means the mean. Its mean is over all tokens, special ones too. */
#ifndef MIDASHI_LOADERS_SENTENCE_TRANSFORMERS_H
#define MIDASHI_LOADERS_SENTENCE_TRANSFORMERS_H

#include <stdbool.h>
#include "host/base/status.h"

struct sentence_pooling {
    enum {
        SENTENCE_NONE,  /* the folder says nothing */
        SENTENCE_MEAN,  /* over all tokens */
        SENTENCE_LAST,  /* the last token */
        SENTENCE_OTHER, /* another kind, or a step that midashi lacks: see what */
    } mode;
    bool l2;       /* vectors get length 1 */
    char what[96]; /* of SENTENCE_OTHER: "pooling by cls", "a Dense layer" */
};

/* path: a model's folder or file; *pooling is zeroed where there is no modules.json in its folder.
 * STATUS_BAD_DATA: a file that is not what its name says, or a module's folder that leads
 * elsewhere. STATUS_MISSING: the pooling's config.json is not there. */
enum status sentence_pooling_read(struct sentence_pooling *pooling, const char *path,
                                  struct err *err);

#endif
