/* See adapters.h. */
#include "bench/rows/adapters.h"

const char *adapters_refuse(int64_t n_parts)
{
    return n_parts > LORA_PARTS ? "a matrix has at most 3 parts" : NULL;
}

int64_t adapters_padded(int64_t rank)
{
    return (rank + LORA_RANK_STEP - 1) / LORA_RANK_STEP * LORA_RANK_STEP;
}

struct lora_parts adapters_table(int64_t n_parts, int64_t rows, int64_t columns, int64_t rank)
{
    struct lora_parts table = {.n_parts = (int)n_parts, .columns = (int)columns};
    for (int i = 0; i < table.n_parts; i++) {
        struct lora_part *part = &table.parts[i];
        part->first_row = table.rows;
        table.rows = (int)(rows * (i + 1) / n_parts);
        part->rows = table.rows - part->first_row;
        part->rank = (int)rank;
        part->padded = (int)adapters_padded(rank);
        part->first_rank = table.padded;
        table.padded += part->padded;
        part->scale = 0.5f;
        part->stream = (uint32_t)i;
    }
    return table;
}

void adapters_clear(struct tensor *tensor, const struct lora_parts *table)
{
    float *values = tensor->host;
    size_t padded = (size_t)table->parts[0].padded, rank = (size_t)table->parts[0].rank;
    for (size_t i = 0; i < tensor->n; i++)
        if (i % padded >= rank)
            values[i] = 0;
}
