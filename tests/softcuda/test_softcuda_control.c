/* Flow as compilers make it of loops, switches, calls and early returns, against the same in C, in
 * every order; special registers; and what ends or speaks: trap, printf, assert. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 77 /* the last warp has 13 */
#define BLOCKS  5
#define N       (THREADS * BLOCKS)

typedef uint32_t reference(uint32_t thread, uint32_t block);

static const char head[] = ".version 8.0\n.target sm_80\n.address_size 64\n";
static const char prologue[] =
    ".visible .entry kernel(.param .u64 p0) {\n"
    ".reg .pred %p<32>; .reg .b32 %r<256>; .reg .b64 %d<128>;\n"
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r20, 0;\n";
/* %r20 is the thread's result. */
static const char epilogue[] =
    "\nDONE: mad.lo.u32 %r90, %r2, %r3, %r1; mul.wide.u32 %d90, %r90, 4;\n"
    "ld.param.u64 %d91, [p0]; add.u64 %d91, %d91, %d90;\n"
    "st.global.u32 [%d91], %r20;\nret;\n}\n";

/* Fixed order and two shuffled ones, with both sets of handlers, on one worker and on two. */
static void check_kernel(const char *functions, const char *body, reference *want)
{
    char text[8192];
    snprintf(text, sizeof text, "%s%s%s%s%s", head, functions, prologue, body, epilogue);
    for (int run = 0; run < 6; run++) {
        struct rig rig;
        rig_open(&rig);
        rig.settings.shuffled = run / 2 > 0;
        rig.settings.seed = (uint64_t)run;
        rig.settings.n_workers = run / 2 == 2 ? 2 : 1;
        ck_assert_msg(rig_load(&rig, text, strlen(text), run % 2) == STATUS_OK, "%s", rig.err.text);
        uint64_t out = rig_upload(&rig, NULL, N * 4);
        memset(rig_host(&rig, out), 0xAB, N * 4);
        rig_launch(&rig, NULL, (uint32_t[3]){BLOCKS, 1, 1}, (uint32_t[3]){THREADS, 1, 1}, 0, 1,
                   &out);
        ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
        const uint32_t *got = rig_host(&rig, out);
        for (uint32_t i = 0; i < N; i++)
            ck_assert_msg(got[i] == want(i % THREADS, i / THREADS),
                          "run %d, thread %u of block %u: %u, not %u", run, i % THREADS,
                          i / THREADS, got[i], want(i % THREADS, i / THREADS));
        rig_close(&rig);
    }
}

/* ---- loops and switches --------------------------------------------------------------------- */

static uint32_t nested(uint32_t thread, uint32_t block)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 6; i++) {
        if ((i + thread) % 3 == 0)
            continue;
        for (uint32_t j = 0;; j++) {
            if (j * j > thread + block)
                break;
            if ((j ^ i) & 1)
                continue;
            sum = sum * 3 + j;
            if (sum > 5000)
                return sum;
        }
        sum += i;
    }
    return sum + 1;
}

START_TEST(nested_loops)
{
    check_kernel("",
                 "mov.u32 %r4, 0;\n"
                 "OUTER: setp.ge.u32 %p1, %r4, 6; @%p1 bra AFTER;\n"
                 "add.u32 %r5, %r4, %r1; rem.u32 %r5, %r5, 3; setp.eq.u32 %p2, %r5, 0;\n"
                 "@%p2 bra NEXT; mov.u32 %r6, 0; add.u32 %r9, %r1, %r2;\n"
                 "INNER: mul.lo.u32 %r7, %r6, %r6; setp.gt.u32 %p3, %r7, %r9; @%p3 bra BEHIND;\n"
                 "xor.b32 %r8, %r6, %r4; and.b32 %r8, %r8, 1; setp.ne.u32 %p4, %r8, 0;\n"
                 "@%p4 bra STEP; mad.lo.u32 %r20, %r20, 3, %r6;\n"
                 "setp.gt.u32 %p5, %r20, 5000; @%p5 bra DONE;\n"
                 "STEP: add.u32 %r6, %r6, 1; bra INNER;\n"
                 "BEHIND: add.u32 %r20, %r20, %r4;\n"
                 "NEXT: add.u32 %r4, %r4, 1; bra.uni OUTER;\n"
                 "AFTER: add.u32 %r20, %r20, 1;",
                 nested);
}
END_TEST

static uint32_t ladder(uint32_t thread, uint32_t block)
{
    uint32_t x = 0;
    switch ((thread + block) % 5) {
    case 0:
        x += 1; /* fall through */
    case 1:
        x += 10; /* fall through */
    case 2:
        x += 100;
        break;
    case 3:
        x += 1000;
        break;
    }
    return x + 7;
}

START_TEST(switch_ladder)
{
    check_kernel("",
                 "add.u32 %r4, %r1, %r2; rem.u32 %r4, %r4, 5;\n"
                 "setp.gt.u32 %p1, %r4, 1; @%p1 bra HIGH;\n"
                 "setp.eq.u32 %p2, %r4, 0; @%p2 bra CASE0; bra CASE1;\n"
                 "HIGH: setp.eq.u32 %p3, %r4, 2; @%p3 bra CASE2; setp.eq.u32 %p4, %r4, 3;\n"
                 "@!%p4 bra BREAK; add.u32 %r20, %r20, 1000; bra BREAK;\n"
                 "CASE0: add.u32 %r20, %r20, 1;\n"
                 "CASE1: add.u32 %r20, %r20, 10;\n"
                 "CASE2: add.u32 %r20, %r20, 100;\n"
                 "BREAK: add.u32 %r20, %r20, 7;",
                 ladder);
}
END_TEST

/* Instructions that a guard holds back leave registers and predicates as they were. */
static uint32_t held_back(uint32_t thread, uint32_t block)
{
    return thread % 3 == 0 ? thread + 500 : 12 + block;
}

START_TEST(guards_keep_registers)
{
    check_kernel("",
                 "rem.u32 %r4, %r1, 3; setp.eq.u32 %p1, %r4, 0; add.u32 %r20, %r2, 12;\n"
                 "setp.eq.u32 %p2, %r4, 9; @%p1 add.u32 %r20, %r1, 500;\n"
                 "@%p1 setp.eq.u32 %p2, %r4, 0; @!%p2 mov.u32 %r21, 1; @%p2 mov.u32 %r21, 2;\n"
                 "setp.eq.u32 %p3, %r21, 2; xor.pred %p4, %p3, %p1; @%p4 trap;",
                 held_back);
}
END_TEST

/* ---- exits ---------------------------------------------------------------------------------- */

/* Threads that leave before a barrier are not waited for: of others each adds one, and all see all.
 * In block 3 whole warps leave. */
static bool leaves(uint32_t thread, uint32_t block)
{
    return block == 3 ? thread >= 32 : thread % 7 == block;
}

static uint32_t with_exits(uint32_t thread, uint32_t block)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        n += !leaves(i, block);
    return leaves(thread, block) ? 0xABABABABu : n;
}

START_TEST(exits_before_a_barrier)
{
    check_kernel("",
                 ".shared .align 4 .b8 box[4];\n"
                 "mov.u32 %r4, box; mov.u32 %r5, 0; setp.eq.u32 %p1, %r1, 0;\n"
                 "@%p1 st.shared.u32 [%r4], %r5; bar.sync 0;\n"
                 "setp.eq.u32 %p2, %r2, 3; @%p2 bra THREE;\n"
                 "rem.u32 %r6, %r1, 7; setp.eq.u32 %p3, %r6, %r2; @%p3 exit; bra ON;\n"
                 "THREE: setp.ge.u32 %p4, %r1, 32; @%p4 ret;\n"
                 "ON: red.shared.add.u32 [%r4], 1; bar.sync 0; ld.shared.u32 %r20, [%r4];",
                 with_exits);
}
END_TEST

/* ---- calls ---------------------------------------------------------------------------------- */

static const char collatz[] =
    ".func (.param .b32 result) steps(.param .b32 start, .param .b32 most) {\n"
    ".reg .pred %p<8>; .reg .b32 %r<16>;\n"
    "ld.param.u32 %r1, [start]; ld.param.u32 %r2, [most]; mov.u32 %r3, 0;\n"
    "LOOP: setp.le.u32 %p1, %r1, 1; @%p1 bra END;\n"
    "setp.ge.u32 %p2, %r3, %r2; mov.u32 %r5, 999; st.param.b32 [result], %r5; @%p2 ret;\n"
    "and.b32 %r4, %r1, 1; setp.eq.u32 %p3, %r4, 1; @%p3 mad.lo.u32 %r1, %r1, 3, 1;\n"
    "@!%p3 shr.u32 %r1, %r1, 1; add.u32 %r3, %r3, 1; bra LOOP;\n"
    "END: st.param.b32 [result], %r3; ret;\n}\n"
    ".func (.param .b32 result) twice(.param .b32 start) {\n"
    ".reg .b32 %r<16>;\nld.param.u32 %r1, [start]; mov.u32 %r3, 20;\n{\n"
    ".param .b32 one; .param .b32 two; .param .b32 back;\n"
    "st.param.b32 [one], %r1; st.param.b32 [two], %r3; call.uni (back), steps, (one, two);\n"
    "ld.param.b32 %r2, [back];\n}\nadd.u32 %r2, %r2, %r2; st.param.b32 [result], %r2; ret;\n}\n";

static uint32_t steps(uint32_t x, uint32_t most)
{
    uint32_t n = 0;
    for (; x > 1; n++) {
        if (n >= most)
            return 999;
        x = x & 1 ? 3 * x + 1 : x / 2;
    }
    return n;
}

static uint32_t called(uint32_t thread, uint32_t block)
{
    uint32_t x = steps(thread, 100 + block) + 1000 * (thread % 4 == 1 ? 2 * steps(thread, 20) : 3);
    return x;
}

/* A function that returns early in some lanes, called twice, once from another; and under a guard,
 * with what the others keep. */
START_TEST(calls)
{
    check_kernel(collatz,
                 "and.b32 %r4, %r1, 3; setp.eq.u32 %p1, %r4, 1; add.u32 %r5, %r2, 100;\n{\n"
                 ".param .b32 one; .param .b32 two; .param .b32 back;\n"
                 "st.param.b32 [one], %r1; st.param.b32 [two], %r5;\n"
                 "call (back), steps, (one, two); ld.param.b32 %r6, [back];\n}\n"
                 "mov.u32 %r7, 3;\n{\n.param .b32 one; .param .b32 back;\n"
                 "st.param.b32 [one], %r1; @%p1 call (back), twice, (one);\n"
                 "@%p1 ld.param.b32 %r7, [back];\n}\n"
                 "mad.lo.u32 %r20, %r7, 1000, %r6;",
                 called);
}
END_TEST

/* ---- special registers ---------------------------------------------------------------------- */

START_TEST(special_registers)
{
    static const char *const names[] = {
        "%tid.x",       "%tid.y",       "%tid.z",       "%ntid.x",     "%ntid.y",
        "%ntid.z",      "%ctaid.x",     "%ctaid.y",     "%ctaid.z",    "%nctaid.x",
        "%nctaid.y",    "%nctaid.z",    "%laneid",      "%warpid",     "%lanemask_eq",
        "%lanemask_le", "%lanemask_lt", "%lanemask_ge", "%lanemask_gt"};
    enum { NAMES = sizeof names / sizeof *names, ALL = 5 * 3 * 3 * 2 * 3 * 4 };
    struct rig rig;
    char body[4096], *at = body;
    rig_open(&rig);
    rig.settings.shuffled = true;
    at += sprintf(at,
                  "mov.u32 %%r1, %%ctaid.z; mov.u32 %%r2, %%ctaid.y; mov.u32 %%r3, %%ctaid.x;\n"
                  "mad.lo.u32 %%r1, %%r1, 3, %%r2; mad.lo.u32 %%r1, %%r1, 2, %%r3;\n"
                  "mov.u32 %%r2, %%tid.z; mov.u32 %%r3, %%tid.y; mov.u32 %%r4, %%tid.x;\n"
                  "mad.lo.u32 %%r2, %%r2, 3, %%r3; mad.lo.u32 %%r2, %%r2, 5, %%r4;\n"
                  "mad.lo.u32 %%r1, %%r1, 45, %%r2; mul.wide.u32 %%d1, %%r1, %d;\n"
                  "ld.param.u64 %%d2, [p0]; add.u64 %%d1, %%d1, %%d2;\n",
                  NAMES * 4);
    for (int i = 0; i < NAMES; i++)
        at += sprintf(at, "mov.u32 %%r5, %s; st.global.u32 [%%d1+%d], %%r5;\n", names[i], 4 * i);
    rig_load_body(&rig, 1, body, _i);
    uint64_t out = rig_upload(&rig, NULL, ALL * NAMES * 4);
    rig_launch(&rig, NULL, (uint32_t[3]){2, 3, 4}, (uint32_t[3]){5, 3, 3}, 0, 1, &out);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t z = 0; z < 4; z++)
        for (uint32_t y = 0; y < 3; y++)
            for (uint32_t x = 0; x < 2; x++)
                for (uint32_t t = 0; t < 45; t++, got += NAMES) {
                    uint32_t lane = t % 32, bit = 1u << lane;
                    const uint32_t want[NAMES] = {t % 5,
                                                  t / 5 % 3,
                                                  t / 15,
                                                  5,
                                                  3,
                                                  3,
                                                  x,
                                                  y,
                                                  z,
                                                  2,
                                                  3,
                                                  4,
                                                  lane,
                                                  t / 32,
                                                  bit,
                                                  lane == 31 ? 0xFFFFFFFFu : 2 * bit - 1,
                                                  bit - 1,
                                                  0u - bit,
                                                  lane == 31 ? 0 : 0u - 2 * bit};
                    for (int i = 0; i < NAMES; i++)
                        ck_assert_msg(got[i] == want[i], "thread %u: %s is 0x%X, not 0x%X", t,
                                      names[i], got[i], want[i]);
                }
    rig_close(&rig);
}
END_TEST

/* Clocks go on, and their halves fit together. */
START_TEST(clocks)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "ld.param.u64 %d1, [p0]; mov.u64 %d2, %clock64; mov.u32 %r1, %clock;\n"
                  "mov.u32 %r2, %clock_hi; mov.u64 %d3, %globaltimer; pmevent 3;\n"
                  "mov.u32 %r3, %globaltimer_lo; mov.u32 %r4, %globaltimer_hi;\n"
                  "mov.u64 %d4, %clock64; st.global.u64 [%d1], %d2;\n"
                  "st.global.u64 [%d1+8], %d3; st.global.u64 [%d1+16], %d4;\n"
                  "st.global.v4.u32 [%d1+32], {%r1, %r2, %r3, %r4};",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 48);
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){1, 1, 1}, 0, 1, &out);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_GOOD);
    uint64_t wide[3];
    uint32_t narrow[4];
    memcpy(wide, rig_host(&rig, out), sizeof wide);
    memcpy(narrow, (char *)rig_host(&rig, out) + 32, sizeof narrow);
    ck_assert_uint_lt(wide[0], wide[2]);
    ck_assert(narrow[0] > wide[0] && narrow[0] < wide[2]);
    ck_assert_uint_le(wide[1], narrow[2]);
    ck_assert_uint_eq(narrow[1], 0);
    ck_assert_uint_eq(narrow[3], 0);
    rig_close(&rig);
}
END_TEST

START_TEST(traps)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 0,
                  _i / 2 ? "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 40; @%p1 brkpt;"
                         : "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 40; @%p1 trap;",
                  _i % 2);
    uint64_t none = 0;
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 0, &none);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_GOOD);
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){64, 1, 1}, 0, 0, &none);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_TRAP);
    ck_assert_ptr_nonnull(strstr(rig.reports, "(40,0,0)"));
    rig_close(&rig);
}
END_TEST

/* ---- printf, assert ------------------------------------------------------------------------- */

/* Runs the kernel with standard output in a file, and gives back what was printed. */
static void capture(struct rig *rig, char *text, size_t size)
{
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    fflush(stdout);
    int before = dup(1);
    dup2(fileno(file), 1);
    uint64_t none = 0;
    rig_launch(rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){3, 1, 1}, 0, 0, &none);
    fflush(stdout);
    dup2(before, 1);
    close(before);
    rewind(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    fclose(file);
}

static void load_text(struct rig *rig, const char *text, bool portable)
{
    char all[8192];
    snprintf(all, sizeof all, "%s%s", head, text);
    ck_assert_msg(rig_load(rig, all, strlen(all), portable) == STATUS_OK, "%s", rig->err.text);
}

START_TEST(prints)
{
    struct rig rig;
    char text[1024];
    rig_open(&rig);
    /* "%d %5.2f %s|\n" with the thread, half of it, "ab"; then what printf gave back, by "%d%%\n"
     * itself: the number of arguments, and -1 without a format. */
#define PRINT_RETURNED                                                                             \
    "st.local.u32 [%d1], %r2; mov.u64 %d5, short; cvta.global.u64 %d5, %d5;\n"                     \
    "st.param.b64 [one], %d5; @%p1 call.uni (back), vprintf, (one, two);\n"                        \
    "ld.param.b32 %r2, [back];\n"
    load_text(
        &rig,
        ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
        ".global .align 1 .b8 format[15] = {37,100,32,37,53,46,50,102,32,37,115,124,10,0,0};\n"
        ".global .align 1 .b8 word[3] = {97, 98, 0};\n"
        ".global .align 1 .b8 short[6] = {37, 100, 37, 37, 10, 0};\n"
        ".visible .entry kernel() {\n.local .align 8 .b8 frame[24];\n"
        ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f64 %e<9>;\n"
        "mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 1; mov.u64 %d1, frame;\n"
        "cvta.local.u64 %d2, %d1; st.local.u32 [%d1], %r1; cvt.rn.f64.u32 %e1, %r1;\n"
        "mul.rn.f64 %e1, %e1, 0d3FE0000000000000; st.local.f64 [%d1+8], %e1;\n"
        "mov.u64 %d3, word; cvta.global.u64 %d3, %d3; st.local.u64 [%d1+16], %d3;\n"
        "mov.u64 %d4, format; cvta.global.u64 %d4, %d4;\n{\n"
        ".param .b64 one; .param .b64 two; .param .b32 back;\n"
        "st.param.b64 [one], %d4; st.param.b64 [two], %d2;\n"
        "@%p1 call.uni (back), vprintf, (one, two);\nld.param.b32 %r2, [back];\n" PRINT_RETURNED
            PRINT_RETURNED "mov.u64 %d6, 0; st.param.b64 [one], %d6;\n"
        "@%p1 call.uni (back), vprintf, (one, two);\nld.param.b32 %r2, [back];\n" PRINT_RETURNED
        "}\nret;\n}\n",
        _i);
    capture(&rig, text, sizeof text);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
    ck_assert_str_eq(text, "0  0.00 ab|\n2  1.00 ab|\n3%\n3%\n1%\n1%\n-1%\n-1%\n");
    rig_close(&rig);
}
END_TEST

START_TEST(asserts)
{
    struct rig rig;
    char text[1024];
    rig_open(&rig);
    load_text(&rig,
              ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l,\n"
              ".param .b64 n, .param .b64 s);\n"
              ".global .align 1 .b8 message[6] = {120, 32, 62, 32, 49, 0};\n"
              ".global .align 1 .b8 file[5] = {97, 46, 99, 117, 0};\n"
              ".global .align 1 .b8 name[3] = {102, 110, 0};\n"
              ".visible .entry kernel() {\n"
              ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %d<9>;\n"
              "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 2; @%p1 bra GOOD;\n"
              "mov.u64 %d1, message; cvta.global.u64 %d1, %d1;\n"
              "mov.u64 %d2, file; cvta.global.u64 %d2, %d2; mov.u32 %r2, 42;\n"
              "mov.u64 %d3, name; cvta.global.u64 %d3, %d3; mov.u64 %d4, 1;\n{\n"
              ".param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e;\n"
              "st.param.b64 [a], %d1; st.param.b64 [b], %d2; st.param.b32 [c], %r2;\n"
              "st.param.b64 [d], %d3; st.param.b64 [e], %d4;\n"
              "call.uni __assertfail, (a, b, c, d, e);\n}\nGOOD: ret;\n}\n",
              _i);
    capture(&rig, text, sizeof text);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_ASSERT);
    ck_assert_msg(strstr(rig.reports, "x > 1") && strstr(rig.reports, "a.cu") &&
                      strstr(rig.reports, "42") && strstr(rig.reports, "fn") &&
                      strstr(rig.reports, "(2,0,0)"),
                  "%s", rig.reports);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_control");
    TCase *flow = tcase_create("every order"), *tests = tcase_create("portable and avx2");
    tcase_add_test(flow, nested_loops);
    tcase_add_test(flow, switch_ladder);
    tcase_add_test(flow, guards_keep_registers);
    tcase_add_test(flow, exits_before_a_barrier);
    tcase_add_test(flow, calls);
    tcase_add_loop_test(tests, special_registers, 0, 2);
    tcase_add_loop_test(tests, clocks, 0, 2);
    tcase_add_loop_test(tests, traps, 0, 4);
    tcase_add_loop_test(tests, prints, 0, 2);
    tcase_add_loop_test(tests, asserts, 0, 2);
    suite_add_tcase(suite, flow);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
