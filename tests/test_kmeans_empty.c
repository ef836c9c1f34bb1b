/* Clusters that lose all their rows: what k-means gives them, and labels stay the arg-min. */
#include "tests/kmeans_fits.h"

#include "host/rows.h"

/* 40 rows of 10 different points: every point a centre, inertia 0, and 5 clusters stay empty. */
START_TEST(kmeans_allows_fewer_points_than_clusters)
{
    struct cluster_case c = {"duplicates", 40, 3, 15, 73, 1.0};
    struct device device;
    for (int i = 0; test_device(i, &device); i++)
        for (int spherical = 0; spherical < 2; spherical++) {
            float *x = cluster_rows(&c);
            struct kmeans_settings settings = defaults(c.k);
            settings.spherical = spherical;
            struct kmeans_result result;
            open_result(&result, c.n, c.k, c.d);
            must_fit(&device, &result, x, &c, NULL, &settings);
            ck_assert(result.inertia < 1e-12);
            ck_assert(result.converged);
            for (int a = 0; a < c.n; a++)
                for (int b = 0; b < a; b++)
                    ck_assert_int_eq(result.labels[a] == result.labels[b], a % 10 == b % 10);
            for (int j = 0; j < c.k * c.d; j++)
                ck_assert(isfinite(result.centres[j]));
            close_result(&result, c.k, c.d);
            free(x);
            if (spherical)
                device_close(&device);
        }
}
END_TEST

/* Three centres that no row is nearest to: each gets a row, and all clusters end with some. */
START_TEST(kmeans_fills_empty_clusters)
{
    struct device device;
    ck_assert(test_device(0, &device));
    struct cluster_case c = {"blobs", 200, 4, 6, 75, 2.0};
    float *x = cluster_rows(&c), initial[6 * 4];
    for (int j = 0; j < 6 * 4; j++)
        initial[j] = j / 4 < 3 ? x[j] : 1e5f + (float)j;
    struct kmeans_settings settings = defaults(c.k);
    struct kmeans_result result;
    open_result(&result, c.n, c.k, c.d);
    must_fit(&device, &result, x, &c, initial, &settings);
    int counts[6] = {0};
    for (int i = 0; i < c.n; i++)
        counts[result.labels[i]]++;
    for (int i = 0; i < c.k; i++)
        ck_assert_int_gt(counts[i], 0);
    check_consistent(&result, x, &c);
    close_result(&result, c.k, c.d);
    device_close(&device);
    free(x);
}
END_TEST

/* After one assignment, by hand. All rows go to the first centre: the farthest row becomes the
 * second cluster, the lowest of the two next the third. Then row 4 is alone in its cluster and
 * stays, though it is the farthest: row 3 is taken. */
START_TEST(kmeans_moves_the_farthest_rows)
{
    static const struct {
        float x[4], initial[3], want[3];
    } moves[] = {
        {{0, 1, 2, 10}, {1, 1e6f, 2e6f}, {1.5f, 10, 0}},
        {{0, 1, 2, 130}, {0, 100, 1e6f}, {0.5f, 130, 2}},
    };
    struct device device;
    ck_assert(test_device(0, &device));
    struct cluster_case c = {"by hand", 4, 1, 3, 0, 0};
    struct kmeans_settings settings = defaults(c.k);
    settings.max_iterations = 1;
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        struct kmeans_result result;
        open_result(&result, c.n, c.k, c.d);
        must_fit(&device, &result, moves[i].x, &c, moves[i].initial, &settings);
        ck_assert_mem_eq(result.centres, moves[i].want, sizeof moves[i].want);
        close_result(&result, c.k, c.d);
    }
    device_close(&device);
}
END_TEST

/* Equal rows and two clusters: the second centre is far away, or all start on the rows. One row is
 * given to the cluster that is empty, and both centres come to lie together: that is a tie, and the
 * lowest index has it. One unit row in a hundred is not quite what it becomes when it is normalised
 * again, as centres are. */
START_TEST(kmeans_gives_a_moved_row_back_in_a_tie)
{
    struct device device;
    ck_assert(test_device(0, &device));
    for (int way = 0; way < 4; way++)
        for (uint64_t trial = 0; trial < 500; trial++) {
            struct cluster_case c = {"equal rows", 3, 3, 2, 0, 0};
            float x[3 * 3], initial[2 * 3] = {0, 1, 0, 1000, -1000, 1000};
            fill_normal(x, 3, trial, 1.0f);
            memcpy(x + 3, x, 3 * sizeof *x), memcpy(x + 6, x, 3 * sizeof *x);
            struct kmeans_settings settings = defaults(c.k);
            settings.spherical = way % 2;
            struct kmeans_result result;
            open_result(&result, c.n, c.k, c.d);
            must_fit(&device, &result, x, &c, way < 2 ? initial : NULL, &settings);
            for (int i = 0; settings.spherical && i < c.n; i++)
                row_normalise(x + i * c.d, c.d);
            check_consistent(&result, x, &c);
            close_result(&result, c.k, c.d);
        }
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kmeans_empty");
    TCase *tests = tcase_create("kmeans_empty");
    tcase_add_test(tests, kmeans_allows_fewer_points_than_clusters);
    tcase_add_test(tests, kmeans_fills_empty_clusters);
    tcase_add_test(tests, kmeans_moves_the_farthest_rows);
    tcase_add_test(tests, kmeans_gives_a_moved_row_back_in_a_tie);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
