/* cp.async: copies that land later. Late: when their group is waited for; early: at once. */
#ifndef SOFTCUDA_ASYNC_H
#define SOFTCUDA_ASYNC_H

#include "tools/softcuda/machine.h"

/* One lane's copy of up to 16 bytes, taken from global memory when it was issued. */
struct async_copy {
    unsigned char data[16];
    unsigned char *to; /* in the CTA's shared memory */
    uint64_t address;  /* the same as an offset in it, for the checkers */
    int bytes, lane;
    uint64_t group;                        /* of its lane: committed groups count from 1 */
    const struct instruction *instruction; /* that issued it */
};

/* Of a warp. */
struct async_copies {
    struct async_copy *copies;
    int count, capacity;
    uint64_t group[WARP_LANES]; /* the one that each lane is filling */
};

struct access;

/* A copy to `to` for each of `lanes`: the first `size` bytes are those at `from`, the others 0.
 * from is not looked at where size is 0. false: no memory. */
bool async_add(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
               const struct access *to, const struct access *from, int size);
void async_commit(struct warp *warp, uint32_t lanes);
/* Copies of the lanes' groups land, all but the newest `keep` committed ones. */
void async_wait(struct warp *warp, uint32_t lanes, int keep);
/* Those that have not been committed too. */
void async_wait_all(struct warp *warp, uint32_t lanes);
void async_close(struct warp *warp);

#endif
