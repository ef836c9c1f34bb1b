/* Reports. See faults.h. */
#include "tools/softcuda/faults.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include "host/base/memory.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- places --------------------------------------------------------------------------------- */

/* The last parts of a path say enough. */
static const char *short_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void print_place(FILE *out, const struct program *program, const struct ptx_place *place)
{
    const char *file = short_path(ptx_place_file(program->module, place, true));
    const char *inner = short_path(ptx_place_file(program->module, place, false));
    if (place->outer_file < 0)
        fprintf(out, "%s at PTX line %d", program->name, place->ptx_line);
    else
        fprintf(out, "%s at %s:%d", program->name, file, place->outer_line);
    if (place->outer_file >= 0 && (strcmp(file, inner) != 0 || place->line != place->outer_line))
        fprintf(out, " (in %s:%d)", inner, place->line);
}

static void print_thread(FILE *out, const struct launch *launch, int64_t cta, int thread)
{
    const uint32_t *grid = launch->grid, *block = launch->block;
    fprintf(out, ", block (%u,%u,%u)", (unsigned)(cta % grid[0]),
            (unsigned)(cta / grid[0] % grid[1]), (unsigned)(cta / grid[0] / grid[1]));
    if (thread >= 0)
        fprintf(out, ", thread (%u,%u,%u)", (unsigned)thread % block[0],
                (unsigned)thread / block[0] % block[1], (unsigned)thread / block[0] / block[1]);
}

/* ---- writing -------------------------------------------------------------------------------- */

#define MOST_BY_DEFAULT 20

static bool is_written(const struct reporter *reporter)
{
    int most = reporter->most ? reporter->most : MOST_BY_DEFAULT;
    return reporter->out && reporter->n_reports <= most;
}

/* Under the lock. */
static void write_report(struct launch *launch, const struct instruction *instruction, int64_t cta,
                         int thread, enum check check, const char *format, va_list arguments)
{
    struct reporter *reporter = launch->reporter;
    FILE *out = reporter->out;
    if (reporter->checks & check)
        reporter->n_reports++;
    if (is_written(reporter)) {
        fprintf(out, "softcuda: error: ");
        print_place(out, launch->program, &instruction->place);
        print_thread(out, launch, cta, thread);
        fprintf(out, ": ");
        vfprintf(out, format, arguments);
        fprintf(out, "\n");
        fflush(out);
    }
}

static void write_other(struct launch *launch, const struct party *other)
{
    struct reporter *reporter = launch->reporter;
    if (!is_written(reporter))
        return;
    fprintf(reporter->out, "softcuda:        %s ", other->what);
    print_place(reporter->out, launch->program, other->place);
    print_thread(reporter->out, launch, other->cta, other->thread);
    fprintf(reporter->out, "\n");
    fflush(reporter->out);
}

void report(struct warp *warp, const struct instruction *instruction, int lane, enum check check,
            const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    write_report(warp->cta->launch, instruction, warp->cta->number,
                 lane < 0 ? -1 : warp->index * WARP_LANES + lane, check, format, arguments);
    pthread_mutex_unlock(&lock);
    va_end(arguments);
}

void report_other(struct launch *launch, const struct ptx_place *place, int64_t cta, int thread,
                  const char *what)
{
    const struct party other = {place, cta, thread, what};
    pthread_mutex_lock(&lock);
    write_other(launch, &other);
    pthread_mutex_unlock(&lock);
}

/* ---- findings ------------------------------------------------------------------------------- */

static uint64_t mix_text(uint64_t key, const char *text)
{
    for (; *text; text++)
        key = (key ^ (unsigned char)*text) * 0x100000001B3u;
    return key;
}

static uint64_t mix_place(uint64_t key, const struct ptx_place *place)
{
    int parts[] = {place->file, place->line, place->outer_file, place->outer_line};
    if (place->outer_file < 0)
        parts[0] = place->ptx_line;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        key = (key ^ (uint64_t)parts[i]) * 0x9E3779B97F4A7C15u;
    return key ^ key >> 29;
}

/* The finding of this key, a new one with a count of 0, or NULL where there is no memory. */
static struct finding *find_finding(struct reporter *reporter, uint64_t key)
{
    for (int i = 0; i < reporter->n_findings; i++)
        if (reporter->findings[i].key == key)
            return &reporter->findings[i];
    if (reporter->n_findings == reporter->capacity) {
        int capacity = reporter->capacity ? 2 * reporter->capacity : 32;
        void *larger = mem_resize(reporter->findings, (size_t)capacity, sizeof(struct finding));
        if (!larger)
            return NULL;
        reporter->findings = larger;
        reporter->capacity = capacity;
    }
    struct finding *finding = &reporter->findings[reporter->n_findings++];
    *finding = (struct finding){.key = key};
    return finding;
}

void report_once(struct warp *warp, const struct instruction *instruction, int lane,
                 enum check check, int kind, const struct party *other, const char *format, ...)
{
    struct launch *launch = warp->cta->launch;
    struct reporter *reporter = launch->reporter;
    if (!(reporter->checks & check))
        return;
    uint64_t key =
        mix_text(0xCBF29CE484222325u ^ (uint64_t)(check * 16 + kind), launch->program->name);
    key = mix_place(key, &instruction->place);
    if (other)
        key = mix_place(key, other->place);
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    struct finding *finding = find_finding(reporter, key);
    if (!finding || finding->count == 0) {
        write_report(launch, instruction, warp->cta->number,
                     lane < 0 ? -1 : warp->index * WARP_LANES + lane, check, format, arguments);
        if (other)
            write_other(launch, other);
        if (finding) {
            finding->program = launch->program;
            finding->place = &instruction->place;
            finding->other = other ? other->place : NULL;
            finding->check = check;
        }
    }
    if (finding)
        finding->count++;
    pthread_mutex_unlock(&lock);
    va_end(arguments);
}

void report_repeats(struct launch *launch)
{
    struct reporter *reporter = launch->reporter;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < reporter->n_findings; i++) {
        struct finding *finding = &reporter->findings[i];
        if (finding->program != launch->program)
            continue;
        if (finding->count > 1 && is_written(reporter)) {
            fprintf(reporter->out, "softcuda:        ");
            print_place(reporter->out, launch->program, finding->place);
            fprintf(reporter->out, ": the same %s",
                    finding->check == CHECK_INIT   ? "unwritten memory"
                    : finding->check == CHECK_RACE ? "race"
                                                   : "mistake");
            if (finding->other) {
                fprintf(reporter->out, " with ");
                print_place(reporter->out, launch->program, finding->other);
            }
            fprintf(reporter->out, " %lld times more\n", (long long)(finding->count - 1));
            fflush(reporter->out);
        }
        finding->program = NULL;
    }
    pthread_mutex_unlock(&lock);
}

void reporter_close(struct reporter *reporter)
{
    mem_free(reporter->findings);
    reporter->findings = NULL;
    reporter->n_findings = reporter->capacity = 0;
}

static void stop(struct launch *launch, enum outcome outcome)
{
    pthread_mutex_lock(&lock);
    if (launch->reporter->outcome == OUTCOME_GOOD)
        launch->reporter->outcome = outcome;
    pthread_mutex_unlock(&lock);
    atomic_store(&launch->stopped, true);
}

/* ---- memory --------------------------------------------------------------------------------- */

static const char *verb(enum access_kind kind)
{
    return kind == ACCESS_WRITE || kind == ACCESS_ASYNC_WRITE ? "write"
           : kind == ACCESS_ATOMIC                            ? "atomic"
           : kind == ACCESS_HINT                              ? "hint"
                                                              : "read";
}

#define NULL_PAGES 65536

/* How an address of global memory lies to the nearest allocation. */
void fault_describe(char *text, size_t size, const struct launch *launch, uint64_t address)
{
    const struct allocation *near = memory_nearest(launch->memory, address);
    uint64_t offset = near ? address - near->base : 0;
    const struct freed *freed =
        near && offset < near->size ? NULL : memory_freed(launch->memory, address);
    if (freed) {
        snprintf(text, size, "byte %llu of allocation %d, which had %llu and was freed",
                 (unsigned long long)(address - freed->base), freed->number,
                 (unsigned long long)freed->size);
        return;
    }
    if (!near || address >> WINDOW_SHIFT != near->base >> WINDOW_SHIFT) {
        bool host = address >> WINDOW_SHIFT == WINDOW_HOST;
        snprintf(text, size, "no allocation is near%s",
                 !host                  ? ""
                 : address < NULL_PAGES ? ": a null pointer, or an offset from one"
                                        : ": a pointer of the host, not of the device?");
        return;
    }
    char name[64];
    if (near->label)
        snprintf(name, sizeof name, "the variable %.40s", near->label);
    else
        snprintf(name, sizeof name, "allocation %d", near->number);
    if (offset < near->size)
        snprintf(text, size, "byte %llu of %s, which has %llu", (unsigned long long)offset, name,
                 (unsigned long long)near->size);
    else
        snprintf(text, size, "%llu bytes behind the end of %s, which has %llu",
                 (unsigned long long)(offset - near->size), name, (unsigned long long)near->size);
}

void fault_access(struct warp *warp, const struct instruction *instruction,
                  const struct access *access, int lane, enum fault fault)
{
    struct launch *launch = warp->cta->launch;
    uint64_t address = access->address[lane];
    const char *space = ptx_space_name(access->space);
    char where[160] = "";
    if (access->space == PTX_GLOBAL || access->space == PTX_CONST)
        fault_describe(where, sizeof where, launch, address);
    else
        snprintf(where, sizeof where, "the %s memory has %llu bytes", space,
                 (unsigned long long)(access->space == PTX_SHARED ? warp->cta->shared_bytes
                                      : access->space == PTX_LOCAL
                                          ? (size_t)launch->program->local_bytes
                                          : (size_t)launch->program->parameter_bytes));
    switch (fault) {
    case FAULT_BOUNDS:
        report(warp, instruction, lane, CHECK_MEMORY,
               "out-of-bounds %s of %d bytes at 0x%llx of %s memory: %s", verb(access->kind),
               access->bytes, (unsigned long long)address, space, where);
        stop(launch, OUTCOME_ILLEGAL_ADDRESS);
        return;
    case FAULT_ALIGNMENT:
        report(warp, instruction, lane, CHECK_MEMORY,
               "misaligned %s of %d bytes at 0x%llx of %s memory: %s", verb(access->kind),
               access->bytes, (unsigned long long)address, space, where);
        stop(launch, OUTCOME_MISALIGNED);
        return;
    case FAULT_READ_ONLY:
        report(warp, instruction, lane, CHECK_MEMORY, "%s at 0x%llx of %s memory: it is read-only",
               verb(access->kind), (unsigned long long)address, space);
        stop(launch, OUTCOME_ILLEGAL_ADDRESS);
        return;
    }
}

enum next fault_trap(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    report(warp, instruction, __builtin_ctz(lanes), CHECK_MEMORY, "%s", instruction->text);
    stop(warp->cta->launch, OUTCOME_TRAP);
    return NEXT_STOP;
}

enum next fault_branch(struct warp *warp, const struct instruction *instruction, int lane,
                       uint32_t index)
{
    report(warp, instruction, lane, CHECK_MEMORY, "%s: index %u of a list of %d targets",
           instruction->text, (unsigned)index, (int)instruction->n_targets);
    stop(warp->cta->launch, OUTCOME_TRAP);
    return NEXT_STOP;
}

enum next fault_assert(struct warp *warp, const struct instruction *instruction, int lane,
                       const char *file, int line, const char *function, const char *message)
{
    report(warp, instruction, lane, CHECK_MEMORY, "assertion failed: %s:%d: %s: %s", file, line,
           function, message);
    stop(warp->cta->launch, OUTCOME_ASSERT);
    return NEXT_STOP;
}

enum next fault_no_memory(struct warp *warp, const struct instruction *instruction)
{
    report(warp, instruction, -1, 0, "softcuda itself has no memory left");
    stop(warp->cta->launch, OUTCOME_NO_MEMORY);
    return NEXT_STOP;
}

/* ---- lanes and barriers --------------------------------------------------------------------- */

enum next fault_mask(struct warp *warp, const struct instruction *instruction, int lane,
                     uint32_t mask)
{
    report(warp, instruction, lane, CHECK_SYNC,
           "%s: lane %d executes it, but is not in its mask 0x%08x", instruction->text, lane,
           (unsigned)mask);
    stop(warp->cta->launch, OUTCOME_SYNC);
    return NEXT_STOP;
}

static void report_elsewhere(struct warp *warp, uint32_t lanes)
{
    struct launch *launch = warp->cta->launch;
    for (int i = 0; i < warp->n_fragments; i++) {
        const struct fragment *fragment = &warp->fragments[i];
        if (fragment->lanes & ~lanes)
            report_other(launch, &launch->program->instructions[fragment->at].place,
                         warp->cta->number,
                         warp->index * WARP_LANES + __builtin_ctz(fragment->lanes),
                         "others of the warp are in");
    }
}

void fault_divergent(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                     uint32_t mask)
{
    report(warp, instruction, __builtin_ctz(lanes), CHECK_SYNC,
           "%s: lanes 0x%08x have come, but 0x%08x must; it stands in divergent code or its mask "
           "names lanes that do not come",
           instruction->text, (unsigned)lanes, (unsigned)(mask & warp->live));
    report_elsewhere(warp, lanes);
    stop(warp->cta->launch, OUTCOME_SYNC);
}

void fault_left(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                uint32_t left)
{
    report_once(warp, instruction, __builtin_ctz(lanes), CHECK_SYNC, 0, NULL,
                "%s: lanes 0x%08x wait for lanes 0x%08x of its mask, which have left the kernel "
                "without it",
                instruction->text, (unsigned)lanes, (unsigned)left);
}

void fault_missing(struct cta *cta, int number)
{
    for (int w = 0; w < cta->n_warps; w++)
        for (int i = 0; i < cta->warps[w].n_fragments; i++) {
            struct warp *warp = &cta->warps[w];
            const struct fragment *fragment = &warp->fragments[i];
            if (fragment->state != FRAGMENT_BARRIER || fragment->barrier != number)
                continue;
            const struct instruction *at = &cta->launch->program->instructions[fragment->at];
            report_once(warp, at, __builtin_ctz(fragment->lanes), CHECK_SYNC, 1, NULL,
                        "%s: of the %d threads of the block %d have left the kernel before this "
                        "barrier of all",
                        at->text, cta->n_threads, cta->n_threads - cta->n_live);
            return;
        }
}

enum next fault_barrier_count(struct warp *warp, const struct instruction *instruction,
                              uint32_t lanes, int barrier, int expected)
{
    report(warp, instruction, __builtin_ctz(lanes), CHECK_SYNC,
           "%s: barrier %d with %d threads: barriers are 0 to 15, counts whole warps of the block, "
           "and all who meet at one give the same count",
           instruction->text, barrier, expected);
    stop(warp->cta->launch, OUTCOME_SYNC);
    return NEXT_STOP;
}

bool fault_inactive_source(struct warp *warp, const struct instruction *instruction, int lane,
                           int source)
{
    if (!(warp->cta->launch->reporter->checks & CHECK_SYNC))
        return true;
    report(warp, instruction, lane, CHECK_SYNC,
           "%s: lane %d reads lane %d, which does not take part: the value is undefined",
           instruction->text, lane, source);
    stop(warp->cta->launch, OUTCOME_SYNC);
    return false;
}

enum cta_state fault_deadlock(struct cta *cta)
{
    bool first = true;
    struct launch *launch = cta->launch;
    for (int i = 0; i < cta->n_warps; i++)
        for (int j = 0; j < cta->warps[i].n_fragments; j++) {
            struct warp *warp = &cta->warps[i];
            const struct fragment *fragment = &warp->fragments[j];
            const struct instruction *at = &launch->program->instructions[fragment->at];
            int lane = __builtin_ctz(fragment->lanes);
            const struct barrier *barrier = &cta->barriers[fragment->barrier];
            if (first)
                report(warp, at, lane, CHECK_SYNC,
                       "deadlock: it waits at barrier %d, where %d threads have come and %d must; "
                       "no thread of "
                       "the block can go on",
                       fragment->barrier, barrier->arrived,
                       barrier->whole ? cta->n_live : barrier->expected);
            else if (j == 0)
                report_other(launch, &at->place, cta->number, warp->index * WARP_LANES + lane,
                             "waiting too:");
            first = false;
        }
    stop(launch, OUTCOME_DEADLOCK);
    return CTA_STOPPED;
}

void fault_starved(struct cta *cta)
{
    struct launch *launch = cta->launch;
    struct warp *warp = &cta->warps[0];
    while (warp->live == 0)
        warp++;
    int64_t n_ctas = (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    char room[128] = "";
    if (n_ctas > launch->resident)
        snprintf(room, sizeof room,
                 " (%d blocks are on the card at a time, the grid has %lld: a block must not wait "
                 "for a later one)",
                 launch->resident, (long long)n_ctas);
    report(warp, &launch->program->instructions[warp->fragments[0].at],
           __builtin_ctz(warp->fragments[0].lanes), CHECK_SYNC,
           "deadlock: it goes round in circles, and nothing that runs writes what it waits for%s",
           room);
    stop(launch, OUTCOME_DEADLOCK);
}
