/* In which words two runs differ. What is refused for it is tests/cli/test_train.sh's matter. */
#include "tests/support.h"

#include <string.h>
#include "host/train_record.h"

/* A record as training makes it, shortened, with one member set otherwise; value NULL: without it.
 */
static json_t *record(const char *key, json_t *value)
{
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:i, s:f, s:b, s:i, s:f, s:s}", "corpus", "00ff", "model",
                  "ee11", "kernels", "cuda-sm_89", "steps", 12, "learning_rate", 1.0 / 3, "rslora",
                  0, "near", 5, "validation", 0.1, "schedule", "linear");
    ck_assert(root);
    if (value)
        ck_assert_int_eq(json_object_set_new(root, key, value), 0);
    else
        json_object_del(root, key);
    return root;
}

static void check(json_t *stored, json_t *now, int digits, const char *text, const char *resume)
{
    struct train_difference difference;
    bool differs = train_record_differs(stored, now, digits, &difference);
    ck_assert_int_eq(differs, text != NULL);
    ck_assert_str_eq(difference.text, text ? text : "");
    if (text)
        ck_assert_str_eq(difference.resume, resume);
    json_decref(stored);
    json_decref(now);
}

START_TEST(the_same_run_differs_in_nothing)
{
    check(record("steps", json_integer(12)), record("steps", json_integer(12)), 17, NULL, NULL);
    /* What was stored beside does not count. */
    check(record("more", json_integer(1)), record("steps", json_integer(12)), 17, NULL, NULL);
    /* training.json has nine digits of 1/3. */
    check(record("learning_rate", json_real(0.333333333)), record("steps", json_integer(12)),
          TRAIN_RECORD_DIGITS, NULL, NULL);
    struct train_difference difference;
    json_t *rounded = record("learning_rate", json_real(0.333333333));
    json_t *whole = record("steps", json_integer(12));
    ck_assert(train_record_differs(rounded, whole, 17, &difference));
    json_decref(rounded);
    json_decref(whole);
}
END_TEST

START_TEST(a_difference_is_told_as_options_are)
{
    static const char *const given = "with what it had";
    check(record("steps", json_integer(12)), record("steps", json_integer(14)), 17,
          "--steps 12 (now 14)", given);
    check(record("learning_rate", json_real(3e-3)), record("learning_rate", json_real(1e-3)), 17,
          "--learning-rate 0.003 (now 0.001)", given);
    check(record("schedule", json_string("cosine")), record("steps", json_integer(12)), 17,
          "--schedule cosine (now linear)", given);
    check(record("corpus", json_string("0000")), record("steps", json_integer(12)), 17,
          "another corpus", given);
    check(record("rslora", json_true()), record("near", json_integer(0)), 17,
          "--rslora (now no --rslora), --near 5 (now no --group)", given);
    check(record("validation", json_real(-1)), record("steps", json_integer(12)), 17,
          "--validation-file (now --validation 0.1)", given);
    check(record("steps", NULL), record("steps", json_integer(12)), 17, "--steps none (now 12)",
          given);
    check(json_object(), record("kernels", NULL), 17,
          "another corpus, another model, --steps none (now 12), --learning-rate none (now "
          "0.333333333), --rslora none (now no --rslora), --near none (now 5), --validation none "
          "(now "
          "0.1), --schedule none (now linear)",
          given);
}
END_TEST

START_TEST(another_device_is_told_with_what_to_do)
{
    json_t *(*const s)(const char *) = json_string;
    check(record("kernels", s("cuda-sm_86")), record("kernels", s("cuda-sm_89")), 17,
          "a GPU of sm_86 (now a GPU of sm_89)", "with a card of that kind");
    check(record("kernels", s("cuda-sm_86")), record("kernels", s("cpu-avx2")), 17,
          "a GPU of sm_86 (now a CPU with avx2)", "with --device cuda, on a card of that kind");
    check(record("kernels", s("cpu-avx2")), record("kernels", s("cuda-sm_86")), 17,
          "a CPU with avx2 (now a GPU of sm_86)", "with --device cpu");
    check(record("kernels", s("cpu-avx2")), record("kernels", s("cpu-portable")), 17,
          "a CPU with avx2 (now a CPU with portable)", "with a processor of that kind");
}
END_TEST

/* A damaged file may hold anything: what is too long is cut. */
START_TEST(long_words_stay_in_the_line)
{
    char word[2000];
    struct train_difference difference;
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    json_t *stored = record("schedule", json_string(word)), *now = json_object();
    for (char key[] = "a"; *key <= 'z'; ++*key)
        ck_assert(!json_object_set_new(stored, key, json_string(word)) &&
                  !json_object_set_new(now, key, json_integer(1)));
    ck_assert(train_record_differs(stored, now, 17, &difference));
    ck_assert_uint_eq(strlen(difference.text), sizeof difference.text - 1);
    json_decref(stored);
    json_decref(now);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("train_record");
    TCase *tcase = tcase_create("train_record");
    tcase_add_test(tcase, the_same_run_differs_in_nothing);
    tcase_add_test(tcase, a_difference_is_told_as_options_are);
    tcase_add_test(tcase, another_device_is_told_with_what_to_do);
    tcase_add_test(tcase, long_words_stay_in_the_line);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
