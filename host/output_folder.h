/* A folder that a command writes: made where it is not there, and left alone where it holds what
 * midashi did not write. */
#ifndef MIDASHI_HOST_OUTPUT_FOLDER_H
#define MIDASHI_HOST_OUTPUT_FOLDER_H

#include <dirent.h>
#include <stdbool.h>
#include "host/base/status.h"

/* *made (NULL: not asked) says whether it was not there before. STATUS_BAD_DATA: not a folder.
 * STATUS_MISSING: its own folder is not there. */
enum status output_folder_make(const char *path, bool *made, struct err *err);

/* Of a run that made the folder, at its end: it goes if nothing is in it. */
void output_folder_drop(const char *path);

/* own: the names that midashi writes there, NULL at the end; a temporary file of theirs that a kill
 * left is ours too. STATUS_USAGE: the folder holds another. */
enum status output_folder_check(const char *path, const char *const *own, struct err *err);

/* A folder that a process has for itself, until output_folder_unlock or its end, however that
 * comes. The lock is on the folder: no file of it is left. A zeroed one is none. */
struct output_lock {
    DIR *folder;
};
/* STATUS_USAGE: another process has it, also after two seconds. A file system without locks keeps
 * nobody out. */
enum status output_folder_lock(struct output_lock *lock, const char *path, struct err *err);
void output_folder_unlock(struct output_lock *lock);

/* Removes temporary files of these names whose process is gone: each kill leaves one, as large as
 * what was being written. Whatever cannot be removed stays. */
void output_folder_sweep(const char *path, const char *const *own);

#endif
