/* The shapes that rows come in: those of known models, or by hand. */
#ifndef MIDASHI_BENCH_SHAPES_H
#define MIDASHI_BENCH_SHAPES_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/status.h"

#define SHAPE_DIMENSIONS 6
#define SHAPES_LARGEST   64

/* What of a model's config.json decides the shapes of its operations. */
struct model_sizes {
    const char *name;
    int hidden, heads, kv_heads, head_dim, intermediate, vocabulary;
};

/* "smollm2", "llama2-7b", "llama3-8b". NULL: no such set. */
const struct model_sizes *model_sizes_named(const char *name);
extern const struct model_sizes model_sizes[];
extern const int n_model_sizes;

/* The number of tokens in a batch that rows over tokens come in: 256, with full more. Returns how
 * many. */
#define TOKEN_COUNTS_LARGEST 6
int token_counts(int64_t counts[TOKEN_COUNTS_LARGEST], bool full);

/* Shapes of (tokens, d): the first two dimensions. Returns how many. */
int token_shapes(int64_t shapes[][SHAPE_DIMENSIONS], int64_t d, bool full);

/* Shapes of (n, clusters, d): 20 clusters, with full 100 and 1,000 too. Returns how many. */
int cluster_shapes(int64_t shapes[][SHAPE_DIMENSIONS], int64_t n, int64_t d, bool full);

/* Sizes by name, as --shape gives them: "m=704,n=4096,k=4096". */
struct named_shape {
    struct {
        char name[16];
        int64_t value; /* 1 .. 2^31 - 1 */
    } dimensions[SHAPE_DIMENSIONS];
    int n;
};

/* STATUS_USAGE: not of this form. */
enum status shape_parse(struct named_shape *shape, const char *text, struct err *err);
/* Puts the values in the order of `names`, which ends with NULL or at SHAPE_DIMENSIONS. false: the
 * names are not the same. */
bool shape_order(int64_t size[SHAPE_DIMENSIONS], const struct named_shape *shape,
                 const char *const names[SHAPE_DIMENSIONS]);

#endif
