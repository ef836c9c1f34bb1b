/* The report: what all launches of a process cost, by kernel, and each of the first ones by itself.
 * docs/formats.md has the file's schema. */
#ifndef SOFTCUDA_REPORT_H
#define SOFTCUDA_REPORT_H

#include <stdio.h>
#include "host/base/status.h"
#include "tools/softcuda/count.h"

/* Launches that are listed one by one; later ones are in the sums only. */
#define REPORT_LAUNCHES 4096

struct count_report;

/* card: what the device stands for. sample: as counters_create's. NULL: no memory. */
struct count_report *count_report_open(const struct card *card, int64_t sample);
void count_report_close(struct count_report *report); /* NULL is allowed */

/* Before a launch, whose `counters` are to be what this gives. NULL: no memory. */
struct counters *count_report_begin(struct count_report *report, const struct launch *launch);
/* After it: adds what was counted, under the kernel's name, and destroys the counters. The launch
 * and its program must still be there; afterwards nothing of theirs is needed. Of a launch that was
 * stopped what it did until then counts. STATUS_RESOURCE: no memory, and the launch is left out. */
enum status count_report_end(struct count_report *report, struct counters *counters,
                             const struct launch *launch, struct err *err);

/* Whether a report could be written there, before it is worth anything. Errors as out_file_open. */
enum status report_can_be_written(const char *path, struct err *err);
/* Writes the report as JSON, aside and then over the old file. Errors as out_file_open and
 * out_file_commit have them. */
enum status count_report_write(const struct count_report *report, const char *path,
                               struct err *err);

/* Prints a report file as a table of at most 100 columns. STATUS_MISSING, STATUS_BAD_DATA: the text
 * names the file. */
enum status report_print(const char *path, FILE *out, struct err *err);

#endif
