/* See output_folder.h. */
#include "host/output_folder.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

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

/* Ours, or a temporary file of ours that a kill left: NAME.tmp-PID. */
static bool is_own_name(const char *name, const char *const *own)
{
    for (; *own; own++) {
        size_t length = strlen(*own);
        if (strncmp(name, *own, length) == 0 &&
            (name[length] == '\0' || strncmp(name + length, ".tmp-", 5) == 0))
            return true;
    }
    return false;
}

enum status output_folder_check(const char *path, const char *const *own, struct err *err)
{
    DIR *folder = opendir(path);
    if (!folder)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    for (const struct dirent *entry; status == STATUS_OK && (entry = readdir(folder));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_own_name(name, own))
            status = err_set(err, STATUS_USAGE,
                             "%s: the folder holds %s, which midashi did not write; give another "
                             "--output, or --force",
                             path, name);
    }
    closedir(folder);
    return status;
}
