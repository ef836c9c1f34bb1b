/* The rows of a matrix that need not fit in memory, a chunk of float32 rows at a time.
 *
 * They lie in memory, or in the .npy parts of one array (of any floats). Rows of zeros there
 * are blank texts and are left out: what follows counts the rows that are used. Parts that fit in
 * the memory allowed stay there once they are open; else they are mapped, read and unmapped for
 * each chunk, so that no more than a chunk of them is in memory. Every way gives the same numbers.
 */
#ifndef MIDASHI_HOST_ROW_CHUNKS_H
#define MIDASHI_HOST_ROW_CHUNKS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/embedding_parts.h"
#include "host/rows.h"
#include "host/transform.h"

struct row_chunks {
    struct device *device; /* borrowed: its threads convert */
    int n, d;              /* used rows and their width */
    /* Of a chunk that is read: a multiple of ROWS_PER_BLOCK. A caller may lower it. */
    int rows_per_chunk;

    /* What follows is row_chunks.c's own. */
    const float *x; /* (n, d): rows in memory; NULL: they come from the parts */
    float *owned;   /* x, where it is not the caller's */
    float *buffer;  /* (rows_per_chunk, d): of rows that are not as they lie in memory */
    const struct embedding_parts *parts;
    const struct transform *transform; /* of rows that come from the parts; NULL: none */
    bool spherical;                    /* rows are normalised when they are read */
    bool normalised;                   /* owned ones have been, once and for all */
    int64_t *first_row;                /* (parts->n + 1) of all rows, blank ones too */
    uint64_t *blank;                   /* a bit a row of all */
    int32_t *blank_before;             /* (rows / 64 + 1) blank rows before a word of blank */
};

/* Rows of a chunk of n rows of d numbers: rows_per_chunk as it is at first. */
int row_chunks_size(int n, int d);

/* The rows x (n, d) in memory, borrowed; n <= EMBEDDING_MOST_ROWS. To be closed only after
 * row_chunks_normalise. */
struct row_chunks row_chunks_of(struct device *device, const float *x, int n, int d);

/* The rows of parts (embedding_parts_measure), borrowed. They stay in memory where they take at
 * most `memory` bytes as float32.
 * STATUS_BAD_DATA: a number that is not finite (file, row from 1), a file that has changed since it
 * was measured. STATUS_RESOURCE: no memory. STATUS_INTERRUPTED. Close after a failure too. */
enum status row_chunks_open(struct row_chunks *rows, struct device *device,
                            const struct embedding_parts *parts, size_t memory, struct err *err);
void row_chunks_close(struct row_chunks *rows); /* a zeroed struct is allowed */

/* STATUS_BAD_DATA: a row of the caller's with NaN or an infinity, by its number from 1. */
enum status row_chunks_check(struct row_chunks *rows, struct err *err);

/* From now on rows are read transformed; where they stay in memory they are transformed there.
 * transform is borrowed. Not for rows that the caller owns. Numbers near float32's largest may
 * become infinite: nothing here looks at them again. */
void row_chunks_transform(struct row_chunks *rows, const struct transform *transform);
/* From now on rows are read l2-normalised, after a transform: once, however often this is called.
 * The caller's rows are not touched. STATUS_RESOURCE: no memory. */
enum status row_chunks_normalise(struct row_chunks *rows, struct err *err);

/* *x (n, d) = the rows first .. first + n - 1, borrowed until the next read; 0 <= n <=
 * rows_per_chunk. Failures as row_chunks_open's. */
enum status row_chunks_read(struct row_chunks *rows, int first, int n, const float **x,
                            struct err *err);

/* The same to memory of the caller's, for any n that there are. */
enum status row_chunks_copy(struct row_chunks *rows, float *out, int first, int n, struct err *err);

/* Reads all rows, a chunk after another, and hands each to visit: x (n, d), the rows from `first`
 * on. Ends with the first failure, visit's or row_chunks_read's; STATUS_INTERRUPTED. */
typedef enum status row_chunk_visit(void *context, const float *x, int first, int n,
                                    struct err *err);
enum status row_chunks_walk(struct row_chunks *rows, row_chunk_visit *visit, void *context,
                            struct err *err);

/* out (size, d) = a sample in the rows' order, 1 <= size <= n: of size runs of neighbouring rows,
 * as long as one another, a row each that is drawn by the seed (Philox). All rows where size is n.
 */
enum status row_chunks_sample(struct row_chunks *rows, float *out, int size, uint64_t seed,
                              struct err *err);

/* total (width) = the sum over all rows, by row_sum_add's blocks: the same bits for any chunks. add
 * gets the rows of a chunk as x, and their numbers counted from its first row. */
typedef void row_chunk_add(void *context, const float *x, int first, int last, double *partial);
enum status row_chunks_sum(struct row_chunks *rows, double *total, size_t width, row_chunk_add *add,
                           void *context, struct err *err);

/* mean (d), of n > 0 rows: such a sum, divided. */
enum status row_chunks_mean(struct row_chunks *rows, double *mean, struct err *err);

/* Rows that are used and blank ones; whether one of all these rows is blank. */
size_t row_chunks_all(const struct row_chunks *rows);
bool row_chunks_is_blank(const struct row_chunks *rows, size_t row);

#endif
