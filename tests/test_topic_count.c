/* The number of topics: the one that rows were made with, by silhouettes that are what they are
 * defined as. */
#include "host/topic_count.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support.h"

enum { N = 900, D = 8 };

/* k groups with centres on a grid, far apart beside their spread. */
static float *groups(int k)
{
    float *x = test_alloc(N * D * sizeof *x);
    fill_normal(x, N * D, 3, 0.3f);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            x[i * D + j] += (float)(mix64(7, (uint64_t)(i % k * D + j)) % 8);
    return x;
}

static struct kmeans_settings defaults(void)
{
    struct kmeans_settings settings = KMEANS_DEFAULTS;
    return settings;
}

START_TEST(the_number_of_groups_is_found)
{
    static const int numbers[] = {2, 3, 5, 11, 13, 27, 30};
    struct device device;
    struct kmeans_settings settings = defaults();
    ck_assert(test_device(0, &device));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        float *x = groups(numbers[i]);
        struct row_chunks rows = row_chunks_of(&device, x, N, D);
        struct topic_count count;
        struct err err;
        ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, NULL, &err), STATUS_OK);
        ck_assert_int_eq(count.chosen, numbers[i]);
        ck_assert_int_eq(count.tried[0], 2);
        for (int p = 1; p < count.n_tried; p++)
            ck_assert_int_lt(count.tried[p - 1], count.tried[p]);
        free(x);
    }
    device_close(&device);
}
END_TEST

static double distance(const float *a, const float *b)
{
    double square = 0;
    for (int j = 0; j < D; j++)
        square += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return sqrt(square);
}

/* By its definition, over the same clusters. */
START_TEST(silhouettes_are_the_simplified_ones)
{
    struct device device;
    struct kmeans_settings settings = defaults();
    struct topic_count count;
    struct err err;
    ck_assert(test_device(0, &device));
    float *x = groups(5);
    x[3] = 1e3f; /* a row that is a cluster by itself */
    struct row_chunks rows = row_chunks_of(&device, x, N, D);
    ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, NULL, &err), STATUS_OK);
    settings.restarts = 4;
    for (int p = 0; p < count.n_tried; p++) {
        float centres[200 * D];
        int32_t labels[N];
        int sizes[200] = {0};
        struct kmeans_result result = {.centres = centres, .labels = labels};
        settings.k = count.tried[p];
        ck_assert_int_eq(kmeans_fit(&result, &rows, NULL, &settings, &err), STATUS_OK);
        for (int i = 0; i < N; i++)
            sizes[labels[i]]++;
        double sum = 0;
        for (int i = 0; i < N; i++) {
            double a = distance(x + i * D, centres + labels[i] * D), b = INFINITY;
            for (int c = 0; c < settings.k; c++)
                if (c != labels[i])
                    b = fmin(b, distance(x + i * D, centres + c * D));
            sum += sizes[labels[i]] > 1 ? (b - a) / fmax(a, b) : 0;
        }
        ck_assert(fabs(count.silhouette[p] - sum / N) < 1e-12);
    }
    free(x);
    device_close(&device);
}
END_TEST

/* The sample is normalised once, as rows that already are would be. */
START_TEST(spherical_numbers_are_those_of_normalised_rows)
{
    struct device device;
    struct kmeans_settings settings = defaults();
    struct topic_count spherical, plain;
    struct err err;
    ck_assert(test_device(0, &device));
    float *x = groups(5);
    struct row_chunks rows = row_chunks_of(&device, x, N, D);
    settings.spherical = true;
    ck_assert_int_eq(topic_count_choose(&spherical, &rows, &settings, NULL, &err), STATUS_OK);
    row_chunks_close(&rows);
    for (int i = 0; i < N; i++)
        row_normalise(x + i * D, D);
    rows = row_chunks_of(&device, x, N, D);
    settings.spherical = false;
    ck_assert_int_eq(topic_count_choose(&plain, &rows, &settings, NULL, &err), STATUS_OK);
    ck_assert_int_eq(spherical.n_tried, plain.n_tried);
    for (int p = 0; p < plain.n_tried; p++) {
        ck_assert_int_eq(spherical.tried[p], plain.tried[p]);
        ck_assert(spherical.silhouette[p] == plain.silhouette[p]);
    }
    free(x);
    device_close(&device);
}
END_TEST

START_TEST(few_rows_and_equal_rows_have_a_number)
{
    struct device device;
    struct kmeans_settings settings = defaults();
    struct topic_count count;
    struct err err;
    ck_assert(test_device(0, &device));
    float x[12 * D] = {0};
    for (int n = 1; n <= 12; n++) {
        struct row_chunks rows = row_chunks_of(&device, x, n, D);
        ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, NULL, &err), STATUS_OK);
        ck_assert_int_eq(count.chosen, 1);
        ck_assert_int_eq(count.n_tried, n < 3 ? 0 : n < 9 ? 1 : 2);
        for (int p = 0; p < count.n_tried; p++)
            ck_assert(count.silhouette[p] == 0);
        char doubt[TOPIC_COUNT_DOUBT_SIZE];
        topic_count_doubt(&count, doubt);
        ck_assert_str_eq(doubt, n < 3 ? "" : "all rows are equal: one topic");
    }
    x[5] = NAN;
    struct row_chunks rows = row_chunks_of(&device, x, 12, D);
    check_error(topic_count_choose(&count, &rows, &settings, NULL, &err), &err, STATUS_BAD_DATA,
                "row 1", "a row that is not finite");
    device_close(&device);
}
END_TEST

/* Beyond the root of the number of rows only where clusters are clear, and that is said. */
START_TEST(numbers_go_on_where_the_last_is_the_best)
{
    enum { ROWS = 60 };
    struct device device;
    struct kmeans_settings settings = defaults();
    struct topic_count count;
    struct err err;
    char doubt[TOPIC_COUNT_DOUBT_SIZE];
    ck_assert(test_device(0, &device));
    for (int k = 12; k <= 20; k += 8) { /* 20: more than a cluster for each 4 rows */
        float *x = groups(k);
        struct row_chunks rows = row_chunks_of(&device, x, ROWS, D);
        ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, NULL, &err), STATUS_OK);
        topic_count_doubt(&count, doubt);
        ck_assert_int_eq(count.chosen, k == 12 ? 12 : count.tried[count.n_tried - 1]);
        ck_assert_int_le(count.tried[count.n_tried - 1], ROWS / TOPIC_COUNT_LEAST_ROWS);
        ck_assert(k == 12 ? !*doubt : strstr(doubt, "14 is the largest number") == doubt);
        free(x);
    }
    /* One group, in few dimensions and in many: the silhouette rises to the end, or is high, and
     * says nothing. */
    for (int width = 4; width <= 256; width *= 4) {
        float *x = test_alloc(N * (size_t)width * sizeof *x);
        fill_normal(x, N * (size_t)width, 3, 1);
        int n = width < 64 ? N : 400; /* in many dimensions it takes long */
        struct row_chunks rows = row_chunks_of(&device, x, n, width);
        ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, NULL, &err), STATUS_OK);
        topic_count_doubt(&count, doubt);
        ck_assert_int_le(count.tried[count.n_tried - 1], (int)sqrt(n));
        ck_assert(width == 4 || strstr(doubt, "no number of topics is clear") == doubt);
        free(x);
    }
    device_close(&device);
}
END_TEST

struct told {
    size_t n, done, total;
};

static void keep_told(void *context, const char *stage, const char *unit, size_t done, size_t total)
{
    struct told *told = context;
    (void)stage;
    (void)unit;
    ck_assert(told->n == 0 || (done > told->done && told->done < told->total));
    *told = (struct told){told->n + 1, done, total};
}

/* One report a number that is tried, those in between too, and one at the end. */
START_TEST(progress_counts_all_that_is_tried)
{
    struct device device;
    struct kmeans_settings settings = defaults();
    struct topic_count count;
    struct err err;
    struct told told = {0};
    struct progress progress = {.report = keep_told, .context = &told};
    ck_assert(test_device(0, &device));
    float *x = groups(13);
    struct row_chunks rows = row_chunks_of(&device, x, N, D);
    ck_assert_int_eq(topic_count_choose(&count, &rows, &settings, &progress, &err), STATUS_OK);
    size_t sum = 0;
    for (int p = 0; p < count.n_tried; p++)
        sum += (size_t)count.tried[p];
    ck_assert_uint_eq(told.n, (size_t)count.n_tried + 1);
    ck_assert_uint_eq(told.done, sum);
    ck_assert_uint_eq(told.total, sum);
    free(x);
    device_close(&device);
}
END_TEST

struct choice {
    struct device device;
    const float *x;
};

static enum status choose_again(void *context, struct err *err)
{
    struct choice *choice = context;
    struct row_chunks rows = row_chunks_of(&choice->device, choice->x, 100, D);
    struct kmeans_settings settings = defaults();
    struct topic_count count;
    return topic_count_choose(&count, &rows, &settings, NULL, err);
}

START_TEST(lack_of_memory_is_reported)
{
    struct choice choice = {.x = groups(4)};
    ck_assert(test_device(0, &choice.device));
    ck_assert_int_ge(check_lack_of_memory(choose_again, &choice, "topic_count_choose"), 3);
    free((void *)choice.x);
    device_close(&choice.device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topic_count");
    TCase *tests = tcase_create("topic_count");
    tcase_add_test(tests, the_number_of_groups_is_found);
    tcase_add_test(tests, silhouettes_are_the_simplified_ones);
    tcase_add_test(tests, spherical_numbers_are_those_of_normalised_rows);
    tcase_add_test(tests, few_rows_and_equal_rows_have_a_number);
    tcase_add_test(tests, numbers_go_on_where_the_last_is_the_best);
    tcase_add_test(tests, progress_counts_all_that_is_tried);
    tcase_add_test(tests, lack_of_memory_is_reported);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
