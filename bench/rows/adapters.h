/* What rows share in which a joined matrix has adapters (kernels/lora_parts.h). */
#ifndef MIDASHI_BENCH_ROWS_ADAPTERS_H
#define MIDASHI_BENCH_ROWS_ADAPTERS_H

#include "bench/operation.h"
#include "kernels/lora_parts.h"

/* Why a matrix cannot have so many parts, or NULL. */
const char *adapters_refuse(int64_t n_parts);
/* rank filled up. */
int64_t adapters_padded(int64_t rank);
/* The table: parts of `rows` in all, as equal as they can be, each with a scale of 0.5 and its
 * number as its dropout's stream; no addresses. */
struct lora_parts adapters_table(int64_t n_parts, int64_t rows, int64_t columns, int64_t rank);
/* Zeros where ranks are filled up, of a tensor whose rows hold the ranks of one part or of all. */
void adapters_clear(struct tensor *tensor, const struct lora_parts *table);

#endif
