/* What sentence-transformers' folders say, in the files of its old and its new versions. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "loaders/sentence_transformers.h"

static char folder[4096];

/* modules.json lists a Transformer and what is given; pooling NULL: no 1_Pooling/config.json. */
static void make_folder(const char *modules, const char *pooling)
{
    char path[5000], text[2048];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    if (pooling)
        write_file(path, "config.json", pooling, strlen(pooling));
    int length = snprintf(text, sizeof text,
                          "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_"
                          "transformers.models.Transformer\"}%s]",
                          modules);
    write_file(folder, "modules.json", text, (size_t)length);
}

#define MODULE(path, type) ",{\"path\":\"" path "\",\"type\":\"" type "\"}"
#define POOLING            MODULE("1_Pooling", "sentence_transformers.models.Pooling")
#define NEW_POOLING                                                                                \
    MODULE("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling")
#define NORMALIZE MODULE("2_Normalize", "sentence_transformers.models.Normalize")

static const struct {
    const char *modules, *pooling;
    int mode;
    bool l2;
    const char *what;
} read[] = {
    {POOLING, "{\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}", SENTENCE_MEAN,
     false, ""},
    {POOLING NORMALIZE, "{\"pooling_mode_mean_tokens\":false,\"pooling_mode_lasttoken\":true}",
     SENTENCE_LAST, true, ""},
    {POOLING, "{\"word_embedding_dimension\":8}", SENTENCE_MEAN, false, ""},
    {POOLING, "{\"pooling_mode_mean_tokens\":false}", SENTENCE_MEAN, false, ""},
    {POOLING, "{\"pooling_mode_cls_token\":true}", SENTENCE_OTHER, false, "pooling by cls"},
    {POOLING, "{\"pooling_mode_max_tokens\":true}", SENTENCE_OTHER, false, "pooling by max"},
    {POOLING, "{\"pooling_mode_weightedmean_tokens\":true}", SENTENCE_OTHER, false,
     "pooling by weightedmean"},
    {POOLING, "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_lasttoken\":true}", SENTENCE_OTHER,
     false, "several poolings, one behind the other"},
    {NEW_POOLING NORMALIZE, "{\"pooling_mode\":\"lasttoken\",\"include_prompt\":true}",
     SENTENCE_LAST, true, ""},
    {NEW_POOLING, "{\"pooling_mode\":[\"mean\"]}", SENTENCE_MEAN, false, ""},
    {NEW_POOLING, "{\"pooling_mode\":[\"mean\",\"lasttoken\"]}", SENTENCE_OTHER, false,
     "several poolings, one behind the other"},
    /* The string goes before what is left of the booleans. */
    {NEW_POOLING, "{\"pooling_mode\":\"mean\",\"pooling_mode_cls_token\":true}", SENTENCE_MEAN,
     false, ""},
    {NEW_POOLING, "{\"pooling_mode\":\"new one\"}", SENTENCE_OTHER, false, "pooling by new one"},
    {POOLING MODULE("2_Dense", "sentence_transformers.models.Dense") NORMALIZE,
     "{\"pooling_mode_mean_tokens\":true}", SENTENCE_OTHER, true, "a module called Dense"},
};

START_TEST(folders_are_read)
{
    struct sentence_pooling pooling;
    struct err err;
    make_folder(read[_i].modules, read[_i].pooling);
    ck_assert_msg(sentence_pooling_read(&pooling, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq((int)pooling.mode, read[_i].mode);
    ck_assert_int_eq(pooling.l2, read[_i].l2);
    ck_assert_str_eq(pooling.what, read[_i].what);
}
END_TEST

START_TEST(folders_may_say_nothing)
{
    struct sentence_pooling pooling;
    struct err err;
    char path[5000];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    ck_assert_int_eq(sentence_pooling_read(&pooling, folder, &err), STATUS_OK);
    ck_assert_int_eq((int)pooling.mode, SENTENCE_NONE);
    /* A file's folder counts. */
    make_folder(POOLING, "{\"pooling_mode\":\"lasttoken\"}");
    snprintf(path, sizeof path, "%s", write_file(folder, "model.safetensors", "", 0));
    ck_assert_int_eq(sentence_pooling_read(&pooling, path, &err), STATUS_OK);
    ck_assert_int_eq((int)pooling.mode, SENTENCE_LAST);
}
END_TEST

static const struct {
    const char *modules, *pooling;
    enum status status;
    const char *part;
} refused[] = {
    {POOLING, NULL, STATUS_MISSING, "1_Pooling/config.json: no such file"},
    {POOLING, "{", STATUS_BAD_DATA, "1_Pooling/config.json: line 1: not good JSON"},
    {POOLING, "[]", STATUS_BAD_DATA, "1_Pooling/config.json: not an object"},
    {POOLING, "{\"pooling_mode\":1}", STATUS_BAD_DATA, "pooling_mode: not the name of a mode"},
    {",{", "{}", STATUS_BAD_DATA, "modules.json: line 1: not good JSON"},
    {"", "{}", STATUS_BAD_DATA, "modules.json: it lists no Pooling"},
    {",{\"path\":\"1_Pooling\"}", "{}", STATUS_BAD_DATA, "module 1: it has no type or no path"},
    {",3", "{}", STATUS_BAD_DATA, "module 1: it has no type or no path"},
    {MODULE("../x", "a.Pooling"), "{}", STATUS_BAD_DATA, "path: ../x is not the plain name"},
    {MODULE("/etc", "a.Pooling"), "{}", STATUS_BAD_DATA, "path: /etc is not the plain name"},
    {MODULE("", "a.Pooling"), "{}", STATUS_BAD_DATA, "path:  is not the plain name"},
};

START_TEST(damage_is_refused)
{
    struct sentence_pooling pooling;
    struct err err;
    make_folder(refused[_i].modules, refused[_i].pooling);
    check_error(sentence_pooling_read(&pooling, folder, &err), &err, refused[_i].status,
                refused[_i].part, refused[_i].part);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sentence_transformers");
    TCase *tests = tcase_create("sentence_transformers");
    tcase_add_loop_test(tests, folders_are_read, 0, (int)(sizeof read / sizeof *read));
    tcase_add_test(tests, folders_may_say_nothing);
    tcase_add_loop_test(tests, damage_is_refused, 0, (int)(sizeof refused / sizeof *refused));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
