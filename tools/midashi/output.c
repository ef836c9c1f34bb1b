/* See output.h. */
#include "tools/midashi/output.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "loaders/npy.h"

enum status print_json(json_t *root, struct err *err)
{
    if (!root)
        return err_set(err, STATUS_RESOURCE, "not enough memory for the answer in JSON");
    int failed = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
    /* A failed write is reported by main, which knows that it was standard output. */
    if (failed && !ferror(stdout))
        return err_set(err, STATUS_RESOURCE, "not enough memory for the answer in JSON");
    return STATUS_OK;
}

enum status check_apart(const char *path, const char *option, const char *other, struct err *err)
{
    struct stat a, b;
    bool same = strcmp(path, other) == 0 || (stat(path, &a) == 0 && stat(other, &b) == 0 &&
                                             a.st_dev == b.st_dev && a.st_ino == b.st_ino);
    if (same)
        return err_set(err, STATUS_USAGE, "%s %s: would overwrite %s; name another file", option,
                       path, other);
    return STATUS_OK;
}

enum status check_file(const char *path, const char *option, struct err *err)
{
    if (strcmp(path, "-") == 0)
        return err_set(err, STATUS_USAGE,
                       "%s -: arrays go to files only; name one (./- is one called \"-\")", option);
    return STATUS_OK;
}

enum status check_labels_file(const char *path, const char *option, struct err *err)
{
    struct stat there;
    struct npy npy;
    TRY(check_file(path, option, err));
    if (stat(path, &there) != 0 || !S_ISREG(there.st_mode) ||
        npy_open(&npy, path, NULL) != STATUS_OK)
        return STATUS_OK;
    bool labels = npy.type == NPY_I32 || npy.n_dims != 2;
    long long rows = npy.rows, columns = npy.columns;
    npy_close(&npy);
    if (labels)
        return STATUS_OK;
    return err_set(err, STATUS_USAGE,
                   "%s %s: would overwrite an array of (%lld, %lld), no labels; name another file, "
                   "or delete it",
                   option, path, rows, columns);
}
