/* Accesses to global memory. See check.h. */
#include "tools/softcuda/check.h"

#include <string.h>
#include "tools/softcuda/check_lanes.h"

/* Where an access goes on: the shadow of what it is in, the stripe that is locked. */
struct spot {
    const struct allocation *allocation;
    struct memory_shadow *shadow;
    struct stripe *stripe;
};

/* Lanes that touch another granule than the lane before. */
static uint32_t jumps(const struct access *access)
{
    uint32_t found = 0;
    uint64_t last = UINT64_MAX;
    if (access->bytes == GRANULE)
        return access->lanes;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        uint64_t granule = access->address[__builtin_ctz(left)] >> GRANULE_SHIFT;
        found |= granule != last ? left & -left : 0;
        last = granule;
    }
    return found;
}

/* A warp's lanes may lie far apart, in memory that no cache holds: first the heads of their lists,
 * then what comes behind, where no other thread can change that. */
static void fetch_ahead(const struct access *access, uint32_t firsts, bool lines,
                        const struct memory_shadow *shadow, const struct launch_checks *checks)
{
    const struct touch *heads = lines ? shadow->lines : shadow->touches;
    unsigned shift = lines ? LINE_GRANULES_SHIFT : 0;
    for (uint32_t left = firsts; left; left &= left - 1) {
        uint64_t at =
            (access->address[__builtin_ctz(left)] >> GRANULE_SHIFT) - shadow->first_granule;
        if (at >= shadow->n_granules)
            return;
        __builtin_prefetch(&heads[at >> shift], 1);
        __builtin_prefetch(&shadow->lines[at >> LINE_GRANULES_SHIFT], 1);
    }
    if (checks->concurrent)
        return;
    for (uint32_t left = firsts; left; left &= left - 1) {
        uint64_t granule = access->address[__builtin_ctz(left)] >> GRANULE_SHIFT;
        const struct touch *head = &heads[(granule - shadow->first_granule) >> shift];
        if (head->next && head->launch == checks->serial)
            __builtin_prefetch(&checks->stripes[stripe_index(granule)].pool.records[head->next], 1);
    }
}

/* false: no memory. */
static bool go_to(struct spot *spot, const struct launch *launch, uint64_t address)
{
    struct launch_checks *checks = launch->checks;
    if (address - spot->allocation->base >= spot->allocation->size) {
        spot->allocation = memory_find(launch->memory, address);
        spot->shadow = memory_shadow_of(spot->allocation);
        if (!spot->shadow)
            return false;
    }
    struct stripe *own = &checks->stripes[stripe_index(address >> GRANULE_SHIFT)];
    if (own != spot->stripe && checks->concurrent) {
        if (spot->stripe)
            stripe_unlock(spot->stripe);
        stripe_lock(own);
    }
    spot->stripe = own;
    return true;
}

static bool check_granule(const struct toucher *by, const struct spot *spot,
                          const struct touched *group, uint64_t granule)
{
    const struct launch_checks *checks = by->warp->cta->launch->checks;
    struct memory_shadow *shadow = spot->shadow;
    size_t at = (granule >> GRANULE_SHIFT) - shadow->first_granule, line = at / LINE_GRANULES;
    if (checks->writes && !shadow->always_written)
        check_written(by->warp, by->instruction, by->access, group, granule, &shadow->written[at]);
    return !checks->races ||
           (line_in_pieces(by, &shadow->lines[line], &shadow->touches[line * LINE_GRANULES],
                           &spot->stripe->pool) &&
            touch(by, &shadow->touches[at], &spot->stripe->pool, group, granule, true));
}

/* Lanes with gaps, at once or one after the other. */
static bool check_apart(const struct toucher *by, const struct spot *spot,
                        const struct touched *group, uint64_t granule)
{
    const struct launch_checks *checks = by->warp->cta->launch->checks;
    struct memory_shadow *shadow = spot->shadow;
    size_t at = (granule >> GRANULE_SHIFT) - shadow->first_granule, line = at / LINE_GRANULES;
    struct touch *head = &shadow->touches[at];
    uint64_t tag = touch_tag(by, group);
    bool writes = by->access->kind == ACCESS_WRITE;
    bool good =
        writes || shadow->always_written || !(group->bytes & ~(unsigned)shadow->written[at]);
    if (good && checks->races) {
        if (!line_in_pieces(by, &shadow->lines[line], &shadow->touches[line * LINE_GRANULES],
                            &spot->stripe->pool))
            return false;
        good = touch_again(by, head, group->lanes, tag) ||
               touch_quietly(by, head, &spot->stripe->pool, group->lanes, tag);
    }
    if (good && writes)
        shadow->written[at] |= (uint16_t)group->bytes;
    for (uint32_t left = good ? 0 : group->lanes; left; left &= left - 1) {
        const struct touched one = one_lane(by->access, __builtin_ctz(left));
        if (!check_granule(by, spot, &one, granule))
            return false;
    }
    return true;
}

/* The line that begins with lane `first`. */
static bool check_line(const struct toucher *by, const struct spot *spot, int first)
{
    const struct access *access = by->access;
    const struct launch_checks *checks = by->warp->cta->launch->checks;
    struct memory_shadow *shadow = spot->shadow;
    uint64_t address = access->address[first], all = UINT64_MAX, written = all;
    size_t at = (address >> GRANULE_SHIFT) - shadow->first_granule;
    const struct touched group = whole_granule(access, first);
    if (checks->writes && !shadow->always_written)
        memcpy(&written, &shadow->written[at], sizeof written);
    if ((written == all || access->kind == ACCESS_WRITE) &&
        touch_line(by, &shadow->lines[at / LINE_GRANULES], &spot->stripe->pool, group.lanes,
                   touch_tag(by, &group))) {
        if (written != all)
            memcpy(&shadow->written[at], &all, sizeof all);
        return true;
    }
    for (int i = 0, l = first; i < LINE_GRANULES; i++, l += GRANULE / access->bytes) {
        const struct touched part = whole_granule(access, l);
        if (!check_granule(by, spot, &part, address + (uint64_t)(i * GRANULE)))
            return false;
    }
    return true;
}

bool check_global(struct warp *warp, const struct instruction *instruction,
                  const struct access *access)
{
    const struct launch *launch = warp->cta->launch;
    const struct launch_checks *checks = launch->checks;
    const struct toucher by = toucher_of(warp, instruction, access);
    struct spot spot = {access->allocation, memory_shadow_of(access->allocation), NULL};
    uint32_t lines = checks->races ? whole_pieces(access, LINE) : 0;
    bool good = spot.shadow != NULL;
    if (good)
        fetch_ahead(access, lines ? lines : jumps(access), lines != 0, spot.shadow, checks);
    for (uint32_t left = lines; good && left; left &= left - 1) {
        int first = __builtin_ctz(left);
        good = go_to(&spot, launch, access->address[first]) && check_line(&by, &spot, first);
    }
    for (uint32_t left = lines ? 0 : access->lanes; good && left;) {
        struct touched group;
        uint64_t address = access->address[__builtin_ctz(left)];
        good = go_to(&spot, launch, address);
        uint64_t granule = next_group(access, &left, &group);
        good = good &&
               (touched_apart(&group) ? check_apart : check_granule)(&by, &spot, &group, granule);
    }
    if (spot.stripe && checks->concurrent)
        stripe_unlock(spot.stripe);
    return good;
}
