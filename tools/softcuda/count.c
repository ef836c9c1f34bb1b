/* A launch's counters: their making, and what is summed up at the end. See count.h. */
#include "tools/softcuda/count.h"

#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/counters.h"
#include "tools/softcuda/forms.h"
#include "tools/softcuda/rates.h"

/* ---- what the program's text says ----------------------------------------------------------- */

static bool has_part(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
        if (at > text && at[-1] == '.' && (at[length] == '.' || at[length] == '\0'))
            return true;
    return false;
}

static bool is_opcode(const struct instruction *instruction, const char *opcode)
{
    return instruction->form && strcmp(instruction->form->opcode, opcode) == 0;
}

static uint8_t hints_of(const struct instruction *instruction)
{
    const char *text = instruction->text;
    uint8_t hints = 0;
    if (is_opcode(instruction, "bra") || is_opcode(instruction, "brx.idx"))
        return HINT_BRANCH;
    if (instruction->op_class != CLASS_LOAD && instruction->op_class != CLASS_ASYNC)
        return 0;
    if (has_part(text, "cg") || has_part(text, "cv") || has_part(text, "L1::no_allocate"))
        hints |= HINT_BYPASS_L1;
    if (has_part(text, "L2::128B") || has_part(text, "L2::256B"))
        hints |= HINT_FETCH_LINE;
    else if (has_part(text, "L2::64B"))
        hints |= HINT_FETCH_HALF;
    return hints;
}

static void mark_loops(const struct program *program, uint8_t *hints)
{
    for (int i = 0; i < program->n_instructions; i++) {
        int n;
        const int32_t *targets = branch_targets(&program->instructions[i], &n);
        for (int t = 0; t < n; t++)
            if (targets[t] <= i)
                hints[targets[t]] |= HINT_LOOP;
    }
}

/* Whether an instruction is never followed by the next one. */
static bool leaves(const struct instruction *instruction)
{
    int n;
    branch_targets(instruction, &n);
    return instruction->guard < 0 && (n > 0 || is_opcode(instruction, "exit"));
}

/* Loads from global memory that stand before the first use of one of them are under way together.
 * Marks the first of each such batch. A branch that skips a load does not end it, since ptxas makes
 * a guard of it; a loop's start does, and so does code that is only branched to. The compiler may
 * move loads further up: batches are then larger than they look here. Where a warp skips the first
 * of a batch, the others go uncounted. */
static void mark_batches(const struct program *program, uint8_t *hints)
{
    int32_t pending[256];
    int n = 0;
    mark_loops(program, hints);
    for (int i = 0; i < program->n_instructions; i++) {
        const struct instruction *instruction = &program->instructions[i];
        if (hints[i] & HINT_LOOP || (i > 0 && leaves(instruction - 1)))
            n = 0;
        bool uses = false;
        for (int s = 0; s < instruction->n_sources; s++)
            for (int p = 0; p < n; p++)
                uses |= instruction->sources[s] == pending[p];
        if (uses || is_opcode(instruction, "bar.sync"))
            n = 0;
        if (!is_opcode(instruction, "ld") ||
            (instruction->space != PTX_GLOBAL && instruction->space != PTX_GENERIC))
            continue;
        if (n == 0)
            hints[i] |= HINT_BATCH;
        for (int d = 0; d < instruction->n_destinations && n < 256; d++)
            if (instruction->destinations[d] >= 0)
                pending[n++] = instruction->destinations[d];
    }
}

/* ---- making --------------------------------------------------------------------------------- */

/* What the CTAs of an SM leave of L1, for each of them. Shared memory is taken in steps; the
 * programming guide has them for 8.6 to 9.0. */
static uint64_t l1_share(const struct card *card, const struct launch *launch)
{
    static const int steps[] = {0, 8, 16, 32, 64, 100, 132, 164, 196, 228};
    int64_t per_sm = launch->resident / (launch->n_sms > 0 ? launch->n_sms : 1);
    per_sm = per_sm < 1 ? 1 : per_sm;
    int64_t shared = per_sm * ((int64_t)launch->program->shared_bytes +
                               (int64_t)launch->dynamic_shared + card->shared_reserved);
    int64_t taken = card->shared_per_sm;
    for (size_t i = sizeof steps / sizeof *steps; i-- > 0;)
        if (steps[i] * 1024 >= shared && steps[i] * 1024 <= card->shared_per_sm)
            taken = steps[i] * 1024;
    return (uint64_t)(sm_rates_of(card)->l1_bytes - taken) / (uint64_t)per_sm;
}

/* A sample's traffic meets a cache of the sample's share. */
bool counters_open_l2(struct cache *l2, const struct card *card, int64_t sample)
{
    return cache_open(l2, card->l2_bytes / (uint64_t)(sample < 1 ? 1 : sample));
}

struct counters *counters_create(const struct card *card, const struct launch *launch,
                                 int64_t sample, struct cache *l2)
{
    struct counters *counters = mem_alloc_zero(1, sizeof *counters);
    if (!counters)
        return NULL;
    const struct program *program = launch->program;
    int64_t threads = (int64_t)launch->block[0] * launch->block[1] * launch->block[2];
    counters->program = program;
    counters->n_ctas = (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    counters->warps_per_cta = (threads + WARP_LANES - 1) / WARP_LANES;
    counters->sample = sample < 1 ? 1 : sample;
    counters->l1_bytes = l1_share(card, launch);
    counters->hints = mem_alloc((size_t)program->n_instructions + 1, 1);
    bool good = counters->hints && (l2 || counters_open_l2(&counters->own_l2, card, sample));
    traffic_open(&counters->traffic, l2 ? l2 : &counters->own_l2, counters->n_ctas,
                 launch->resident < 1 ? 1 : launch->resident);
    if (!good) {
        counters_destroy(counters);
        return NULL;
    }
    for (int i = 0; i < program->n_instructions; i++)
        counters->hints[i] = hints_of(&program->instructions[i]);
    mark_batches(program, counters->hints);
    return counters;
}

static void free_cta(struct cta_counters *cta)
{
    cache_close(&cta->l1);
    mem_free(cta->log);
    mem_free(cta);
}

void counters_destroy(struct counters *counters)
{
    if (!counters)
        return;
    while (counters->workers) {
        struct worker_counters *worker = counters->workers;
        counters->workers = worker->next;
        while (worker->spare) {
            struct cta_counters *cta = worker->spare;
            worker->spare = cta->next;
            free_cta(cta);
        }
        mem_free(worker->sites);
        mem_free(worker);
    }
    traffic_close(&counters->traffic);
    cache_close(&counters->own_l2);
    mem_free(counters->hints);
    mem_free(counters);
}

struct worker_counters *counters_of_worker(struct counters *counters)
{
    struct worker_counters *worker = mem_alloc_zero(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->launch = counters;
    worker->sites =
        mem_alloc_zero((size_t)counters->program->n_instructions + 1, sizeof *worker->sites);
    if (!worker->sites) {
        mem_free(worker);
        return NULL;
    }
    worker->next = counters->workers;
    counters->workers = worker;
    return worker;
}

bool counters_begin_cta(struct worker_counters *worker, int64_t number, struct cta_counters **out)
{
    struct counters *counters = worker->launch;
    *out = NULL;
    if (number % counters->sample != 0)
        return true;
    struct cta_counters *cta = worker->spare;
    if (cta) {
        worker->spare = cta->next;
        cache_clear(&cta->l1);
    } else {
        cta = mem_alloc_zero(1, sizeof *cta);
        if (!cta)
            return false;
        *cta = (struct cta_counters){.sites = worker->sites,
                                     .first = counters->program->instructions,
                                     .hints = counters->hints,
                                     .values = worker->values,
                                     .launch = counters};
        if (!cache_open(&cta->l1, counters->l1_bytes)) {
            free_cta(cta);
            return false;
        }
    }
    if (!traffic_begin_cta(&counters->traffic, cta)) {
        free_cta(cta);
        return false;
    }
    worker->n_counted++;
    *out = cta;
    return true;
}

bool counters_end_cta(struct worker_counters *worker, struct cta_counters *cta, int64_t position)
{
    bool good = traffic_end_cta(&worker->launch->traffic, cta, position);
    if (cta) {
        cta->next = worker->spare;
        worker->spare = cta;
    }
    return good;
}

void count_again(struct cta_counters *counters, const struct instruction *instruction,
                 uint32_t lanes, uint32_t active)
{
    struct count_site *site = &counters->sites[instruction - counters->first];
    site->runs--;
    if (lanes == ALL_LANES) {
        site->full--;
        return;
    }
    site->lanes -= (uint64_t)__builtin_popcount(lanes);
    site->held -= (uint64_t)__builtin_popcount(active & ~lanes);
    site->off -= lanes == 0;
    site->split -= lanes != 0 && lanes != active;
}

/* ---- summing up ----------------------------------------------------------------------------- */

int64_t counters_counted(const struct counters *counters)
{
    int64_t n = 0;
    for (const struct worker_counters *worker = counters->workers; worker; worker = worker->next)
        n += worker->n_counted;
    return n;
}

int64_t counters_early(const struct counters *counters)
{
    return atomic_load(&((struct counters *)counters)->traffic.n_early);
}

const struct cache *counters_l2(const struct counters *counters)
{
    return counters->traffic.l2;
}

void counters_sites(const struct counters *counters, struct count_site *sites)
{
    int n = counters->program->n_instructions;
    for (const struct worker_counters *worker = counters->workers; worker; worker = worker->next)
        for (int i = 0; i < n; i++) {
            const struct count_site *from = &worker->sites[i];
            struct count_site *to = &sites[i];
            to->runs += from->runs;
            to->full += from->full;
            to->lanes += from->lanes;
            to->held += from->held;
            to->off += from->off;
            to->split += from->split;
            to->requests += from->requests;
            to->moved += from->moved;
            to->least += from->least;
        }
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* mma.sync.m16n8k16.row.col.f32.f16.f16.f32: what one does, and its name here. */
static uint64_t mma_macs(const char *opcode, char *shape, size_t size)
{
    unsigned m = 0, n = 0, k = 0;
    int end = 0;
    sscanf(opcode, "mma.sync.m%un%uk%u%n", &m, &n, &k, &end);
    const char *types = strstr(opcode, ".row.col");
    snprintf(shape, size, "%.*s%s", end - 9, opcode + 9, types ? types + 8 : "");
    return (uint64_t)m * n * k;
}

/* What a lane does with an instruction of arithmetic on floating point: fma is two operations. */
static uint64_t operations_of(const struct instruction *instruction)
{
    const char *opcode = instruction->form->opcode;
    uint64_t pair = strstr(opcode, "x2") ? 2 : 1;
    if (instruction->op_class != CLASS_FLOAT32 && instruction->op_class != CLASS_FLOAT64 &&
        instruction->op_class != CLASS_HALF)
        return 0;
    if (begins(opcode, "fma.") || begins(opcode, "mad."))
        return 2 * pair;
    return begins(opcode, "add.") || begins(opcode, "sub.") || begins(opcode, "mul.") ? pair : 0;
}

static void sum_matrix(const struct instruction *instruction, uint64_t runs, struct totals *totals)
{
    const char *opcode = instruction->form->opcode;
    if (begins(opcode, "mma.")) {
        char shape[40];
        uint64_t macs = mma_macs(opcode, shape, sizeof shape);
        totals->value[COUNT_MMA_INSTRUCTIONS] += runs;
        totals->value[COUNT_MMA_MACS] += runs * macs;
        totals_add_mma(totals, shape, runs, runs * macs);
    } else if (begins(opcode, "ldmatrix.")) {
        uint64_t n = strstr(opcode, ".x4") ? 4 : strstr(opcode, ".x2") ? 2 : 1;
        totals->value[COUNT_LDMATRIX_INSTRUCTIONS] += runs;
        totals->value[COUNT_LDMATRIX_MATRICES] += runs * n;
    }
}

static void sum_warp(const char *opcode, uint64_t runs, uint64_t *value)
{
    if (begins(opcode, "bar.warp"))
        value[COUNT_WARP_SYNCS] += runs;
    else if (begins(opcode, "bar."))
        value[COUNT_BARRIERS] += runs;
    else if (begins(opcode, "membar"))
        value[COUNT_FENCES] += runs;
    else if (begins(opcode, "shfl."))
        value[COUNT_SHUFFLES] += runs;
    else if (begins(opcode, "vote.") || begins(opcode, "match.") || begins(opcode, "redux.") ||
             begins(opcode, "activemask"))
        value[COUNT_VOTES] += runs;
}

static void sum_site(const struct instruction *instruction, const struct count_site *site,
                     uint8_t hints, struct totals *totals)
{
    uint64_t *value = totals->value;
    uint64_t lanes = WARP_LANES * site->full + site->lanes;
    value[COUNT_WARP_INSTRUCTIONS] += site->runs;
    value[COUNT_THREAD_INSTRUCTIONS] += lanes;
    value[COUNT_THREAD_PREDICATED_OFF] += site->held;
    value[COUNT_WARP_PREDICATED_OFF] += site->off;
    value[COUNT_CLASS_INTEGER + instruction->op_class] += site->runs;
    if (hints & HINT_BATCH)
        value[COUNT_LOAD_BATCHES] += site->runs - site->off;
    if (hints & HINT_BRANCH) {
        value[COUNT_BRANCHES] += site->runs;
        value[COUNT_DIVERGENT_BRANCHES] += site->split;
        return;
    }
    value[COUNT_FLOAT_OPERATIONS] += lanes * operations_of(instruction);
    switch ((enum op_class)instruction->op_class) {
    case CLASS_MATRIX:
        sum_matrix(instruction, site->runs - site->off, totals);
        break;
    case CLASS_WARP:
    case CLASS_CONTROL:
        sum_warp(instruction->form->opcode, site->runs - site->off, value);
        break;
    case CLASS_ASYNC:
        if (strstr(instruction->form->opcode, ".wait")) {
            value[COUNT_ASYNC_WAITS] += site->runs;
            value[COUNT_ASYNC_GROUPS] +=
                site->runs * (uint64_t)(strstr(instruction->form->opcode, "wait_group")
                                            ? instruction->aux + 1
                                            : 1);
        }
        break;
    default:
        break;
    }
}

void counters_total(struct counters *counters, struct totals *totals)
{
    const struct program *program = counters->program;
    int64_t counted = counters_counted(counters);
    *totals = (struct totals){0};
    traffic_finish(&counters->traffic);
    for (const struct worker_counters *worker = counters->workers; worker; worker = worker->next) {
        for (int i = 0; i < program->n_instructions; i++)
            if (worker->sites[i].runs > 0)
                sum_site(&program->instructions[i], &worker->sites[i], counters->hints[i], totals);
        for (int i = 0; i < COUNTERS; i++)
            totals->value[i] += worker->values[i];
    }
    for (int i = 0; i < COUNTERS; i++)
        totals->value[i] += counters->traffic.value[i];
    totals->value[COUNT_CTAS] = (uint64_t)counted;
    totals->value[COUNT_WARPS] = (uint64_t)(counted * counters->warps_per_cta);
    if (counters->sample > 1)
        totals_scale(totals, (uint64_t)counters->n_ctas, (uint64_t)counted);
}
