/* Which of several runs over the same rows a launch is for: k-means goes through its restarts
 * together on a GPU. No includes, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_RUN_LIST_H
#define MIDASHI_KERNELS_RUN_LIST_H

#define RUNS_LARGEST 16

/* Arrays of runs have all of them; what a launch does, it does to the listed ones: of[0 .. n-1],
 * ascending. */
struct run_list {
    int n;
    int of[RUNS_LARGEST];
};

#endif
