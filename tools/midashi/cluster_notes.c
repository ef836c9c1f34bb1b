/* See cluster_notes.h. */
#include "tools/midashi/cluster_notes.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Names that differ in one number only, which is larger in a. */
static bool number_falls(const char *a, const char *b)
{
    size_t at = 0;
    while (a[at] && a[at] == b[at])
        at++;
    while (at > 0 && is_digit(a[at - 1]))
        at--;
    a += at, b += at;
    a += strspn(a, "0"), b += strspn(b, "0");
    size_t n = strspn(a, "0123456789"), m = strspn(b, "0123456789");
    return strcmp(a + n, b + m) == 0 && (n != m ? n > m : memcmp(a, b, n) > 0);
}

void note_order(struct meter *meter, const char *const *files, int n)
{
    for (int i = 1; i < n; i++)
        if (number_falls(files[i - 1], files[i])) {
            meter_note(meter,
                       "%s comes before %s: rows are taken in this order; is it that of the texts? "
                       "ls -v sorts by number",
                       files[i - 1], files[i]);
            return;
        }
}
