/* A report as a table. See report.h. */
#include <inttypes.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/json.h"
#include "tools/softcuda/projection.h"
#include "tools/softcuda/report.h"

#define LINES_SHOWN    8
#define LAUNCHES_SHOWN 40

/* ---- reading -------------------------------------------------------------------------------- */

static uint64_t whole(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value < 0 ? 0 : (uint64_t)value;
}

static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "?";
}

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void read_totals(const json_t *object, struct totals *totals)
{
    size_t i;
    const json_t *counters = json_object_get(object, "counters"), *mma;
    *totals = (struct totals){0};
    for (i = 0; i < COUNTERS; i++)
        totals->value[i] = whole(counters, counter_names[i]);
    json_array_foreach(json_object_get(object, "mma"), i, mma)
        totals_add_mma(totals, text(mma, "shape"), whole(mma, "warps"), whole(mma, "macs"));
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* 1234567 as "1,234,567"; from 10^12 on with a unit. */
struct number {
    char text[32];
};
static struct number number(uint64_t value)
{
    struct number out;
    char digits[24];
    if (value >= (uint64_t)1000000000000) {
        snprintf(out.text, sizeof out.text, "%.3fT", (double)value / 1e12);
        return out;
    }
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value), at = 0;
    for (int i = 0; i < n; i++) {
        out.text[at++] = digits[i];
        if ((n - i - 1) % 3 == 0 && i + 1 < n)
            out.text[at++] = ',';
    }
    out.text[at] = '\0';
    return out;
}

static struct number microseconds(double seconds)
{
    struct number out;
    snprintf(out.text, sizeof out.text, seconds < 1e-3 ? "%.2f" : "%.0f", 1e6 * seconds);
    return out;
}

static double ratio(uint64_t part, uint64_t of)
{
    return of > 0 ? (double)part / (double)of : 0;
}

static double percent(uint64_t part, uint64_t of)
{
    return 100 * ratio(part, of);
}

static double megabytes(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

/* ---- a kernel ------------------------------------------------------------------------------- */

static void print_instructions(FILE *out, const struct totals *totals)
{
    const uint64_t *value = totals->value;
    uint64_t warps = value[COUNT_WARP_INSTRUCTIONS];
    fprintf(out, "  instructions %16s warp %16s thread  %5.1f %% of lanes on, %4.1f %% held back\n",
            number(warps).text, number(value[COUNT_THREAD_INSTRUCTIONS]).text,
            percent(value[COUNT_THREAD_INSTRUCTIONS], 32 * warps),
            percent(value[COUNT_THREAD_PREDICATED_OFF], 32 * warps));
    int column = 0;
    for (int i = COUNT_CLASS_INTEGER; i <= COUNT_CLASS_MATRIX; i++)
        if (value[i] > 0) {
            if (column == 0)
                fprintf(out, "   ");
            fprintf(out, "  %-8s %5.1f %%", counter_names[i] + strlen("class_"),
                    percent(value[i], warps));
            column = column == 4 ? 0 : column + 1;
            if (column == 0)
                fprintf(out, "\n");
        }
    if (column > 0)
        fprintf(out, "\n");
    fprintf(out, "  branches %s, divergent %s (%.1f %%)   barriers %s   warp syncs %s\n",
            number(value[COUNT_BRANCHES]).text, number(value[COUNT_DIVERGENT_BRANCHES]).text,
            percent(value[COUNT_DIVERGENT_BRANCHES], value[COUNT_BRANCHES]),
            number(value[COUNT_BARRIERS]).text, number(value[COUNT_WARP_SYNCS]).text);
    if (value[COUNT_SHUFFLES] + value[COUNT_VOTES] + value[COUNT_FENCES] > 0)
        fprintf(out, "  shuffles %s   votes %s   fences %s\n", number(value[COUNT_SHUFFLES]).text,
                number(value[COUNT_VOTES]).text, number(value[COUNT_FENCES]).text);
    for (int i = 0; i < totals->n_mma; i++)
        fprintf(out, "  mma %-32s %16s   MACs %16s\n", totals->mma[i].shape,
                number(totals->mma[i].warps).text, number(totals->mma[i].macs).text);
    if (value[COUNT_LDMATRIX_INSTRUCTIONS] > 0)
        fprintf(out, "  ldmatrix %s, matrices %s\n",
                number(value[COUNT_LDMATRIX_INSTRUCTIONS]).text,
                number(value[COUNT_LDMATRIX_MATRICES]).text);
}

static void print_global(FILE *out, const uint64_t *value)
{
    static const struct {
        const char *name;
        enum counter first;
    } kinds[] = {{"load", COUNT_GLOBAL_LOAD_REQUESTS},
                 {"store", COUNT_GLOBAL_STORE_REQUESTS},
                 {"atomic", COUNT_GLOBAL_ATOMIC_REQUESTS},
                 {"cp.async", COUNT_GLOBAL_ASYNC_REQUESTS}};
    bool first = true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const uint64_t *v = value + kinds[i].first;
        if (v[0] == 0)
            continue;
        if (first)
            fprintf(out, "  %-10s %16s %16s %8s %16s %11s\n", "global", "requests", "sectors",
                    "each", "bytes", "coalescing");
        first = false;
        fprintf(out, "    %-8s %16s %16s %8.2f %16s %9.1f %%\n", kinds[i].name, number(v[0]).text,
                number(v[1]).text, ratio(v[1], v[0]), number(v[3]).text, percent(v[2], v[1]));
    }
    if (value[COUNT_GLOBAL_ATOMIC_CONFLICTS] > 0)
        fprintf(out, "    atomics on an address that a lower lane has too: %s\n",
                number(value[COUNT_GLOBAL_ATOMIC_CONFLICTS]).text);
    if (value[COUNT_L1_SECTORS] > 0)
        fprintf(out, "    L1 %s sectors, %.1f %% hit\n", number(value[COUNT_L1_SECTORS]).text,
                percent(value[COUNT_L1_HITS], value[COUNT_L1_SECTORS]));
    if (value[COUNT_L2_READS] + value[COUNT_L2_WRITES] + value[COUNT_L2_ATOMICS] > 0)
        fprintf(out,
                "    L2 sectors read %s (%.1f %% hit), written %s, atomic %s\n"
                "    DRAM %.3f MB read, %.3f MB written\n",
                number(value[COUNT_L2_READS]).text,
                percent(value[COUNT_L2_READ_HITS], value[COUNT_L2_READS]),
                number(value[COUNT_L2_WRITES]).text, number(value[COUNT_L2_ATOMICS]).text,
                megabytes(value[COUNT_DRAM_READ_BYTES]), megabytes(value[COUNT_DRAM_WRITE_BYTES]));
}

static void print_shared(FILE *out, const uint64_t *value)
{
    static const struct {
        const char *name;
        enum counter first;
    } kinds[] = {{"load", COUNT_SHARED_LOAD_REQUESTS},
                 {"store", COUNT_SHARED_STORE_REQUESTS},
                 {"atomic", COUNT_SHARED_ATOMIC_REQUESTS},
                 {"ldmatrix", COUNT_SHARED_LDMATRIX_REQUESTS},
                 {"cp.async", COUNT_SHARED_ASYNC_REQUESTS}};
    bool first = true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const uint64_t *v = value + kinds[i].first;
        if (v[0] == 0)
            continue;
        if (first)
            fprintf(out, "  %-10s %16s %16s %8s %16s %11s\n", "shared", "requests", "wavefronts",
                    "each", "bytes", "conflicts");
        first = false;
        fprintf(out, "    %-8s %16s %16s %8.2f %16s %11s\n", kinds[i].name, number(v[0]).text,
                number(v[1]).text, ratio(v[1], v[0]), number(v[3]).text, number(v[1] - v[2]).text);
    }
}

static void print_other_memory(FILE *out, const uint64_t *value)
{
    if (value[COUNT_LOCAL_LOAD_REQUESTS] + value[COUNT_LOCAL_STORE_REQUESTS] > 0)
        fprintf(out, "  local      loads %s (%.3f MB)   stores %s (%.3f MB)\n",
                number(value[COUNT_LOCAL_LOAD_REQUESTS]).text,
                megabytes(value[COUNT_LOCAL_LOAD_BYTES]),
                number(value[COUNT_LOCAL_STORE_REQUESTS]).text,
                megabytes(value[COUNT_LOCAL_STORE_BYTES]));
    if (value[COUNT_CONSTANT_REQUESTS] > 0)
        fprintf(out, "  constant   requests %s, words %s\n",
                number(value[COUNT_CONSTANT_REQUESTS]).text,
                number(value[COUNT_CONSTANT_WORDS]).text);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Of a sample as they were counted. */
static void print_lines(FILE *out, const json_t *kernel, bool scaled)
{
    size_t i;
    const json_t *line;
    json_array_foreach(json_object_get(kernel, "lines"), i, line)
    {
        char place[64];
        if (i == LINES_SHOWN)
            break;
        if (i == 0)
            fprintf(out, "  %-34s %14s %9s %14s %14s\n",
                    scaled ? "line (the most run; not scaled)" : "line (the most run)", "warps",
                    "lanes on", "moved", "needed");
        snprintf(place, sizeof place, "%.40s:%" PRIu64, file_name(text(line, "file")),
                 whole(line, "line"));
        fprintf(out, "    %-32s %14s %7.1f %% %14s %14s\n", place,
                number(whole(line, "warps")).text,
                percent(whole(line, "threads"), 32 * whole(line, "warps")),
                number(whole(line, "moved")).text, number(whole(line, "least")).text);
    }
}

static const char legend[] =
    "\nmoved: sectors of global memory, and wavefronts of shared memory, that a line took; needed: "
    "the\n"
    "fewest for its bytes. registers ?: guessed, since ptxas was not asked. pipe: the one that "
    "issue is\n"
    "bound by. bytes underway: what an SM's loads bring at a time; needed: latency times bandwidth "
    "of\n"
    "DRAM. A projection is no measurement. Its terms: tensor from MACs by shape; issue from warp\n"
    "instructions by class, of the fullest pipe; shared from shared wavefronts and sectors through "
    "L1;\n"
    "L2 from L2 sectors; DRAM from DRAM bytes; latency from batches of loads, waits of cp.async "
    "and\n"
    "hits; other from the first load of each wave, the last store and the launch. time: the "
    "largest\n"
    "term and other. docs/softcuda.md says more.\n";

static void print_cards(FILE *out, const json_t *kernel, const char *run_card)
{
    size_t i;
    const json_t *card;
    fprintf(out, "  %-9s %9s %8s %9s  %-10s %9s %-8s %14s %10s\n", "card", "registers", "spills",
            "CTAs/SM", "limited by", "waves", "pipe", "bytes underway", "needed");
    json_array_foreach(json_object_get(kernel, "cards"), i, card)
    {
        const json_t *projection = json_object_get(card, "projection");
        fprintf(out,
                "  %-9s %8" PRIu64 "%s %8" PRIu64 " %9" PRIu64 "  %-10s %9s %-8s %14.0f %10.0f\n",
                text(card, "card"), whole(card, "registers"),
                json_is_true(json_object_get(card, "registers_known")) ? " " : "?",
                whole(card, "spill_store_bytes") + whole(card, "spill_load_bytes"),
                whole(card, "occupancy"), text(card, "occupancy_limit"),
                number(whole(projection, "waves")).text, text(projection, "issue_pipe"),
                real(projection, "bytes_in_flight"), real(projection, "bytes_needed"));
    }
    fprintf(out,
            "  projection, in microseconds, from the counters above; caches as on the %s\n"
            "  %-9s %8s %-7s %7s %7s %7s %7s %7s %7s %7s %10s\n",
            run_card, "card", "time", "bound", "tensor", "issue", "shared", "L2", "DRAM", "latency",
            "other", "no overlap");
    json_array_foreach(json_object_get(kernel, "cards"), i, card)
    {
        const json_t *projection = json_object_get(card, "projection");
        const json_t *terms = json_object_get(projection, "terms");
        fprintf(out, "  %-9s", text(card, "card"));
        if (whole(card, "occupancy") == 0) {
            fprintf(out, " does not fit\n");
            continue;
        }
        fprintf(out, " %8s %-7s", microseconds(real(projection, "seconds")).text,
                text(projection, "bound"));
        for (int t = 0; t < TERMS; t++)
            fprintf(out, " %7s", microseconds(real(terms, term_names[t])).text);
        fprintf(out, " %7s %10s\n",
                microseconds(real(projection, "fill") + real(projection, "epilogue") +
                             real(projection, "launch"))
                    .text,
                microseconds(real(projection, "seconds_without_overlap")).text);
    }
}

static void print_kernel(FILE *out, const json_t *kernel, const char *run_card, bool sampled)
{
    struct totals totals;
    const json_t *block = json_object_get(kernel, "block");
    uint64_t ctas = whole(kernel, "ctas"), counted = whole(kernel, "counted_ctas");
    uint64_t launches = whole(kernel, "launches");
    read_totals(kernel, &totals);
    fprintf(out, "\n%s\n  launches %s, CTAs %s of %d x %d x %d threads", text(kernel, "name"),
            number(launches).text, number(ctas).text,
            (int)json_integer_value(json_array_get(block, 0)),
            (int)json_integer_value(json_array_get(block, 1)),
            (int)json_integer_value(json_array_get(block, 2)));
    fprintf(
        out, ", shared bytes %s\n",
        number(whole(kernel, "static_shared_bytes") + whole(kernel, "dynamic_shared_bytes")).text);
    if (counted != ctas)
        fprintf(out,
                sampled ? "  sampled: %s CTAs were counted, figures are scaled up\n"
                        : "  stopped: %s CTAs had begun\n",
                number(counted).text);
    if (whole(kernel, "early_replays") > 0)
        fprintf(out, "  L2 saw part of the traffic out of order: its figures are less certain\n");
    print_instructions(out, &totals);
    print_global(out, totals.value);
    print_shared(out, totals.value);
    print_other_memory(out, totals.value);
    print_lines(out, kernel, counted != ctas && sampled);
    print_cards(out, kernel, run_card);
}

static void print_launches(FILE *out, const json_t *report)
{
    size_t i;
    const json_t *launch, *launches = json_object_get(report, "launches");
    fprintf(out, "\n%-7s %-32s %11s %15s %9s %9s %9s\n", "launch", "kernel", "CTAs", "warp instr.",
            "L2 MB", "DRAM MB", "GMAC");
    json_array_foreach(launches, i, launch)
    {
        struct totals totals;
        const json_t *kernel =
            json_array_get(json_object_get(report, "kernels"), (size_t)whole(launch, "kernel"));
        if (i == LAUNCHES_SHOWN)
            break;
        read_totals(launch, &totals);
        fprintf(out, "%-7zu %-32.32s %11s %15s %9.3f %9.3f %9.3f\n", i + 1, text(kernel, "name"),
                number(totals.value[COUNT_CTAS]).text,
                number(totals.value[COUNT_WARP_INSTRUCTIONS]).text,
                megabytes(totals_l2_bytes(&totals)), megabytes(totals_dram_bytes(&totals)),
                (double)totals.value[COUNT_MMA_MACS] / 1e9);
    }
    if (whole(report, "n_launches") > i)
        fprintf(out, "and %s more\n", number(whole(report, "n_launches") - i).text);
}

static enum status print(const char *path, const json_t *report, FILE *out, struct err *err)
{
    size_t i;
    const json_t *kernel, *kernels = json_object_get(report, "kernels");
    if (strcmp(text(report, "format"), "softcuda-report") != 0 || !json_is_array(kernels))
        return err_set(err, STATUS_BAD_DATA, "%s: not a report of softcuda", path);
    if (whole(report, "version") != 1)
        return err_set(err, STATUS_BAD_DATA, "%s: version %d of a report: 1 is known", path,
                       (int)whole(report, "version"));
    fprintf(out, "softcuda report: %s, L2 of %.0f MB, kernels %zu, launches %s",
            text(report, "card"), (double)whole(report, "l2_bytes") / (1 << 20),
            json_array_size(kernels), number(whole(report, "n_launches")).text);
    if (whole(report, "sample") > 1)
        fprintf(out, ", every CTA in %" PRIu64 " counted", whole(report, "sample"));
    fprintf(out, "\n");
    if (whole(report, "n_launches") == 0) {
        fprintf(out, "no kernel was launched\n");
        return STATUS_OK;
    }
    json_array_foreach(kernels, i, kernel)
        print_kernel(out, kernel, text(report, "card"), whole(report, "sample") > 1);
    print_launches(out, report);
    fputs(legend, out);
    return STATUS_OK;
}

enum status report_print(const char *path, FILE *out, struct err *err)
{
    struct file_map map;
    json_error_t error;
    json_t *report = NULL;
    TRY(file_map(&map, path, err));
    enum status status =
        json_parse(&report, (const char *)map.data, map.size, 0, &error, path, err);
    if (status == STATUS_BAD_DATA)
        err_set(err, status, "%s: line %d: not good JSON: %s", path, error.line, error.text);
    if (status == STATUS_OK)
        status = print(path, report, out, err);
    json_decref(report);
    return file_map_finish(&map, path, status, err);
}
