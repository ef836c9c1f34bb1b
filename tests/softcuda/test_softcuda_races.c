/* The race checker against a plain one: random programs of a few accesses, fences of a warp and
 * barriers, in shared memory by two warps and in global memory by two blocks. Two accesses race if
 * they are of two threads, touch one byte, one of them writes, not both are strong, and no barrier
 * lies between that both threads reach: written here over all pairs of accesses of all threads. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>

#define STEPS   5
#define THREADS 64
#define BYTES   256
#define GRANULE 16

enum kind { LOAD, STORE, ATOMIC, STRONG_LOAD, STRONG_STORE, BARRIER, WARP_BARRIER };

/* One instruction, or barrier, that all threads come to. */
struct step {
    enum kind kind;
    int size;
    bool alike;             /* a store writes the same value in all threads */
    int32_t place[THREADS]; /* -1: the thread is held back */
};

struct random_program {
    struct step steps[STEPS];
    bool global; /* two blocks of a warp; else a block of two */
    uint64_t seed, count;
};

static unsigned pick(struct random_program *program, unsigned n)
{
    return (unsigned)(mix64(program->seed, program->count++) >> 20) % n;
}

/* By log2 of the size; NULL: there is none. The memory's space goes in. */
static const char *const opcodes[][5] = {
    [LOAD] = {"ld.%s.u8 %%r50, ", "ld.%s.u16 %%r50, ", "ld.%s.u32 %%r50, ", "ld.%s.u64 %%d50, ",
              "ld.%s.v4.u32 {%%r50, %%r51, %%r52, %%r53}, "},
    [STORE] = {"st.%s.u8 ", "st.%s.u16 ", "st.%s.u32 ", "st.%s.u64 ", "st.%s.v4.u32 "},
    [ATOMIC] = {NULL, NULL, "atom.%s.add.u32 %%r50, ", "atom.%s.add.u64 %%d50, ", NULL},
    [STRONG_LOAD] = {"ld.volatile.%s.u8 %%r50, ", "ld.volatile.%s.u16 %%r50, ",
                     "ld.volatile.%s.u32 %%r50, ", "ld.volatile.%s.u64 %%d50, ", NULL},
    [STRONG_STORE] = {"st.volatile.%s.u8 ", "st.volatile.%s.u16 ", "st.volatile.%s.u32 ",
                      "st.volatile.%s.u64 ", NULL},
};

static bool writes(const struct step *step)
{
    return step->kind == STORE || step->kind == ATOMIC || step->kind == STRONG_STORE;
}

static bool is_strong(const struct step *step)
{
    return step->kind >= ATOMIC;
}

/* Lanes side by side, apart, together, in groups of four, anywhere; mostly a few of them. */
static void fill_step(struct random_program *program, struct step *step)
{
    static const enum kind kinds[] = {LOAD,   LOAD,        LOAD,         STORE,   STORE,
                                      ATOMIC, STRONG_LOAD, STRONG_STORE, BARRIER, WARP_BARRIER};
    int log = 0;
    step->kind = kinds[pick(program, 10)];
    do
        log = (int)pick(program, 5);
    while (step->kind < BARRIER && !opcodes[step->kind][log]);
    step->size = 1 << log;
    step->alike = pick(program, 3) == 0;
    unsigned pattern = pick(program, 6), stride = (unsigned)step->size << pick(program, 3);
    unsigned base = pick(program, BYTES / (unsigned)step->size) * (unsigned)step->size;
    unsigned few = pick(program, 4) ? 1 + pick(program, 6) : 64;
    for (unsigned t = 0; t < THREADS; t++) {
        unsigned lane = t % 32, size = (unsigned)step->size;
        unsigned place = pattern == 0   ? base
                         : pattern == 1 ? base + lane * stride
                         : pattern == 2 ? pick(program, BYTES / size) * size
                         : pattern == 3 ? base + t * size
                         : pattern == 4 ? base + lane / 4 * stride
                                        : t * size;
        step->place[t] = pick(program, 64) < few ? (int32_t)(place % BYTES / size * size) : -1;
    }
}

static void write_body(const struct random_program *program, char *text, size_t size)
{
    const char *space = program->global ? "global" : "shared";
    int n = snprintf(text, size,
                     ".shared .align 16 .b8 s[%d];\n"
                     "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, %%ctaid.x; mad.lo.u32 %%r3, %%r2, 32, "
                     "%%r1;\nld.param.u64 %%d1, [p0]; ld.param.u64 %%d2, [p1]; mul.wide.u32 %%d4, "
                     "%%r3, 4;\nadd.u64 %%d2, %%d2, %%d4; mov.u64 %%d3, s;\n"
                     "mad.lo.u32 %%r20, %%r3, 0x01010101, 0x01010101; mov.b64 %%d20, {%%r20, "
                     "%%r20};\n"
                     "add.u64 %%d5, %%d3, %%d4; st.shared.u32 [%%d5], 0; bar.sync 0;\n",
                     BYTES);
    for (int s = 0; s < STEPS; s++) {
        const struct step *step = &program->steps[s];
        if (step->kind >= BARRIER) {
            n += snprintf(text + n, size - (size_t)n, "%s;\n",
                          step->kind == BARRIER ? "bar.sync 0" : "bar.warp.sync -1");
            continue;
        }
        const char *value = !writes(step)     ? ""
                            : step->size < 8  ? step->alike ? ", 7" : ", %r20"
                            : step->size == 8 ? step->alike ? ", 7" : ", %d20"
                            : step->alike     ? ", {7, 7, 7, 7}"
                                              : ", {%r20, %r20, %r20, %r20}";
        n += snprintf(text + n, size - (size_t)n,
                      "ld.global.s32 %%d10, [%%d2+%d]; setp.ge.s64 %%p1, %%d10, 0;\n"
                      "add.u64 %%d11, %s, %%d10; @%%p1 ",
                      s * THREADS * 4, program->global ? "%d1" : "%d3");
        n += snprintf(text + n, size - (size_t)n, opcodes[step->kind][__builtin_ctz(step->size)],
                      space);
        n += snprintf(text + n, size - (size_t)n, "[%%d11]%s;\n", value);
    }
    ck_assert_int_lt(n, (int)size);
}

static bool overlap(const struct step *a, int t, const struct step *b, int u)
{
    return a->place[t] >= 0 && b->place[u] >= 0 && a->place[t] < b->place[u] + b->size &&
           b->place[u] < a->place[t] + a->size;
}

/* Whether step i of thread t and step j >= i of another, u, race. */
static bool races(const struct random_program *program, int i, int t, int j, int u)
{
    const struct step *a = &program->steps[i], *b = &program->steps[j];
    bool same_warp = t / 32 == u / 32, same_block = same_warp || !program->global;
    if (t == u || (!writes(a) && !writes(b)) || (is_strong(a) && is_strong(b)) ||
        !overlap(a, t, b, u))
        return false;
    for (int s = i + 1; s < j; s++)
        if ((program->steps[s].kind == BARRIER && same_block) ||
            (program->steps[s].kind == WARP_BARRIER && same_warp))
            return false;
    return !(i == j && same_warp && a->alike); /* lanes of one store may write the same */
}

/* Of a granule of global memory three reads and three strong writes are remembered: are there more?
 */
static bool is_crowded(const struct random_program *program, int place)
{
    int n[2] = {0, 0};
    for (int s = 0; s < STEPS && program->global; s++) {
        const struct step *step = &program->steps[s];
        for (int t = 0; t < THREADS && step->kind < BARRIER && step->kind != STORE; t++)
            n[writes(step)] += step->place[t] >= 0 && step->place[t] / GRANULE == place / GRANULE;
    }
    return n[0] > 3 || n[1] > 3;
}

/* *certain: one of the races is not among so many accesses that it may go unseen. */
static bool find_race(const struct random_program *program, bool *certain)
{
    bool found = false;
    *certain = false;
    for (int i = 0; i < STEPS; i++)
        for (int j = i; j < STEPS; j++)
            for (int t = 0; t < THREADS; t++)
                for (int u = 0; u < THREADS; u++) {
                    if (program->steps[i].kind >= BARRIER || program->steps[j].kind >= BARRIER ||
                        !races(program, i, t, j, u))
                        continue;
                    found = true;
                    int a = program->steps[i].place[t], b = program->steps[j].place[u];
                    *certain |= !is_crowded(program, a > b ? a : b);
                }
    return found;
}

#define PROGRAMS 500

START_TEST(random_programs)
{
    static const unsigned char zeros[BYTES];
    static struct random_program program;
    int n_races = 0;
    for (int i = 0; i < PROGRAMS; i++) {
        char body[4096];
        int32_t places[STEPS][THREADS];
        struct rig rig;
        bool certain;
        program = (struct random_program){.global = _i % 2, .seed = (uint64_t)(_i * PROGRAMS + i)};
        for (int s = 0; s < STEPS; s++) {
            fill_step(&program, &program.steps[s]);
            memcpy(places[s], program.steps[s].place, sizeof places[s]);
        }
        write_body(&program, body, sizeof body);
        rig_open(&rig);
        rig.reporter.checks = CHECK_ALL;
        rig.settings.shuffled = i % 2;
        rig.settings.seed = (uint64_t)i;
        rig_load_body(&rig, 2, body, _i / 2);
        const uint64_t parameters[] = {rig_upload(&rig, zeros, sizeof zeros),
                                       rig_upload(&rig, places, sizeof places)};
        const uint32_t blocks = program.global ? 2 : 1;
        rig_launch(&rig, NULL, (uint32_t[3]){blocks, 1, 1}, (uint32_t[3]){THREADS / blocks, 1, 1},
                   0, 2, parameters);
        bool race = find_race(&program, &certain), reported = rig.reporter.n_reports > 0;
        n_races += race;
        ck_assert_msg(
            rig.reporter.outcome == OUTCOME_GOOD && (race || !reported) && (reported || !certain),
            "%s memory, program %d %s a race:\n%s%s", program.global ? "global" : "shared", i,
            race ? "has" : "does not have", body, rig.reports);
        rig_close(&rig);
    }
    ck_assert_int_gt(n_races, PROGRAMS / 4);
    ck_assert_int_lt(n_races, PROGRAMS * 3 / 4);
}
END_TEST

/* Four warps write a word of one granule each; then another block writes one of the words. */
START_TEST(each_write_is_remembered)
{
    for (uint64_t word = 0; word < 4; word++) {
        struct rig rig;
        char other[64];
        rig_open(&rig);
        rig.reporter.checks = CHECK_ALL;
        rig_load_body(&rig, 2,
                      "ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; mov.u32 %r1, %tid.x;\n"
                      "mov.u32 %r2, %ctaid.x; shr.u32 %r3, %r1, 5; mul.wide.u32 %d3, %r3, 4;\n"
                      "add.u64 %d3, %d1, %d3; shl.b64 %d2, %d2, 2; add.u64 %d2, %d1, %d2;\n"
                      "and.b32 %r4, %r1, 31; setp.eq.u32 %p1, %r4, 0; setp.eq.u32 %p2, %r2, 0;\n"
                      "and.pred %p3, %p1, %p2; setp.eq.and.u32 %p4, %r1, 0, !%p2;\n"
                      "@%p3 st.global.u32 [%d3], %r1; @%p4 st.global.u32 [%d2], %r1;",
                      _i);
        const uint64_t parameters[] = {rig_upload(&rig, NULL, 16), word};
        rig_launch(&rig, NULL, (uint32_t[3]){2, 1, 1}, (uint32_t[3]){128, 1, 1}, 0, 2, parameters);
        snprintf(other, sizeof other, "block (0,0,0), thread (%d,0,0)\n", (int)word * 32);
        ck_assert_msg(rig.reporter.n_reports == 1 && strstr(rig.reports, other), "word %d: %s",
                      (int)word, rig.reports);
        rig_close(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_races");
    TCase *tests = tcase_create("against all pairs of accesses");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, random_programs, 0, 4); /* shared, global; avx2, portable */
    tcase_add_loop_test(tests, each_write_is_remembered, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
