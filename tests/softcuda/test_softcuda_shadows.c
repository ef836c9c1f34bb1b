/* Accesses of whole warps, in all the ways that the checkers take together what lies together, byte
 * by byte: whatever lanes touched, another thread's access to any one byte races with the lane that
 * had it, or with nobody; a byte that was never written is found in whatever way it is read. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/check_memory.h"

#define BYTES 1024 /* of memory */

/* Lane l of `lanes` accesses `size` bytes at first + l % turn * stride (+ l / turn * row). */
static const struct pattern {
    unsigned size, stride, first, turn, row;
    uint32_t lanes;
} patterns[] = {
    {16, 16, 0, 32, 0, 0xFFFFFFFF},  /* whole lines */
    {8, 8, 64, 32, 0, 0xFFFFFFFF},   /* */
    {4, 4, 0, 32, 0, 0xFFFFFFFF},    /* */
    {2, 2, 64, 32, 0, 0xFFFFFFFF},   /* one line */
    {1, 1, 32, 32, 0, 0xFFFFFFFF},   /* half of one */
    {16, 16, 0, 4, 128, 0xFFFFFFFF}, /* rows of one line */
    {16, 16, 16, 4, 80, 0x0FFFFFFF}, /* rows that lie across lines */
    {16, 48, 0, 32, 0, 0x0000FFFF},  /* granules by themselves */
    {4, 4, 4, 32, 0, 0xFFFFFFFF},    /* across granules and lines */
    {8, 8, 8, 32, 0, 0xFFFFFFFF},    /* */
    {4, 4, 0, 32, 0, 0xFFFEFFFF},    /* a lane is missing in a line */
    {16, 16, 0, 32, 0, 0x00F0F7FE},  /* */
    {4, 4, 0, 32, 0, 0x0FF0F00F},    /* pieces of lines */
    {4, 8, 0, 32, 0, 0xFFFFFFFF},    /* gaps */
    {4, 8, 4, 4, 64, 0xFFFFFFFF},    /* */
    {2, 4, 2, 32, 0, 0xFFFFFFFF},    /* */
    {1, 8, 3, 32, 0, 0xFFFFFFEF},    /* */
    {1, 2, 33, 32, 0, 0xFFFFFFFF},   /* */
    {2, 6, 0, 32, 0, 0xFFFFFFFF},    /* gaps of another kind */
};
#define PATTERNS ((int)(sizeof patterns / sizeof *patterns))

static unsigned place(const struct pattern *pattern, unsigned lane)
{
    return pattern->first + lane % pattern->turn * pattern->stride +
           lane / pattern->turn * pattern->row;
}

/* The lane that has a byte; -1: none. */
static int owner(const struct pattern *pattern, unsigned byte)
{
    for (unsigned l = 0; l < 32; l++)
        if (pattern->lanes >> l & 1 && byte - place(pattern, l) < pattern->size)
            return (int)l;
    return -1;
}

/* The pattern's access for threads whose %p1 is set, to space at %r60 and %d60. */
static void write_access(char *text, size_t size, const struct pattern *pattern, const char *space,
                         bool store)
{
    static const char *const loads[] = {"u8 %r50", "u16 %h1", "u32 %r50", "u64 %d50",
                                        "v4.u32 {%r50, %r51, %r52, %r53}"};
    const char *registers = loads[__builtin_ctz(pattern->size)];
    int suffix = (int)strcspn(registers, " ");
    const char *address = strcmp(space, "shared") == 0 ? "%r62" : "%d62";
    snprintf(text, size,
             "and.b32 %%r55, %%r1, 31; rem.u32 %%r56, %%r55, %u; div.u32 %%r57, %%r55, %u;\n"
             "mul.lo.u32 %%r58, %%r56, %u; mad.lo.u32 %%r58, %%r57, %u, %%r58;\n"
             "add.u32 %%r58, %%r58, %u; add.u32 %%r62, %%r60, %%r58; cvt.u64.u32 %%d61, %%r58;\n"
             "add.u64 %%d62, %%d60, %%d61; shr.u32 %%r59, %u, %%r55; and.b32 %%r59, %%r59, 1;\n"
             "setp.ne.and.u32 %%p3, %%r59, 0, %%p1;\n"
             "@%%p3 %s.%s.%.*s %s%s%s%s;\n",
             pattern->turn, pattern->turn, pattern->stride, pattern->row, pattern->first,
             (unsigned)pattern->lanes, store ? "st" : "ld", space, suffix, registers,
             store ? "[" : registers + suffix, store ? address : ", [", store ? "]," : address,
             store ? registers + suffix : "]");
}

/* %r1 thread, %r2 block, %d60 global memory, %r60 shared memory, %r70 the byte in question. */
static const char start[] =
    ".shared .align 128 .b8 s[1024];\n"
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r60, s; ld.param.u64 %d60, [p0];\n"
    "ld.param.u64 %d1, [p1]; cvt.u32.u64 %r70, %d1; add.u64 %d71, %d60, %d1;\n"
    "add.u32 %r71, %r60, %r70; mov.u32 %r50, 1; mov.u32 %r51, 1; mov.u32 %r52, 1;\n"
    "mov.u32 %r53, 1; mov.u64 %d50, 1; cvt.u16.u32 %h1, %r50; mov.u32 %r72, 1;\n";

static void load(struct rig *rig, const char *body)
{
    char text[8192];
    snprintf(text, sizeof text, "%s%s", start, body);
    rig_open(rig);
    rig->settings.n_workers = 1;
    rig->reporter.checks = CHECK_ALL;
    rig_load_body(rig, 2, text, false);
}

static void launch(struct rig *rig, uint64_t memory, unsigned byte, uint32_t blocks,
                   uint32_t threads)
{
    const uint64_t parameters[] = {memory, byte};
    rig_launch(rig, NULL, (uint32_t[3]){blocks, 1, 1}, (uint32_t[3]){threads, 1, 1}, 0, 2,
               parameters);
}

/* One report at that byte, whose other party is this block's lane; lane -1: none at all. */
static void check_race(const struct rig *rig, const struct pattern *pattern, uint64_t byte,
                       int lane, int block)
{
    char at[64], other[64];
    int i = (int)(pattern - patterns);
    snprintf(at, sizeof at, "race at byte 0x%llx:", (unsigned long long)byte);
    snprintf(other, sizeof other, ", block (%d,0,0), thread (%d,0,0)\n", block, lane);
    if (lane < 0) {
        ck_assert_msg(rig->reporter.n_reports == 0, "pattern %d, byte 0x%llx: %s", i,
                      (unsigned long long)byte, rig->reports);
        return;
    }
    const char *with = strstr(rig->reports, "with the earlier");
    ck_assert_msg(rig->reporter.n_reports == 1 && strstr(rig->reports, at) && with &&
                      strstr(with, other),
                  "pattern %d, byte 0x%llx wants lane %d of block %d: %s", i,
                  (unsigned long long)byte, lane, block, rig->reports);
}

/* Blocks 0 and 1 have read, or block 0 has written; then a thread of the last one writes a byte.
 * Reads of two blocks have two records, of which the newer is told. */
START_TEST(global_races)
{
    const struct pattern *pattern = &patterns[_i / 2];
    bool store = _i % 2;
    static const unsigned char zeros[BYTES];
    char access[1024], body[4096];
    /* Three records of a granule are kept. */
    int readers = store || pattern->stride == 6 ? 1 : 2;
    write_access(access, sizeof access, pattern, "global", store);
    snprintf(body, sizeof body,
             "setp.lt.u32 %%p1, %%r2, %d;\n%s"
             "setp.eq.and.u32 %%p2, %%r1, 0, !%%p1; @%%p2 st.global.u8 [%%d71], %%r72;",
             readers, access);
    for (unsigned byte = 0; byte < BYTES; byte += byte < 96 ? 1 : 13) {
        struct rig rig;
        load(&rig, body);
        uint64_t memory = rig_upload(&rig, zeros, sizeof zeros);
        launch(&rig, memory, byte, (uint32_t)readers + 1, 32);
        check_race(&rig, pattern, memory + byte, owner(pattern, byte), readers - 1);
        rig_close(&rig);
    }
}
END_TEST

/* The warp has read or written; then its lane 7 writes a byte. */
START_TEST(shared_races)
{
    const struct pattern *pattern = &patterns[_i / 2];
    bool store = _i % 2;
    char access[1024], body[4096];
    write_access(access, sizeof access, pattern, "shared", store);
    snprintf(body, sizeof body,
             "mov.u32 %%r80, 0; shl.b32 %%r81, %%r1, 2; add.u32 %%r81, %%r81, %%r60;\n"
             "FILL: add.u32 %%r82, %%r81, %%r80; st.shared.u32 [%%r82], %%r72;\n"
             "add.u32 %%r80, %%r80, 128; setp.lt.u32 %%p1, %%r80, %d; @%%p1 bra FILL;\n"
             "bar.sync 0; setp.lt.u32 %%p1, %%r1, 32;\n%s"
             "setp.eq.u32 %%p2, %%r1, 7; @%%p2 st.shared.u8 [%%r71], %%r72;",
             BYTES, access);
    for (unsigned byte = 0; byte < BYTES; byte += byte < 96 ? 1 : 13) {
        struct rig rig;
        load(&rig, body);
        launch(&rig, 0, byte, 1, 32);
        int lane = owner(pattern, byte);
        check_race(&rig, pattern, byte, lane == 7 ? -1 : lane, 0);
        rig_close(&rig);
    }
}
END_TEST

static void check_unwritten(const struct rig *rig, const struct pattern *pattern, uint64_t address,
                            unsigned byte)
{
    char text[64], thread[32];
    int lane = owner(pattern, byte);
    snprintf(text, sizeof text, "byte 0x%llx was never written", (unsigned long long)address);
    snprintf(thread, sizeof thread, "thread (%d,0,0)", lane);
    ck_assert_msg(rig->reporter.n_reports == (lane >= 0) &&
                      (lane < 0 || (strstr(rig->reports, text) && strstr(rig->reports, thread))),
                  "pattern %d, byte %u, lane %d: %s", (int)(pattern - patterns), byte, lane,
                  rig->reports);
}

/* All is written but one byte. */
START_TEST(unwritten_bytes)
{
    const struct pattern *pattern = &patterns[_i / 2];
    bool shared = _i % 2;
    char access[1024], body[4096];
    write_access(access, sizeof access, pattern, shared ? "shared" : "global", false);
    snprintf(body, sizeof body,
             "%s setp.ne.u32 %%p2, %%r1, %%r70; add.u32 %%r81, %%r60, %%r1;\n"
             "@%%p2 st.shared.u8 [%%r81], %%r72; bar.sync 0; setp.lt.u32 %%p1, %%r1, 32;\n%s",
             shared ? "" : "setp.lt.u32 %p1, %r1, 32;", access);
    for (unsigned byte = 0; byte < BYTES; byte += byte < 96 ? 1 : 13) {
        struct rig rig;
        load(&rig, body);
        uint64_t memory = rig_upload(&rig, NULL, BYTES);
        check_host_write(&rig.memory, memory, byte);
        check_host_write(&rig.memory, memory + byte + 1, BYTES - byte - 1);
        launch(&rig, memory, byte, 1, BYTES);
        check_unwritten(&rig, pattern, shared ? byte : memory + byte, byte);
        rig_close(&rig);
    }
}
END_TEST

/* Lines that their threads read, write and read, and nobody else: a launch later a thread of
 * another block writes one byte, and again a launch later nobody does. */
START_TEST(lines_begin_anew)
{
    static const unsigned char zeros[BYTES];
    static const unsigned bytes[] = {BYTES, 0x133, BYTES};
    struct rig rig;
    load(&rig, "shl.b32 %r3, %r1, 4; cvt.u64.u32 %d3, %r3; add.u64 %d4, %d60, %d3;\n"
               "setp.eq.u32 %p1, %r2, 0; @%p1 ld.global.v4.u32 {%r50, %r51, %r52, %r53}, [%d4];\n"
               "@%p1 st.global.v4.u32 [%d4], {%r50, %r51, %r52, %r53};\n"
               "@%p1 ld.global.v4.u32 {%r50, %r51, %r52, %r53}, [%d4];\n"
               "setp.lt.u32 %p2, %r70, 512; setp.eq.and.u32 %p2, %r1, 9, %p2;\n"
               "setp.eq.and.u32 %p2, %r2, 1, %p2; @%p2 st.global.u8 [%d71], %r72;");
    uint64_t memory = rig_upload(&rig, zeros, sizeof zeros);
    for (int i = 0; i < 3; i++) {
        int before = rig.reporter.n_reports;
        launch(&rig, memory, bytes[i], 2, 32);
        /* With the write and with the last read: two pairs of lines. */
        ck_assert_msg(rig.reporter.n_reports - before == (bytes[i] < BYTES ? 2 : 0),
                      "launch %d: %s", i, rig.reports);
        ck_assert_msg(bytes[i] == BYTES ||
                          strstr(rig.reports, "block (0,0,0), thread (19,0,0)\n") != NULL,
                      "%s", rig.reports);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_shadows");
    TCase *tests = tcase_create("byte by byte");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, global_races, 0, 2 * PATTERNS);
    tcase_add_loop_test(tests, shared_races, 0, 2 * PATTERNS);
    tcase_add_loop_test(tests, unwritten_bytes, 0, 2 * PATTERNS);
    tcase_add_test(tests, lines_begin_anew);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
