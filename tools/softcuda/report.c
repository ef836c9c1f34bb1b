/* Gathering a report. See report.h. */
#include "tools/softcuda/report.h"

#include <string.h>
#include "tools/softcuda/records.h"

struct count_report *count_report_open(const struct card *card, int64_t sample)
{
    struct count_report *report = mem_alloc_zero(1, sizeof *report);
    if (!report)
        return NULL;
    pthread_mutex_init(&report->lock, NULL);
    report->card = card;
    report->sample = sample < 1 ? 1 : sample;
    if (!counters_open_l2(&report->l2, card, report->sample)) {
        count_report_close(report);
        return NULL;
    }
    return report;
}

void count_report_close(struct count_report *report)
{
    if (!report)
        return;
    arena_free(&report->arena);
    cache_close(&report->l2);
    pthread_mutex_destroy(&report->lock);
    mem_free(report);
}

struct counters *count_report_begin(struct count_report *report, const struct launch *launch)
{
    pthread_mutex_lock(&report->lock);
    struct cache *l2 = report->l2_in_use ? NULL : &report->l2;
    report->l2_in_use = true;
    pthread_mutex_unlock(&report->lock);
    struct counters *counters = counters_create(report->card, launch, report->sample, l2);
    if (!counters && l2) {
        pthread_mutex_lock(&report->lock);
        report->l2_in_use = false;
        pthread_mutex_unlock(&report->lock);
    }
    return counters;
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* Of the same name and text: two modules may hold different kernels under one name. */
static bool is_of(const struct kernel_record *kernel, const struct program *program)
{
    if (strcmp(kernel->name, program->name) != 0 || kernel->n_sites != program->n_instructions)
        return false;
    for (int i = 0; i < kernel->n_sites; i++)
        if (strcmp(kernel->names[i].opcode, program->instructions[i].text) != 0)
            return false;
    return true;
}

/* Texts repeat from one instruction to the next ones: the last few are looked through. */
static const char *kept_text(struct arena *arena, const char **recent, int *n, const char *text)
{
    enum { RECENT = 64 };
    for (int i = 0; i < *n && i < RECENT; i++)
        if (strcmp(recent[i], text) == 0)
            return recent[i];
    const char *kept = arena_text(arena, text, strlen(text));
    recent[(*n)++ % RECENT] = kept;
    return kept;
}

static bool name_sites(struct kernel_record *kernel, const struct program *program,
                       struct arena *arena)
{
    const char *opcodes[64], *files[64];
    int n_opcodes = 0, n_files = 0;
    for (int i = 0; i < kernel->n_sites; i++) {
        const struct instruction *instruction = &program->instructions[i];
        const struct ptx_place *place = &instruction->place;
        const char *file = place->file < 0 ? "" : ptx_place_file(program->module, place, false);
        kernel->names[i].opcode = kept_text(arena, opcodes, &n_opcodes, instruction->text);
        kernel->names[i].file = kept_text(arena, files, &n_files, file);
        kernel->names[i].line = place->file < 0 ? place->ptx_line : place->line;
        if (!kernel->names[i].opcode || !kernel->names[i].file)
            return false;
    }
    return true;
}

/* The kernel's record, made if it is new. NULL: no memory. */
static struct kernel_record *kernel_of(struct count_report *report, const struct program *program)
{
    struct kernel_record *kernel = report->kernels;
    while (kernel && !is_of(kernel, program))
        kernel = kernel->next;
    if (kernel)
        return kernel;
    size_t n = (size_t)program->n_instructions;
    kernel = arena_alloc(&report->arena, 1, sizeof *kernel);
    if (!kernel)
        return NULL;
    *kernel = (struct kernel_record){
        .name = arena_text(&report->arena, program->name, strlen(program->name)),
        .n_sites = program->n_instructions,
        .names = arena_alloc(&report->arena, n, sizeof *kernel->names),
        .sites = arena_alloc(&report->arena, n, sizeof *kernel->sites),
        .static_shared = program->shared_bytes,
        .local = program->local_bytes,
        .index = report->last_kernel ? report->last_kernel->index + 1 : 0,
    };
    if (!kernel->name || !kernel->names || !kernel->sites ||
        !name_sites(kernel, program, &report->arena))
        return NULL;
    memset(kernel->sites, 0, n * sizeof *kernel->sites);
    if (report->last_kernel)
        report->last_kernel->next = kernel;
    else
        report->kernels = kernel;
    report->last_kernel = kernel;
    return kernel;
}

/* ---- launches ------------------------------------------------------------------------------- */

/* *own: for the report's card. */
static void project(struct projection *own, struct kernel_record *kernel, const struct card *card,
                    const struct launch *launch, const struct totals *totals, int64_t ctas)
{
    int n;
    const struct card *cards = card_list(&n);
    for (int i = 0; i < n && i < CARDS_MOST; i++) {
        struct projection projection;
        kernel->resources[i] = resources_of(launch->program, 10 * cards[i].major + cards[i].minor);
        projection_make(
            &projection, &cards[i],
            &(struct projected_launch){
                .totals = totals,
                .ctas = ctas,
                .threads = (int)(launch->block[0] * launch->block[1] * launch->block[2]),
                .registers = kernel->resources[i].registers,
                .shared = (size_t)launch->program->shared_bytes + launch->dynamic_shared,
            });
        projection_add(&kernel->projections[i], &projection);
        if (&cards[i] == card)
            *own = projection;
    }
}

static bool add_launch(struct count_report *report, const struct kernel_record *kernel,
                       const struct launch *launch, const struct totals *totals, int64_t counted,
                       const struct projection *projection)
{
    if (report->n_launches++ >= REPORT_LAUNCHES)
        return true;
    struct launch_record *record = arena_alloc(&report->arena, 1, sizeof *record);
    if (!record)
        return false;
    *record = (struct launch_record){.kernel = kernel,
                                     .dynamic_shared = launch->dynamic_shared,
                                     .counted = counted,
                                     .totals = *totals,
                                     .projection = *projection};
    memcpy(record->grid, launch->grid, sizeof record->grid);
    memcpy(record->block, launch->block, sizeof record->block);
    if (report->last_launch)
        report->last_launch->next = record;
    else
        report->launches = record;
    report->last_launch = record;
    return true;
}

static bool add(struct count_report *report, struct counters *counters, const struct launch *launch)
{
    struct totals totals;
    struct projection projection = {0};
    int64_t ctas = (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    int64_t counted = counters_counted(counters);
    struct kernel_record *kernel = kernel_of(report, launch->program);
    if (!kernel)
        return false;
    counters_total(counters, &totals);
    project(&projection, kernel, report->card, launch, &totals, ctas);
    if (!add_launch(report, kernel, launch, &totals, counted, &projection))
        return false;
    counters_sites(counters, kernel->sites);
    totals_add(&kernel->totals, &totals);
    kernel->launches++;
    kernel->ctas += ctas;
    kernel->counted += counted;
    kernel->early += counters_early(counters);
    memcpy(kernel->block, launch->block, sizeof kernel->block);
    kernel->dynamic_shared = launch->dynamic_shared;
    return true;
}

enum status count_report_end(struct count_report *report, struct counters *counters,
                             const struct launch *launch, struct err *err)
{
    pthread_mutex_lock(&report->lock);
    bool good = add(report, counters, launch);
    if (counters_l2(counters) == &report->l2)
        report->l2_in_use = false;
    pthread_mutex_unlock(&report->lock);
    counters_destroy(counters);
    return good ? STATUS_OK : err_no_memory(err, "the report of a launch", 0);
}
