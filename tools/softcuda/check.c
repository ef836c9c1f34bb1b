/* The checkers' part in a run. See check.h. */
#include "tools/softcuda/check.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/check_memory.h"
#include "tools/softcuda/check_words.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/forms.h"

/* Records of a granule at most. Many read the same global memory: the last two of a block and one
 * of another show a race to come as well as all do. */
#define MOST_SHARED 64
#define MOST_GLOBAL 3

struct launch_checks {
    uint32_t serial; /* from 1 */
    bool concurrent;
    bool writes, races; /* which checkers are on */
    bool tells;         /* the kernel has fences or releases: flags in memory order something */
    bool copies;        /* it has cp.async */
    struct places places;
    struct stripe stripes[SHADOW_STRIPES];
};

struct cta_checks {
    struct order order;
    struct places places;  /* in its shared memory */
    uint8_t serial;        /* of accesses */
    uint16_t *written;     /* (granules of shared memory) a bit a byte */
    struct touch *touches; /* (granules) */
    uint8_t *in_flight;    /* (words) copies on their way; NULL: the kernel has none */
    struct touch_pool pool;
};

struct warp_checks {
    size_t granules;    /* of a thread's local memory */
    uint16_t written[]; /* (lanes, granules) */
};

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

/* ---- lanes in groups ------------------------------------------------------------------------ */

static unsigned byte_mask(uint64_t address, int bytes)
{
    return ((1u << bytes) - 1) << (address & (GRANULE - 1));
}

/* The lanes from the first of *left on that touch one granule in one way: the same bytes, or bytes
 * that ascend with the lanes. They leave *left. The granule's address. */
static inline uint64_t next_group(const struct access *access, uint32_t *left,
                                  struct touched *group)
{
    int first = __builtin_ctz(*left), bytes = access->bytes, n = 1;
    uint64_t address = access->address[first], granule = address & ~(uint64_t)(GRANULE - 1);
    if (bytes == GRANULE) { /* a lane has one to itself */
        *group = (struct touched){1u << first, (1u << GRANULE) - 1, 0, ALL_OF_THEM};
        *left &= *left - 1;
        return granule;
    }
    bool ascends = false, same = false;
    *group = (struct touched){1u << first, byte_mask(address, bytes), 0, ALL_OF_THEM};
    *left &= *left - 1;
    for (int l = first + 1; l < WARP_LANES && *left >> l & 1; l++, n++) {
        uint64_t next = access->address[l];
        if (next == address && !ascends && access->kind != ACCESS_WRITE)
            same = true; /* stores are looked at lane by lane: their values may differ */
        else if (!same && next == address + (uint64_t)(n * bytes) && next - granule < GRANULE)
            ascends = true;
        else
            break;
        group->lanes |= 1u << l;
        group->bytes |= byte_mask(next, bytes);
        *left &= *left - 1;
    }
    if (ascends) {
        int shift = __builtin_ctz((unsigned)bytes);
        group->shift = (unsigned)shift;
        group->base = first - (int)((address - granule) >> shift);
    }
    return granule;
}

static int lane_at(const struct touched *group, int byte)
{
    return group->shift == ALL_OF_THEM ? __builtin_ctz(group->lanes)
                                       : group->base + (byte >> group->shift);
}

static inline struct toucher toucher_of(struct warp *warp, const struct instruction *instruction,
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
        .tag = at | serial << 48 | kind << 56,
        .whole_warps = !cta->launch->checks->tells && !checks->order.lane_wise,
        .across_ctas = !shared,
        .most = shared ? MOST_SHARED : MOST_GLOBAL,
    };
}

static bool reads(const struct access *access)
{
    return access->kind == ACCESS_READ || access->kind == ACCESS_ATOMIC ||
           access->kind == ACCESS_ASYNC_READ;
}

static bool writes(const struct access *access)
{
    return access->kind == ACCESS_WRITE || access->kind == ACCESS_ATOMIC;
}

/* Reads what was written, and has written it. */
static inline void check_written(struct warp *warp, const struct instruction *instruction,
                                 const struct access *access, const struct touched *group,
                                 uint64_t granule, uint16_t *written)
{
    if (reads(access) && group->bytes & ~*written) {
        int byte = __builtin_ctz(group->bytes & ~(unsigned)*written);
        say_unwritten(warp, instruction, access, lane_at(group, byte), granule + (unsigned)byte);
    }
    if (writes(access))
        *written |= (uint16_t)group->bytes;
}

/* ---- shared memory -------------------------------------------------------------------------- */

static void check_in_flight(const struct toucher *by, uint8_t *in_flight,
                            const struct touched *group, uint64_t granule)
{
    uint32_t any;
    memcpy(&any, in_flight, sizeof any);
    bool issues = by->access->kind == ACCESS_ASYNC_WRITE;
    if (!any && !issues)
        return;
    for (int word = 0; word < GRANULE / 4; word++) {
        unsigned bytes = group->bytes & 15u << 4 * word;
        if (bytes && in_flight[word]) {
            int byte = __builtin_ctz(bytes);
            say_in_flight(by, lane_at(group, byte), granule + (unsigned)byte);
        }
        if (bytes && issues)
            in_flight[word] =
                (uint8_t)(in_flight[word] +
                          (group->shift == ALL_OF_THEM ? __builtin_popcount(group->lanes) : 1));
    }
}

static bool check_shared(struct warp *warp, const struct instruction *instruction,
                         const struct access *access)
{
    const struct launch_checks *launch = warp->cta->launch->checks;
    struct cta_checks *checks = warp->cta->checks;
    const struct toucher by = toucher_of(warp, instruction, access);
    for (uint32_t left = access->lanes; left;) {
        struct touched group;
        uint64_t granule = next_group(access, &left, &group);
        size_t at = granule >> GRANULE_SHIFT;
        if (launch->writes)
            check_written(warp, instruction, access, &group, granule, &checks->written[at]);
        if (!launch->races)
            continue;
        if (checks->in_flight)
            check_in_flight(&by, &checks->in_flight[4 * at], &group, granule);
        if (!touch(&by, &checks->touches[at], &checks->pool, &group, granule, true))
            return false;
    }
    return true;
}

/* Copies of one instruction. */
static void land(struct warp *warp, const struct instruction *instruction,
                 const struct access *access)
{
    struct cta_checks *checks = warp->cta->checks;
    const struct toucher by = toucher_of(warp, instruction, access);
    bool races = warp->cta->launch->checks->races;
    for (uint32_t left = access->lanes; left;) {
        struct touched group;
        size_t at = next_group(access, &left, &group) >> GRANULE_SHIFT;
        checks->written[at] |= (uint16_t)group.bytes;
        for (int word = 0; races && word < GRANULE / 4; word++)
            if (group.bytes >> 4 * word & 15 && checks->in_flight[4 * at + (size_t)word] > 0)
                checks->in_flight[4 * at + (size_t)word]--;
        if (races && !touch(&by, &checks->touches[at], &checks->pool, &group, 0, false))
            checks->order.no_memory = true;
    }
}

void check_landed(struct warp *warp, const struct async_copy *copies, int n)
{
    struct access access = {.kind = ACCESS_ASYNC_WRITE, .space = PTX_SHARED};
    if (!warp->cta->checks)
        return;
    for (int i = 0; i < n; i++) {
        const struct async_copy *copy = &copies[i];
        access.bytes = copy->bytes;
        access.lanes |= 1u << copy->lane;
        access.address[copy->lane] = copy->address;
        if (i + 1 == n || copies[i + 1].instruction != copy->instruction ||
            copies[i + 1].lane <= copy->lane) {
            land(warp, copy->instruction, &access);
            access.lanes = 0;
        }
    }
}

/* ---- global and local memory ---------------------------------------------------------------- */

/* A warp's granules may lie far apart, in memory that no cache holds: first the heads of their
 * lists, then what comes behind, where no other thread can change that. */
static void fetch_ahead(const struct access *access, const struct memory_shadow *shadow,
                        const struct launch_checks *checks)
{
    for (int l = 0; l < WARP_LANES; l++) {
        uint64_t granule = access->address[l] >> GRANULE_SHIFT;
        if (granule - shadow->first_granule >= shadow->n_granules)
            return;
        __builtin_prefetch(&shadow->touches[granule - shadow->first_granule], 1);
    }
    if (checks->concurrent)
        return;
    for (int l = 0; l < WARP_LANES; l++) {
        uint64_t granule = access->address[l] >> GRANULE_SHIFT;
        const struct touch *head = &shadow->touches[granule - shadow->first_granule];
        if (head->next && head->launch == checks->serial)
            __builtin_prefetch(&checks->stripes[stripe_index(granule)].pool.records[head->next], 1);
    }
}

static bool check_global(struct warp *warp, const struct instruction *instruction,
                         const struct access *access)
{
    struct launch *launch = warp->cta->launch;
    struct launch_checks *checks = launch->checks;
    const struct toucher by = toucher_of(warp, instruction, access);
    const struct allocation *allocation = access->allocation;
    struct memory_shadow *shadow = memory_shadow_of(allocation);
    struct stripe *stripe = NULL;
    bool good = shadow != NULL;
    if (good && access->bytes == GRANULE && access->lanes == ALL_LANES)
        fetch_ahead(access, shadow, checks);
    for (uint32_t left = access->lanes; good && left;) {
        struct touched group;
        uint64_t address = access->address[__builtin_ctz(left)];
        if (address - allocation->base >= allocation->size) {
            allocation = memory_find(launch->memory, address);
            shadow = memory_shadow_of(allocation);
            if (!shadow)
                break;
        }
        uint64_t granule = next_group(access, &left, &group);
        size_t at = (granule >> GRANULE_SHIFT) - shadow->first_granule;
        struct stripe *own = &checks->stripes[stripe_index(granule >> GRANULE_SHIFT)];
        if (own != stripe && checks->concurrent) {
            if (stripe)
                stripe_unlock(stripe);
            stripe_lock(own);
        }
        stripe = own;
        if (checks->writes && !shadow->always_written)
            check_written(warp, instruction, access, &group, granule, &shadow->written[at]);
        if (checks->races)
            good = touch(&by, &shadow->touches[at], &stripe->pool, &group, granule, true);
    }
    if (stripe && checks->concurrent)
        stripe_unlock(stripe);
    return good && shadow;
}

static void check_local(struct warp *warp, const struct instruction *instruction,
                        const struct access *access)
{
    struct warp_checks *checks = warp->checks;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        uint64_t address = access->address[lane];
        const struct touched one = {1u << lane, byte_mask(address, access->bytes), 0, ALL_OF_THEM};
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
    if (access->strong && writes(access) && launch->tells && launch->races)
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
