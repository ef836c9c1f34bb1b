/* What cannot be run is refused at load, in one line that names the module, the line of the text,
 * the source's place, the opcode and what is wrong with it. And what stands beside the arithmetic:
 * special registers, clocks, traps, calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/softcuda/rig.h"

static const uint32_t one[3] = {1, 1, 1};

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"place.cu\"\n"
/* Line 7 of the text is the first of the body. */
#define BODY(text)                                                                                 \
    HEAD ".visible .entry kernel(.param .u64 p0)\n{ .reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 " \
         "%r<4>; .reg .s32 %i<4>; .reg .f32 %f<4>; .reg .b64 %d<4>;\n.loc 1 42 0\n" text           \
         "\nret; }\n"
#define AT "test.ptx: line 8 (place.cu:42): "

#define PRINT(text)                                                                                \
    HEAD ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n"                  \
         ".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, " \
         ".param .b64 e);\n.entry kernel(.param .b64 p) {\n" text " ret; }\n"

#define CALLS                                                                                      \
    "call f, (); call f, (); call f, (); call f, (); call f, (); call f, (); call f, (); "         \
    "call f, (); call f, ();\n"

static const struct {
    const char *text, *error;
} refused[] = {
    /* opcodes and their parts */
    {BODY("frob.s32 %r1, %r2;"), AT "'frob.s32': this opcode cannot be run"},
    {BODY("add.s33 %r1, %r2, %r3;"), AT "'add.s33': this opcode cannot be run"},
    {BODY("fma.f32 %f1, %f2, %f3, %f1;"), AT "'fma.f32': this opcode cannot be run"},
    {BODY("cvt.f32.s32 %f1, %r1;"), AT "'cvt.f32.s32': this variant cannot be run"},
    {BODY("cvt.rn.s32.f32 %r1, %f1;"), AT "'cvt.rn.s32.f32': this variant cannot be run"},
    {BODY("cvt.rn.tf32.f32 %r1, %f1;"), AT "'cvt.rn.tf32.f32': this variant cannot be run"},
    {BODY("setp.lo.s32 %p1, %r1, %r2;"), AT "'setp.lo.s32': this variant cannot be run"},
    {BODY("setp.ltu.u32 %p1, %r1, %r2;"), AT "'setp.ltu.u32': this variant cannot be run"},
    {BODY("setp.lt.b32 %p1, %r1, %r2;"), AT "'setp.lt.b32': this variant cannot be run"},
    {BODY("atom.global.inc.s32 %r1, [%d1], %r2;"),
     AT "'atom.global.inc.s32': this variant cannot be run"},
    {BODY("atom.global.and.u32 %r1, [%d1], %r2;"),
     AT "'atom.global.and.u32': this variant cannot be run"},
    {BODY("ld.elsewhere.u32 %r1, [%d1];"), AT "'ld.elsewhere.u32': this variant cannot be run"},
    {BODY("wgmma.fence.sync.aligned;"), AT "'wgmma.fence.sync.aligned': this opcode cannot be run"},
    /* widths and kinds */
    {BODY("add.s32 %r1, %r2, %d1;"), AT "'add.s32': a register of another width or kind"},
    {BODY("add.s64 %d1, %d2, %r1;"), AT "'add.s64': a register of another width or kind"},
    {BODY("add.f32 %f1, %f2, %i1;"), AT "'add.f32': a register of another kind, or too narrow"},
    {BODY("add.s32 %p1, %r2, %r1;"), AT "'add.s32': a register of another width or kind"},
    {BODY("and.pred %p1, %p2, %r1;"), AT "'and.pred': a register of another width or kind"},
    {BODY("cvt.u32.u16 %h1, %h2;"), AT "'cvt.u32.u16': a register of another kind, or too narrow"},
    {BODY("ld.global.u64 %r1, [%d1];"),
     AT "'ld.global.u64': a register of another kind, or too narrow"},
    {BODY("ld.global.f32 %d1, [%d1];"),
     AT "'ld.global.f32': a register of another kind, or too narrow"},
    {BODY("ld.global.u32 %r1, [%r2];"),
     AT "'ld.global.u32': an address of 32 bits outside shared and local memory"},
    {BODY("ld.global.u32 %r1, %d1;"), AT "'ld.global.u32': an address in brackets is expected"},
    {BODY("add.s32 1, %r1, %r2;"), AT "'add.s32': a register is expected as the result"},
    {BODY("add.s32 %r1, !%p1, %r2;"), AT "'add.s32': '!' before what is no predicate"},
    {BODY("mov.u32 %r1, %nothing.x;"),
     AT "'mov.u32': a special register that is not known: %nothing.x"},
    {BODY("mov.u64 %d1, nothing;"),
     AT "'mov.u64': a name that is no variable, or a function's address"},
    {BODY("ld.global.v2.u32 {%r1, %d1}, [%d2];"),
     AT "'ld.global.v2.u32': a register of another kind, or too narrow"},
    {BODY("st.global.v2.u8 [%d2], {%r1, %h1};"),
     AT "'st.global.v2.u8': a register of another kind, or too narrow"},
    {BODY("atom.global.add.u32 %r1, [%d2], %d1;"),
     AT "'atom.global.add.u32': a register of another kind, or too narrow"},
    /* numbers that an opcode takes */
    {BODY("cp.async.ca.shared.global [%d1], [%d2], 32;"),
     AT "'cp.async.ca.shared.global': a number that this opcode does not take"},
    {BODY("cp.async.ca.shared.global [%d1], [%d2], -4;"),
     AT "'cp.async.ca.shared.global': a number that this opcode does not take"},
    {BODY("cp.async.cg.shared.global [%d1], [%d2], 8, %r1;"),
     AT "'cp.async.cg.shared.global': a number that this opcode does not take"},
    {BODY("cp.async.ca.shared.global.L2::cache_hint [%d1], [%d2], 2, %d3;"),
     AT "'cp.async.ca.shared.global.L2::cache_hint': a number that this opcode does not take"},
    {BODY("cp.async.wait_group -1;"),
     AT "'cp.async.wait_group': a number that this opcode does not take"},
    {BODY("discard.global.L2 [%d1], 64;"),
     AT "'discard.global.L2': a number that this opcode does not take"},
    /* opcodes of one part */
    {BODY("bar 0;"), AT "'bar': this variant cannot be run"},
    {BODY("barrier 0;"), AT "'barrier': this variant cannot be run"},
    {BODY("cp [%d1], [%d2], 16;"), AT "'cp': this variant cannot be run"},
    /* numbers of operands */
    {BODY("ld.global.v2.u32 {%r1, %r2, %r3, %r0}, [%d1];"),
     AT "'ld.global.v2.u32': a vector of another length is expected"},
    {BODY("ld.global.v4.u32 {%r1, %r2}, [%d1];"),
     AT "'ld.global.v4.u32': a vector of another length is expected"},
    {BODY("ld.global.v2.u32 %r1, [%d1];"),
     AT "'ld.global.v2.u32': a vector of another length is expected"},
    {BODY("st.global.u32 [%d1], {%r1, %r2};"),
     AT "'st.global.u32': a register or a constant is expected"},
    {BODY("ld.global.v4.u64 {%d0, %d1, %d2, %d3}, [%d1];"),
     AT "'ld.global.v4.u64': this variant cannot be run"},
    {BODY("add.s32 %r1, %r2;"), AT "'add.s32': an operand is missing"},
    {BODY("add.s32 %r1, %r2, %r3, %r0;"), AT "'add.s32': too many operands"},
    {BODY("setp.lt.s32 %p1, %r2, %r3, %p2;"),
     AT "'setp.lt.s32': a predicate to combine goes with .and, .or or .xor"},
    {BODY("set.lt.and.u32.s32 %r1, %r2, %r3;"),
     AT "'set.lt.and.u32.s32': a predicate to combine goes with .and, .or or .xor"},
    {BODY("add.s32 %r1|%p1, %r2, %r3;"), AT "'add.s32': a pair of registers"},
    /* flow */
    {BODY("bra NOWHERE;"), "test.ptx: line 8: there is no label 'NOWHERE' to branch to"},
    {BODY("brx.idx %r1, L; L: ret;"), "test.ptx: line 8: there is no .branchtargets 'L'"},
    {BODY("brx.idx %r1;"), "test.ptx: line 8: an index and a list of targets are expected"},
    {BODY("T: .branchtargets L, M; L: brx.idx %r1, T;"),
     "test.ptx: line 8: there is no label 'M' to branch to"},
    {BODY("T: .branchtargets; brx.idx %r1, T;"), "test.ptx: line 8: a name is expected"},
    {BODY("T: .branchtargets L; L: brx.idx %d1, T;"),
     AT "'brx.idx': a register of another width or kind"},
    {BODY("bra;"), "test.ptx: line 8: one label to branch to is expected, not ';'"},
    {BODY("call %d1, ();"), AT "'call': a call through a pointer cannot be run: name the function"},
    {BODY("proto: .callprototype (.param .b32 _) _ (.param .b32 _, .param .align 8 .b8 _[16]);\n"
          "{ .param .b32 a; .param .b32 b; call (b), %d1, (a), proto; }"),
     "test.ptx: line 9 (place.cu:42): 'call': a call through a pointer cannot be run"},
    {BODY("call nobody, ();"), AT "'call': a call through a pointer cannot be run"},
    {HEAD ".func again() {\n.loc 1 9 0\ncall again, (); }\n.entry kernel() { call again, (); }\n",
     "test.ptx: line 7 (place.cu:9): 'call': recursion cannot be run"},
    {HEAD
     ".func even();\n.func odd() { call even, (); }\n.func even() {\n.loc 1 9 0\ncall odd, (); "
     "}\n.entry kernel() { call even, (); }\n",
     "'call': recursion cannot be run"},
    {HEAD ".extern .func foreign();\n.entry kernel() {\n.loc 1 9 0\ncall foreign, (); }\n",
     "test.ptx: line 8 (place.cu:9): 'call': a function without a body cannot be called"},
    {HEAD ".func f(.param .b32 a) { ret; }\n.entry kernel() {\n.loc 1 9 0\ncall f, (); }\n",
     "test.ptx: line 8 (place.cu:9): 'call': a call with another number of parameters"},
    {HEAD
     ".func f(.param .b64 a) { ret; }\n.entry kernel(.param .b64 p) {\n.loc 1 9 0\ncall f, (p); "
     "}\n",
     "'call': only variables of the param space can be passed"},
    {HEAD ".func f(.param .b64 a) { ret; }\n.entry kernel() {\n.shared .b64 s; call f, (s); }\n",
     "'call': only variables of the param space can be passed"},
    {HEAD ".func f(.param .b64 a) { ret; }\n.entry kernel() {\n.param .b32 x; call f, (x); }\n",
     "'call': a variable that is smaller than the parameter"},
    {PRINT(".param .b64 a; .shared .b64 b; .param .b32 c; call (c), vprintf, (a, b);"),
     "'call': only variables of the param space can be passed"},
    {PRINT(".param .b64 a; .param .b32 b; .param .b32 c; call (c), vprintf, (a, b);"),
     "'call': only variables of the param space can be passed"},
    {PRINT(".param .b64 a; .param .b64 b; .param .b16 c; call (c), vprintf, (a, b);"),
     "'call': only variables of the param space can be passed"},
    {PRINT(".param .b64 a; .param .b32 c; call (c), vprintf, (a, p);"),
     "'call': only variables of the param space can be passed"},
    {PRINT(".param .b64 a; .param .b64 b; call vprintf, (a, b);"),
     "'call': a call with another number of parameters than its function"},
    {PRINT(".param .b64 a; .param .b64 b; call __assertfail, (a, b);"),
     "'call': a call with another number of parameters than its function"},
    /* what no card has */
    {HEAD ".entry kernel() {\n.shared .b8 s[232449]; ret; }\n",
     "test.ptx: kernel has 232449 bytes of static shared memory, and 232448 is most"},
    {HEAD ".entry kernel() {\n.shared .b8 s[4294967312]; .local .b8 l[16]; ret; }\n",
     "test.ptx: kernel has 4294967312 bytes of static shared memory, and 232448 is most"},
    {HEAD ".entry kernel() {\n.local .b8 s[524289]; ret; }\n",
     "test.ptx: kernel has 524289 bytes of local memory, and 524288 is most"},
    {HEAD ".entry kernel(.param .b8 p[32765]) { ret; }\n",
     "test.ptx: kernel has 32765 bytes of parameters, and 32764 is most"},
    {HEAD ".func f() {\n.reg .b64 %d<40000>; ret; }\n.entry kernel() {\n" CALLS CALLS CALLS "}\n",
     "test.ptx: kernel and what it calls have more than 1048576 registers"},
    {HEAD ".entry kernel(.param .b64 p);\n",
     "test.ptx: line 5: kernel is declared, and has no body"},
    {HEAD ".entry (.param .b64 r) kernel() { ret; }\n",
     "test.ptx: line 5: a name is expected, not '('"},
    /* no place in a source: the line of the text alone */
    {HEAD ".entry kernel() {\n.reg .b32 %r<3>;\nfrob.s32 %r1, %r2; }\n",
     "test.ptx: line 7: 'frob.s32': this opcode cannot be run"},
    {HEAD ".func f() {\nadd.s32 1, 2, 3; }\n.entry kernel() {\n.loc 1 9 0\ncall f, (); }\n",
     "test.ptx: line 6: 'add.s32': a register is expected as the result"},
    /* names */
    {BODY(".reg .b32 %r1;"), "test.ptx: line 8: '%r1' is declared twice"},
    {BODY("L: ret; L: ret;"), "test.ptx: line 8: 'L' is declared twice"},
    {BODY(".shared .b32 s; .shared .b32 s;"), "test.ptx: line 8: 's' is declared twice"},
    {HEAD ".global .b32 g;\n.global .b32 g;\n", "test.ptx: line 6: 'g' is declared twice"},
    {HEAD ".entry k() { ret; }\n.entry k() { ret; }\n", "test.ptx: line 6: k is defined twice"},
    /* text */
    {BODY("@%r1 ret;"), "test.ptx: line 8: a predicate is expected behind '@'"},
    {BODY("add.s32 %r1, 0xG, %r2;"), "test.ptx: line 8: a whole number is expected, not '0xG'"},
    {BODY(".frob 1;"), "test.ptx: line 8: an instruction is expected, not '.frob'"},
    {BODY("and.pred %p1, !7, %p2;"),
     "test.ptx: line 8: a predicate is expected behind '!', not '7'"},
    {".target sm_80\n", "test.ptx: line 2: .version is expected: this is no PTX"},
    {"no ptx at all", "test.ptx: line 1: .global, .const, .shared, .func or .entry is expected"},
    {HEAD ".entry kernel() { ret;", "but the text ends here"},
};

START_TEST(what_cannot_be_run_is_refused)
{
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        enum status status = rig_load(&rig, refused[i].text, strlen(refused[i].text), _i);
        check_error(status, &rig.err, STATUS_BAD_DATA, refused[i].error, refused[i].text);
    }
    rig_close(&rig);
}
END_TEST

/* Registers of declared kinds where an opcode has two types, registers without %, a sink, the other
 * names of literals. */
START_TEST(what_can_be_run_is_taken)
{
    static const char text[] =
        BODY("set.lt.u32.f32 %i1, %f1, %f2; set.eq.f32.s32 %f1, %i1, %i2; slct.f32.s32 %f1, %f2, "
             "%f3, %i1;\nslct.s32.f32 %i1, %i2, %i3, %f1; { .reg .f32 t; add.f32 t, %f1, 1.5; "
             "mov.b32 %i1, t; }\nmov.b32 {%h1, _}, %r1; add.s32 %r1, %r2, 0x7FU; "
             "add.s32 %r1, %r2, 0b101; add.s32 %r1, %r2, 017;\nsetp.eq.s32 _|%p1, %r1, 0; "
             "ld.global.v2.u32 {%r1, _}, [%d1+-8]; st.global.u8 [%d1], %r1;\n"
             "ld.const.s8 %d1, [%d2]; .pragma \"nounroll\"; ; cvt.s64.s8 %d1, %r1;");
    struct rig rig;
    rig_open(&rig);
    ck_assert_msg(rig_load(&rig, text, sizeof text - 1, _i) == STATUS_OK, "%s", rig.err.text);
    rig_close(&rig);
}
END_TEST

/* Results in r1 .. r4 of a block of 2 x 3 x 4 threads, 4 words a thread. */
static const uint32_t *run_words(struct rig *rig, const char *body, bool portable)
{
    char text[4096];
    snprintf(text, sizeof text,
             "%s\nmov.u32 %%r10, %%tid.z; mov.u32 %%r11, %%ntid.y; mov.u32 %%r12, %%tid.y;\n"
             "mad.lo.u32 %%r10, %%r10, %%r11, %%r12; mov.u32 %%r11, %%ntid.x; mov.u32 %%r12, "
             "%%tid.x;\nmad.lo.u32 %%r10, %%r10, %%r11, %%r12;\n"
             "mov.u32 %%r11, %%ctaid.x; mad.lo.u32 %%r10, %%r11, 24, %%r10;\n"
             "ld.param.u64 %%d1, [p0]; mul.wide.u32 %%d2, %%r10, 16; add.u64 %%d1, %%d1, %%d2;\n"
             "st.global.v4.u32 [%%d1], {%%r1, %%r2, %%r3, %%r4};",
             body);
    rig_load_body(rig, 1, text, portable);
    uint64_t out = rig_upload(rig, NULL, 24 * 2 * 16);
    ck_assert_msg(rig_launch(rig, NULL, (uint32_t[3]){2, 1, 1}, (uint32_t[3]){2, 3, 4}, 48, 1,
                             &out) == STATUS_OK,
                  "%s", rig->err.text);
    return rig_host(rig, out);
}

#define FOR_THREADS(t) for (uint32_t t = 0; t < 48; t++)

START_TEST(special_registers)
{
    struct rig rig;
    rig_open(&rig);
    const uint32_t *got = run_words(
        &rig,
        "mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mov.u32 %r4, %ctaid.x;",
        _i);
    FOR_THREADS(t)
    {
        ck_assert_uint_eq(got[4 * t], t % 2);
        ck_assert_uint_eq(got[4 * t + 1], t / 2 % 3);
        ck_assert_uint_eq(got[4 * t + 2], t % 24 / 6);
        ck_assert_uint_eq(got[4 * t + 3], t / 24);
    }
    got = run_words(&rig,
                    "mov.u32 %r1, %ntid.z; mov.u32 %r2, %nctaid.x; mov.u32 %r3, %laneid; mov.u32 "
                    "%r4, %warpid;",
                    _i);
    FOR_THREADS(t)
    {
        ck_assert_uint_eq(got[4 * t], 4);
        ck_assert_uint_eq(got[4 * t + 1], 2);
        ck_assert_uint_eq(got[4 * t + 2], t % 24);
        ck_assert_uint_eq(got[4 * t + 3], 0);
    }
    got = run_words(&rig,
                    "mov.u32 %r1, %lanemask_eq; mov.u32 %r2, %lanemask_lt; mov.u32 %r3, "
                    "%lanemask_ge; mov.u32 %r4, %dynamic_smem_size;",
                    _i);
    FOR_THREADS(t)
    {
        uint32_t bit = 1u << t % 24;
        ck_assert_uint_eq(got[4 * t], bit);
        ck_assert_uint_eq(got[4 * t + 1], bit - 1);
        ck_assert_uint_eq(got[4 * t + 2], 0u - bit);
        ck_assert_uint_eq(got[4 * t + 3], 48);
    }
    got = run_words(&rig,
                    "mov.u32 %r1, %lanemask_le; mov.u32 %r2, %lanemask_gt; mov.u32 %r3, WARP_SZ; "
                    "add.u32 %r4, %nwarpid, %ntid.y;",
                    _i);
    FOR_THREADS(t)
    {
        uint32_t up_to = (2u << t % 24) - 1;
        ck_assert_uint_eq(got[4 * t], up_to);
        ck_assert_uint_eq(got[4 * t + 1], ~up_to);
        ck_assert_uint_eq(got[4 * t + 2], 32);
        ck_assert_uint_eq(got[4 * t + 3], 4);
    }
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

/* They go on, the wide one as well; their upper halves are 0 for long. pmevent does nothing. */
START_TEST(clocks)
{
    struct rig rig;
    rig_open(&rig);
    const uint32_t *got = run_words(
        &rig,
        "mov.u32 %r1, %clock; pmevent 1; mov.u64 %d3, %clock64; cvt.u32.u64 %r2, %d3; mov.u64 %d3, "
        "%globaltimer; cvt.u32.u64 %r3, %d3; mov.u32 %r4, %clock_hi;",
        _i);
    FOR_THREADS(t)
    {
        ck_assert_uint_lt(got[4 * t], got[4 * t + 1]);
        ck_assert_uint_lt(got[4 * t + 1], got[4 * t + 2]);
        ck_assert_uint_eq(got[4 * t + 3], 0);
    }
    got = run_words(&rig,
                    "mov.u32 %r1, %globaltimer_lo; mov.u32 %r2, %globaltimer_hi; mov.u32 %r3, 0; "
                    "mov.u32 %r4, %globaltimer_lo;",
                    _i);
    FOR_THREADS(t)
    {
        ck_assert_uint_lt(got[4 * t], got[4 * t + 3]);
        ck_assert_uint_eq(got[4 * t + 1], 0);
    }
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

/* A function put in line twice, under a guard, with a loop of its own. */
START_TEST(calls)
{
    static const char text[] =
        HEAD ".func (.param .b32 out) sum_to(.param .b32 n)\n"
             "{ .reg .b32 %r<4>; .reg .pred %p<2>; ld.param.u32 %r1, [n]; mov.u32 %r2, 0;\n"
             "AGAIN: setp.eq.u32 %p1, %r1, 0; @%p1 bra DONE; add.u32 %r2, %r2, %r1;\n"
             "sub.u32 %r1, %r1, 1; bra AGAIN;\n"
             "DONE: st.param.u32 [out], %r2; ret; }\n"
             ".visible .entry kernel(.param .u64 p0)\n"
             "{ .reg .b32 %r<8>; .reg .b64 %d<4>; .reg .pred %p<2>;\n"
             "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; mov.u32 %r2, 7; mov.u32 %r3, 9;\n"
             "{ .param .b32 a; .param .b32 b; st.param.u32 [a], %r1; call.uni (b), sum_to, (a);\n"
             "ld.param.u32 %r2, [b]; }\n"
             "{ .param .b32 a; .param .b32 b; st.param.u32 [a], %r2; st.param.u32 [b], %r3;\n"
             "@%p1 call (b), sum_to, (a); ld.param.u32 %r3, [b]; }\n"
             "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 8; add.u64 %d1, %d1, %d2;\n"
             "st.global.v2.u32 [%d1], {%r2, %r3}; ret; }\n";
    struct rig rig;
    rig_open(&rig);
    ck_assert_msg(rig_load(&rig, text, sizeof text - 1, _i) == STATUS_OK, "%s", rig.err.text);
    uint64_t out = rig_upload(&rig, NULL, 32 * 8);
    ck_assert_int_eq(rig_launch(&rig, NULL, one, (uint32_t[3]){32, 1, 1}, 0, 1, &out), STATUS_OK);
    const uint32_t *got = rig_host(&rig, out);
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t sum = l * (l + 1) / 2;
        ck_assert_uint_eq(got[2 * l], sum);
        ck_assert_uint_eq(got[2 * l + 1], l < 16 ? sum * (sum + 1) / 2 : 9);
    }
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(traps)
{
    static const char *const opcodes[] = {"trap", "brkpt"};
    for (int i = 0; i < 2; i++) {
        struct rig rig;
        char body[64];
        rig_open(&rig);
        snprintf(body, sizeof body, "%s;", opcodes[i]);
        rig_load_body(&rig, 0, body, _i);
        ck_assert_int_eq(rig_launch(&rig, NULL, one, one, 0, 0, NULL), STATUS_FAILED);
        rig_close(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_decode");
    TCase *tests = tcase_create("portable and avx2");
    tcase_add_loop_test(tests, what_cannot_be_run_is_refused, 0, 2);
    tcase_add_loop_test(tests, what_can_be_run_is_taken, 0, 2);
    tcase_add_loop_test(tests, special_registers, 0, 2);
    tcase_add_loop_test(tests, clocks, 0, 2);
    tcase_add_loop_test(tests, calls, 0, 2);
    tcase_add_loop_test(tests, traps, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
