/* A low-rank adapter beside a linear layer, and its gradients (LoRA: Hu et al. 2021,
 * arXiv:2106.09685, equation 3; as in PEFT, dropout acts on the adapter's input):
 *
 *   s = scale * drop(x) · aᵀ                y += s · bᵀ
 *
 *   ds = scale * dy · b                     db += dyᵀ · s,  da += dsᵀ · drop(x)
 *   dx += mask ∘ (ds · a) / (1 - p)
 *
 * The layer's own part, y and dx, is nf4_matmul's or matmul's; the adapter adds to it. */
#ifndef MIDASHI_KERNELS_LORA_H
#define MIDASHI_KERNELS_LORA_H

#include "kernels/dropout.h"
#include "kernels/lora_parts.h"

/* scale: alpha / rank, or alpha / sqrt(rank) for rsLoRA. */
struct lora {
    int rows, columns, rank; /* each >= 1 */
    float scale;
    const float *a; /* (rank, columns) */
    const float *b; /* (rows, rank) */
};

/* y (m, rows)           added to
 * s (m, rank)           written: the backward pass reads it
 * dropped (m, columns)  scratch; not touched, and may be NULL, where the threshold is 0
 * x (m, columns)        the layer's input
 * m >= 0; the arrays do not overlap. A row's bytes depend on its own x and, through the mask, on
 * its place in the step; not on the batch or the number of threads. STATUS_RESOURCE, as lora_bwd,
 * on a GPU: there y's term is the product's, and the rest are the functions further down. */
enum status lora_fwd(struct device *device, void *y, void *s, void *dropped, const void *x,
                     const struct lora *lora, const struct dropout *dropout, int m,
                     struct err *err);

/* dx (m, columns)       added to, or NULL where nothing before this layer is trained
 * da (rank, columns), db (rows, rank)  float32, added to
 * ds (m, rank), dropped (m, columns)   scratch; dropped as above
 * dy (m, rows), x, s    the gradient of y, and what lora_fwd was given and wrote
 * dropout               lora_fwd's
 * units                 as in weight_gradient.h: m is units[n_units] */
enum status lora_bwd(struct device *device, void *dx, float *da, float *db, void *ds, void *dropped,
                     const void *dy, const void *x, const void *s, const struct lora *lora,
                     const struct dropout *dropout, const int32_t *units, int n_units,
                     struct err *err);

void lora_fwd_cpu(struct device *device, float *y, float *s, float *dropped, const float *x,
                  const struct lora *lora, const struct dropout *dropout, int m);
void lora_bwd_cpu(struct device *device, float *dx, float *da, float *db, float *ds, float *dropped,
                  const float *dy, const float *x, const float *s, const struct lora *lora,
                  const struct dropout *dropout, const int32_t *units, int n_units);

/* ---- on a GPU: all parts of a joined matrix at once, see lora_parts.h ----------------------- */

/* All are queued on the device's stream; activations bfloat16, sums float32, rounded once. y's and
 * dx's own terms are in the epilogue of the products (nf4_matmul.h, matmul.h). */

/* Working copies of n_tables matrices' adapters from their masters: one launch. tables: on the
 * device. longest: the most rows of a part or columns of a table; most_ranks: the largest `padded`
 * of a part. */
#define LORA_TABLES_LARGEST 10000
enum status lora_copy_cuda(struct device *device, const struct lora_parts *tables, int n_tables,
                           int longest, int most_ranks, struct err *err);

/* s (m, parts->padded)  written: scale * drop(x) · aᵀ of each part, 0 where its ranks are filled up
 * x (m, columns)        rows x_stride elements apart; at a multiple of 16 bytes
 * dropout               of the step; a part's own stream is taken for `stream`. drop(x) is rounded:
 *                       kept ? bf16(x * dropout_scale) : 0
 * m >= 0. Sums: 16 chains over the columns, 32 in turn, added in order, so that a row's bytes
 * depend on x and its place in the step alone. Fast where columns and x_stride are multiples of 8.
 */
enum status lora_s_cuda(struct device *device, void *s, const void *x, int x_stride,
                        const struct lora_parts *parts, const struct dropout *dropout, int m,
                        struct err *err);

/* ds (m, parts->padded) written: scale * dy · b of each part; dy (m, parts->rows). As above; fast
 * where the rows of each part are a multiple of 8. */
enum status lora_ds_cuda(struct device *device, void *ds, const void *dy,
                         const struct lora_parts *parts, int m, struct err *err);

/* All parts of a joined matrix in one launch, for each part p that has an adapter:
 *
 *   da_p += ds_pᵀ · drop_p(x)               db_p += dy_pᵀ · s_p
 *
 * gradients_of_a[p]     (rank, columns) float32, added to; ranks are not filled up
 * gradients_of_b[p]     (part's rows, rank) likewise. Of a part whose rank is 0 neither is read
 * parts                 on the host; ranks, sizes and streams are read, addresses are not
 * dy (m, parts->rows)   bfloat16
 * x (m, columns)        bfloat16; a row begins x_stride elements behind the one before it
 * s, ds (m, padded)     bfloat16, with zeros where ranks are filled up
 * dropout               the stream is each part's own; NULL or a threshold of 0: none. What is left
 *                       of x is rounded to bfloat16, as dropout_fwd_cuda rounds it
 * units (n_units + 1)   on the device, as in weight_gradient.h; m is units[n_units] */
enum status lora_gradients_cuda(struct device *device, float *const gradients_of_a[LORA_PARTS],
                                float *const gradients_of_b[LORA_PARTS],
                                const struct lora_parts *parts, const void *dy, const void *x,
                                int x_stride, const void *s, const void *ds,
                                const struct dropout *dropout, const int32_t *units, int n_units,
                                struct err *err);

/* ---- references ----------------------------------------------------------------------------- */

/* lora_fwd and lora_bwd in float64, naive, with the mask as factors (m, columns)
 * (dropout_factors_ref) or NULL for none. Of absolute values they give the magnitudes that rounding
 * is proportional to. Tests and bench only (tests/reference). */
struct lora_ref {
    int rows, columns, rank;
    double scale;
    const double *a, *b, *factor;
};
void lora_fwd_ref(double *y, double *s, const double *x, const struct lora_ref *lora, int m);
void lora_bwd_ref(double *dx, double *da, double *db, const double *dy, const double *x,
                  const double *s, const struct lora_ref *lora, int m);
/* What float32 may differ by, as a share of the magnitudes. */
double lora_s_tolerance(const struct lora *lora);
/* The same of a GPU's s and, with rows for columns, of ds, before the rounding to bfloat16; drop(x)
 * as it is rounded there. */
double lora_s_cuda_tolerance(int columns);
double lora_y_tolerance(const struct lora *lora);
double lora_dx_tolerance(const struct lora *lora);
double lora_da_tolerance(const struct lora *lora, const int32_t *units, int n_units);

#endif
