/* Registers that share places: random programs leave the same memory behind as they do where each
 * register keeps a place of its own. */
#include "tests/softcuda/rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 48
#define WORDS   64 /* of memory that a thread writes */

/* A program under way: few registers, so that values die and begin again at every step; some are
 * read before anything has written them. */
struct writer {
    char text[1 << 16];
    int at, n_labels, depth;
    unsigned first; /* of the 16 words that are in use at this part of the program */
    uint64_t seed, count;
};

static unsigned pick(struct writer *writer, unsigned n)
{
    return (unsigned)(mix64(writer->seed, writer->count++) >> 20) % n;
}

static void put(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct writer *writer, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    writer->at += vsnprintf(writer->text + writer->at, sizeof writer->text - (size_t)writer->at,
                            format, list);
    va_end(list);
    ck_assert_int_lt(writer->at, (int)sizeof writer->text - 1024);
}

/* 16 of %r20 to %r83, %d20 to %d25, %p1 to %p5. */
static unsigned word(struct writer *writer)
{
    return writer->first + pick(writer, 16);
}
static unsigned wide(struct writer *writer)
{
    return 20 + pick(writer, 6);
}
static unsigned predicate(struct writer *writer)
{
    return 1 + pick(writer, 5);
}

static void put_guard(struct writer *writer)
{
    if (pick(writer, 3) == 0)
        put(writer, "@%s%%p%u ", pick(writer, 2) ? "!" : "", predicate(writer));
}

static void put_load(struct writer *writer)
{
    char results[4][8];
    unsigned first = word(writer);
    for (unsigned i = 0; i < 4; i++) /* all different, as a vector's must be */
        snprintf(results[i], sizeof results[i], "%%r%u",
                 writer->first + (first - writer->first + 3 * i) % 16);
    unsigned sink = pick(writer, 6);
    if (sink < 4)
        strcpy(results[sink], "_");
    unsigned from = word(writer);
    put(writer, "and.b32 %%r%u, %%r%u, 48; cvt.u64.u32 %%d20, %%r%u; add.u64 %%d20, %%d20, %%d3;\n",
        from, from, from);
    put_guard(writer);
    put(writer, "ld.global.v4.u32 {%s, %s, %s, %s}, [%%d20];\n", results[0], results[1], results[2],
        results[3]);
}

static void put_plain(struct writer *writer)
{
    static const char *const two[] = {"add.u32", "xor.b32", "mul.lo.u32", "and.b32", "min.s32"};
    unsigned kind = pick(writer, 12);
    if (kind == 0) {
        put_load(writer);
        return;
    }
    put_guard(writer);
    if (kind < 4)
        put(writer, "%s %%r%u, %%r%u, %%r%u;\n", two[pick(writer, 5)], word(writer), word(writer),
            word(writer));
    else if (kind == 4)
        put(writer, "mad.lo.u32 %%r%u, %%r%u, %%r%u, %u;\n", word(writer), word(writer),
            word(writer), pick(writer, 100));
    else if (kind == 5)
        put(writer, "setp.lt.and.u32 %%p%u|%%p%u, %%r%u, %%r%u, %s%%p%u;\n", 1 + pick(writer, 2),
            3 + pick(writer, 3), word(writer), word(writer), pick(writer, 2) ? "!" : "",
            predicate(writer));
    else if (kind == 6)
        put(writer, "selp.b32 %%r%u, %%r%u, %%r%u, %%p%u;\n", word(writer), word(writer),
            word(writer), predicate(writer));
    else if (kind == 7)
        put(writer, "mul.wide.u32 %%d%u, %%r%u, %%r%u;\n", wide(writer), word(writer),
            word(writer));
    else if (kind == 8)
        put(writer, "add.u64 %%d%u, %%d%u, %%d%u;\n", wide(writer), wide(writer), wide(writer));
    else if (kind == 9)
        put(writer, "cvt.u32.u64 %%r%u, %%d%u;\n", word(writer), wide(writer));
    else if (kind == 10)
        put(writer, "st.global.u32 [%%d2+%u], %%r%u;\n", 4 * pick(writer, WORDS), word(writer));
    else
        put(writer, "mov.b64 {%%r%u, %%r%u}, %%d%u;\n", writer->first + 8 + pick(writer, 8),
            writer->first + pick(writer, 8), wide(writer));
}

static void put_block(struct writer *writer, int n);

/* An if with or without an else; a loop of 1 to 4 turns by lane, which some leave early. */
static void put_nested(struct writer *writer)
{
    int label = writer->n_labels++, depth = writer->depth++;
    if (pick(writer, 2)) {
        put(writer, "@%s%%p%u bra ELSE%d;\n", pick(writer, 2) ? "!" : "", predicate(writer), label);
        put_block(writer, 4);
        if (pick(writer, 2))
            put(writer, "bra END%d;\n", label);
        put(writer, "ELSE%d:\n", label);
        put_block(writer, 3);
    } else {
        put(writer, "and.b32 %%r%d, %%r1, 3;\nLOOP%d:\n", 100 + depth, label);
        put_block(writer, 4);
        put(writer, "setp.eq.u32 %%p%d, %%r%d, 0; @%%p%d bra END%d;\n", 10 + depth, 100 + depth,
            10 + depth, label);
        if (pick(writer, 2))
            put(writer, "@%%p%u bra END%d;\n", predicate(writer), label);
        put(writer, "sub.u32 %%r%d, %%r%d, 1;\n", 100 + depth, 100 + depth);
        put_block(writer, 3);
        put(writer, "bra LOOP%d;\n", label);
    }
    put(writer, "END%d:\n", label);
    writer->depth--;
}

static void put_block(struct writer *writer, int n)
{
    for (int i = 0; i < n; i++) {
        if (writer->depth < 3 && pick(writer, 4) == 0)
            put_nested(writer);
        else
            put_plain(writer);
    }
}

static void write_program(struct writer *writer, uint64_t seed)
{
    *writer = (struct writer){.seed = seed};
    put(writer,
        "mov.u32 %%r1, %%tid.x; ld.param.u64 %%d2, [p0]; ld.param.u64 %%d3, [p1];\n"
        "mul.wide.u32 %%d4, %%r1, %d; add.u64 %%d2, %%d2, %%d4;\n",
        WORDS * 4);
    /* Most registers begin with something; the others are read as they come. */
    for (unsigned part = 0; part < 6; part++) {
        writer->first = 20 + 8 * part;
        for (unsigned r = part == 0 ? 0 : 8; r < 16; r++)
            if (pick(writer, 8))
                put(writer, "mad.lo.u32 %%r%u, %%r1, %u, %u;\n", writer->first + r,
                    pick(writer, 1000), pick(writer, 1000));
        put_block(writer, 4);
    }
    for (unsigned i = 0; i < 3; i++)
        put(writer, "st.global.u32 [%%d2+%u], %%r%u;\n", 4 * i, word(writer));
}

/* Memory behind the program, and how many bytes of registers it took. */
static size_t run_program(const struct writer *writer, bool own_places, bool portable,
                          uint32_t *memory)
{
    struct rig rig;
    uint32_t inputs[32];
    for (uint32_t i = 0; i < 32; i++)
        inputs[i] = (uint32_t)mix64(5, i);
    memset(memory, 0, THREADS * WORDS * 4);
    rig_open(&rig);
    rig.own_places = own_places;
    rig_load_body(&rig, 2, writer->text, portable);
    const uint64_t parameters[] = {rig_upload(&rig, memory, THREADS * WORDS * 4),
                                   rig_upload(&rig, inputs, sizeof inputs)};
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){THREADS, 1, 1}, 0, 2, parameters);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%.500s\n%.3000s", rig.reports,
                  writer->text);
    memcpy(memory, rig_host(&rig, parameters[0]), THREADS * WORDS * 4);
    size_t bytes = rig.programs[0].register_bytes;
    rig_close(&rig);
    return bytes;
}

#define PROGRAMS 150
START_TEST(random_programs)
{
    static struct writer writer;
    static uint32_t own[THREADS * WORDS], shared[THREADS * WORDS];
    size_t bytes_own = 0, bytes_shared = 0;
    for (int i = 0; i < PROGRAMS; i++) {
        write_program(&writer, (uint64_t)(2 * i + _i));
        bytes_own += run_program(&writer, true, _i, own);
        bytes_shared += run_program(&writer, false, _i, shared);
        for (int at = 0; at < THREADS * WORDS; at++)
            ck_assert_msg(own[at] == shared[at],
                          "program %d, thread %d, word %d: 0x%X, not 0x%X\n%.3000s", i, at / WORDS,
                          at % WORDS, shared[at], own[at], writer.text);
    }
    ck_assert_uint_lt(bytes_shared, bytes_own); /* there was something to compare */
}
END_TEST

/* Values that are not to meet: each case leaves what its comment says. */
static void check_word(const char *body, uint32_t want, bool portable)
{
    struct rig rig;
    uint32_t zero = 0;
    rig_open(&rig);
    rig_load_body(&rig, 1, body, portable);
    uint64_t out = rig_upload(&rig, &zero, 4);
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){1, 1, 1}, 0, 1, &out);
    ck_assert_int_eq(rig.reporter.outcome, OUTCOME_GOOD);
    uint32_t got;
    memcpy(&got, rig_host(&rig, out), 4);
    ck_assert_msg(got == want, "0x%X, not 0x%X:\n%s", got, want, body);
    rig_close(&rig);
}

START_TEST(values_stay_apart)
{
    /* A result that nobody reads goes to no place where another value lives. */
    check_word("ld.param.u64 %d1, [p0]; mov.u32 %r1, 7; add.u32 %r2, %r1, 100;\n"
               "st.global.u32 [%d1], %r1;",
               7, _i);
    /* A guarded write that is held back leaves the value before, though nothing read it between. */
    check_word("ld.param.u64 %d1, [p0]; mov.u32 %r1, 7; mov.u32 %r3, 5; setp.eq.u32 %p1, %r3, 6;\n"
               "add.u32 %r4, %r3, 1; @%p1 mov.u32 %r1, 8; st.global.u32 [%d1], %r1;",
               7, _i);
    /* A value that a loop's next turn reads lives through the back edge. */
    check_word("ld.param.u64 %d1, [p0]; mov.u32 %r1, 1; mov.u32 %r2, 0; mov.u32 %r5, 3;\n"
               "LOOP: add.u32 %r3, %r1, %r5; mov.u32 %r6, 50; add.u32 %r7, %r6, %r3;\n"
               "mov.u32 %r5, %r7; add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 3; @%p1 bra LOOP;\n"
               "st.global.u32 [%d1], %r5;",
               156, _i);
    /* Both results of one instruction, one of which dies at once. */
    check_word("ld.param.u64 %d1, [p0]; mov.u64 %d2, 0x0000000500000009;\n"
               "mov.b64 {%r2, %r1}, %d2; st.global.u32 [%d1], %r2;",
               9, _i);
    /* The same of one that lived before. */
    check_word("ld.param.u64 %d1, [p0]; mov.u64 %d2, 0x0000000500000009; mov.u32 %r1, 4;\n"
               "add.u32 %r3, %r1, 1; mov.b64 {%r2, %r1}, %d2; st.global.u32 [%d1], %r2;",
               9, _i);
    /* p|q: q is made of the predicate that p takes the place of. */
    check_word("ld.param.u64 %d1, [p0]; mov.u32 %r1, 1; setp.eq.u32 %p1, %r1, 1;\n"
               "setp.gt.and.u32 %p2|%p3, %r1, 5, %p1; selp.u32 %r2, 1, 0, %p2;\n"
               "selp.u32 %r3, 2, 0, %p3; or.b32 %r2, %r2, %r3; st.global.u32 [%d1], %r2;",
               2, _i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_places");
    TCase *tests = tcase_create("portable and avx2");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, random_programs, 0, 2);
    tcase_add_loop_test(tests, values_stay_apart, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
