/* Random numbers by counter: the generator's known answers, and that they are spread evenly. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/philox.h"
#include "tests/support.h"

/* The known answers of Random123 for philox4x32, 10 rounds: counter, key, output. */
static const uint32_t known_answers[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e,
     0xa20bc7c6, 0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
     0x5001e420, 0x24126ea1},
};

START_TEST(philox_gives_the_known_answers)
{
    for (size_t i = 0; i < sizeof known_answers / sizeof *known_answers; i++) {
        uint32_t out[4];
        philox4x32(out, known_answers[i], known_answers[i] + 4);
        ck_assert_mem_eq(out, known_answers[i] + 6, sizeof out);
    }
    uint32_t out[4]; /* the third again, by its parts */
    philox_words(out, 0x299f31d0a4093822, 0x13198a2e, 0x03707344, 0x85a308d3243f6a88);
    ck_assert_mem_eq(out, known_answers[2] + 6, sizeof out);
}
END_TEST

START_TEST(philox_uniform_is_uniform)
{
    enum { N = 100000, BINS = 16 };
    int bins[BINS] = {0};
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double value = philox_uniform(1, 2, 3, (uint64_t)i);
        ck_assert(value >= 0 && value < 1);
        bins[(int)(value * BINS)]++;
        sum += value;
    }
    ck_assert(fabs(sum / N - 0.5) < 5 / sqrt(12.0 * N));
    for (int b = 0; b < BINS; b++)
        ck_assert(abs(bins[b] - N / BINS) < 5 * (int)sqrt(N / BINS));
    ck_assert(philox_uniform(1, 2, 3, 4) != philox_uniform(1, 2, 4, 3));
    ck_assert(philox_uniform(1, 2, 3, 4) != philox_uniform(1, 3, 3, 4));
    ck_assert(philox_uniform(1, 2, 3, 4) != philox_uniform((uint64_t)1 << 32 | 1, 2, 3, 4));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("philox");
    TCase *tests = tcase_create("philox");
    tcase_add_test(tests, philox_gives_the_known_answers);
    tcase_add_test(tests, philox_uniform_is_uniform);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
