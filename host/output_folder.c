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

/* A run that was killed just now is not gone before its memory is: two seconds. */
#define LOCK_TRIES 40
static const struct timespec lock_pause = {.tv_nsec = 50000000};

enum status output_folder_lock(struct output_lock *lock, const char *path, struct err *err)
{
    lock->folder = opendir(path);
    if (!lock->folder)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(dirfd(lock->folder), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return STATUS_OK;
        nanosleep(&lock_pause, NULL);
    }
    output_folder_unlock(lock);
    return err_set(err, STATUS_USAGE,
                   "%s: another run is writing into this folder; wait for its end, or give another "
                   "--output",
                   path);
}

void output_folder_unlock(struct output_lock *lock)
{
    if (lock->folder)
        closedir(lock->folder);
    lock->folder = NULL;
}

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

enum status output_folder_check(const char *path, const char *const *own, struct err *err)
{
    DIR *folder = opendir(path);
    if (!folder)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    for (const struct dirent *entry; status == STATUS_OK && (entry = readdir(folder));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !own_ending(name, own))
            status = err_set(err, STATUS_USAGE,
                             "%s: the folder holds %s, which midashi did not write; give another "
                             "--output, or --force",
                             path, name);
    }
    closedir(folder);
    return status;
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
