/* One memory instruction's accesses: from lanes' addresses to host memory, with all checks and
 * counts on the way. */
#ifndef SOFTCUDA_ACCESS_H
#define SOFTCUDA_ACCESS_H

#include <string.h>
#include "tools/softcuda/machine.h"

enum access_kind {
    ACCESS_READ,
    ACCESS_WRITE,
    ACCESS_ATOMIC,      /* reads and writes at once */
    ACCESS_ASYNC_READ,  /* cp.async: from global memory */
    ACCESS_ASYNC_WRITE, /* cp.async: to shared memory; lands later */
    ACCESS_HINT,        /* no byte is moved: nothing but bounds and alignment is looked at */
};

struct access {
    enum access_kind kind;
    enum ptx_space space; /* of all lanes: generic addresses have been told apart */
    int bytes;            /* of a lane */
    int alignment;        /* of addresses: bytes, but where cp.async reads less than it copies */
    uint32_t lanes;
    bool strong; /* volatile or ordered */
    /* As the instruction has them, with the window of generic ones taken off: an offset in shared,
     * local and param memory, a device address in global. */
    uint64_t address[WARP_LANES];
    unsigned char *host[WARP_LANES];
    const struct allocation *allocation; /* of the last global lane */
};

/* Fills `access` for source `source` (an address place) of the instruction with `offset`. Generic
 * addresses in several windows make several accesses: *access covers the lanes in the first one's
 * window, access->lanes says which; call again with the rest. false: a fault has been reported
 * (out of bounds, misaligned, a window that this kind may not touch), return NEXT_STOP. Counters
 * and checkers have seen the access when it returns true. */
bool access_resolve(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                    int source, int64_t offset, enum ptx_space space, enum access_kind kind,
                    int bytes, struct access *access);
/* The same with a source that is read in part: of an aligned piece the first `bytes`. */
bool access_resolve_part(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                         int source, int64_t offset, enum ptx_space space, enum access_kind kind,
                         int bytes, int alignment, struct access *access);
/* After the data of an access has moved: a strong one knows what others had published by then. */
void access_done(struct warp *warp, const struct access *access);

/* Byte `at` of what a store writes for a lane. */
unsigned char access_stored_byte(const struct warp *warp, const struct instruction *instruction,
                                 int lane, int at);

/* memcpy of the sizes that elements (1, 2, 4, 8) and copies (4, 8, 16) have: for these a few
 * instructions instead of a call. */
static inline void move_element(void *to, const void *from, int bytes)
{
    switch (bytes) {
    case 1:
        memcpy(to, from, 1);
        return;
    case 2:
        memcpy(to, from, 2);
        return;
    case 4:
        memcpy(to, from, 4);
        return;
    default:
        memcpy(to, from, 8);
        return;
    }
}

static inline void move_copy(void *to, const void *from, int bytes)
{
    if (bytes == 16)
        memcpy(to, from, 16);
    else
        move_element(to, from, bytes);
}

#endif
