/* Images of device code: PTX text, or a fat binary, the container that nvcc embeds, with code for
 * several architectures. */
#ifndef SOFTCUDA_FATBIN_H
#define SOFTCUDA_FATBIN_H

#include <stddef.h>
#include <stdint.h>
#include "host/base/cuda_api.h"
#include "host/base/status.h"

struct ptx_text {
    const char *text; /* borrowed from the image */
    size_t size;
};

/* image: PTX text that a 0 byte ends, a fat binary, or the wrapper that nvcc makes a symbol of. It
 * says itself how long it is. Of several PTX texts the newest that the capability (86 for 8.6) can
 * run. CUDA_SUCCESS, or the driver's code with the reason in *err:
 *   INVALID_IMAGE      neither PTX nor a fat binary, or a broken one
 *   NO_BINARY_FOR_GPU  machine code only, PTX for newer cards only, or compressed PTX */
CUresult fatbin_find_ptx(struct ptx_text *ptx, const void *image, int capability, struct err *err);

/* How long a fat binary says it is, from its first 16 bytes. 0: the image is something else. */
uint64_t fatbin_size(const void *image);

#endif
