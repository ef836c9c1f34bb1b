/* Whether values that were read are numbers: no NaN, no infinity. */
#ifndef MIDASHI_HOST_FINITE_H
#define MIDASHI_HOST_FINITE_H

#include <stdbool.h>
#include <stdint.h>
#include "loaders/weights.h"

bool finite_f32(const float *x, int64_t n);
bool finite_bf16(const uint16_t *x, int64_t n);
bool finite_f16(const uint16_t *x, int64_t n);
/* STATUS_BAD_DATA with the row of the tensor where they are not. */
enum status finite_refuse(const struct weight *weight, int64_t row, struct err *err);

#endif
