/* Places for registers. PTX has a register for each value, thousands of them in a long kernel: with
 * a place of its own each, a warp's registers would not fit a processor's cache. Registers that are
 * not alive at the same time share a place, as a compiler's do. */
#ifndef SOFTCUDA_PLACES_H
#define SOFTCUDA_PLACES_H

#include "tools/softcuda/program.h"

/* Renumbers the places of all instructions, so that program->register_bytes and n_predicates are
 * small. Needs block_start (flow.h). Places that are filled at the start, and registers that may be
 * read before they are written, keep one of their own. STATUS_RESOURCE: no memory. */
enum status places_share(struct program *program, struct err *err);

#endif
