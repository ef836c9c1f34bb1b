/* Runs the cases of a list. See alu.h. */
#define _GNU_SOURCE
#include "tests/softcuda/alu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ------------------------------------------------------------------------------- */

void alu_opcode(char *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out, sizeof((struct alu_case *)0)->opcode, format, arguments);
    va_end(arguments);
}

static void read_type(struct alu_case *alu, const char *part)
{
    static const struct {
        const char *name;
        const struct exact_format *format;
    } halves[] = {{"f16", &exact_f16},     {"f16x2", &exact_f16}, {"bf16", &exact_bf16},
                  {"bf16x2", &exact_bf16}, {"f32", &exact_f32},   {"f64", &exact_f64},
                  {"tf32", NULL}};
    bool found = false;
    const struct exact_format *format = NULL;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        if (strcmp(part, halves[i].name) == 0) {
            found = true;
            format = halves[i].format;
        }
    char *end = NULL;
    long bits = strchr("bus", part[0]) ? strtol(part + 1, &end, 10) : 0;
    if (!found && (bits == 0 || *end))
        return;
    alu->from_bits = alu->bits;
    alu->from_signed = alu->is_signed;
    alu->format = format;
    alu->bits = found ? (strstr(part, "x2") ? 32 : atoi(strchr(part, 'f') + 1)) : (int)bits;
    alu->is_signed = part[0] == 's';
}

static void read_opcode(struct alu_case *alu)
{
    static const char *const modes[] = {"rn", "rz", "rm", "rp", "rna"};
    static const char *const integral[] = {"rni", "rzi", "rmi", "rpi"};
    char copy[sizeof alu->opcode], *rest = copy;
    memcpy(copy, alu->opcode, sizeof copy);
    for (char *part = strsep(&rest, "."); (part = strsep(&rest, "."));) {
        for (int i = 0; i < 5; i++)
            if (strcmp(part, modes[i]) == 0 || (i < 4 && strcmp(part, integral[i]) == 0))
                alu->rounding = (enum exact_mode)i;
        alu->ftz |= strcmp(part, "ftz") == 0;
        alu->sat |= strcmp(part, "sat") == 0;
        alu->relu |= strcmp(part, "relu") == 0;
        alu->nan |= strcmp(part, "NaN") == 0;
        read_type(alu, part);
    }
}

struct alu_case *alu_add(struct alu_list *list, const char *opcode, const char *operands,
                         const char *values, alu_reference *reference)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 256;
        list->cases = realloc(list->cases, (size_t)list->capacity * sizeof *list->cases);
        ck_assert_ptr_nonnull(list->cases);
    }
    struct alu_case *alu = &list->cases[list->n++];
    *alu = (struct alu_case){.reference = reference};
    ck_assert_uint_lt(strlen(opcode), sizeof alu->opcode);
    ck_assert_uint_lt(strlen(operands), sizeof alu->operands);
    ck_assert_uint_lt(strlen(values), sizeof alu->values);
    strcpy(alu->opcode, opcode);
    strcpy(alu->operands, operands);
    strcpy(alu->values, values);
    read_opcode(alu);
    return alu;
}

struct alu_case *alu_add_checked(struct alu_list *list, const char *opcode, const char *operands,
                                 const char *values, alu_reference *reference, alu_check *check)
{
    struct alu_case *alu = alu_add(list, opcode, operands, values, reference);
    alu->check = check;
    return alu;
}

void alu_free(struct alu_list *list)
{
    free(list->cases);
    *list = (struct alu_list){0};
}

void alu_all(struct alu_list *list)
{
    alu_integer(list);
    alu_carry(list);
    alu_logic(list);
    alu_floating(list);
    alu_half(list);
    alu_compare(list);
    alu_convert(list);
    alu_special(list);
    alu_memory(list);
    alu_atomic(list);
}

/* ---- operands ------------------------------------------------------------------------------- */

/* The registers of a case, in order: letters of results and of sources. */
struct shape {
    char results[ALU_RESULTS + 1], sources[ALU_SOURCES + 1];
    int n_results, n_sources;
    int over[ALU_RESULTS]; /* the source whose register a result has too; -1: none */
};

/* The number of a result's register. */
static int result_number(const struct shape *shape, int k)
{
    return shape->over[k] < 0 ? 14 + k : 10 + shape->over[k];
}

static struct shape shape_of(const struct alu_case *alu)
{
    struct shape shape = {.over = {-1, -1, -1, -1}};
    bool source = false;
    for (const char *c = alu->operands; *c; c++) {
        int n = 1;
        if (*c == '=')
            source = true;
        if (*c >= '2' && *c <= '8' && c[1] != '_')
            n = *c++ - '0';
        if (strchr("hwdpnc_", *c))
            for (int i = 0; i < n; i++)
                *(source ? &shape.sources[shape.n_sources++] : &shape.results[shape.n_results++]) =
                    *c;
    }
    return shape;
}

static int bits_of(char letter)
{
    return letter == 'h' ? 16 : letter == 'w' ? 32 : letter == 'd' ? 64 : 1;
}

struct writer {
    char *text;
    size_t size, n;
};

static void put(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct writer *writer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(writer->text + writer->n, writer->size - writer->n, format, arguments);
    va_end(arguments);
    ck_assert_msg(n >= 0 && writer->n + (size_t)n < writer->size, "a kernel is too long");
    writer->n += (size_t)n;
}

static const char *register_of(char letter, int number)
{
    static char names[8][16];
    static int turn;
    char *name = names[turn++ % 8];
    snprintf(name, sizeof names[0], "%s%%%c%d", letter == 'n' ? "!" : "",
             letter == 'w'          ? 'r'
             : strchr("nc", letter) ? 'p'
                                    : letter,
             number);
    return name;
}

static void put_load(struct writer *writer, char letter, int number, const char *from, int64_t at)
{
    static const char *const types[] = {['h'] = "u16", ['w'] = "u32", ['d'] = "u64"};
    if (strchr("pnc", letter))
        put(writer, "ld.global.u32 %%r9, [%s+%lld]; setp.ne.u32 %%p%d, %%r9, 0;\n", from,
            (long long)at, number);
    else if (letter != '_')
        put(writer, "ld.global.%s %s, [%s+%lld];\n", types[(int)letter],
            register_of(letter, number), from, (long long)at);
}

/* A 16-bit register has nothing but zeros above its 16 bits, or an instruction that reads it as 32
 * is wrong: it must equal its own copy from memory. */
static void put_result(struct writer *writer, char letter, int number, int64_t at)
{
    if (letter == '_')
        return;
    if (strchr("pc", letter)) {
        put(writer, "selp.u32 %%r9, 1, 0, %%p%d; st.global.u32 [%%d6+%lld], %%r9;\n", number,
            (long long)at);
        return;
    }
    put(writer, "st.global.u%d [%%d6+%lld], %s;\n", bits_of(letter), (long long)at,
        register_of(letter, number));
    if (letter == 'h')
        put(writer,
            "ld.global.u16 %%h9, [%%d6+%lld]; setp.ne.u16 %%p9, %%h9, %%h%d; @%%p9 st.global.u32 "
            "[%%d7], 1;\n",
            (long long)at, number);
}

static void put_operand(struct writer *writer, const struct shape *shape, bool source, int index)
{
    char letter = source ? shape->sources[index] : shape->results[index];
    int number = source ? 10 + index : result_number(shape, index);
    put(writer, "%s", letter == '_' ? "_" : register_of(letter, number));
}

static void put_operands(struct writer *writer, const struct alu_case *alu,
                         const struct shape *shape, const char *immediate)
{
    int index[2] = {0, 0}, source = 0; /* of the next result and source */
    const char *comma = "";
    for (const char *c = alu->operands; *c; c++) {
        if (*c == '=') {
            source = 1;
            continue;
        }
        if (*c == 'c') {
            index[source]++;
            continue;
        }
        put(writer, "%s ", comma);
        comma = ",";
        if (*c == 'i') {
            put(writer, "%d", alu->aux);
        } else if (*c == 'D') {
            put_operand(writer, shape, source, index[source]++);
            put(writer, "|");
            put_operand(writer, shape, source, index[source]++);
            c += 2;
        } else if (*c >= '1' && *c <= '8') {
            int n = *c++ - '0';
            for (int i = 0; i < n; i++) {
                put(writer, "%s", i ? ", " : "{");
                put_operand(writer, shape, source, index[source]++);
            }
            put(writer, "}");
        } else if (immediate && source && !c[1]) {
            put(writer, "%s", immediate);
        } else {
            put_operand(writer, shape, source, index[source]++);
        }
    }
}

/* The register of a carry flag; -1: there is none. */
static int carry_of(const char *letters, int first)
{
    const char *found = strchr(letters, 'c');
    return found ? first + (int)(found - letters) : -1;
}

/* The flag as the opcode finds it: its source, or where it is held back what its result was. */
static void put_carry_in(struct writer *writer, const struct shape *shape)
{
    int in = carry_of(shape->sources, 10), out = carry_of(shape->results, 14);
    if (in < 0 && out < 0)
        return;
    put(writer, "selp.u32 %%r8, 1, 0, %%p%d; selp.u32 %%r9, 1, 0, %%p%d;\n", in < 0 ? out : in,
        out < 0 ? in : out);
    put(writer, "selp.u32 %%r9, %%r8, %%r9, %%p1; add.cc.u32 %%r9, %%r9, -1;\n");
}

static void put_carry_out(struct writer *writer, const struct shape *shape)
{
    int out = carry_of(shape->results, 14);
    if (out >= 0)
        put(writer, "addc.u32 %%r9, 0, 0; setp.ne.u32 %%p%d, %%r9, 0;\n", out);
}

static void write_case(const struct alu_case *alu, const struct shape *shape, int n,
                       const char *immediate, char *text, size_t size)
{
    struct writer writer = {.text = text, .size = size};
    put(&writer,
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry kernel("
        ".param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3, .param .u64 p4)\n"
        "{ .reg .pred %%p<18>; .reg .b16 %%h<18>; .reg .b32 %%r<18>; .reg .b64 %%d<18>;\n"
        "mov.u32 %%r1, %%ctaid.x; mov.u32 %%r2, %%tid.x; mad.lo.u32 %%r1, %%r1, 256, %%r2;\n"
        "mul.wide.u32 %%d1, %%r1, 8;\n");
    for (int i = 0; i < 5; i++)
        put(&writer, "ld.param.u64 %%d%d, [p%d]; add.u64 %%d%d, %%d%d, %%d1;\n", 3 + i, i, 3 + i,
            3 + i);
    for (int j = 0; j < shape->n_sources; j++)
        put_load(&writer, shape->sources[j], 10 + j, "%d3", (int64_t)j * n * 8);
    for (int k = 0; k < shape->n_results; k++)
        if (shape->over[k] < 0)
            put_load(&writer, shape->results[k], 14 + k, "%d4", (int64_t)k * n * 8);
    put_load(&writer, 'p', 1, "%d5", 0);
    put_carry_in(&writer, shape);
    put(&writer, "@%%p1 %s", alu->opcode);
    put_operands(&writer, alu, shape, immediate);
    put(&writer, ";\n");
    put_carry_out(&writer, shape);
    for (int k = 0; k < shape->n_results; k++)
        put_result(&writer, shape->results[k], result_number(shape, k), (int64_t)k * n * 8);
    put(&writer, "ret; }\n");
}

void alu_write(const struct alu_case *alu, int n, const char *immediate, char *text, size_t size)
{
    struct shape shape = shape_of(alu);
    write_case(alu, &shape, n, immediate, text, size);
}

/* ---- items ---------------------------------------------------------------------------------- */

#define ITEMS_CROSSED 4096
#define ITEMS_RANDOM  256
#define ITEMS_FEW     64

struct items {
    int n; /* a multiple of 256 */
    uint64_t *x[ALU_SOURCES];
    uint64_t *old[ALU_RESULTS], *want[ALU_RESULTS];
};

static void free_items(struct items *items)
{
    for (int j = 0; j < ALU_SOURCES; j++) {
        free(items->x[j]);
        free(items->old[j]);
        free(items->want[j]);
    }
}

static uint64_t *new_row(int n)
{
    uint64_t *row = calloc((size_t)n, sizeof *row);
    ck_assert_ptr_nonnull(row);
    return row;
}

/* Edges crossed (of three sources and more those of the core), then random ones. */
static void make_items(struct items *items, const struct alu_case *alu, const struct shape *shape)
{
    const uint64_t *edges[ALU_SOURCES];
    int all[ALU_SOURCES], core[ALU_SOURCES];
    int64_t crossed = 1, core_crossed = 1;
    for (int j = 0; j < shape->n_sources; j++) {
        all[j] = alu_edges(alu->values[j], bits_of(shape->sources[j]), &edges[j], &core[j]);
        crossed *= all[j];
        core_crossed *= core[j];
    }
    if (shape->n_sources > 1 && (crossed > ITEMS_CROSSED || alu->few)) {
        crossed = core_crossed;
        memcpy(all, core, sizeof all);
    }
    int64_t tries =
        crossed < 3 * ITEMS_CROSSED || shape->n_sources == 1 ? crossed : 3 * ITEMS_CROSSED;
    items->n = (int)(tries + (alu->few ? ITEMS_FEW : ITEMS_RANDOM) + 255) / 256 * 256;
    for (int j = 0; j < shape->n_sources; j++)
        items->x[j] = new_row(items->n);
    uint64_t state = 0;
    for (int i = 0; i < items->n; i++) {
        int64_t rest = tries == crossed ? i : (int64_t)(mix64(1, (uint64_t)i) >> 1) % crossed;
        for (int j = 0; j < shape->n_sources; j++) {
            items->x[j][i] = i < tries
                                 ? edges[j][rest % all[j]]
                                 : alu_random(alu->values[j], bits_of(shape->sources[j]), &state);
            rest /= all[j];
        }
    }
    for (int k = 0; k < shape->n_results; k++) {
        items->old[k] = new_row(items->n);
        items->want[k] = new_row(items->n);
        int bits = bits_of(shape->results[k]);
        for (int i = 0; i < items->n; i++)
            items->old[k][i] = mix64(99 + (uint64_t)k, (uint64_t)i) >> (64 - bits);
    }
}

/* constant: of the last source in all items; NULL: its own values. */
static void make_wants(struct items *items, const struct alu_case *alu, const struct shape *shape,
                       const uint64_t *constant)
{
    for (int i = 0; i < items->n; i++) {
        uint64_t x[ALU_SOURCES] = {0}, out[ALU_RESULTS] = {0};
        for (int j = 0; j < shape->n_sources; j++) {
            x[j] = items->x[j][i];
            if (constant && j == shape->n_sources - 1)
                x[j] = *constant;
            if (shape->sources[j] == 'n')
                x[j] = !x[j];
        }
        alu->reference(alu, x, out);
        for (int k = 0; k < shape->n_results; k++)
            items->want[k][i] = bits_of(shape->results[k]) == 64
                                    ? out[k]
                                    : out[k] & (((uint64_t)1 << bits_of(shape->results[k])) - 1);
    }
}

/* ---- running -------------------------------------------------------------------------------- */

#define REPORTS_LARGEST 20
#define REPORT_SIZE     300

struct run {
    struct rig rig;
    bool portable;
    uint64_t arrays[5]; /* device addresses of what alu_write's kernel takes */
    char reports[REPORTS_LARGEST][REPORT_SIZE];
    int n_reports;
};

static void complain(struct run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void complain(struct run *run, const char *format, ...)
{
    va_list arguments;
    if (run->n_reports == REPORTS_LARGEST)
        return;
    va_start(arguments, format);
    vsnprintf(run->reports[run->n_reports++], REPORT_SIZE, format, arguments);
    va_end(arguments);
}

/* The kernel's arrays keep their places from case to case: fresh memory is dear. */
#define ARRAY_BYTES ((size_t)4 << 20)

static void fill_rows(struct run *run, int array, uint64_t *const *rows, int n_rows, int n)
{
    unsigned char *host = rig_host(&run->rig, run->arrays[array]);
    size_t bytes = (size_t)n * 8;
    ck_assert_uint_le((size_t)n_rows * bytes, ARRAY_BYTES);
    for (int j = 0; j < n_rows; j++)
        if (rows)
            memcpy(host + (size_t)j * bytes, rows[j], bytes);
        else
            memset(host + (size_t)j * bytes, 0, bytes);
}

/* mask: 0: every lane takes part; else which do, by chance. false: a report has been made. */
static bool run_items(struct run *run, const struct alu_case *alu, const struct shape *shape,
                      const struct items *items, const uint64_t *constant, uint64_t mask)
{
    struct rig *rig = &run->rig;
    int n = items->n;
    uint64_t *guard = new_row(n);
    for (int i = 0; i < n; i++)
        guard[i] = mask ? mix64(mask, (uint64_t)i) >> 63 : 1;
    fill_rows(run, 0, items->x, shape->n_sources, n);
    fill_rows(run, 1, items->old, shape->n_results, n);
    fill_rows(run, 2, &guard, 1, n);
    fill_rows(run, 3, NULL, shape->n_results, n);
    fill_rows(run, 4, NULL, 1, n);
    unsigned char *results = rig_host(rig, run->arrays[3]), *flags = rig_host(rig, run->arrays[4]);
    bool good = true;
    if (rig_launch(rig, NULL, (uint32_t[3]){(uint32_t)n / 256, 1, 1}, (uint32_t[3]){256, 1, 1}, 0,
                   5, run->arrays) != STATUS_OK) {
        complain(run, "%s: %s", alu->opcode, rig->err.text);
        good = false;
    }
    for (int i = 0; i < n && good; i++)
        for (int k = 0; k < shape->n_results && good; k++) {
            uint64_t got, flag, x[ALU_SOURCES] = {0};
            if (shape->results[k] == '_')
                continue;
            memcpy(&got, results + ((size_t)k * (size_t)n + (size_t)i) * 8, 8);
            memcpy(&flag, flags + (size_t)i * 8, 8);
            for (int j = 0; j < shape->n_sources; j++)
                x[j] = constant && j == shape->n_sources - 1 ? *constant : items->x[j][i];
            uint64_t old = shape->over[k] < 0 ? items->old[k][i] : x[shape->over[k]];
            uint64_t want = guard[i] ? items->want[k][i] : old;
            good = got == want && !flag;
            if (alu->check && guard[i] && !flag)
                good = alu->check(alu, x, k, got, want);
            if (!good)
                complain(
                    run,
                    "%s %s (%s%s%s): sources %llx %llx %llx %llx%s: result %d is %llx, not %llx%s",
                    alu->opcode, alu->operands, run->portable ? "portable" : "avx2",
                    mask ? ", some lanes" : "", shape->over[k] < 0 ? "" : ", over a source",
                    (unsigned long long)x[0], (unsigned long long)x[1], (unsigned long long)x[2],
                    (unsigned long long)x[3], constant ? " (the last a constant)" : "", k,
                    (unsigned long long)got, (unsigned long long)want,
                    flag ? ", and has bits above its register's" : "");
        }
    free(guard);
    return good;
}

static bool load(struct run *run, const struct alu_case *alu, const struct shape *shape, int n,
                 const char *immediate)
{
    char text[8192];
    write_case(alu, shape, n, immediate, text, sizeof text);
    arena_free(&run->rig.arena);
    if (rig_load(&run->rig, text, strlen(text), run->portable) == STATUS_OK)
        return true;
    complain(run, "%s %s: %s", alu->opcode, alu->operands, run->rig.err.text);
    return false;
}

/* The last source as a constant, where it is a register of its own. */
static void run_constant(struct run *run, const struct alu_case *alu, const struct shape *shape,
                         struct items *items, int number)
{
    char kind = alu->values[shape->n_sources - 1], letter = shape->sources[shape->n_sources - 1];
    const uint64_t *edges;
    int core, n = alu_edges(kind, bits_of(letter), &edges, &core);
    char immediate[32];
    uint64_t value = edges[number % (n < 64 ? n : 64)];
    if (!strchr("hwd", letter) || strchr("xuv", kind) ||
        alu->operands[strlen(alu->operands) - 2] == '2' ||
        alu->operands[strlen(alu->operands) - 2] == '4')
        return;
    if (kind == 'f')
        snprintf(immediate, sizeof immediate, "0f%08X", (unsigned)value);
    else if (kind == 'e')
        snprintf(immediate, sizeof immediate, "0d%016llX", (unsigned long long)value);
    else
        snprintf(immediate, sizeof immediate, "0x%llX", (unsigned long long)value);
    if (!load(run, alu, shape, items->n, immediate))
        return;
    make_wants(items, alu, shape, &value);
    run_items(run, alu, shape, items, &value, 7);
}

/* Each result in the register of a source, where one is of its kind: all are read before anything
 * is written, in whatever order of lanes and parts. */
static void run_over(struct run *run, const struct alu_case *alu, const struct shape *plain,
                     const struct items *items, int number)
{
    struct shape shape = *plain;
    unsigned taken = 0;
    for (int k = 0; k < shape.n_results; k++)
        for (int i = 0; i < shape.n_sources && shape.over[k] < 0; i++) {
            int j = (number + i) % shape.n_sources;
            char letter = shape.sources[j] == 'n' ? 'p' : shape.sources[j];
            if (letter != shape.results[k] || letter == 'c' || letter == '_' || taken >> j & 1)
                continue;
            shape.over[k] = j;
            taken |= 1u << j;
        }
    if (taken && load(run, alu, &shape, items->n, NULL))
        run_items(run, alu, &shape, items, NULL, (uint64_t)number + 2);
}

static void run_case(struct run *run, const struct alu_case *alu, int number)
{
    struct items items = {0};
    struct shape shape = shape_of(alu);
    ck_assert_msg(strlen(alu->values) == (size_t)shape.n_sources, "%s: %d sources, values %s",
                  alu->opcode, shape.n_sources, alu->values);
    make_items(&items, alu, &shape);
    make_wants(&items, alu, &shape, NULL);
    if (load(run, alu, &shape, items.n, NULL)) {
        if (run_items(run, alu, &shape, &items, NULL, 0))
            run_items(run, alu, &shape, &items, NULL, (uint64_t)number + 1);
        run_over(run, alu, &shape, &items, number);
        if (shape.n_sources > 0 && alu->operands[strlen(alu->operands) - 1] != 'i')
            run_constant(run, alu, &shape, &items, number);
    }
    free_items(&items);
}

void alu_run(const struct alu_list *list, bool portable)
{
    struct run *run = calloc(1, sizeof *run);
    ck_assert_ptr_nonnull(run);
    run->portable = portable;
    rig_open(&run->rig);
    for (int i = 0; i < 5; i++)
        run->arrays[i] = rig_upload(&run->rig, NULL, ARRAY_BYTES);
    for (int i = 0; i < list->n; i++)
        if (!list->cases[i].written)
            run_case(run, &list->cases[i], i);
    rig_close(&run->rig);
    char text[REPORTS_LARGEST * REPORT_SIZE + 1] = "";
    for (int i = 0; i < run->n_reports; i++)
        sprintf(text + strlen(text), "%s\n", run->reports[i]);
    int n = run->n_reports;
    free(run);
    ck_assert_msg(n == 0, "%s", text);
}
