/* A folder that a command writes: made where it is not there, left alone where it holds what
 * midashi did not write, and one run's at a time. */
#ifndef MIDASHI_HOST_OUTPUT_FOLDER_H
#define MIDASHI_HOST_OUTPUT_FOLDER_H

#include <dirent.h>
#include <stdbool.h>
#include "host/base/status.h"

/* *made (NULL: not asked) says whether it was not there before. STATUS_BAD_DATA: not a folder.
 * STATUS_MISSING: its own folder is not there. */
enum status output_folder_make(const char *path, bool *made, struct err *err);

/* Removes a folder that is empty; another one stays. */
void output_folder_drop(const char *path);

/* A folder that is this run's alone until output_folder_close, or the process' end, however that
 * comes. The lock (flock) is on the folder itself: no file of it is left. A zeroed one is none. */
struct output_folder {
    const char *path; /* borrowed */
    bool made;        /* by this run: it goes with it if nothing was written */
    DIR *stream;      /* what is locked */
};

/* Makes the folder if need be, and takes it. own: the names that midashi writes there, NULL at the
 * end; a temporary file of theirs that a kill left is ours too. own NULL: whatever is there, as
 * --force has it. STATUS_USAGE: another run has it, also after two seconds; or it holds a file that
 * is none of ours. Else errors as output_folder_make. A file system without locks keeps nobody out.
 */
enum status output_folder_open(struct output_folder *folder, const char *path,
                               const char *const *own, struct err *err);
void output_folder_close(struct output_folder *folder); /* a zeroed one is allowed */

/* Removes temporary files of these names whose process is gone: each kill leaves one, as large as
 * what was being written. Whatever cannot be removed stays. */
void output_folder_sweep(const char *path, const char *const *own);

#endif
