/* Fuzzes .npy: what is accepted must lie in the file whole, and writing it again and reading that
 * must give the same values. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "host/base/memory.h"
#include "loaders/npy.h"
#include "tests/fuzz/fuzz.h"

static size_t size_of_value(enum npy_type type)
{
    return type == NPY_F16 ? 2 : type == NPY_F64 ? 8 : 4;
}

static void write_again(const struct npy *npy, const void *values, const char *path)
{
    struct npy_writer writer;
    struct npy again;
    struct err err;
    char copy[160];
    snprintf(copy, sizeof copy, "%s.copy", path);
    REQUIRE(npy_writer_open(&writer, copy, npy->type, npy->n_dims, npy->rows, npy->columns, &err) ==
            STATUS_OK);
    REQUIRE(npy_writer_add(&writer, values, npy->rows, &err) == STATUS_OK);
    REQUIRE(npy_writer_commit(&writer, &err) == STATUS_OK);
    REQUIRE(npy_open(&again, copy, &err) == STATUS_OK);
    unlink(copy);
    REQUIRE(again.type == npy->type && again.n_dims == npy->n_dims);
    REQUIRE(again.rows == npy->rows && again.columns == npy->columns);
    const uint16_t *a = npy->data, *b = again.data;
    for (size_t i = 0; i < (size_t)(npy->rows * npy->columns) * size_of_value(npy->type) / 2; i++) {
        int is_nan = npy->type == NPY_F16 && (a[i] & 0x7FFF) > 0x7C00; /* its payload may change */
        REQUIRE(is_nan ? (b[i] & 0x7FFF) > 0x7C00 : a[i] == b[i]);
    }
    npy_close(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("a.npy", data, size);
    struct npy npy;
    struct err err;
    enum status status = npy_open(&npy, path, &err);
    if (status != STATUS_OK) {
        fuzz_check_error(status, &err, path);
        return 0;
    }
    REQUIRE(npy.rows >= 0 && npy.columns >= 1 && (npy.n_dims == 2 || npy.columns == 1));
    size_t n = (size_t)(npy.rows * npy.columns);
    REQUIRE((const unsigned char *)npy.data + n * size_of_value(npy.type) ==
            npy.map.data + npy.map.size);
    if (npy.type == NPY_I32) {
        write_again(&npy, npy.data, path);
    } else {
        float *values = mem_alloc(n, sizeof *values);
        REQUIRE(values);
        int64_t half = npy.rows / 2;
        REQUIRE(npy_read_rows(&npy, 0, half, values, &err) == STATUS_OK);
        REQUIRE(npy_read_rows(&npy, half, npy.rows - half, values + half * npy.columns, &err) ==
                STATUS_OK);
        if (npy.type != NPY_F64) /* which is not written */
            write_again(&npy, values, path);
        mem_free(values);
    }
    npy_close(&npy);
    return 0;
}
