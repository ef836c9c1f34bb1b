/* Word vectors and the words nearest to a centre. See word_vectors.h. */
#include "host/word_vectors.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/rows.h"

/* ---- V = (X / column sums)^T E --------------------------------------------------------------- */

#define COLUMNS_AT_ONCE 1024 /* of the embeddings: 8 KB of sums, in the L1 cache */
#define WORDS_PER_TASK  16

struct vectors_job {
    float *vectors;
    const float *embeddings;
    int n_words, d;
    /* X by columns: the texts that have word w are text[start[w] .. start[w+1]), rising. */
    int64_t *start;
    int32_t *text;
    double *weight;
};

static enum status allocate_columns(struct vectors_job *job, size_t n_entries,
                                    struct arena *scratch, struct err *err)
{
    size_t n_starts = (size_t)job->n_words + 1;
    job->start = arena_alloc(scratch, n_starts, sizeof *job->start);
    job->text = arena_alloc(scratch, n_entries, sizeof *job->text);
    job->weight = arena_alloc(scratch, n_entries, sizeof *job->weight);
    if (!job->start || !job->text || !job->weight)
        return err_no_memory(err, "the word vectors",
                             n_starts * sizeof *job->start +
                                 n_entries * (sizeof *job->text + sizeof *job->weight));
    return STATUS_OK;
}

static void transpose(struct vectors_job *job, const struct tfidf *x)
{
    int64_t *start = job->start;
    memset(start, 0, ((size_t)job->n_words + 1) * sizeof *start);
    for (int64_t e = 0; e < x->row_start[x->n_rows]; e++)
        start[x->word[e] + 1]++;
    for (int w = 0; w < job->n_words; w++)
        start[w + 1] += start[w];
    /* start[w] moves on as its entries come, and ends where start[w + 1] began. */
    for (int i = 0; i < x->n_rows; i++)
        for (int64_t e = x->row_start[i]; e < x->row_start[i + 1]; e++) {
            int64_t place = start[x->word[e]]++;
            job->text[place] = i;
            job->weight[place] = x->value[e];
        }
    memmove(start + 1, start, (size_t)job->n_words * sizeof *start);
    start[0] = 0;
}

static void word_vector(const struct vectors_job *job, int w)
{
    int64_t first = job->start[w], last = job->start[w + 1];
    double column_sum = 0;
    for (int64_t e = first; e < last; e++)
        column_sum += job->weight[e];
    for (int column = 0; column < job->d; column += COLUMNS_AT_ONCE) {
        double sum[COLUMNS_AT_ONCE] = {0};
        int columns = job->d - column < COLUMNS_AT_ONCE ? job->d - column : COLUMNS_AT_ONCE;
        for (int64_t e = first; e < last; e++) {
            const float *row = job->embeddings + (size_t)job->text[e] * (size_t)job->d + column;
            double weight = job->weight[e] / column_sum;
            for (int j = 0; j < columns; j++)
                sum[j] += weight * (double)row[j];
        }
        float *vector = job->vectors + (size_t)w * (size_t)job->d + column;
        for (int j = 0; j < columns; j++)
            vector[j] = (float)sum[j];
    }
}

static void vectors_task(void *context, int task, int worker)
{
    (void)worker;
    const struct vectors_job *job = context;
    for (int w = task * WORDS_PER_TASK; w < job->n_words && w / WORDS_PER_TASK == task; w++)
        word_vector(job, w);
}

enum status word_vectors(struct device *device, float *vectors, const struct tfidf *x,
                         const float *embeddings, int d, struct err *err)
{
    assert(d >= 1);
    struct arena scratch = {0};
    struct vectors_job job = {vectors, embeddings, x->n_words, d, NULL, NULL, NULL};
    enum status status = allocate_columns(&job, (size_t)x->row_start[x->n_rows], &scratch, err);
    if (status == STATUS_OK) {
        transpose(&job, x);
        int n_tasks = x->n_words / WORDS_PER_TASK + (x->n_words % WORDS_PER_TASK != 0);
        threads_run(device->threads, n_tasks, vectors_task, &job);
    }
    arena_free(&scratch);
    return status;
}

/* ---- the words of a topic -------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    int32_t one = *(const int32_t *)a, other = *(const int32_t *)b;
    return (one > other) - (one < other);
}

/* The texts of each topic, rising: topic t's are text[start[t]] .. text[start[t + 1] - 1]. */
static void sort_texts(int64_t *start, int32_t *text, const int32_t *topic, int n, int k)
{
    memset(start, 0, ((size_t)k + 1) * sizeof *start);
    for (int i = 0; i < n; i++)
        start[topic[i] + 1]++;
    for (int t = 0; t < k; t++)
        start[t + 1] += start[t];
    /* start[t] moves on as its texts come, and ends where start[t + 1] began. */
    for (int i = 0; i < n; i++)
        text[start[topic[i]]++] = i;
    memmove(start + 1, start, (size_t)k * sizeof *start);
    start[0] = 0;
}

enum status topic_words_find(struct topic_words *out, const struct tfidf *x, const int32_t *topic,
                             int k, struct arena *arena, struct err *err)
{
    struct arena scratch = {0};
    size_t n_starts = (size_t)k + 1, n_texts = (size_t)x->n_rows, n_words = (size_t)x->n_words;
    size_t n_entries = (size_t)x->row_start[x->n_rows];
    int64_t *texts_start = arena_alloc(&scratch, n_starts, sizeof *texts_start), n = 0;
    int32_t *text = arena_alloc(&scratch, n_texts, sizeof *text);
    int32_t *seen = arena_alloc(&scratch, n_words, sizeof *seen); /* the last topic that had it */
    out->start = arena_alloc(arena, n_starts, sizeof *out->start);
    out->word = arena_alloc(arena, n_entries, sizeof *out->word);
    if (!texts_start || !text || !seen || !out->start || !out->word) {
        arena_free(&scratch);
        return err_no_memory(err, "the topics' words", n_entries * sizeof *out->word);
    }
    sort_texts(texts_start, text, topic, x->n_rows, k);
    memset(seen, -1, n_words * sizeof *seen);
    for (int t = 0; t < k; t++) {
        out->start[t] = n;
        for (int64_t i = texts_start[t]; i < texts_start[t + 1]; i++)
            for (int64_t e = x->row_start[text[i]]; e < x->row_start[text[i] + 1]; e++)
                if (seen[x->word[e]] != t) {
                    seen[x->word[e]] = t;
                    out->word[n++] = x->word[e];
                }
        qsort(out->word + out->start[t], (size_t)(n - out->start[t]), sizeof *out->word, by_number);
    }
    out->start[k] = n;
    arena_free(&scratch);
    return STATUS_OK;
}

/* ---- the nearest words ----------------------------------------------------------------------- */

struct nearest_job {
    int32_t *word;
    float *score;
    double *best; /* (k, m) scores unrounded */
    double *norm; /* (n_words) */
    const float *vectors, *centres;
    int n_words, d, m;
    const struct topic_words *of;
};

#define NORMS_PER_TASK 256

static void norms_task(void *context, int task, int worker)
{
    (void)worker;
    const struct nearest_job *job = context;
    for (int w = task * NORMS_PER_TASK; w < job->n_words && w / NORMS_PER_TASK == task; w++) {
        const float *vector = job->vectors + (size_t)w * (size_t)job->d;
        job->norm[w] = sqrt(row_dot(vector, vector, job->d));
    }
}

static double cosine(double dot, double norms)
{
    if (norms == 0)
        return 0;
    double value = dot / norms;
    return value > 1 ? 1 : value >= -1 ? value : -1; /* NaN: -1 */
}

/* One centre: words come by rising number, and one goes behind those of its own score. */
static void nearest_task(void *context, int centre_index, int worker)
{
    (void)worker;
    const struct nearest_job *job = context;
    size_t first = (size_t)centre_index * (size_t)job->m;
    int32_t *word = job->word + first;
    double *best = job->best + first;
    const float *centre = job->centres + (size_t)centre_index * (size_t)job->d;
    double norm = sqrt(row_dot(centre, centre, job->d));
    const int32_t *own = job->of ? job->of->word + job->of->start[centre_index] : NULL;
    int64_t n =
        own ? job->of->start[centre_index + 1] - job->of->start[centre_index] : job->n_words;
    int found = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t w = own ? own[i] : (int32_t)i;
        const float *vector = job->vectors + (size_t)w * (size_t)job->d;
        double score = cosine(row_dot(vector, centre, job->d), norm * job->norm[w]);
        if (found == job->m && score <= best[found - 1])
            continue;
        if (found < job->m)
            found++;
        int place = found - 1;
        for (; place > 0 && best[place - 1] < score; place--)
            best[place] = best[place - 1], word[place] = word[place - 1];
        best[place] = score;
        word[place] = w;
    }
    for (int i = 0; i < job->m; i++) {
        if (i >= found)
            word[i] = -1;
        job->score[first + (size_t)i] = i < found ? (float)best[i] : 0;
    }
}

enum status words_nearest(struct device *device, int32_t *word, float *score, const float *vectors,
                          int n_words, const float *centres, int k, int d, int m,
                          const struct topic_words *of, struct err *err)
{
    assert(k >= 0 && m >= 1 && d >= 1);
    struct arena scratch = {0};
    struct nearest_job job = {word, score, NULL, NULL, vectors, centres, n_words, d, m, of};
    enum status status = STATUS_OK;
    size_t n_best = (size_t)k * (size_t)m;
    job.best = arena_alloc(&scratch, n_best, sizeof *job.best);
    job.norm = arena_alloc(&scratch, (size_t)n_words, sizeof *job.norm);
    if (!job.best || !job.norm)
        status =
            err_no_memory(err, "the nearest words", (n_best + (size_t)n_words) * sizeof(double));
    else {
        int n_tasks = n_words / NORMS_PER_TASK + (n_words % NORMS_PER_TASK != 0);
        threads_run(device->threads, n_tasks, norms_task, &job);
        threads_run(device->threads, k, nearest_task, &job);
    }
    arena_free(&scratch);
    return status;
}
