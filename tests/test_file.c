/* Mapping files, and writing them aside. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/memory.h"

/* FOLDER/NAME in a rotating buffer. */
static const char *join(const char *folder, const char *name)
{
    static char paths[8][4096];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void check_content(const char *path, const char *want)
{
    struct file_map map;
    struct err err;
    ck_assert_msg(file_map(&map, path, &err) == STATUS_OK, "%s", err.text);
    ck_assert_uint_eq(map.size, strlen(want));
    ck_assert_mem_eq(map.data, want, map.size);
    file_unmap(&map);
    ck_assert_ptr_null(map.data);
    file_unmap(&map);
}

START_TEST(file_maps_whole_files)
{
    const char *folder = temporary_folder();
    check_content(write_file(folder, "some", "some bytes", 10), "some bytes");
    check_content(write_file(folder, "empty", "", 0), "");
}
END_TEST

START_TEST(file_map_refuses_what_is_no_file)
{
    const char *folder = temporary_folder();
    const char *pipe = join(folder, "pipe");
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_assert_int_eq(symlink("nothing", join(folder, "link")), 0);
    const struct {
        const char *path, *part;
        enum status status;
    } cases[] = {
        {join(folder, "link"), "link: a link to a file that is not there", STATUS_MISSING},
        {folder, ": this is a folder", STATUS_BAD_DATA},
        {pipe, ": this is a pipe", STATUS_BAD_DATA},
        {"/dev/null", ": this is a device", STATUS_BAD_DATA},
        {join(folder, "nothing"), "nothing: no such file", STATUS_MISSING},
        {join(folder, "pipe/below"), "pipe/below: no such file", STATUS_MISSING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file_map map;
        struct err err;
        check_error(file_map(&map, cases[i].path, &err), &err, cases[i].status, cases[i].part,
                    cases[i].path);
        file_unmap(&map);
    }
}
END_TEST

START_TEST(file_map_check_sees_a_cut)
{
    const char *path = write_file(temporary_folder(), "cut", "0123456789", 10);
    struct file_map map;
    struct err err;
    ck_assert_int_eq(file_map(&map, path, &err), STATUS_OK);
    ck_assert_int_eq(file_map_check(&map, path, &err), STATUS_OK);
    ck_assert_int_eq(truncate(path, 9), 0);
    check_error(file_map_check(&map, path, &err), &err, STATUS_BAD_DATA,
                "byte 9: the file was cut from 10 bytes", "cut");
    file_unmap(&map);
}
END_TEST

/* A page that is gone reads as zeros, and the map says so; so do those behind it, and those of
 * other threads. A map beside it is not touched. */
#define PAGES 64
static void *read_pages(void *context)
{
    const struct file_map *map = context;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), sum = 0;
    for (size_t i = 0; i < map->size; i += page)
        sum += map->data[i];
    return (void *)(uintptr_t)sum;
}

START_TEST(file_map_survives_a_cut)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = PAGES * page - 100;
    char *bytes = malloc(size);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 1, size);
    const char *folder = temporary_folder();
    const char *path = write_file(folder, "large", bytes, size);
    const char *beside = write_file(folder, "beside", bytes, size);
    struct file_map map, other;
    struct err err;
    ck_assert_int_eq(file_map(&map, path, &err), STATUS_OK);
    ck_assert_int_eq(file_map(&other, beside, &err), STATUS_OK);
    ck_assert_uint_eq((uintptr_t)read_pages(&map), PAGES);
    ck_assert_int_eq(truncate(path, (off_t)(10 * page)), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_pages, &map), 0);
    for (int i = 0; i < 4; i++) {
        void *sum;
        ck_assert_int_eq(pthread_join(threads[i], &sum), 0);
        ck_assert_uint_eq((uintptr_t)sum, 10);
    }
    /* The length is right again, but what was read is not. */
    ck_assert_int_eq(truncate(path, (off_t)size), 0);
    check_error(file_map_check(&map, path, &err), &err, STATUS_BAD_DATA,
                "large: a part of the file could not be read", "cut for a while");
    ck_assert_int_eq(file_map_check(&other, beside, &err), STATUS_OK);
    check_error(file_map_finish(&map, path, STATUS_OK, &err), &err, STATUS_BAD_DATA,
                "could not be read", "the end");
    ck_assert_ptr_null(map.data);
    ck_assert_int_eq(file_map_finish(&other, beside, STATUS_OK, &err), STATUS_OK);
    free(bytes);
}
END_TEST

/* A fault that is no map's goes where it went before. */
START_TEST(other_bus_errors_still_kill)
{
    pid_t child = fork();
    if (child == 0) {
        struct file_map map;
        struct err err;
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGBUS, SIG_DFL); /* and not a sanitizer's report */
        if (file_map(&map, write_file(temporary_folder(), "some", "x", 1), &err) == STATUS_OK)
            raise(SIGBUS);
        raise(SIGBUS);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
END_TEST

/* Pages that are given back leave the resident set and come again with the same content. */
START_TEST(file_map_release_gives_pages_back)
{
    size_t size = 8 << 20;
    char *bytes = malloc(size);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i >> 12);
    const char *path = write_file(temporary_folder(), "large", bytes, size);
    struct file_map map;
    struct err err;
    ck_assert_int_eq(file_map(&map, path, &err), STATUS_OK);
    unsigned long resident[3], total, shared[3];
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            ck_assert_mem_eq(map.data, bytes, size);
        if (i == 2)
            file_map_release(map.data + 1, size - 2);
        FILE *statm = fopen("/proc/self/statm", "r");
        ck_assert_ptr_nonnull(statm);
        ck_assert_int_eq(fscanf(statm, "%lu %lu %lu", &total, &resident[i], &shared[i]), 3);
        fclose(statm);
    }
    unsigned long pages = size / (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_uint_ge(shared[1], shared[0] + pages * 9 / 10);
    ck_assert_uint_le(shared[2] + pages * 9 / 10, shared[1]);
    ck_assert_mem_eq(map.data, bytes, size);
    file_unmap(&map);
    free(bytes);
}
END_TEST

/* PATH.tmp-PID */
static const char *temporary_of(const char *path)
{
    static char temporary[4200];
    snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
    return temporary;
}

START_TEST(out_file_appears_at_commit)
{
    const char *path = write_file(temporary_folder(), "out", "old", 3);
    struct out_file file;
    struct err err;
    ck_assert_msg(out_file_open(&file, path, &err) == STATUS_OK, "%s", err.text);
    fputs("new text", file.stream);
    fflush(file.stream);
    check_content(path, "old");
    check_content(temporary_of(path), "new text");
    ck_assert_int_eq(out_file_commit(&file, &err), STATUS_OK);
    check_content(path, "new text");
    ck_assert_int_eq(access(temporary_of(path), F_OK), -1);
    ck_assert_ptr_null(file.stream);
    out_file_discard(&file);
    check_content(path, "new text");
}
END_TEST

START_TEST(out_file_discard_leaves_the_old)
{
    const char *path = write_file(temporary_folder(), "out", "old", 3);
    struct out_file file = {0};
    struct err err;
    out_file_discard(&file);
    ck_assert_int_eq(out_file_open(&file, path, &err), STATUS_OK);
    fputs("new text", file.stream);
    out_file_discard(&file);
    out_file_discard(&file);
    check_content(path, "old");
    ck_assert_int_eq(access(temporary_of(path), F_OK), -1);
}
END_TEST

START_TEST(out_file_replaces_what_a_killed_process_left)
{
    const char *path = join(temporary_folder(), "out");
    FILE *stale = fopen(temporary_of(path), "wb");
    ck_assert_ptr_nonnull(stale);
    fputs("stale, and longer than the new", stale);
    fclose(stale);
    struct out_file file;
    struct err err;
    ck_assert_int_eq(out_file_open(&file, path, &err), STATUS_OK);
    fputs("new", file.stream);
    ck_assert_int_eq(out_file_commit(&file, &err), STATUS_OK);
    check_content(path, "new");
}
END_TEST

START_TEST(out_file_refuses_bad_targets)
{
    const char *folder = temporary_folder();
    const struct {
        const char *path, *part;
        enum status status;
    } cases[] = {
        {folder, ": this is a folder", STATUS_USAGE},
        {"/dev/null", "/dev/null: this is a device", STATUS_USAGE},
        {join(folder, "none/"), "none/: not the name", STATUS_USAGE},
        {"", ": not the name", STATUS_USAGE},
        {join(folder, "none/out"), "none/out: cannot write: its folder", STATUS_MISSING},
        {"/proc/out", "/proc/out: cannot write: ", STATUS_MISSING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct out_file file;
        struct err err;
        check_error(out_file_open(&file, cases[i].path, &err), &err, cases[i].status, cases[i].part,
                    cases[i].path);
        ck_assert_ptr_null(file.stream);
        out_file_discard(&file);
    }
}
END_TEST

START_TEST(out_file_refuses_a_folder_without_permission)
{
    if (geteuid() == 0)
        SKIP("needs a user other than root");
    struct out_file file;
    struct err err;
    const char *folder = temporary_folder();
    ck_assert_int_eq(chmod(folder, 0500), 0);
    check_error(out_file_open(&file, join(folder, "out"), &err), &err, STATUS_RESOURCE,
                "out: cannot write: ", "permission");
}
END_TEST

/* RLIMIT_FSIZE plays the full disk: once the failure comes at the flush of the commit, once at a
 * write long before it, with room again at the commit. */
START_TEST(out_file_reports_a_full_disk)
{
    const char *path = write_file(temporary_folder(), "out", "old", 3);
    struct rlimit limit = {.rlim_cur = 8192, .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct out_file file;
    struct err err;
    ck_assert_int_eq(out_file_open(&file, path, &err), STATUS_OK);
    if (_i == 0)
        setvbuf(file.stream, NULL, _IOFBF, 65536);
    for (int i = 0; i < 20000; i++)
        putc('x', file.stream);
    if (_i == 1) {
        limit.rlim_cur = RLIM_INFINITY;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    }
    check_error(out_file_commit(&file, &err), &err, STATUS_RESOURCE,
                "out: cannot write: ", "full disk");
    ck_assert_ptr_null(file.stream);
    check_content(path, "old");
    ck_assert_int_eq(access(temporary_of(path), F_OK), -1);
}
END_TEST

static void remove_and_leave(int signal_number)
{
    out_files_remove_all();
    _exit(128 + signal_number);
}

START_TEST(out_files_go_at_a_signal)
{
    const char *folder = temporary_folder(), *first = join(folder, "a"),
               *second = join(folder, "b");
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct out_file a, b, c;
        struct err err;
        signal(SIGTERM, remove_and_leave);
        if (out_file_open(&a, first, &err) != STATUS_OK ||
            out_file_open(&b, second, &err) != STATUS_OK ||
            out_file_open(&c, join(folder, "c"), &err) != STATUS_OK ||
            out_file_commit(&a, &err) != STATUS_OK)
            _exit(1);
        raise(SIGTERM);
        _exit(2);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGTERM);
    ck_assert_int_eq(access(first, F_OK), 0); /* committed before the signal */
    ck_assert_int_eq(unlink(first), 0);
    ck_assert_msg(rmdir(folder) == 0, "temporary files are left in %s", folder);
}
END_TEST

START_TEST(out_files_are_bounded)
{
    const char *folder = temporary_folder();
    static struct out_file files[OUT_FILES_LARGEST + 1];
    struct err err;
    char name[16];
    for (int i = 0; i < OUT_FILES_LARGEST; i++) {
        snprintf(name, sizeof name, "%d", i);
        ck_assert_int_eq(out_file_open(&files[i], join(folder, name), &err), STATUS_OK);
    }
    check_error(out_file_open(&files[OUT_FILES_LARGEST], join(folder, "x"), &err), &err,
                STATUS_RESOURCE, "more than 64 files", "the 65th");
    out_file_discard(&files[7]);
    ck_assert_int_eq(out_file_open(&files[7], join(folder, "x"), &err), STATUS_OK);
    for (int i = 0; i < OUT_FILES_LARGEST; i++)
        out_file_discard(&files[i]);
}
END_TEST

START_TEST(out_file_survives_lack_of_memory)
{
    const char *path = join(temporary_folder(), "out");
    for (int n = 1; n <= 2; n++) {
        struct out_file file;
        struct err err;
        mem_fail_at(n);
        enum status status = out_file_open(&file, path, &err);
        mem_fail_at(0);
        check_error(status, &err, STATUS_RESOURCE, "not enough memory", "out_file_open");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tests = tcase_create("file");
    tcase_add_test(tests, file_maps_whole_files);
    tcase_add_test(tests, file_map_refuses_what_is_no_file);
    tcase_add_test(tests, file_map_check_sees_a_cut);
    tcase_add_test(tests, file_map_survives_a_cut);
    tcase_add_test(tests, other_bus_errors_still_kill);
    tcase_add_test(tests, file_map_release_gives_pages_back);
    tcase_add_test(tests, out_file_appears_at_commit);
    tcase_add_test(tests, out_file_discard_leaves_the_old);
    tcase_add_test(tests, out_file_replaces_what_a_killed_process_left);
    tcase_add_test(tests, out_file_refuses_bad_targets);
    tcase_add_test(tests, out_file_refuses_a_folder_without_permission);
    tcase_add_loop_test(tests, out_file_reports_a_full_disk, 0, 2);
    tcase_add_test(tests, out_files_go_at_a_signal);
    tcase_add_test(tests, out_files_are_bounded);
    tcase_add_test(tests, out_file_survives_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
