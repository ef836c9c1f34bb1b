/* The checkers one by one, in short PTX: what they say, and what they let pass. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/check_memory.h"

/* A block of `threads` runs body, %r1 is the thread, %r2 four times it, [%r3] shared memory at that
 * place, %d1 the address of parameter 0 and %d2 that with %r2. */
static void run(struct rig *rig, const char *body, uint32_t blocks, uint32_t threads,
                uint64_t parameter)
{
    char text[4096];
    snprintf(text, sizeof text,
             ".shared .align 16 .b8 s[4096];\n"
             "mov.u32 %%r1, %%tid.x; shl.b32 %%r2, %%r1, 2; mov.u32 %%r4, s;\n"
             "add.u32 %%r3, %%r4, %%r2; ld.param.u64 %%d1, [p0]; cvt.u64.u32 %%d3, %%r2;\n"
             "add.u64 %%d2, %%d1, %%d3; mov.u32 %%r5, %%ctaid.x;\n%s",
             body);
    rig->reporter.checks = CHECK_ALL;
    rig_load_body(rig, 1, text, false);
    rig_launch(rig, NULL, (uint32_t[3]){blocks, 1, 1}, (uint32_t[3]){threads, 1, 1}, 0, 1,
               &parameter);
}

START_TEST(a_report_names_both_parties)
{
    struct rig rig;
    rig_open(&rig);
    run(&rig, "st.shared.u32 [%r3], %r1; xor.b32 %r6, %r3, 128; ld.shared.u32 %r7, [%r6];", 1, 64,
        0);
    ck_assert_msg(strstr(rig.reports, "softcuda: error: kernel at PTX line ") != NULL, "%s",
                  rig.reports);
    /* Warp 1 comes first. */
    ck_assert_msg(strstr(rig.reports, "block (0,0,0), thread (0,0,0): race at byte 0x0: write of 4 "
                                      "bytes at 0x0 of shared memory") != NULL,
                  "%s", rig.reports);
    ck_assert_msg(strstr(rig.reports, "with the earlier read at kernel at PTX line ") != NULL, "%s",
                  rig.reports);
    ck_assert_msg(strstr(rig.reports, "block (0,0,0), thread (32,0,0)\n") != NULL, "%s",
                  rig.reports);
    rig_close(&rig);
}
END_TEST

START_TEST(the_same_is_told_once)
{
    struct rig rig;
    rig_open(&rig);
    run(&rig, "ld.shared.u32 %r7, [%r3];", 3, 64, 0);
    ck_assert_int_eq(rig.reporter.n_reports, 1);
    /* Neighbouring lanes of a granule are one group: 3 blocks of 16. */
    ck_assert_msg(strstr(rig.reports, ": the same unwritten memory 47 times more\n") != NULL, "%s",
                  rig.reports);
    rig_close(&rig);
}
END_TEST

/* Warp 1 comes first: its lanes read their neighbours' words, those of warp 0 warp 1's, by one
 * instruction. */
START_TEST(a_race_is_told_once_for_each_distance)
{
    struct rig rig;
    rig_open(&rig);
    run(&rig,
        "st.shared.u32 [%r3], %r1; setp.lt.u32 %p1, %r1, 32; selp.b32 %r6, 128, 4, %p1;\n"
        "xor.b32 %r6, %r3, %r6; ld.shared.u32 %r7, [%r6];",
        1, 64, 0);
    ck_assert_int_eq(rig.reporter.n_reports, 2);
    ck_assert_msg(strstr(rig.reports, "threads of one warp need a __syncwarp between\n") &&
                      strstr(rig.reports, "threads of two warps need a barrier between\n"),
                  "%s", rig.reports);
    ck_assert_msg(strstr(rig.reports, ": the same race with kernel at PTX line ") != NULL, "%s",
                  rig.reports);
    rig_close(&rig);
}
END_TEST

/* The copy is what is amiss: its target needs no report of its own. */
START_TEST(what_is_in_flight_is_not_told_to_be_unwritten)
{
    struct rig rig;
    uint32_t words[32] = {0};
    rig_open(&rig);
    run(&rig,
        "cp.async.ca.shared.global [%r3], [%d2], 4; cp.async.commit_group;\n"
        "ld.shared.u32 %r7, [%r3];",
        1, 32, rig_upload(&rig, words, sizeof words));
    ck_assert_int_eq(rig.reporter.n_reports, 1);
    ck_assert_msg(strstr(rig.reports, "has not been waited for is on its way there") != NULL, "%s",
                  rig.reports);
    rig_close(&rig);
}
END_TEST

START_TEST(vector_reads_name_the_first_byte)
{
    struct rig rig;
    rig_open(&rig);
    run(&rig,
        "mov.u32 %r8, 7; st.shared.u16 [%r4+32], %h1;\n"
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra DONE; ld.shared.v4.u32 {%r8, %r9, %r10, %r11}, "
        "[%r4+32];\n"
        "DONE:",
        1, 1, 0);
    ck_assert_msg(strstr(rig.reports, "byte 0x22 was never written") != NULL, "%s", rig.reports);
    rig_close(&rig);
}
END_TEST

/* What orders, alone in its place between a store and another thread's load. */
static const struct {
    const char *between;
    uint32_t distance; /* bytes to the other thread's word */
    bool orders;
} events[] = {
    {"", 4, false},
    {"", 128, false},
    {"bar.sync 0;", 128, true},
    {"bar.sync 3, 64;", 128, true},
    {"bar.red.popc.u32 %r9, 0, %p1;", 128, true},
    {"bar.warp.sync 0xFFFFFFFF;", 4, true},
    {"bar.warp.sync 0xFFFFFFFF;", 128, false},
    {"shfl.sync.bfly.b32 %r9, %r1, 1, 31, 0xFFFFFFFF;", 4, false},
    {"vote.sync.any.pred %p2, %p1, 0xFFFFFFFF;", 4, false},
    {"membar.cta;", 4, false},
    {"membar.gl;", 128, false},
    {"bar.sync 1, 32;", 4, true}, /* each warp for itself */
    {"bar.sync 1, 32;", 128, false},
};

START_TEST(what_orders_accesses)
{
    struct rig rig;
    char body[512];
    snprintf(body, sizeof body,
             "setp.eq.u32 %%p1, %%r1, 0; st.shared.u32 [%%r3], %%r1;\n%s\n"
             "xor.b32 %%r6, %%r3, %u; ld.shared.u32 %%r7, [%%r6];",
             events[_i].between, (unsigned)events[_i].distance);
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        rig_open(&rig);
        rig.settings.shuffled = shuffled;
        run(&rig, body, 1, 64, 0);
        ck_assert_msg((rig.reporter.n_reports == 0) == events[_i].orders, "%s: %s",
                      events[_i].between, rig.reports);
        rig_close(&rig);
    }
}
END_TEST

/* Strong accesses among themselves, atomics, halves of a word: no races. */
static const struct {
    const char *body;
    bool races;
} pairs[] = {
    {"st.shared.u32 [%r4], %r5;", true}, /* two warps, though one value */
    {"setp.ge.u32 %p1, %r1, 32; @%p1 bra DONE; st.shared.u32 [%r4], %r5; DONE:", false},
    {"st.shared.u32 [%r4], %r1;", true},
    {"st.volatile.shared.u32 [%r4], %r5; ld.volatile.shared.u32 %r6, [%r4];", false},
    {"st.volatile.shared.u32 [%r4], %r5; ld.shared.u32 %r6, [%r4];", true},
    {"st.relaxed.gpu.global.u32 [%d1], %r5; ld.relaxed.gpu.global.u32 %r6, [%d1];", false},
    {"red.global.add.u32 [%d1], 1;", false},
    {"red.global.add.u32 [%d1], 1; ld.global.u32 %r6, [%d1];", true},
    {"cvt.u16.u32 %h1, %r1; shl.b32 %r6, %r1, 1; add.u32 %r6, %r6, %r4;\n"
     "st.shared.u16 [%r6], %h1; ld.shared.u16 %h2, [%r6];",
     false},
    {"st.global.u32 [%d2], %r1;", true}, /* both blocks */
    {"ld.global.u32 %r6, [%d2];", false},
};

START_TEST(what_is_a_race)
{
    struct rig rig;
    uint32_t words[64] = {0};
    for (int workers = 1; workers <= 2; workers++) {
        rig_open(&rig);
        rig.settings.n_workers = RACES_ARE_FATAL ? 1 : workers;
        run(&rig, pairs[_i].body, 2, 64, rig_upload(&rig, words, sizeof words));
        ck_assert_msg((rig.reporter.n_reports > 0) == pairs[_i].races, "%s: %s", pairs[_i].body,
                      rig.reports);
        rig_close(&rig);
    }
}
END_TEST

/* A message from block 0 to block 1: data, then a flag; only a release makes the data known. */
static const struct {
    const char *store, *load;
    bool orders;
} messages[] = {
    {"st.volatile.global.u32 [%d1], 1;", "ld.volatile.global.u32 %r6, [%d1];", false},
    {"membar.gl; st.volatile.global.u32 [%d1], 1;", "ld.volatile.global.u32 %r6, [%d1];", true},
    {"membar.cta; st.volatile.global.u32 [%d1], 1;", "ld.volatile.global.u32 %r6, [%d1];", false},
    {"st.release.gpu.global.u32 [%d1], 1;", "ld.acquire.gpu.global.u32 %r6, [%d1];", true},
    {"st.relaxed.gpu.global.u32 [%d1], 1; membar.gl;", "ld.acquire.gpu.global.u32 %r6, [%d1];",
     false},
    {"membar.gl; red.global.add.u32 [%d1], 1;", "atom.global.add.u32 %r6, [%d1], 0;", true},
    {"red.release.gpu.global.add.u32 [%d1], 1;", "atom.acquire.gpu.global.add.u32 %r6, [%d1], 0;",
     true},
};

START_TEST(what_releases)
{
    struct rig rig;
    char body[1024];
    uint32_t words[64] = {0};
    snprintf(body, sizeof body,
             "setp.ne.u32 %%p1, %%r5, 0; @%%p1 bra READER;\n"
             "st.global.u32 [%%d1+64], 5; %s\nbra DONE;\n"
             "READER: %s\nsetp.eq.u32 %%p2, %%r6, 0; @%%p2 bra READER;\n"
             "ld.global.u32 %%r7, [%%d1+64];\nDONE:",
             messages[_i].store, messages[_i].load);
    for (int workers = 1; workers <= 2; workers++) {
        rig_open(&rig);
        rig.settings.n_workers = RACES_ARE_FATAL && !messages[_i].orders ? 1 : workers;
        run(&rig, body, 2, 1, rig_upload(&rig, words, sizeof words));
        ck_assert_msg((rig.reporter.n_reports == 0) == messages[_i].orders, "%s: %s",
                      messages[_i].store, rig.reports);
        rig_close(&rig);
    }
}
END_TEST

START_TEST(launches_are_ordered)
{
    struct rig rig;
    uint32_t words[64] = {0};
    rig_open(&rig);
    uint64_t address = rig_upload(&rig, words, sizeof words);
    run(&rig, "st.global.u32 [%d2], %r1;", 1, 64, address);
    run(&rig,
        "xor.b32 %r6, %r2, 128; cvt.u64.u32 %d4, %r6; add.u64 %d4, %d1, %d4;\n"
        "st.global.u32 [%d4], %r1;",
        1, 64, address);
    ck_assert_str_eq(rig.reports, "");
    rig_close(&rig);
}
END_TEST

START_TEST(the_host_writes_reads_and_copies)
{
    struct rig rig;
    rig_open(&rig);
    uint64_t a = rig_upload(&rig, NULL, 1000), b = rig_upload(&rig, NULL, 1000), first = 0;
    ck_assert(!check_host_read(&rig.memory, a, 1000, &first));
    ck_assert_uint_eq(first, a);
    check_host_write(&rig.memory, a, 500);
    check_host_write(&rig.memory, a + 501, 499);
    ck_assert(check_host_read(&rig.memory, a, 500, &first));
    ck_assert(!check_host_read(&rig.memory, a, 1000, &first));
    ck_assert_uint_eq(first, a + 500);
    check_host_write(&rig.memory, b, 1000);
    check_host_copy(&rig.memory, b + 3, a + 490, 20);
    ck_assert(!check_host_read(&rig.memory, b, 1000, &first));
    ck_assert_uint_eq(first, b + 13);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_check");
    TCase *tests = tcase_create("checkers");
    tcase_add_test(tests, a_report_names_both_parties);
    tcase_add_test(tests, the_same_is_told_once);
    tcase_add_test(tests, a_race_is_told_once_for_each_distance);
    tcase_add_test(tests, what_is_in_flight_is_not_told_to_be_unwritten);
    tcase_add_test(tests, vector_reads_name_the_first_byte);
    tcase_add_loop_test(tests, what_orders_accesses, 0, (int)(sizeof events / sizeof *events));
    tcase_add_loop_test(tests, what_is_a_race, 0, (int)(sizeof pairs / sizeof *pairs));
    tcase_add_loop_test(tests, what_releases, 0, (int)(sizeof messages / sizeof *messages));
    tcase_add_test(tests, launches_are_ordered);
    tcase_add_test(tests, the_host_writes_reads_and_copies);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
