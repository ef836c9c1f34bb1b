/* The compiled kernels in this program: a fat binary for each kernels/NAME.cu. The Makefile writes
 * the table; without nvcc it is empty. */
#ifndef MIDASHI_BASE_CUDA_IMAGES_H
#define MIDASHI_BASE_CUDA_IMAGES_H

struct cuda_image {
    const char *name; /* "rmsnorm"; NULL ends the table */
    const unsigned char *data;
    const char *const *kernels; /* their names, NULL at the end */
};
extern const struct cuda_image cuda_images[];
extern const int cuda_build_version; /* 13000: they were compiled with CUDA 13.0; 0: none */

#endif
