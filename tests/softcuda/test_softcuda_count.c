/* Counters of short kernels in PTX, against counts worked out by hand, and sectors and wavefronts
 * of any addresses against plain oracles. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>

static const uint32_t one[3] = {1, 1, 1}, warp[3] = {32, 1, 1};

static void open_counting(struct rig *rig)
{
    rig_open(rig);
    rig->card = card_named("rtx4090");
}

static uint64_t counted(const struct rig *rig, enum counter counter)
{
    return rig->totals.value[counter];
}

/* body with a warp of threads and one parameter, memory of `bytes` bytes. */
static void run_body(struct rig *rig, const char *body, size_t bytes, bool portable)
{
    rig_load_body(rig, 1, body, portable);
    uint64_t memory = rig_upload(rig, NULL, bytes);
    memset(rig_host(rig, memory), 0, bytes);
    ck_assert_int_eq(rig_launch(rig, NULL, one, warp, 0, 1, &memory), STATUS_OK);
}

/* ---- addresses ------------------------------------------------------------------------------ */

/* Loads or stores at an offset of each lane's own, where its flag is set. */
static const struct shape {
    const char *type, *value;
    int bytes;
} shapes[] = {
    {"u8", "%r9", 1},
    {"u16", "%r9", 2},
    {"u32", "%r9", 4},
    {"u64", "%d9", 8},
    {"v2.u32", "{%r9, %r10}", 8},
    {"v4.u32", "{%r9, %r10, %r11, %r12}", 16},
    {"v2.u64", "{%d9, %d10}", 16},
};
#define SHAPES ((int)(sizeof shapes / sizeof *shapes))
#define ROOM   32768
#define ACCESS                                                                                     \
    "mov.u32 %r1, %tid.x; mul.wide.u32 %d1, %r1, 8; ld.param.u64 %d2, [p1];\n"                     \
    "add.u64 %d2, %d2, %d1; ld.global.v2.u32 {%r2, %r3}, [%d2];\n"                                 \
    "setp.ne.u32 %p1, %r3, 0;\n"

struct lane_access {
    uint32_t offset, flag;
};

enum pattern {
    SIDE_BY_SIDE,
    SHIFTED, /* by one element */
    STRIDE_2,
    STRIDE_3,
    STRIDE_33,
    STRIDE_32,
    SAME,
    BY_FOUR, /* four lanes on one element */
    REVERSED,
    SCATTERED,
    CLUSTERED, /* scattered over 16 elements */
    SAME_BUT_LAST,
    SIDE_BY_SIDE_BUT_ONE,
    PATTERNS,
};

static void fill_pattern(struct lane_access *lanes, enum pattern pattern, int bytes, uint32_t mask,
                         uint64_t seed)
{
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t random = (uint32_t)mix64(seed, l);
        uint32_t element[PATTERNS] = {
            [SIDE_BY_SIDE] = l,
            [SHIFTED] = l + 1,
            [STRIDE_2] = 2 * l,
            [STRIDE_3] = 3 * l,
            [STRIDE_33] = 33 * l,
            [STRIDE_32] = 32 * l,
            [SAME] = 5,
            [BY_FOUR] = l / 4,
            [REVERSED] = 31 - l,
            [SCATTERED] = random % (ROOM / 16),
            [CLUSTERED] = random % 16,
            [SAME_BUT_LAST] = l < 31 ? 5 : 5 + 32,
            [SIDE_BY_SIDE_BUT_ONE] = l == 17 ? 16 + 32 : l,
        };
        lanes[l] = (struct lane_access){element[pattern] * (uint32_t)bytes, mask >> l & 1};
    }
}

/* Different values of offset / unit among the lanes that are on. */
static int count_distinct(const struct lane_access *lanes, uint32_t unit)
{
    int n = 0;
    for (int i = 0; i < 32; i++) {
        bool fresh = lanes[i].flag != 0;
        for (int j = 0; j < i; j++)
            fresh &= !(lanes[j].flag && lanes[j].offset / unit == lanes[i].offset / unit);
        n += fresh;
    }
    return n;
}

/* In phases of as many lanes as 128 bytes serve: the most different words that any bank of 4 bytes
 * has to give, each lane's own word counting where they are taken one after another. */
static int count_wavefronts(const struct lane_access *lanes, int bytes, bool each, int *least)
{
    int in_phase = bytes < 4 ? 32 : 128 / bytes, sum = 0;
    *least = 0;
    for (int first = 0; first < 32; first += in_phase) {
        int most = 0;
        for (uint32_t bank = 0; bank < 32; bank++) {
            uint32_t seen[128];
            int n = 0;
            for (int l = first; l < first + in_phase; l++)
                for (int b = 0; lanes[l].flag && b < (bytes + 3) / 4; b++) {
                    uint32_t word = lanes[l].offset / 4 + (uint32_t)b;
                    if (word % 32 != bank)
                        continue;
                    int i = 0;
                    while (i < n && (each || seen[i] != word))
                        i++;
                    if (i == n)
                        seen[n++] = word;
                }
            most = n > most ? n : most;
        }
        sum += most;
        *least += most > 0;
    }
    return sum;
}

static const uint32_t masks[] = {0xFFFFFFFFu, 0x00000001u, 0x0000FFFFu, 0xF0F00F0Fu, 0x7FFFFFFFu};
#define MASKS ((int)(sizeof masks / sizeof *masks))

/* Each kind of access once: runs it for all patterns and masks and checks what `check` says. */
static void try_patterns(const char *space, const char *text, const struct shape *shape,
                         void (*check)(const struct rig *rig, const struct lane_access *lanes,
                                       const struct shape *shape, const char *what))
{
    struct rig rig;
    char body[2048], what[128];
    struct lane_access lanes[32];
    open_counting(&rig);
    bool shared = strcmp(space, "shared") == 0;
    snprintf(body, sizeof body,
             "%s%s\n%s add.u32 %%r4, %%r5, %%r2; ld.param.u64 %%d5, [p0];\n"
             "cvt.u64.u32 %%d6, %%r2; add.u64 %%d5, %%d5, %%d6;\n@%%p1 %s;",
             ACCESS, shared ? ".shared .align 16 .b8 room[32768];" : "",
             shared ? "mov.u32 %r5, room;" : "mov.u32 %r5, 0;", text);
    rig_load_body(&rig, 2, body, false);
    uint64_t memory[2] = {rig_upload(&rig, NULL, ROOM), rig_upload(&rig, NULL, sizeof lanes)};
    for (int pattern = 0; pattern < PATTERNS; pattern++)
        for (int m = 0; m < MASKS; m++) {
            fill_pattern(lanes, (enum pattern)pattern, shape->bytes, masks[m],
                         (uint64_t)(pattern * MASKS + m));
            memcpy(rig_host(&rig, memory[1]), lanes, sizeof lanes);
            ck_assert_int_eq(rig_launch(&rig, NULL, one, warp, 0, 2, memory), STATUS_OK);
            snprintf(what, sizeof what, "%s, pattern %d, mask %08x", text, pattern, masks[m]);
            check(&rig, lanes, shape, what);
        }
    rig_close(&rig);
}

static int lanes_on(const struct lane_access *lanes)
{
    int n = 0;
    for (int l = 0; l < 32; l++)
        n += lanes[l].flag != 0;
    return n;
}

static void check_global(const struct rig *rig, enum counter first, int extra_requests,
                         int extra_sectors, const struct lane_access *lanes, int bytes,
                         const char *what)
{
    const uint64_t *value = rig->totals.value + first;
    uint64_t distinct = (uint64_t)(count_distinct(lanes, (uint32_t)bytes) * bytes);
    ck_assert_msg(value[0] == (uint64_t)(1 + extra_requests), "%s: %d requests", what,
                  (int)value[0]);
    ck_assert_msg(value[1] == (uint64_t)(count_distinct(lanes, 32) + extra_sectors),
                  "%s: %d sectors", what, (int)value[1]);
    ck_assert_msg(value[2] == (distinct + 31) / 32 + (uint64_t)extra_sectors,
                  "%s: %d sectors at least", what, (int)value[2]);
    ck_assert_msg(value[3] == (uint64_t)(lanes_on(lanes) * bytes + 32 * extra_sectors),
                  "%s: %d bytes", what, (int)value[3]);
}

/* The offsets are loaded too: one request of 8 sectors. */
static void check_load(const struct rig *rig, const struct lane_access *lanes,
                       const struct shape *shape, const char *what)
{
    check_global(rig, COUNT_GLOBAL_LOAD_REQUESTS, 1, 8, lanes, shape->bytes, what);
}
static void check_store(const struct rig *rig, const struct lane_access *lanes,
                        const struct shape *shape, const char *what)
{
    check_global(rig, COUNT_GLOBAL_STORE_REQUESTS, 0, 0, lanes, shape->bytes, what);
    ck_assert_uint_eq(counted(rig, COUNT_L2_WRITES), (uint64_t)count_distinct(lanes, 32));
    ck_assert_uint_eq(counted(rig, COUNT_DRAM_WRITE_BYTES),
                      32 * (uint64_t)count_distinct(lanes, 32));
}
static void check_atomic(const struct rig *rig, const struct lane_access *lanes,
                         const struct shape *shape, const char *what)
{
    check_global(rig, COUNT_GLOBAL_ATOMIC_REQUESTS, 0, 0, lanes, shape->bytes, what);
    ck_assert_uint_eq(counted(rig, COUNT_GLOBAL_ATOMIC_CONFLICTS),
                      (uint64_t)(lanes_on(lanes) - count_distinct(lanes, 4)));
}

START_TEST(global_accesses_in_sectors)
{
    const struct shape *shape = &shapes[_i];
    char text[128];
    snprintf(text, sizeof text, "ld.global.%s %s, [%%d5]", shape->type, shape->value);
    try_patterns("global", text, shape, check_load);
    snprintf(text, sizeof text, "st.global.%s [%%d5], %s", shape->type, shape->value);
    try_patterns("global", text, shape, check_store);
    if (shape->bytes == 4)
        try_patterns("global", "red.global.add.u32 [%d5], %r1", shape, check_atomic);
}
END_TEST

static void check_shared(const struct rig *rig, enum counter first, bool each,
                         const struct lane_access *lanes, int bytes, const char *what)
{
    const uint64_t *value = rig->totals.value + first;
    int least, wavefronts = count_wavefronts(lanes, bytes, each, &least);
    ck_assert_msg(value[0] == 1, "%s: %d requests", what, (int)value[0]);
    ck_assert_msg(value[1] == (uint64_t)wavefronts, "%s: %d wavefronts for %d", what, (int)value[1],
                  wavefronts);
    ck_assert_msg(value[2] == (uint64_t)least, "%s: %d at least", what, (int)value[2]);
    ck_assert_msg(value[3] == (uint64_t)(lanes_on(lanes) * bytes), "%s: %d bytes", what,
                  (int)value[3]);
}
static void check_shared_load(const struct rig *rig, const struct lane_access *lanes,
                              const struct shape *shape, const char *what)
{
    check_shared(rig, COUNT_SHARED_LOAD_REQUESTS, false, lanes, shape->bytes, what);
}
static void check_shared_store(const struct rig *rig, const struct lane_access *lanes,
                               const struct shape *shape, const char *what)
{
    check_shared(rig, COUNT_SHARED_STORE_REQUESTS, false, lanes, shape->bytes, what);
}
static void check_shared_atomic(const struct rig *rig, const struct lane_access *lanes,
                                const struct shape *shape, const char *what)
{
    check_shared(rig, COUNT_SHARED_ATOMIC_REQUESTS, true, lanes, shape->bytes, what);
}

START_TEST(shared_accesses_in_wavefronts)
{
    const struct shape *shape = &shapes[_i];
    char text[128];
    snprintf(text, sizeof text, "ld.shared.%s %s, [%%r4]", shape->type, shape->value);
    try_patterns("shared", text, shape, check_shared_load);
    snprintf(text, sizeof text, "st.shared.%s [%%r4], %s", shape->type, shape->value);
    try_patterns("shared", text, shape, check_shared_store);
    if (shape->bytes == 4)
        try_patterns("shared", "red.shared.add.u32 [%r4], %r1", shape, check_shared_atomic);
}
END_TEST

/* Rows of 16 bytes at a multiple of `stride`: with 16 a matrix lies in all banks, with 128 all 8
 * rows in the same ones. */
START_TEST(matrices_in_wavefronts)
{
    static const struct {
        int stride, wavefronts;
    } cases[] = {{16, 1}, {32, 2}, {64, 4}, {128, 8}, {80, 1}, {144, 1}};
    struct rig rig;
    char body[1024];
    open_counting(&rig);
    snprintf(body, sizeof body,
             ".shared .align 16 .b8 room[8192];\n"
             "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, room; mad.lo.u32 %%r3, %%r1, %d, %%r2;\n"
             "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%%r4, %%r5, %%r6, %%r7}, [%%r3];\n"
             "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%%r4}, [%%r3];",
             cases[_i].stride);
    run_body(&rig, body, 16, false);
    ck_assert_uint_eq(counted(&rig, COUNT_LDMATRIX_INSTRUCTIONS), 2);
    ck_assert_uint_eq(counted(&rig, COUNT_LDMATRIX_MATRICES), 5);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_REQUESTS), 2);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_WAVEFRONTS),
                      (uint64_t)(5 * cases[_i].wavefronts));
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_LEAST), 5);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LDMATRIX_BYTES), 5 * 8 * 16);
    ck_assert_uint_eq(counted(&rig, COUNT_SHARED_LOAD_REQUESTS), 0);
    rig_close(&rig);
}
END_TEST

/* A word of a thread's local memory lies beside the same word of the others. */
START_TEST(local_memory_in_sectors)
{
    struct rig rig;
    open_counting(&rig);
    run_body(&rig,
             ".local .align 16 .b8 own[512];\n"
             "mov.u32 %r1, %tid.x; mov.u64 %d1, own; mul.wide.u32 %d2, %r1, 4;\n"
             "add.u64 %d3, %d1, %d2;\n"
             "st.local.u32 [%d1], %r1;\n"                        /* all at one place: 4 sectors */
             "st.local.v4.u32 [%d1+16], {%r1, %r1, %r1, %r1};\n" /* 16 */
             "st.local.u32 [%d3], %r1;\n"                        /* each in a row of its own: 32 */
             "setp.lt.u32 %p1, %r1, 8; @%p1 st.local.u8 [%d1], %r1;\n" /* 1 */
             "ld.local.u64 %d4, [%d1];",                               /* 8 */
             16, _i);
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_STORE_REQUESTS), 4);
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_STORE_SECTORS), 4 + 16 + 32 + 1);
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_STORE_BYTES), 128 + 512 + 128 + 8);
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_LOAD_REQUESTS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_LOCAL_LOAD_SECTORS), 8);
    rig_close(&rig);
}
END_TEST

/* The constant cache gives one word at a time. */
START_TEST(constants_in_words)
{
    static const char text[] =
        ".version 8.0\n.target sm_80\n.address_size 64\n.const .align 4 .b8 table[256];\n"
        ".visible .entry kernel(.param .u64 p0) {\n.reg .b32 %r<4>; .reg .b64 %d<4>;\n"
        "mov.u32 %r1, %tid.x; mov.u64 %d1, table; mul.wide.u32 %d2, %r1, 4;\n"
        "add.u64 %d2, %d1, %d2; ld.const.u32 %r2, [%d1+8]; ld.const.u32 %r3, [%d2];\n"
        "ld.param.u64 %d3, [p0]; ret; }\n";
    struct rig rig;
    open_counting(&rig);
    ck_assert_msg(rig_load(&rig, text, strlen(text), false) == STATUS_OK, "%s", rig.err.text);
    ck_assert_int_eq(rig_launch(&rig, NULL, one, warp, 0, 1, &(uint64_t){0}), STATUS_OK);
    ck_assert_uint_eq(counted(&rig, COUNT_CONSTANT_REQUESTS), 2);
    ck_assert_uint_eq(counted(&rig, COUNT_CONSTANT_WORDS), 33);
    ck_assert_uint_eq(counted(&rig, COUNT_PARAMETER_REQUESTS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_GLOBAL_LOAD_REQUESTS), 0);
    rig_close(&rig);
}
END_TEST

/* ---- instructions --------------------------------------------------------------------------- */

START_TEST(classes_lanes_and_predicates)
{
    struct rig rig;
    open_counting(&rig);
    run_body(&rig,
             "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 10; setp.gt.u32 %p2, %r1, 99;\n"
             "@%p1 add.u32 %r2, %r1, 1;\n" /* 10 of 32 lanes */
             "@%p2 add.u32 %r2, %r1, 1;\n" /* none */
             "fma.rn.f32 %f1, %f2, %f3, %f4; add.f32 %f1, %f2, %f3; @%p1 mul.f32 %f1, %f1, %f1;\n"
             "fma.rn.f16x2 %r3, %r4, %r5, %r6; add.rn.f64 %e1, %e2, %e3;\n"
             "cvt.rn.f32.u32 %f5, %r1; ex2.approx.ftz.f32 %f6, %f5;\n"
             "shfl.sync.bfly.b32 %r7, %r1, 1, 31, -1; vote.sync.any.pred %p3, %p1, -1;\n"
             "bar.sync 0; bar.warp.sync -1; membar.gl;",
             16, _i);
    /* and the ret of the frame */
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_INSTRUCTIONS), 18);
    ck_assert_uint_eq(counted(&rig, COUNT_THREAD_INSTRUCTIONS), 15 * 32 + 10 + 0 + 10);
    ck_assert_uint_eq(counted(&rig, COUNT_THREAD_PREDICATED_OFF), 22 + 32 + 22);
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_PREDICATED_OFF), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_INTEGER), 5);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_FLOAT32), 3);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_HALF), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_FLOAT64), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_CONVERT), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_SPECIAL), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_WARP), 2);
    ck_assert_uint_eq(counted(&rig, COUNT_CLASS_CONTROL), 4);
    /* fma 2 a lane, add 1, mul 1 on 10 lanes, fma of pairs 4, add of f64 1 */
    ck_assert_uint_eq(counted(&rig, COUNT_FLOAT_OPERATIONS), 64 + 32 + 10 + 128 + 32);
    ck_assert_uint_eq(counted(&rig, COUNT_SHUFFLES), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_VOTES), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_BARRIERS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_SYNCS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_FENCES), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_CTAS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_WARPS), 1);
    rig_close(&rig);
}
END_TEST

/* Lane l leaves the loop after l rounds: 31 times some leave and some stay. */
START_TEST(divergent_branches)
{
    struct rig rig;
    open_counting(&rig);
    run_body(&rig,
             "mov.u32 %r1, %tid.x; mov.u32 %r2, 0;\n"
             "LOOP: setp.ge.u32 %p1, %r2, %r1; @%p1 bra DONE;\n"
             "add.u32 %r2, %r2, 1; bra LOOP;\nDONE: bar.warp.sync -1;",
             16, _i);
    ck_assert_uint_eq(counted(&rig, COUNT_BRANCHES), 32 + 31);
    ck_assert_uint_eq(counted(&rig, COUNT_DIVERGENT_BRANCHES), 31);
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_SYNCS), 1);
    /* mov, mov; setp and bra 32 times; add and bra 31 times; bar.warp.sync, ret */
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_INSTRUCTIONS), 2 + 64 + 62 + 2);
    /* lane l: l + 1 times setp, once the branch that it takes, l times add and the branch back */
    ck_assert_uint_eq(counted(&rig, COUNT_THREAD_INSTRUCTIONS),
                      32 * 4 + 32 * 33 / 2 + 32 + 2 * (31 * 32 / 2));
    ck_assert_uint_eq(counted(&rig, COUNT_THREAD_PREDICATED_OFF), 31 * 32 / 2);
    rig_close(&rig);
}
END_TEST

/* brx.idx three ways, one way, and one way that a guard keeps some lanes from. */
START_TEST(branches_by_index)
{
    struct rig rig;
    open_counting(&rig);
    run_body(
        &rig,
        "mov.u32 %r1, %tid.x; rem.u32 %r2, %r1, 3; T: .branchtargets A, B, C; brx.idx %r2, T;\n"
        "A: bra D;\nB: bra D;\nC: bra D;\nD: bar.warp.sync -1; mov.u32 %r3, 0;\n"
        "U: .branchtargets E; brx.idx %r3, U;\nE: setp.lt.u32 %p1, %r1, 5;\n"
        "@%p1 brx.idx %r3, V; V: .branchtargets F;\nF: bar.warp.sync -1;",
        16, _i);
    ck_assert_uint_eq(counted(&rig, COUNT_BRANCHES), 3 + 3);
    ck_assert_uint_eq(counted(&rig, COUNT_DIVERGENT_BRANCHES), 2);
    rig_close(&rig);
}
END_TEST

/* Lanes that come to a .sync instruction early wait, and it is run again when the others have come:
 * it counts once. Whichever of the two blocks of the loop comes first, in one of the cases some
 * come early. A bar.red is run twice too. */
START_TEST(what_waits_counts_once)
{
    struct rig rig;
    char body[1024];
    open_counting(&rig);
    snprintf(body, sizeof body,
             "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, 0; setp.%s.u32 %%p1, %%r1, 16;\n"
             "@%%p1 bra LATER;\n"
             "SYNC: bar.warp.sync -1; add.u32 %%r2, %%r2, 1;\n"
             "setp.ge.u32 %%p2, %%r2, 3; @%%p2 bra END;\n"
             "LATER: add.u32 %%r4, %%r4, 1; bra SYNC;\n"
             "END: bar.red.popc.u32 %%r3, 0, %%p2;",
             _i % 2 ? "ge" : "lt");
    run_body(&rig, body, 16, _i / 2);
    ck_assert_uint_eq(counted(&rig, COUNT_BARRIERS), 1);
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_SYNCS), 3);
    /* mov, mov, setp, bra; 3 times SYNC's four; LATER's two once by half the warp and twice by all
     * of it; bar.red, ret */
    ck_assert_uint_eq(counted(&rig, COUNT_WARP_INSTRUCTIONS), 4 + 12 + 6 + 2);
    rig_close(&rig);
}
END_TEST

/* Four loads under way together, two of them behind branches that skip them; a use, and another; a
 * loop of three turns, each a batch, since the next address comes from the last load; two ways of
 * which one is taken. */
START_TEST(batches_of_loads)
{
    struct rig rig;
    open_counting(&rig);
    run_body(&rig,
             "ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 99;\n"
             "mov.u32 %r3, 0; ld.global.u32 %r2, [%d1]; @%p1 bra A; ld.global.u32 %r3, [%d1+4];\n"
             "A: mov.u32 %r4, 0; @%p1 bra B; ld.global.u32 %r4, [%d1+8];\n"
             "B: ld.global.u32 %r5, [%d1+12]; add.u32 %r6, %r2, %r5;\n"
             "mov.u32 %r7, 0; mov.u64 %d2, %d1; ld.global.u32 %r10, [%d1];\n"
             "LOOP: ld.global.u64 %d3, [%d2]; add.u64 %d2, %d1, %d3; add.u32 %r7, %r7, 1;\n"
             "setp.lt.u32 %p2, %r7, 3; @%p2 bra LOOP;\n"
             "@!%p1 bra C; ld.global.u32 %r8, [%d1]; bra D;\n"
             "C: ld.global.u32 %r8, [%d1+4];\nD: add.u32 %r9, %r8, %r10;",
             16, _i);
    ck_assert_uint_eq(counted(&rig, COUNT_LOAD_BATCHES), 1 + 1 + 3 + 1);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_count");
    TCase *tests = tcase_create("accesses");
    tcase_add_loop_test(tests, global_accesses_in_sectors, 0, SHAPES);
    tcase_add_loop_test(tests, shared_accesses_in_wavefronts, 0, SHAPES);
    tcase_add_loop_test(tests, matrices_in_wavefronts, 0, 6);
    tcase_add_loop_test(tests, local_memory_in_sectors, 0, 2);
    tcase_add_test(tests, constants_in_words);
    suite_add_tcase(suite, tests);
    tests = tcase_create("instructions");
    tcase_add_loop_test(tests, classes_lanes_and_predicates, 0, 2);
    tcase_add_loop_test(tests, divergent_branches, 0, 2);
    tcase_add_loop_test(tests, branches_by_index, 0, 2);
    tcase_add_loop_test(tests, what_waits_counts_once, 0, 4);
    tcase_add_loop_test(tests, batches_of_loads, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
