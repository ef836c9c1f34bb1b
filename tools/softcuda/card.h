/* The cards that softcuda can stand for: what a driver says of them, what bounds a kernel's
 * occupancy, and the rates that a projection needs. Each number has its source in card.c. */
#ifndef SOFTCUDA_CARD_H
#define SOFTCUDA_CARD_H

#include <stddef.h>
#include <stdint.h>

struct card {
    const char *name;  /* "rtx4090": what SOFTCUDA_CARD says */
    const char *title; /* the maker's name */
    int major, minor;  /* compute capability */

    int n_sms;
    int clock_mhz;           /* boost */
    int memory_clock_mhz;    /* as the driver gives it: bits per pin and second are twice that */
    int memory_bits;         /* width of the bus */
    uint64_t memory_bytes;   /* device memory */
    double bandwidth;        /* of it, bytes a second */
    uint64_t l2_bytes;       /* second-level cache */
    double l2_bandwidth;     /* bytes a second, measured by others (card.c) */
    double memory_latency_s; /* of a load that misses all caches */
    double l2_latency_s;     /* of one that hits the second level */
    double launch_s;         /* of a kernel behind another, measured by others */
    int copy_engines;

    int shared_per_sm;    /* bytes */
    int shared_per_block; /* without opt-in */
    int shared_opt_in;    /* with it */
    int shared_reserved;  /* by the system, of each block */
    int registers_per_sm; /* of 32 bits; a block may have as many */
    int threads_per_sm;
    int blocks_per_sm;

    /* Dense rates, operations a second with multiply and add counted as two. */
    double fp32;      /* fused multiply-adds on the CUDA cores */
    double bf16;      /* tensor cores, sums in float32 */
    double fp16_fp16; /* the same with sums in float16 */
    double tf32;
    double int8;
    double mma_share; /* of the tensor rates that mma.sync can reach */
};

/* All of them; *n: how many. */
const struct card *card_list(int *n);
/* NULL: none has that name. */
const struct card *card_named(const char *name);
/* What to do with code for `target` (90 for sm_90) where the card has less, `capability`: what to
 * build, and which card runs it as it is. */
#define CARD_ADVICE_SIZE 96
void card_advice(char text[CARD_ADVICE_SIZE], int target, int capability);

#define CARD_REGISTERS_PER_THREAD 255
#define CARD_THREADS_PER_BLOCK    1024
#define CARD_CONSTANT_BYTES       65536
/* The largest block and grid of all these cards: CUDA Programming Guide, 5.1, "Device and Streaming
 * Multiprocessor Information". */
#define CARD_BLOCK_Z 64
#define CARD_GRID_X  INT32_MAX
#define CARD_GRID_YZ 65535

enum occupancy_limit {
    OCCUPANCY_BLOCKS,
    OCCUPANCY_THREADS,
    OCCUPANCY_REGISTERS,
    OCCUPANCY_SHARED,
};

/* Blocks of `threads` threads that fit an SM at a time, each thread with `registers` registers and
 * each block with `shared` bytes of shared memory, static and dynamic. 0: not even one. limit: what
 * bounds it; may be NULL. The formula of NVIDIA's cuda_occupancy.h, with which it agrees in
 * 3,441,152 combinations of card, threads, registers and shared memory (CUDA 13.0): registers by
 * 256 a warp on four equal parts of the SM, shared memory by 128 bytes, the system's share
 * included. */
int card_occupancy(const struct card *card, int threads, int registers, size_t shared,
                   enum occupancy_limit *limit);

#endif
