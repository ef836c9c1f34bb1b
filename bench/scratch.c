/* See scratch.h. */
#define _GNU_SOURCE /* nftw */
#include "bench/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum status scratch_open(char path[PATH_MAX], struct err *err)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/midashi-bench-XXXXXX", folder && *folder ? folder : "/tmp");
    if (!mkdtemp(path))
        return err_set(err, STATUS_RESOURCE, "%s: cannot be made", path);
    return STATUS_OK;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

void scratch_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
