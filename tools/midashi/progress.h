/* Progress and notes on standard error. */
#ifndef MIDASHI_TOOLS_PROGRESS_H
#define MIDASHI_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/clock.h"
#include "host/base/progress.h"

/* "12 s", "12 min", "1.2 h". */
void format_duration(char *text, size_t size, double seconds);

/* What a command shows while it works: count, rate and time left, redrawn in place on a terminal,
 * as a plain line now and then elsewhere. */
struct meter {
    bool quiet, terminal;
    const char *stage;              /* NULL between stages */
    double stage_start, last_drawn; /* seconds, monotonic */
    bool line_open;                 /* a line on the terminal without its end */
};

void meter_open(struct meter *meter, bool quiet);
struct progress meter_progress(struct meter *meter);
/* How far something is that has no count, in ASCII: shown as often as progress is. */
void meter_status(struct meter *meter, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One line for the user, unless quiet. */
void meter_note(struct meter *meter, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes away a line of meter_status, before other output on the terminal. */
void meter_clear(struct meter *meter);
/* Ends a line that is still open, so that an error begins on its own. */
void meter_close(struct meter *meter);

#endif
