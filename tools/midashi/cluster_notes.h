/* What `cluster` and `topics` tell of k-means while it runs and afterwards. */
#ifndef MIDASHI_TOOLS_CLUSTER_NOTES_H
#define MIDASHI_TOOLS_CLUSTER_NOTES_H

#include "host/kmeans.h"
#include "host/topic_count.h"
#include "tools/midashi/progress.h"

/* Why the number that --topics auto took is not to be relied on, where that is so. */
void note_doubt(struct meter *meter, const struct topic_count *count);

#endif
