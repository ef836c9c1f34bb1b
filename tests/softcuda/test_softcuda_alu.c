/* Every instruction of one lane on its own: integer, logic, floating point, comparison, conversion
 * and the approximations, against scalar references, with both sets of handlers. */
#include "tests/softcuda/alu.h"

typedef void family(struct alu_list *list);

static void run_family(family *add, bool portable)
{
    struct alu_list list = {0};
    add(&list);
    alu_run(&list, portable);
    alu_free(&list);
}

#define FAMILY(name)                                                                               \
    START_TEST(name)                                                                               \
    {                                                                                              \
        run_family(alu_##name, _i);                                                                \
    }                                                                                              \
    END_TEST
FAMILY(integer)
FAMILY(carry)
FAMILY(logic)
FAMILY(floating)
FAMILY(half)
FAMILY(compare)
FAMILY(convert)
FAMILY(special)

/* Sums that lie so near the middle of two f16 that a binary32 is the middle: below it, upper half
 * of r1, 1 + 2^-10 and 2^-11 (1 - 2^-20); above it, lower half, 1 and 2^-11 (1 + 6 2^-21). And of
 * two bf16, that a binary64 is it: 1.5 (1 + 2^-7) and 2^-100, less 2^-100. */
START_TEST(fma_rounds_once)
{
    struct rig rig;
    rig_open(&rig);
    rig_load_body(&rig, 1,
                  "ld.param.u64 %d1, [p0]; mov.b32 %r1, 0x3C013C75; mov.b32 %r2, 0x0FFE0F2E;\n"
                  "mov.b32 %r3, 0x3C013C00; fma.rn.f16x2 %r4, %r1, %r2, %r3;\n"
                  "st.global.u32 [%d1], %r4;\n"
                  "xor.b32 %r1, %r1, 0x80008000; xor.b32 %r3, %r3, 0x80008000;\n"
                  "fma.rn.f16x2 %r4, %r1, %r2, %r3; st.global.u32 [%d1+4], %r4;\n"
                  "mov.b32 %r1, 0x3FC03FC0; mov.b32 %r2, 0x3F813F81; mov.b32 %r3, 0x0D808D80;\n"
                  "fma.rn.bf16x2 %r4, %r1, %r2, %r3; st.global.u32 [%d1+8], %r4;",
                  _i);
    uint64_t out = rig_upload(&rig, NULL, 12);
    ck_assert_int_eq(
        rig_launch(&rig, NULL, (uint32_t[3]){1, 1, 1}, (uint32_t[3]){32, 1, 1}, 0, 1, &out),
        STATUS_OK);
    const uint32_t *got = rig_host(&rig, out);
    ck_assert_uint_eq(got[0], 0x3C013C01);
    ck_assert_uint_eq(got[1], 0xBC01BC01);
    ck_assert_uint_eq(got[2], 0x3FC23FC1);
    rig_free_all(&rig);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_alu");
    TCase *tests = tcase_create("portable and avx2");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, integer, 0, 2);
    tcase_add_loop_test(tests, carry, 0, 2);
    tcase_add_loop_test(tests, logic, 0, 2);
    tcase_add_loop_test(tests, floating, 0, 2);
    tcase_add_loop_test(tests, half, 0, 2);
    tcase_add_loop_test(tests, compare, 0, 2);
    tcase_add_loop_test(tests, convert, 0, 2);
    tcase_add_loop_test(tests, special, 0, 2);
    tcase_add_loop_test(tests, fma_rounds_once, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
