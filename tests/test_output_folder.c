/* Folders that runs write: whose they are, and what stays of them. */
#include "tests/support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host/output_folder.h"

static const char *const own[] = {"result.json", NULL};

static const char *new_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/out", temporary_folder());
    return path;
}

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static void open_well(struct output_folder *folder, const char *path, const char *const *names)
{
    struct err err;
    ck_assert_msg(output_folder_open(folder, path, names, &err) == STATUS_OK, "%s", err.text);
}

/* ---- what is in it -------------------------------------------------------------------------- */

START_TEST(an_empty_folder_goes_with_the_run_that_made_it)
{
    struct output_folder folder;
    const char *path = new_path();
    open_well(&folder, path, own);
    ck_assert(is_folder(path));
    output_folder_close(&folder);
    ck_assert(!is_folder(path));
    open_well(&folder, path, own);
    write_file(path, "result.json", "x", 1);
    output_folder_close(&folder);
    ck_assert(is_folder(path));
    /* Nor does one that was there. */
    path = new_path();
    ck_assert_int_eq(mkdir(path, 0777), 0);
    open_well(&folder, path, own);
    output_folder_close(&folder);
    ck_assert(is_folder(path));
    output_folder_close(&folder); /* a zeroed one */
}
END_TEST

START_TEST(what_others_wrote_is_left_alone)
{
    struct output_folder folder;
    struct err err;
    const char *path = new_path();
    ck_assert_int_eq(mkdir(path, 0777), 0);
    write_file(path, "result.json", "x", 1);
    write_file(path, "result.json.tmp-1", "x", 1);
    open_well(&folder, path, own);
    output_folder_close(&folder);
    write_file(path, "result.json2", "x", 1);
    check_error(output_folder_open(&folder, path, own, &err), &err, STATUS_USAGE,
                "holds result.json2, which is none of the files", "another name");
    open_well(&folder, path, NULL);
    output_folder_close(&folder);
}
END_TEST

/* ---- whose it is ---------------------------------------------------------------------------- */

/* A process that has the folder until it is killed, or that closes it `after` microseconds. */
static pid_t other_run(const char *path, unsigned after)
{
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct output_folder folder;
        struct err err;
        if (output_folder_open(&folder, path, own, &err) != STATUS_OK ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        if (after == 0)
            for (;;)
                pause();
        usleep(after);
        output_folder_close(&folder);
        _exit(0);
    }
    ck_assert_int_eq(close(ready[1]), 0);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

START_TEST(a_folder_is_one_run_s_alone)
{
    struct output_folder folder;
    struct err err;
    int status;
    const char *path = new_path();
    pid_t other = other_run(path, 0);
    for (int force = 0; force < 2; force++)
        check_error(output_folder_open(&folder, path, force ? NULL : own, &err), &err, STATUS_USAGE,
                    "out: another run is writing into this folder; wait for its end, or give",
                    "a folder that another process has");
    output_folder_close(&folder);
    ck_assert(is_folder(path)); /* which is the other one's */
    kill(other, SIGKILL);
    ck_assert_int_eq(waitpid(other, &status, 0), other);
    open_well(&folder, path, own);
    output_folder_close(&folder);
}
END_TEST

/* The other run made the folder and removes it at its end, while this one waits: what this one gets
 * must be a folder that has that name. */
START_TEST(a_folder_that_goes_is_made_anew)
{
    struct output_folder folder;
    int status;
    const char *path = new_path();
    pid_t other = other_run(path, 300000);
    open_well(&folder, path, own);
    ck_assert(is_folder(path));
    ck_assert_int_eq(waitpid(other, &status, 0), other);
    ck_assert_int_eq(status, 0);
    write_file(path, "result.json", "x", 1);
    output_folder_close(&folder);
    ck_assert(is_folder(path));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_folder");
    TCase *tcase = tcase_create("output_folder");
    tcase_set_timeout(tcase, 60); /* who waits for a lock does so for two seconds */
    tcase_add_test(tcase, an_empty_folder_goes_with_the_run_that_made_it);
    tcase_add_test(tcase, what_others_wrote_is_left_alone);
    tcase_add_test(tcase, a_folder_is_one_run_s_alone);
    tcase_add_test(tcase, a_folder_that_goes_is_made_anew);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
