/* What check_order.c and check_places.c share. All of them set order->no_memory where there is
 * none. */
#ifndef SOFTCUDA_CHECK_VIEWS_H
#define SOFTCUDA_CHECK_VIEWS_H

#include "tools/softcuda/check_order.h"

/* Of the order's own CTA, all stamps 0; NULL: no memory. */
struct part *part_new(struct order *order);
void part_drop(struct part *part);
void view_clear(struct view *view);
/* NULL: nothing is known of the CTA. */
const struct part *view_find(const struct view *view, uint32_t cta);
void view_join(struct order *order, struct view *into, const struct view *from);
/* Takes over the caller's reference of part; NULL is nothing. */
void view_add(struct order *order, struct view *into, struct part *part);
/* The thread's own view; NULL: no memory. */
struct thread_view *own_view(struct order *order, int thread);
/* Up to which stamp `thread` knows `other`, both of the order's CTA. */
uint32_t order_knows(const struct order *order, int thread, int other);

#endif
