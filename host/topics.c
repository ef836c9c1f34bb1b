/* See topics.h. */
#include "host/topics.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/row_chunks.h"
#include "host/rows.h"
#include "host/token_pattern.h"
#include "host/word_vectors.h"
#include "kernels/nearest_two.h"
#include "loaders/markup.h"
#include "loaders/words.h"

int topics_auto_min_df(size_t n_texts)
{
    if (n_texts >= 5000)
        return 10;
    int df = (int)(n_texts / 500);
    int least = n_texts < 20 ? 1 : 2;
    return df > least ? df : least;
}

void topics_free(struct topics *topics)
{
    arena_free(&topics->arena);
    memset(topics, 0, sizeof *topics);
}

enum row_use {
    ROW_BLANK,
    ROW_USED,
    ROW_HELD_OUT,
};

static enum row_use use_of(const struct corpus *corpus, const bool *held_out, size_t row)
{
    if (corpus->rows[row].blank)
        return ROW_BLANK;
    return held_out && held_out[row] ? ROW_HELD_OUT : ROW_USED;
}

/* ---- words ---------------------------------------------------------------------------------- */

struct word_walk {
    struct tfidf_builder *builder;
    bool token_pattern;
};

static enum status add_token(void *context, const char *w, size_t length, struct err *err)
{
    const struct word_walk *walk = context;
    return tfidf_add_word(walk->builder, w, length, err);
}

static enum status add_word(void *context, const char *w, size_t length, struct err *err)
{
    const struct word_walk *walk = context;
    if (walk->token_pattern)
        return token_pattern_split(w, length, add_token, context, err);
    return tfidf_add_word(walk->builder, w, length, err);
}

/* A used row's text without markup, in `plain`, which has room for the longest. */
static size_t plain_text(char *plain, const struct corpus_row *row)
{
    return markup_strip(plain, row->text, row->length);
}

/* The words of every used row, in order. The language is settled from all texts first. */
static enum status walk_words(struct words *words, struct word_walk *walk, char *plain,
                              const struct corpus *corpus, const bool *held_out,
                              const struct progress *progress, struct err *err)
{
    for (size_t i = 0; i < corpus->n_rows; i++)
        if (use_of(corpus, held_out, i) == ROW_USED)
            words_observe(words, plain, plain_text(plain, &corpus->rows[i]));
    progress_report(progress, "words", "texts", 0, corpus->n_rows);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        TRY(interrupt_check(err));
        if (use_of(corpus, held_out, i) != ROW_USED)
            continue;
        size_t length = plain_text(plain, &corpus->rows[i]);
        enum status status = words_split(words, plain, length, add_word, walk, err);
        if (status == STATUS_OK)
            status = tfidf_end_text(walk->builder, err);
        if (status != STATUS_OK)
            return err_prefix(err, "text %zu", i + 1);
        if (i % 64 == 0)
            progress_report(progress, "words", "texts", i + 1, corpus->n_rows);
    }
    progress_report(progress, "words", "texts", corpus->n_rows, corpus->n_rows);
    return STATUS_OK;
}

static enum status collect_words(struct words *words, struct word_walk *walk,
                                 const struct corpus *corpus, const bool *held_out,
                                 const struct progress *progress, struct err *err)
{
    size_t longest = 1;
    for (size_t i = 0; i < corpus->n_rows; i++)
        if (use_of(corpus, held_out, i) == ROW_USED && corpus->rows[i].length > longest)
            longest = corpus->rows[i].length;
    char *plain = mem_alloc(longest, 1);
    if (!plain)
        return err_no_memory(err, "the longest text", longest);
    enum status status = walk_words(words, walk, plain, corpus, held_out, progress, err);
    mem_free(plain);
    return status;
}

static enum status build_vocabulary(struct topics *topics, const struct corpus *corpus,
                                    const struct topics_settings *settings,
                                    const struct progress *progress, struct err *err)
{
    const struct words_settings words_settings = {
        .language = settings->language,
        /* the token pattern drops single characters itself, after splitting */
        .keep_single = settings->keep_single || settings->token_pattern,
    };
    struct words *words = NULL;
    struct word_walk walk = {.token_pattern = settings->token_pattern};
    enum status status = words_open(&words, &words_settings, err);
    if (status == STATUS_OK)
        status = tfidf_open(&walk.builder, err);
    if (status == STATUS_OK)
        status = collect_words(words, &walk, corpus, settings->held_out, progress, err);
    if (status == STATUS_OK) {
        const char *language = words_language(words); /* goes with words */
        topics->language = arena_text(&topics->arena, language, strlen(language));
        if (!topics->language)
            status = err_no_memory(err, "the language", strlen(language));
    }
    if (status == STATUS_OK) {
        topics->min_df = settings->min_df ? settings->min_df : topics_auto_min_df(topics->n_used);
        status = tfidf_finish(walk.builder, &topics->tfidf, topics->min_df, &topics->arena, err);
    }
    tfidf_close(walk.builder);
    words_close(words);
    return status;
}

/* ---- clusters ------------------------------------------------------------------------------- */

static enum status allocate(struct topics *topics, struct err *err)
{
    struct arena *arena = &topics->arena;
    size_t n = topics->n_rows, k = (size_t)topics->n_topics, m = (size_t)topics->n_words;
    topics->topic = arena_alloc(arena, n, sizeof *topics->topic);
    topics->distance = arena_alloc(arena, n, sizeof *topics->distance);
    topics->margin = arena_alloc(arena, n, sizeof *topics->margin);
    topics->size = arena_alloc(arena, k, sizeof *topics->size);
    topics->centres = arena_alloc(arena, k * (size_t)topics->width, sizeof *topics->centres);
    topics->word = arena_alloc(arena, k * m, sizeof *topics->word);
    topics->word_score = arena_alloc(arena, k * m, sizeof *topics->word_score);
    if (!topics->topic || !topics->distance || !topics->margin || !topics->size ||
        !topics->centres || !topics->word || !topics->word_score)
        return err_no_memory(err, "the topics", n * 12 + k * (size_t)topics->width * 4);
    memset(topics->size, 0, k * sizeof *topics->size);
    return STATUS_OK;
}

/* Moves the used rows to the front, in order, and those held out behind them; the rest of x is
 * garbage then. */
static enum status compact_rows(struct topics *topics, float *x, const struct corpus *corpus,
                                const bool *held_out, struct err *err)
{
    size_t width = (size_t)topics->width, used = 0, held = 0;
    float *aside = mem_alloc(topics->n_held_out * width, sizeof *aside);
    if (!aside)
        return err_no_memory(err, "the rows held out", topics->n_held_out * width * sizeof *aside);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        enum row_use use = use_of(corpus, held_out, i);
        if (use == ROW_HELD_OUT)
            memcpy(aside + held++ * width, x + i * width, width * sizeof *x);
        if (use == ROW_USED && used++ < i)
            memmove(x + (used - 1) * width, x + i * width, width * sizeof *x);
    }
    memcpy(x + used * width, aside, held * width * sizeof *x);
    mem_free(aside);
    return STATUS_OK;
}

struct kmeans_report {
    const struct progress *progress;
    const struct kmeans_settings *settings; /* the caller's */
    int over;                               /* restarts that it has been told are over */
};

static enum status report_iteration(void *context, const struct kmeans_state *state,
                                    struct err *err)
{
    struct kmeans_report *report = context;
    TRY(interrupt_check(err));
    /* The last iteration is not known before it comes: the total counts restarts. */
    if (state->over > report->over)
        progress_report(report->progress, "cluster", "restarts", (size_t)state->over,
                        (size_t)report->settings->restarts);
    report->over = state->over;
    if (!report->settings->progress)
        return STATUS_OK;
    return report->settings->progress(report->settings->progress_context, state, err);
}

/* Distances of rows to their own centre and to the next nearest one, of those held out too, which
 * get their topic here. The labels of the others stay as they are: k-means' labels are the arg-min
 * to the centres that it returns. */
static enum status measure_rows(struct topics *topics, struct device *device, const float *x,
                                struct err *err)
{
    size_t n = topics->n_used + topics->n_held_out;
    double *squares = mem_alloc(2 * n, sizeof *squares), *second = squares + n;
    if (!squares)
        return err_no_memory(err, "the distances", 2 * n * sizeof *squares);
    enum status status = nearest_two_fwd(device, topics->topic, squares, second, x, topics->centres,
                                         (int)n, topics->n_topics, topics->width, err);
    for (size_t i = 0; i < n && status == STATUS_OK; i++) {
        topics->distance[i] = (float)sqrt(squares[i]);
        topics->margin[i] = topics->n_topics > 1 ? (float)(sqrt(second[i]) - sqrt(squares[i])) : 0;
    }
    mem_free(squares);
    return status;
}

/* Spreads what is known of the used rows and those held out over all rows, blank ones too. */
static enum status spread_rows(struct topics *topics, const struct corpus *corpus,
                               const bool *held_out, struct err *err)
{
    size_t n = topics->n_used + topics->n_held_out, used = 0, held = topics->n_used;
    int32_t *topic = mem_alloc(n, sizeof *topic);
    float *distance = mem_alloc(2 * n, sizeof *distance), *margin = distance + n;
    if (!topic || !distance) {
        mem_free(topic);
        mem_free(distance);
        return err_no_memory(err, "the topics", n * (sizeof *topic + 2 * sizeof *distance));
    }
    memcpy(topic, topics->topic, n * sizeof *topic);
    memcpy(distance, topics->distance, n * sizeof *distance);
    memcpy(margin, topics->margin, n * sizeof *margin);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        enum row_use use = use_of(corpus, held_out, i);
        topics->topic[i] = -1;
        topics->distance[i] = topics->margin[i] = 0;
        if (use == ROW_BLANK)
            continue;
        size_t from = use == ROW_USED ? used++ : held++;
        topics->topic[i] = topic[from];
        topics->distance[i] = distance[from];
        topics->margin[i] = margin[from];
        topics->size[topic[from]]++;
    }
    mem_free(topic);
    mem_free(distance);
    return STATUS_OK;
}

static enum status choose_count(struct topics *topics, struct row_chunks *rows,
                                const struct topics_settings *settings,
                                const struct progress *progress, struct err *err)
{
    enum status status = topic_count_choose(&topics->count, rows, &settings->kmeans, progress, err);
    row_chunks_close(rows);
    topics->n_topics = topics->count.chosen;
    return status;
}

static enum status cluster_rows(struct topics *topics, struct device *device, float *x,
                                const struct topics_settings *settings,
                                const struct progress *progress, struct err *err)
{
    struct kmeans_settings kmeans = settings->kmeans;
    kmeans.k = topics->n_topics;
    struct kmeans_report report = {progress, &settings->kmeans, 0};
    kmeans.progress = report_iteration;
    kmeans.progress_context = &report;
    struct kmeans_result result = {.centres = topics->centres, .labels = topics->topic};
    size_t width = (size_t)topics->width;
    progress_report(progress, "cluster", "restarts", 0, (size_t)kmeans.restarts);
    struct row_chunks rows = row_chunks_of(device, x, (int)topics->n_used, topics->width);
    enum status status = kmeans_fit(&result, &rows, NULL, &kmeans, err);
    row_chunks_close(&rows);
    TRY(status);
    progress_report(progress, "cluster", "restarts", (size_t)kmeans.restarts,
                    (size_t)kmeans.restarts);
    for (size_t i = 0; kmeans.spherical && i < topics->n_used + topics->n_held_out; i++)
        row_normalise(x + i * width, topics->width);
    topics->inertia = result.inertia;
    topics->iterations = result.iterations;
    topics->converged = result.converged;
    return STATUS_OK;
}

/* topics->topic is still of the used rows, in order, and so are x's and the TF-IDF matrix's. In a
 * corpus of a few texts, or a topic of one or two, the nearest words may be those of its
 * neighbours. */
static enum status name_topics(struct topics *topics, struct device *device, const float *x,
                               bool any_words, struct err *err)
{
    size_t n = (size_t)topics->tfidf.n_words * (size_t)topics->width;
    struct arena scratch = {0};
    struct topic_words own;
    float *vectors = arena_alloc(&scratch, n, sizeof *vectors);
    enum status status =
        vectors ? STATUS_OK : err_no_memory(err, "the word vectors", n * sizeof *vectors);
    if (status == STATUS_OK)
        status = word_vectors(device, vectors, &topics->tfidf, x, topics->width, err);
    if (status == STATUS_OK && !any_words)
        status =
            topic_words_find(&own, &topics->tfidf, topics->topic, topics->n_topics, &scratch, err);
    if (status == STATUS_OK)
        status = words_nearest(device, topics->word, topics->word_score, vectors,
                               topics->tfidf.n_words, topics->centres, topics->n_topics,
                               topics->width, topics->n_words, any_words ? NULL : &own, err);
    arena_free(&scratch);
    return status;
}

/* Of the rows that are held out, or of those that are not. */
static enum status score_rows(struct score *score, const struct topics *topics,
                              const struct corpus *corpus, const bool *held_out, bool held,
                              int32_t *labels, struct err *err)
{
    for (size_t i = 0; i < corpus->n_rows; i++)
        labels[i] = (held_out && held_out[i]) == held ? corpus->rows[i].label : -1;
    return score_topics(score, topics->topic, labels, (int)corpus->n_rows, err);
}

static enum status score_labels(struct topics *topics, const struct corpus *corpus,
                                const bool *held_out, struct err *err)
{
    bool held = topics->n_held_out > 0;
    topics->has_labels = corpus->n_labels > 0;
    if (!topics->has_labels)
        return STATUS_OK;
    int32_t *labels = mem_alloc(corpus->n_rows, sizeof *labels);
    if (!labels)
        return err_no_memory(err, "the labels", corpus->n_rows * sizeof *labels);
    enum status status =
        score_rows(&topics->score, topics, corpus, held ? held_out : NULL, held, labels, err);
    if (held && status == STATUS_OK)
        status = score_rows(&topics->training_score, topics, corpus, held_out, false, labels, err);
    mem_free(labels);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status find(struct topics *topics, struct device *device, const struct corpus *corpus,
                        float *x, const struct topics_settings *settings,
                        const struct progress *progress, struct err *err)
{
    struct device cpu = device_cpu(device); /* of all but k-means */
    TRY(build_vocabulary(topics, corpus, settings, progress, err));
    TRY(rows_check_finite(&cpu, x, (int)topics->n_rows, topics->width, err));
    TRY(compact_rows(topics, x, corpus, settings->held_out, err));
    struct row_chunks rows = row_chunks_of(device, x, (int)topics->n_used, topics->width);
    TRY(transform_fit(&topics->transform, settings->normalise, settings->remove_components, &rows,
                      &topics->arena, err));
    int n_transformed = (int)(topics->n_used + topics->n_held_out);
    transform_apply(&cpu, &topics->transform, x, n_transformed);
    TRY(rows_check_finite(&cpu, x, n_transformed, topics->width, err));
    if (topics->n_topics == 0)
        TRY(choose_count(topics, &rows, settings, progress, err));
    TRY(allocate(topics, err));
    TRY(cluster_rows(topics, device, x, settings, progress, err));
    TRY(measure_rows(topics, &cpu, x, err));
    TRY(name_topics(topics, &cpu, x, settings->any_words, err));
    TRY(spread_rows(topics, corpus, settings->held_out, err));
    return score_labels(topics, corpus, settings->held_out, err);
}

enum status topics_find(struct topics *topics, struct device *device, const struct corpus *corpus,
                        float *embeddings, int width, const struct topics_settings *settings,
                        const struct progress *progress, struct err *err)
{
    *topics = (struct topics){
        .n_topics = settings->kmeans.k,
        .n_words = settings->n_words,
        .width = width,
        .n_rows = corpus->n_rows,
        .rows_before = corpus->rows_before,
    };
    for (size_t i = 0; i < corpus->n_rows; i++) {
        enum row_use use = use_of(corpus, settings->held_out, i);
        topics->n_used += use == ROW_USED;
        topics->n_held_out += use == ROW_HELD_OUT;
    }
    if (topics->n_rows > INT_MAX)
        return err_set(err, STATUS_USAGE, "%zu texts are more than this program clusters (%d)",
                       topics->n_rows, INT_MAX);
    if ((size_t)topics->n_topics > topics->n_used)
        return err_set(err, STATUS_USAGE,
                       "--topics %d: there are only %zu texts to cluster; ask for fewer",
                       topics->n_topics, topics->n_used);
    enum status status = find(topics, device, corpus, embeddings, settings, progress, err);
    if (status != STATUS_OK)
        topics_free(topics);
    return status;
}
