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

/* brx.idx: seven lists' entries to four places, one of them a loop that leads back, one behind the
 * branch itself; lanes held back fall through. All meet again behind it. In a function too, which
 * is put in line twice. */
START_TEST(branches_by_index)
{
    static const char text[] =
        ".version 8.0\n.target sm_80\n.address_size 64\n"
        ".func (.param .b32 out) chosen(.param .b32 in) {\n"
        ".reg .b32 %a; .reg .b32 %b; ld.param.b32 %a, [in];\n"
        "{ T: .branchtargets ONE, TWO, ONE; brx.idx %a, T; }\n"
        "ONE: mov.u32 %b, 10; bra DONE;\nTWO: mov.u32 %b, 20;\n"
        "DONE: st.param.b32 [out], %b; ret;\n}\n"
        ".visible .entry kernel(.param .u64 p0) {\n"
        ".reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %d<9>;\n"
        "mov.u32 %r1, %tid.x; rem.u32 %r2, %r1, 7; mov.u32 %r3, 0; mov.u32 %r5, 0;\n"
        "setp.ne.u32 %p1, %r1, 30;\n"
        "AGAIN: add.u32 %r5, %r5, 1;\n"
        "@%p1 brx.idx %r2, LIST;\n"
        "BEHIND: add.u32 %r3, %r3, 1000; bra JOIN;\n"
        "LIST: .branchtargets A, B, A, BEHIND,\n B, LOOP, A;\n"
        "A: add.u32 %r3, %r3, 1; bra JOIN;\n"
        "LOOP: add.u32 %r3, %r3, 100; setp.lt.u32 %p2, %r5, %r1; @%p2 bra AGAIN; bra JOIN;\n"
        "B: add.u32 %r3, %r3, 10;\n"
        "JOIN: activemask.b32 %r4; rem.u32 %r6, %r1, 3;\n"
        "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r6; call (y), chosen, (x);\n"
        "ld.param.b32 %r7, [y]; }\n"
        "{ .param .b32 x; .param .b32 y; st.param.b32 [x], 1; call (y), chosen, (x);\n"
        "ld.param.b32 %r8, [y]; }\n"
        "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 16; add.u64 %d1, %d1, %d2;\n"
        "st.global.v4.u32 [%d1], {%r3, %r4, %r7, %r8}; ret; }\n";
    struct rig rig;
    rig_open(&rig);
    ck_assert_msg(rig_load(&rig, text, strlen(text), _i) == STATUS_OK, "%s", rig.err.text);
    uint64_t out = rig_upload(&rig, NULL, 32 * 16);
    ck_assert_msg(rig_launch(&rig, NULL, one, (uint32_t[3]){32, 1, 1}, 0, 1, &out) == STATUS_OK,
                  "%s", rig.reports);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t l = 0; l < 32; l++) {
        static const uint32_t wants[7] = {1, 10, 1, 1000, 10, 0, 1};
        uint32_t want = l == 30 ? 1000 : l % 7 == 5 ? 100 * l : wants[l % 7];
        ck_assert_uint_eq(got[4 * l], want);
        ck_assert_uint_eq(got[4 * l + 1], 0xFFFFFFFFu);
        ck_assert_uint_eq(got[4 * l + 2], l % 3 == 1 ? 20 : 10);
        ck_assert_uint_eq(got[4 * l + 3], 20);
    }
    rig_close(&rig);
}
END_TEST

/* The third target leads back, to where %r9 is read, whose place must be kept until then; the
 * fourth is also fallen into, where the lanes of both ways meet. */
START_TEST(a_loop_by_index)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "mov.u32 %r1, %tid.x; mov.u32 %r3, 0; mov.u32 %r5, 0; and.b32 %r9, %r1, 7;\n"
                  "setp.eq.u32 %p3, %r9, 0;\n"
                  "T: .branchtargets OUT, OUT, TOP, BOTH;\n"
                  "TOP: add.u32 %r3, %r3, %r9; mul.lo.u32 %r10, %r3, 3; add.u32 %r5, %r5, %r10;\n"
                  "mov.u32 %r11, 3; setp.gt.u32 %p1, %r1, 20; @%p1 mov.u32 %r11, 0;\n"
                  "setp.lt.u32 %p2, %r3, %r1; @%p2 mov.u32 %r11, 2;\n"
                  "@%p3 mov.u32 %r11, 1;\n"
                  "brx.idx %r11, T;\n"
                  "OUT: add.u32 %r3, %r3, 1000;\n"
                  "BOTH: activemask.b32 %r4;\n"
                  "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 16; add.u64 %d1, %d1, %d2;\n"
                  "st.global.v4.u32 [%d1], {%r3, %r4, %r5, %r5};",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 32 * 16);
    ck_assert_int_eq(rig_launch(&rig, NULL, one, (uint32_t[3]){32, 1, 1}, 0, 1, &out), STATUS_OK);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t sum = 0, triples = 0;
        do {
            sum += l & 7;
            triples += 3 * sum;
        } while ((l & 7) != 0 && sum < l);
        ck_assert_uint_eq(got[4 * l], sum + ((l & 7) == 0 || l > 20 ? 1000 : 0));
        ck_assert_uint_eq(got[4 * l + 1], 0xFFFFFFFFu);
        ck_assert_uint_eq(got[4 * l + 2], triples);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(an_index_beyond_the_list_is_reported)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "mov.u32 %r1, %tid.x; T: .branchtargets A, B; brx.idx %r1, T;\n"
                  "A: mov.u32 %r2, 0;\nB: mov.u32 %r2, 1;",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 8);
    rig_launch(&rig, NULL, one, (uint32_t[3]){3, 1, 1}, 0, 1, &out);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_TRAP);
    ck_assert_msg(strstr(rig.reports, "thread (2,0,0): brx.idx: index 2 of a list of 2 targets"),
                  "%s", rig.reports);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_flow");
    TCase *tests = tcase_create("portable and avx2");
    tcase_add_loop_test(tests, lanes_meet_behind_a_loop, 0, 2);
    tcase_add_loop_test(tests, flow_that_is_not_reducible, 0, 2);
    tcase_add_loop_test(tests, branches_by_index, 0, 2);
    tcase_add_loop_test(tests, a_loop_by_index, 0, 2);
    tcase_add_loop_test(tests, an_index_beyond_the_list_is_reported, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
