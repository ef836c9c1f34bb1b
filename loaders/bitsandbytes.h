/* Matrices that bitsandbytes quantised to NF4, as transformers saves them in safetensors.
 *
 * A matrix W of such a file is several tensors (bitsandbytes' QuantState.as_dict), of which the
 * first bears the matrix's own name:
 *
 *   W                                  packed codes, ceil(n/2) bytes of any dtype
 *   W.absmax                           F32 (n_blocks), or U8 (n_blocks) where it is nested
 *   W.quant_map                        F32 (16)
 *   W.nested_absmax                    F32 (ceil(n_blocks/256))   | nested only
 *   W.nested_quant_map                 F32 (256)                  |
 *   W.quant_state.bitsandbytes__nf4    U8, a JSON object: shape, dtype, block sizes, nested offset
 *
 * with n = rows * columns and n_blocks = ceil(n/64). Here they become one struct weight again. What
 * the bytes mean is kernels/nf4.h's business. */
#ifndef MIDASHI_LOADERS_BITSANDBYTES_H
#define MIDASHI_LOADERS_BITSANDBYTES_H

#include "host/base/memory.h"
#include "host/base/status.h"
#include "loaders/name_index.h"
#include "loaders/weights.h"

/* The type that bitsandbytes dequantises to: the float32 product is rounded to it. */
enum nf4_result {
    NF4_TO_F32,
    NF4_TO_BF16,
    NF4_TO_F16,
};

/* Views of the mapped file, at any alignment. Sizes are checked, values are not: numbers may be NaN
 * and maps any numbers. */
struct nf4_weight {
    enum nf4_result result;
    const unsigned char *codes;            /* (ceil(n/2)) uint8 */
    const unsigned char *quant_map;        /* (16) float32 */
    const unsigned char *absmax;           /* (n_blocks) float32, or uint8 with nested_absmax */
    const unsigned char *nested_absmax;    /* (ceil(n_blocks/256)) float32, or NULL */
    const unsigned char *nested_quant_map; /* (256) float32, or NULL */
    float offset;                          /* added to what nested_absmax gives; finite, >= 0 */
};

#define NF4_WEIGHT_BLOCK        64
#define NF4_WEIGHT_NESTED_BLOCK 256

/* Joins the tensors of each such matrix in a table of *count weights; names is the table's index.
 * The first of them gets rows and columns from the quant state, the type name "NF4" and its view
 * (nf4, in the arena); the others leave the table, which keeps its order. *count says how many are
 * left; where it has changed, the index must be made again. STATUS_BAD_DATA: a part is missing, or
 * has another type or size; a quant state that is not good; FP4, other block sizes and other types
 * of the nested scales are refused by name. */
enum status bitsandbytes_join(struct weight *table, int *count, const struct name_index *names,
                              struct arena *arena, struct err *err);

#endif
