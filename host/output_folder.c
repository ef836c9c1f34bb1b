/* See output_folder.h. */
#include "host/output_folder.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum status output_folder_make(const char *path, bool *made, struct err *err)
{
    struct stat status;
    int failed = mkdir(path, 0777);
    if (made)
        *made = failed == 0;
    if (failed == 0)
        return STATUS_OK;
    if (errno != EEXIST)
        return err_set(err, errno == ENOENT ? STATUS_MISSING : STATUS_RESOURCE,
                       "%s: cannot make the folder: %s", path, strerror(errno));
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return err_set(err, STATUS_BAD_DATA, "%s: not a folder; give another --output", path);
    return STATUS_OK;
}

void output_folder_drop(const char *path)
{
    rmdir(path); /* which leaves one alone that is not empty */
}

/* ---- names ---------------------------------------------------------------------------------- */

#define TEMPORARY ".tmp-"

/* Behind the own name that it begins with: "", or ".tmp-PID" of a temporary file of ours that a
 * kill left. NULL: not ours. */
static const char *own_ending(const char *name, const char *const *own)
{
    for (; *own; own++) {
        const char *ending = name + strlen(*own);
        if (strncmp(name, *own, strlen(*own)) == 0 &&
            (*ending == '\0' || strncmp(ending, TEMPORARY, strlen(TEMPORARY)) == 0))
            return ending;
    }
    return NULL;
}

void output_folder_sweep(const char *path, const char *const *own)
{
    DIR *folder = opendir(path);
    if (!folder)
        return;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        const char *ending = own_ending(entry->d_name, own);
        long pid = ending && *ending ? strtol(ending + strlen(TEMPORARY), NULL, 10) : 0;
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

/* ---- one run's alone ------------------------------------------------------------------------ */

/* A run that was killed just now is not gone before its memory is: two seconds. */
#define LOCK_TRIES 40
static const struct timespec lock_pause = {.tv_nsec = 50000000};

/* Whether the folder of that name is the one that is locked: whoever had it before may have removed
 * it at its end. */
static bool is_there(const struct output_folder *folder)
{
    struct stat named, locked;
    return stat(folder->path, &named) == 0 && fstat(dirfd(folder->stream), &locked) == 0 &&
           named.st_dev == locked.st_dev && named.st_ino == locked.st_ino;
}

/* folder->stream NULL: another run has it. */
static enum status try_lock(struct output_folder *folder, struct err *err)
{
    bool made;
    TRY(output_folder_make(folder->path, &made, err));
    folder->made = folder->made || made;
    folder->stream = opendir(folder->path);
    if (!folder->stream)
        return errno == ENOENT
                   ? STATUS_OK
                   : err_set(err, STATUS_RESOURCE, "%s: %s", folder->path, strerror(errno));
    bool locked = flock(dirfd(folder->stream), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (!locked || !is_there(folder)) {
        closedir(folder->stream);
        folder->stream = NULL;
    }
    return STATUS_OK;
}

static enum status lock(struct output_folder *folder, struct err *err)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        TRY(try_lock(folder, err));
        if (folder->stream)
            return STATUS_OK;
        nanosleep(&lock_pause, NULL);
    }
    return err_set(err, STATUS_USAGE,
                   "%s: another run is writing into this folder; wait for its end, or give another "
                   "--output",
                   folder->path);
}

static enum status check_names(const struct output_folder *folder, const char *const *own,
                               struct err *err)
{
    for (const struct dirent *entry; (entry = readdir(folder->stream));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !own_ending(name, own))
            return err_set(err, STATUS_USAGE,
                           "%s: the folder holds %s, which is none of the files that this command "
                           "writes; give another --output, or --force",
                           folder->path, name);
    }
    return STATUS_OK;
}

enum status output_folder_open(struct output_folder *folder, const char *path,
                               const char *const *own, struct err *err)
{
    *folder = (struct output_folder){.path = path};
    enum status status = lock(folder, err);
    if (status == STATUS_OK && own)
        status = check_names(folder, own, err);
    if (status != STATUS_OK)
        output_folder_close(folder);
    return status;
}

void output_folder_close(struct output_folder *folder)
{
    if (folder->stream && folder->made) /* who has no lock removes nothing under who has */
        output_folder_drop(folder->path);
    if (folder->stream)
        closedir(folder->stream);
    *folder = (struct output_folder){0};
}
