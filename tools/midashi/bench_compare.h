/* `midashi bench compare`: two stored runs, or two builds in turns. */
#ifndef MIDASHI_TOOLS_BENCH_COMPARE_H
#define MIDASHI_TOOLS_BENCH_COMPARE_H

#include <jansson.h>
#include "tools/midashi/options.h"

/* A run that midashi bench --json wrote, for the caller to release. STATUS_BAD_DATA: it is none. */
enum status bench_read_run(json_t **run, const char *path, struct err *err);

/* The two files that --json wrote: rows that both have, side by side. */
enum status bench_compare_files(const struct options *options, const char *path_a,
                                const char *path_b, struct err *err);
/* This program against --against. STATUS_FAILED where a row is slower than --tolerance allows, or
 * wrong. pattern: part of the rows' titles. */
enum status bench_compare_against(const struct options *options, const char *pattern,
                                  struct err *err);

#endif
