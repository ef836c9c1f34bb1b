/* Agreement of topics and labels. See score.h. The table of counts is kept as the sorted pairs that
 * occur, so names may be any numbers and memory goes with the rows. */
#include "host/score.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include "host/base/memory.h"

static int compare_keys(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The run of keys from i on that agree in the bits above `shift`. */
static int run_end(const uint64_t *keys, int n, int i, int shift)
{
    int end = i + 1;
    while (end < n && keys[end] >> shift == keys[i] >> shift)
        end++;
    return end;
}

/* What the counts of one partition give: how many parts, the entropy in nats, and the number of
 * pairs of rows in the same part. */
struct partition {
    int parts;
    double entropy, pairs;
};

static void add_part(struct partition *partition, double count, double n)
{
    partition->parts++;
    partition->entropy -= count / n * log(count / n);
    partition->pairs += count * (count - 1) / 2;
}

/* keys: (topic << 32 | label) sorted. */
static void measure(struct score *score, const uint64_t *keys, struct partition *topics,
                    struct partition *both, double *majority)
{
    int n = score->n;
    for (int i = 0; i < n;) {
        int end = run_end(keys, n, i, 32), largest = 0;
        add_part(topics, end - i, n);
        while (i < end) {
            int cell_end = run_end(keys, end, i, 0);
            add_part(both, cell_end - i, n);
            largest = cell_end - i > largest ? cell_end - i : largest;
            i = cell_end;
        }
        *majority += largest;
    }
}

/* 2 (TP TN - FP FN) over its parts, from the pairs that are together in both partitions (TP), in
 * one only, in none: as scikit-learn's adjusted_rand_score. */
static double adjusted_rand(double topics, double labels, double both, double n)
{
    double topics_only = topics - both, labels_only = labels - both;
    double apart = n * (n - 1) / 2 - both - topics_only - labels_only;
    if (topics_only == 0 && labels_only == 0)
        return 1;
    return 2 * (both * apart - labels_only * topics_only) /
           ((both + labels_only) * (labels_only + apart) +
            (both + topics_only) * (topics_only + apart));
}

enum status score_topics(struct score *score, const int32_t *topics, const int32_t *labels, int n,
                         struct err *err)
{
    *score = (struct score){0};
    uint64_t *keys = mem_alloc((size_t)n, sizeof *keys);
    if (!keys)
        return err_no_memory(err, "the scores", (size_t)n * sizeof *keys);
    for (int i = 0; i < n; i++)
        if (topics[i] >= 0 && labels[i] >= 0)
            keys[score->n++] = (uint64_t)topics[i] << 32 | (uint64_t)labels[i];
    struct partition topic_parts = {0}, label_parts = {0}, both = {0};
    double majority = 0;
    qsort(keys, (size_t)score->n, sizeof *keys, compare_keys);
    measure(score, keys, &topic_parts, &both, &majority);
    for (int i = 0; i < score->n; i++)
        keys[i] &= UINT32_MAX;
    qsort(keys, (size_t)score->n, sizeof *keys, compare_keys);
    for (int i = 0; i < score->n;) {
        int end = run_end(keys, score->n, i, 0);
        add_part(&label_parts, end - i, score->n);
        i = end;
    }
    mem_free(keys);

    score->n_topics = topic_parts.parts;
    score->n_labels = label_parts.parts;
    score->purity = score->n > 0 ? majority / score->n : 1;
    score->adjusted_rand =
        adjusted_rand(topic_parts.pairs, label_parts.pairs, both.pairs, score->n);
    /* A mutual information within rounding of zero is zero, as scikit-learn has it. */
    double information = topic_parts.entropy + label_parts.entropy - both.entropy;
    double entropies = topic_parts.entropy + label_parts.entropy;
    if (topic_parts.parts <= 1 && label_parts.parts <= 1)
        score->nmi = 1;
    else if (information > 16 * DBL_EPSILON * entropies)
        score->nmi = information / (entropies / 2);
    return STATUS_OK;
}
