/* NF4 matrices on a GPU: how one is made of tensors as nf4.h has them (host/cuda_upload does).
 *
 *   const struct nf4_matrix *parts[] = {&q, &k, &v};             their shapes
 *   size_t bytes = nf4_tiles_plan(&tiles, parts, 3);             one allocation for the matrix
 *   nf4_tiles_place(&tiles, memory);                             memory: device, of so many bytes
 *
 * then, for each part, what is not packed goes to its segment's nested_absmax and flat_absmax, the
 * offset into the segment, and nf4_tiles_pack_cuda brings codes and absmax codes to their tiles.
 *
 * The product has the segments' rows side by side as its columns, without gaps: of gate and up of
 * 172 rows each, y is (m, 344). nf4_layout.h draws the layout. */
#ifndef MIDASHI_KERNELS_NF4_TILES_H
#define MIDASHI_KERNELS_NF4_TILES_H

#include <stddef.h>
#include "host/base/device.h"
#include "kernels/nf4.h"
#include "kernels/nf4_layout.h"

/* Sets up everything but addresses and offsets, and returns the bytes that the matrix takes on the
 * device. parts: 1 to NF4_SEGMENTS matrices of the same columns, of which rows, columns, and
 * whether absmax is NULL are read; the arrays may come later. */
size_t nf4_tiles_plan(struct nf4_tiles *tiles, const struct nf4_matrix *const *parts, int n_parts);

/* memory: device memory of that many bytes, at a multiple of 256. */
void nf4_tiles_place(struct nf4_tiles *tiles, void *memory);

/* One segment: codes and, where tiles are not flat (then NULL), absmax_codes on the device as nf4.h
 * has them, codes at a multiple of 16 bytes -> tiles. Queued on the device's stream; what lies in
 * codes and absmax_codes may be overwritten by what is queued behind it. */
enum status nf4_tiles_pack_cuda(struct device *device, const struct nf4_tiles *tiles, int segment,
                                const uint8_t *codes, const uint8_t *absmax_codes, struct err *err);

/* The same, naive, on the host: of one segment (n_groups, n_steps, 512) and, unless absmax_codes is
 * NULL, (n_groups, n_steps, 16). Tests and bench only (tests/reference). */
void nf4_tiles_pack_ref(uint8_t *codes, uint8_t *absmax_codes, const struct nf4_matrix *part);

#endif
