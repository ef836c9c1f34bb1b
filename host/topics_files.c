/* See topics_files.h. */
#include "host/topics_files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/csv_field.h"
#include "loaders/npy.h"

/* ---- the folder ----------------------------------------------------------------------------- */

static const char *const own_names[] = {"topics.json",    "topics.txt", "documents.csv",
                                        "embeddings.npy", "run.json",   "report.html",
                                        "model",          "adapter",    NULL};

enum status topics_folder_open(struct output_folder *folder, const char *path, bool force,
                               struct err *err)
{
    char model[PATH_MAX];
    snprintf(model, sizeof model, "%s/model", path);
    TRY(output_folder_open(folder, path, force ? NULL : own_names, err));
    enum status status = output_folder_make(model, NULL, err);
    if (status != STATUS_OK)
        output_folder_close(folder);
    return status;
}

void topics_folder_close(struct output_folder *folder)
{
    char model[PATH_MAX];
    if (!folder->path)
        return;
    snprintf(model, sizeof model, "%s/model", folder->path);
    output_folder_drop(model);
    output_folder_close(folder);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

enum status json_write(const json_t *value, const char *path, struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    if (json_dumpf(value, file.stream, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) != 0 &&
        !ferror(file.stream)) {
        out_file_discard(&file);
        return err_no_memory(err, path, 0);
    }
    fputc('\n', file.stream);
    return out_file_commit(&file, err);
}

/* Appends element, which it takes over. Where there is no memory, *array is released and becomes
 * NULL, so that nothing is written with a part left out. */
static void append(json_t **array, json_t *element)
{
    if (json_array_append_new(*array, element) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

/* The rows nearest to the centre, at most NEAREST: the texts to show for a topic. */
#define NEAREST 5

static json_t *nearest_rows(const struct topics *topics, int topic)
{
    size_t row[NEAREST];
    int n = 0;
    for (size_t i = 0; i < topics->n_rows; i++) {
        if (topics->topic[i] != topic)
            continue;
        int place = n < NEAREST ? n++ : NEAREST;
        for (; place > 0 && topics->distance[i] < topics->distance[row[place - 1]]; place--)
            if (place < NEAREST)
                row[place] = row[place - 1];
        if (place < NEAREST)
            row[place] = i;
    }
    json_t *array = json_array();
    for (int i = 0; i < n && array; i++)
        append(&array, json_integer((json_int_t)(topics->rows_before + row[i] + 1)));
    return array;
}

static json_t *topic_to_json(const struct topics *topics, int topic)
{
    json_t *words = json_array();
    for (int i = 0; i < topics->n_words && words; i++) {
        size_t place = (size_t)topic * (size_t)topics->n_words + (size_t)i;
        int word = topics->word[place];
        if (word < 0)
            break;
        append(&words,
               json_pack("{s:s, s:f, s:i}", "word", topics->tfidf.words[word], "score",
                         (double)topics->word_score[place], "texts", (int)topics->tfidf.df[word]));
    }
    return json_pack("{s:i, s:I, s:o, s:o}", "id", topic, "size", (json_int_t)topics->size[topic],
                     "words", words, "nearest", nearest_rows(topics, topic));
}

static json_t *score_to_json(const struct score *score)
{
    return json_pack("{s:i, s:f, s:f, s:f, s:i}", "texts", score->n, "nmi", score->nmi, "purity",
                     score->purity, "adjusted_rand", score->adjusted_rand, "labels",
                     score->n_labels);
}

/* `agreement` is of the rows held out, where there are any. false: no memory. */
static bool add_agreement(json_t *root, const struct topics *topics)
{
    if (json_object_set_new(root, "agreement", score_to_json(&topics->score)) != 0)
        return false;
    return topics->n_held_out == 0 ||
           (json_object_set_new(root, "held_out", json_integer((json_int_t)topics->n_held_out)) ==
                0 &&
            json_object_set_new(root, "agreement_training",
                                score_to_json(&topics->training_score)) == 0);
}

json_t *topics_to_json(const struct topics *topics)
{
    json_t *list = json_array();
    for (int topic = 0; topic < topics->n_topics && list; topic++)
        append(&list, topic_to_json(topics, topic));
    json_t *root = json_pack("{s:o, s:I, s:I, s:i, s:i, s:s, s:f, s:i, s:b}", "topics", list,
                             "texts", (json_int_t)topics->n_rows, "blank",
                             (json_int_t)(topics->n_rows - topics->n_used - topics->n_held_out),
                             "vocabulary", topics->tfidf.n_words, "min_df", topics->min_df,
                             "language", topics->language, "inertia", topics->inertia, "iterations",
                             topics->iterations, "converged", topics->converged);
    if (root && ((topics->count.n_tried > 0 &&
                  json_object_set_new(root, "silhouette", topic_count_json(&topics->count)) != 0) ||
                 (topics->has_labels && !add_agreement(root, topics)))) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* ---- text ----------------------------------------------------------------------------------- */

void topics_print(const struct topics *topics, FILE *stream)
{
    for (int topic = 0; topic < topics->n_topics; topic++) {
        const int32_t *word = topics->word + (size_t)topic * (size_t)topics->n_words;
        for (int i = 0; i < topics->n_words && word[i] >= 0; i++)
            fprintf(stream, i ? " %s" : "%s", topics->tfidf.words[word[i]]);
        fputc('\n', stream);
    }
}

static enum status write_documents(const char *path, const struct topics *topics,
                                   const struct corpus *corpus, const bool *held_out,
                                   struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    fprintf(file.stream, "row,topic,distance,margin,label,text%s\r\n", held_out ? ",held_out" : "");
    for (size_t i = 0; i < corpus->n_rows; i++) {
        const struct corpus_row *row = &corpus->rows[i];
        fprintf(file.stream, "%zu,%d,%.7g,%.7g,", topics->rows_before + i + 1,
                (int)topics->topic[i], (double)topics->distance[i], (double)topics->margin[i]);
        if (row->label >= 0)
            csv_write_field(file.stream, corpus->labels[row->label],
                            strlen(corpus->labels[row->label]));
        fputc(',', file.stream);
        csv_write_field(file.stream, row->text, row->length);
        fputs(!held_out ? "\r\n" : held_out[i] ? ",1\r\n" : ",0\r\n", file.stream);
    }
    return out_file_commit(&file, err);
}

static enum status write_text(const char *path, const struct topics *topics, struct err *err)
{
    struct out_file file;
    TRY(out_file_open(&file, path, err));
    topics_print(topics, file.stream);
    return out_file_commit(&file, err);
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* FOLDER/NAME in a buffer of the caller's. */
static const char *in_folder(char path[PATH_MAX], const char *folder, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

/* A mean or directions that are not there are zero rows, so that a stale file does not stay. */
static enum status write_model(const char *folder, const struct topics *topics, const json_t *model,
                               struct err *err)
{
    char path[PATH_MAX];
    const struct transform *transform = &topics->transform;
    TRY(npy_write(in_folder(path, folder, "model/centres.npy"), NPY_F32, 2, topics->n_topics,
                  topics->width, topics->centres, err));
    TRY(npy_write(in_folder(path, folder, "model/mean.npy"), NPY_F32, 2, transform->mean ? 1 : 0,
                  topics->width, transform->mean, err));
    TRY(npy_write(in_folder(path, folder, "model/directions.npy"), NPY_F32, 2, transform->n_removed,
                  topics->width, transform->directions, err));
    return json_write(model, in_folder(path, folder, "model/representation.json"), err);
}

enum status topics_write(const char *folder, const struct topics *topics,
                         const struct corpus *corpus, const bool *held_out, const json_t *run,
                         const json_t *model, struct err *err)
{
    char path[PATH_MAX];
    json_t *root = topics_to_json(topics);
    if (!root)
        return err_no_memory(err, "topics.json", 0);
    enum status status = json_write(root, in_folder(path, folder, "topics.json"), err);
    json_decref(root);
    TRY(status);
    TRY(write_text(in_folder(path, folder, "topics.txt"), topics, err));
    TRY(write_documents(in_folder(path, folder, "documents.csv"), topics, corpus, held_out, err));
    TRY(write_model(folder, topics, model, err));
    return json_write(run, in_folder(path, folder, "run.json"), err);
}
