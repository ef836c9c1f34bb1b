/* What the checkers say. See check_words.h. */
#include "tools/softcuda/check_words.h"

#include <string.h>
#include "tools/softcuda/async.h"
#include "tools/softcuda/faults.h"

/* A race of the same lines is said once for each distance of the threads: what it takes to order
 * them differs. */
enum finding_kind {
    UNWRITTEN,
    RACE_IN_WARP,
    RACE_IN_BLOCK,
    RACE_IN_GRID,
    VALUES_DIFFER,
    IN_FLIGHT,
};

static const char *name_of(const struct touch *touch)
{
    if (touch->how & TOUCH_ATOMIC)
        return "atomic";
    if (touch->how & TOUCH_ASYNC)
        return touch->how & TOUCH_WRITE ? "cp.async to it" : "cp.async from it";
    return touch->how & TOUCH_WRITE ? "write" : "read";
}

static const char *verb_of(const struct access *access)
{
    switch (access->kind) {
    case ACCESS_WRITE:
        return "write";
    case ACCESS_ATOMIC:
        return "atomic";
    case ACCESS_ASYNC_READ:
        return "cp.async read";
    case ACCESS_ASYNC_WRITE:
        return "cp.async write";
    default:
        return "read";
    }
}

/* "read of 4 bytes at 0x120 of shared memory" and, of global memory, where that is. */
#define WHAT_SIZE 320
static const char *what(char *text, const struct warp *warp, const struct access *access, int lane)
{
    char where[160] = "";
    if (access->space == PTX_GLOBAL) {
        strcpy(where, " (");
        fault_describe(where + 2, sizeof where - 4, warp->cta->launch, access->address[lane]);
        strcat(where, ")");
    }
    snprintf(text, WHAT_SIZE, "%s of %d bytes at 0x%llx of %s memory%s", verb_of(access),
             access->bytes, (unsigned long long)access->address[lane],
             access->space == PTX_GLOBAL ? "global" : ptx_space_name(access->space), where);
    return text;
}

void say_unwritten(struct warp *warp, const struct instruction *instruction,
                   const struct access *access, int lane, uint64_t address)
{
    char text[WHAT_SIZE];
    report_once(warp, instruction, lane, CHECK_INIT, UNWRITTEN, NULL,
                "%s: byte 0x%llx was never written", what(text, warp, access, lane),
                (unsigned long long)address);
}

static struct party party_of(const struct toucher *by, const struct touch *old, int thread,
                             const char *text)
{
    const struct program *program = by->warp->cta->launch->program;
    return (struct party){&program->instructions[touch_instruction(old)].place, old->cta, thread,
                          text};
}

void say_race(const struct toucher *by, const struct touch *old, int lane, int other,
              uint64_t address)
{
    char text[WHAT_SIZE], with[64];
    int thread = by->warp->index * WARP_LANES + lane;
    enum finding_kind kind = old->cta != by->cta                         ? RACE_IN_GRID
                             : thread / WARP_LANES == other / WARP_LANES ? RACE_IN_WARP
                                                                         : RACE_IN_BLOCK;
    const char *missing = kind == RACE_IN_GRID
                              ? "nothing orders blocks of a grid but a fence with an atomic"
                          : kind == RACE_IN_WARP ? "threads of one warp need a __syncwarp between"
                                                 : "threads of two warps need a barrier between";
    snprintf(with, sizeof with, "with the earlier %s at", name_of(old));
    const struct party party = party_of(by, old, other, with);
    report_once(by->warp, by->instruction, lane, CHECK_RACE, (int)kind, &party,
                "race at byte 0x%llx: %s; %s", (unsigned long long)address,
                what(text, by->warp, by->access, lane), missing);
}

void say_values_differ(const struct toucher *by, const struct touch *old, int lane, int other,
                       uint64_t address)
{
    char text[WHAT_SIZE];
    const struct party party =
        party_of(by, old, by->warp->index * WARP_LANES + other, "with the same instruction,");
    report_once(by->warp, by->instruction, lane, CHECK_RACE, VALUES_DIFFER, &party,
                "race at byte 0x%llx: %s: lanes %d and %d of one store write different values",
                (unsigned long long)address, what(text, by->warp, by->access, lane), other, lane);
}

void say_in_flight(const struct toucher *by, int lane, uint64_t address)
{
    const struct cta *cta = by->warp->cta;
    const struct async_copy *found = NULL;
    const struct async_copies *of = NULL;
    int thread = 0;
    for (int w = 0; w < cta->n_warps && !found; w++) {
        of = cta->warps[w].copies;
        for (int i = 0; of && i < of->count && !found; i++)
            if (address - of->copies[i].address < (uint64_t)of->copies[i].bytes) {
                found = &of->copies[i];
                thread = w * WARP_LANES + found->lane;
            }
    }
    char text[WHAT_SIZE];
    struct party party = {found ? &found->instruction->place : &by->instruction->place, cta->number,
                          thread, "which is filled by"};
    const char *missing = found && found->group == of->group[found->lane]
                              ? "has not been committed to a group"
                              : "has not been waited for";
    report_once(by->warp, by->instruction, lane, CHECK_RACE, IN_FLIGHT, &party,
                "race at byte 0x%llx: %s, while a cp.async that %s is on its way there",
                (unsigned long long)address, what(text, by->warp, by->access, lane), missing);
}
