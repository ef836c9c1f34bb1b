/* Files: mapped for reading, and written so that a kill leaves the old file or the new one. */
#ifndef MIDASHI_BASE_FILE_H
#define MIDASHI_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include "host/base/status.h"

/* A whole file, read-only. data is a borrowed view: it lives until file_unmap. An empty file has
 * size 0 and data non-NULL. */
struct file_map {
    const unsigned char *data; /* NULL: not open */
    size_t size;
    int descriptor; /* kept for file_map_check */
    int guard;      /* the file's own business */
};
#define FILE_MAPS_LARGEST 1024 /* mapped in a process at a time */

/* Regular files only. STATUS_MISSING: no such file. STATUS_BAD_DATA: a folder, FIFO or device.
 * STATUS_RESOURCE: the system refuses. The text names the path. */
enum status file_map(struct file_map *map, const char *path, struct err *err);
void file_unmap(struct file_map *map); /* a zeroed map is allowed */
/* STATUS_BAD_DATA where the file has become shorter than it was when it was mapped, or a part of it
 * could not be read. Such a part reads as zeros (the first file_map installs a handler of SIGBUS,
 * which would kill the process else), so call it *after* reading, before the result is used. path
 * is for the message. */
enum status file_map_check(const struct file_map *map, const char *path, struct err *err);
/* The end of reading a whole file: unmaps it, and returns status, or file_map_check's failure in
 * the place of success and of an error in the data, which zeros may have caused. A zeroed map is
 * allowed. */
enum status file_map_finish(struct file_map *map, const char *path, enum status status,
                            struct err *err);
/* Lets the system take the pages of [data, data + size) back; they are read again when needed. The
 * range lies inside a map, and is narrowed to whole pages. */
void file_map_release(const void *data, size_t size);

/* Whether the folder has something of this name. A path that is too long is not there. */
bool file_is_in(const char *folder, const char *name);

/* What kind of file st_mode says it is, for messages: "a folder", "a pipe", ... Not for regular
 * ones. */
const char *file_kind(mode_t mode);

/* A file being written aside, as PATH.tmp-PID, in the same folder. */
struct out_file {
    FILE *stream; /* write here; NULL before out_file_open and after commit or discard */
    char *path;
    char *temporary;
};

/* At most OUT_FILES_LARGEST are open in a process at a time, and one for each path.
 * STATUS_MISSING: the folder is not there. STATUS_RESOURCE: it is not writable. STATUS_USAGE: path
 * is a folder, a device or the like, which a rename must not replace. */
#define OUT_FILES_LARGEST 64
enum status out_file_open(struct out_file *file, const char *path, struct err *err);
/* Flushes and syncs what has been written: a commit that follows has nothing left but to rename.
 * For files that belong together. Errors as out_file_commit's; the file stays open. */
enum status out_file_sync(struct out_file *file, struct err *err);
/* Flushes, syncs and renames over path. On failure (a full disk, say: STATUS_RESOURCE) the old file
 * stays and the temporary one is gone. Checks the errors of all writes before. */
enum status out_file_commit(struct out_file *file, struct err *err);
/* Removes the temporary file. After commit, or on a zeroed struct, it does nothing. */
void out_file_discard(struct out_file *file);
/* Removes every temporary file that is open now. For signal handlers: async-signal-safe. */
void out_files_remove_all(void);

#endif
