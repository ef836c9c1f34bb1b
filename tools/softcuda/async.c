/* Copies under way. See async.h. */
#include "tools/softcuda/access.h"
#include "tools/softcuda/async.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/check.h"

static struct async_copies *copies_of(struct warp *warp)
{
    if (!warp->copies) {
        warp->copies = mem_alloc_zero(1, sizeof *warp->copies);
        for (int l = 0; warp->copies && l < WARP_LANES; l++)
            warp->copies->group[l] = 1;
    }
    return warp->copies;
}

/* Room for a copy of each lane. */
static bool make_room(struct async_copies *copies)
{
    if (copies->count + WARP_LANES <= copies->capacity)
        return true;
    int capacity = copies->capacity ? 2 * copies->capacity : 8 * WARP_LANES;
    void *larger = mem_resize(copies->copies, (size_t)capacity, sizeof *copies->copies);
    if (!larger)
        return false;
    copies->copies = larger;
    copies->capacity = capacity;
    return true;
}

bool async_add(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
               const struct access *to, const struct access *from, int size)
{
    struct async_copies *copies = copies_of(warp);
    bool early = warp->cta->launch->settings->async == ASYNC_EARLY;
    if (!copies || !make_room(copies))
        return false;
    for (uint32_t left = lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        struct async_copy *copy = &copies->copies[copies->count++];
        copy->to = to->host[lane];
        copy->address = to->address[lane];
        copy->bytes = to->bytes;
        copy->lane = lane;
        copy->group = copies->group[lane];
        copy->instruction = instruction;
        if (size == 16) { /* a constant: no call */
            memcpy(copy->data, from->host[lane], 16);
        } else {
            memset(copy->data, 0, sizeof copy->data);
            if (size > 0)
                memcpy(copy->data, from->host[lane], (size_t)size);
        }
        if (early)
            move_copy(copy->to, copy->data, copy->bytes);
    }
    return true;
}

void async_commit(struct warp *warp, uint32_t lanes)
{
    struct async_copies *copies = copies_of(warp);
    for (uint32_t left = lanes; copies && left; left &= left - 1)
        copies->group[__builtin_ctz(left)]++;
}

/* Lands what `last` allows: of each lane the groups up to last[lane]. Copies that stand together
 * land together. */
static void land(struct warp *warp, uint32_t lanes, const uint64_t *last)
{
    struct async_copies *copies = warp->copies;
    bool late = warp->cta->launch->settings->async == ASYNC_LATE;
    int kept = 0;
    for (int i = 0, first; i < copies->count; i++) {
        for (first = i; i < copies->count; i++) {
            const struct async_copy *copy = &copies->copies[i];
            if (!(lanes >> copy->lane & 1) || copy->group > last[copy->lane])
                break;
            if (late)
                move_copy(copy->to, copy->data, copy->bytes);
        }
        if (i > first)
            check_landed(warp, &copies->copies[first], i - first);
        if (i < copies->count)
            copies->copies[kept++] = copies->copies[i];
    }
    copies->count = kept;
}

void async_wait(struct warp *warp, uint32_t lanes, int keep)
{
    uint64_t last[WARP_LANES];
    if (!warp->copies)
        return;
    for (int l = 0; l < WARP_LANES; l++) {
        uint64_t committed = warp->copies->group[l] - 1;
        last[l] = committed > (uint64_t)keep ? committed - (uint64_t)keep : 0;
    }
    land(warp, lanes, last);
}

void async_wait_all(struct warp *warp, uint32_t lanes)
{
    uint64_t last[WARP_LANES];
    if (!warp->copies)
        return;
    for (int l = 0; l < WARP_LANES; l++)
        last[l] = UINT64_MAX;
    land(warp, lanes, last);
}

void async_close(struct warp *warp)
{
    if (warp->copies)
        mem_free(warp->copies->copies);
    mem_free(warp->copies);
    warp->copies = NULL;
}
