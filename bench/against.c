/* See against.h. */
#include "bench/against.h"

#include <math.h>
#include <string.h>
#include "bench/statistics.h"
#include "bench/worker.h"
#include "host/base/interrupt.h"

#define PASSES        4 /* starts of the two programs */
#define PASSES_MOST   12
#define TURNS         6 /* of a row in a pass */
#define TURNS_LARGEST (PASSES_MOST * TURNS)

struct pair {
    int row_a, row_b; /* numbers in the two programs */
    double log_ratio[TURNS_LARGEST], seconds[TURNS_LARGEST], instructions[TURNS_LARGEST];
};

struct match {
    const struct against_settings *settings;
    struct worker a, b;
    struct against_row *rows;
    struct pair *pairs;
    int n_rows;
    struct arena *arena;
};

/* ---- the rows that both have ---------------------------------------------------------------- */

static enum status start(struct match *match, int processor, struct err *err)
{
    const struct against_settings *settings = match->settings;
    TRY(worker_start(&match->a, settings->other, settings->arguments, processor, err));
    return worker_start(&match->b, settings->program, settings->arguments, processor, err);
}

static void stop(struct match *match)
{
    worker_stop(&match->a);
    worker_stop(&match->b);
}

static int find(char **titles, int n, const char *title)
{
    for (int i = 0; i < n; i++)
        if (strcmp(titles[i], title) == 0)
            return i;
    return -1;
}

/* Reads what both list; the first time it is what is joined. */
static enum status greet(struct match *match, struct err *err)
{
    char **a, **b;
    int n_a, n_b;
    TRY(worker_titles(&match->a, &a, &n_a, match->arena, err));
    TRY(worker_titles(&match->b, &b, &n_b, match->arena, err));
    if (match->rows)
        return STATUS_OK;
    match->rows = arena_alloc(match->arena, (size_t)n_b, sizeof *match->rows);
    match->pairs = arena_alloc(match->arena, (size_t)n_b, sizeof *match->pairs);
    if (!match->rows || !match->pairs)
        return err_no_memory(err, "the rows", 0);
    for (int i = 0; i < n_b; i++) {
        int row_a = find(a, n_a, b[i]);
        if (row_a < 0)
            continue;
        match->rows[match->n_rows] = (struct against_row){.title = b[i], .uncertain = true};
        match->pairs[match->n_rows].row_a = row_a;
        match->pairs[match->n_rows++].row_b = i;
    }
    if (match->n_rows == 0)
        return err_set(err, STATUS_USAGE, "%s and %s have no row in common", match->settings->other,
                       match->settings->program);
    return STATUS_OK;
}

/* ---- turns ---------------------------------------------------------------------------------- */

static enum status turn(struct match *match, struct against_row *row, struct pair *pair,
                        struct err *err)
{
    struct worker_time a, b;
    double slice = match->settings->slice;
    if (row->n_turns % 2) {
        TRY(worker_run(&match->b, slice, &b, err));
        TRY(worker_run(&match->a, slice, &a, err));
    } else {
        TRY(worker_run(&match->a, slice, &a, err));
        TRY(worker_run(&match->b, slice, &b, err));
    }
    int i = row->n_turns++;
    double seconds_a = a.processor_seconds / a.runs, seconds_b = b.processor_seconds / b.runs;
    pair->log_ratio[i] = log(seconds_b / seconds_a);
    pair->seconds[i] = seconds_a;
    pair->instructions[i] =
        a.instructions > 0 ? (b.instructions / b.runs) / (a.instructions / a.runs) : 0;
    return STATUS_OK;
}

static void judge(struct against_row *row, const struct pair *pair, double tolerance)
{
    double values[TURNS_LARGEST], scratch[TURNS_LARGEST];
    int n = row->n_turns;
    memcpy(values, pair->seconds, (size_t)n * sizeof *values);
    row->seconds = median_of(values, n);
    memcpy(values, pair->instructions, (size_t)n * sizeof *values);
    row->instructions = median_of(values, n);
    memcpy(values, pair->log_ratio, (size_t)n * sizeof *values);
    row->ratio = exp(median_of(values, n));
    median_interval(row->interval, values, n, scratch);
    for (int i = 0; i < 2; i++)
        row->interval[i] = exp(row->interval[i]);
    row->slower = row->ratio > 1 + tolerance;
    row->uncertain = row->interval[0] <= 1 + tolerance && row->interval[1] > 1 + tolerance;
}

static enum status run_row(struct match *match, int i, struct err *err)
{
    struct against_row *row = &match->rows[i];
    struct pair *pair = &match->pairs[i];
    bool right_a, right_b;
    TRY(worker_open(&match->a, pair->row_a, &right_a, err));
    TRY(worker_open(&match->b, pair->row_b, &right_b, err));
    row->wrong_a |= !right_a;
    row->wrong_b |= !right_b;
    if (row->wrong_a || row->wrong_b) {
        row->uncertain = false;
        return STATUS_OK;
    }
    for (int t = 0; t < TURNS; t++) {
        TRY(interrupt_check(err));
        TRY(turn(match, row, pair, err));
    }
    judge(row, pair, match->settings->tolerance);
    return STATUS_OK;
}

/* Nothing is called slower that was not looked at twice. */
static bool wants_more(const struct against_row *row)
{
    return row->uncertain || (row->slower && row->n_turns < 2 * PASSES * TURNS);
}

static int count_wanting(const struct match *match)
{
    int n = 0;
    for (int i = 0; i < match->n_rows; i++)
        n += wants_more(&match->rows[i]);
    return n;
}

/* All rows in the first passes, then those that want more. */
static enum status pass(struct match *match, int number, const struct progress *progress,
                        struct err *err)
{
    TRY(start(match, match->settings->one_processor ? number : -1, err));
    TRY(greet(match, err));
    size_t total = (size_t)(number < PASSES ? match->n_rows : count_wanting(match)), done = 0;
    const char *stage = number < PASSES ? "in turns" : "again, what is not certain";
    progress_report(progress, stage, "rows", 0, total);
    for (int i = 0; i < match->n_rows; i++) {
        if (number >= PASSES && !wants_more(&match->rows[i]))
            continue;
        TRY(run_row(match, i, err));
        progress_report(progress, stage, "rows", ++done, total);
    }
    return STATUS_OK;
}

enum status against_run(struct against_row **rows, int *n_rows,
                        const struct against_settings *settings, const struct progress *progress,
                        struct arena *arena, struct err *err)
{
    struct match match = {.settings = settings, .arena = arena};
    enum status status = STATUS_OK;
    for (int i = 0; i < PASSES_MOST && status == STATUS_OK; i++) {
        if (i >= PASSES && count_wanting(&match) == 0)
            break;
        status = pass(&match, i, progress, err);
        stop(&match);
    }
    *rows = match.rows;
    *n_rows = match.n_rows;
    return status;
}
