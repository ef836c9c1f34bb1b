/* Doing what a piece of work says. See driver.h. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "tools/softcuda/check_memory.h"

/* ---- kernels -------------------------------------------------------------------------------- */

#define GRID_BARRIER_BYTES 8

/* What the driver says of a launch that a report has stopped. */
static CUresult code_of(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_GOOD:
        return CUDA_SUCCESS;
    case OUTCOME_ILLEGAL_ADDRESS:
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    case OUTCOME_MISALIGNED:
        return CUDA_ERROR_MISALIGNED_ADDRESS;
    case OUTCOME_ASSERT:
        return CUDA_ERROR_ASSERT;
    case OUTCOME_DEADLOCK:
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    case OUTCOME_NO_MEMORY:
        return CUDA_ERROR_OUT_OF_MEMORY;
    case OUTCOME_TRAP:
    case OUTCOME_SYNC:
        break;
    }
    return CUDA_ERROR_LAUNCH_FAILED;
}

static CUresult no_memory(const char *what)
{
    say("error: softcuda itself has no memory left: %s", what);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* A cooperative launch lends the grid of a kernel that asks for it a barrier to count at: NULL
 * where there is none, or no memory. */
static struct allocation *lend_barrier(const struct kernel_work *kernel, bool *asked)
{
    const struct program *program = kernel->function->program;
    *asked = false;
    for (int i = 0; kernel->cooperative && i < program->n_fills; i++)
        *asked |=
            program->fills[i].kind == FILL_SPECIAL && program->fills[i].value == SPECIAL_ENVREG2;
    struct allocation *barrier =
        *asked ? memory_allocate(&driver.memory, GRID_BARRIER_BYTES, "grid barrier") : NULL;
    if (barrier) {
        const uint32_t words[] = {GRID_BARRIER_BYTES, 0};
        memcpy(barrier->host, words, sizeof words);
        check_host_write(&driver.memory, barrier->base, sizeof words);
    }
    return barrier;
}

static CUresult run_launch(struct launch *launch)
{
    struct err err;
    if (driver.report) {
        launch->counters = count_report_begin(driver.report, launch);
        if (!launch->counters)
            return no_memory("the counters of a launch");
    }
    driver.reporter.outcome = OUTCOME_GOOD;
    enum status status = grid_run(launch, &err);
    if (status == STATUS_RESOURCE)
        return no_memory(err.text);
    if (driver.report && count_report_end(driver.report, launch->counters, launch, &err))
        return no_memory(err.text);
    return status == STATUS_OK ? CUDA_SUCCESS : code_of(driver.reporter.outcome);
}

static CUresult run_kernel(const struct kernel_work *kernel)
{
    const struct function *function = kernel->function;
    const struct card *card = driver.settings.card;
    const struct program *program = function->program;
    int threads = (int)(kernel->block[0] * kernel->block[1] * kernel->block[2]);
    struct launch launch = {
        .program = program,
        .memory = &driver.memory,
        .settings = &driver.settings.machine,
        .grid = {kernel->grid[0], kernel->grid[1], kernel->grid[2]},
        .block = {kernel->block[0], kernel->block[1], kernel->block[2]},
        .dynamic_shared = kernel->shared,
        .parameters = kernel->parameters,
        .resident =
            card->n_sms * card_occupancy(card, threads, function->registers,
                                         (size_t)program->shared_bytes + kernel->shared, NULL),
        .cooperative = kernel->cooperative,
        .n_sms = card->n_sms,
        .reporter = &driver.reporter,
        .checked = (driver.reporter.checks & (CHECK_INIT | CHECK_RACE)) != 0,
    };
    bool asked;
    struct allocation *barrier = lend_barrier(kernel, &asked);
    if (asked && !barrier) {
        say("error: no device memory for the barrier of the grid of %s", program->name);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    launch.grid_barrier = barrier ? barrier->base : 0;
    CUresult result = run_launch(&launch);
    if (barrier)
        memory_free(&driver.memory, barrier->base);
    return result;
}

/* ---- copies --------------------------------------------------------------------------------- */

/* The host's view of `bytes` bytes at an address: of device memory they must lie in one allocation,
 * anything else is the program's own. NULL: they do not. */
static unsigned char *view(uint64_t address, size_t bytes)
{
    if (address >> WINDOW_SHIFT == WINDOW_HOST)
        return (unsigned char *)(uintptr_t)address;
    const struct allocation *allocation = memory_find(&driver.memory, address);
    if (!allocation || bytes > allocation->size - (address - allocation->base))
        return NULL;
    return allocation->host + (address - allocation->base);
}

/* What leaves the device should have been written there. */
static void check_read(uint64_t address, size_t bytes)
{
    uint64_t first;
    char where[160];
    const struct launch none = {.memory = &driver.memory};
    if (check_host_read(&driver.memory, address, bytes, &first))
        return;
    driver.reporter.n_reports++;
    fault_describe(where, sizeof where, &none, first);
    say("error: a copy of %zu bytes to the host reads memory that was never written: %s", bytes,
        where);
}

static void check_copy(const struct copy_work *copy)
{
    bool to_device = copy->to >> WINDOW_SHIFT != WINDOW_HOST;
    bool from_device = !copy->staged && copy->from >> WINDOW_SHIFT != WINDOW_HOST;
    if (to_device && from_device)
        check_host_copy(&driver.memory, copy->to, copy->from, copy->bytes);
    else if (to_device)
        check_host_write(&driver.memory, copy->to, copy->bytes);
    else if (from_device && driver.reporter.checks & CHECK_INIT)
        check_read(copy->from, copy->bytes);
}

static CUresult run_copy(const struct copy_work *copy)
{
    unsigned char *to = view(copy->to, copy->bytes);
    const unsigned char *from = copy->staged ? copy->staged : view(copy->from, copy->bytes);
    if (!to || !from) { /* freed since */
        say("error: a copy of %zu bytes from 0x%llx to 0x%llx: %s", copy->bytes,
            (unsigned long long)copy->from, (unsigned long long)copy->to,
            "memory was freed before it ran");
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    check_copy(copy);
    memmove(to, from, copy->bytes);
    return CUDA_SUCCESS;
}

static CUresult run_fill(const struct fill_work *fill)
{
    unsigned char *to = view(fill->to, fill->n * (size_t)fill->width);
    if (!to) {
        say("error: a memset of %zu bytes at 0x%llx: memory was freed before it ran",
            fill->n * (size_t)fill->width, (unsigned long long)fill->to);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    check_host_write(&driver.memory, fill->to, fill->n * (size_t)fill->width);
    if (fill->width == 1)
        memset(to, (int)fill->value, fill->n);
    for (size_t i = 0; fill->width > 1 && i < fill->n; i++)
        memcpy(to + i * (size_t)fill->width, &fill->value, (size_t)fill->width);
    return CUDA_SUCCESS;
}

/* ---- all kinds ------------------------------------------------------------------------------ */

/* Without the lock: the function may take its time, or wait for a thread that calls us. */
static void call_host(CUhostFn *call, void *data)
{
    pthread_mutex_unlock(&driver.lock);
    call(data);
    pthread_mutex_lock(&driver.lock);
}

CUresult work_execute(struct context *context, struct work *work)
{
    switch (work->kind) {
    case WORK_KERNEL:
        return run_kernel(&work->kernel);
    case WORK_COPY:
        return run_copy(&work->copy);
    case WORK_FILL:
        return run_fill(&work->fill);
    case WORK_HOST:
        call_host(work->host.call, work->host.data);
        return CUDA_SUCCESS;
    case WORK_FREE:
        device_free(work->free_address);
        return CUDA_SUCCESS;
    case WORK_GRAPH:
        return graph_execute(context, work->graph);
    case WORK_RECORD:
    case WORK_WAIT:
        break;
    }
    return CUDA_SUCCESS;
}
