/* See projection.h. */
#include "tools/softcuda/projection.h"

#include <string.h>
#include "tools/softcuda/rates.h"

const char *const term_names[TERMS] = {
    [TERM_TENSOR] = "tensor", [TERM_ISSUE] = "issue", [TERM_SHARED] = "shared",
    [TERM_L2] = "l2",         [TERM_DRAM] = "dram",   [TERM_LATENCY] = "latency",
};

static double count(const struct totals *totals, enum counter counter)
{
    return (double)totals->value[counter];
}

/* Operations a second of an mma's type: "m16n8k16.f32.bf16.bf16.f32". */
static double tensor_rate(const struct card *card, const char *shape)
{
    double rate = card->bf16;
    if (strstr(shape, ".s8") || strstr(shape, ".u8"))
        rate = card->int8;
    else if (strstr(shape, ".tf32"))
        rate = card->tf32;
    else if (strstr(shape, ".f16.f16.f16.f16"))
        rate = card->fp16_fp16;
    return rate * card->mma_share;
}

/* Seconds of a multiprocessor for the launch's mma, if it had all of them. */
static double tensor_seconds(const struct card *card, const struct totals *totals)
{
    double seconds = 0;
    for (int i = 0; i < totals->n_mma; i++)
        seconds += 2 * (double)totals->mma[i].macs / tensor_rate(card, totals->mma[i].shape);
    return seconds * card->n_sms;
}

/* Clocks of a multiprocessor for all instructions, if it had all of them: of its fullest pipe. */
static double issue_clocks(const struct sm_rates *rates, const struct totals *totals,
                           const char **pipe)
{
    const struct {
        const char *name;
        double warps, lanes;
    } pipes[] = {
        {"float32", count(totals, COUNT_CLASS_FLOAT32), rates->float32},
        {"integer", count(totals, COUNT_CLASS_INTEGER), rates->integer},
        {"half", count(totals, COUNT_CLASS_HALF), rates->half},
        {"float64", count(totals, COUNT_CLASS_FLOAT64), rates->float64},
        {"special", count(totals, COUNT_CLASS_SPECIAL), rates->special},
        {"convert", count(totals, COUNT_CLASS_CONVERT), rates->convert},
        {"shuffle", count(totals, COUNT_SHUFFLES), rates->shuffle},
        {"memory",
         count(totals, COUNT_CLASS_LOAD) + count(totals, COUNT_CLASS_STORE) +
             count(totals, COUNT_CLASS_ATOMIC) + count(totals, COUNT_CLASS_ASYNC) +
             count(totals, COUNT_LDMATRIX_INSTRUCTIONS),
         rates->memory},
    };
    double most = count(totals, COUNT_WARP_INSTRUCTIONS) / rates->issue;
    *pipe = "issue";
    for (size_t i = 0; i < sizeof pipes / sizeof *pipes; i++)
        if (pipes[i].warps * 32 / pipes[i].lanes > most) {
            most = pipes[i].warps * 32 / pipes[i].lanes;
            *pipe = pipes[i].name;
        }
    return most;
}

/* Times that a warp waits for memory: batches of loads, and waits for a group of copies, of which
 * several are under way. */
static double rounds_of_warp(const struct totals *totals)
{
    double waits = count(totals, COUNT_ASYNC_WAITS), groups = count(totals, COUNT_ASYNC_GROUPS);
    double rounds = count(totals, COUNT_LOAD_BATCHES) + (groups > 0 ? waits * waits / groups : 0);
    double warps = count(totals, COUNT_WARPS);
    return warps > 0 ? rounds / warps : 0;
}

/* Of what loads bring: from L1, L2 or memory. */
static double mean_latency(const struct card *card, const struct sm_rates *rates,
                           const struct totals *totals)
{
    double l1 = count(totals, COUNT_L1_HITS), l2 = count(totals, COUNT_L2_READ_HITS);
    double memory = count(totals, COUNT_L2_READS) - l2, all = l1 + l2 + memory;
    if (all <= 0)
        return 0;
    return (l1 * rates->l1_latency / (card->clock_mhz * 1e6) + l2 * card->l2_latency_s +
            memory * card->memory_latency_s) /
           all;
}

void projection_make(struct projection *projection, const struct card *card,
                     const struct projected_launch *launch)
{
    const struct sm_rates *rates = sm_rates_of(card);
    const struct totals *totals = launch->totals;
    *projection = (struct projection){.pipe = "issue"};
    projection->occupancy = card_occupancy(card, launch->threads, launch->registers, launch->shared,
                                           &projection->limit);
    if (projection->occupancy < 1 || launch->ctas < 1)
        return;
    /* A grid smaller than the card spreads over its multiprocessors. */
    int64_t spread = (launch->ctas + card->n_sms - 1) / card->n_sms;
    int64_t side_by_side = spread < projection->occupancy ? spread : projection->occupancy;
    int64_t per_wave = card->n_sms * side_by_side;
    projection->waves = (launch->ctas + per_wave - 1) / per_wave;
    projection->filled = (double)launch->ctas / (double)(projection->waves * per_wave);
    /* Of everything counted, what one multiprocessor does in all waves, each taken as full. */
    double share = (double)(projection->waves * side_by_side) / (double)launch->ctas;
    double clock = card->clock_mhz * 1e6;
    /* What cp.async copies passes once, as a store to shared memory. */
    double l1_wavefronts =
        ((double)totals_global_sectors(totals, false) - count(totals, COUNT_GLOBAL_ASYNC_SECTORS)) /
        4;
    double rounds = rounds_of_warp(totals), latency = mean_latency(card, rates, totals);
    double *term = projection->term_s;
    term[TERM_TENSOR] = share * tensor_seconds(card, totals);
    term[TERM_ISSUE] = share * issue_clocks(rates, totals, &projection->pipe) / clock;
    term[TERM_SHARED] = share * ((double)totals_shared_wavefronts(totals, false) + l1_wavefronts) /
                        rates->wavefronts / clock;
    term[TERM_L2] = (double)totals_l2_bytes(totals) / card->l2_bandwidth;
    term[TERM_DRAM] = (double)totals_dram_bytes(totals) / card->bandwidth;
    term[TERM_LATENCY] = (double)projection->waves * rounds * latency;

    double read =
        32 * (count(totals, COUNT_GLOBAL_LOAD_SECTORS) + count(totals, COUNT_GLOBAL_ASYNC_SECTORS));
    if (rounds > 0)
        projection->bytes_in_flight = (double)side_by_side * read / (double)launch->ctas / rounds;
    projection->bytes_needed = card->bandwidth * card->memory_latency_s / card->n_sms;
    projection->operations =
        2 * count(totals, COUNT_MMA_MACS) + count(totals, COUNT_FLOAT_OPERATIONS);

    /* Nothing overlaps with the first load of a wave, nor with the last store of the grid. */
    projection->fill_s = read > 0 ? (double)projection->waves * card->memory_latency_s : 0;
    projection->epilogue_s = count(totals, COUNT_L2_WRITES) > 0 ? card->l2_latency_s : 0;
    projection->launch_s = card->launch_s;
    double sum = 0, most = 0;
    for (int i = 0; i < TERMS; i++) {
        sum += term[i];
        most = term[i] > most ? term[i] : most;
    }
    double rest = projection->fill_s + projection->epilogue_s + projection->launch_s;
    projection->seconds = most + rest;
    projection->serial_seconds = sum + rest;
}

enum term projection_bound(const struct projection *projection)
{
    int most = 0;
    for (int i = 1; i < TERMS; i++)
        if (projection->term_s[i] > projection->term_s[most])
            most = i;
    return (enum term)most;
}

void projection_add(struct projection *sum, const struct projection *more)
{
    struct projection old = *sum;
    *sum = *more;
    sum->waves += old.waves;
    for (int i = 0; i < TERMS; i++)
        sum->term_s[i] += old.term_s[i];
    sum->fill_s += old.fill_s;
    sum->epilogue_s += old.epilogue_s;
    sum->launch_s += old.launch_s;
    sum->seconds += old.seconds;
    sum->serial_seconds += old.serial_seconds;
    sum->operations += old.operations;
}
