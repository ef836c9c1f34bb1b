/* ldmatrix and movmatrix against the PTX manual's index formulas, written here anew. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>

#define SHARED_HALVES 2048

/* Rows of 16 bytes at places of their own, in no order: p1 are halves of shared memory, p2 each
 * lane's offset. Results: 4 words a lane. */
static void run_ldmatrix(int n, bool transposed, bool portable, const uint16_t *halves,
                         const uint32_t *offsets, uint32_t *results)
{
    static const char *const lists[] = {"{%r10}", "{%r10, %r11}", "{%r10, %r11, %r12, %r13}"};
    struct rig rig;
    char body[2048];
    snprintf(body, sizeof body,
             ".shared .align 16 .b8 rows[4096];\n"
             "mov.u32 %%r1, %%tid.x; mul.wide.u32 %%d1, %%r1, 16; ld.param.u64 %%d2, [p1];\n"
             "mov.u32 %%r2, rows; mov.u32 %%r3, %%r1;\n"
             "FILL: mul.wide.u32 %%d3, %%r3, 16; add.u64 %%d3, %%d3, %%d2;\n"
             "ld.global.v4.u32 {%%r4, %%r5, %%r6, %%r7}, [%%d3]; shl.b32 %%r8, %%r3, 4;\n"
             "add.u32 %%r8, %%r8, %%r2; st.shared.v4.u32 [%%r8], {%%r4, %%r5, %%r6, %%r7};\n"
             "add.u32 %%r3, %%r3, 32; setp.lt.u32 %%p1, %%r3, 256; @%%p1 bra FILL;\n"
             "bar.sync 0; ld.param.u64 %%d4, [p2]; mul.wide.u32 %%d5, %%r1, 4;\n"
             "add.u64 %%d4, %%d4, %%d5; ld.global.u32 %%r9, [%%d4]; add.u32 %%r9, %%r9, %%r2;\n"
             "mov.u32 %%r10, 1; mov.u32 %%r11, 2; mov.u32 %%r12, 3; mov.u32 %%r13, 4;\n"
             "ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s, [%%r9];\n"
             "ld.param.u64 %%d6, [p0]; add.u64 %%d6, %%d6, %%d1;\n"
             "st.global.v4.u32 [%%d6], {%%r10, %%r11, %%r12, %%r13};",
             n, transposed ? ".trans" : "", lists[n / 2]);
    rig_open(&rig);
    rig_load_body(&rig, 3, body, portable);
    const uint64_t parameters[] = {rig_upload(&rig, NULL, 32 * 16),
                                   rig_upload(&rig, halves, SHARED_HALVES * 2),
                                   rig_upload(&rig, offsets, 32 * 4)};
    ck_assert_int_eq(
        rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 3, parameters),
        STATUS_OK);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
    memcpy(results, rig_host(&rig, parameters[0]), 32 * 16);
    rig_close(&rig);
}

/* Lane T gets elements 2 (T % 4) and the next of row T / 4; with .trans those of column T / 4.
 * All halves of shared memory differ, so that one run tells where each came from. Lanes behind the
 * rows that are used have addresses that nobody looks at. */
static void check_ldmatrix(int n, bool transposed, bool portable)
{
    uint16_t halves[SHARED_HALVES];
    uint32_t offsets[32], results[32 * 4];
    for (int seed = 0; seed < 8; seed++) {
        for (int i = 0; i < SHARED_HALVES; i++)
            halves[i] = (uint16_t)((i * 31 + seed) * 2053);
        for (int lane = 0; lane < 32; lane++)
            offsets[lane] =
                lane < 8 * n
                    ? 16 * (uint32_t)(mix64(3, (uint64_t)(seed * 32 + lane)) % (SHARED_HALVES / 8))
                    : 0xFFFFFFF1u;
        run_ldmatrix(n, transposed, portable, halves, offsets, results);
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++) {
                uint32_t want = (uint32_t)i + 1; /* x1 and x2 leave the others alone */
                for (int part = 0; i < n && part < 2; part++) {
                    int row = lane / 4, column = lane % 4 * 2 + part;
                    int from = transposed ? column : row, at = transposed ? row : column;
                    uint32_t half = halves[offsets[8 * i + from] / 2 + (uint32_t)at];
                    want = part == 0 ? half : want | half << 16;
                }
                ck_assert_msg(results[lane * 4 + i] == want,
                              "x%d%s, %s, lane %d, register %d: 0x%08X, not 0x%08X", n,
                              transposed ? ".trans" : "", portable ? "portable" : "avx2", lane, i,
                              results[lane * 4 + i], want);
            }
    }
}

START_TEST(matrices_from_shared)
{
    for (int n = 1; n <= 4; n *= 2) {
        check_ldmatrix(n, false, _i);
        check_ldmatrix(n, true, _i);
    }
}
END_TEST

/* The lanes whose addresses are those of the rows have left: the others get zeros. */
START_TEST(rows_of_lanes_that_left)
{
    struct rig rig;
    uint32_t words[32] = {0};
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  ".shared .align 16 .b8 rows[512];\n"
                  "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; mov.u32 %r3, rows;\n"
                  "add.u32 %r3, %r3, %r2; setp.lt.u32 %p1, %r1, 8; @%p1 exit;\n"
                  "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r3];\n"
                  "ld.param.u64 %d1, [p0]; mul.wide.u32 %d2, %r1, 4; add.u64 %d1, %d1, %d2;\n"
                  "st.global.u32 [%d1], %r4;",
                  _i);
    memset(words, 0xFF, sizeof words);
    uint64_t out = rig_upload(&rig, words, sizeof words);
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 1, &out);
    ck_assert_msg(rig.reporter.outcome == OUTCOME_GOOD, "%s", rig.reports);
    memcpy(words, rig_host(&rig, out), sizeof words);
    for (int lane = 0; lane < 32; lane++)
        ck_assert_uint_eq(words[lane], lane < 8 ? UINT32_MAX : 0);
    rig_close(&rig);
}
END_TEST

START_TEST(matrix_moved)
{
    struct rig rig;
    uint32_t words[32];
    rig_open(&rig);
    rig_load_body(&rig, 2,
                  "mov.u32 %r1, %tid.x; mul.wide.u32 %d1, %r1, 4;\n"
                  "ld.param.u64 %d2, [p1]; add.u64 %d2, %d2, %d1; ld.global.u32 %r2, [%d2];\n"
                  "movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;\n"
                  "ld.param.u64 %d3, [p0]; add.u64 %d3, %d3, %d1; st.global.u32 [%d3], %r3;",
                  _i);
    for (int lane = 0; lane < 32; lane++)
        words[lane] = (uint32_t)mix64(9, (uint64_t)lane);
    const uint64_t parameters[] = {rig_upload(&rig, NULL, 128), rig_upload(&rig, words, 128)};
    rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 2, parameters);
    const uint32_t *got = rig_host(&rig, parameters[0]);
    for (int row = 0; row < 8; row++)
        for (int column = 0; column < 8; column++) {
            /* Element (row, column) lies in lane 4 row + column / 2, half column % 2. */
            uint32_t to = got[4 * row + column / 2] >> 16 * (column % 2) & 0xFFFF;
            uint32_t from = words[4 * column + row / 2] >> 16 * (row % 2) & 0xFFFF;
            ck_assert_uint_eq(to, from);
        }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_ldmatrix");
    TCase *tests = tcase_create("portable and avx2");
    tcase_add_loop_test(tests, matrices_from_shared, 0, 2);
    tcase_add_loop_test(tests, rows_of_lanes_that_left, 0, 2);
    tcase_add_loop_test(tests, matrix_moved, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
