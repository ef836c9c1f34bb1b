/* See train_data.h. */
#include "host/train_data.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/base/philox.h"

/* What draws, in Philox's streams; adapters' dropout has those from 0 on. */
enum {
    STREAM_SPLIT = 0x40000000,
    STREAM_ORDER,
};

/* ---- texts ---------------------------------------------------------------------------------- */

static enum status reserve(void **array, size_t *capacity, size_t n, size_t size, struct err *err)
{
    if (n <= *capacity)
        return STATUS_OK;
    size_t larger = n + n / 2;
    void *grown = mem_resize(*array, larger, size);
    if (!grown)
        return err_no_memory(err, "the training texts", larger * size);
    *array = grown;
    *capacity = larger;
    return STATUS_OK;
}

static void append(struct train_data *data, const struct tokens *tokens, size_t count)
{
    if (count > 0)
        memcpy(data->tokens + data->n_tokens, tokens->ids, count * sizeof *tokens->ids);
    data->n_tokens += count;
}

/* `encoded`: without prompt and special tokens. */
static enum status add_text(struct train_data *data, const struct embedder *embedder,
                            const struct tokens *encoded, int label, size_t row, struct err *err)
{
    size_t room = embedder_room(embedder), slots = (size_t)embedder->text_slots;
    size_t count = encoded->count < room ? encoded->count : room;
    size_t total = (size_t)embedder->n_fixed + slots * count;
    void *tokens = data->tokens, *texts = data->texts;
    enum status status =
        reserve(&tokens, &data->token_capacity, data->n_tokens + total, sizeof *data->tokens, err);
    data->tokens = tokens;
    TRY(status);
    status =
        reserve(&texts, &data->text_capacity, (size_t)data->n_texts + 1, sizeof *data->texts, err);
    data->texts = texts;
    TRY(status);
    struct train_text *text = &data->texts[data->n_texts++];
    *text = (struct train_text){
        .first = data->n_tokens, .n_tokens = (int)total, .label = label, .row = row};
    for (int slot = 0; slot < embedder->text_slots; slot++) {
        append(data, &embedder->fixed[slot], embedder->fixed[slot].count);
        text->mean_begin = (int)(data->n_tokens - text->first);
        append(data, encoded, count);
    }
    text->mean_end = (int)(data->n_tokens - text->first);
    append(data, &embedder->fixed[slots], embedder->fixed[slots].count);
    if (text->mean_begin == 0 && text->mean_end > 1)
        text->mean_begin = 1; /* no BOS: the first token is the attention sink */
    data->n_truncated += count < encoded->count;
    return STATUS_OK;
}

enum status train_data_add(struct train_data *data, const struct embedder *embedder,
                           const struct corpus *corpus, bool labelled,
                           const struct progress *progress, struct err *err)
{
    struct tokens encoded = {0};
    enum status status = STATUS_OK;
    if (data->n_texts == 0)
        data->rows_before = corpus->rows_before;
    progress_report(progress, "tokenise", "texts", 0, corpus->n_rows);
    for (size_t i = 0; i < corpus->n_rows && status == STATUS_OK; i++) {
        const struct corpus_row *row = &corpus->rows[i];
        encoded.count = 0;
        if (!row->blank)
            status = embedder_encode(embedder, row->text, row->length, &encoded, err);
        if (status != STATUS_OK)
            err_prefix(err, "text %zu", corpus->rows_before + i + 1);
        else if (encoded.count == 0)
            data->n_blank++;
        else if (labelled && row->label < 0)
            data->n_unlabelled++;
        else if (data->n_texts == INT32_MAX / 2)
            status = err_set(err, STATUS_USAGE, "more than %d texts; use --rows", INT32_MAX / 2);
        else
            status = add_text(data, embedder, &encoded, row->label, i, err);
        if (i % 4096 == 4095)
            progress_report(progress, "tokenise", "texts", i + 1, corpus->n_rows);
    }
    if (status == STATUS_OK)
        progress_report(progress, "tokenise", "texts", corpus->n_rows, corpus->n_rows);
    tokens_free(&encoded);
    return status;
}

void train_data_free(struct train_data *data)
{
    mem_free(data->texts);
    mem_free(data->tokens);
    mem_free(data->training); /* validation and order lie behind it */
    *data = (struct train_data){0};
}

/* ---- the split ------------------------------------------------------------------------------ */

static enum status allocate_split(struct train_data *data, uint64_t seed, struct err *err)
{
    size_t n = (size_t)data->n_texts;
    data->training = mem_alloc(3 * n, sizeof *data->training);
    if (!data->training)
        return err_no_memory(err, "the split", 3 * n * sizeof *data->training);
    data->validation = data->training + n;
    data->order = data->validation + n;
    data->epoch = -1;
    data->seed = seed;
    return STATUS_OK;
}

static void assign(struct train_data *data, int text, bool validation)
{
    if (validation)
        data->validation[data->n_validation++] = text;
    else
        data->training[data->n_training++] = text;
}

/* Shuffles places[0 .. n) by Fisher and Yates. */
static void shuffle(int *places, int n, uint64_t seed, uint32_t step, uint32_t stream)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(philox_uniform(seed, step, stream, (uint64_t)i) * (i + 1));
        int swapped = places[i];
        places[i] = places[j];
        places[j] = swapped;
    }
}

static size_t class_of(const struct train_text *text, int n_labels)
{
    return n_labels > 0 ? (size_t)(text->label + 1) : 0;
}

/* Counting sort by label, the shuffled order within each; then the first of each label's. */
enum status train_data_split(struct train_data *data, int n_labels, double share, uint64_t seed,
                             struct err *err)
{
    assert(share >= 0 && share < 1);
    TRY(allocate_split(data, seed, err));
    size_t n_classes = (size_t)n_labels + 1, n = (size_t)data->n_texts;
    int *order = data->order; /* free until the first draw */
    int *left = mem_alloc_zero(n_classes, sizeof *left);
    bool *chosen = mem_alloc_zero(n, sizeof *chosen);
    if (!left || !chosen) {
        mem_free(left);
        mem_free(chosen);
        return err_no_memory(err, "the split", n);
    }
    for (int i = 0; i < data->n_texts; i++) {
        order[i] = i;
        left[class_of(&data->texts[i], n_labels)]++;
    }
    for (size_t label = 0; label < n_classes; label++) {
        int of_class = left[label];
        left[label] = (int)lround(share * of_class);
        if (of_class > 0 && left[label] == of_class)
            left[label]--;
    }
    shuffle(order, data->n_texts, seed, 0, STREAM_SPLIT);
    for (int i = 0; i < data->n_texts; i++) {
        int *of_class = &left[class_of(&data->texts[order[i]], n_labels)];
        chosen[order[i]] = *of_class > 0;
        *of_class -= *of_class > 0;
    }
    for (int i = 0; i < data->n_texts; i++)
        assign(data, i, chosen[i]);
    mem_free(left);
    mem_free(chosen);
    return STATUS_OK;
}

struct group {
    int texts, runs, first_run, seen;
};

/* run_of (n): the number of each text's run. A group's runs have as many texts each, give or take
 * one, so that no text is left over alone. Returns the number of runs. */
static int number_runs(const struct train_data *data, struct group *groups, int n_groups, int run,
                       int *run_of)
{
    int n_runs = 0;
    for (int i = 0; i < data->n_texts; i++)
        groups[class_of(&data->texts[i], n_groups)].texts++;
    for (int g = 0; g <= n_groups; g++) {
        groups[g].first_run = n_runs;
        groups[g].runs = g == 0 ? groups[g].texts : (groups[g].texts + run - 1) / run;
        n_runs += groups[g].runs;
    }
    for (int i = 0; i < data->n_texts; i++) {
        struct group *group = &groups[class_of(&data->texts[i], n_groups)];
        run_of[i] = group->first_run + (int)((int64_t)group->seen * group->runs / group->texts);
        group->seen++;
    }
    return n_runs;
}

enum status train_data_split_runs(struct train_data *data, int n_groups, int run, double share,
                                  uint64_t seed, struct err *err)
{
    assert(share >= 0 && share < 1 && run >= 1);
    TRY(allocate_split(data, seed, err));
    size_t n = (size_t)data->n_texts;
    int *order = data->order; /* free until the first draw */
    struct group *groups = mem_alloc_zero((size_t)n_groups + 1, sizeof *groups);
    int *run_of = mem_alloc(n, sizeof *run_of), *held_out = mem_alloc_zero(n, sizeof *held_out);
    enum status status = STATUS_OK;
    if (!groups || !run_of || !held_out)
        TRY_TO(status, err_no_memory(err, "the split", n), release);
    int n_runs = number_runs(data, groups, n_groups, run, run_of);
    for (int i = 0; i < data->n_texts; i++)
        held_out[run_of[i]]++;
    for (int i = 0; i < n_runs; i++)
        order[i] = i;
    shuffle(order, n_runs, seed, 0, STREAM_SPLIT);
    int left = (int)lround(share * data->n_texts);
    if (left == data->n_texts)
        left--;
    for (int i = 0; i < n_runs; i++) {
        int *of_run = &held_out[order[i]];
        *of_run = *of_run < left ? *of_run : left;
        left -= *of_run;
    }
    for (int i = 0; i < data->n_texts; i++)
        assign(data, i, held_out[run_of[i]]-- > 0);
release:
    mem_free(groups);
    mem_free(run_of);
    mem_free(held_out);
    return status;
}

enum status train_data_split_at(struct train_data *data, int first_validation, uint64_t seed,
                                struct err *err)
{
    TRY(allocate_split(data, seed, err));
    for (int i = 0; i < data->n_texts; i++)
        assign(data, i, i >= first_validation);
    return STATUS_OK;
}

/* ---- the order ------------------------------------------------------------------------------ */

int train_data_draw(struct train_data *data, int64_t draw)
{
    int64_t epoch = draw / data->n_training;
    if (epoch != data->epoch) {
        memcpy(data->order, data->training, (size_t)data->n_training * sizeof *data->order);
        shuffle(data->order, data->n_training, data->seed, (uint32_t)epoch, STREAM_ORDER);
        data->epoch = epoch;
    }
    return data->order[draw % data->n_training];
}

int train_data_longest(const struct train_data *data)
{
    int longest = 0;
    for (int i = 0; i < data->n_texts; i++)
        longest = data->texts[i].n_tokens > longest ? data->texts[i].n_tokens : longest;
    return longest;
}
