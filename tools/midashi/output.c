/* See output.h. */
#include "tools/midashi/output.h"

#include <stdio.h>

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
