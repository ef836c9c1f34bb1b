/* Models of cards. See card.h.
 *
 * Sources. docs/softcuda.md lists what could not be confirmed.
 * [GA102]   NVIDIA Ampere GA102 GPU Architecture, whitepaper 2.1, table of RTX 2080 and RTX 3080
 * [Ada]     NVIDIA Ada GPU Architecture, whitepaper 2.1, appendix A (RTX 4090)
 * [H100]    NVIDIA H100 Tensor Core GPU Architecture, whitepaper 1.04, table 3 (SXM5): tensor
 *           rates at 1830 MHz, the others at 1980 MHz
 * [Guide]   CUDA Programming Guide 13, 5.1 Compute Capabilities, "Device and Streaming
 *           Multiprocessor Information" and "Memory Information"
 * [query]   what the driver says of real cards: deviceQuery of CUDA 11.8 on an RTX 3080, nvbench
 *           on an RTX 4090 (GitHub, NVIDIA/nvbench pull request 207), mt4g on an H100 80GB HBM3
 *           (GitHub, caps-tum/mt4g, results). They agree with what stands here but for memory, of
 *           which the driver keeps some: 10,472,390,656 bytes, 24,563 MiB, 85,176,483,840 bytes
 * [latency] GitHub, markdewing/AI_kernels, latency/data (4090.dat, h100sxm.dat): pointers chased,
 *           clocks of a load from L1, L2 and memory: 40, 296, 635 and 40, 291, 695
 * [benches] GitHub, RRZE-HPC/gpu-benches of February 2025: gpu-latency/a40.txt (250 and 556 clocks
 *           of 1740 MHz), gpu-cache/a40.txt (2.5 TB/s), gpu-l2-cache/l40.txt (5.2 TB/s),
 *           gpu-small-kernels (see launch_s)
 * [Luo]     Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via
 *           Microbenchmarking", arXiv:2402.13499: mma.sync against wgmma
 *
 * launch_s: of kernels that scale 4,096 numbers of 8 bytes, queued one behind the other without a
 * graph. They move 64 KB, at 32 GB/s on an A40 (GA102), 40 GB/s on an L40 (AD102), 26 GB/s on an
 * H200 (GH100). It holds the little that such a kernel does. */
#include "tools/softcuda/card.h"

#include <stdio.h>
#include <string.h>

#define KB 1024
#define MB ((uint64_t)1 << 20)
#define GB ((uint64_t)1 << 30)

static const struct card cards[] = {
    {
        .name = "rtx3080",
        .title = "GeForce RTX 3080",
        .major = 8, /* [Guide] */
        .minor = 6,
        .n_sms = 68,                /* [GA102], [query] */
        .clock_mhz = 1710,          /* [GA102] */
        .memory_clock_mhz = 9501,   /* 19 Gbit/s a pin [GA102] */
        .memory_bits = 320,         /* [GA102] */
        .memory_bytes = 10 * GB,    /* [GA102] */
        .bandwidth = 760e9,         /* [GA102] */
        .l2_bytes = 5 * MB,         /* [GA102], [query] */
        .l2_bandwidth = 2.0e12,     /* [benches], by the slices: 5 of the A40's 6 */
        .memory_latency_s = 320e-9, /* [benches], the A40's */
        .l2_latency_s = 144e-9,     /* the same */
        .launch_s = 2.0e-6,         /* [benches] */
        .copy_engines = 2,          /* [query] */
        .shared_per_sm = 100 * KB,  /* this and what follows: [Guide], 8.6 */
        .shared_per_block = 48 * KB,
        .shared_opt_in = 99 * KB,
        .shared_reserved = 1 * KB,
        .registers_per_sm = 65536,
        .threads_per_sm = 1536,
        .blocks_per_sm = 16,
        .fp32 = 29.8e12, /* this and what follows, dense: [GA102] */
        .bf16 = 59.5e12, /* 512 operations a clock and SM: half of those with sums in float16 */
        .fp16_fp16 = 119e12,
        .tf32 = 29.8e12,
        .int8 = 238e12,
        .mma_share = 1.0,
    },
    {
        .name = "rtx4090",
        .title = "GeForce RTX 4090",
        .major = 8, /* [Guide] */
        .minor = 9,
        .n_sms = 128,               /* [Ada], [query] */
        .clock_mhz = 2520,          /* [Ada] */
        .memory_clock_mhz = 10501,  /* 21 Gbit/s a pin [Ada] */
        .memory_bits = 384,         /* [Ada] */
        .memory_bytes = 24 * GB,    /* [Ada] */
        .bandwidth = 1008e9,        /* [Ada] */
        .l2_bytes = 72 * MB,        /* [Ada], [query] */
        .l2_bandwidth = 5.0e12,     /* [benches], the L40's */
        .memory_latency_s = 252e-9, /* [latency], at 2520 MHz */
        .l2_latency_s = 117e-9,     /* the same */
        .launch_s = 1.6e-6,         /* [benches] */
        .copy_engines = 2,          /* not confirmed */
        .shared_per_sm = 100 * KB,  /* this and what follows: [Guide], 8.9 */
        .shared_per_block = 48 * KB,
        .shared_opt_in = 99 * KB,
        .shared_reserved = 1 * KB,
        .registers_per_sm = 65536,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,
        .fp32 = 82.6e12,  /* this and what follows, dense: [Ada] */
        .bf16 = 165.2e12, /* half of the next, as above */
        .fp16_fp16 = 330.3e12,
        .tf32 = 82.6e12,
        .int8 = 660.6e12,
        .mma_share = 1.0,
    },
    {
        .name = "h100",
        .title = "H100 80GB HBM3",
        .major = 9, /* [Guide] */
        .minor = 0,
        .n_sms = 132,               /* [H100], [query] */
        .clock_mhz = 1980,          /* [H100], [query] */
        .memory_clock_mhz = 2619,   /* [query] */
        .memory_bits = 5120,        /* [H100] */
        .memory_bytes = 80 * GB,    /* [H100] */
        .bandwidth = 3.35e12,       /* [H100]; 2 * 2619 MHz * 5120 bits */
        .l2_bytes = 50 * MB,        /* [H100], [query]: two parts of 25 */
        .l2_bandwidth = 5.6e12,     /* not confirmed: amid what is published */
        .memory_latency_s = 351e-9, /* [latency], at 1980 MHz */
        .l2_latency_s = 147e-9,     /* the same */
        .launch_s = 2.5e-6,         /* [benches] */
        .copy_engines = 3,          /* an H20's, also a GH100; not confirmed */
        .shared_per_sm = 228 * KB,  /* this and what follows: [Guide], 9.0 */
        .shared_per_block = 48 * KB,
        .shared_opt_in = 227 * KB,
        .shared_reserved = 1 * KB,
        .registers_per_sm = 65536,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,
        .fp32 = 66.9e12, /* this and what follows, dense: [H100] */
        .bf16 = 989.4e12,
        .fp16_fp16 = 989.4e12,
        .tf32 = 494.7e12,
        .int8 = 1978.9e12,
        .mma_share = 0.62, /* [Luo]; not confirmed */
    },
};

const struct card *card_list(int *n)
{
    *n = (int)(sizeof cards / sizeof *cards);
    return cards;
}

const struct card *card_named(const char *name)
{
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
        if (strcmp(cards[i].name, name) == 0)
            return &cards[i];
    return NULL;
}

void card_advice(char text[CARD_ADVICE_SIZE], int target, int capability)
{
    const struct card *fit = NULL;
    for (size_t i = 0; i < sizeof cards / sizeof *cards && !fit; i++)
        if (cards[i].major * 10 + cards[i].minor >= target)
            fit = &cards[i];
    snprintf(text, CARD_ADVICE_SIZE, "build it with nvcc -arch=compute_%d%s%s%s", capability,
             fit ? ", or run it on the card " : "", fit ? fit->name : "",
             fit ? " (SOFTCUDA_CARD)" : "");
}

/* ---- occupancy ------------------------------------------------------------------------------ */

#define WARP           32
#define REGISTER_PIECE 256 /* of a warp */
#define SHARED_PIECE   128
#define PARTS          4 /* of an SM: each has a quarter of the registers */

int card_occupancy(const struct card *card, int threads, int registers, size_t shared,
                   enum occupancy_limit *limit)
{
    enum occupancy_limit unused;
    if (!limit)
        limit = &unused;
    int warps = (threads + WARP - 1) / WARP;
    int blocks = card->blocks_per_sm;
    *limit = OCCUPANCY_BLOCKS;
    int by_threads = warps > 0 ? card->threads_per_sm / WARP / warps : 0;
    if (by_threads < blocks) {
        blocks = by_threads;
        *limit = OCCUPANCY_THREADS;
    }
    int of_warp = (registers * WARP + REGISTER_PIECE - 1) / REGISTER_PIECE * REGISTER_PIECE;
    if (of_warp > 0 && warps > 0) {
        int by_registers = card->registers_per_sm / PARTS / of_warp * PARTS / warps;
        if (by_registers < blocks) {
            blocks = by_registers;
            *limit = OCCUPANCY_REGISTERS;
        }
    }
    size_t of_block =
        (shared + (size_t)card->shared_reserved + SHARED_PIECE - 1) / SHARED_PIECE * SHARED_PIECE;
    size_t by_shared = (size_t)card->shared_per_sm / of_block;
    if (by_shared < (size_t)blocks) {
        blocks = (int)by_shared;
        *limit = OCCUPANCY_SHARED;
    }
    return blocks;
}
