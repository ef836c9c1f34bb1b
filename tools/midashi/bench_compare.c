/* See bench_compare.h. */
#include "tools/midashi/bench_compare.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bench/against.h"
#include "loaders/json.h"
#include "tools/midashi/output.h"
#include "tools/midashi/progress.h"

/* ---- two builds ----------------------------------------------------------------------------- */

#define ARGUMENTS 12

/* The options that choose rows, as the worker takes them. */
static void worker_arguments(const char **arguments, char *threads, size_t size,
                             const struct options *options, const char *pattern)
{
    int n = 0;
    snprintf(threads, size, "%d", options->threads ? options->threads : 1);
    arguments[n++] = "--threads";
    arguments[n++] = threads;
    arguments[n++] = "--set";
    arguments[n++] = options->set;
    if (options->shape) {
        arguments[n++] = "--shape";
        arguments[n++] = options->shape;
    }
    if (options->full)
        arguments[n++] = "--full";
    arguments[n++] = "--";
    if (*pattern)
        arguments[n++] = pattern;
    arguments[n] = NULL;
}

static const char *verdict_of(const struct against_row *row)
{
    return row->wrong_a || row->wrong_b ? "WRONG"
           : row->slower                ? "SLOWER"
           : row->uncertain             ? "uncertain"
                                        : "";
}

static void print_row(const struct against_row *row)
{
    if (row->wrong_a || row->wrong_b) {
        printf("%-62s differs from the reference in %s\n", row->title,
               row->wrong_a && row->wrong_b ? "both"
               : row->wrong_b               ? "this build"
                                            : "the other");
        return;
    }
    printf("%-62s %10.2f us %6.3f  %.3f to %.3f", row->title, 1e6 * row->seconds, row->ratio,
           row->interval[0], row->interval[1]);
    if (row->instructions > 0)
        printf("  %6.3f", row->instructions);
    printf("  %s\n", verdict_of(row));
}

static json_t *against_json(const struct against_row *row)
{
    return json_pack("{s:s, s:f, s:[f,f], s:f, s:f, s:i, s:b, s:b, s:b}", "row", row->title,
                     "ratio", row->ratio, "interval", row->interval[0], row->interval[1], "seconds",
                     row->seconds, "instructions", row->instructions, "turns", row->n_turns,
                     "slower", (int)row->slower, "uncertain", (int)row->uncertain, "verified",
                     !row->wrong_a && !row->wrong_b);
}

static enum status print_rows(const struct options *options, const struct against_row *rows, int n,
                              struct err *err)
{
    if (options->json) {
        json_t *list = json_array();
        for (int i = 0; i < n; i++)
            if (json_array_append_new(list, against_json(&rows[i])) != 0) {
                json_decref(list);
                list = NULL;
            }
        return print_json(json_pack("{s:s, s:s, s:f, s:o}", "schema", "midashi-bench-against-1",
                                    "against", options->against, "tolerance", options->tolerance,
                                    "rows", list),
                          err);
    }
    printf("processor time of this build as a multiple of %s's\n\n%-62s %13s %6s  %-14s%s\n",
           options->against, "row", "the other's", "ratio", "95 %",
           n && rows[0].instructions > 0 ? "  instructions" : "");
    for (int i = 0; i < n; i++)
        print_row(&rows[i]);
    return STATUS_OK;
}

enum status bench_compare_against(const struct options *options, const char *pattern,
                                  struct err *err)
{
    char self[PATH_MAX] = "", threads[16];
    const char *arguments[ARGUMENTS];
    struct meter meter;
    struct arena arena = {0};
    struct against_row *rows;
    int n_rows, n_slower = 0, n_wrong = 0;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return err_set(err, STATUS_RESOURCE, "cannot tell which program this is: no /proc");
    worker_arguments(arguments, threads, sizeof threads, options, pattern);
    struct against_settings settings = {
        .program = self,
        .other = options->against,
        .arguments = arguments,
        .one_processor = options->threads <= 1,
        .tolerance = options->tolerance,
        .slice = 0.02,
    };
    meter_open(&meter, options->quiet);
    struct progress progress = meter_progress(&meter);
    enum status status = against_run(&rows, &n_rows, &settings, &progress, &arena, err);
    meter_close(&meter);
    if (status == STATUS_OK)
        status = print_rows(options, rows, n_rows, err);
    for (int i = 0; status == STATUS_OK && i < n_rows; i++) {
        n_wrong += rows[i].wrong_a || rows[i].wrong_b;
        n_slower += rows[i].slower;
    }
    arena_free(&arena);
    if (n_wrong)
        return err_set(err, STATUS_FAILED, "%d of %d rows differ from their reference", n_wrong,
                       n_rows);
    if (n_slower)
        return err_set(err, STATUS_FAILED, "%d of %d rows are slower by more than %g %%", n_slower,
                       n_rows, 100 * options->tolerance);
    return status;
}

/* ---- two files ------------------------------------------------------------------------------ */

#define RUN_LARGEST ((size_t)64 << 20) /* bytes */

enum status bench_read_run(json_t **run, const char *path, struct err *err)
{
    TRY(json_read_file(run, path, RUN_LARGEST, 0, err));
    const char *schema = json_string_value(json_object_get(*run, "schema"));
    if (schema && strcmp(schema, "midashi-bench-1") == 0 &&
        json_is_array(json_object_get(*run, "rows")))
        return STATUS_OK;
    json_decref(*run);
    *run = NULL;
    return err_set(err, STATUS_BAD_DATA, "%s: is no run of midashi bench --json", path);
}

/* Absent in both is the same too: json_equal says no to that. */
static bool same_member(const json_t *a, const json_t *b, const char *key)
{
    const json_t *in_a = json_object_get(a, key), *in_b = json_object_get(b, key);
    return json_equal(in_a, in_b) || (!in_a && !in_b);
}

static bool same_row(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"operation", "dtype", "device", "instructions", "threads",
                                       "shape",     "model", "items",  "unit"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!same_member(a, b, keys[i]))
            return false;
    return json_object_get(a, "operation") != NULL;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "?";
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* Of a step of the pipeline what it went through: "9181 tokens". */
static void print_shape(char *text, size_t size, const json_t *row)
{
    const char *key;
    json_t *value;
    size_t used = 0;
    *text = 0;
    if (json_object_get(row, "items"))
        snprintf(text, size, "%.0f %s", number_of(row, "items"), text_of(row, "unit"));
    json_object_foreach(json_object_get(row, "shape"), key, value)
    {
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s=%lld", used ? " " : "", key,
                                     (long long)json_integer_value(value));
    }
}

static bool is_verified(const json_t *row)
{
    return json_is_true(json_object_get(row, "verified"));
}

/* A row's two medians, and whether their intervals are apart. */
static void print_pair(const json_t *a, const json_t *b)
{
    char shape[128];
    double low_a = json_number_value(json_array_get(json_object_get(a, "interval"), 0));
    double high_a = json_number_value(json_array_get(json_object_get(a, "interval"), 1));
    double low_b = json_number_value(json_array_get(json_object_get(b, "interval"), 0));
    double high_b = json_number_value(json_array_get(json_object_get(b, "interval"), 1));
    double seconds_a = number_of(a, "seconds"), seconds_b = number_of(b, "seconds");
    print_shape(shape, sizeof shape, a);
    const char *dtype = json_object_get(a, "dtype") ? text_of(a, "dtype") : "";
    printf("%-24s %-5s %-40s %2lld ", text_of(a, "operation"), dtype, shape,
           (long long)json_integer_value(json_object_get(a, "threads")));
    if (!(seconds_a > 0) || !(seconds_b > 0)) {
        bool counted = is_verified(a) && is_verified(b);
        puts(counted ? " counted, not timed" : " not timed in both: differs from the reference");
        return;
    }
    printf("%12.2f us %12.2f us %6.3f  %s\n", 1e6 * seconds_a, 1e6 * seconds_b,
           seconds_b / seconds_a,
           low_b > high_a   ? "slower"
           : high_b < low_a ? "faster"
                            : "");
}

static int join(const json_t *a, const json_t *b)
{
    int n = 0;
    const json_t *rows_a = json_object_get(a, "rows"), *rows_b = json_object_get(b, "rows");
    for (size_t i = 0; i < json_array_size(rows_a); i++)
        for (size_t j = 0; j < json_array_size(rows_b); j++)
            if (same_row(json_array_get(rows_a, i), json_array_get(rows_b, j))) {
                if (n++ == 0)
                    printf("%-24s %-5s %-40s %2s %15s %15s %6s\n", "operation", "", "shape", "th",
                           "first", "second", "ratio");
                print_pair(json_array_get(rows_a, i), json_array_get(rows_b, j));
                break;
            }
    return n;
}

enum status bench_compare_files(const struct options *options, const char *path_a,
                                const char *path_b, struct err *err)
{
    struct meter meter;
    json_t *a = NULL, *b = NULL;
    if (options->json)
        return err_set(err, STATUS_USAGE,
                       "bench compare of two files prints a table; --json goes with --against");
    meter_open(&meter, options->quiet);
    enum status status = bench_read_run(&a, path_a, err);
    if (status == STATUS_OK)
        status = bench_read_run(&b, path_b, err);
    if (status == STATUS_OK) {
        const json_t *machine_a = json_object_get(a, "machine");
        const json_t *machine_b = json_object_get(b, "machine");
        if (!same_member(machine_a, machine_b, "processor"))
            meter_note(&meter, "the two ran on different processors: %s, %s",
                       text_of(machine_a, "processor"), text_of(machine_b, "processor"));
        if (join(a, b) == 0)
            status =
                err_set(err, STATUS_BAD_DATA, "%s and %s have no row in common", path_a, path_b);
        else
            meter_note(&meter, "stored runs carry what else the machine did at the time; to judge "
                               "a change, use midashi bench compare --against BINARY");
    }
    json_decref(a);
    json_decref(b);
    meter_close(&meter);
    return status;
}
