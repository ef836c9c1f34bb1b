/* See shapes.h. */
#include "bench/shapes.h"

#include <stdlib.h>
#include <string.h>

/* From the config.json of HuggingFaceTB/SmolLM2-135M-Instruct, meta-llama/Llama-2-7b-hf and
 * meta-llama/Meta-Llama-3-8B. */
const struct model_sizes model_sizes[] = {
    {"smollm2", 576, 9, 3, 64, 1536, 49152},
    {"llama2-7b", 4096, 32, 32, 128, 11008, 32000},
    {"llama3-8b", 4096, 32, 8, 128, 14336, 128256},
};
const int n_model_sizes = sizeof model_sizes / sizeof *model_sizes;

const struct model_sizes *model_sizes_named(const char *name)
{
    for (int i = 0; i < n_model_sizes; i++)
        if (strcmp(model_sizes[i].name, name) == 0)
            return &model_sizes[i];
    return NULL;
}

/* 704 are 16 titles of 44 tokens, a step of the report's fine-tuning. */
int token_counts(int64_t counts[TOKEN_COUNTS_LARGEST], bool full)
{
    static const int64_t all[TOKEN_COUNTS_LARGEST] = {256, 1, 8, 64, 704, 1024};
    int n = full ? TOKEN_COUNTS_LARGEST : 1;
    memcpy(counts, all, (size_t)n * sizeof *all);
    return n;
}

int token_shapes(int64_t shapes[][SHAPE_DIMENSIONS], int64_t d, bool full)
{
    int64_t counts[TOKEN_COUNTS_LARGEST];
    int n = token_counts(counts, full);
    for (int i = 0; i < n; i++)
        shapes[i][0] = counts[i], shapes[i][1] = d;
    return n;
}

int cluster_shapes(int64_t shapes[][SHAPE_DIMENSIONS], int64_t n, int64_t d, bool full)
{
    static const int clusters[] = {20, 100, 1000};
    int n_shapes = full ? 3 : 1;
    for (int i = 0; i < n_shapes; i++)
        shapes[i][0] = n, shapes[i][1] = clusters[i], shapes[i][2] = d;
    return n_shapes;
}

enum status shape_parse(struct named_shape *shape, const char *text, struct err *err)
{
    *shape = (struct named_shape){.n = 0};
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, "=,");
        if (shape->n == SHAPE_DIMENSIONS || length == 0 ||
            length >= sizeof shape->dimensions[0].name || at[length] != '=')
            break;
        int i = shape->n++;
        memcpy(shape->dimensions[i].name, at, length);
        at += length + 1;
        if (*at < '0' || *at > '9')
            break;
        char *end;
        long long value = strtoll(at, &end, 10);
        if (value < 1 || value > INT32_MAX)
            break;
        shape->dimensions[i].value = value;
        at = end;
        if (!*at)
            return STATUS_OK;
        if (*at != ',')
            break;
    }
    return err_set(err, STATUS_USAGE,
                   "--shape %s: give sizes by name, like m=704,n=4096,k=4096, each from 1 on",
                   text);
}

bool shape_order(int64_t size[SHAPE_DIMENSIONS], const struct named_shape *shape,
                 const char *const names[SHAPE_DIMENSIONS])
{
    int n = 0;
    for (; n < SHAPE_DIMENSIONS && names[n]; n++) {
        int i = 0;
        while (i < shape->n && strcmp(shape->dimensions[i].name, names[n]) != 0)
            i++;
        if (i == shape->n)
            return false;
        size[n] = shape->dimensions[i].value;
    }
    return n == shape->n; /* a name given twice makes it larger */
}
