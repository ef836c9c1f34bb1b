/* The order in which a program's blocks are run when a warp's lanes have parted.
 *
 * Of a warp's fragments the one whose block comes first runs. For lanes to meet again as early as
 * they can, a block must come after all that can lead to it, loops aside, and what leaves a loop
 * after all of the loop. Bourdoncle's weak topological order ("Efficient chaotic iteration
 * strategies with widenings", 1993) is one with both properties, for flow that is not reducible
 * too: strongly connected components stand together, and recursively so without their heads. */
#ifndef SOFTCUDA_FLOW_H
#define SOFTCUDA_FLOW_H

#include "tools/softcuda/program.h"

/* Sets block_start and order of each instruction. STATUS_RESOURCE: no memory. */
enum status flow_order(struct program *program, struct arena *arena, struct err *err);

#endif
