/* Loads, stores and atomics, with whole warps and with lanes held back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/softcuda/alu_memory.h"

#define LANES 32

struct memory_run {
    struct rig rig;
    uint64_t bytes, rows, guards, results; /* device addresses */
    unsigned char before[512];
    uint64_t row[4][LANES];
    bool guard[LANES];
};

static uint64_t low_bits(uint64_t value, int bits)
{
    return bits == 64 ? value : value & (((uint64_t)1 << bits) - 1);
}

static void prepare(struct memory_run *run, int round)
{
    for (int i = 0; i < 512; i++)
        run->before[i] = memory_byte(i);
    for (int r = 0; r < 4; r++)
        for (int l = 0; l < LANES; l++)
            run->row[r][l] = mix64(77 + (uint64_t)r, (uint64_t)l);
    for (int l = 0; l < LANES; l++)
        run->guard[l] = round == 0 || mix64((uint64_t)round, (uint64_t)l) >> 63;
}

static void launch(struct memory_run *run, const struct alu_case *alu, bool portable)
{
    struct rig *rig = &run->rig;
    char text[16384];
    alu->written(alu, text, sizeof text);
    rig_free_all(rig);
    arena_free(&rig->arena);
    ck_assert_msg(rig_load(rig, text, strlen(text), portable) == STATUS_OK, "%s\n%s", rig->err.text,
                  text);
    run->bytes = rig_upload(rig, run->before, 512);
    run->rows = rig_upload(rig, run->row, sizeof run->row);
    run->guards = rig_upload(rig, NULL, LANES * 8);
    run->results = rig_upload(rig, NULL, 2048);
    uint64_t *guards = rig_host(rig, run->guards);
    for (int l = 0; l < LANES; l++)
        guards[l] = run->guard[l];
    memset(rig_host(rig, run->results), 0, 2048);
    unsigned char parameters[32 + 512];
    memcpy(parameters, (uint64_t[]){run->bytes, run->rows, run->guards, run->results}, 32);
    memcpy(parameters + 32, run->before, 512);
    ck_assert_msg(rig_launch_raw(rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){LANES, 1, 1}, 0,
                                 parameters) == STATUS_OK,
                  "%s: %s\n%s", alu->opcode, rig->err.text, rig->reports);
}

static int width_of(const struct alu_case *alu)
{
    return alu->operands[0] == 'h' ? 16 : alu->operands[0] == 'w' ? 32 : 64;
}

static void check_load(struct memory_run *run, const struct alu_case *alu)
{
    const uint64_t *got = rig_host(&run->rig, run->results);
    int size = alu->bits / 8, width = width_of(alu);
    for (int e = 0; e < memory_vector(alu); e++)
        for (int l = 0; l < LANES; l++) {
            uint64_t want = run->row[e][l];
            if (run->guard[l]) {
                want = 0;
                memcpy(&want, run->before + 16 * l + e * size, (size_t)size);
                if (alu->is_signed && want >> (alu->bits - 1) & 1)
                    want |= ~low_bits(UINT64_MAX, alu->bits);
            }
            want = low_bits(want, width);
            ck_assert_msg(got[32 * e + l] == want, "%s %s, lane %d: %llx, not %llx", alu->opcode,
                          alu->operands, l, (unsigned long long)got[32 * e + l],
                          (unsigned long long)want);
        }
}

static void check_store(struct memory_run *run, const struct alu_case *alu)
{
    const unsigned char *got = rig_host(&run->rig, run->results);
    int size = alu->bits / 8;
    for (int l = 0; l < LANES; l++) {
        unsigned char want[16];
        memcpy(want, run->before + 16 * l, 16);
        for (int e = 0; run->guard[l] && e < memory_vector(alu); e++)
            memcpy(want + e * size, &run->row[e][l], (size_t)size);
        ck_assert_msg(memcmp(got + 16 * l, want, 16) == 0, "%s %s, lane %d", alu->opcode,
                      alu->operands, l);
    }
}

/* What one lane leaves behind; the manual's table of operations. Global memory of f32 is flushed,
 * shared memory is not. */
static uint64_t combined(const struct alu_case *alu, uint64_t a, uint64_t b, uint64_t fresh)
{
    char copy[64], *operation = copy;
    enum memory_place place = (enum memory_place)(alu->aux & 15);
    int bits = alu->bits;
    memcpy(copy, alu->opcode, sizeof copy);
    *strrchr(copy, '.') = '\0';
    for (int i = 0; i < 2; i++) {
        char *behind = strstr(copy, i ? ".L2::" : ".noftz");
        if (behind)
            *behind = '\0';
    }
    operation = strrchr(copy, '.') + 1;
    bool signed_less = (int64_t)(a << (64 - bits)) < (int64_t)(b << (64 - bits));
    bool less = alu->is_signed ? signed_less : a < b;
    if (strcmp(operation, "add") == 0 && strstr(alu->opcode, "x2"))
        return exact_add(a & 0xFFFF, b & 0xFFFF, alu->format, EXACT_RN) |
               exact_add(a >> 16, b >> 16, alu->format, EXACT_RN) << 16;
    if (strcmp(operation, "add") == 0 && alu->format) {
        bool flush = alu->format == &exact_f32 && place <= MEMORY_GLOBAL;
        if (flush)
            a = exact_flush(a, alu->format), b = exact_flush(b, alu->format);
        uint64_t sum = exact_add(a, b, alu->format, EXACT_RN);
        return flush ? exact_flush(sum, alu->format) : sum;
    }
    switch (operation[0] << 8 | operation[1]) {
    case 'a' << 8 | 'd':
        return low_bits(a + b, bits);
    case 'm' << 8 | 'i':
        return less ? a : b;
    case 'm' << 8 | 'a':
        return less ? b : a;
    case 'i' << 8 | 'n':
        return a >= b ? 0 : a + 1;
    case 'd' << 8 | 'e':
        return a == 0 || a > b ? b : a - 1;
    case 'a' << 8 | 'n':
        return a & b;
    case 'o' << 8 | 'r':
        return a | b;
    case 'x' << 8 | 'o':
        return a ^ b;
    case 'c' << 8 | 'a':
        return a == b ? fresh : a;
    default:
        return b;
    }
}

/* Of f64 any NaN is right. */
static bool same_number(const struct alu_case *alu, uint64_t got, uint64_t want)
{
    return got == want || (alu->format == &exact_f64 && exact_is_nan(want, alu->format) &&
                           exact_is_nan(got, alu->format));
}

/* Lanes go one after the other, in ascending order. */
static void check_atomic(struct memory_run *run, const struct alu_case *alu)
{
    const uint64_t *got = rig_host(&run->rig, run->results);
    const unsigned char *after = rig_host(&run->rig, run->results + 1024);
    int size = alu->bits / 8, words = alu->aux >> 4;
    bool reduction = alu->opcode[0] == 'r';
    for (int l = 0; l < LANES; l++) {
        uint64_t a = 0, b = low_bits(run->row[0][l], alu->bits), want = run->row[2][l];
        unsigned char *word = run->before + size * (l % words);
        if (run->guard[l]) {
            memcpy(&a, word, (size_t)size);
            uint64_t fresh = combined(alu, a, b, run->row[1][l]);
            memcpy(word, &fresh, (size_t)size);
            want = reduction ? want : a;
        }
        want = low_bits(want, alu->bits);
        ck_assert_msg(same_number(alu, got[l], want),
                      "%s of %d words, lane %d: held %llx, not %llx", alu->opcode, words, l,
                      (unsigned long long)got[l], (unsigned long long)want);
    }
    for (int i = 0; i < 512; i += size) {
        uint64_t g = 0, w = 0;
        memcpy(&g, after + i, (size_t)size);
        memcpy(&w, run->before + i, (size_t)size);
        ck_assert_msg(same_number(alu, g, w), "%s of %d words: byte %d of memory", alu->opcode,
                      words, i);
    }
}

/* Numbers that meet: equal ones, small ones, subnormal ones. */
static void prepare_atomic(struct memory_run *run, const struct alu_case *alu)
{
    uint64_t state = 5;
    int size = alu->bits / 8;
    char kind = alu->format == &exact_f32   ? 'f'
                : alu->format == &exact_f64 ? 'e'
                : alu->format == &exact_f16 ? (alu->bits == 32 ? 'H' : 'h')
                : alu->format               ? (alu->bits == 32 ? 'B' : 'b')
                                            : 'i';
    for (int l = 0; l < LANES; l++) {
        uint64_t value = alu_random(kind, alu->bits, &state);
        memcpy(run->before + size * l, &value, (size_t)size);
        run->row[0][l] = alu_random(kind, alu->bits, &state);
        if (strstr(alu->opcode, ".cas.") && mix64(3, (uint64_t)l) & 1)
            run->row[0][l] = value;
    }
}

static void run_list(void (*add)(struct alu_list *list), bool portable)
{
    struct alu_list list = {0};
    struct memory_run *run = calloc(1, sizeof *run);
    ck_assert_ptr_nonnull(run);
    rig_open(&run->rig);
    add(&list);
    for (int i = 0; i < list.n; i++)
        for (int round = 0; round < 2; round++) {
            const struct alu_case *alu = &list.cases[i];
            prepare(run, round ? i + 1 : 0);
            if (alu->written == memory_write_atomic)
                prepare_atomic(run, alu);
            launch(run, alu, portable);
            if (alu->written == memory_write_load)
                check_load(run, alu);
            else if (alu->written == memory_write_store)
                check_store(run, alu);
            else
                check_atomic(run, alu);
        }
    rig_free_all(&run->rig);
    rig_close(&run->rig);
    free(run);
    alu_free(&list);
}

START_TEST(loads_and_stores)
{
    run_list(alu_memory, _i);
}
END_TEST

START_TEST(atomics)
{
    run_list(alu_atomic, _i);
}
END_TEST

/* A constant is stored as the instruction's type has it. */
START_TEST(stores_of_constants)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(
        &rig, 1,
        "ld.param.u64 %d1, [p0];\n"
        "st.global.u8 [%d1], 0x1FF; st.global.s16 [%d1+2], -2; st.global.f32 [%d1+4], 1.5;\n"
        "st.global.f64 [%d1+8], 1.5; st.global.v2.f32 [%d1+16], {0f3F800000, -2.0};\n"
        "st.global.b64 [%d1+24], 0d3FF0000000000000; st.global.u64 [%d1+32], -1;\n"
        "atom.global.add.f32 %r1, [%d1+4], 2.0; red.global.add.u64 [%d1+32], 3;\n"
        "mov.u64 %d2, %d1; cvta.to.global.u64 %d2, %d2; cvta.global.u64 %d2, %d2;\n"
        "st.u32 [%d2+40], 7; ld.global.v2.u32 {%r2, _}, [%d1+40];\n"
        "st.global.u32 [%d1+44], %r2;",
        _i);
    uint64_t out = rig_upload(&rig, NULL, 64);
    memset(rig_host(&rig, out), 0, 64);
    ck_assert_int_eq(
        rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){1, 1, 1}, 0, 1, &out),
        STATUS_OK);
    const unsigned char *got = rig_host(&rig, out);
    float f;
    double d;
    uint64_t u;
    uint32_t w;
    ck_assert_uint_eq(got[0], 0xFF);
    ck_assert_uint_eq(got[1], 0);
    ck_assert_uint_eq(got[2] | got[3] << 8, 0xFFFE);
    memcpy(&f, got + 4, 4);
    ck_assert(f == 3.5f);
    memcpy(&d, got + 8, 8);
    ck_assert(d == 1.5);
    memcpy(&f, got + 16, 4);
    ck_assert(f == 1.0f);
    memcpy(&f, got + 20, 4);
    ck_assert(f == -2.0f);
    memcpy(&d, got + 24, 8);
    ck_assert(d == 1.0);
    memcpy(&u, got + 32, 8);
    ck_assert_uint_eq(u, 2);
    memcpy(&w, got + 44, 4);
    ck_assert_uint_eq(w, 7);
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

/* Addresses of each space as generic ones, back, and asked for their space. */
START_TEST(windows)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  ".shared .align 8 .b8 s[16]; .local .align 8 .b8 l[16];\n"
                  "ld.param.u64 %d1, [p0]; mov.u64 %d2, s; mov.u64 %d3, l; mov.u64 %d4, p0;\n"
                  "cvta.shared.u64 %d12, %d2; cvta.local.u64 %d13, %d3; cvta.param.u64 %d14, %d4;\n"
                  "cvta.const.u64 %d15, %d1; cvta.to.const.u64 %d15, %d15;\n"
                  "mov.u32 %r1, 0;\n"
                  "isspacep.global %p1, %d1; @%p1 or.b32 %r1, %r1, 1;\n"
                  "isspacep.shared %p1, %d12; @%p1 or.b32 %r1, %r1, 2;\n"
                  "isspacep.local %p1, %d13; @%p1 or.b32 %r1, %r1, 4;\n"
                  "isspacep.param %p1, %d14; @%p1 or.b32 %r1, %r1, 8;\n"
                  "isspacep.const %p1, %d15; @%p1 or.b32 %r1, %r1, 16;\n"
                  "isspacep.global %p1, %d12; @%p1 or.b32 %r1, %r1, 32;\n"
                  "isspacep.shared::cta %p1, %d12; @%p1 or.b32 %r1, %r1, 4096;\n"
                  "cvta.shared::cta.u64 %d16, %d2; setp.eq.u64 %p1, %d16, %d12;\n"
                  "@%p1 or.b32 %r1, %r1, 8192;\n"
                  "isspacep.shared %p1, %d13; @%p1 or.b32 %r1, %r1, 64;\n"
                  "isspacep.local %p1, %d1; @%p1 or.b32 %r1, %r1, 128;\n"
                  "isspacep.param %p1, %d12; @%p1 or.b32 %r1, %r1, 256;\n"
                  "cvta.to.shared.u64 %d12, %d12; cvta.to.local.u64 %d13, %d13; cvta.to.param.u64 "
                  "%d14, %d14;\n"
                  "setp.eq.u64 %p1, %d12, %d2; @%p1 or.b32 %r1, %r1, 512;\n"
                  "setp.eq.u64 %p1, %d13, %d3; @%p1 or.b32 %r1, %r1, 1024;\n"
                  "setp.eq.u64 %p1, %d14, %d4; @%p1 or.b32 %r1, %r1, 2048;\n"
                  "st.global.u32 [%d1], %r1;",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 64);
    ck_assert_int_eq(
        rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){1, 1, 1}, 0, 1, &out),
        STATUS_OK);
    uint32_t got;
    memcpy(&got, rig_host(&rig, out), 4);
    ck_assert_uint_eq(got, 31 | 512 | 1024 | 2048 | 4096 | 8192);
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

/* Lane 5 goes to an offset of its own in 256 bytes of memory, the others to 8 times theirs. */
struct edge {
    int64_t offset;
    enum outcome outcome;
};

static void go_to_edge(int space, const struct edge *edge, uint32_t guards, bool portable)
{
    /* %d4: the offset, %r1: its low half, %d1: the 256 bytes in global memory; %p1 guards. */
    static const char *const bodies[] = {
        "add.u64 %d5, %d1, %d4; @%p1 ld.global.u64 %d6, [%d5]; @%p1 st.global.u64 [%d5], %d6;",
        "add.u64 %d5, %d1, %d4; @%p1 ld.u64 %d6, [%d5]; @%p1 st.u64 [%d5], %d6;",
        "mov.u32 %r2, s; add.u32 %r2, %r2, %r1; @%p1 ld.shared.u64 %d6, [%r2];"
        "@%p1 st.shared.u64 [%r2], %d6;",
        "mov.u64 %d5, s; add.u64 %d5, %d5, %d4; @%p1 ld.shared.u64 %d6, [%d5];"
        "@%p1 st.shared.u64 [%d5], %d6;",
        "mov.u64 %d5, s; cvta.shared.u64 %d5, %d5; add.u64 %d5, %d5, %d4; @%p1 ld.u64 %d6, [%d5];"
        "@%p1 st.u64 [%d5], %d6;",
    };
    struct rig rig;
    char body[2048];
    uint64_t offsets[LANES];
    for (int l = 0; l < LANES; l++)
        offsets[l] = l == 5 ? (uint64_t)edge->offset : 8 * (uint64_t)l;
    snprintf(body, sizeof body,
             ".shared .align 16 .b8 s[256];\n"
             "ld.param.u64 %%d1, [p0]; ld.param.u64 %%d2, [p1]; mov.u32 %%r3, %%tid.x;\n"
             "mul.wide.u32 %%d3, %%r3, 8; add.u64 %%d2, %%d2, %%d3; ld.global.u64 %%d4, [%%d2];\n"
             "cvt.u32.u64 %%r1, %%d4; mov.u32 %%r4, %u; shr.u32 %%r4, %%r4, %%r3;\n"
             "and.b32 %%r4, %%r4, 1; setp.ne.u32 %%p1, %%r4, 0;\n%s",
             guards, bodies[space]);
    rig_open(&rig);
    rig_load_body(&rig, 2, body, portable);
    const uint64_t parameters[] = {rig_upload(&rig, NULL, 256),
                                   rig_upload(&rig, offsets, sizeof offsets)};
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){LANES, 1, 1}, 0, 2, parameters);
    enum outcome want = guards >> 5 & 1 ? edge->outcome : OUTCOME_GOOD;
    ck_assert_msg(rig.reporter.outcome == want, "space %d, offset %lld, guards %08x: %d, not %d",
                  space, (long long)edge->offset, guards, (int)rig.reporter.outcome, (int)want);
    rig_free_all(&rig);
    rig_close(&rig);
}

/* Nothing looks on, and yet what leaves its memory or lies askew is found, in every lane that takes
 * part and in no other. */
START_TEST(edges)
{
    static const struct edge all[] = {
        {248, OUTCOME_GOOD},           {252, OUTCOME_MISALIGNED},
        {1, OUTCOME_MISALIGNED},       {256, OUTCOME_ILLEGAL_ADDRESS},
        {-8, OUTCOME_ILLEGAL_ADDRESS}, {1 << 30, OUTCOME_ILLEGAL_ADDRESS},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int space = 0; space < 5; space++) {
            go_to_edge(space, &all[i], UINT32_MAX, _i);
            go_to_edge(space, &all[i], 0xF00000F0u, _i);
            go_to_edge(space, &all[i], ~(1u << 5), _i);
        }
}
END_TEST

/* Hints: none moves a byte, a policy is some value, and only what must be there is looked for. */
START_TEST(hints)
{
    static const struct {
        const char *body;
        enum outcome outcome;
    } bodies[] = {
        {"prefetch.global.L1 [%d1]; prefetch.global.L2 [%d1]; prefetch.L1 [%d1]; prefetch.L2 "
         "[%d1];\n"
         "prefetch.local.L1 [%d2]; prefetchu.L1 [%d1]; prefetch.global.L2 [%d1+4096];\n"
         "prefetch.global.L2::evict_last [%d1]; prefetch.global.L2::evict_normal [%d1];",
         OUTCOME_GOOD},
        {"applypriority.global.L2::evict_normal [%d1], 128; discard.L2 [%d1+128], 128;\n"
         "applypriority.L2::evict_normal [%d1+128], 128; discard.global.L2 [%d1+128], 128;",
         OUTCOME_GOOD},
        {"discard.global.L2 [%d1+256], 128;", OUTCOME_ILLEGAL_ADDRESS},
        {"discard.global.L2 [%d1+64], 128;", OUTCOME_MISALIGNED},
        {"applypriority.global.L2::evict_normal [%d1+256], 128;", OUTCOME_ILLEGAL_ADDRESS},
        {"createpolicy.fractional.L2::evict_last.b64 %d3; mov.f32 %f1, 0f3F000000;\n"
         "createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 %d3, %f1;\n"
         "createpolicy.fractional.L2::evict_normal.b64 %d3, 0.5; mov.u32 %r1, 64;\n"
         "createpolicy.range.L2::evict_last.L2::evict_first.b64 %d3, [%d1], %r1, 128;\n"
         "createpolicy.range.global.L2::evict_last.b64 %d3, [%d1], 64, 128;\n"
         "createpolicy.cvt.L2.b64 %d4, %d3; ld.global.L2::cache_hint.u32 %r2, [%d1], %d4;",
         OUTCOME_GOOD},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct rig rig;
        char body[1024];
        unsigned char bytes[256], *after;
        for (int j = 0; j < 256; j++)
            bytes[j] = memory_byte(j);
        rig_open(&rig);
        snprintf(body, sizeof body, "mov.u64 %%d2, 0; ld.param.u64 %%d1, [p0];\n%s",
                 bodies[i].body);
        rig_load_body(&rig, 1, body, _i);
        uint64_t out = rig_upload(&rig, bytes, 256);
        rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){1, 1, 1}, 0, 1, &out);
        ck_assert_msg(rig.reporter.outcome == bodies[i].outcome, "%s\n%s", bodies[i].body,
                      rig.reports);
        after = rig_host(&rig, out);
        ck_assert_mem_eq(after, bytes, 256);
        rig_free_all(&rig);
        rig_close(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_access");
    TCase *tests = tcase_create("portable and avx2");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, loads_and_stores, 0, 2);
    tcase_add_loop_test(tests, atomics, 0, 2);
    tcase_add_loop_test(tests, stores_of_constants, 0, 2);
    tcase_add_loop_test(tests, windows, 0, 2);
    tcase_add_loop_test(tests, edges, 0, 2);
    tcase_add_loop_test(tests, hints, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
