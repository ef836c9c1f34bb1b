/* See cluster_notes.h. */
#include "tools/midashi/cluster_notes.h"

void note_doubt(struct meter *meter, const struct topic_count *count)
{
    char text[TOPIC_COUNT_DOUBT_SIZE];
    topic_count_doubt(count, text);
    if (*text)
        meter_note(meter, "%s", text);
}
