/* What of struct adamw an element's arithmetic needs, the same on the CPU and on a GPU. No includes
 * of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_ADAMW_COEFFICIENTS_H
#define MIDASHI_KERNELS_ADAMW_COEFFICIENTS_H

struct adamw_coefficients {
    float gradient_scale;
    float beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    float root_scale;                 /* 1 / sqrt(1 - beta2^step) */
    float eps;
    float decay; /* 1 - learning rate * weight decay */
    float rate;  /* learning rate / (1 - beta1^step) */
};

#endif
