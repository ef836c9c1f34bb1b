/* What host and device code of distances to candidates share: the shape of a block, and a launch's
 * arguments. No includes of the host's, since nvcc reads it too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_CANDIDATE_DISTANCE_JOB_H
#define MIDASHI_KERNELS_CANDIDATE_DISTANCE_JOB_H

/* A block's rows and the columns of a step; how many steps are under way. */
#define CANDIDATE_ROWS    32
#define CANDIDATE_COLUMNS 64
#define CANDIDATE_STAGES  3
/* From row to row in shared memory: rows 1, 2 and 3 begin 8, 16 and 24 banks behind row 0. */
#define CANDIDATE_STRIDE 72
/* Candidates of a warp: up to so many; where a block has several such groups, at least so many. */
#define CANDIDATE_MOST   8
#define CANDIDATE_LEAST  5
#define CANDIDATE_GROUPS 10

struct candidate_distance_job {
    float *out;
    const float *x, *c;
    int n, t, d;
    int n_chunks, per_chunk; /* of candidates; blocks of a row tile side by side */
};

#endif
