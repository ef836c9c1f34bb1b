/* One warp: fragments of lanes, which part at branches and meet again. See machine.h. */
#include "tools/softcuda/execute.h"

#include "tools/softcuda/count.h"
#include "tools/softcuda/faults.h"

static const struct instruction *at(const struct warp *warp, const struct fragment *fragment)
{
    return &warp->cta->launch->program->instructions[fragment->at];
}

static void remove_fragment(struct warp *warp, int i)
{
    warp->fragments[i] = warp->fragments[--warp->n_fragments];
}

/* Fragments at the same instruction become one, unless they are at the CTA's barrier. */
static void merge(struct warp *warp)
{
    for (int i = 0; i < warp->n_fragments; i++)
        for (int j = i + 1; j < warp->n_fragments; j++) {
            struct fragment *a = &warp->fragments[i], *b = &warp->fragments[j];
            if (a->at != b->at || a->state >= FRAGMENT_BARRIER || b->state >= FRAGMENT_BARRIER)
                continue;
            if (a->apart || b->apart ||
                (a->state == FRAGMENT_SYNC && b->state == FRAGMENT_SYNC && a->mask != b->mask))
                continue;
            a->lanes |= b->lanes;
            a->state = FRAGMENT_READY;
            remove_fragment(warp, j--);
        }
}

/* At this age a fragment that others go ahead of is run for a block all the same. */
#define PATIENCE 65536

/* The ready fragment whose block comes first; -1: none is ready. */
static int choose(struct warp *warp)
{
    int best = -1;
    if (warp->n_fragments > 1)
        merge(warp);
    for (int i = 0; i < warp->n_fragments; i++) {
        const struct fragment *fragment = &warp->fragments[i];
        if (fragment->state != FRAGMENT_READY && fragment->state != FRAGMENT_REDUCED)
            continue;
        if (warp_age(warp) - fragment->ran_at > PATIENCE && warp->n_fragments > 1)
            return i;
        int order = at(warp, fragment)->order;
        if (best < 0 || order < at(warp, &warp->fragments[best])->order ||
            (order == at(warp, &warp->fragments[best])->order &&
             fragment->at < warp->fragments[best].at))
            best = i;
    }
    return best;
}

static void leave(struct warp *warp, struct fragment *fragment, uint32_t lanes)
{
    fragment->lanes &= ~lanes;
    warp->live &= ~lanes;
    warp->cta->n_live -= __builtin_popcount(lanes);
    if (fragment->lanes == 0)
        remove_fragment(warp, (int)(fragment - warp->fragments));
    /* A partner that others wait for at a .sync may be gone: they look again. */
    for (int i = 0; i < warp->n_fragments; i++) {
        struct fragment *waiting = &warp->fragments[i];
        if (waiting->state != FRAGMENT_SYNC)
            continue;
        if (waiting->mask & lanes)
            fault_left(warp, at(warp, waiting), waiting->lanes, waiting->mask & lanes);
        waiting->state = FRAGMENT_READY;
    }
    cta_threads_left(warp->cta);
}

/* taken go to the target, the others on. */
static void branch(struct warp *warp, struct fragment *fragment,
                   const struct instruction *instruction, uint32_t taken)
{
    if (taken == fragment->lanes) {
        fragment->at = instruction->target;
        return;
    }
    fragment->lanes &= ~taken;
    fragment->at++;
    warp->fragments[warp->n_fragments++] =
        (struct fragment){.at = instruction->target, .lanes = taken, .ran_at = warp_age(warp)};
}

/* Only .sync instructions are waited for, and none can go on: an error of the kernel's. */
static enum warp_state stuck(struct warp *warp)
{
    bool barrier = false;
    for (int i = 0; i < warp->n_fragments; i++)
        barrier |= warp->fragments[i].state == FRAGMENT_BARRIER;
    for (int i = 0; i < warp->n_fragments; i++) {
        const struct fragment *fragment = &warp->fragments[i];
        if (fragment->state == FRAGMENT_SYNC) {
            fault_divergent(warp, at(warp, fragment), fragment->lanes, fragment->mask);
            return WARP_STOPPED;
        }
    }
    return barrier ? WARP_WAITING : WARP_DONE;
}

enum warp_state warp_run(struct warp *warp, int slice, int *ran)
{
    const struct instruction *code = warp->cta->launch->program->instructions;
    struct cta_counters *counters = warp->cta->counters;
    int left = slice;
    while (left > 0) {
        warp->current = choose(warp);
        if (warp->current < 0) {
            *ran = slice - left;
            return warp->live == 0 ? WARP_DONE : stuck(warp);
        }
        struct fragment *fragment = &warp->fragments[warp->current];
        fragment->ran_at = warp_age(warp);
        fragment->apart = false;
        for (enum next next = NEXT_GO; next == NEXT_GO;) {
            const struct instruction *instruction = &code[fragment->at];
            uint32_t lanes = fragment->lanes;
            if (instruction->guard >= 0) {
                uint32_t guard = warp->predicates[instruction->guard];
                lanes &= instruction->guard_negated ? ~guard : guard;
            }
            left--;
            warp->n_run++;
            /* bar.red was counted when it arrived. */
            if (counters && fragment->state != FRAGMENT_REDUCED)
                count_instruction(counters, instruction, lanes, fragment->lanes);
            if (lanes == 0) {
                fragment->at++;
            } else {
                next = instruction->run(warp, instruction, lanes);
                if (next == NEXT_GO || next == NEXT_YIELD)
                    fragment->at++;
                else if (next == NEXT_BRANCH)
                    branch(warp, fragment, instruction, lanes);
                else if (next == NEXT_EXIT) {
                    if (lanes != fragment->lanes)
                        fragment->at++;
                    leave(warp, fragment, lanes);
                }
            }
            if (next == NEXT_WAIT && counters && fragment->state == FRAGMENT_SYNC)
                count_again(counters, instruction, lanes, fragment->lanes);
            if (next != NEXT_EXIT)
                fragment->ran_at = warp_age(warp);
            /* Where blocks meet another fragment may come first. */
            if (next == NEXT_GO &&
                (left <= 0 || (warp->n_fragments > 1 && code[fragment->at].block_start)))
                break;
            if (next == NEXT_BRANCH && warp->n_fragments == 1 && left > 0)
                next = NEXT_GO;
            if (next == NEXT_STOP || next == NEXT_YIELD) {
                *ran = slice - left;
                return next == NEXT_STOP ? WARP_STOPPED : WARP_READY;
            }
        }
    }
    *ran = slice;
    return WARP_READY;
}

/* The fragment waits here until `mask` has come. */
static enum next wait_for(struct warp *warp, uint32_t mask)
{
    struct fragment *fragment = &warp->fragments[warp->current];
    fragment->state = FRAGMENT_SYNC;
    fragment->mask = mask;
    return NEXT_WAIT;
}

bool warp_gather(struct warp *warp, const struct instruction *instruction, uint32_t *lanes,
                 const uint32_t *masks, enum next *next)
{
    uint32_t mask = masks[__builtin_ctz(*lanes)], others = 0, differ = 0;
    for (int lane = 0; lane < WARP_LANES; lane++)
        differ |= masks[lane] ^ mask;
    /* One mask, which all are in, is what nearly every kernel has. */
    uint32_t doubtful = differ == 0 && (*lanes & ~mask) == 0 ? 0 : *lanes;
    for (uint32_t left = doubtful; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        if (!(masks[lane] >> lane & 1)) {
            *next = fault_mask(warp, instruction, lane, masks[lane]);
            return false;
        }
        if (masks[lane] != mask)
            others |= 1u << lane;
    }
    if (others) { /* another group of lanes, with a mask of its own */
        struct fragment *fragment = &warp->fragments[warp->current];
        warp->fragments[warp->n_fragments++] = (struct fragment){
            .at = fragment->at, .lanes = others, .apart = true, .ran_at = warp_age(warp)};
        fragment->lanes &= ~others;
        *lanes &= ~others;
    }
    if ((mask & warp->live & ~*lanes) == 0)
        return true;
    *next = wait_for(warp, mask & warp->live);
    return false;
}

bool warp_gather_all(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                     enum next *next)
{
    (void)instruction;
    if (lanes == warp->live)
        return true;
    *next = wait_for(warp, warp->live);
    return false;
}
