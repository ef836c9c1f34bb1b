/* A report as JSON. See report.h; docs/formats.md has the schema. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/base/utf8.h"
#include "tools/softcuda/records.h"

/* Lines of source with the most warp instructions that are listed of a kernel. */
#define LINES_MOST 64

/* ---- pieces --------------------------------------------------------------------------------- */

static void put_text(FILE *out, const char *text)
{
    size_t length = strlen(text);
    bool good = utf8_valid_length(text, length) == length; /* JSON has nothing else */
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else if (*c >= 0x80 && !good)
            fputc('?', out);
        else
            fputc(*c, out);
    fputc('"', out);
}

/* A finite number; the program that runs may have set a locale with a decimal comma. */
static void put_real(FILE *out, const char *name, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.9e", value);
    for (char *c = text; *c; c++)
        if (*c == ',')
            *c = '.';
    fprintf(out, "\"%s\": %s", name, text);
}

/* Counters that are not 0. */
static void put_totals(FILE *out, const struct totals *totals, const char *indent)
{
    const char *comma = "";
    fprintf(out, "\"counters\": {");
    for (int i = 0; i < COUNTERS; i++)
        if (totals->value[i] > 0) {
            fprintf(out, "%s\n%s  \"%s\": %" PRIu64, comma, indent, counter_names[i],
                    totals->value[i]);
            comma = ",";
        }
    fprintf(out, "},\n%s\"mma\": [", indent);
    for (int i = 0; i < totals->n_mma; i++)
        fprintf(out, "%s{\"shape\": \"%s\", \"warps\": %" PRIu64 ", \"macs\": %" PRIu64 "}",
                i ? ", " : "", totals->mma[i].shape, totals->mma[i].warps, totals->mma[i].macs);
    fprintf(out, "]");
}

static void put_three(FILE *out, const char *name, const uint32_t *values)
{
    fprintf(out, "\"%s\": [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "]", name, values[0], values[1],
            values[2]);
}

/* ---- sites by opcode, and by line ----------------------------------------------------------- */

struct group {
    const char *name; /* an opcode, or a file */
    int line;
    struct count_site sum;
    uint64_t threads;
};

static void add_site(struct group *group, const struct count_site *site)
{
    group->sum.runs += site->runs;
    group->sum.requests += site->requests;
    group->sum.moved += site->moved;
    group->sum.least += site->least;
    group->sum.split += site->split;
    group->threads += 32 * site->full + site->lanes;
}

static int by_name(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static int by_runs(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->sum.runs != y->sum.runs)
        return x->sum.runs < y->sum.runs ? 1 : -1;
    return by_name(a, b);
}

/* The kernel's sites that were run, those of one name and line as one, most run first. groups:
 * (n_sites). How many. */
static int group_sites(const struct kernel_record *kernel, bool lines, struct group *groups)
{
    int n = 0, kept = 0;
    for (int i = 0; i < kernel->n_sites; i++) {
        if (kernel->sites[i].runs == 0)
            continue;
        const struct site_name *name = &kernel->names[i];
        groups[n] = (struct group){.name = lines ? name->file : name->opcode,
                                   .line = lines ? name->line : 0};
        add_site(&groups[n++], &kernel->sites[i]);
    }
    qsort(groups, (size_t)n, sizeof *groups, by_name);
    for (int i = 0; i < n; i++) {
        if (kept == 0 || by_name(&groups[kept - 1], &groups[i]) != 0) {
            groups[kept++] = groups[i];
            continue;
        }
        struct group *to = &groups[kept - 1];
        to->threads += groups[i].threads;
        to->sum.runs += groups[i].sum.runs;
        to->sum.requests += groups[i].sum.requests;
        to->sum.moved += groups[i].sum.moved;
        to->sum.least += groups[i].sum.least;
        to->sum.split += groups[i].sum.split;
    }
    qsort(groups, (size_t)kept, sizeof *groups, by_runs);
    return kept;
}

static bool put_groups(FILE *out, const struct kernel_record *kernel)
{
    struct group *groups = mem_alloc((size_t)kernel->n_sites + 1, sizeof *groups);
    if (!groups)
        return false;
    int n = group_sites(kernel, false, groups);
    fprintf(out, ",\n      \"opcodes\": [");
    for (int i = 0; i < n; i++) {
        fprintf(out, "%s\n        {\"opcode\": ", i ? "," : "");
        put_text(out, groups[i].name);
        fprintf(out, ", \"warps\": %" PRIu64 ", \"threads\": %" PRIu64 "}", groups[i].sum.runs,
                groups[i].threads);
    }
    n = group_sites(kernel, true, groups);
    fprintf(out, "],\n      \"lines\": [");
    for (int i = 0; i < n && i < LINES_MOST; i++) {
        const struct count_site *sum = &groups[i].sum;
        fprintf(out, "%s\n        {\"file\": ", i ? "," : "");
        put_text(out, groups[i].name);
        fprintf(out,
                ", \"line\": %d, \"warps\": %" PRIu64 ", \"threads\": %" PRIu64
                ", \"divergent\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"moved\": %" PRIu64
                ", \"least\": %" PRIu64 "}",
                groups[i].line, sum->runs, groups[i].threads, sum->split, sum->requests, sum->moved,
                sum->least);
    }
    fprintf(out, "]");
    mem_free(groups);
    return true;
}

/* ---- kernels and launches ------------------------------------------------------------------- */

static const char *limit_name(enum occupancy_limit limit)
{
    switch (limit) {
    case OCCUPANCY_BLOCKS:
        return "blocks";
    case OCCUPANCY_THREADS:
        return "threads";
    case OCCUPANCY_REGISTERS:
        return "registers";
    case OCCUPANCY_SHARED:
        break;
    }
    return "shared";
}

static void put_projection(FILE *out, const struct projection *projection, const char *indent)
{
    fprintf(out, "\"projection\": {\"waves\": %" PRId64 ", \"bound\": \"%s\", ", projection->waves,
            term_names[projection_bound(projection)]);
    fprintf(out, "\"issue_pipe\": \"%s\", ", projection->pipe ? projection->pipe : "");
    put_real(out, "filled", projection->filled);
    fprintf(out, ",\n%s  ", indent);
    put_real(out, "seconds", projection->seconds);
    fprintf(out, ", ");
    put_real(out, "seconds_without_overlap", projection->serial_seconds);
    fprintf(out, ",\n%s  \"terms\": {", indent);
    for (int i = 0; i < TERMS; i++) {
        fprintf(out, "%s", i ? ", " : "");
        put_real(out, term_names[i], projection->term_s[i]);
    }
    fprintf(out, "},\n%s  ", indent);
    put_real(out, "fill", projection->fill_s);
    fprintf(out, ", ");
    put_real(out, "epilogue", projection->epilogue_s);
    fprintf(out, ", ");
    put_real(out, "launch", projection->launch_s);
    fprintf(out, ",\n%s  ", indent);
    put_real(out, "bytes_in_flight", projection->bytes_in_flight);
    fprintf(out, ", ");
    put_real(out, "bytes_needed", projection->bytes_needed);
    fprintf(out, ", ");
    put_real(out, "operations", projection->operations);
    fprintf(out, "}");
}

static void put_card(FILE *out, const struct card *card, const struct resources *resources,
                     const struct projection *projection)
{
    fprintf(out,
            "\n        {\"card\": \"%s\", \"architecture\": \"sm_%d%d\", "
            "\"registers\": %d, \"registers_known\": %s,\n         "
            "\"spill_store_bytes\": %d, \"spill_load_bytes\": %d, \"stack_bytes\": %d, "
            "\"static_shared_bytes\": %d,\n         "
            "\"occupancy\": %d, \"occupancy_limit\": \"%s\"",
            card->name, card->major, card->minor, resources->registers,
            resources->known ? "true" : "false", resources->spill_stores, resources->spill_loads,
            resources->stack, resources->shared, projection->occupancy,
            limit_name(projection->limit));
    fprintf(out, ",\n         ");
    put_projection(out, projection, "         ");
    fprintf(out, "}");
}

static bool put_kernel(FILE *out, const struct kernel_record *kernel)
{
    int n_cards;
    const struct card *cards = card_list(&n_cards);
    fprintf(out, "%s\n    {\"name\": ", kernel->index ? "," : "");
    put_text(out, kernel->name);
    fprintf(out,
            ", \"launches\": %" PRId64 ", \"ctas\": %" PRId64 ", \"counted_ctas\": %" PRId64
            ", \"early_replays\": %" PRId64 ",\n      ",
            kernel->launches, kernel->ctas, kernel->counted, kernel->early);
    put_three(out, "block", kernel->block);
    fprintf(out,
            ", \"static_shared_bytes\": %d, \"dynamic_shared_bytes\": %zu, \"local_bytes\": %d,\n"
            "      ",
            kernel->static_shared, kernel->dynamic_shared, kernel->local);
    put_totals(out, &kernel->totals, "      ");
    if (!put_groups(out, kernel))
        return false;
    fprintf(out, ",\n      \"cards\": [");
    for (int i = 0; i < n_cards && i < CARDS_MOST; i++) {
        fprintf(out, "%s", i ? "," : "");
        put_card(out, &cards[i], &kernel->resources[i], &kernel->projections[i]);
    }
    fprintf(out, "]}");
    return true;
}

static void put_launch(FILE *out, const struct launch_record *launch, bool first)
{
    fprintf(out, "%s\n    {\"kernel\": %d, ", first ? "" : ",", launch->kernel->index);
    put_three(out, "grid", launch->grid);
    fprintf(out, ", ");
    put_three(out, "block", launch->block);
    fprintf(out, ", \"dynamic_shared_bytes\": %zu, \"counted_ctas\": %" PRId64 ",\n      ",
            launch->dynamic_shared, launch->counted);
    put_totals(out, &launch->totals, "      ");
    fprintf(out, ",\n      ");
    put_projection(out, &launch->projection, "      ");
    fprintf(out, "}");
}

static bool put_report(FILE *out, const struct count_report *report)
{
    const struct card *card = report->card;
    fprintf(out,
            "{\n  \"format\": \"softcuda-report\", \"version\": 1,\n"
            "  \"card\": \"%s\", \"l2_bytes\": %" PRIu64 ", \"sample\": %" PRId64 ",\n"
            "  \"kernels\": [",
            card->name, card->l2_bytes, report->sample);
    for (const struct kernel_record *kernel = report->kernels; kernel; kernel = kernel->next)
        if (!put_kernel(out, kernel))
            return false;
    fprintf(out, "],\n  \"launches\": [");
    for (const struct launch_record *launch = report->launches; launch; launch = launch->next)
        put_launch(out, launch, launch == report->launches);
    fprintf(out, "],\n  \"n_launches\": %" PRId64 "\n}\n", report->n_launches);
    return true;
}

enum status report_can_be_written(const char *path, struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    out_file_discard(&file);
    return STATUS_OK;
}

enum status count_report_write(const struct count_report *report, const char *path, struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    if (!put_report(file.stream, report)) {
        out_file_discard(&file);
        return err_no_memory(err, "a report", 0);
    }
    return out_file_commit(&file, err);
}
