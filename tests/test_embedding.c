/* Embedding lookup: exact, for both types of table. */
#include "tests/support.h"

#include <stdlib.h>
#include "host/base/float16.h"
#include "kernels/embedding.h"

#define ROWS 41

/* Round the vector width of 8 and the task size of 16. */
static const int counts[] = {0, 1, 15, 16, 17, 33, 100};
static const int widths[] = {1, 7, 8, 9, 31, 64, 576};

static void check_table(struct device *device, const struct dense_matrix *table, int n)
{
    size_t size = (size_t)n * (size_t)table->columns;
    float *y = guarded_floats(size);
    double *want = malloc(size * sizeof *want + 1);
    int32_t tokens[100];
    for (int i = 0; i < n; i++)
        tokens[i] = i == 0 ? ROWS - 1 : (int32_t)(mix64(3, (uint64_t)i) % ROWS);
    embedding_fwd_ref(want, tokens, table, n);
    struct err err;
    ck_assert_int_eq(embedding_fwd(device, y, tokens, table, n, &err), STATUS_OK);
    check_close(y, want, size, 0, 0, "%s type %d, %d x %d", test_device_name(device), table->type,
                n, table->columns);
    free(want);
    check_guarded(y, size);
}

START_TEST(embedding_copies_rows_exactly)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            size_t size = ROWS * (size_t)widths[w];
            float *wide = guarded_floats(size);
            uint16_t *narrow = malloc(size * sizeof *narrow);
            fill_normal(wide, size, 1, 1.0f);
            for (size_t j = 0; j < size; j++)
                narrow[j] = bf16_from_float(wide[j]);
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
                struct dense_matrix f32 = {PRECISION_F32, wide, ROWS, widths[w]};
                struct dense_matrix bf16 = {PRECISION_BF16, narrow, ROWS, widths[w]};
                check_table(&device, &f32, counts[c]);
                check_table(&device, &bf16, counts[c]);
            }
            free(narrow);
            check_guarded(wide, size);
        }
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("embedding");
    TCase *tests = tcase_create("embedding");
    tcase_add_test(tests, embedding_copies_rows_exactly);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
