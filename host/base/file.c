/* Files written aside. See file.h; mapping is in file_map.c. */
#include "host/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/memory.h"

/* ---- writing aside -------------------------------------------------------------------------- */

/* The temporary files that are open now. A signal handler has no other way to find them, hence
 * the one table of the process. A slot is filled before its file is created and emptied after it
 * is renamed or removed: whenever the signal comes, the worst is an unlink of a name that is not
 * there. */
static _Atomic(const char *) temporaries[OUT_FILES_LARGEST];

static int temporary_add(const char *path)
{
    for (int i = 0; i < OUT_FILES_LARGEST; i++) {
        const char *empty = NULL;
        if (atomic_compare_exchange_strong(&temporaries[i], &empty, path))
            return 1;
    }
    return 0;
}

static void temporary_remove(const char *path)
{
    for (int i = 0; i < OUT_FILES_LARGEST; i++) {
        const char *full = path;
        if (atomic_compare_exchange_strong(&temporaries[i], &full, NULL))
            return;
    }
}

void out_files_remove_all(void)
{
    int old_errno = errno;
    for (int i = 0; i < OUT_FILES_LARGEST; i++) {
        const char *path = atomic_load(&temporaries[i]);
        if (path)
            unlink(path);
    }
    errno = old_errno;
}

/* Everything but the stream and the file on disk. */
static void forget(struct out_file *file)
{
    if (file->temporary)
        temporary_remove(file->temporary);
    mem_free(file->temporary);
    mem_free(file->path);
    *file = (struct out_file){0};
}

static enum status name_files(struct out_file *file, const char *path, struct err *err)
{
    size_t length = strlen(path), capacity = length + sizeof ".tmp-" + 3 * sizeof(long);
    file->path = mem_alloc(length + 1, 1);
    file->temporary = mem_alloc(capacity, 1);
    if (!file->path || !file->temporary)
        return err_no_memory(err, "a file name", length + capacity);
    memcpy(file->path, path, length + 1);
    snprintf(file->temporary, capacity, "%s.tmp-%ld", path, (long)getpid());
    return STATUS_OK;
}

/* A rename would put a file in the place of /dev/null as well. */
static enum status check_target(const char *path, struct err *err)
{
    struct stat stat_of_target;
    if (stat(path, &stat_of_target) == 0 && !S_ISREG(stat_of_target.st_mode))
        return err_set(err, STATUS_USAGE, "%s: this is %s; name a regular file to write", path,
                       file_kind(stat_of_target.st_mode));
    size_t length = strlen(path);
    if (length == 0 || path[length - 1] == '/')
        return err_set(err, STATUS_USAGE, "%s: not the name of a file to write", path);
    return STATUS_OK;
}

static enum status create_temporary(struct out_file *file, struct err *err)
{
    /* A file of this name is what an earlier process with this number left behind. */
    unlink(file->temporary);
    int descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        int missing = errno == ENOENT || errno == ENOTDIR;
        return err_set(err, missing ? STATUS_MISSING : STATUS_RESOURCE, "%s: cannot write: %s",
                       file->path, missing ? "its folder is not there" : strerror(errno));
    }
    file->stream = fdopen(descriptor, "wb");
    if (!file->stream) {
        close(descriptor);
        unlink(file->temporary);
        return err_no_memory(err, "an open file", sizeof(FILE));
    }
    return STATUS_OK;
}

enum status out_file_open(struct out_file *file, const char *path, struct err *err)
{
    *file = (struct out_file){0};
    TRY(check_target(path, err));
    enum status status = name_files(file, path, err);
    if (status == STATUS_OK && !temporary_add(file->temporary))
        status = err_set(err, STATUS_RESOURCE, "%s: more than %d files are being written", path,
                         OUT_FILES_LARGEST);
    if (status == STATUS_OK)
        status = create_temporary(file, err);
    if (status != STATUS_OK)
        forget(file);
    return status;
}

/* Flushes and syncs the stream; 0, or the errno of what failed. A write that failed long ago has
 * left the stream's mark but no number: then -1. */
static int finish_writing(FILE *stream)
{
    if (fflush(stream) != 0)
        return errno;
    if (ferror(stream))
        return -1;
    /* Some file systems cannot sync, which is no reason to throw the result away. */
    if (fsync(fileno(stream)) != 0 && errno != EINVAL && errno != ENOTSUP && errno != ENOSYS)
        return errno;
    return 0;
}

static enum status writing_failed(const struct out_file *file, int failure, struct err *err)
{
    return err_set(err, STATUS_RESOURCE, "%s: cannot write: %s", file->path,
                   failure < 0 ? "a write failed; is the disk full?" : strerror(failure));
}

enum status out_file_sync(struct out_file *file, struct err *err)
{
    int failure = finish_writing(file->stream);
    return failure == 0 ? STATUS_OK : writing_failed(file, failure, err);
}

enum status out_file_commit(struct out_file *file, struct err *err)
{
    int failure = finish_writing(file->stream);
    if (fclose(file->stream) != 0 && failure == 0)
        failure = errno;
    if (failure == 0 && rename(file->temporary, file->path) != 0)
        failure = errno;
    enum status status = STATUS_OK;
    if (failure != 0) {
        unlink(file->temporary);
        status = writing_failed(file, failure, err);
    }
    forget(file);
    return status;
}

void out_file_discard(struct out_file *file)
{
    if (!file->stream)
        return;
    fclose(file->stream);
    unlink(file->temporary);
    forget(file);
}
