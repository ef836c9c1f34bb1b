/* What the lanes of a warp do together, against the PTX manual's pseudo-code; and barriers. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 32

/* Each thread has inputs %r10 to %r13 (wide: %d10 from the first two) and leaves its results in
 * %r20 to %r23, which start as 0. Words (n, block, 4). */
static void run_threads(const char *body, const uint32_t *inputs, uint32_t *results, uint32_t grid,
                        uint32_t block, uint64_t seed, bool portable)
{
    struct rig rig;
    char text[8192];
    size_t n = (size_t)grid * block;
    snprintf(text, sizeof text,
             "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x; mov.u32 %%r3, %%ntid.x;\n"
             "mov.u32 %%r4, %%laneid; mov.u32 %%r5, %%warpid;\n"
             "mad.lo.u32 %%r6, %%r2, %%r3, %%r1; mul.wide.u32 %%d1, %%r6, 16;\n"
             "ld.param.u64 %%d2, [p1]; add.u64 %%d2, %%d2, %%d1;\n"
             "ld.global.v4.u32 {%%r10, %%r11, %%r12, %%r13}, [%%d2]; ld.global.u64 %%d10, [%%d2];\n"
             "mov.u32 %%r20, 0; mov.u32 %%r21, 0; mov.u32 %%r22, 0; mov.u32 %%r23, 0;\n"
             "%s\n"
             "ld.param.u64 %%d3, [p0]; add.u64 %%d3, %%d3, %%d1;\n"
             "st.global.v4.u32 [%%d3], {%%r20, %%r21, %%r22, %%r23};",
             body);
    rig_open(&rig);
    rig.settings.shuffled = seed != 0;
    rig.settings.seed = seed;
    rig_load_body(&rig, 2, text, portable);
    const uint64_t parameters[] = {rig_upload(&rig, NULL, n * 16),
                                   rig_upload(&rig, inputs, n * 16)};
    ck_assert_int_eq(rig_launch(&rig, NULL, (uint32_t[3]){grid, 1, 1}, (uint32_t[3]){block, 1, 1},
                                0, 2, parameters),
                     STATUS_OK);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
    memcpy(results, rig_host(&rig, parameters[0]), n * 16);
    rig_close(&rig);
}

static uint32_t *random_words(size_t n, uint64_t seed)
{
    uint32_t *words = malloc(n * sizeof *words);
    for (size_t i = 0; i < n; i++)
        words[i] = (uint32_t)(mix64(seed, i) >> 7);
    return words;
}

/* ---- shuffles ------------------------------------------------------------------------------- */

/* The pseudo-code of "shfl.sync". */
static int source_of(const char *mode, int lane, uint32_t b, uint32_t c, bool *p)
{
    int bval = (int)(b % 32), cval = (int)(c % 32), segmask = (int)(c / 256 % 32), j;
    int max_lane = (lane & segmask) | (cval & (31 ^ segmask));
    int min_lane = lane & segmask;
    if (strcmp(mode, "up") == 0) {
        j = lane - bval;
        *p = j >= max_lane;
    } else if (strcmp(mode, "down") == 0) {
        j = lane + bval;
        *p = j <= max_lane;
    } else if (strcmp(mode, "bfly") == 0) {
        j = lane ^ bval;
        *p = j <= max_lane;
    } else {
        j = min_lane | (bval & (31 ^ segmask));
        *p = j <= max_lane;
    }
    return *p ? j : lane;
}

/* Block i takes c = i's 10 bits for all lanes; blocks from 1024 another c in each lane, as long as
 * all lanes of the warp take part that cannot go wrong. b is another in each lane. */
START_TEST(shuffles)
{
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    const char *mode = modes[_i / 2];
    enum { BLOCKS = 1024 + 64 };
    uint32_t *in = random_words(BLOCKS * LANES * 4, 1);
    uint32_t *out = malloc(BLOCKS * LANES * 16);
    char body[512];
    for (uint32_t i = 0; i < 1024 * LANES; i++)
        in[4 * i + 2] = (i / LANES & 31) | (i / LANES >> 5) << 8 | (in[4 * i + 2] & 0xFFFFE0E0u);
    snprintf(body, sizeof body,
             "shfl.sync.%s.b32 %%r20|%%p1, %%r10, %%r11, %%r12, -1; selp.b32 %%r21, 1, 0, %%p1;\n"
             "shfl.sync.%s.b32 %%r22, %%r10, %%r11, %%r12, -1;\n"
             "shfl.sync.%s.b32 _|%%p3, %%r10, %%r11, %%r12, -1; @%%p3 or.b32 %%r21, %%r21, 2;\n"
             "shfl.sync.%s.b32 %%r10|%%p2, %%r10, %%r11, %%r12, -1; mov.b32 %%r23, %%r10;",
             mode, mode, mode, mode);
    run_threads(body, in, out, BLOCKS, LANES, 0, _i % 2);
    for (int i = 0; i < BLOCKS * LANES; i++) {
        bool p;
        int from = source_of(mode, i % LANES, in[4 * i + 1], in[4 * i + 2], &p);
        uint32_t want = in[4 * (i - i % LANES + from)];
        ck_assert_msg(out[4 * i] == want && out[4 * i + 1] == (p ? 3 : 0) &&
                          out[4 * i + 2] == want && out[4 * i + 3] == want,
                      "%s, block %d, lane %d: 0x%X (%u), not 0x%X (%d) from %d", mode, i / LANES,
                      i % LANES, out[4 * i], out[4 * i + 1], want, p, from);
    }
    free(in), free(out);
}
END_TEST

/* Both ways of an if have a shuffle of their own half; and lanes that stand apart meet at one
 * shuffle of all. */
START_TEST(shuffles_in_divergent_code)
{
    uint32_t *in = random_words(LANES * 4, 2), out[LANES * 4];
    run_threads("and.b32 %r30, %r4, 1; setp.eq.u32 %p1, %r30, 0; @%p1 bra EVEN;\n"
                "shfl.sync.bfly.b32 %r20, %r10, 2, 31, 0xAAAAAAAA; bra JOIN;\n"
                "EVEN: shfl.sync.idx.b32 %r20, %r10, 6, 31, 0x55555555;\n"
                "JOIN: mov.u32 %r31, 0;\n"
                "LOOP: add.u32 %r31, %r31, 1; setp.lt.u32 %p2, %r31, %r4; @%p2 bra LOOP;\n"
                "shfl.sync.idx.b32 %r21, %r31, %r4, 31, -1; mov.u32 %r32, 0xAAAAAAAA;\n"
                "@%p1 mov.u32 %r32, 0x55555555;\n"
                "shfl.sync.down.b32 %r22, %r10, 2, 31, %r32;\n"
                "@%p1 shfl.sync.up.b32 %r23, %r10, 2, 0, 0x55555555;",
                in, out, 1, LANES, (uint64_t)_i / 2, _i % 2);
    for (int l = 0; l < LANES; l++) {
        ck_assert_uint_eq(out[4 * l], in[4 * (l % 2 ? l ^ 2 : 6)]);
        ck_assert_uint_eq(out[4 * l + 1], l < 1 ? 1 : (uint32_t)l);
        ck_assert_uint_eq(out[4 * l + 2], in[4 * (l + 2 < LANES ? l + 2 : l)]);
        ck_assert_uint_eq(out[4 * l + 3], l % 2 ? 0 : in[4 * (l >= 2 ? l - 2 : l)]);
    }
    free(in);
}
END_TEST

/* ---- votes, matches, reductions ------------------------------------------------------------- */

/* The warp falls into lanes with bit b of %r13 set and the others, who vote apart: by block. */
#define PART                                                                                       \
    "setp.ne.u32 %p9, %r13, 0; vote.sync.ballot.b32 %r40, %p9, -1;\n"                              \
    "@!%p9 not.b32 %r40, %r40;\n"

/* The lanes of `lane`'s part. */
static uint32_t part_of(const uint32_t *in, int lane)
{
    uint32_t ones = 0;
    for (int l = 0; l < LANES; l++)
        ones |= (uint32_t)(in[4 * l + 3] != 0) << l;
    return in[4 * lane + 3] ? ones : ~ones;
}

#define BLOCKS 64
static uint32_t *parts(uint64_t seed)
{
    uint32_t *in = random_words(BLOCKS * LANES * 4, seed);
    for (uint32_t i = 0; i < BLOCKS * LANES; i++) {
        in[4 * i + 3] = i / LANES == 0 ? 0 : in[4 * i + 3] & 1;
        /* Equal values in some blocks: of all, of many, of the low words only. */
        in[4 * i] = i / LANES % 4 == 0 ? 7 : i / LANES % 4 == 1 ? in[4 * i] & 3 : in[4 * i];
        in[4 * i + 1] = i / LANES % 2 == 0 ? 9 : in[4 * i + 1] & 1;
    }
    return in;
}

START_TEST(votes)
{
    uint32_t *in = parts(3), *out = malloc(BLOCKS * LANES * 16);
    run_threads(PART
                "setp.eq.u32 %p1, %r11, 1; vote.sync.all.pred %p2, %p1, %r40;\n"
                "vote.sync.any.pred %p3, %p1, %r40; vote.sync.uni.pred %p4, %p1, %r40;\n"
                "vote.sync.ballot.b32 %r20, %p1, %r40; vote.sync.ballot.b32 %r23, !%p1, %r40;\n"
                "vote.sync.all.pred %p5, !%p1, %r40;\n"
                "selp.u32 %r21, 1, 0, %p2; @%p3 or.b32 %r21, %r21, 2;\n"
                "@%p4 or.b32 %r21, %r21, 4; @%p5 or.b32 %r21, %r21, 8;\n"
                "@%p9 bra ONES; activemask.b32 %r22; bra JOIN;\n"
                "ONES: activemask.b32 %r22; JOIN:",
                in, out, BLOCKS, LANES, 0, _i);
    for (int b = 0; b < BLOCKS; b++)
        for (int l = 0; l < LANES; l++) {
            const uint32_t *block = in + b * LANES * 4, *got = out + (b * LANES + l) * 4;
            uint32_t part = part_of(block, l), yes = 0;
            for (int m = 0; m < LANES; m++)
                yes |= (uint32_t)(block[4 * m + 1] == 1) << m;
            yes &= part;
            uint32_t want = (yes == part ? 1 : 0) | (yes ? 2 : 0) | (yes == part || !yes ? 4 : 0) |
                            (yes == 0 ? 8 : 0);
            ck_assert_uint_eq(got[0], yes);
            ck_assert_uint_eq(got[1], want);
            ck_assert_uint_eq(got[2], part);
            ck_assert_uint_eq(got[3], part & ~yes);
        }
    free(in), free(out);
}
END_TEST

START_TEST(matches)
{
    uint32_t *in = parts(4), *out = malloc(BLOCKS * LANES * 16);
    bool wide = _i / 2;
    run_threads(wide ? PART "match.any.sync.b64 %r20, %d10, %r40;\n"
                            "match.all.sync.b64 %r21|%p1, %d10, %r40; selp.u32 %r22, 1, 0, %p1;\n"
                            "match.all.sync.b64 _|%p2, %d10, %r40; @%p2 or.b32 %r22, %r22, 2;\n"
                            "match.all.sync.b64 %r23, %d10, %r40;"
                     : PART "match.any.sync.b32 %r20, %r10, %r40;\n"
                            "match.all.sync.b32 %r21|%p1, %r10, %r40; selp.u32 %r22, 1, 0, %p1;\n"
                            "match.all.sync.b32 _|%p2, %r10, %r40; @%p2 or.b32 %r22, %r22, 2;\n"
                            "match.all.sync.b32 %r23, %r10, %r40;",
                in, out, BLOCKS, LANES, 0, _i % 2);
    for (int b = 0; b < BLOCKS; b++)
        for (int l = 0; l < LANES; l++) {
            const uint32_t *block = in + b * LANES * 4, *got = out + (b * LANES + l) * 4;
            uint32_t part = part_of(block, l), same = 0;
            for (int m = 0; m < LANES; m++)
                same |= (uint32_t)(block[4 * m] == block[4 * l] &&
                                   (!wide || block[4 * m + 1] == block[4 * l + 1]))
                        << m;
            same &= part;
            ck_assert_uint_eq(got[0], same);
            ck_assert_uint_eq(got[1], same == part ? part : 0);
            ck_assert_uint_eq(got[2], same == part ? 3 : 0);
            ck_assert_uint_eq(got[3], same == part ? part : 0);
        }
    free(in), free(out);
}
END_TEST

enum reduction { ADD_U, ADD_S, MIN_U, MIN_S, MAX_U, MAX_S, AND, OR, XOR, REDUCTIONS };
static const char *const reductions[] = {"add.u32", "add.s32", "min.u32", "min.s32", "max.u32",
                                         "max.s32", "and.b32", "or.b32",  "xor.b32"};

static uint32_t reduce(enum reduction reduction, uint32_t x, uint32_t y)
{
    switch (reduction) {
    case MIN_U:
        return x < y ? x : y;
    case MAX_U:
        return x > y ? x : y;
    case MIN_S:
        return (int32_t)x < (int32_t)y ? x : y;
    case MAX_S:
        return (int32_t)x > (int32_t)y ? x : y;
    case AND:
        return x & y;
    case OR:
        return x | y;
    case XOR:
        return x ^ y;
    default:
        return x + y;
    }
}

START_TEST(reductions_of_a_warp)
{
    uint32_t *in = random_words(BLOCKS * LANES * 4, 5), *out = malloc(BLOCKS * LANES * 16);
    for (int i = 0; i < BLOCKS * LANES; i++) {
        in[4 * i] = i / LANES % 3 == 0 ? in[4 * i] | 0x80000000u : in[4 * i] << (i % 8);
        in[4 * i + 3] &= 1;
    }
    for (int r = 0; r < REDUCTIONS; r++) {
        char body[512];
        snprintf(body, sizeof body, "%sredux.sync.%s %%r20, %%r10, %%r40;", PART, reductions[r]);
        run_threads(body, in, out, BLOCKS, LANES, 0, _i);
        for (int i = 0; i < BLOCKS * LANES; i++) {
            const uint32_t *block = in + i / LANES * LANES * 4;
            uint32_t part = part_of(block, i % LANES), want = 0;
            bool first = true;
            for (int l = 0; l < LANES; l++)
                if (part >> l & 1) {
                    want = first ? block[4 * l] : reduce((enum reduction)r, want, block[4 * l]);
                    first = false;
                }
            ck_assert_msg(out[4 * i] == want, "%s, block %d, lane %d: 0x%X, not 0x%X",
                          reductions[r], i / LANES, i % LANES, out[4 * i], want);
        }
    }
    free(in), free(out);
}
END_TEST

/* ---- barriers ------------------------------------------------------------------------------- */

/* Whole blocks, of a size with a last warp that is not full; and warps 0 and 1 with a count, behind
 * another barrier's number, the others with theirs. */
START_TEST(barriers_that_reduce)
{
    enum { THREADS = 112, N = 8 * THREADS };
    uint32_t *in = random_words(N * 4, 6), *out = malloc(N * 16);
    bool counted = _i / 2 % 2;
    for (int i = 0; i < N; i++)
        in[4 * i] = i / THREADS % 4 == 0 ? 1 : i / THREADS % 4 == 1 ? 0 : in[4 * i] & 1;
    run_threads(counted ? "setp.ne.u32 %p1, %r10, 0; setp.lt.u32 %p2, %r5, 2; @%p2 bra LOW;\n"
                          "bar.red.popc.u32 %r20, 3, 64, %p1; bar.red.and.pred %p3, 3, 64, %p1;\n"
                          "bar.red.or.pred %p4, 3, 64, %p1; bra JOIN;\n"
                          "LOW: bar.red.popc.u32 %r20, 5, 64, %p1;\n"
                          "bar.red.and.pred %p3, 5, 64, %p1; bar.red.or.pred %p4, 5, 64, %p1;\n"
                          "JOIN: selp.u32 %r21, 1, 0, %p3; selp.u32 %r22, 1, 0, %p4;"
                        : "setp.ne.u32 %p1, %r10, 0; bar.red.popc.u32 %r20, 0, %p1;\n"
                          "bar.red.and.pred %p3, 0, %p1; bar.red.or.pred %p4, 0, %p1;\n"
                          "bar.red.popc.u32 %r23, 0, !%p1;\n"
                          "selp.u32 %r21, 1, 0, %p3; selp.u32 %r22, 1, 0, %p4;",
                in, out, 8, THREADS, (uint64_t)_i / 4, _i % 2);
    for (int i = 0; i < N; i++) {
        int first = i / THREADS * THREADS, last = first + THREADS, n = 0;
        if (counted && i - first < 64)
            last = first + 64;
        else if (counted)
            first += 64;
        for (int j = first; j < last; j++)
            n += (int)in[4 * j];
        ck_assert_int_eq((int)out[4 * i], n);
        ck_assert_int_eq((int)out[4 * i + 1], n == last - first);
        ck_assert_int_eq((int)out[4 * i + 2], n > 0);
        if (!counted)
            ck_assert_int_eq((int)out[4 * i + 3], last - first - n);
    }
    free(in), free(out);
}
END_TEST

/* Warp 0 makes, warps 1 and 2 take, through one buffer with two barriers: bar.arrive tells the
 * others and goes on. Warp 3 takes no part. */
START_TEST(makers_and_takers)
{
    enum { THREADS = 128, ROUNDS = 5 };
    uint32_t in[THREADS * 4] = {0}, out[THREADS * 4];
    run_threads(".shared .align 4 .b8 box[128];\n"
                "mov.u32 %r30, box; mad.lo.u32 %r31, %r4, 4, %r30; mov.u32 %r32, 0;\n"
                "setp.eq.u32 %p1, %r5, 0; setp.eq.u32 %p2, %r5, 3; @%p2 bra DONE; @%p1 bra MAKE;\n"
                "TAKE: bar.sync 1, 96; ld.shared.u32 %r33, [%r31]; bar.arrive 2, 96;\n"
                "mad.lo.u32 %r20, %r20, 3, %r33; add.u32 %r32, %r32, 1;\n"
                "setp.lt.u32 %p3, %r32, 5; @%p3 bra TAKE; bra DONE;\n"
                "MAKE: mad.lo.u32 %r34, %r32, 100, %r4; st.shared.u32 [%r31], %r34;\n"
                "bar.arrive 1, 96; bar.sync 2, 96; add.u32 %r32, %r32, 1;\n"
                "setp.lt.u32 %p3, %r32, 5; @%p3 bra MAKE; mov.u32 %r20, %r32;\n"
                "DONE:",
                in, out, 1, THREADS, (uint64_t)_i / 2, _i % 2);
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t want = 0;
        for (uint32_t round = 0; round < ROUNDS; round++)
            want = want * 3 + round * 100 + i % 32;
        ck_assert_uint_eq(out[4 * i], i < 32 ? ROUNDS : i < 96 ? want : 0);
    }
}
END_TEST

/* Each half of a warp passes values through shared memory with a bar.warp.sync of its own, at
 * places of its own; fences and pauses change nothing. */
START_TEST(parts_of_a_warp_synchronise)
{
    uint32_t *in = random_words(LANES * 4, 7), out[LANES * 4];
    run_threads(".shared .align 4 .b8 box[128];\n"
                "mov.u32 %r30, box; mad.lo.u32 %r31, %r4, 4, %r30; xor.b32 %r32, %r4, 7;\n"
                "mad.lo.u32 %r33, %r32, 4, %r30; setp.lt.u32 %p1, %r4, 8; @%p1 bra LOW;\n"
                "st.shared.u32 [%r31], %r10; bar.warp.sync 0xFFFFFF00; membar.cta;\n"
                "ld.shared.u32 %r20, [%r33]; bra JOIN;\n"
                "LOW: nanosleep.u32 100; st.shared.u32 [%r31], %r10; bar.warp.sync 0xFF;\n"
                "fence.acq_rel.gpu; ld.shared.u32 %r20, [%r33];\n"
                "JOIN: bar.warp.sync -1; st.shared.u32 [%r31], %r11; membar.gl; bar.warp.sync -1;\n"
                "ld.shared.u32 %r21, [%r33];",
                in, out, 1, LANES, (uint64_t)_i / 2, _i % 2);
    for (int l = 0; l < LANES; l++) {
        ck_assert_uint_eq(out[4 * l], in[4 * (l ^ 7)]);
        ck_assert_uint_eq(out[4 * l + 1], in[4 * (l ^ 7) + 1]);
    }
    free(in);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_warp");
    TCase *tests = tcase_create("portable and avx2");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, shuffles, 0, 8);
    tcase_add_loop_test(tests, shuffles_in_divergent_code, 0, 6);
    tcase_add_loop_test(tests, votes, 0, 2);
    tcase_add_loop_test(tests, matches, 0, 4);
    tcase_add_loop_test(tests, reductions_of_a_warp, 0, 2);
    tcase_add_loop_test(tests, barriers_that_reduce, 0, 12);
    tcase_add_loop_test(tests, makers_and_takers, 0, 6);
    tcase_add_loop_test(tests, parts_of_a_warp_synchronise, 0, 6);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
