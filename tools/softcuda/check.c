/* The checkers' part in a run. See check.h. */
#include "tools/softcuda/check.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/check_lanes.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/forms.h"

/* Records of a granule's reads at most, and of its strong writes. Many read the same global memory:
 * the last two of a block and one of another show a race to come as well as all do. */
#define MOST_SHARED 64
#define MOST_GLOBAL 3

/* ---- opening and closing -------------------------------------------------------------------- */

bool check_open_launch(struct launch *launch, bool concurrent)
{
    static _Atomic uint32_t launches;
    if (!launch->checked)
        return true;
    struct launch_checks *checks = mem_alloc_zero(1, sizeof *checks);
    launch->checks = checks;
    if (!checks)
        return false;
    while (checks->serial == 0)
        checks->serial = atomic_fetch_add(&launches, 1) + 1;
    checks->concurrent = concurrent;
    checks->writes = (launch->reporter->checks & CHECK_INIT) != 0;
    checks->races = (launch->reporter->checks & CHECK_RACE) != 0;
    pthread_mutex_init(&checks->places.lock, NULL);
    const struct program *program = launch->program;
    for (int i = 0; i < program->n_instructions; i++) {
        const struct instruction *instruction = &program->instructions[i];
        checks->copies |= instruction->op_class == CLASS_ASYNC;
        checks->tells |= instruction->strong & STRONG_RELEASE ||
                         (instruction->form && strcmp(instruction->form->opcode, "membar") == 0);
    }
    return true;
}

void check_close_launch(struct launch *launch)
{
    struct launch_checks *checks = launch->checks;
    if (!checks)
        return;
    report_repeats(launch);
    places_close(&checks->places);
    pthread_mutex_destroy(&checks->places.lock);
    for (int i = 0; i < SHADOW_STRIPES; i++)
        touch_pool_close(&checks->stripes[i].pool);
    mem_free(checks);
    launch->checks = NULL;
}

static bool open_warp(struct warp *warp)
{
    size_t granules = ((size_t)warp->cta->launch->program->local_bytes + GRANULE - 1) / GRANULE;
    if (granules == 0)
        return true;
    warp->checks = mem_alloc_zero(1, sizeof *warp->checks +
                                         WARP_LANES * granules * sizeof warp->checks->written[0]);
    if (warp->checks)
        warp->checks->granules = granules;
    return warp->checks != NULL;
}

bool check_open_cta(struct cta *cta)
{
    const struct launch_checks *launch = cta->launch->checks;
    if (!launch)
        return true;
    struct cta_checks *checks = mem_alloc_zero(1, sizeof *checks);
    if (!checks)
        return false;
    cta->checks = checks;
    pthread_mutex_init(&checks->places.lock, NULL);
    size_t granules = (cta->shared_bytes + GRANULE - 1) / GRANULE;
    checks->written = mem_alloc_zero(granules, sizeof *checks->written);
    checks->touches = mem_alloc_zero(granules, sizeof *checks->touches);
    if (launch->copies)
        checks->in_flight = mem_alloc_zero(granules, GRANULE / 4);
    bool good = order_open(&checks->order, (uint32_t)cta->number, cta->n_threads) &&
                checks->written && checks->touches && (!launch->copies || checks->in_flight);
    for (int i = 0; good && i < cta->n_warps; i++)
        good = open_warp(&cta->warps[i]);
    return good;
}

void check_close_cta(struct cta *cta)
{
    struct cta_checks *checks = cta->checks;
    for (int i = 0; cta->warps && i < cta->n_warps; i++)
        mem_free(cta->warps[i].checks);
    if (!checks)
        return;
    order_close(&checks->order);
    places_close(&checks->places);
    pthread_mutex_destroy(&checks->places.lock);
    touch_pool_close(&checks->pool);
    mem_free(checks->written);
    mem_free(checks->touches);
    mem_free(checks->in_flight);
    mem_free(checks);
    cta->checks = NULL;
}

/* ---- accesses ------------------------------------------------------------------------------ */

struct toucher toucher_of(struct warp *warp, const struct instruction *instruction,
                          const struct access *access)
{
    static const uint8_t kinds[] = {
        [ACCESS_READ] = TOUCH_READ,
        [ACCESS_WRITE] = TOUCH_WRITE,
        [ACCESS_ATOMIC] = TOUCH_WRITE | TOUCH_ATOMIC,
        [ACCESS_ASYNC_READ] = TOUCH_ASYNC,
        [ACCESS_ASYNC_WRITE] = TOUCH_ASYNC | TOUCH_WRITE,
    };
    struct cta *cta = warp->cta;
    struct cta_checks *checks = cta->checks;
    bool shared = access->space == PTX_SHARED;
    uint32_t launch = cta->launch->checks->serial;
    uint64_t serial = ++checks->serial;
    uint32_t number = (uint32_t)cta->number;
    uint64_t at = (uint64_t)(instruction - cta->launch->program->instructions) & 0xFFFFFF;
    uint64_t kind = kinds[access->kind] | (access->strong ? TOUCH_STRONG : 0u);
    return (struct toucher){
        .warp = warp,
        .instruction = instruction,
        .access = access,
        .order = &checks->order,
        .first = {launch | (uint64_t)number << 32, checks->order.now},
        .launch = launch,
        .cta = number,
        .warps = 1u << warp->index,
        .floor = checks->order.floor,
        .tag = at | serial << 48 | kind << 56,
        .whole_warps = !cta->launch->checks->tells && !checks->order.lane_wise,
        .across_ctas = !shared,
        .most = shared ? MOST_SHARED : MOST_GLOBAL,
    };
}

static void check_local(struct warp *warp, const struct instruction *instruction,
                        const struct access *access)
{
    struct warp_checks *checks = warp->checks;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        uint64_t address = access->address[lane];
        const struct touched one = one_lane(access, lane);
        check_written(
            warp, instruction, access, &one, address & ~(uint64_t)(GRANULE - 1),
            &checks->written[(size_t)lane * checks->granules + (address >> GRANULE_SHIFT)]);
    }
}

/* ---- strong accesses ------------------------------------------------------------------------ */

static struct places *places_of(struct warp *warp, const struct access *access)
{
    return access->space == PTX_SHARED ? &warp->cta->checks->places
                                       : &warp->cta->launch->checks->places;
}

static void publish(struct warp *warp, const struct instruction *instruction,
                    const struct access *access)
{
    struct order *order = &warp->cta->checks->order;
    if (instruction->strong & STRONG_RELEASE)
        order_fence(order, warp->index, access->lanes, true);
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        order_publish(order, places_of(warp, access), warp->index * WARP_LANES + lane,
                      access->host[lane], access->kind == ACCESS_ATOMIC);
    }
}

void check_strong_done(struct warp *warp, const struct access *access)
{
    const struct launch_checks *launch = warp->cta->launch->checks;
    if (!launch->tells || !launch->races || access->space == PTX_LOCAL)
        return;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        order_acquire(&warp->cta->checks->order, places_of(warp, access),
                      warp->index * WARP_LANES + lane, access->host[lane]);
    }
}

bool check_access(struct warp *warp, const struct instruction *instruction,
                  const struct access *access)
{
    struct launch_checks *launch = warp->cta->launch->checks;
    struct cta_checks *checks = warp->cta->checks;
    bool good = true;
    switch (access->space) {
    case PTX_CONST:
    case PTX_PARAM:
        return true;
    case PTX_LOCAL:
        if (launch->writes)
            check_local(warp, instruction, access);
        return true;
    case PTX_SHARED:
        good = check_shared(warp, instruction, access);
        break;
    default:
        good = check_global(warp, instruction, access);
    }
    if (access->strong && access_writes(access) && launch->tells && launch->races)
        publish(warp, instruction, access);
    if (good && !checks->order.no_memory)
        return true;
    fault_no_memory(warp, instruction);
    return false;
}

/* ---- barriers and fences -------------------------------------------------------------------- */

void check_warp_sync(struct warp *warp, uint32_t lanes)
{
    if (warp->cta->checks)
        order_warp_sync(&warp->cta->checks->order, warp->index, lanes, warp->live);
}

void check_arrive(struct warp *warp, uint32_t lanes, int barrier)
{
    if (warp->cta->checks && !warp->cta->barriers[barrier].whole)
        order_arrive(&warp->cta->checks->order, warp->index, lanes, warp->live, barrier);
}

void check_barrier(struct cta *cta, int number)
{
    if (!cta->checks)
        return;
    uint32_t waiting[1024 / WARP_LANES] = {0}, live[1024 / WARP_LANES] = {0};
    bool all = true;
    for (int w = 0; w < cta->n_warps; w++) {
        const struct warp *warp = &cta->warps[w];
        live[w] = warp->live;
        for (int i = 0; i < warp->n_fragments; i++)
            if (warp->fragments[i].state == FRAGMENT_BARRIER &&
                warp->fragments[i].barrier == number)
                waiting[w] |= warp->fragments[i].lanes;
        all &= waiting[w] == live[w];
    }
    if (!cta->barriers[number].whole)
        order_release(&cta->checks->order, number, waiting, live);
    if (all) {
        order_release_all(&cta->checks->order);
        touch_pool_reset(&cta->checks->pool);
    }
}

void check_fence(struct warp *warp, uint32_t lanes, bool device)
{
    if (warp->cta->checks && warp->cta->launch->checks->races)
        order_fence(&warp->cta->checks->order, warp->index, lanes, device);
}
