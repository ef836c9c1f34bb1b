/* See json_file.h. */
#include "loaders/json_file.h"

#include "host/base/file.h"

enum status json_file_read(json_t **root, const char *path, size_t largest, size_t flags,
                           struct err *err)
{
    struct file_map map;
    json_error_t error;
    *root = NULL;
    TRY(file_map(&map, path, err));
    enum status status = STATUS_OK;
    if (map.size > largest)
        status = err_set(err, STATUS_BAD_DATA,
                         "%s: %zu bytes are more than the %zu that such a file may have; fetch it "
                         "again",
                         path, map.size, largest);
    else if (!(*root = json_loadb((const char *)map.data, map.size, JSON_REJECT_DUPLICATES | flags,
                                  &error)))
        status = err_set(err, STATUS_BAD_DATA, "%s: line %d: not good JSON: %s", path, error.line,
                         error.text);
    status = file_map_finish(&map, path, status, err);
    if (status != STATUS_OK) {
        json_decref(*root);
        *root = NULL;
    }
    return status;
}
