/* .npy files against NumPy's own (tests/golden/npy, by make_npy.py), and damaged ones. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "loaders/npy.h"

static const struct {
    const char *name;
    enum npy_type type;
    int n_dims;
    int64_t rows, columns;
} files[] = {
    {"f32_5x3", NPY_F32, 2, 5, 3},     {"f32_7", NPY_F32, 1, 7, 1},
    {"f16_5x3", NPY_F16, 2, 5, 3},     {"f16_7", NPY_F16, 1, 7, 1},
    {"i32_5x3", NPY_I32, 2, 5, 3},     {"i32_7", NPY_I32, 1, 7, 1},
    {"f32_0x576", NPY_F32, 2, 0, 576}, {"f16_1234x1", NPY_F16, 2, 1234, 1},
    {"f32_5x3_v2", NPY_F32, 2, 5, 3},  {"f32_5x3_v3", NPY_F32, 2, 5, 3},
};
#define N_FILES    ((int)(sizeof files / sizeof *files))
#define N_WRITABLE 8 /* the last two have versions that we read only */

static const char *golden_file(int i)
{
    char name[64];
    snprintf(name, sizeof name, "npy/%s.npy", files[i].name);
    return golden(name);
}

/* What make_npy.py puts at place i. */
static float value(int64_t i)
{
    return (float)(i - 3) / 8;
}

START_TEST(npy_reads_what_numpy_wrote)
{
    int i = _i;
    struct npy npy;
    struct err err;
    ck_assert_msg(npy_open(&npy, golden_file(i), &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(npy.type, files[i].type);
    ck_assert_int_eq(npy.n_dims, files[i].n_dims);
    ck_assert_int_eq(npy.rows, files[i].rows);
    ck_assert_int_eq(npy.columns, files[i].columns);
    size_t n = (size_t)(npy.rows * npy.columns);
    if (npy.type == NPY_I32) {
        for (size_t j = 0; j < n; j++)
            ck_assert_int_eq(((const int32_t *)npy.data)[j], (int32_t)j - 3);
    } else {
        float *out = guarded_floats(n);
        ck_assert_int_eq(npy_read_rows(&npy, 0, npy.rows, out, &err), STATUS_OK);
        for (size_t j = 0; j < n; j++)
            ck_assert_float_eq(out[j], value((int64_t)j));
        check_guarded(out, n);
    }
    npy_close(&npy);
}
END_TEST

START_TEST(npy_reads_some_rows)
{
    struct npy npy;
    struct err err;
    ck_assert_int_eq(npy_open(&npy, golden("npy/f16_5x3.npy"), &err), STATUS_OK);
    float out[6];
    ck_assert_int_eq(npy_read_rows(&npy, 2, 2, out, &err), STATUS_OK);
    for (int j = 0; j < 6; j++)
        ck_assert_float_eq(out[j], value(6 + j));
    /* behind the last row: nothing */
    ck_assert_int_eq(npy_read_rows(&npy, 5, 0, out, &err), STATUS_OK);
    npy_close(&npy);
}
END_TEST

/* NumPy's own type, rounded to float32: a tie to even, and what is out of range. */
START_TEST(npy_narrows_float64)
{
    static const char header[] = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }";
    static const double values[6] = {1, -2.5, 1 + 0x1p-24, 1 + 0x1.8p-23, 1e300, 1e-300};
    static const float want[6] = {1, -2.5f, 1, 1 + 0x1p-22f, INFINITY, 0};
    unsigned char file[128 + sizeof values] = "\x93NUMPY\x01";
    memset(file + 10, ' ', 118);
    memcpy(file + 10, header, sizeof header - 1);
    file[8] = 118;
    memcpy(file + 128, values, sizeof values);
    struct npy npy;
    struct err err;
    const char *path = write_file(temporary_folder(), "a.npy", file, sizeof file);
    ck_assert_msg(npy_open(&npy, path, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(npy.type, NPY_F64);
    float out[6];
    ck_assert_int_eq(npy_read_rows(&npy, 1, 1, out + 3, &err), STATUS_OK);
    ck_assert_int_eq(npy_read_rows(&npy, 0, 1, out, &err), STATUS_OK);
    for (int j = 0; j < 6; j++)
        ck_assert_float_eq(out[j], want[j]);
    npy_close(&npy);
}
END_TEST

/* What was there is a file's length ago: not SIGBUS, an error. */
START_TEST(npy_says_when_the_file_is_cut)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/cut.npy", temporary_folder());
    enum { ROWS = 5000, COLUMNS = 3 };
    float *values = guarded_floats((size_t)ROWS * COLUMNS);
    memset(values, 0, (size_t)ROWS * COLUMNS * sizeof *values);
    struct npy npy;
    struct err err;
    ck_assert_int_eq(npy_write(path, NPY_F32, 2, ROWS, COLUMNS, values, &err), STATUS_OK);
    ck_assert_int_eq(npy_open(&npy, path, &err), STATUS_OK);
    ck_assert_int_eq(truncate(path, 4096), 0);
    check_error(npy_read_rows(&npy, 0, ROWS, values, &err), &err, STATUS_BAD_DATA,
                "cut.npy: byte 4096: the file was cut from 60128 bytes", "cut");
    npy_close(&npy);
    check_guarded(values, (size_t)ROWS * COLUMNS);
}
END_TEST

static void check_same_bytes(const char *path, const char *want)
{
    struct file_map a, b;
    struct err err;
    ck_assert_int_eq(file_map(&a, path, &err), STATUS_OK);
    ck_assert_int_eq(file_map(&b, want, &err), STATUS_OK);
    ck_assert_msg(a.size == b.size && memcmp(a.data, b.data, a.size) == 0, "%s differs from %s",
                  path, want);
    file_unmap(&a);
    file_unmap(&b);
}

START_TEST(npy_writes_what_numpy_would)
{
    int i = _i;
    char path[4096];
    snprintf(path, sizeof path, "%s/out.npy", temporary_folder());
    struct npy_writer writer;
    struct err err;
    ck_assert_int_eq(npy_writer_open(&writer, path, files[i].type, files[i].n_dims, files[i].rows,
                                     files[i].columns, &err),
                     STATUS_OK);
    int64_t columns = files[i].columns, half = files[i].rows / 2;
    size_t n = (size_t)(files[i].rows * columns);
    float *floats = malloc(n * 4 + 1);
    int32_t *integers = malloc(n * 4 + 1);
    for (size_t j = 0; j < n; j++) {
        floats[j] = value((int64_t)j);
        integers[j] = (int32_t)j - 3;
    }
    const char *values = files[i].type == NPY_I32 ? (const char *)integers : (const char *)floats;
    ck_assert_int_eq(npy_writer_add(&writer, values, half, &err), STATUS_OK);
    ck_assert_int_eq(
        npy_writer_add(&writer, values + half * columns * 4, files[i].rows - half, &err),
        STATUS_OK);
    ck_assert_int_eq(access(path, F_OK), -1); /* not before commit */
    ck_assert_int_eq(npy_writer_commit(&writer, &err), STATUS_OK);
    check_same_bytes(path, golden_file(i));
    npy_writer_discard(&writer); /* does nothing now */
    check_same_bytes(path, golden_file(i));
    free(floats);
    free(integers);
}
END_TEST

/* RLIMIT_FSIZE plays the full disk. */
START_TEST(npy_writer_reports_a_full_disk)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/out.npy", temporary_folder());
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 10000, .rlim_max = RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct npy_writer writer;
    struct err err = {0};
    static float rows[10][1000];
    ck_assert_int_eq(npy_writer_open(&writer, path, NPY_F32, 2, 10, 1000, &err), STATUS_OK);
    enum status status = npy_writer_add(&writer, rows, 10, &err);
    if (status == STATUS_OK)
        status = npy_writer_commit(&writer, &err);
    else
        npy_writer_discard(&writer);
    check_error(status, &err, STATUS_RESOURCE, "out.npy: cannot write", "full disk");
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

/* A header of version 1.0 and a body of zeros. */
static const struct {
    const char *header;
    int body;
    const char *part;
} damaged[] = {
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23, "truncated"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 28, "4 bytes stand behind"},
    {"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }", 24, "12 bytes stand behind"},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, "Fortran order"},
    {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, "'>f4' are not supported"},
    {"{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }", 48,
     "'<i8' are not supported; save it with numpy.save(\"E.npy\", E.astype(\"float32\"))"},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", 47, "truncated"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", 24, "a string"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, "no dimension"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", 24, "more than two"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", 24, "comma after the first"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", 24, "expected a dimension"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }", 0, "rows are empty"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 24,
     "truncated"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4), }", 24,
     "dimension is too large"},
    {"{'descr': '<f4', 'fortran_order': False, }", 24, "lacks 'shape'"},
    {"{'descr': '<f4', 'shape': (2, 3), }", 24, "lacks 'fortran_order'"},
    {"{'descr': '<f4', 'descr': '<f4', 'shape': (2, 3), }", 24, "key stands there twice"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}", 24,
     "expected 'descr'"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", 24, "True or False"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", 24, "behind the dictionary"},
    {"{'descr': '<f4', 'fortran_order': False 'shape': (2, 3), }", 24, "expected a comma"},
    {"{'descr' '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, "expected a colon"},
    {"{'descr': '<f4, 'fortran_order'", 24, "'<f4, ' are not supported"},
    {"{'descr': '<f4", 24, "not closed"},
    {"['descr']", 24, "no dictionary"},
    {"", 24, "no dictionary"},
};

START_TEST(npy_refuses_damaged_headers)
{
    unsigned char file[512] = "\x93NUMPY\x01";
    /* Padded to a multiple of 8, so that the values are aligned. */
    size_t length = (strlen(damaged[_i].header) + 9) / 8 * 8 + 6;
    memset(file + 10, ' ', length);
    memcpy(file + 10, damaged[_i].header, strlen(damaged[_i].header));
    file[8] = (unsigned char)length;
    const char *path =
        write_file(temporary_folder(), "a.npy", file, 10 + length + (size_t)damaged[_i].body);
    struct npy npy;
    struct err err;
    check_error(npy_open(&npy, path, &err), &err, STATUS_BAD_DATA, damaged[_i].part,
                damaged[_i].header);
    check_error(err.status, &err, STATUS_BAD_DATA, path, "the path");
    npy_close(&npy);
}
END_TEST

START_TEST(npy_refuses_damaged_starts)
{
    static const struct {
        unsigned char bytes[16];
        size_t size;
        const char *part;
    } cases[] = {
        {"", 0, "not a .npy file"},
        {"\x93NUMPX\x01\0\x02\0{}", 12, "not a .npy file"},
        {"\x93NUMPY\x04\0\x02\0{}", 12, "version 4.0"},
        {"\x93NUMPY\x01\x01\x02\0{}", 12, "version 1.1"},
        {"\x93NUMPY\x01\0\x03\0{}", 12, "longer than the file"},
        {"\x93NUMPY\x02\0\x02\0\0", 11, "longer than the file"},
        {"\x93NUMPY\x02\0\xFF\xFF\xFF\xFF{}", 14, "longer than the file"},
    };
    const char *folder = temporary_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = write_file(folder, "a.npy", cases[i].bytes, cases[i].size);
        struct npy npy;
        struct err err;
        check_error(npy_open(&npy, path, &err), &err, STATUS_BAD_DATA, cases[i].part,
                    cases[i].part);
    }
}
END_TEST

/* Values that do not start at a multiple of their size would be read by misaligned loads. */
START_TEST(npy_refuses_unaligned_values)
{
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}";
    unsigned char file[128] = "\x93NUMPY\x01";
    file[8] = sizeof header - 1;
    memcpy(file + 10, header, sizeof header - 1);
    struct npy npy;
    struct err err;
    const char *path = write_file(temporary_folder(), "a.npy", file, 10 + sizeof header - 1 + 4);
    check_error(npy_open(&npy, path, &err), &err, STATUS_BAD_DATA, "not aligned", header);
}
END_TEST

START_TEST(npy_reports_a_missing_file)
{
    struct npy npy;
    struct err err;
    check_error(npy_open(&npy, "nowhere/a.npy", &err), &err, STATUS_MISSING,
                "nowhere/a.npy: no such file", "missing");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("npy");
    TCase *tests = tcase_create("npy");
    tcase_add_loop_test(tests, npy_reads_what_numpy_wrote, 0, N_FILES);
    tcase_add_test(tests, npy_reads_some_rows);
    tcase_add_test(tests, npy_narrows_float64);
    tcase_add_test(tests, npy_says_when_the_file_is_cut);
    tcase_add_loop_test(tests, npy_writes_what_numpy_would, 0, N_WRITABLE);
    tcase_add_test(tests, npy_writer_reports_a_full_disk);
    tcase_add_loop_test(tests, npy_refuses_damaged_headers, 0,
                        (int)(sizeof damaged / sizeof *damaged));
    tcase_add_test(tests, npy_refuses_damaged_starts);
    tcase_add_test(tests, npy_refuses_unaligned_values);
    tcase_add_test(tests, npy_reports_a_missing_file);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
