/* Divergence: lanes part and meet again, in loops, in flow that is not reducible, at barriers. */
#include "tests/softcuda/rig.h"

#include <string.h>

static const uint32_t one[3] = {1, 1, 1};

/* Each lane runs a loop of its own length; all are together behind it. */
START_TEST(lanes_meet_behind_a_loop)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "mov.u32 %r1, %tid.x; mov.u32 %r2, 0; mov.u32 %r3, 0;\n"
                  "LOOP: setp.ge.u32 %p1, %r2, %r1; @%p1 bra DONE;\n"
                  "add.u32 %r3, %r3, %r2; add.u32 %r2, %r2, 1; bra LOOP;\n"
                  "DONE: activemask.b32 %r4;\n"
                  "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 8; add.u64 %d1, %d1, %d2;\n"
                  "st.global.v2.u32 [%d1], {%r3, %r4};",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 32 * 8);
    ck_assert_int_eq(rig_launch(&rig, NULL, one, (uint32_t[3]){32, 1, 1}, 0, 1, &out), STATUS_OK);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t l = 0; l < 32; l++) {
        ck_assert_uint_eq(got[2 * l], l * (l - 1) / 2);
        ck_assert_uint_eq(got[2 * l + 1], 0xFFFFFFFFu);
    }
    rig_close(&rig);
}
END_TEST

/* Two entries into one loop: even lanes enter it in the middle. */
START_TEST(flow_that_is_not_reducible)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 0;\n"
                  "mov.u32 %r3, 0; mov.u32 %r5, 0; @%p1 bra MIDDLE;\n"
                  "TOP: add.u32 %r3, %r3, 1;\n"
                  "MIDDLE: add.u32 %r3, %r3, 100; add.u32 %r5, %r5, 1;\n"
                  "setp.le.u32 %p2, %r5, %r1; @%p2 bra TOP;\n"
                  "activemask.b32 %r4;\n"
                  "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 8; add.u64 %d1, %d1, %d2;\n"
                  "st.global.v2.u32 [%d1], {%r3, %r4};",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 32 * 8);
    ck_assert_int_eq(rig_launch(&rig, NULL, one, (uint32_t[3]){32, 1, 1}, 0, 1, &out), STATUS_OK);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t rounds = l + 1, tops = l % 2 ? rounds : rounds - 1;
        ck_assert_uint_eq(got[2 * l], 100 * rounds + tops);
        ck_assert_uint_eq(got[2 * l + 1], 0xFFFFFFFFu);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_flow");
    TCase *tests = tcase_create("portable and avx2");
    tcase_add_loop_test(tests, lanes_meet_behind_a_loop, 0, 2);
    tcase_add_loop_test(tests, flow_that_is_not_reducible, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
