/* Topics from planted embeddings: three groups of texts far apart, each with its own words. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <jansson.h>
#include "host/topics.h"
#include "host/topics_files.h"

#define WIDTH 8
#define N     31 /* ten texts a group, and a blank one in the middle */

static const char *const group_words[3][4] = {
    {"boat", "harbour", "sail", "tide"},
    {"oven", "flour", "bread", "yeast"},
    {"violin", "concert", "melody", "choir"},
};

/* Row 15 is blank; every other row i belongs to group i % 3. Texts have two words of their group.
 */
static void plant(struct corpus *corpus, float *embeddings)
{
    static const char *labels[] = {"sea", "kitchen", "music"};
    *corpus = (struct corpus){.n_rows = N, .labels = labels, .n_labels = 3, .n_blank = 1};
    corpus->rows = calloc(N, sizeof *corpus->rows);
    fill_normal(embeddings, N * WIDTH, 7, 0.1f);
    for (int i = 0; i < N; i++) {
        struct corpus_row *row = &corpus->rows[i];
        char *text = calloc(64, 1);
        int group = i % 3;
        if (i == 15) {
            row->blank = true;
            memset(embeddings + i * WIDTH, 0, WIDTH * sizeof *embeddings);
        } else {
            snprintf(text, 64, "%s, the %s", group_words[group][i / 3 % 4],
                     group_words[group][(i / 3 + 1) % 4]);
            embeddings[i * WIDTH + group] += 10;
        }
        row->text = text;
        row->length = strlen(text);
        row->label = group;
    }
}

static void release(struct corpus *corpus)
{
    for (int i = 0; i < N; i++)
        free((char *)corpus->rows[i].text);
    free(corpus->rows);
}

static struct topics_settings default_settings(void)
{
    struct topics_settings settings = {
        .kmeans = KMEANS_DEFAULTS,
        .normalise = NORMALISE_CENTRE_L2,
        .n_words = 5,
        .language = "en",
    };
    settings.kmeans.k = 3;
    return settings;
}

/* Four of each; the fifth would be another topic's. */
static void check_words(const struct topics *topics, bool any_words)
{
    for (int topic = 0; topic < 3; topic++) {
        int group = topic == topics->topic[0] ? 0 : topic == topics->topic[1] ? 1 : 2;
        for (int i = 0; i < 4; i++) {
            const char *word = topics->tfidf.words[topics->word[topic * 5 + i]];
            bool found = false;
            for (int j = 0; j < 4; j++)
                found = found || strcmp(word, group_words[group][j]) == 0;
            ck_assert_msg(found, "topic %d: word %s", topic, word);
        }
        ck_assert((topics->word[topic * 5 + 4] >= 0) == any_words);
    }
}

/* Distances and margins by hand, from the transformed rows (the used ones, moved to the front). */
static void check_distances(const struct topics *topics, const float *rows)
{
    for (int row = 0, used = 0; row < N; row++) {
        if (row == 15)
            continue;
        double distance[3];
        for (int topic = 0; topic < 3; topic++) {
            double sum = 0;
            for (int j = 0; j < WIDTH; j++) {
                double difference =
                    (double)rows[used * WIDTH + j] - (double)topics->centres[topic * WIDTH + j];
                sum += difference * difference;
            }
            distance[topic] = sqrt(sum);
        }
        int own = topics->topic[row], a = (own + 1) % 3, b = (own + 2) % 3;
        double next = distance[a] < distance[b] ? distance[a] : distance[b];
        ck_assert_double_eq_tol((double)topics->distance[row], distance[own], 1e-6);
        ck_assert_double_eq_tol((double)topics->margin[row], next - distance[own], 1e-6);
        used++;
    }
}

START_TEST(planted_topics_are_found)
{
    struct device device;
    for (int i = 0; test_device(i / 2, &device); i++) {
        struct corpus corpus;
        float embeddings[N * WIDTH];
        plant(&corpus, embeddings);
        struct topics_settings settings = default_settings();
        struct topics topics;
        struct err err;
        settings.any_words = i % 2;
        ck_assert_msg(topics_find(&topics, &device, &corpus, embeddings, WIDTH, &settings, NULL,
                                  &err) == STATUS_OK,
                      "%s", err.text);
        ck_assert(topics.score.nmi == 1 && topics.score.purity == 1);
        ck_assert_int_eq(topics.score.n, N - 1);
        ck_assert_int_eq(topics.topic[15], -1);
        ck_assert_int_eq(topics.size[0] + topics.size[1] + topics.size[2], N - 1);
        ck_assert_str_eq(topics.language, "en");
        for (int row = 0; row < N; row++)
            if (row != 15)
                ck_assert(topics.margin[row] > 0.5f && topics.distance[row] < 0.5f);
        check_distances(&topics, embeddings);
        check_words(&topics, settings.any_words);
        topics_free(&topics);
        release(&corpus);
        device_close(&device);
    }
}
END_TEST

static void find(struct topics *topics, struct device *device, const struct corpus *corpus,
                 float *embeddings, const bool *held_out)
{
    struct topics_settings settings = default_settings();
    struct err err;
    settings.held_out = held_out;
    ck_assert_msg(topics_find(topics, device, corpus, embeddings, WIDTH, &settings, NULL, &err) ==
                      STATUS_OK,
                  "%s", err.text);
}

/* Rows held out change nothing of what is found in the others: centres, words and distances are
 * those of a corpus that lacks them. They get the nearest centre, and a score of their own. */
START_TEST(rows_held_out_have_no_part)
{
    struct device device;
    struct corpus corpus, without;
    float embeddings[N * WIDTH], copy[N * WIDTH];
    bool held_out[N] = {0};
    struct topics topics, reference;
    int kept[N], n_kept = 0;
    ck_assert(test_device(0, &device));
    plant(&corpus, embeddings);
    without = corpus;
    without.rows = calloc(N, sizeof *without.rows);
    for (int i = 0; i < N; i++) {
        held_out[i] = i % 5 == 2 || i == 30; /* the last row too */
        if (held_out[i])
            continue;
        without.rows[n_kept] = corpus.rows[i];
        memcpy(copy + n_kept * WIDTH, embeddings + i * WIDTH, WIDTH * sizeof *copy);
        kept[n_kept++] = i;
    }
    without.n_rows = (size_t)n_kept;
    /* One that is held out is a musician that stands among the cooks. */
    embeddings[2 * WIDTH + 2] -= 10;
    embeddings[2 * WIDTH + 1] += 10;
    find(&topics, &device, &corpus, embeddings, held_out);
    find(&reference, &device, &without, copy, NULL);
    ck_assert_int_eq(topics.n_held_out, N - n_kept);
    ck_assert_int_eq(topics.n_used, n_kept - 1);
    ck_assert_mem_eq(topics.centres, reference.centres, 3 * WIDTH * sizeof(float));
    ck_assert_int_eq(topics.tfidf.n_words, reference.tfidf.n_words);
    ck_assert_mem_eq(topics.word, reference.word, 3 * 5 * sizeof *topics.word);
    for (int i = 0; i < n_kept; i++) {
        ck_assert_int_eq(topics.topic[kept[i]], reference.topic[i]);
        ck_assert(topics.distance[kept[i]] == reference.distance[i]);
    }
    ck_assert_int_eq(topics.topic[2], topics.topic[1]);
    ck_assert_int_eq(topics.topic[7], topics.topic[1]);
    ck_assert_int_eq(topics.score.n, N - n_kept);
    ck_assert_double_lt(topics.score.purity, 1);
    ck_assert_int_eq(topics.training_score.n, n_kept - 1);
    ck_assert(topics.training_score.nmi == 1);
    ck_assert_int_eq(topics.size[0] + topics.size[1] + topics.size[2], N - 1);
    topics_free(&topics);
    topics_free(&reference);
    free(without.rows);
    release(&corpus);
    device_close(&device);
}
END_TEST

static void expect_failure(const struct topics_settings *settings, enum status want,
                           const char *words)
{
    struct device device;
    struct corpus corpus;
    float embeddings[N * WIDTH];
    struct topics topics;
    struct err err = {0};
    test_device(0, &device);
    plant(&corpus, embeddings);
    ck_assert_int_eq(
        topics_find(&topics, &device, &corpus, embeddings, WIDTH, settings, NULL, &err), want);
    ck_assert_msg(strstr(err.text, words) != NULL, "%s", err.text);
    release(&corpus);
    device_close(&device);
}

/* Less the mean of the others, a row that is held out is no float32 any more: it has no topic. */
START_TEST(rows_held_out_are_finite)
{
    struct device device;
    struct corpus corpus;
    float embeddings[N * WIDTH];
    bool held_out[N] = {[2] = true};
    struct topics_settings settings = default_settings();
    struct topics topics;
    struct err err;
    ck_assert(test_device(0, &device));
    plant(&corpus, embeddings);
    embeddings[2 * WIDTH] = 3.4028e38f;
    embeddings[3 * WIDTH] = -3e38f;
    settings.held_out = held_out;
    settings.normalise = NORMALISE_CENTRE;
    check_error(topics_find(&topics, &device, &corpus, embeddings, WIDTH, &settings, NULL, &err),
                &err, STATUS_BAD_DATA, "not a finite number", "a row held out");
    release(&corpus);
    device_close(&device);
}
END_TEST

START_TEST(impossible_settings_are_refused)
{
    struct topics_settings settings = default_settings();
    settings.kmeans.k = N; /* a blank text is none */
    expect_failure(&settings, STATUS_USAGE, "only 30 texts to cluster");
    settings = default_settings();
    settings.min_df = 20;
    expect_failure(&settings, STATUS_BAD_DATA, "--min-df");
    settings = default_settings();
    settings.language = "tlh";
    expect_failure(&settings, STATUS_USAGE, "tlh");
}
END_TEST

START_TEST(min_df_follows_the_size)
{
    static const struct {
        size_t n;
        int want;
    } cases[] = {{1, 1},    {19, 1},   {20, 2},    {1000, 2},
                 {1500, 3}, {4999, 9}, {5000, 10}, {9999999, 10}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(topics_auto_min_df(cases[i].n), cases[i].want);
}
END_TEST

START_TEST(files_hold_what_was_found)
{
    struct device device;
    struct corpus corpus;
    float embeddings[N * WIDTH];
    struct topics_settings settings = default_settings();
    struct topics topics;
    struct err err;
    test_device(0, &device);
    plant(&corpus, embeddings);
    free((char *)corpus.rows[0].text);
    corpus.rows[0].text = strdup("a \"quoted\", broken\nboat");
    corpus.rows[0].length = strlen(corpus.rows[0].text);
    ck_assert_int_eq(
        topics_find(&topics, &device, &corpus, embeddings, WIDTH, &settings, NULL, &err),
        STATUS_OK);
    char folder[4096], path[4200];
    snprintf(folder, sizeof folder, "%s/out", temporary_folder());
    struct output_folder output;
    json_t *run = json_pack("{s:s}", "program", "midashi");
    ck_assert_int_eq(topics_folder_open(&output, folder, false, &err), STATUS_OK);
    ck_assert_msg(topics_write(folder, &topics, &corpus, NULL, run, run, &err) == STATUS_OK, "%s",
                  err.text);
    json_decref(run);
    topics_folder_close(&output);

    snprintf(path, sizeof path, "%s/topics.json", folder);
    json_t *root = json_load_file(path, 0, NULL), *list = json_object_get(root, "topics");
    ck_assert_uint_eq(json_array_size(list), 3);
    const char *word;
    double score;
    int id, texts;
    json_int_t size;
    ck_assert_int_eq(json_unpack(json_array_get(list, 1), "{s:i, s:I, s:[{s:s, s:f, s:i}]}", "id",
                                 &id, "size", &size, "words", "word", &word, "score", &score,
                                 "texts", &texts),
                     0);
    ck_assert_int_eq(id, 1);
    ck_assert_int_eq(size, topics.size[1]);
    ck_assert_str_eq(word, topics.tfidf.words[topics.word[5]]);
    ck_assert(score > 0.5 && score <= 1 && texts >= 2);
    json_decref(root);

    snprintf(path, sizeof path, "%s/documents.csv", folder);
    FILE *file = fopen(path, "rb");
    char text[8192];
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    ck_assert_ptr_eq(strstr(text, "row,topic,distance,margin,label,text\r\n1,"), text);
    ck_assert_ptr_nonnull(strstr(text, ",sea,\"a \"\"quoted\"\", broken\nboat\"\r\n2,"));
    ck_assert_ptr_nonnull(strstr(text, "\r\n16,-1,0,0,sea,\r\n"));

    /* Our own folder is written again; one with a foreign file only by force. */
    ck_assert_int_eq(topics_folder_open(&output, folder, false, &err), STATUS_OK);
    topics_folder_close(&output);
    write_file(folder, "thesis.docx", "x", 1);
    ck_assert_int_eq(topics_folder_open(&output, folder, false, &err), STATUS_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "thesis.docx"));
    ck_assert_int_eq(topics_folder_open(&output, folder, true, &err), STATUS_OK);
    topics_folder_close(&output);
    topics_free(&topics);
    release(&corpus);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topics");
    TCase *tests = tcase_create("topics");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, planted_topics_are_found);
    tcase_add_test(tests, rows_held_out_have_no_part);
    tcase_add_test(tests, rows_held_out_are_finite);
    tcase_add_test(tests, impossible_settings_are_refused);
    tcase_add_test(tests, min_df_follows_the_size);
    tcase_add_test(tests, files_hold_what_was_found);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
