/* Accesses taken apart: sectors, wavefronts, conflicts. See count.h.
 *
 * A lane's access is 1 to 16 bytes at a multiple of its size, so that it lies in one sector of 32
 * bytes, and in shared memory in one bank, pair or quadruple of banks. */
#include <string.h>
#include "tools/softcuda/traffic.h"
#include "tools/softcuda/counters.h"

/* ---- global memory -------------------------------------------------------------------------- */

/* The lines that a warp touches, ascending, and how many addresses differ. */
struct footprint {
    uint64_t line[WARP_LANES]; /* cache_line_of */
    uint8_t sectors[WARP_LANES];
    int n_lines, n_sectors, n_distinct;
};

/* All lanes side by side, in lane order: most accesses of good kernels. */
static inline bool is_contiguous(const struct access *access)
{
    uint64_t first = access->address[0], step = (uint64_t)access->bytes, differ = 0;
    if (access->lanes != ALL_LANES)
        return false;
    for (uint64_t l = 0; l < WARP_LANES; l++)
        differ |= access->address[l] ^ (first + l * step);
    return differ == 0;
}

static void footprint_of_range(struct footprint *footprint, uint64_t begin, uint64_t end)
{
    uint64_t first = begin / CACHE_SECTOR, last = (end - 1) / CACHE_SECTOR;
    footprint->n_sectors = (int)(last - first + 1);
    footprint->n_lines = 0;
    for (uint64_t line = first / 4; line <= last / 4; line++) {
        uint32_t sectors = 15;
        if (line == first / 4)
            sectors &= 15u << first % 4;
        if (line == last / 4)
            sectors &= 15u >> (3 - last % 4);
        footprint->line[footprint->n_lines] = cache_line_of(line << CACHE_LINE_SHIFT);
        footprint->sectors[footprint->n_lines++] = (uint8_t)sectors;
    }
}

/* Addresses one after another, ascending. */
struct walk {
    uint64_t sector, address; /* the last ones */
};
static inline void step(struct footprint *footprint, struct walk *walk, uint64_t address)
{
    uint64_t sector = address / CACHE_SECTOR;
    footprint->n_distinct += address != walk->address;
    walk->address = address;
    if (sector == walk->sector)
        return;
    if (sector / 4 != walk->sector / 4) {
        footprint->line[footprint->n_lines] = cache_line_of(address);
        footprint->sectors[footprint->n_lines++] = 0;
    }
    walk->sector = sector;
    footprint->n_sectors++;
    footprint->sectors[footprint->n_lines - 1] |= (uint8_t)(1u << sector % 4);
}

static void footprint_of_sorted(struct footprint *footprint, const struct access *access)
{
    uint64_t sorted[WARP_LANES];
    struct walk walk = {UINT64_MAX, UINT64_MAX};
    int n = 0;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        uint64_t address = access->address[__builtin_ctz(left)];
        int at = n++;
        for (; at > 0 && sorted[at - 1] > address; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = address;
    }
    footprint->n_lines = footprint->n_sectors = footprint->n_distinct = 0;
    for (int i = 0; i < n; i++)
        step(footprint, &walk, sorted[i]);
}

/* Most warps have ascending addresses and all lanes; the others' are sorted. */
static void footprint_of(struct footprint *footprint, const struct access *access)
{
    struct walk walk = {UINT64_MAX, UINT64_MAX};
    uint64_t last = 0;
    int l = access->lanes == ALL_LANES ? 0 : WARP_LANES + 1;
    footprint->n_lines = footprint->n_sectors = footprint->n_distinct = 0;
    for (; l < WARP_LANES && access->address[l] >= last; l++) {
        last = access->address[l];
        step(footprint, &walk, last);
    }
    if (l != WARP_LANES)
        footprint_of_sorted(footprint, access);
}

/* L1 writes through and does not keep what is stored unless it has the line already; atomics are
 * done in L2, and what L1 had of the sector is old then. */
static void send(struct cta_counters *counters, uint32_t hints, enum access_kind kind, bool cached,
                 uint64_t line, uint32_t sectors)
{
    struct traffic *traffic = &counters->launch->traffic;
    uint32_t fetch = hints & HINT_FETCH_LINE ? 1 : hints & HINT_FETCH_HALF ? 2 : 0, missing;
    switch (kind) {
    case ACCESS_READ:
    case ACCESS_ASYNC_READ:
        if (cached) {
            uint32_t hit = cache_read(&counters->l1, line, sectors, 0, &missing);
            counters->values[COUNT_L1_SECTORS] += sectors_in(sectors);
            counters->values[COUNT_L1_HITS] += sectors_in(hit);
            sectors &= ~hit;
        }
        if (sectors)
            traffic_log(traffic, counters, line, fetch, TRAFFIC_READ, sectors);
        return;
    case ACCESS_ATOMIC:
        cache_drop(&counters->l1, line, sectors);
        traffic_log(traffic, counters, line, 0, TRAFFIC_ATOMIC, sectors);
        return;
    default:
        traffic_log(traffic, counters, line, 0, TRAFFIC_WRITE, sectors);
    }
}

static void count_global(struct cta_counters *counters, struct count_site *site, uint32_t hints,
                         const struct access *access)
{
    static const enum counter firsts[] = {
        [ACCESS_READ] = COUNT_GLOBAL_LOAD_REQUESTS,
        [ACCESS_WRITE] = COUNT_GLOBAL_STORE_REQUESTS,
        [ACCESS_ATOMIC] = COUNT_GLOBAL_ATOMIC_REQUESTS,
        [ACCESS_ASYNC_READ] = COUNT_GLOBAL_ASYNC_REQUESTS,
    };
    struct footprint footprint;
    int n_lanes = access->lanes == ALL_LANES ? WARP_LANES : __builtin_popcount(access->lanes);
    int bytes = access->bytes;
    if (is_contiguous(access)) {
        footprint_of_range(&footprint, access->address[0],
                           access->address[0] + (uint64_t)(WARP_LANES * bytes));
        footprint.n_distinct = WARP_LANES;
    } else {
        footprint_of(&footprint, access);
    }
    uint64_t *value = counters->values + firsts[access->kind];
    int least = (footprint.n_distinct * bytes + CACHE_SECTOR - 1) / CACHE_SECTOR;
    value[0]++;
    value[1] += (uint64_t)footprint.n_sectors;
    value[2] += (uint64_t)least;
    value[3] += (uint64_t)(n_lanes * bytes);
    site->requests++;
    site->moved += (uint64_t)footprint.n_sectors;
    site->least += (uint64_t)least;
    if (access->kind == ACCESS_ATOMIC)
        counters->values[COUNT_GLOBAL_ATOMIC_CONFLICTS] +=
            (uint64_t)(n_lanes - footprint.n_distinct);
    bool cached = !(hints & HINT_BYPASS_L1) && !access->strong;
    for (int i = 0; i < footprint.n_lines; i++)
        send(counters, hints, access->kind, cached, footprint.line[i], footprint.sectors[i]);
}

/* ---- shared memory -------------------------------------------------------------------------- */

/* 32 banks of 4 bytes deliver a word each in a wavefront; lanes that want the same word share it.
 * Accesses of 8 bytes are served in two halves of the warp, of 16 bytes in four quarters, and then
 * banks work in pairs and quadruples. ldmatrix reads rows of 16 bytes the same way: a quarter is a
 * matrix. Atomics on one word are done one after another. A phase takes as many wavefronts as the
 * bank that is asked for the most words. */
static int wavefronts_of_phase(const struct access *access, uint32_t lanes, int shift, bool atomic)
{
    uint32_t banks = (128u >> shift) - 1, words[WARP_LANES][WARP_LANES];
    uint8_t count[WARP_LANES] = {0};
    int most = 1;
    for (uint32_t left = lanes; left; left &= left - 1) {
        uint32_t word = (uint32_t)(access->address[__builtin_ctz(left)] >> shift);
        uint32_t bank = word & banks;
        int n = count[bank], i = atomic ? n : 0;
        while (i < n && words[bank][i] != word)
            i++;
        if (i < n)
            continue;
        words[bank][n] = word;
        count[bank] = (uint8_t)++n;
        most = n > most ? n : most;
    }
    return most;
}

#define BITS(n)                                                                                    \
    1u << (n), 2u << (n), 4u << (n), 8u << (n), 16u << (n), 32u << (n), 64u << (n), 128u << (n)

/* In each phase every bank is asked for once: no conflict, whatever the order. */
static inline bool is_permutation_of(const struct access *access, int shift)
{
    static const uint32_t bit[WARP_LANES] = {/* quicker than shifts by what is in memory */
                                             BITS(0), BITS(8), BITS(16), BITS(24)};
    int banks = 128 >> shift;
    for (int first = 0; first < WARP_LANES; first += banks) {
        uint32_t seen = 0;
        for (int l = first; l < first + banks; l++)
            seen |= bit[(uint32_t)(access->address[l] >> shift) & (uint32_t)(banks - 1)];
        if (seen != ALL_LANES >> (WARP_LANES - banks))
            return false;
    }
    return true;
}

/* All lanes want one word. */
static bool is_uniform(const struct access *access, int shift)
{
    uint64_t differ = 0;
    if ((access->address[0] ^ access->address[1]) >> shift)
        return false;
    for (int l = 2; l < WARP_LANES; l++)
        differ |= access->address[0] ^ access->address[l];
    return differ >> shift == 0;
}

/* A full warp that takes no more wavefronts than it must: most do. */
static bool is_free_of_conflicts(const struct access *access, int shift)
{
    return is_uniform(access, shift) || (shift == 2   ? is_permutation_of(access, 2)
                                         : shift == 4 ? is_permutation_of(access, 4)
                                                      : is_permutation_of(access, 3));
}

static void count_shared(struct cta_counters *counters, struct count_site *site,
                         const struct instruction *instruction, const struct access *access)
{
    static const enum counter firsts[] = {
        [ACCESS_READ] = COUNT_SHARED_LOAD_REQUESTS,
        [ACCESS_WRITE] = COUNT_SHARED_STORE_REQUESTS,
        [ACCESS_ATOMIC] = COUNT_SHARED_ATOMIC_REQUESTS,
        [ACCESS_ASYNC_WRITE] = COUNT_SHARED_ASYNC_REQUESTS,
    };
    int shift = access->bytes == 16 ? 4 : access->bytes == 8 ? 3 : 2, wavefronts = 0, least = 0;
    int in_phase = 128 >> shift;
    if (access->lanes == ALL_LANES && access->kind != ACCESS_ATOMIC &&
        is_free_of_conflicts(access, shift)) {
        wavefronts = least = WARP_LANES / in_phase;
    } else {
        uint32_t phase = shift == 2 ? ALL_LANES : (1u << in_phase) - 1;
        for (int first = 0; first < WARP_LANES; first += in_phase) {
            uint32_t lanes = access->lanes & phase << first;
            if (lanes == 0)
                continue;
            least++;
            wavefronts += wavefronts_of_phase(access, lanes, shift, access->kind == ACCESS_ATOMIC);
        }
    }
    enum counter first = instruction->op_class == CLASS_MATRIX ? COUNT_SHARED_LDMATRIX_REQUESTS
                                                               : firsts[access->kind];
    uint64_t *value = counters->values + first;
    value[0]++;
    value[1] += (uint64_t)wavefronts;
    value[2] += (uint64_t)least;
    value[3] +=
        (uint64_t)((access->lanes == ALL_LANES ? WARP_LANES : __builtin_popcount(access->lanes)) *
                   access->bytes);
    site->requests++;
    site->moved += (uint64_t)wavefronts;
    site->least += (uint64_t)least;
}

/* ---- local memory, constants, parameters ---------------------------------------------------- */

/* A thread's word i lies beside the other threads' words i: 128 bytes of a warp for each word, 4
 * sectors of 8 threads each. */
static void count_local(struct cta_counters *counters, struct count_site *site,
                        const struct access *access)
{
    uint64_t sectors[4 * WARP_LANES];
    int n = 0, words = access->bytes <= 4 ? 1 : access->bytes / 4;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        for (int w = 0; w < words; w++) {
            uint64_t sector = (access->address[l] / 4 + (uint64_t)w) * 4 + (uint64_t)l / 8;
            /* Those of the same 8 threads come behind one another. */
            int i = n - 1;
            while (i >= 0 && sectors[i] != sector && sectors[i] % 4 == sector % 4)
                i--;
            if (i < 0 || sectors[i] != sector)
                sectors[n++] = sector;
        }
    }
    uint64_t *value = counters->values + (access->kind == ACCESS_READ ? COUNT_LOCAL_LOAD_REQUESTS
                                                                      : COUNT_LOCAL_STORE_REQUESTS);
    value[0]++;
    value[1] += (uint64_t)n;
    value[2] += (uint64_t)(__builtin_popcount(access->lanes) * access->bytes);
    site->requests++;
    site->moved += (uint64_t)n;
    site->least += (uint64_t)n;
}

/* The constant cache delivers one word to all lanes at a time. */
static void count_constant(struct cta_counters *counters, const struct access *access)
{
    struct footprint footprint;
    footprint_of(&footprint, access);
    counters->values[COUNT_CONSTANT_REQUESTS]++;
    counters->values[COUNT_CONSTANT_WORDS] += (uint64_t)footprint.n_distinct;
}

void count_access(struct cta_counters *counters, const struct instruction *instruction,
                  const struct access *access)
{
    ptrdiff_t index = instruction - counters->first;
    struct count_site *site = &counters->sites[index];
    switch (access->space) {
    case PTX_SHARED:
        count_shared(counters, site, instruction, access);
        break;
    case PTX_LOCAL:
        count_local(counters, site, access);
        break;
    case PTX_PARAM:
        counters->values[COUNT_PARAMETER_REQUESTS]++;
        break;
    case PTX_CONST:
        count_constant(counters, access);
        break;
    default:
        count_global(counters, site, counters->hints[index], access);
    }
}
