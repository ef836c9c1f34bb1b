/* See cluster_notes.h. */
#include "tools/midashi/cluster_notes.h"

#include <stdio.h>

void kmeans_status(struct meter *meter, const struct kmeans_state *state, int restarts)
{
    char restart[48] = "";
    if (restarts > 1)
        snprintf(restart, sizeof restart, "restart %d of %d, ", state->restart + 1, restarts);
    if (state->iteration == 0)
        meter_status(meter, "cluster: %scentre %d of %d, inertia %.5g", restart, state->centre,
                     state->k, state->inertia);
    else
        meter_status(meter, "cluster: %siteration %d, inertia %.5g, shift %.3g (until %.3g)",
                     restart, state->iteration, state->inertia, state->shift, state->last_shift);
}

void note_empty(struct meter *meter, int n_empty, const char *cluster, const char *rows)
{
    if (n_empty > 0)
        meter_note(meter, "%d %s%s empty, since many %s are alike; ask for fewer", n_empty, cluster,
                   n_empty == 1 ? " is" : "s are", rows);
}

void note_doubt(struct meter *meter, const struct topic_count *count)
{
    char text[TOPIC_COUNT_DOUBT_SIZE];
    topic_count_doubt(count, text);
    if (*text)
        meter_note(meter, "%s", text);
}
