/* NF4, the 4-bit NormalFloat of QLoRA (Dettmers et al. 2023, arXiv:2305.14314, appendix E), in the
 * layout of bitsandbytes, so that its checkpoints can be read as they are.
 *
 * A matrix is cut into blocks of 64 along its flattened row-major elements; where the columns are
 * no multiple of 64 a block runs on into the next row, and the last one may be short.
 *   absmax[b] = max |x| over block b
 *   code[i]   = the entry of nf4_map nearest to x[i] * (1 / absmax[b]), all in float32
 *   x'[i]     = nf4_map[code[i]] * absmax[b], one float32 product
 * "Nearest" compares with the midpoints of nf4_map rounded to float32; a tie takes the lower code.
 * A block of zeros has absmax 0 and the code of 0.0 (7). Where absmax is below 1e-38, whose
 * reciprocal would overflow, 1 / 1e-38 is used in its place.
 *
 * Double quantisation keeps absmax in 8 bits, in blocks of 256:
 *   offset     = mean of absmax
 *   nested[j]  = max |absmax - offset| over nested block j
 *   absmax'[b] = nf4_nested_map[absmax_code[b]] * nested[b / 256] + offset, rounded after each step
 *
 * Values that are not finite have no code: whoever reads a file should refuse them. Here a block
 * with NaN gets absmax NaN and one with an infinity gets absmax infinity; both dequantise to at
 * least one NaN or infinity, so that no later result looks sound. */
#ifndef MIDASHI_KERNELS_NF4_H
#define MIDASHI_KERNELS_NF4_H

#include <stddef.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/precision.h"

#define NF4_BLOCK        64
#define NF4_NESTED_BLOCK 256

struct nf4_tiles;

/* Borrowed views; the owner is the model's arena, or its mapped file. codes may begin at any
 * address. */
struct nf4_matrix {
    int rows, columns;           /* of the weight, row-major, each >= 1 */
    const uint8_t *codes;        /* ((rows*columns + 1) / 2) two codes a byte, the first one high */
    const float *absmax;         /* (n_blocks), or NULL where it is double-quantised: */
    const uint8_t *absmax_codes; /* (n_blocks) */
    const float *nested_absmax;  /* (ceil(n_blocks / 256)) */
    float offset;
    /* On a GPU: the matrix that its kernels read (nf4_tiles.h), in place of all else, which may be
     * joined from this one and others. NULL on the CPU. */
    const struct nf4_tiles *tiles;
};

/* The 16 values, ascending; code 7 is 0.0. Checkpoints carry it as `quant_map`. */
extern const float nf4_map[16];
/* bitsandbytes' create_dynamic_map(), ascending. Checkpoints carry it as `nested_quant_map`. */
extern const float nf4_nested_map[256];

/* Bytes or elements of the arrays for n weights, n >= 0. */
static inline size_t nf4_code_bytes(int64_t n)
{
    return (size_t)(n / 2 + n % 2);
}
static inline size_t nf4_block_count(int64_t n)
{
    return (size_t)(n / NF4_BLOCK + (n % NF4_BLOCK != 0));
}
static inline size_t nf4_nested_block_count(int64_t n_blocks)
{
    return (size_t)(n_blocks / NF4_NESTED_BLOCK + (n_blocks % NF4_NESTED_BLOCK != 0));
}

/* codes (nf4_code_bytes(n)), absmax (nf4_block_count(n)) <- x (n).
 * A large tensor may come in pieces, each starting at a block: n is a multiple of 64 for all but
 * the last. An odd n leaves the code of 0.0 in the last low nibble, as bitsandbytes does. All of it
 * is the host's memory, whatever the device; its threads and instruction set are used. Every
 * instruction set gives the same bytes, and so does nf4_quantize_cuda. */
void nf4_quantize(struct device *device, uint8_t *codes, float *absmax, const float *x, int64_t n);

/* absmax_codes (n_blocks), nested_absmax (ceil(n_blocks / 256)), *offset <- absmax (n_blocks), of
 * the whole tensor at once. The offset is summed in float64, in the fixed order of
 * docs/numerics.md; bitsandbytes' differs from it by torch's float32 summation, less than 1e-6
 * relative. Where an absmax is NaN or infinite, so is the offset. */
void nf4_quantize_absmax(uint8_t *absmax_codes, float *nested_absmax, float *offset,
                         const float *absmax, int64_t n_blocks);

/* The second half of it, with the offset given. Codes are those of bitsandbytes' CPU code, which
 * first rounds (absmax - offset) * (1 / nested) to a grid of 65536 points in [-1, 1] and then takes
 * the nearest entry; its CUDA code has no grid, so that a code near a midpoint may differ there by
 * one. Both dequantise by the same formula. A nested block of zeros has codes 0. */
void nf4_nest_absmax(uint8_t *absmax_codes, float *nested_absmax, const float *absmax,
                     int64_t n_blocks, float offset);

/* absmax of one block, of either kind. */
static inline float nf4_block_absmax(const struct nf4_matrix *w, int64_t block)
{
    if (w->absmax)
        return w->absmax[block];
    float scaled =
        nf4_nested_map[w->absmax_codes[block]] * w->nested_absmax[block / NF4_NESTED_BLOCK];
    return scaled + w->offset;
}

/* out[i * stride] = weight first + i of the flattened matrix, for i in 0 .. n-1. One thread. */
void nf4_decode(float *out, size_t stride, const struct nf4_matrix *w, int64_t first, int64_t n);

/* out (n_rows, w->columns) <- rows first_row .. first_row + n_rows. */
void nf4_dequantize(struct device *device, float *out, const struct nf4_matrix *w, int first_row,
                    int n_rows);

/* ---- on a GPU: all pointers are device addresses; queued on the device's stream ---------------
 */

/* What the values of a file may be. */
enum nf4_source {
    NF4_FROM_F32,
    NF4_FROM_BF16,
    NF4_FROM_F16,
};

/* As nf4_quantize, bit for bit but for which NaN a NaN of binary16 is: codes, absmax <- x (n) as
 * the file has it. Pieces may begin at any block. x lies at a multiple of 16 bytes, codes at one
 * of 4. */
enum status nf4_quantize_cuda(struct device *device, uint8_t *codes, float *absmax, const void *x,
                              enum nf4_source type, int64_t n, struct err *err);

/* As nf4_quantize_absmax, bit for bit but for which NaN a NaN is. sums (ceil(n_blocks / 256)):
 * scratch. Three launches.
 * A value that is not finite makes its absmax and so the offset NaN or infinite, and a finite
 * offset says that every value was finite. (absmax of up to 2^31 blocks cannot overflow the float64
 * sum, nor their mean float32.) */
enum status nf4_quantize_absmax_cuda(struct device *device, uint8_t *absmax_codes,
                                     float *nested_absmax, float *offset, double *sums,
                                     const float *absmax, int64_t n_blocks, struct err *err);

/* As in struct nf4_matrix, flattened; the offset too is where quantising left it. */
struct nf4_cuda_values {
    const uint8_t *codes;
    const float *absmax; /* or NULL where it is double-quantised: */
    const uint8_t *absmax_codes;
    const float *nested_absmax, *offset;
};

/* out (n) <- the first n values of the flattened matrix, float32 (the CPU's bits) or those rounded
 * once to bfloat16. out lies at a multiple of 16 bytes, codes at one of 4. */
enum status nf4_dequantize_cuda(struct device *device, enum precision type, void *out,
                                const struct nf4_cuda_values *w, int64_t n, struct err *err);

/* Naive, one value at a time. Tests and bench only (tests/reference). */
void nf4_quantize_ref(uint8_t *codes, float *absmax, const float *x, int64_t n);
void nf4_nest_absmax_ref(uint8_t *absmax_codes, float *nested_absmax, const float *absmax,
                         int64_t n_blocks, float offset);
void nf4_dequantize_ref(double *out, const struct nf4_matrix *w); /* (rows, columns) */

#endif
