/* What is in each cluster: sums and numbers of rows, kept up as rows change their cluster.
 *
 * Rows come in order, any number at a time. They are added to partial sums (kernels/cluster_sums.h)
 * that begin at zero with every block of CLUSTER_BLOCK_ROWS rows and are added to the totals at its
 * end, block after block: so totals depend on the rows and their clusters alone, not on how many
 * rows come at a time, and several machines could share the blocks without changing a bit. */
#ifndef MIDASHI_HOST_CLUSTER_TOTALS_H
#define MIDASHI_HOST_CLUSTER_TOTALS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

#define CLUSTER_BLOCK_ROWS 65536

struct cluster_totals {
    struct device *device; /* borrowed */
    int k, d;
    double *sums;    /* (k, d) of the rows in each cluster */
    int64_t *counts; /* (k) how many they are */
    double *partial; /* (k, d) of the block at hand; zeros where touched is false */
    bool *touched;   /* (k) the cluster has gained or lost a row in it */
    int block_rows;  /* of it that have come */
};

/* STATUS_RESOURCE: no memory. Close after a failure too. */
enum status cluster_totals_open(struct cluster_totals *totals, struct device *device, int k, int d,
                                struct err *err);
void cluster_totals_close(struct cluster_totals *totals); /* a zeroed struct is allowed */
size_t cluster_totals_bytes(int k, int d);                /* that it takes */

/* Before the first row of a walk over all rows. empty: no row is in a cluster. */
void cluster_totals_begin(struct cluster_totals *totals, bool empty);
/* The next n rows, x (n, d), go from the clusters from (n), NULL for none, to the clusters to (n);
 * both 0 to k - 1. */
enum status cluster_totals_add(struct cluster_totals *totals, const float *x, const int32_t *from,
                               const int32_t *to, int n, struct err *err);
/* Behind the last row: sums and counts are whole. */
void cluster_totals_end(struct cluster_totals *totals);

#endif
