/* Accesses to shared memory, and copies that land there. See check.h. */
#include "tools/softcuda/check.h"

#include <string.h>
#include "tools/softcuda/check_lanes.h"

/* A byte for each word of a granule. */
#define ONE_EACH 0x01010101u

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

/* A read of these is said to come too early: that they are unwritten too goes without saying. */
static unsigned bytes_in_flight(const uint8_t *in_flight)
{
    unsigned bytes = 0;
    for (int word = 0; word < GRANULE / 4; word++)
        if (in_flight[word])
            bytes |= 15u << 4 * word;
    return bytes;
}

static bool check_group(const struct toucher *by, const struct touched *group, uint64_t granule)
{
    const struct launch_checks *launch = by->warp->cta->launch->checks;
    struct cta_checks *checks = by->warp->cta->checks;
    size_t at = granule >> GRANULE_SHIFT;
    struct touched there = *group;
    if (launch->races && checks->in_flight && !access_writes(by->access))
        there.bytes &= ~bytes_in_flight(&checks->in_flight[4 * at]);
    if (launch->writes && there.bytes)
        check_written(by->warp, by->instruction, by->access, &there, granule, &checks->written[at]);
    if (!launch->races)
        return true;
    if (checks->in_flight)
        check_in_flight(by, &checks->in_flight[4 * at], group, granule);
    return touch(by, &checks->touches[at], &checks->pool, group, granule, true);
}

/* Where nothing is amiss, and nothing is known that has to be compared. A copy is issued to a whole
 * granule. */
static inline __attribute__((always_inline)) bool passes(const struct toucher *by,
                                                         struct cta_checks *checks,
                                                         const struct touched *group, size_t at,
                                                         bool writes, bool issues, bool apart)
{
    struct touch *head = &checks->touches[at];
    uint64_t tag = touch_tag(by, group);
    uint32_t in_flight = 0;
    if (checks->in_flight)
        memcpy(&in_flight, &checks->in_flight[4 * at], sizeof in_flight);
    if (in_flight || (!writes && !issues && group->bytes & ~(unsigned)checks->written[at]))
        return false;
    if (!touch_again(by, head, group->lanes, tag) &&
        !(apart && touch_quietly(by, head, &checks->pool, group->lanes, tag)))
        return false;
    if (writes)
        checks->written[at] |= (uint16_t)group->bytes;
    if (issues) {
        in_flight = ONE_EACH;
        memcpy(&checks->in_flight[4 * at], &in_flight, sizeof in_flight);
    }
    return true;
}

static inline __attribute__((always_inline)) bool
check_whole(const struct toucher *by, uint32_t firsts, bool writes, bool issues)
{
    struct cta_checks *checks = by->warp->cta->checks;
    const uint64_t *address = by->access->address;
    const struct touched begin = whole_granule(by->access, 0);
    struct toucher quick = *by; /* nobody else's: it stays in registers */
    quick.across_ctas = false;
    for (; firsts; firsts &= firsts - 1) {
        int l = __builtin_ctz(firsts), base = begin.shift == ALL_OF_THEM ? 0 : l;
        const struct touched one = {begin.lanes << l, ALL_BYTES, base, begin.shift};
        if (passes(&quick, checks, &one, address[l] >> GRANULE_SHIFT, writes, issues, false))
            continue;
        const struct touched slow = one;
        if (!check_group(by, &slow, address[l]))
            return false;
    }
    return true;
}

/* Lanes with gaps, at once or one after the other. */
static bool check_apart(const struct toucher *by, const struct touched *group, uint64_t granule)
{
    const struct launch_checks *launch = by->warp->cta->launch->checks;
    if (launch->races && launch->writes &&
        passes(by, by->warp->cta->checks, group, granule >> GRANULE_SHIFT,
               by->access->kind == ACCESS_WRITE, false, true))
        return true;
    for (uint32_t left = group->lanes; left; left &= left - 1) {
        const struct touched one = one_lane(by->access, __builtin_ctz(left));
        if (!check_group(by, &one, granule))
            return false;
    }
    return true;
}

bool check_shared(struct warp *warp, const struct instruction *instruction,
                  const struct access *access)
{
    const struct launch_checks *launch = warp->cta->launch->checks;
    const struct toucher by = toucher_of(warp, instruction, access);
    uint32_t whole = launch->races && launch->writes ? whole_pieces(access, GRANULE) : 0;
    if (whole)
        switch (access->kind) {
        case ACCESS_READ:
            return check_whole(&by, whole, false, false);
        case ACCESS_ASYNC_WRITE:
            return check_whole(&by, whole, false, true);
        case ACCESS_WRITE:
            return check_whole(&by, whole, true, false);
        default: /* atomics are rarely side by side */
            break;
        }
    for (uint32_t left = access->lanes; left;) {
        struct touched group;
        uint64_t granule = next_group(access, &left, &group);
        if (!(touched_apart(&group) ? check_apart : check_group)(&by, &group, granule))
            return false;
    }
    return true;
}

/* ---- copies --------------------------------------------------------------------------------- */

static void land_group(const struct toucher *by, const struct touched *group, uint64_t granule,
                       bool races)
{
    struct cta_checks *checks = by->warp->cta->checks;
    size_t at = granule >> GRANULE_SHIFT;
    checks->written[at] |= (uint16_t)group->bytes;
    for (int word = 0; races && word < GRANULE / 4; word++)
        if (group->bytes >> 4 * word & 15 && checks->in_flight[4 * at + (size_t)word] > 0)
            checks->in_flight[4 * at + (size_t)word]--;
    if (races && !touch(by, &checks->touches[at], &checks->pool, group, 0, false))
        checks->order.no_memory = true;
}

/* Copies of one instruction. */
static void land(struct warp *warp, const struct instruction *instruction,
                 const struct access *access)
{
    const struct toucher by = toucher_of(warp, instruction, access);
    bool races = warp->cta->launch->checks->races;
    uint32_t whole = whole_pieces(access, GRANULE);
    for (uint32_t left = whole; left; left &= left - 1) {
        const struct touched group = whole_granule(access, __builtin_ctz(left));
        land_group(&by, &group, access->address[__builtin_ctz(left)], races);
    }
    for (uint32_t left = whole ? 0 : access->lanes; left;) {
        struct touched group;
        uint64_t granule = next_group(access, &left, &group);
        land_group(&by, &group, granule, races);
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
