/* Files mapped for reading, and what happens when one is cut meanwhile. See file.h. */
#define _GNU_SOURCE
#include "host/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- pages that are gone -------------------------------------------------------------------- */

/* When a mapped file becomes shorter, or its disk fails, touching a lost page raises SIGBUS. The
 * handler finds the map among these, puts zeros in the place of its remaining pages, so that the
 * reader goes on, and marks it as cut: file_map_check tells the reader what its result is worth. A
 * signal handler has no other way to find the maps, hence the one table of the process. */
static struct guarded_map {
    atomic_bool taken;
    atomic_bool cut;
    _Atomic uintptr_t begin; /* 0: not mapped; written after size, and cleared first */
    _Atomic size_t size;
} guarded_maps[FILE_MAPS_LARGEST];

static struct sigaction action_before;
static uintptr_t page_size;

static bool replace_lost_pages(uintptr_t address)
{
    for (int i = 0; i < FILE_MAPS_LARGEST; i++) {
        struct guarded_map *map = &guarded_maps[i];
        uintptr_t begin = atomic_load(&map->begin), end = begin + atomic_load(&map->size);
        if (begin == 0 || address < begin ||
            address >= (end + page_size - 1) / page_size * page_size)
            continue;
        uintptr_t page = address / page_size * page_size;
        atomic_store(&map->cut, true);
        return mmap((void *)page, end - page, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* A fault elsewhere is the program's own: the action before ours gets it when it comes again. */
static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    int old_errno = errno;
    if (!replace_lost_pages((uintptr_t)info->si_addr))
        sigaction(signal_number, &action_before, NULL);
    errno = old_errno;
}

static void guard_install(void)
{
    struct sigaction action;
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, &action_before);
}

/* The slot, or -1: all are taken. */
static int guard_add(const void *data, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_install);
    for (int i = 0; i < FILE_MAPS_LARGEST; i++) {
        bool taken = false;
        if (!atomic_compare_exchange_strong(&guarded_maps[i].taken, &taken, true))
            continue;
        atomic_store(&guarded_maps[i].cut, false);
        atomic_store(&guarded_maps[i].size, size);
        atomic_store(&guarded_maps[i].begin, (uintptr_t)data);
        return i;
    }
    return -1;
}

static void guard_remove(int slot)
{
    atomic_store(&guarded_maps[slot].begin, 0);
    atomic_store(&guarded_maps[slot].taken, false);
}

/* ---- mapping -------------------------------------------------------------------------------- */

bool file_is_in(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat there;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && length < PATH_MAX && stat(path, &there) == 0;
}

const char *file_kind(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

static enum status map_descriptor(struct file_map *map, const char *path, struct err *err)
{
    struct stat stat;
    if (fstat(map->descriptor, &stat) != 0)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return err_set(err, STATUS_BAD_DATA, "%s: this is %s; name a regular file", path,
                       file_kind(stat.st_mode));
    map->size = (size_t)stat.st_size;
    if (map->size == 0) {
        map->data = (const unsigned char *)""; /* mmap refuses a length of 0 */
        return STATUS_OK;
    }
    void *data = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, map->descriptor, 0);
    if (data == MAP_FAILED)
        return err_set(err, STATUS_RESOURCE, "%s: cannot map %zu bytes: %s", path, map->size,
                       strerror(errno));
    map->guard = guard_add(data, map->size);
    if (map->guard < 0) {
        munmap(data, map->size);
        return err_set(err, STATUS_RESOURCE, "%s: more than %d files are mapped", path,
                       FILE_MAPS_LARGEST);
    }
    map->data = data;
    return STATUS_OK;
}

enum status file_map(struct file_map *map, const char *path, struct err *err)
{
    *map = (struct file_map){0};
    /* Without O_NONBLOCK, opening a FIFO waits for a writer. */
    map->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (map->descriptor < 0) {
        int missing = errno == ENOENT || errno == ENOTDIR;
        const char *what = missing ? "no such file" : strerror(errno);
        struct stat stat;
        if (missing && lstat(path, &stat) == 0)
            what = "a link to a file that is not there; fetch or copy it again";
        return err_set(err, missing ? STATUS_MISSING : STATUS_RESOURCE, "%s: %s", path, what);
    }
    enum status status = map_descriptor(map, path, err);
    if (status != STATUS_OK) {
        close(map->descriptor);
        *map = (struct file_map){0};
    }
    return status;
}

void file_unmap(struct file_map *map)
{
    if (!map->data)
        return;
    if (map->size > 0) {
        guard_remove(map->guard);
        munmap((void *)(uintptr_t)map->data, map->size);
    }
    close(map->descriptor);
    *map = (struct file_map){0};
}

enum status file_map_check(const struct file_map *map, const char *path, struct err *err)
{
    struct stat stat;
    if (fstat(map->descriptor, &stat) != 0)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    if ((size_t)stat.st_size < map->size)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: byte %lld: the file was cut from %zu bytes while it was read; let no "
                       "other program write it",
                       path, (long long)stat.st_size, map->size);
    if (map->size > 0 && atomic_load(&guarded_maps[map->guard].cut))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: a part of the file could not be read (cut for a while, or a failing "
                       "disk); fetch it again",
                       path);
    return STATUS_OK;
}

enum status file_map_finish(struct file_map *map, const char *path, enum status status,
                            struct err *err)
{
    struct err cut;
    if (map->data && (status == STATUS_OK || status == STATUS_BAD_DATA) &&
        file_map_check(map, path, &cut) != STATUS_OK)
        status = err_set(err, cut.status, "%s", cut.text);
    file_unmap(map);
    return status;
}

void file_map_release(const void *data, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data, end = begin + size;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}
