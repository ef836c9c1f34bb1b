/* Reports: what is written, read back and printed; projections by hand; what ptxas says. */
#include "tests/softcuda/rig.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>
#include "tools/softcuda/projection.h"
#include "tools/softcuda/resources.h"

/* ---- a report ------------------------------------------------------------------------------- */

static const char two_kernels[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"/some/where/a\\b.cu\"\n"
    ".visible .entry copy(.param .u64 p0, .param .u64 p1) {\n.reg .b32 %r<4>; .reg .b64 %d<6>;\n"
    ".loc 1 10 1\nmov.u32 %r1, %tid.x; mov.u32 %r3, %ctaid.x; mad.lo.u32 %r1, %r3, 64, %r1;\n"
    "mul.wide.u32 %d1, %r1, 4;\n"
    ".loc 1 11 1\nld.param.u64 %d2, [p0]; add.u64 %d2, %d2, %d1; ld.global.u32 %r2, [%d2];\n"
    ".loc 1 12 1\nld.param.u64 %d3, [p1]; add.u64 %d3, %d3, %d1; st.global.u32 [%d3], %r2;\n"
    "ret; }\n"
    ".visible .entry nothing() { ret; }\n";

static void run_both(struct rig *rig, int copies)
{
    ck_assert_msg(rig_load(rig, two_kernels, strlen(two_kernels), false) == STATUS_OK, "%s",
                  rig->err.text);
    uint64_t memory[2] = {rig_upload(rig, NULL, 4 * 64 * 8), rig_upload(rig, NULL, 4 * 64 * 8)};
    memset(rig_host(rig, memory[0]), 0, 4 * 64 * 8);
    for (int i = 0; i < copies; i++)
        ck_assert_int_eq(
            rig_launch(rig, "copy", (uint32_t[3]){8, 1, 1}, (uint32_t[3]){64, 1, 1}, 0, 2, memory),
            STATUS_OK);
    ck_assert_int_eq(
        rig_launch(rig, "nothing", (uint32_t[3]){3, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 0, memory),
        STATUS_OK);
}

static json_t *read_report(const char *path)
{
    json_error_t error;
    json_t *report = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(report != NULL, "line %d: %s", error.line, error.text);
    return report;
}

static json_int_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    ck_assert_msg(json_is_integer(value), "%s is no integer", name);
    return json_integer_value(value);
}

static void temporary(char path[64])
{
    snprintf(path, 64, "/tmp/softcuda_report_%ld.json", (long)getpid());
}

static void write_report(struct rig *rig, int64_t sample, int copies, const char *path)
{
    rig_open(rig);
    rig->report = count_report_open(card_named("rtx3080"), sample);
    ck_assert_ptr_nonnull(rig->report);
    run_both(rig, copies);
    ck_assert_msg(count_report_write(rig->report, path, &rig->err) == STATUS_OK, "%s",
                  rig->err.text);
}

static void close_report(struct rig *rig, const char *path)
{
    count_report_close(rig->report);
    rig_close(rig);
    unlink(path);
}

static double seconds_of(const json_t *projected)
{
    return json_real_value(json_object_get(json_object_get(projected, "projection"), "seconds"));
}

START_TEST(launches_are_summed_by_kernel)
{
    struct rig rig;
    char path[64];
    temporary(path);
    write_report(&rig, 1, 3, path);
    json_t *report = read_report(path);
    ck_assert_str_eq(json_string_value(json_object_get(report, "format")), "softcuda-report");
    ck_assert_str_eq(json_string_value(json_object_get(report, "card")), "rtx3080");
    ck_assert_int_eq(number(report, "n_launches"), 4);
    const json_t *kernels = json_object_get(report, "kernels");
    const json_t *launches = json_object_get(report, "launches");
    ck_assert_uint_eq(json_array_size(kernels), 2);
    ck_assert_uint_eq(json_array_size(launches), 4);
    const json_t *copy = json_array_get(kernels, 0);
    ck_assert_str_eq(json_string_value(json_object_get(copy, "name")), "copy");
    ck_assert_int_eq(number(copy, "launches"), 3);
    ck_assert_int_eq(number(copy, "ctas"), 24);
    ck_assert_int_eq(number(copy, "counted_ctas"), 24);
    const json_t *counters = json_object_get(copy, "counters");
    ck_assert_int_eq(number(counters, "warp_instructions"), 3 * 16 * 11);
    ck_assert_int_eq(number(counters, "global_load_sectors"), 3 * 64);
    ck_assert_int_eq(number(counters, "dram_read_bytes"), 3 * 2048); /* L2 begins empty each time */
    ck_assert_ptr_null(json_object_get(counters, "barriers"));
    const json_t *launch = json_array_get(launches, 2);
    ck_assert_int_eq(number(launch, "kernel"), 0);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(launch, "grid"), 0)), 8);
    ck_assert_int_eq(number(json_object_get(launch, "counters"), "warp_instructions"), 16 * 11);
    ck_assert_int_eq(number(json_array_get(launches, 3), "kernel"), 1);
    /* Each launch's projection is for the card of the run; the kernel's is their sum. */
    double seconds = 0;
    for (size_t i = 0; i < 3; i++)
        seconds += seconds_of(json_array_get(launches, i));
    for (size_t i = 0; i < json_array_size(json_object_get(copy, "cards")); i++) {
        const json_t *card = json_array_get(json_object_get(copy, "cards"), i);
        bool own = strcmp(json_string_value(json_object_get(card, "card")), "rtx3080") == 0;
        ck_assert_int_eq(own, fabs(seconds_of(card) - seconds) < 1e-8 * seconds);
    }
    json_decref(report);
    close_report(&rig, path);
}
END_TEST

START_TEST(opcodes_and_lines)
{
    struct rig rig;
    char path[64];
    size_t i;
    json_t *entry;
    json_int_t warps = 0, loads = 0;
    temporary(path);
    write_report(&rig, 1, 1, path);
    json_t *report = read_report(path);
    const json_t *copy = json_array_get(json_object_get(report, "kernels"), 0);
    json_array_foreach(json_object_get(copy, "opcodes"), i, entry)
    {
        warps += number(entry, "warps");
        ck_assert_int_eq(number(entry, "threads"), 32 * number(entry, "warps"));
        if (strcmp(json_string_value(json_object_get(entry, "opcode")), "ld.param.u64") == 0)
            loads += number(entry, "warps");
    }
    ck_assert_int_eq(warps, 16 * 11);
    ck_assert_int_eq(loads, 16 * 2);
    const json_t *lines = json_object_get(copy, "lines");
    ck_assert_uint_eq(json_array_size(lines), 3);
    json_array_foreach(lines, i, entry)
    {
        static const json_int_t instructions[] = {[10] = 4, [11] = 3, [12] = 4};
        json_int_t line = number(entry, "line");
        ck_assert_str_eq(json_string_value(json_object_get(entry, "file")), "/some/where/a\\b.cu");
        ck_assert(line >= 10 && line <= 12);
        ck_assert_int_eq(number(entry, "warps"), 16 * instructions[line]);
        ck_assert_int_eq(number(entry, "moved"), line == 10 ? 0 : 64);
        ck_assert_int_eq(number(entry, "least"), line == 10 ? 0 : 64);
    }
    json_decref(report);
    close_report(&rig, path);
}
END_TEST

START_TEST(samples_say_so)
{
    struct rig rig;
    char path[64], *text = NULL;
    size_t size;
    temporary(path);
    write_report(&rig, 4, 1, path);
    json_t *report = read_report(path);
    const json_t *copy = json_array_get(json_object_get(report, "kernels"), 0);
    ck_assert_int_eq(number(report, "sample"), 4);
    ck_assert_int_eq(number(copy, "ctas"), 8);
    ck_assert_int_eq(number(copy, "counted_ctas"), 2);
    ck_assert_int_eq(number(json_object_get(copy, "counters"), "warp_instructions"), 16 * 11);
    json_decref(report);
    FILE *out = open_memstream(&text, &size);
    ck_assert_int_eq(report_print(path, out, &rig.err), STATUS_OK);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "every CTA in 4 counted"));
    ck_assert_ptr_nonnull(strstr(text, "sampled: 2 CTAs were counted, figures are scaled up"));
    ck_assert_ptr_nonnull(strstr(text, "line (the most run; not scaled)"));
    free(text);
    close_report(&rig, path);
}
END_TEST

START_TEST(the_table_fits_100_columns)
{
    struct rig rig;
    char path[64], *text = NULL;
    size_t size;
    temporary(path);
    write_report(&rig, 1, 2, path);
    FILE *out = open_memstream(&text, &size);
    ck_assert_int_eq(report_print(path, out, &rig.err), STATUS_OK);
    fclose(out);
    static const char *const parts[] = {
        "softcuda report: rtx3080, L2 of 5 MB, kernels 2, launches 3\n",
        "\ncopy\n  launches 2, CTAs 16 of 64 x 1 x 1 threads, shared bytes 0\n",
        "\n  projection, in microseconds",
        "\n    load                   32              128     4.00            4,096     100.0 %\n",
        "\n    L1 128 sectors, 0.0 % hit\n",
        "\n    DRAM 0.004 MB read, 0.004 MB written\n",
        "a\\b.cu:11",
        "\n  h100 ",
        "\n3       nothing                                    3               3     0.000",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "not there: %s\nin\n%s", parts[i], text);
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        ck_assert_msg(length <= 100, "%zu columns: %.*s", length, (int)length, line);
        line += length + 1;
    }
    free(text);
    close_report(&rig, path);
}
END_TEST

/* A program that was set to a decimal comma still writes JSON. */
START_TEST(numbers_do_not_follow_the_locale)
{
    struct rig rig;
    char path[64];
    temporary(path);
    bool comma = setlocale(LC_NUMERIC, "de_DE.UTF-8") != NULL;
    write_report(&rig, 1, 1, path);
    setlocale(LC_NUMERIC, "C");
    json_t *report = read_report(path);
    const json_t *card = json_array_get(
        json_object_get(json_array_get(json_object_get(report, "kernels"), 0), "cards"), 0);
    const json_t *projection = json_object_get(card, "projection");
    ck_assert(json_real_value(json_object_get(projection, "seconds")) > 1e-6);
    json_decref(report);
    close_report(&rig, path);
    if (!comma)
        SKIP("needs the locale de_DE.UTF-8 for more than a dry run");
}
END_TEST

START_TEST(files_that_are_no_reports)
{
    static const struct {
        const char *content;
        enum status status;
        const char *part;
    } cases[] = {
        {NULL, STATUS_MISSING, "softcuda_report_"},
        {"{\"format\": ", STATUS_BAD_DATA, "line 1: not good JSON"},
        {"{\"format\": \"else\", \"kernels\": []}", STATUS_BAD_DATA, "not a report"},
        {"[1]", STATUS_BAD_DATA, "not a report"},
        {"{\"format\": \"softcuda-report\", \"version\": 2, \"kernels\": []}", STATUS_BAD_DATA,
         "version 2"},
        {"{\"format\": \"softcuda-report\", \"version\": 1, \"kernels\": [7, {}]}", STATUS_OK, ""},
    };
    struct err err = {0};
    char path[64];
    temporary(path);
    unlink(path);
    if (cases[_i].content) {
        FILE *file = fopen(path, "w");
        fputs(cases[_i].content, file);
        fclose(file);
    }
    FILE *out = fopen("/dev/null", "w");
    enum status status = report_print(path, out, &err);
    if (cases[_i].status == STATUS_OK)
        ck_assert_int_eq(status, STATUS_OK);
    else
        check_error(status, &err, cases[_i].status, cases[_i].part, path);
    fclose(out);
    unlink(path);
}
END_TEST

static enum status report_path(void *context, struct err *err)
{
    struct rig *rig = context;
    struct launch launch = {
        .program = &rig->programs[0],
        .memory = &rig->memory,
        .settings = &rig->settings,
        .grid = {4, 1, 1},
        .block = {64, 1, 1},
        .parameters =
            (const unsigned char *)(const void *)(uint64_t[2]){rig->memory.table[0]->base,
                                                               rig->memory.table[1]->base},
        .resident = 2,
        .n_sms = 1,
        .reporter = &rig->reporter,
    };
    struct count_report *report = count_report_open(card_named("rtx3080"), 1);
    if (!report)
        return err_no_memory(err, "a report", 0);
    launch.counters = count_report_begin(report, &launch);
    enum status status =
        launch.counters ? grid_run(&launch, err) : err_no_memory(err, "counters", 0);
    if (launch.counters) {
        struct err second;
        enum status end = count_report_end(report, launch.counters, &launch, &second);
        if (status == STATUS_OK && end != STATUS_OK) {
            status = end;
            *err = second;
        }
    }
    char path[64];
    temporary(path);
    if (status == STATUS_OK)
        status = count_report_write(report, path, err);
    count_report_close(report);
    unlink(path);
    return status;
}

START_TEST(lack_of_memory)
{
    struct rig rig;
    rig_open(&rig);
    run_both(&rig, 1);
    ck_assert_int_gt(check_lack_of_memory(report_path, &rig, "a report"), 10);
    rig_close(&rig);
}
END_TEST

/* ---- projections ---------------------------------------------------------------------------- */

/* A card of round numbers. */
static struct card round_card(void)
{
    struct card card = *card_named("rtx3080");
    card.n_sms = 10;
    card.clock_mhz = 1000;
    card.bandwidth = 1e12;
    card.l2_bandwidth = 4e12;
    card.memory_latency_s = 500e-9;
    card.l2_latency_s = 200e-9;
    card.bf16 = 2e12 * 10; /* 1,000 multiply-adds in a clock and multiprocessor */
    card.mma_share = 1;
    return card;
}

static void check_near(double got, double want, const char *what)
{
    ck_assert_msg(got >= want * (1 - 1e-9) && got <= want * (1 + 1e-9), "%s: %.12g for %.12g", what,
                  got, want);
}

/* 55 CTAs, 2 to a multiprocessor by shared memory: 3 waves of 20, in which a multiprocessor does
 * 6 / 55 of everything. */
START_TEST(terms_by_hand)
{
    struct card card = round_card();
    struct projection projection;
    struct totals totals = {0};
    uint64_t *value = totals.value;
    value[COUNT_WARPS] = 55 * 4;
    totals_add_mma(&totals, "m16n8k16.f32.bf16.bf16.f32", 1, 55000000);
    value[COUNT_MMA_MACS] = 55000000;
    value[COUNT_WARP_INSTRUCTIONS] = 55 * 4000;
    value[COUNT_CLASS_INTEGER] = 55 * 3000; /* 2 clocks each: 6,000 to a CTA, more than issue's */
    value[COUNT_SHARED_LOAD_WAVEFRONTS] = 55 * 100;
    value[COUNT_SHARED_LDMATRIX_WAVEFRONTS] = 55 * 400;
    value[COUNT_GLOBAL_ASYNC_SECTORS] = 55 * 1000;
    value[COUNT_GLOBAL_STORE_SECTORS] = 55 * 200; /* 50 wavefronts */
    value[COUNT_L2_READS] = 55 * 1000;
    value[COUNT_L2_READ_HITS] = 55 * 750;
    value[COUNT_L2_WRITES] = 55 * 200;
    value[COUNT_DRAM_READ_BYTES] = 55 * 8000;
    value[COUNT_DRAM_WRITE_BYTES] = 55 * 6400;
    value[COUNT_ASYNC_WAITS] = 55 * 4 * 10; /* 10 a warp, 2 groups under way */
    value[COUNT_ASYNC_GROUPS] = 55 * 4 * 20;
    projection_make(
        &projection, &card,
        &(struct projected_launch){
            .totals = &totals, .ctas = 55, .threads = 128, .registers = 32, .shared = 40 * 1024});
    ck_assert_int_eq(projection.occupancy, 2);
    ck_assert_int_eq(projection.limit, OCCUPANCY_SHARED);
    ck_assert_int_eq(projection.waves, 3);
    check_near(projection.filled, 55.0 / 60, "filled");
    check_near(projection.term_s[TERM_TENSOR], 6 * 1e6 / 1000 * 1e-9, "tensor");
    ck_assert_str_eq(projection.pipe, "integer");
    check_near(projection.term_s[TERM_ISSUE], 6 * 3000 * 32 / 64 * 1e-9, "issue");
    check_near(projection.term_s[TERM_SHARED], 6 * (500 + 50) * 1e-9, "shared");
    check_near(projection.term_s[TERM_L2], 55 * 1200 * 32 / 4e12, "l2");
    check_near(projection.term_s[TERM_DRAM], 55 * 14400 / 1e12, "dram");
    /* three quarters of what is read from L2, the rest from memory */
    check_near(projection.term_s[TERM_LATENCY], 3 * 5 * (0.75 * 200e-9 + 0.25 * 500e-9), "latency");
    check_near(projection.fill_s, 3 * 500e-9, "fill");
    check_near(projection.epilogue_s, 200e-9, "epilogue");
    /* 2 CTAs of 32,000 bytes in 5 rounds; 10^12 * 500e-9 / 10 are needed */
    check_near(projection.bytes_in_flight, 12800, "in flight");
    check_near(projection.bytes_needed, 50000, "needed");
    check_near(projection.operations, 110e6, "operations");
    ck_assert_int_eq(projection_bound(&projection), TERM_ISSUE);
    double rest = projection.fill_s + projection.epilogue_s + projection.launch_s, sum = rest;
    for (int i = 0; i < TERMS; i++)
        sum += projection.term_s[i];
    check_near(projection.seconds, projection.term_s[TERM_ISSUE] + rest, "seconds");
    check_near(projection.serial_seconds, sum, "without overlap");
}
END_TEST

/* 15 CTAs on 10 multiprocessors that could hold 16 each: one wave, of 2 on the fullest. */
START_TEST(small_grids_spread)
{
    struct card card = round_card();
    struct projection projection;
    struct totals totals = {0};
    totals.value[COUNT_WARP_INSTRUCTIONS] = 15 * 4000;
    projection_make(
        &projection, &card,
        &(struct projected_launch){.totals = &totals, .ctas = 15, .threads = 32, .registers = 32});
    ck_assert_int_eq(projection.occupancy, 16);
    ck_assert_int_eq(projection.waves, 1);
    check_near(projection.filled, 15.0 / 20, "filled");
    check_near(projection.term_s[TERM_ISSUE], 2 * 1000 * 1e-9, "issue");
    ck_assert(projection.fill_s == 0 && projection.epilogue_s == 0);
    projection_make(&projection, &card,
                    &(struct projected_launch){
                        .totals = &totals, .ctas = 15, .threads = 32, .shared = 200 * 1024});
    ck_assert_int_eq(projection.occupancy, 0);
    ck_assert(projection.seconds == 0);
}
END_TEST

/* ---- what ptxas says ------------------------------------------------------------------------ */

static json_t *run_script(const char *arguments)
{
    char command[1024], path[64];
    temporary(path);
    snprintf(command, sizeof command, "sh tools/softcuda/ptxas_resources.sh %s >%s", arguments,
             path);
    ck_assert_int_eq(system(command), 0);
    json_t *resources = read_report(path);
    unlink(path);
    return resources;
}

START_TEST(output_of_ptxas_is_understood)
{
    static const char output[] =
        "ptxas info    : 0 bytes gmem, 72 bytes cmem[4]\n"
        "ptxas info    : Compiling entry function 'one' for 'sm_80'\n"
        "ptxas info    : Function properties for one\n"
        "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 31 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0], 8 "
        "bytes cmem[2]\n"
        "ptxas info    : Compile time = 17.874 ms\n"
        "ptxas info    : Compiling entry function 'two' for 'sm_80'\n"
        "ptxas info    : Function properties for helper\n"
        "    64 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 10 registers\n"
        "ptxas info    : Compiling entry function 'one' for 'sm_90'\n"
        "ptxas info    : Used 40 registers\n";
    char input[80], arguments[96];
    snprintf(input, sizeof input, "/tmp/softcuda_ptxas_%ld.txt", (long)getpid());
    FILE *file = fopen(input, "w");
    fputs(output, file);
    fclose(file);
    snprintf(arguments, sizeof arguments, "- <%s", input);
    json_t *resources = run_script(arguments);
    unlink(input);
    const json_t *one = json_object_get(resources, "one");
    const json_t *sm_80 = json_object_get(one, "sm_80");
    ck_assert_uint_eq(json_object_size(resources), 2);
    ck_assert_uint_eq(json_object_size(one), 2);
    ck_assert_int_eq(number(sm_80, "registers"), 31);
    ck_assert_int_eq(number(sm_80, "stack"), 8);
    ck_assert_int_eq(number(sm_80, "spill_stores"), 4);
    ck_assert_int_eq(number(sm_80, "spill_loads"), 12);
    ck_assert_int_eq(number(sm_80, "shared"), 1024);
    ck_assert_int_eq(number(sm_80, "constant"), 360);
    ck_assert_int_eq(number(json_object_get(one, "sm_90"), "registers"), 40);
    sm_80 = json_object_get(json_object_get(resources, "two"), "sm_80");
    ck_assert_int_eq(number(sm_80, "registers"), 10);
    ck_assert_int_eq(number(sm_80, "stack"), 0); /* that was a function's, not the kernel's */
    json_decref(resources);
}
END_TEST

START_TEST(ptxas_itself)
{
    char arguments[512], path[256];
    snprintf(path, sizeof path, "%s/tests/ptx/count.ptx", build_folder());
    if (access(path, R_OK) != 0 || system("ptxas --version >/dev/null 2>&1") != 0)
        SKIP("needs nvcc");
    snprintf(arguments, sizeof arguments, "%s sm_80 sm_86 sm_1 sm_89", path);
    json_t *resources = run_script(arguments);
    const json_t *gemm = json_object_get(resources, "gemm_swizzled");
    ck_assert_uint_eq(json_object_size(gemm), 3); /* there is no sm_1 */
    const json_t *sm_86 = json_object_get(gemm, "sm_86");
    ck_assert_int_eq(number(sm_86, "shared"), 2 * 2 * 64 * 64);
    ck_assert(number(sm_86, "registers") > 32 && number(sm_86, "registers") <= 255);
    json_decref(resources);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_report");
    TCase *tests = tcase_create("reports");
    tcase_add_test(tests, launches_are_summed_by_kernel);
    tcase_add_test(tests, opcodes_and_lines);
    tcase_add_test(tests, samples_say_so);
    tcase_add_test(tests, the_table_fits_100_columns);
    tcase_add_test(tests, numbers_do_not_follow_the_locale);
    tcase_add_loop_test(tests, files_that_are_no_reports, 0, 6);
    tcase_add_test(tests, lack_of_memory);
    suite_add_tcase(suite, tests);
    tests = tcase_create("projections");
    tcase_add_test(tests, terms_by_hand);
    tcase_add_test(tests, small_grids_spread);
    suite_add_tcase(suite, tests);
    tests = tcase_create("resources");
    tcase_add_test(tests, output_of_ptxas_is_understood);
    tcase_add_test(tests, ptxas_itself);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
