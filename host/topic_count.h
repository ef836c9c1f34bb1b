/* How many topics there are to be found: k-means with several numbers of clusters on a sample of
 * the rows, of which the one with the highest simplified silhouette is taken.
 *
 * The silhouette of a row (Rousseeuw 1987) is (b - a) / max(a, b), with its mean distance a to the
 * rows of its cluster and b to those of the next one. The simplified one (Hruschka, de Castro and
 * Campello 2004) takes the distances to the two nearest centres instead, which costs n k distances
 * and not n^2. It is near 1 where rows lie close to one centre and far from all others, near 0
 * where they lie between two; a row alone in its cluster has 0. */
#ifndef MIDASHI_HOST_TOPIC_COUNT_H
#define MIDASHI_HOST_TOPIC_COUNT_H

#include <jansson.h>
#include <stdio.h>
#include "host/base/progress.h"
#include "host/kmeans.h"

#define TOPIC_COUNT_LARGEST      1000
#define TOPIC_COUNT_MOST_BETWEEN 8
#define TOPIC_COUNT_MOST_TRIED   (36 + 2 * TOPIC_COUNT_MOST_BETWEEN)
#define TOPIC_COUNT_SAMPLE       8192 /* rows */
/* Rows of a cluster, on the average, where there are most clusters. */
#define TOPIC_COUNT_LEAST_ROWS 4
/* A silhouette from here on tells of clusters (Kaufman and Rousseeuw 1990: below, of no substantial
 * structure). */
#define TOPIC_COUNT_CLEAR 0.25

struct topic_count {
    int chosen; /* clusters */
    /* By growing number of clusters: from 2 on, each about a fifth more, up to the root of the
     * number of rows, at most 200; then further, to TOPIC_COUNT_LARGEST or a cluster for each
     * TOPIC_COUNT_LEAST_ROWS rows of the sample, as long as the last one is the best by far;
     * and between the best of all and its neighbours; where that leaves gaps, once more. */
    int n_tried;
    int tried[TOPIC_COUNT_MOST_TRIED];
    double silhouette[TOPIC_COUNT_MOST_TRIED]; /* the mean over the sample */
};

/* settings->k and its progress are not looked at; at least 4 starts each. Of equals the
 * smallest number is chosen; 1 where there are fewer than 3 rows, or all are equal. Failures as
 * kmeans_fit's. progress: clusters of the numbers tried, since a number costs as many; the total
 * may grow. */
enum status topic_count_choose(struct topic_count *count, struct row_chunks *rows,
                               const struct kmeans_settings *settings,
                               const struct progress *progress, struct err *err);

/* Why the number is not to be relied on, in a line for the user: text, or "" where nothing is
 * against it. */
#define TOPIC_COUNT_DOUBT_SIZE 160
void topic_count_doubt(const struct topic_count *count, char text[TOPIC_COUNT_DOUBT_SIZE]);
/* A line a number, with a bar; nothing where none was tried. */
void topic_count_print(const struct topic_count *count, FILE *stream);
/* An array of {"topics", "silhouette"}; NULL: no memory. */
json_t *topic_count_json(const struct topic_count *count);

#endif
