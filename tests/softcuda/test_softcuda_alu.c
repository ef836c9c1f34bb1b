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
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
