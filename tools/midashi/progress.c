/* See progress.h. */
#include "tools/midashi/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/midashi/columns.h"

void meter_open(struct meter *meter, bool quiet)
{
    const char *term = getenv("TERM");
    *meter = (struct meter){
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
    };
    /* The first line is due at once on a terminal, and later elsewhere. */
    meter->last_drawn = meter->terminal ? 0 : seconds_now();
}

#define REDRAW_SECONDS 0.1  /* on a terminal */
#define LINE_SECONDS   10.0 /* between plain lines */

void format_duration(char *text, size_t size, double seconds)
{
    if (seconds < 100)
        snprintf(text, size, "%.0f s", seconds);
    else if (seconds < 6000)
        snprintf(text, size, "%.0f min", seconds / 60);
    else
        snprintf(text, size, "%.1f h", seconds / 3600);
}

/* Shows a line, which may have lost its end to the edge of the terminal: a line that wraps could
 * not be drawn over. */
static void show(struct meter *meter, const char *line, bool finished)
{
    int edge = meter->terminal ? terminal_columns(STDERR_FILENO) : 0;
    if (meter->terminal)
        fprintf(stderr, "\r\033[K%.*s%s", edge - 1, line, finished ? "\n" : "");
    else
        fprintf(stderr, "%s\n", line);
    meter->line_open = meter->terminal && !finished;
}

/* Whether it is time for another line, which then counts as shown. */
static bool due(struct meter *meter, double now)
{
    if (now - meter->last_drawn < (meter->terminal ? REDRAW_SECONDS : LINE_SECONDS))
        return false;
    meter->last_drawn = now;
    return true;
}

static void draw(struct meter *meter, const char *unit, size_t done, size_t total, double elapsed,
                 bool finished)
{
    char line[160], left[32] = "";
    double rate = elapsed > 0 ? (double)done / elapsed : 0;
    int length = snprintf(line, sizeof line, "%s: %zu of %zu %s", meter->stage, done, total, unit);
    if (finished) {
        format_duration(left, sizeof left, elapsed);
        snprintf(line + length, sizeof line - (size_t)length, ", %s", left);
    } else if (done > 0 && elapsed > 0.5) {
        format_duration(left, sizeof left, (double)(total - done) / rate);
        snprintf(line + length, sizeof line - (size_t)length, ", %.*f a second, %s left",
                 rate < 10    ? 2
                 : rate < 100 ? 1
                              : 0,
                 rate, left);
    }
    show(meter, line, finished);
}

static void report(void *context, const char *stage, const char *unit, size_t done, size_t total)
{
    struct meter *meter = context;
    double now = seconds_now();
    if (meter->quiet)
        return;
    bool begins = done == 0 && (!meter->stage || strcmp(meter->stage, stage) != 0);
    if (begins) {
        meter_close(meter);
        meter->stage = stage;
        meter->stage_start = meter->last_drawn = now;
    }
    if (!meter->stage) /* finished already */
        return;
    bool finished = done == total;
    if (finished || (begins && meter->terminal) || due(meter, now))
        draw(meter, unit, done, total, now - meter->stage_start, finished);
    if (finished)
        meter->stage = NULL;
}

void meter_status(struct meter *meter, const char *format, ...)
{
    if (meter->quiet || !due(meter, seconds_now()))
        return;
    char line[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    show(meter, line, false);
}

struct progress meter_progress(struct meter *meter)
{
    return (struct progress){.report = report, .context = meter};
}

void meter_note(struct meter *meter, const char *format, ...)
{
    if (meter->quiet)
        return;
    meter_close(meter);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void meter_clear(struct meter *meter)
{
    if (meter->line_open)
        fputs("\r\033[K", stderr);
    meter->line_open = false;
}

void meter_close(struct meter *meter)
{
    if (meter->line_open)
        fputc('\n', stderr);
    meter->line_open = false;
}
