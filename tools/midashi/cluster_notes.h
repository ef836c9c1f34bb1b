/* What `cluster` and `topics` tell of k-means while it runs and afterwards. */
#ifndef MIDASHI_TOOLS_CLUSTER_NOTES_H
#define MIDASHI_TOOLS_CLUSTER_NOTES_H

#include "host/kmeans.h"
#include "host/topic_count.h"
#include "tools/midashi/progress.h"

/* Where a run is, of so many. */
void kmeans_status(struct meter *meter, const struct kmeans_state *state, int restarts);

/* Of empty clusters, where there are some: calls them and rows as the command does. */
void note_empty(struct meter *meter, int n_empty, const char *cluster, const char *rows);

/* Why the number that --topics auto took is not to be relied on, where that is so. */
void note_doubt(struct meter *meter, const struct topic_count *count);

/* Where the numbers in the names of parts do not grow: part10.npy before part2.npy, as a shell
 * sorts them. */
void note_order(struct meter *meter, const char *const *files, int n);

#endif
