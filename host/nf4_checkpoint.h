/* Matrices that a checkpoint holds in NF4 already (loaders/bitsandbytes.h): used as they are, or
 * dequantised as bitsandbytes does. */
#ifndef MIDASHI_HOST_NF4_CHECKPOINT_H
#define MIDASHI_HOST_NF4_CHECKPOINT_H

#include "host/base/memory.h"
#include "kernels/nf4.h"
#include "loaders/weights.h"

/* weight->nf4 is not NULL. *matrix gets views of the mapped file, which live until weights_close;
 * what kernels cannot take as it lies there (scales that are not aligned, or nested with another
 * map than nf4_nested_map) is copied to `arena`. Scales are checked: STATUS_BAD_DATA where one is
 * NaN, infinite or negative, or where quant_map is not nf4_map. */
enum status nf4_checkpoint_view(struct nf4_matrix *matrix, const struct weights *weights,
                                const struct weight *weight, struct arena *arena, struct err *err);

/* out (n_rows, columns): the weights in float32, each rounded to the type that the checkpoint's
 * quant state names, as bitsandbytes' dequantize_4bit gives them. F16 may overflow to infinity. */
void nf4_checkpoint_read(const struct weight *weight, const struct nf4_matrix *matrix,
                         int64_t first_row, int64_t n_rows, float *out);

#endif
