/* Models of cards. See card.h.
 *
 * Sources:
 * [GA102]  NVIDIA Ampere GA102 GPU Architecture, whitepaper 2.1, tables 2 and 3 (RTX 3080 10 GB)
 * [Ada]    NVIDIA Ada GPU Architecture, whitepaper 2.1, appendix A, table 2 (RTX 4090)
 * [H100]   NVIDIA H100 Tensor Core GPU Architecture, whitepaper 1.04, tables 2 and 3 (SXM5), and
 *          the H100 datasheet
 * [Guide]  CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability"
 * [Chips]  Chips and Cheese, "Microbenchmarking Nvidia's RTX 4090" (2022) and "Nvidia's H100"
 *          (2023): second-level cache and memory latencies and bandwidths, rounded
 * [Luo]    Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via
 *          Microbenchmarking", arXiv:2402.13499: mma.sync reaches 62 % of the rate of wgmma
 *
 * The figures have not been compared with these texts line by line; least sure are those of [Chips]
 * and [Luo], on which projections depend. */
#include "tools/softcuda/card.h"

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
        .n_sms = 68,                /* [GA102] */
        .clock_mhz = 1710,          /* [GA102] */
        .memory_clock_mhz = 9501,   /* 19 Gbit/s a pin [GA102] */
        .memory_bits = 320,         /* [GA102] */
        .memory_bytes = 10 * GB,    /* [GA102] */
        .bandwidth = 760e9,         /* [GA102] */
        .l2_bytes = 5 * MB,         /* [GA102] */
        .l2_bandwidth = 1.9e12,     /* [Chips] */
        .memory_latency_s = 490e-9, /* [Chips] */
        .l2_latency_s = 140e-9,     /* [Chips] */
        .shared_per_sm = 100 * KB,  /* this and what follows: [Guide], 8.6 */
        .shared_per_block = 48 * KB,
        .shared_opt_in = 99 * KB,
        .shared_reserved = 1 * KB,
        .registers_per_sm = 65536,
        .threads_per_sm = 1536,
        .blocks_per_sm = 16,
        .fp32 = 29.8e12, /* this and what follows, dense: [GA102] */
        .bf16 = 59.5e12,
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
        .n_sms = 128,               /* [Ada] */
        .clock_mhz = 2520,          /* [Ada] */
        .memory_clock_mhz = 10501,  /* 21 Gbit/s a pin [Ada] */
        .memory_bits = 384,         /* [Ada] */
        .memory_bytes = 24 * GB,    /* [Ada] */
        .bandwidth = 1008e9,        /* [Ada] */
        .l2_bytes = 72 * MB,        /* [Ada] */
        .l2_bandwidth = 5.0e12,     /* [Chips] */
        .memory_latency_s = 380e-9, /* [Chips] */
        .l2_latency_s = 110e-9,     /* [Chips] */
        .shared_per_sm = 100 * KB,  /* this and what follows: [Guide], 8.9 */
        .shared_per_block = 48 * KB,
        .shared_opt_in = 99 * KB,
        .shared_reserved = 1 * KB,
        .registers_per_sm = 65536,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,
        .fp32 = 82.6e12, /* this and what follows, dense: [Ada] */
        .bf16 = 165.2e12,
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
        .n_sms = 132,               /* [H100], SXM5 */
        .clock_mhz = 1980,          /* 66.9e12 / (132 * 128 * 2) [H100] */
        .memory_clock_mhz = 2619,   /* 3.35e12 * 8 / 5120 bits / 2 [H100 datasheet] */
        .memory_bits = 5120,        /* [H100] */
        .memory_bytes = 80 * GB,    /* [H100] */
        .bandwidth = 3.35e12,       /* [H100 datasheet] */
        .l2_bytes = 50 * MB,        /* [H100] */
        .l2_bandwidth = 5.6e12,     /* [Chips] */
        .memory_latency_s = 600e-9, /* [Chips] */
        .l2_latency_s = 150e-9,     /* [Chips] */
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
        .mma_share = 0.62, /* [Luo] */
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
