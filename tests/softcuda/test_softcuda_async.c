/* cp.async: sizes and zeros, groups, and when the bytes are seen, in the late and the early model.
 */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>

#define LANES 32

/* A thread has 64 bytes of shared memory, full of 0x11, at %r10, and of inputs at %d10; what is in
 * %r20 to %r27 in the end are its results. */
static void run_copies(const char *body, const unsigned char *inputs, uint32_t *results,
                       enum async_model model, bool portable)
{
    struct rig rig;
    char text[4096];
    snprintf(text, sizeof text,
             ".shared .align 16 .b8 box[2048];\n"
             "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, box; mad.lo.u32 %%r10, %%r1, 64, %%r2;\n"
             "mul.wide.u32 %%d1, %%r1, 64; ld.param.u64 %%d10, [p1]; add.u64 %%d10, %%d10, %%d1;\n"
             "mul.wide.u32 %%d2, %%r1, 32; ld.param.u64 %%d3, [p0]; add.u64 %%d3, %%d3, %%d2;\n"
             "mov.u32 %%r3, 0x11111111; mov.u32 %%r4, 0;\n"
             "FILL: add.u32 %%r5, %%r10, %%r4; st.shared.u32 [%%r5], %%r3;\n"
             "add.u32 %%r4, %%r4, 4; setp.lt.u32 %%p1, %%r4, 64; @%%p1 bra FILL;\n"
             "mov.u32 %%r20, 0; mov.u32 %%r21, 0; mov.u32 %%r22, 0; mov.u32 %%r23, 0;\n"
             "mov.u32 %%r24, 0; mov.u32 %%r25, 0; mov.u32 %%r26, 0; mov.u32 %%r27, 0;\n"
             "%s\n"
             "st.global.v4.u32 [%%d3], {%%r20, %%r21, %%r22, %%r23};\n"
             "st.global.v4.u32 [%%d3+16], {%%r24, %%r25, %%r26, %%r27};",
             body);
    rig_open(&rig);
    rig.settings.async = model;
    rig_load_body(&rig, 2, text, portable);
    const uint64_t parameters[] = {rig_upload(&rig, NULL, LANES * 32),
                                   rig_upload(&rig, inputs, LANES * 64)};
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){LANES, 1, 1}, 0, 2, parameters);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
    memcpy(results, rig_host(&rig, parameters[0]), LANES * 32);
    rig_close(&rig);
}

static void fill_inputs(unsigned char *inputs)
{
    for (int i = 0; i < LANES * 64; i++)
        inputs[i] = (unsigned char)(0x80 | mix64(1, (uint64_t)i));
}

/* 4, 8 and 16 bytes; of the source 0 to all of them, another number in each lane, whose rest is
 * zeros; nothing behind the destination is touched. A lane that copies 0 bytes may name an address
 * that is not there. */
START_TEST(sizes)
{
    static const char *const ways[] = {"ca", "ca", "ca", "cg"};
    static const int largest[] = {4, 8, 16, 16};
    unsigned char inputs[LANES * 64];
    uint32_t results[LANES * 8];
    int way = _i / 4 % 4, size = largest[way];
    bool part = _i / 2 % 2, policy = _i / 16;
    char body[1024];
    fill_inputs(inputs);
    snprintf(body, sizeof body,
             "rem.u32 %%r11, %%r1, %d; setp.eq.u32 %%p2, %%r11, 0; mov.u64 %%d11, %%d10;\n"
             "%s"
             "createpolicy.fractional.L2::evict_first.b64 %%d20;\n"
             "cp.async.%s.shared.global%s [%%r10+16], [%%d11+16], %d%s%s;\n"
             "cp.async.wait_all; ld.shared.v4.u32 {%%r20, %%r21, %%r22, %%r23}, [%%r10+16];\n"
             "ld.shared.v4.u32 {%%r24, %%r25, %%r26, %%r27}, [%%r10+32];",
             size + 1, part ? "@%p2 mov.u64 %d11, 0;\n" : "", ways[way],
             policy ? ".L2::cache_hint" : "", size, part ? ", %r11" : "", policy ? ", %d20" : "");
    run_copies(body, inputs, results, ASYNC_LATE, _i % 2);
    for (int l = 0; l < LANES; l++) {
        unsigned char want[32];
        int n = part ? l % (size + 1) : size;
        memset(want, 0x11, sizeof want);
        memset(want, 0, (size_t)size);
        memcpy(want, inputs + 64 * l + 16, (size_t)n);
        ck_assert_msg(memcmp(results + 8 * l, want, 32) == 0, "%d of %d bytes, lane %d", n, size,
                      l);
    }
}
END_TEST

/* Three groups of a word each, the middle one with two, and a fourth that is empty; then one copy
 * that is in no group. What is there after each wait: word by word. */
START_TEST(groups)
{
    unsigned char inputs[LANES * 64];
    uint32_t results[LANES * 8], words[LANES * 16];
    enum async_model model = _i / 2 ? ASYNC_EARLY : ASYNC_LATE;
    fill_inputs(inputs);
    memcpy(words, inputs, sizeof inputs);
    run_copies("cp.async.ca.shared.global [%r10], [%d10], 4; cp.async.commit_group;\n"
               "cp.async.ca.shared.global [%r10+4], [%d10+4], 4;\n"
               "cp.async.ca.shared.global [%r10+8], [%d10+8], 4; cp.async.commit_group;\n"
               "cp.async.ca.shared.global [%r10+12], [%d10+12], 4; cp.async.commit_group;\n"
               "cp.async.commit_group;\n"
               "cp.async.ca.shared.global [%r10+16], [%d10+16], 4;\n"
               "cp.async.wait_group 4; ld.shared.u32 %r20, [%r10];\n"
               "cp.async.wait_group 3; ld.shared.u32 %r21, [%r10]; ld.shared.u32 %r22, [%r10+4];\n"
               "cp.async.wait_group 2; ld.shared.u32 %r23, [%r10+8];\n"
               "ld.shared.u32 %r24, [%r10+12]; cp.async.wait_group 0;\n"
               "ld.shared.u32 %r25, [%r10+12]; ld.shared.u32 %r26, [%r10+16];\n"
               "cp.async.wait_all; ld.shared.u32 %r27, [%r10+16];",
               inputs, results, model, _i % 2);
    for (int l = 0; l < LANES; l++) {
        const uint32_t *got = results + 8 * l, *word = words + 16 * l;
        uint32_t before = 0x11111111u;
        bool early = model == ASYNC_EARLY;
        ck_assert_uint_eq(got[0], early ? word[0] : before);
        ck_assert_uint_eq(got[1], word[0]);
        ck_assert_uint_eq(got[2], early ? word[1] : before);
        ck_assert_uint_eq(got[3], word[2]);
        ck_assert_uint_eq(got[4], early ? word[3] : before);
        ck_assert_uint_eq(got[5], word[3]);
        ck_assert_uint_eq(got[6], early ? word[4] : before);
        ck_assert_uint_eq(got[7], word[4]);
    }
}
END_TEST

/* Groups are each thread's own: odd lanes commit once more, wait_group counts from there. */
START_TEST(groups_of_lanes)
{
    unsigned char inputs[LANES * 64];
    uint32_t results[LANES * 8], words[LANES * 16];
    fill_inputs(inputs);
    memcpy(words, inputs, sizeof inputs);
    run_copies("and.b32 %r11, %r1, 1; setp.eq.u32 %p2, %r11, 1;\n"
               "cp.async.ca.shared.global [%r10], [%d10], 8; cp.async.commit_group;\n"
               "@%p2 cp.async.ca.shared.global [%r10+8], [%d10+8], 8;\n"
               "@%p2 cp.async.commit_group; cp.async.wait_group 1;\n"
               "ld.shared.v4.u32 {%r20, %r21, %r22, %r23}, [%r10]; cp.async.wait_group 0;\n"
               "ld.shared.v4.u32 {%r24, %r25, %r26, %r27}, [%r10];",
               inputs, results, ASYNC_LATE, _i);
    for (int l = 0; l < LANES; l++) {
        const uint32_t *got = results + 8 * l, *word = words + 16 * l;
        uint32_t before = 0x11111111u;
        ck_assert_uint_eq(got[0], l % 2 ? word[0] : before);
        ck_assert_uint_eq(got[1], l % 2 ? word[1] : before);
        ck_assert_uint_eq(got[2], before);
        ck_assert_uint_eq(got[4], word[0]);
        ck_assert_uint_eq(got[5], word[1]);
        ck_assert_uint_eq(got[6], l % 2 ? word[2] : before);
        ck_assert_uint_eq(got[7], l % 2 ? word[3] : before);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_async");
    TCase *tests = tcase_create("portable and avx2");
    tcase_add_loop_test(tests, sizes, 0, 32);
    tcase_add_loop_test(tests, groups, 0, 4);
    tcase_add_loop_test(tests, groups_of_lanes, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
