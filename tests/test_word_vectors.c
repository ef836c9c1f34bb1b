/* Word vectors and nearest words against numpy, and lack of memory. */
#include "tests/cluster_inputs.h"
#include "tests/golden_tfidf.h"

#include <math.h>
#include "host/word_vectors.h"

/* ---- against numpy --------------------------------------------------------------------------- */

struct corpus {
    struct tfidf x;
    struct arena arena;
    float *rows, *centres;
    int n_words, d, k, m;
    FILE *file; /* after its first line */
};

static void open_corpus(struct corpus *corpus)
{
    *corpus = (struct corpus){0};
    struct tfidf_builder *builder;
    struct err err;
    ck_assert_int_eq(tfidf_open(&builder, &err), STATUS_OK);
    ck_assert_int_eq(golden_add_texts(builder, &err), STATUS_OK);
    ck_assert_int_eq(tfidf_finish(builder, &corpus->x, 2, &corpus->arena, &err), STATUS_OK);
    tfidf_close(builder);
    corpus->file = fopen(golden("cluster/word_vectors.txt"), "r");
    ck_assert_ptr_nonnull(corpus->file);
    ck_assert_int_eq(
        fscanf(corpus->file, "%d %d %d %d", &corpus->n_words, &corpus->d, &corpus->k, &corpus->m),
        4);
    ck_assert_int_eq(corpus->x.n_words, corpus->n_words);
    struct cluster_case rows = {"blobs", corpus->x.n_rows, corpus->d, 4, 41, 3.0};
    struct cluster_case centres = {"blobs", corpus->k, corpus->d, corpus->k, 42, 3.0};
    corpus->rows = cluster_rows(&rows);
    corpus->centres = cluster_rows(&centres);
}

static void close_corpus(struct corpus *corpus)
{
    free(corpus->rows), free(corpus->centres);
    arena_free(&corpus->arena);
    fclose(corpus->file);
}

START_TEST(word_vectors_match_numpy)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct corpus c;
        struct err err;
        open_corpus(&c);
        size_t size = (size_t)c.n_words * (size_t)c.d;
        float *vectors = guarded_floats(size);
        ck_assert_int_eq(word_vectors(&device, vectors, &c.x, c.rows, c.d, &err), STATUS_OK);
        double *want = malloc(size * sizeof *want);
        for (size_t j = 0; j < size; j++)
            ck_assert_int_eq(fscanf(c.file, "%lf", &want[j]), 1);
        /* The golden numbers have ten digits; the vectors are float32. */
        check_close(vectors, want, size, 1e-9, 0x1p-24, "word vectors");

        int32_t word[3 * 5];
        float score[3 * 5];
        ck_assert_int_eq(c.k * c.m, 15);
        ck_assert_int_eq(words_nearest(&device, word, score, vectors, c.n_words, c.centres, c.k,
                                       c.d, c.m, NULL, &err),
                         STATUS_OK);
        for (int j = 0; j < 15; j++) {
            int want_word;
            double want_score;
            ck_assert_int_eq(fscanf(c.file, "%d %lf", &want_word, &want_score), 2);
            ck_assert_int_eq(word[j], want_word);
            ck_assert(fabs(score[j] - want_score) <= 2e-7);
        }
        free(want);
        check_guarded(vectors, size);
        close_corpus(&c);
        device_close(&device);
    }
}
END_TEST

/* ---- by themselves --------------------------------------------------------------------------- */

/* 70 words, 2,100 columns: several tasks, and more columns than are summed at once. */
START_TEST(word_vectors_are_weighted_means)
{
    enum { ROWS = 9, WORDS = 70, D = 2100 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        int64_t row_start[ROWS + 1] = {0};
        int32_t word[ROWS * WORDS];
        double value[ROWS * WORDS];
        int64_t n = 0;
        for (int r = 0; r < ROWS; r++) {
            for (int w = r; w < WORDS; w += r + 1) { /* row 0 has them all */
                word[n] = w;
                value[n] = 0.1 + cluster_uniform(91, (uint64_t)n);
                n++;
            }
            row_start[r + 1] = n;
        }
        struct tfidf x = {.n_rows = ROWS, .n_words = WORDS, .row_start = row_start};
        x.word = word, x.value = value;
        float *rows = guarded_floats(ROWS * D), *vectors = guarded_floats(WORDS * D);
        fill_normal(rows, ROWS * D, 92, 1.0f);
        double *want = calloc(WORDS * D, sizeof *want), total[WORDS] = {0};
        for (int r = 0; r < ROWS; r++)
            for (int64_t e = row_start[r]; e < row_start[r + 1]; e++) {
                total[word[e]] += value[e];
                for (int j = 0; j < D; j++)
                    want[word[e] * D + j] += value[e] * (double)rows[r * D + j];
            }
        for (int j = 0; j < WORDS * D; j++)
            want[j] /= total[j / D];
        struct err err;
        ck_assert_int_eq(word_vectors(&device, vectors, &x, rows, D, &err), STATUS_OK);
        check_close(vectors, want, WORDS * D, 1e-14, 0x1.01p-24, "weighted means");
        free(want);
        check_guarded(rows, ROWS * D);
        check_guarded(vectors, WORDS * D);
        device_close(&device);
    }
}
END_TEST

START_TEST(words_nearest_orders_ties_and_zeros)
{
    /* Words along, across, against, zero, along again and NaN. */
    const float vectors[6 * 2] = {2, 0, 0, 3, -1, 0, 0, 0, 5, 0, NAN, 1};
    const float centres[2 * 2] = {1, 0, 0, 0};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        int32_t word[2 * 8];
        float score[2 * 8];
        struct err err;
        ck_assert_int_eq(
            words_nearest(&device, word, score, vectors, 6, centres, 2, 2, 8, NULL, &err),
            STATUS_OK);
        const int32_t want[8] = {0, 4, 1, 3, 2, 5, -1, -1};
        const float want_score[8] = {1, 1, 0, 0, -1, -1, 0, 0};
        ck_assert_mem_eq(word, want, sizeof want);
        for (int j = 0; j < 8; j++)
            ck_assert(score[j] == want_score[j]);
        for (int j = 0; j < 5; j++) /* a zero centre: all but NaN alike */
            ck_assert(word[8 + j] == j && score[8 + j] == 0);
        ck_assert_int_eq(
            words_nearest(&device, word, score, vectors, 5, centres, 1, 2, 1, NULL, &err),
            STATUS_OK);
        ck_assert(word[0] == 0 && score[0] == 1);
        ck_assert_int_eq(
            words_nearest(&device, word, score, vectors, 0, centres, 1, 2, 2, NULL, &err),
            STATUS_OK);
        ck_assert(word[0] == -1 && word[1] == -1);
        device_close(&device);
    }
}
END_TEST

/* Five texts in three topics, the last of which has none. */
START_TEST(a_topic_has_the_words_of_its_texts)
{
    int64_t row_start[] = {0, 2, 2, 4, 6, 7};
    int32_t word[] = {1, 4, 0, 4, 2, 4, 0};
    const int32_t topic[] = {0, 0, 1, 0, 1};
    const struct tfidf x = {.n_rows = 5, .n_words = 5, .row_start = row_start, .word = word};
    const int64_t want_start[] = {0, 3, 5, 5};
    const int32_t want[] = {1, 2, 4, 0, 4};
    /* Word 3 is the nearest of both, and no text has it. */
    const float vectors[5 * 2] = {1, 1, 1, 0, 1, 0.5f, 1, 0.1f, 0, 1};
    const float centres[3 * 2] = {1, 0.1f, 1, 0.1f, 1, 0.1f};
    const int32_t want_nearest[3 * 3] = {1, 2, 4, 0, 4, -1, -1, -1, -1};
    struct device device;
    struct topic_words of;
    struct arena arena = {0};
    struct err err;
    ck_assert_int_eq(topic_words_find(&of, &x, topic, 3, &arena, &err), STATUS_OK);
    ck_assert_mem_eq(of.start, want_start, sizeof want_start);
    ck_assert_mem_eq(of.word, want, sizeof want);
    for (int i = 0; test_device(i, &device); i++) {
        int32_t nearest[3 * 3];
        float score[3 * 3];
        ck_assert_int_eq(
            words_nearest(&device, nearest, score, vectors, 5, centres, 3, 2, 3, &of, &err),
            STATUS_OK);
        ck_assert_mem_eq(nearest, want_nearest, sizeof want_nearest);
        ck_assert(score[0] > score[1] && score[1] > score[2] && score[8] == 0);
        device_close(&device);
    }
    mem_fail_at(1);
    ck_assert_int_eq(topic_words_find(&of, &x, topic, 3, &arena, &err), STATUS_RESOURCE);
    mem_fail_at(0);
    arena_free(&arena);
}
END_TEST

START_TEST(word_vectors_report_lack_of_memory)
{
    struct device device;
    ck_assert(test_device(0, &device));
    struct corpus c;
    open_corpus(&c);
    float *vectors = guarded_floats((size_t)c.n_words * (size_t)c.d);
    int32_t word[15];
    float score[15];
    struct err err;
    mem_fail_at(1);
    ck_assert_int_eq(word_vectors(&device, vectors, &c.x, c.rows, c.d, &err), STATUS_RESOURCE);
    ck_assert_int_eq(words_nearest(&device, word, score, vectors, c.n_words, c.centres, c.k, c.d,
                                   c.m, NULL, &err),
                     STATUS_RESOURCE);
    mem_fail_at(0);
    check_guarded(vectors, (size_t)c.n_words * (size_t)c.d);
    close_corpus(&c);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("word_vectors");
    TCase *tests = tcase_create("word_vectors");
    tcase_add_test(tests, word_vectors_match_numpy);
    tcase_add_test(tests, word_vectors_are_weighted_means);
    tcase_add_test(tests, words_nearest_orders_ties_and_zeros);
    tcase_add_test(tests, a_topic_has_the_words_of_its_texts);
    tcase_add_test(tests, word_vectors_report_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
