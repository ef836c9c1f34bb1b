/* See progress.h. */
#include "tools/midashi/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void meter_open(struct meter *meter, bool quiet)
{
    const char *term = getenv("TERM");
    *meter = (struct meter){
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
    };
}

#define REDRAW_SECONDS 0.1  /* on a terminal */
#define LINE_SECONDS   10.0 /* between plain lines */

static void format_duration(char *text, size_t size, double seconds)
{
    if (seconds < 100)
        snprintf(text, size, "%.0f s", seconds);
    else if (seconds < 6000)
        snprintf(text, size, "%.0f min", seconds / 60);
    else
        snprintf(text, size, "%.1f h", seconds / 3600);
}

static void draw(struct meter *meter, const char *unit, size_t done, size_t total, double elapsed,
                 bool finished)
{
    char line[160], left[32] = "";
    double rate = elapsed > 0 ? (double)done / elapsed : 0;
    int length = snprintf(line, sizeof line, "%s: %zu of %zu %s", meter->stage, done, total, unit);
    if (finished) {
        format_duration(left, sizeof left, elapsed);
        length += snprintf(line + length, sizeof line - (size_t)length, ", %s", left);
    } else if (done > 0 && elapsed > 0.5) {
        format_duration(left, sizeof left, (double)(total - done) / rate);
        length += snprintf(line + length, sizeof line - (size_t)length, ", %.3g a second, %s left",
                           rate, left);
    }
    if (meter->terminal)
        fprintf(stderr, "\r\033[K%s%s", line, finished ? "\n" : "");
    else
        fprintf(stderr, "%s\n", line);
    meter->line_open = meter->terminal && !finished;
}

static void report(void *context, const char *stage, const char *unit, size_t done, size_t total)
{
    struct meter *meter = context;
    double now = seconds_now();
    if (meter->quiet)
        return;
    if (done == 0) {
        meter_close(meter);
        meter->stage = stage;
        meter->stage_start = meter->last_drawn = now;
        if (!meter->terminal)
            return;
    }
    bool finished = done == total;
    if (!finished && now - meter->last_drawn < (meter->terminal ? REDRAW_SECONDS : LINE_SECONDS))
        return;
    meter->last_drawn = now;
    draw(meter, unit, done, total, now - meter->stage_start, finished);
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

void meter_close(struct meter *meter)
{
    if (meter->line_open)
        fputc('\n', stderr);
    meter->line_open = false;
}
