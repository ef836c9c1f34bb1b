/* What host and device code of the gradients by the input share on a GPU: dx = dy W is product.h's
 * product with y = dx, x = dy, rows the weight's columns and columns its rows, and here are the
 * second arguments of its kernels. No includes of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_PRODUCT_BWD_H
#define MIDASHI_KERNELS_PRODUCT_BWD_H

#include "kernels/dropout_mask.h"
#include "kernels/lora_parts.h"
#include "kernels/nf4_layout.h"

/* dx += mask_p ∘ (ds_p · A_p) * scale for each part; n_parts 0: no adapters. ds (m, parts.padded)
 * bfloat16; the stream of the dropout is the part's own. */
struct product_adapters {
    struct lora_parts parts;
    const void *ds;
    struct dropout dropout;
};

/* Each may be NULL. */
static inline struct product_adapters
product_adapters_of(const struct lora_parts *parts, const void *ds, const struct dropout *dropout)
{
    struct product_adapters adapters = {};
    adapters.ds = ds;
    if (parts)
        adapters.parts = *parts;
    if (dropout)
        adapters.dropout = *dropout;
    return adapters;
}

struct nf4_matmul_bwd {
    struct nf4_tiles w;
    struct product_adapters adapters;
};

struct matmul_bwd {
    const void *data; /* (rows, columns) bfloat16 */
    int rows, columns;
    struct product_adapters adapters;
};

#endif
