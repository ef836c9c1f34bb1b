/* The numbers that a launch is counted in: one table of names, which counting, summing, writing and
 * reading walk. docs/formats.md says what each is, and which metric of Nsight Compute it answers
 * to. */
#ifndef SOFTCUDA_TOTALS_H
#define SOFTCUDA_TOTALS_H

#include <stdbool.h>
#include <stdint.h>

/* Of an access to global memory, by kind: in this order, behind one another. */
#define COUNTER_GLOBAL(X, KIND, kind)                                                              \
    X(GLOBAL_##KIND##_REQUESTS, "global_" kind "_requests")                                        \
    X(GLOBAL_##KIND##_SECTORS, "global_" kind "_sectors")                                          \
    X(GLOBAL_##KIND##_LEAST, "global_" kind "_least_sectors")                                      \
    X(GLOBAL_##KIND##_BYTES, "global_" kind "_bytes")
#define COUNTER_SHARED(X, KIND, kind)                                                              \
    X(SHARED_##KIND##_REQUESTS, "shared_" kind "_requests")                                        \
    X(SHARED_##KIND##_WAVEFRONTS, "shared_" kind "_wavefronts")                                    \
    X(SHARED_##KIND##_LEAST, "shared_" kind "_least_wavefronts")                                   \
    X(SHARED_##KIND##_BYTES, "shared_" kind "_bytes")

#define COUNTER_TABLE(X)                                                                           \
    X(CTAS, "ctas")                                                                                \
    X(WARPS, "warps")                                                                              \
    X(WARP_INSTRUCTIONS, "warp_instructions")                                                      \
    X(THREAD_INSTRUCTIONS, "thread_instructions")                                                  \
    X(THREAD_PREDICATED_OFF, "thread_predicated_off")                                              \
    X(WARP_PREDICATED_OFF, "warp_predicated_off")                                                  \
    X(CLASS_INTEGER, "class_integer")                                                              \
    X(CLASS_FLOAT32, "class_float32")                                                              \
    X(CLASS_FLOAT64, "class_float64")                                                              \
    X(CLASS_HALF, "class_half")                                                                    \
    X(CLASS_CONVERT, "class_convert")                                                              \
    X(CLASS_SPECIAL, "class_special")                                                              \
    X(CLASS_CONTROL, "class_control")                                                              \
    X(CLASS_LOAD, "class_load")                                                                    \
    X(CLASS_STORE, "class_store")                                                                  \
    X(CLASS_ATOMIC, "class_atomic")                                                                \
    X(CLASS_ASYNC, "class_async")                                                                  \
    X(CLASS_WARP, "class_warp")                                                                    \
    X(CLASS_MATRIX, "class_matrix")                                                                \
    X(BRANCHES, "branches")                                                                        \
    X(DIVERGENT_BRANCHES, "divergent_branches")                                                    \
    X(BARRIERS, "barriers")                                                                        \
    X(WARP_SYNCS, "warp_syncs")                                                                    \
    X(SHUFFLES, "shuffles")                                                                        \
    X(VOTES, "votes")                                                                              \
    X(FENCES, "fences")                                                                            \
    X(FLOAT_OPERATIONS, "float_operations")                                                        \
    X(MMA_INSTRUCTIONS, "mma_instructions")                                                        \
    X(MMA_MACS, "mma_macs")                                                                        \
    X(LDMATRIX_INSTRUCTIONS, "ldmatrix_instructions")                                              \
    X(LDMATRIX_MATRICES, "ldmatrix_matrices")                                                      \
    COUNTER_GLOBAL(X, LOAD, "load")                                                                \
    COUNTER_GLOBAL(X, STORE, "store")                                                              \
    COUNTER_GLOBAL(X, ATOMIC, "atomic")                                                            \
    COUNTER_GLOBAL(X, ASYNC, "async")                                                              \
    X(GLOBAL_ATOMIC_CONFLICTS, "global_atomic_conflicts")                                          \
    X(LOAD_BATCHES, "global_load_batches")                                                         \
    X(ASYNC_WAITS, "async_waits")                                                                  \
    X(ASYNC_GROUPS, "async_groups_in_flight")                                                      \
    X(L1_SECTORS, "l1_sectors")                                                                    \
    X(L1_HITS, "l1_hit_sectors")                                                                   \
    X(L2_READS, "l2_read_sectors")                                                                 \
    X(L2_READ_HITS, "l2_read_hit_sectors")                                                         \
    X(L2_WRITES, "l2_write_sectors")                                                               \
    X(L2_ATOMICS, "l2_atomic_sectors")                                                             \
    X(L2_ATOMIC_HITS, "l2_atomic_hit_sectors")                                                     \
    X(DRAM_READ_BYTES, "dram_read_bytes")                                                          \
    X(DRAM_WRITE_BYTES, "dram_write_bytes")                                                        \
    COUNTER_SHARED(X, LOAD, "load")                                                                \
    COUNTER_SHARED(X, STORE, "store")                                                              \
    COUNTER_SHARED(X, ATOMIC, "atomic")                                                            \
    COUNTER_SHARED(X, LDMATRIX, "ldmatrix")                                                        \
    COUNTER_SHARED(X, ASYNC, "async")                                                              \
    X(LOCAL_LOAD_REQUESTS, "local_load_requests")                                                  \
    X(LOCAL_LOAD_SECTORS, "local_load_sectors")                                                    \
    X(LOCAL_LOAD_BYTES, "local_load_bytes")                                                        \
    X(LOCAL_STORE_REQUESTS, "local_store_requests")                                                \
    X(LOCAL_STORE_SECTORS, "local_store_sectors")                                                  \
    X(LOCAL_STORE_BYTES, "local_store_bytes")                                                      \
    X(CONSTANT_REQUESTS, "constant_requests")                                                      \
    X(CONSTANT_WORDS, "constant_words")                                                            \
    X(PARAMETER_REQUESTS, "parameter_requests")

#define COUNTER_ENUM(NAME, name) COUNT_##NAME,
enum counter { COUNTER_TABLE(COUNTER_ENUM) COUNTERS };

/* "warp_instructions" */
extern const char *const counter_names[COUNTERS];

/* An mma of one shape and type: "m16n8k16.f32.bf16.bf16.f32". */
struct mma_count {
    char shape[40];
    uint64_t warps, macs;
};
#define MMA_KINDS 16

struct totals {
    uint64_t value[COUNTERS];
    struct mma_count mma[MMA_KINDS];
    int n_mma;
};

void totals_add(struct totals *sum, const struct totals *more);
/* What all of `of` CTAs would have given if `counted` gave this: each number times of / counted,
 * rounded. */
void totals_scale(struct totals *totals, uint64_t of, uint64_t counted);
void totals_add_mma(struct totals *totals, const char *shape, uint64_t warps, uint64_t macs);

/* Sums that reports and projections share. */
uint64_t totals_shared_wavefronts(const struct totals *totals, bool least);
uint64_t totals_global_sectors(const struct totals *totals, bool least);
uint64_t totals_l2_bytes(const struct totals *totals);
uint64_t totals_dram_bytes(const struct totals *totals);

#endif
