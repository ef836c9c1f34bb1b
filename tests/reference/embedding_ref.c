/* Embedding lookup, element by element. */
#include "kernels/embedding.h"

#include <string.h>

void embedding_fwd_ref(double *y, const int32_t *tokens, const struct dense_matrix *table, int n)
{
    size_t d = (size_t)table->columns;
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t j = 0; j < d; j++) {
            size_t from = (size_t)tokens[i] * d + j;
            float value;
            if (table->type == PRECISION_F32) {
                value = ((const float *)table->data)[from];
            } else { /* a bfloat16 is the upper half of a float32 */
                uint16_t halves[2] = {0, ((const uint16_t *)table->data)[from]};
                memcpy(&value, halves, sizeof value);
            }
            y[i * d + j] = value;
        }
}
