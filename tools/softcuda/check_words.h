/* The checkers' reports. Lanes and threads are of the CTA; addresses as an access has them. */
#ifndef SOFTCUDA_CHECK_WORDS_H
#define SOFTCUDA_CHECK_WORDS_H

#include "tools/softcuda/check_touch.h"

void say_unwritten(struct warp *warp, const struct instruction *instruction,
                   const struct access *access, int lane, uint64_t address);
/* Thread `other` made the older record. */
void say_race(const struct toucher *by, const struct touch *old, int lane, int other,
              uint64_t address);
void say_values_differ(const struct toucher *by, const struct touch *old, int lane, int other,
                       uint64_t address);
/* Bytes that a cp.async is filling are accessed. */
void say_in_flight(const struct toucher *by, int lane, uint64_t address);

#endif
