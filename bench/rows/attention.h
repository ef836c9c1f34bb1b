/* The shapes that attention and its gradient have in a model. */
#ifndef MIDASHI_BENCH_ROWS_ATTENTION_H
#define MIDASHI_BENCH_ROWS_ATTENTION_H

#include "bench/shapes.h"

/* texts, length, heads, kv, dim. */
int attention_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                     bool full);
const char *attention_refuses(const int64_t *size);

#endif
