/* What happens to pooled vectors before they are clustered: centring, removal of the strongest
 * principal components, l2 normalisation.
 *
 * Mean-pooled states of a language model share a large common vector, and a few directions that
 * carry length and position more than meaning (Mu and Viswanath 2018, "All-but-the-top",
 * arXiv:1702.01417). A transform is fitted on a corpus once, kept with its topics, and applied to
 * texts, words and new texts alike. */
#ifndef MIDASHI_HOST_TRANSFORM_H
#define MIDASHI_HOST_TRANSFORM_H

#include <stdbool.h>
#include "host/base/device.h"
#include "host/base/memory.h"

enum transform_normalise {
    NORMALISE_NONE,
    NORMALISE_CENTRE,
    NORMALISE_CENTRE_L2,
    NORMALISE_L2,
};

#define TRANSFORM_MOST_REMOVED 64
#define TRANSFORM_MOST_COLUMNS ((int)(DEVICE_SCRATCH_BYTES / sizeof(double)))

/* y = x - mean                              where normalise centres
 * y = y - sum_i u_i (u_i . (x - mean))      u_i the n_removed rows of directions
 * y = y / |y|                               CENTRE_L2 and L2; a zero row stays zero
 * With NORMALISE_NONE and L2 the mean stays in y and the components of the deviation from it go. */
struct transform {
    enum transform_normalise normalise;
    int d;
    int n_removed;
    float *mean;       /* (d); NULL with NONE or L2 and n_removed = 0 */
    float *directions; /* (n_removed, d) orthonormal, by falling variance; NULL for none. The
                          largest absolute component of each is positive. */
};

struct row_chunks;

/* Fits on rows. mean and directions live in arena. Sums are float64 in fixed row blocks: the same
 * bits for any number of threads and any chunks. Directions are the leading eigenvectors of the
 * covariance, by subspace iteration, each step a pass over the rows. n_removed comes out smaller
 * than remove where the rows vary in fewer directions.
 *
 * STATUS_USAGE: remove < 0, remove >= d or remove > TRANSFORM_MOST_REMOVED.
 * STATUS_BAD_DATA: no row to fit on where the mean is needed; d > TRANSFORM_MOST_COLUMNS; a row
 * with NaN or an infinity, by its number from 1 (also where no mean is needed); what reading rows
 * says. STATUS_RESOURCE: no memory. After a failure *transform has neither mean nor directions. */
enum status transform_fit(struct transform *transform, enum transform_normalise normalise,
                          int remove, struct row_chunks *rows, struct arena *arena,
                          struct err *err);

/* Transforms the rows of x (n, d) in place, each on its own. */
void transform_apply(struct device *device, const struct transform *transform, float *x, int n);
/* True where that changes nothing. */
bool transform_is_identity(const struct transform *transform);

#endif
