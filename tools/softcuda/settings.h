/* What the environment says: the one way to set up a software device, since programs that use it
 * know nothing of it. */
#ifndef SOFTCUDA_SETTINGS_H
#define SOFTCUDA_SETTINGS_H

#include "host/base/status.h"
#include "tools/softcuda/card.h"
#include "tools/softcuda/machine.h"

/*  SOFTCUDA_CARD=rtx3080|rtx4090|h100   rtx4090
 *  SOFTCUDA_SEED=N                      0; of everything that is shuffled
 *  SOFTCUDA_ORDER=fixed|shuffled        fixed; of CTAs, warps, and work on several streams
 *  SOFTCUDA_MMA=ieee|truncating         ieee; sums of tensor cores
 *  SOFTCUDA_ASYNC=late|early            late; when cp.async's copies land
 *  SOFTCUDA_CHECK=LIST                  none; all, or some of memory,init,race,sync,leak
 *  SOFTCUDA_REPORT=FILE                 none; where the counters go at the end
 *  SOFTCUDA_SAMPLE=N                    1; count on every N-th CTA
 *  SOFTCUDA_FAIL_ALLOC=N                0; the N-th device or pinned allocation fails
 *  SOFTCUDA_WORKERS=N                   0; threads that run CTAs, 0: one a processor
 *  SOFTCUDA_RESOURCES=FILE              none; what ptxas says of the kernels (resources.h) */
struct settings {
    const struct card *card;
    struct machine_settings machine;
    unsigned checks;       /* enum check, or-ed */
    const char *report;    /* NULL: none. Lives as long as the environment */
    const char *resources; /* the same */
    int sample;
    long fail_alloc;
};

/* STATUS_USAGE: "SOFTCUDA_ORDER: x: use fixed or shuffled"; another name that begins so. */
enum status settings_read(struct settings *settings, struct err *err);

/* One setting by the name behind SOFTCUDA_, as "ORDER": for command lines. STATUS_USAGE: "x: use
 * fixed or shuffled". */
enum status settings_set(struct settings *settings, const char *name, const char *value,
                         struct err *err);

#endif
