/* What is in each cluster: sums and numbers of rows, kept up as rows change their cluster.
 *
 * A walk takes all rows in order, any number at a time. They are added to partial sums
 * (kernels/cluster_sums.h) that begin at zero with every block of CLUSTER_BLOCK_ROWS rows and are
 * added to the totals at its end, block after block. So what a walk does to a total depends on the
 * rows and their clusters alone, not on how many come at a time, nor on threads; and blocks could
 * be shared out to several machines without changing a bit. */
#ifndef MIDASHI_HOST_CLUSTER_TOTALS_H
#define MIDASHI_HOST_CLUSTER_TOTALS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

#define CLUSTER_BLOCK_ROWS 65536

struct cluster_totals {
    struct device *device; /* borrowed */
    int k, d;
    double *sums;    /* (k, d) of the rows in each cluster, whole between walks */
    int64_t *counts; /* (k) how many they are; right also within a walk */

    double *partial; /* (k, d) of the block at hand; zeros where touched is false */
    bool *touched;   /* (k) a row has come or left in this block */
    int block_rows;  /* of it that have come */
    void *scratch;
};

/* All clusters empty. STATUS_RESOURCE: no memory; closing is allowed then too. */
enum status cluster_totals_open(struct cluster_totals *totals, struct device *device, int k, int d,
                                struct err *err);
void cluster_totals_close(struct cluster_totals *totals); /* a zeroed struct is allowed */
size_t cluster_totals_bytes(int k, int d);                /* that it takes; SIZE_MAX: too many */

/* Before the first row of a walk. empty: no row is in a cluster. After a walk that
 * was broken off, always empty. */
void cluster_totals_begin(struct cluster_totals *totals, bool empty);
/* The next n rows x (n, d) go from the clusters `from` (n) to the clusters `to` (n), each below k,
 * negative for none; from NULL: from none. Those that stay where they are are not read.
 * STATUS_RESOURCE: no kernel for this device. */
enum status cluster_totals_add(struct cluster_totals *totals, const float *x, const int32_t *from,
                               const int32_t *to, int n, struct err *err);
void cluster_totals_end(struct cluster_totals *totals); /* behind the last row */

#endif
