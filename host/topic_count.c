/* See topic_count.h. */
#include "host/topic_count.h"

#include <math.h>
#include "host/base/at_most.h"
#include "host/base/memory.h"
#include "kernels/nearest_two.h"

/* Each number is about a fifth larger than the one before. */
#define GROWTH 1.2
/* One start is often a poor one, and would speak against its number. */
#define LEAST_STARTS 4
/* What is tried whether the silhouette rises or not. */
#define RANGE_LARGEST 200
/* It goes on beyond where in so many steps the silhouette has grown by the number of clusters to
 * this power at least. Where there are more clusters than were tried it grows nearly as their
 * number; without any, in a few dimensions, by a power of 0 to 0.35. */
#define RISE_STEPS 3
#define RISE_LEAST 0.4
/* In many dimensions without clusters it grows as their number, too: rows lie sqrt(1 - 1/m) from
 * the mean of their cluster of m, and sqrt(1 + 1/m) from others, which makes a silhouette of 1 -
 * sqrt((m - 1) / (m + 1)). So a number must have so many times that: in 64 dimensions k-means makes
 * 2 to 3 times of it. */
#define NOISE_LEAST 3

static int sample_size(int n)
{
    return at_most(n, TOPIC_COUNT_SAMPLE);
}

static int next_number(int k)
{
    int next = (int)lround(GROWTH * k);
    return next > k ? next : k + 1;
}

static void choose_range(struct topic_count *count, int n_rows)
{
    int largest = (int)sqrt(n_rows);
    largest = at_least(at_most(largest, RANGE_LARGEST), 2);
    for (int k = 2; k <= largest; k = next_number(k))
        count->tried[count->n_tried++] = k;
}

/* What the range may be extended to: no less than it has. */
static int largest_number(const struct topic_count *count, int n_rows)
{
    int last = count->tried[count->n_tried - 1];
    int largest = sample_size(n_rows) / TOPIC_COUNT_LEAST_ROWS;
    return at_least(at_most(largest, TOPIC_COUNT_LARGEST), last);
}

/* What the numbers share. */
struct trial {
    struct row_chunks sample;
    float *x;         /* the sample's rows, normalised if spherical */
    float *centres;   /* (k, d) */
    int32_t *labels;  /* (n) */
    int *sizes;       /* (k) */
    double *distance; /* (n) squared */
    double *second;   /* (n) squared */
};

static double mean_silhouette(const struct trial *trial, int k)
{
    int n = trial->sample.n;
    double sum = 0;
    for (int c = 0; c < k; c++)
        trial->sizes[c] = 0;
    for (int i = 0; i < n; i++)
        trial->sizes[trial->labels[i]]++;
    for (int i = 0; i < n; i++) {
        double own = sqrt(trial->distance[i]), next = sqrt(trial->second[i]);
        if (next > 0 && trial->sizes[trial->labels[i]] > 1)
            sum += (next - own) / next; /* own is the smaller one */
    }
    return sum / n;
}

static enum status try_number(struct trial *trial, int k, const struct kmeans_settings *settings,
                              double *silhouette, struct err *err)
{
    struct kmeans_settings run = *settings;
    struct kmeans_result result = {.centres = trial->centres, .labels = trial->labels};
    run.k = k;
    run.restarts = settings->restarts > LEAST_STARTS ? settings->restarts : LEAST_STARTS;
    run.progress = NULL;
    run.spherical = false; /* the sample is normalised once; centres need not be */
    TRY(kmeans_fit(&result, &trial->sample, NULL, &run, err));
    struct device cpu = device_cpu(trial->sample.device);
    TRY(nearest_two_fwd(&cpu, trial->labels, trial->distance, trial->second, trial->x,
                        trial->centres, trial->sample.n, k, trial->sample.d, err));
    *silhouette = mean_silhouette(trial, k);
    return STATUS_OK;
}

static enum status allocate(struct trial *trial, struct arena *arena, int n, int d, int k,
                            struct err *err)
{
    trial->x = arena_alloc(arena, (size_t)n * (size_t)d, sizeof *trial->x);
    trial->centres = arena_alloc(arena, (size_t)k * (size_t)d, sizeof *trial->centres);
    trial->labels = arena_alloc(arena, (size_t)n, sizeof *trial->labels);
    trial->sizes = arena_alloc(arena, (size_t)k, sizeof *trial->sizes);
    trial->distance = arena_alloc(arena, (size_t)n, sizeof *trial->distance);
    trial->second = arena_alloc(arena, (size_t)n, sizeof *trial->second);
    if (!trial->x || !trial->centres || !trial->labels || !trial->sizes || !trial->distance ||
        !trial->second)
        return err_no_memory(err, "a sample of the rows",
                             ((size_t)n + (size_t)k) * (size_t)d * sizeof(float));
    return STATUS_OK;
}

/* Of the first n. */
static int best_place(const struct topic_count *count, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (count->silhouette[i] > count->silhouette[best])
            best = i;
    return best;
}

/* Makes room for k among the numbers, which grow. */
static int insert_number(struct topic_count *count, int k)
{
    int place = count->n_tried++;
    for (; place > 0 && count->tried[place - 1] > k; place--) {
        count->tried[place] = count->tried[place - 1];
        count->silhouette[place] = count->silhouette[place - 1];
    }
    count->tried[place] = k;
    return place;
}

/* The neighbours of the number at `best`, or itself, and a step for those between. */
struct gap {
    int first, taken, last, step;
};

static struct gap gap_at(const struct topic_count *count, int best)
{
    struct gap gap = {.taken = count->tried[best]};
    gap.first = best > 0 ? count->tried[best - 1] : gap.taken;
    gap.last = best + 1 < count->n_tried ? count->tried[best + 1] : gap.taken;
    gap.step = (gap.last - gap.first) / TOPIC_COUNT_MOST_BETWEEN + 1;
    return gap;
}

/* The numbers between, every one or a few evenly spread. */
static int numbers_between(struct gap gap, int between[TOPIC_COUNT_MOST_BETWEEN])
{
    int n = 0;
    for (int k = gap.first + gap.step; k < gap.last; k += gap.step)
        if (k != gap.taken)
            between[n++] = k;
    return n;
}

/* Clusters of the numbers that have been tried, and of these and what is known to come. */
struct work {
    const struct progress *progress;
    int done, total;
};

static void report(const struct work *work)
{
    progress_report(work->progress, "number of topics", "clusters tried", (size_t)work->done,
                    (size_t)work->total);
}

static int sum_of(const int *numbers, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += numbers[i];
    return sum;
}

/* Whether to try a number beyond the last one, at place i. */
static bool goes_on(const struct topic_count *count, int i, int n_rows)
{
    double rows = (double)n_rows / count->tried[i];
    double noise = 1 - sqrt((rows - 1) / (rows + 1));
    int before = i > RISE_STEPS ? i - RISE_STEPS : 0;
    double more = (double)count->tried[i] / count->tried[before];
    return best_place(count, i + 1) == i &&
           count->silhouette[i] >= pow(more, RISE_LEAST) * count->silhouette[before] &&
           count->silhouette[i] >= NOISE_LEAST * noise;
}

/* The numbers of the range, which is extended while that is worth it. */
static enum status try_range(struct topic_count *count, struct trial *trial, int largest,
                             const struct kmeans_settings *settings, struct work *work,
                             struct err *err)
{
    for (int i = 0; i < count->n_tried; i++) {
        int between[TOPIC_COUNT_MOST_BETWEEN];
        struct gap gap = gap_at(count, i > 0 ? best_place(count, i) : 0);
        work->total = sum_of(count->tried, count->n_tried) +
                      sum_of(between, numbers_between(gap, between)) * (gap.step > 1 ? 2 : 1);
        report(work);
        TRY(try_number(trial, count->tried[i], settings, &count->silhouette[i], err));
        work->done += count->tried[i];
        int next = next_number(count->tried[i]);
        if (i + 1 == count->n_tried && next <= largest && goes_on(count, i, trial->sample.n))
            count->tried[count->n_tried++] = next;
    }
    return STATUS_OK;
}

static enum status try_between(struct topic_count *count, struct trial *trial,
                               const struct kmeans_settings *settings, struct work *work,
                               struct err *err)
{
    int between[TOPIC_COUNT_MOST_BETWEEN];
    int n = numbers_between(gap_at(count, best_place(count, count->n_tried)), between);
    work->total = work->done + sum_of(between, n);
    for (int i = 0; i < n; i++) {
        double silhouette;
        report(work);
        TRY(try_number(trial, between[i], settings, &silhouette, err));
        count->silhouette[insert_number(count, between[i])] = silhouette;
        work->done += between[i];
    }
    return STATUS_OK;
}

static enum status try_all(struct topic_count *count, struct trial *trial, struct row_chunks *rows,
                           int largest, const struct kmeans_settings *settings,
                           const struct progress *progress, struct err *err)
{
    int n_rows = sample_size(rows->n);
    struct work work = {.progress = progress};
    trial->sample = row_chunks_of(rows->device, trial->x, n_rows, rows->d);
    TRY(row_chunks_sample(rows, trial->x, n_rows, settings->seed, err));
    TRY(try_range(count, trial, largest, settings, &work, err));
    TRY(try_between(count, trial, settings, &work, err));
    TRY(try_between(count, trial, settings, &work, err)); /* what the first left out */
    report(&work);
    int best = best_place(count, count->n_tried);
    count->chosen = count->silhouette[best] > 0 ? count->tried[best] : 1;
    return STATUS_OK;
}

enum status topic_count_choose(struct topic_count *count, struct row_chunks *rows,
                               const struct kmeans_settings *settings,
                               const struct progress *progress, struct err *err)
{
    *count = (struct topic_count){.chosen = 1};
    TRY(row_chunks_check(rows, err));
    if (rows->n < 3)
        return STATUS_OK;
    if (settings->spherical)
        TRY(row_chunks_normalise(rows, err));
    choose_range(count, rows->n);
    struct trial trial = {0};
    struct arena arena = {0};
    int largest = largest_number(count, rows->n);
    enum status status = allocate(&trial, &arena, sample_size(rows->n), rows->d, largest, err);
    if (status == STATUS_OK)
        status = try_all(count, &trial, rows, largest, settings, progress, err);
    arena_free(&arena);
    return status;
}

void topic_count_doubt(const struct topic_count *count, char text[TOPIC_COUNT_DOUBT_SIZE])
{
    *text = '\0';
    if (count->n_tried == 0)
        return;
    int best = best_place(count, count->n_tried), last = count->tried[count->n_tried - 1];
    if (count->chosen == 1)
        snprintf(text, TOPIC_COUNT_DOUBT_SIZE, "all rows are equal: one topic");
    else if (count->silhouette[best] < TOPIC_COUNT_CLEAR)
        snprintf(text, TOPIC_COUNT_DOUBT_SIZE,
                 "no number of topics is clear: the best silhouette is %.2f, below %.2f; compare "
                 "%d with others, --topics K",
                 count->silhouette[best], TOPIC_COUNT_CLEAR, count->chosen);
    else if (count->chosen == last)
        snprintf(text, TOPIC_COUNT_DOUBT_SIZE,
                 "%d is the largest number that was tried, and the best; more may be better, with "
                 "--topics K",
                 last);
}

#define BAR_COLUMNS 40

void topic_count_print(const struct topic_count *count, FILE *stream)
{
    double largest = 0;
    for (int i = 0; i < count->n_tried; i++)
        largest = fmax(largest, count->silhouette[i]);
    if (count->n_tried > 0)
        fputs("topics  silhouette\n", stream);
    for (int i = 0; i < count->n_tried; i++) {
        int columns = largest > 0 ? (int)lround(BAR_COLUMNS * count->silhouette[i] / largest) : 0;
        fprintf(stream, "%6d  %.4f  ", count->tried[i], count->silhouette[i]);
        for (int column = 0; column < columns; column++)
            fputc('#', stream);
        fputs(count->tried[i] == count->chosen ? " taken\n" : "\n", stream);
    }
}

json_t *topic_count_json(const struct topic_count *count)
{
    json_t *array = json_array();
    for (int i = 0; i < count->n_tried && array; i++)
        if (json_array_append_new(array, json_pack("{s:i, s:f}", "topics", count->tried[i],
                                                   "silhouette", count->silhouette[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}
