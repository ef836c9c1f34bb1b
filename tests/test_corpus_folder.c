/* Folders of .txt as corpora. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/memory.h"
#include "loaders/corpus.h"

/* Files "PATH=TEXT", folders "PATH/", links "PATH@TARGET", in a fresh folder. */
static const char *make_folder(const char *const *entries)
{
    const char *folder = temporary_folder();
    char path[4200];
    for (; *entries; entries++) {
        const char *mark = *entries + strcspn(*entries, "=@"), *value = *mark ? mark + 1 : mark;
        snprintf(path, sizeof path, "%s/%.*s", folder, (int)(mark - *entries), *entries);
        if (*mark == '@') {
            ck_assert_int_eq(symlink(value, path), 0);
        } else if (*mark == '\0') {
            ck_assert_int_eq(mkdir(path, 0777), 0);
        } else {
            FILE *file = fopen(path, "wb");
            ck_assert_ptr_nonnull(file);
            fputs(value, file);
            fclose(file);
        }
    }
    return folder;
}

static const char *format_rows(const struct corpus *corpus)
{
    static char out[1024];
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < corpus->n_rows; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%s%s%s", i ? "|" : "",
                                 corpus->rows[i].label >= 0 ? corpus->labels[corpus->rows[i].label]
                                                            : "",
                                 corpus->rows[i].label >= 0 ? ">" : "", corpus->rows[i].text);
    return out;
}

static void expect_rows(const char *path, const char *rows, const char *guess)
{
    struct corpus corpus;
    struct err err = {0};
    ck_assert_msg(corpus_read(&corpus, path, &(struct corpus_settings){0}, &err) == STATUS_OK, "%s",
                  err.text);
    ck_assert_str_eq(format_rows(&corpus), rows);
    ck_assert_str_eq(corpus.guess, guess);
    corpus_free(&corpus);
}

/* One text a file: a mark and the last line's end go, other line ends stay. */
START_TEST(folder_has_a_text_a_file)
{
    static const char *const entries[] = {
        "b.txt=two\nlines\n", "a.TXT=\xEF\xBB\xBFone", "c.txt=three\r\n\r\n", "e.txt=",
        "d.csv=not,read\n",   ".hidden.txt=not read",  "notes=not read",      NULL};
    expect_rows(make_folder(entries), "one|two\nlines|three\r\n|", "a text a file; no labels");
}
END_TEST

/* Names in the order of their bytes; the first folder on the way is the label. */
START_TEST(folder_labels_are_its_folders)
{
    static const char *const entries[] = {"x",
                                          "x/deep",
                                          "x/deep/2.txt=deep",
                                          "x/1.txt=x1",
                                          "x/10.txt=x10",
                                          "x-y",
                                          "x-y/1.txt=xy1",
                                          "B",
                                          "B/z.txt=Bz",
                                          "\xC3\xA9",
                                          "\xC3\xA9/e.txt=e",
                                          "top.txt=top",
                                          ".git",
                                          ".git/a.txt=g",
                                          "old.topics",
                                          "old.topics/topics.txt=words",
                                          "empty",
                                          NULL};
    const char *folder = make_folder(entries);
    char slash[4200];
    snprintf(slash, sizeof slash, "%s/", folder);
    for (int i = 0; i < 2; i++)
        expect_rows(i ? slash : folder, "B>Bz|top|x-y>xy1|x>x1|x>x10|x>deep|\xC3\xA9>e",
                    "a text a file; label is the folder inside the folder");
}
END_TEST

/* Links to files are followed, links to folders are not: no loop, and no text twice. */
START_TEST(folder_links_make_no_loops)
{
    static const char *const entries[] = {"a",   "a/1.txt=one",   "a/loop@..", "a/self@self",
                                          "b@a", "2.txt@a/1.txt", "root@/",    NULL};
    const char *folder = make_folder(entries);
    expect_rows(folder, "one|a>one",
                "a text a file; label is the folder inside the folder; 3 links to folders not "
                "followed");
    static const char *const outside[] = {"link@.", NULL};
    char path[4200], target[4200];
    snprintf(target, sizeof target, "%s", folder);
    snprintf(path, sizeof path, "%s/direct", make_folder(outside));
    ck_assert_int_eq(symlink(target, path), 0);
    expect_rows(path, "one|a>one",
                "a text a file; label is the folder inside the folder; 3 links to folders not "
                "followed");
}
END_TEST

START_TEST(folder_refuses)
{
    static const struct {
        const char *const entries[4];
        enum status status;
        const char *message;
    } cases[] = {
        {{NULL}, STATUS_BAD_DATA, "no .txt in this folder; name"},
        {{".a.txt=x", "b.csv=x", NULL}, STATUS_BAD_DATA, "no .txt in this folder; name"},
        {{"a", "a/b.txt=tw\xFFo", NULL}, STATUS_BAD_DATA, "a/b.txt: byte 2: invalid UTF-8 (0xFF)"},
        {{"a.txt=", "b.txt= \n", NULL}, STATUS_BAD_DATA, "no texts: all rows are blank"},
        {{"a.txt@a.txt", NULL}, STATUS_RESOURCE, "a.txt: a link that leads nowhere: "},
        {{"a.txt@b", NULL}, STATUS_MISSING, "a.txt: a link that leads nowhere: "},
        {{"a.txt@/dev/null", NULL}, STATUS_BAD_DATA, "a.txt: this is a device or a socket"},
        {{"\xFF", "\xFF/a.txt=x", NULL}, STATUS_BAD_DATA, "is not UTF-8; rename it"},
        {{"a.txt.gz=x", NULL}, STATUS_BAD_DATA, "a.txt.gz: byte 1 of the compressed file"},
    };
    struct corpus corpus;
    struct err err;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        check_error(
            corpus_read(&corpus, make_folder(cases[c].entries), &(struct corpus_settings){0}, &err),
            &err, cases[c].status, cases[c].message, cases[c].message);
    static const char *const entries[] = {"a.txt=x", NULL};
    const char *folder = make_folder(entries);
    static const struct corpus_settings settings[] = {{.text_column = "text"},
                                                      {.label_column = "label"},
                                                      {.header = CORPUS_HEADER_YES},
                                                      {.format = CORPUS_CSV}};
    for (size_t i = 0; i < 4; i++)
        check_error(corpus_read(&corpus, folder, &settings[i], &err), &err, STATUS_USAGE,
                    "leave --", "settings that a folder does not have");
    char path[4200];
    snprintf(path, sizeof path, "%s/pipe.txt", folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    check_error(corpus_read(&corpus, folder, &(struct corpus_settings){0}, &err), &err,
                STATUS_BAD_DATA, "pipe.txt: this is a pipe; a folder of texts may hold", "a pipe");
}
END_TEST

START_TEST(folder_takes_some_rows)
{
    static const char *const entries[] = {"1.txt=one", "2.txt=two", "3.txt=three", NULL};
    struct corpus corpus;
    struct err err;
    const struct corpus_settings settings = {.first_row = 2, .last_row = 2};
    ck_assert_int_eq(corpus_read(&corpus, make_folder(entries), &settings, &err), STATUS_OK);
    ck_assert_str_eq(format_rows(&corpus), "two");
    ck_assert_str_eq(corpus.guess, "a text a file; no labels; rows 2 to 2 of 3");
    corpus_free(&corpus);
}
END_TEST

START_TEST(folder_survives_lack_of_memory)
{
    static const char *const entries[] = {"a", "a/1.txt=one", "2.txt=two", NULL};
    const char *folder = make_folder(entries);
    /* Names, lists, files, texts, rows, labels. */
    ck_assert_int_ge(check_corpus_lacks_memory(folder, "a folder"), 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("corpus_folder");
    TCase *tests = tcase_create("corpus_folder");
    tcase_add_test(tests, folder_has_a_text_a_file);
    tcase_add_test(tests, folder_labels_are_its_folders);
    tcase_add_test(tests, folder_links_make_no_loops);
    tcase_add_test(tests, folder_refuses);
    tcase_add_test(tests, folder_takes_some_rows);
    tcase_add_test(tests, folder_survives_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
