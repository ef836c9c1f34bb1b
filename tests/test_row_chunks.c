/* Rows a chunk at a time: whatever way they are read, they are the rows of the files. */
#include "host/row_chunks.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host/base/float16.h"
#include "host/base/memory.h"
#include "loaders/npy.h"
#include "tests/support.h"

enum { N_PARTS = 5, D = 7, MOST_ROWS = 2200 };
static const int part_rows[N_PARTS] = {700, 0, 1, 963, 536};

/* What the parts hold: their rows one after another, as float32. */
struct written {
    char paths[N_PARTS][256];
    const char *path[N_PARTS];
    float *x;    /* of all rows */
    float *used; /* of those that are not blank */
    int n, n_used;
    struct embedding_parts parts;
};

static bool is_blank_row(int row)
{
    return row % 9 == 4 || (row > 128 && row < 198) || row == 2199;
}

static void write_parts(struct written *w, enum npy_type type)
{
    struct err err;
    const char *folder = temporary_folder();
    w->x = test_alloc(MOST_ROWS * D * sizeof *w->x);
    w->used = test_alloc(MOST_ROWS * D * sizeof *w->used);
    fill_normal(w->x, MOST_ROWS * D, 5, 1.0f);
    w->n = w->n_used = 0;
    for (int part = 0; part < N_PARTS; part++) {
        float *x = w->x + w->n * D;
        for (int i = 0; i < part_rows[part]; i++) {
            for (int j = 0; j < D; j++) {
                float *value = &x[i * D + j];
                *value = is_blank_row(w->n + i) ? 0 : *value;
                if (type == NPY_F16)
                    *value = f16_to_float(f16_from_float(*value));
            }
            if (!is_blank_row(w->n + i))
                memcpy(w->used + w->n_used++ * D, x + i * D, D * sizeof *x);
        }
        snprintf(w->paths[part], sizeof w->paths[part], "%s/part%d.npy", folder, part);
        w->path[part] = w->paths[part];
        if (npy_write(w->path[part], type, 2, part_rows[part], D, x, &err) != STATUS_OK)
            ck_abort_msg("%s", err.text);
        w->n += part_rows[part];
    }
    if (embedding_parts_measure(&w->parts, w->path, N_PARTS, &err) != STATUS_OK)
        ck_abort_msg("%s", err.text);
}

static void drop_parts(struct written *w)
{
    free(w->x), free(w->used);
}

/* All rows, in reads of n rows that start anywhere. */
static void check_rows(struct row_chunks *rows, const float *want, int at_once)
{
    struct err err;
    for (int first = 0; first < rows->n; first += at_once) {
        int n = rows->n - first < at_once ? rows->n - first : at_once;
        const float *x;
        if (row_chunks_read(rows, first, n, &x, &err) != STATUS_OK)
            ck_abort_msg("%s", err.text);
        ck_assert_mem_eq(x, want + first * D, (size_t)n * D * sizeof *x);
    }
}

START_TEST(rows_of_parts_are_those_of_the_files)
{
    struct device device;
    struct written w;
    write_parts(&w, _i % 2 ? NPY_F16 : NPY_F32);
    for (int i = 0; test_device(i, &device); i++) {
        struct row_chunks rows;
        struct err err;
        size_t memory = _i / 2 ? SIZE_MAX : 0;
        if (row_chunks_open(&rows, &device, &w.parts, memory, &err) != STATUS_OK)
            ck_abort_msg("%s", err.text);
        ck_assert_int_eq(rows.n, w.n_used);
        ck_assert_int_eq(rows.d, D);
        ck_assert(!rows.x == !memory);
        ck_assert_uint_eq(row_chunks_all(&rows), (size_t)w.n);
        for (int row = 0; row < w.n; row++)
            ck_assert(row_chunks_is_blank(&rows, (size_t)row) == is_blank_row(row));
        check_rows(&rows, w.used, 1);
        check_rows(&rows, w.used, 333);
        check_rows(&rows, w.used, rows.rows_per_chunk < rows.n ? rows.rows_per_chunk : rows.n);
        row_chunks_close(&rows);
        device_close(&device);
    }
    drop_parts(&w);
}
END_TEST

/* Transformed and normalised rows have the same bits from memory and from files, also where two ask
 * for normalised ones. */
START_TEST(rows_are_transformed_and_normalised)
{
    struct device device;
    struct written w;
    struct err err;
    ck_assert(test_device(0, &device));
    write_parts(&w, NPY_F32);
    struct arena arena = {0};
    struct transform transform;
    struct row_chunks rows = row_chunks_of(&device, w.used, w.n_used, D);
    ck_assert_int_eq(transform_fit(&transform, NORMALISE_CENTRE, 2, &rows, &arena, &err),
                     STATUS_OK);
    float *want = test_alloc((size_t)w.n_used * D * sizeof *want);
    memcpy(want, w.used, (size_t)w.n_used * D * sizeof *want);
    transform_apply(&device, &transform, want, w.n_used);
    for (int spherical = 0; spherical < 2; spherical++) {
        for (int row = 0; spherical && row < w.n_used; row++)
            row_normalise(want + row * D, D);
        for (int resident = 0; resident < 2; resident++) {
            ck_assert_int_eq(
                row_chunks_open(&rows, &device, &w.parts, resident ? SIZE_MAX : 0, &err),
                STATUS_OK);
            row_chunks_transform(&rows, &transform);
            for (int times = 0; spherical && times < 2; times++)
                ck_assert_int_eq(row_chunks_normalise(&rows, &err), STATUS_OK);
            check_rows(&rows, want, 500);
            row_chunks_close(&rows);
        }
    }
    arena_free(&arena);
    free(want);
    drop_parts(&w);
    device_close(&device);
}
END_TEST

/* Rows that are the caller's are normalised in a copy. */
START_TEST(rows_of_the_caller_stay_as_they_are)
{
    struct device device;
    struct err err;
    ck_assert(test_device(0, &device));
    float x[3 * D], kept[3 * D], want[3 * D];
    fill_normal(x, 3 * D, 1, 2.0f);
    memset(x + D, 0, D * sizeof *x);
    memcpy(kept, x, sizeof x), memcpy(want, x, sizeof x);
    struct row_chunks rows = row_chunks_of(&device, x, 3, D);
    check_rows(&rows, x, 3);
    ck_assert_int_eq(row_chunks_normalise(&rows, &err), STATUS_OK);
    for (int row = 0; row < 3; row++)
        row_normalise(want + row * D, D);
    check_rows(&rows, want, 2);
    ck_assert_mem_eq(x, kept, sizeof x);
    row_chunks_close(&rows);
    device_close(&device);
}
END_TEST

static void add_values(void *context, const float *x, int first, int last, double *partial)
{
    int *n_added = context;
    for (int i = first; i < last; i++)
        for (int j = 0; j < D; j++)
            partial[j] += (double)x[i * D + j];
    __atomic_add_fetch(n_added, last - first, __ATOMIC_RELAXED);
}

START_TEST(sums_do_not_depend_on_chunks)
{
    struct device device;
    struct written w;
    struct err err;
    write_parts(&w, NPY_F32);
    double want[D] = {0};
    for (int first = 0; first < w.n_used; first += ROWS_PER_BLOCK) {
        double block[D] = {0};
        for (int i = first; i < w.n_used && i < first + ROWS_PER_BLOCK; i++)
            for (int j = 0; j < D; j++)
                block[j] += (double)w.used[i * D + j];
        for (int j = 0; j < D; j++)
            want[j] += block[j];
    }
    for (int i = 0; test_device(i, &device); i++)
        for (int way = 0; way < 3; way++) {
            struct row_chunks rows = row_chunks_of(&device, w.used, w.n_used, D);
            double got[D];
            int n_added = 0;
            if (way > 0)
                ck_assert_int_eq(
                    row_chunks_open(&rows, &device, &w.parts, way == 1 ? SIZE_MAX : 0, &err),
                    STATUS_OK);
            if (way != 1)
                rows.rows_per_chunk = ROWS_PER_BLOCK;
            ck_assert_int_eq(row_chunks_sum(&rows, got, D, add_values, &n_added, &err), STATUS_OK);
            ck_assert_int_eq(n_added, w.n_used);
            ck_assert_mem_eq(got, want, sizeof want);
            if (way > 0)
                row_chunks_close(&rows);
            if (way == 2)
                device_close(&device);
        }
    drop_parts(&w);
}
END_TEST

/* Writes the value over column 2 of a row of a part. */
static void spoil(const struct written *w, int part, int row, float value)
{
    int file = open(w->path[part], O_WRONLY);
    ck_assert_int_eq(pwrite(file, &value, sizeof value, 128 + (row * D + 1) * 4), sizeof value);
    ck_assert_int_eq(close(file), 0);
}

START_TEST(rows_that_cannot_be_used_are_refused)
{
    struct device device;
    struct written w;
    struct row_chunks rows;
    struct err err;
    const float *x;
    ck_assert(test_device(0, &device));
    write_parts(&w, NPY_F32);
    spoil(&w, 3, 800, NAN);
    spoil(&w, 3, 655, -INFINITY);
    check_error(row_chunks_open(&rows, &device, &w.parts, 0, &err), &err, STATUS_BAD_DATA,
                "part3.npy: row 656: column 2 is -inf", "a spoilt row");
    row_chunks_close(&rows);
    spoil(&w, 3, 800, 1), spoil(&w, 3, 655, 1);
    ck_assert_int_eq(row_chunks_open(&rows, &device, &w.parts, 0, &err), STATUS_OK);
    ck_assert_int_eq(truncate(w.path[3], 4096), 0);
    ck_assert_int_ne(row_chunks_read(&rows, 0, rows.n, &x, &err), STATUS_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "part3.npy: "));
    ck_assert_int_eq(npy_write(w.path[3], NPY_F32, 2, 900, D, w.x, &err), STATUS_OK);
    check_error(row_chunks_read(&rows, 0, rows.n, &x, &err), &err, STATUS_BAD_DATA,
                "part3.npy: changed while it was read", "a longer part");
    row_chunks_close(&rows);
    check_error(row_chunks_open(&rows, &device, &w.parts, 0, &err), &err, STATUS_BAD_DATA,
                "changed while it was read", "a longer part");
    row_chunks_close(&rows);
    float bad[2 * D] = {0};
    bad[D] = NAN;
    rows = row_chunks_of(&device, bad, 2, D);
    check_error(row_chunks_check(&rows, &err), &err, STATUS_BAD_DATA, "row 2",
                "a row of the caller's");
    drop_parts(&w);
    device_close(&device);
}
END_TEST

/* A file that takes no room: its rows are a hole. */
static void write_hole(char *path, size_t size, const char *name, long long rows)
{
    char header[128];
    snprintf(path, size, "%s/%s.npy", temporary_folder(), name);
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\0\x76", 10);
    int n = snprintf(header + 10, sizeof header - 10,
                     "{'descr': '<f2', 'fortran_order': False, 'shape': (%lld, 1), }", rows);
    header[10 + n] = ' ', header[127] = '\n';
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(file, header, sizeof header), sizeof header);
    ck_assert_int_eq(ftruncate(file, (off_t)sizeof header + 2 * rows), 0);
    ck_assert_int_eq(close(file), 0);
}

START_TEST(more_rows_than_can_be_numbered_are_refused)
{
    char paths[2][256];
    const char *path[] = {paths[0], paths[1]};
    struct embedding_parts parts;
    struct err err;
    write_hole(paths[0], sizeof paths[0], "most", EMBEDDING_MOST_ROWS);
    write_hole(paths[1], sizeof paths[1], "one", 1);
    ck_assert_int_eq(embedding_parts_measure(&parts, path, 1, &err), STATUS_OK);
    check_error(embedding_parts_measure(&parts, path, 2, &err), &err, STATUS_BAD_DATA,
                "one.npy: more than 2000000000 rows in all", "a row too many");
}
END_TEST

struct opening {
    struct device device;
    struct written written;
    size_t memory;
};

static enum status open_again(void *context, struct err *err)
{
    struct opening *opening = context;
    struct row_chunks rows;
    enum status status =
        row_chunks_open(&rows, &opening->device, &opening->written.parts, opening->memory, err);
    if (status == STATUS_OK)
        status = row_chunks_normalise(&rows, err);
    row_chunks_close(&rows);
    return status;
}

START_TEST(rows_report_lack_of_memory)
{
    struct opening opening = {.memory = _i ? SIZE_MAX : 0};
    ck_assert(test_device(0, &opening.device));
    write_parts(&opening.written, NPY_F32);
    ck_assert_int_ge(check_lack_of_memory(open_again, &opening, "row_chunks_open"), 4);
    drop_parts(&opening.written);
    device_close(&opening.device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("row_chunks");
    TCase *tests = tcase_create("row_chunks");
    tcase_add_loop_test(tests, rows_of_parts_are_those_of_the_files, 0, 4);
    tcase_add_test(tests, rows_are_transformed_and_normalised);
    tcase_add_test(tests, rows_of_the_caller_stay_as_they_are);
    tcase_add_test(tests, sums_do_not_depend_on_chunks);
    tcase_add_test(tests, rows_that_cannot_be_used_are_refused);
    tcase_add_test(tests, more_rows_than_can_be_numbered_are_refused);
    tcase_add_loop_test(tests, rows_report_lack_of_memory, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
