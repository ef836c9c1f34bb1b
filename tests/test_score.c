/* NMI, purity and the adjusted Rand index against scikit-learn. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/score.h"

static void read_numbers(FILE *file, int32_t *out, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(fscanf(file, "%d", &out[i]), 1);
}

START_TEST(score_matches_scikit_learn)
{
    FILE *file = fopen(golden("cluster/scores.txt"), "r");
    ck_assert_ptr_nonnull(file);
    double nmi, purity, adjusted_rand;
    int n, n_cases = 0;
    while (fscanf(file, "%lf %lf %lf %d", &nmi, &purity, &adjusted_rand, &n) == 4) {
        n_cases++;
        int32_t topics[300], labels[300];
        ck_assert_int_le(n, 300);
        read_numbers(file, topics, n);
        read_numbers(file, labels, n);
        struct score score;
        struct err err;
        ck_assert_int_eq(score_topics(&score, topics, labels, n, &err), STATUS_OK);
        ck_assert_msg(fabs(score.nmi - nmi) <= 1e-12, "case %d: NMI %.17g, want %.17g", n_cases,
                      score.nmi, nmi);
        ck_assert_msg(fabs(score.purity - purity) <= 1e-15, "case %d: purity %.17g, want %.17g",
                      n_cases, score.purity, purity);
        ck_assert_msg(fabs(score.adjusted_rand - adjusted_rand) <= 1e-12,
                      "case %d: adjusted Rand %.17g, want %.17g", n_cases, score.adjusted_rand,
                      adjusted_rand);
        ck_assert_int_eq(score.n, n);
    }
    ck_assert(feof(file) && n_cases == 10);
    fclose(file);
}
END_TEST

START_TEST(score_leaves_negatives_out)
{
    int32_t topics[] = {0, -1, 0, 1, 1, 2, -1, INT32_MIN}, labels[] = {5, 5, 5, 6, 6, -1, -1, 5};
    struct score score;
    struct err err;
    ck_assert_int_eq(score_topics(&score, topics, labels, 8, &err), STATUS_OK);
    ck_assert_int_eq(score.n, 4);
    ck_assert_int_eq(score.n_topics, 2);
    ck_assert_int_eq(score.n_labels, 2);
    ck_assert(fabs(score.nmi - 1) < 1e-15 && score.purity == 1 && score.adjusted_rand == 1);
}
END_TEST

START_TEST(score_takes_no_rows_and_large_names)
{
    struct score score;
    struct err err;
    ck_assert_int_eq(score_topics(&score, NULL, NULL, 0, &err), STATUS_OK);
    ck_assert(score.n == 0 && score.nmi == 1 && score.purity == 1 && score.adjusted_rand == 1);
    int32_t topics[] = {INT32_MAX, INT32_MAX, 0}, labels[] = {0, INT32_MAX, INT32_MAX};
    ck_assert_int_eq(score_topics(&score, topics, labels, 3, &err), STATUS_OK);
    ck_assert_int_eq(score.n_topics, 2);
    ck_assert_int_eq(score.n_labels, 2);
    ck_assert(fabs(score.purity - 2 / 3.0) < 1e-15);
}
END_TEST

START_TEST(score_reports_lack_of_memory)
{
    int32_t same[4] = {0, 1, 2, 3};
    struct score score;
    struct err err;
    mem_fail_at(1);
    ck_assert_int_eq(score_topics(&score, same, same, 4, &err), STATUS_RESOURCE);
    mem_fail_at(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("score");
    TCase *tests = tcase_create("score");
    tcase_add_test(tests, score_matches_scikit_learn);
    tcase_add_test(tests, score_leaves_negatives_out);
    tcase_add_test(tests, score_takes_no_rows_and_large_names);
    tcase_add_test(tests, score_reports_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
