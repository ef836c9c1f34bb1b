/* See embed_corpus.h. */
#include "tools/midashi/embed_corpus.h"

#include <string.h>
#include "host/base/clock.h"
#include "host/train_run.h"
#include "loaders/model_files.h"

const char *corpus_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* "A:B", either side may be empty. */
static enum status parse_rows(struct corpus_settings *settings, const char *rows, struct err *err)
{
    char first[24];
    const char *colon = strchr(rows, ':');
    size_t length = colon ? (size_t)(colon - rows) : 0;
    int64_t a = 1, b = INT64_MAX;
    bool good = colon && length < sizeof first;
    if (good && length > 0) {
        memcpy(first, rows, length);
        first[length] = '\0';
        good = parse_whole(first, 1, INT64_MAX, &a);
    }
    if (good && colon[1])
        good = parse_whole(colon + 1, a, INT64_MAX, &b);
    if (!good)
        return err_set(err, STATUS_USAGE,
                       "--rows %s: use A:B, whole numbers from 1 with A not above B; A: is to the "
                       "end, :B from the start",
                       rows);
    settings->first_row = (size_t)a;
    settings->last_row = (size_t)b;
    return STATUS_OK;
}

enum status read_corpus(struct corpus *corpus, const char *path, const struct options *options,
                        struct meter *meter, struct err *err)
{
    struct corpus_settings settings = {
        .text_column = options->text_column,
        .label_column = options->group_column ? options->group_column : options->label_column,
        .label_option = options->group_column ? "--group" : NULL,
        .header = options->header      ? CORPUS_HEADER_YES
                  : options->no_header ? CORPUS_HEADER_NO
                                       : CORPUS_HEADER_GUESS,
    };
    if (options->format && !corpus_format_parse(&settings.format, options->format))
        return err_set(err, STATUS_USAGE, "--format %s: use csv, tsv, jsonl or txt",
                       options->format);
    if (options->rows)
        TRY(parse_rows(&settings, options->rows, err));
    TRY(corpus_read(corpus, path, &settings, err));
    meter_note(meter, "%s: %zu text%s; %s", corpus_name(path), corpus->n_rows,
               corpus->n_rows == 1 ? "" : "s", corpus->guess);
    if (corpus->n_blank > 0)
        meter_note(meter, "%zu text%s blank and left out", corpus->n_blank,
                   corpus->n_blank == 1 ? " is" : "s are");
    return STATUS_OK;
}

static bool parse_precision(enum precision *precision, const char *word)
{
    static const enum precision all[] = {PRECISION_NF4, PRECISION_BF16, PRECISION_F32};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(word, precision_name(all[i])) == 0) {
            *precision = all[i];
            return true;
        }
    return false;
}

/* An adapter corrects the weights that it was trained on: those of another precision are others. */
enum status settle_precision(enum precision *precision, const struct options *options,
                             struct err *err)
{
    *precision = PRECISION_NF4;
    if (options->precision)
        return parse_precision(precision, options->precision)
                   ? STATUS_OK
                   : err_set(err, STATUS_USAGE, "--precision %s: use nf4, bf16 or f32",
                             options->precision);
    json_t *record = options->adapter ? train_run_record(options->adapter) : NULL;
    const char *word = json_string_value(json_object_get(record, "precision"));
    if (word)
        parse_precision(precision, word);
    json_decref(record);
    return STATUS_OK;
}

void note_adapter(const struct options *options, enum precision precision, struct meter *meter)
{
    if (!options->adapter)
        return;
    if (!options->precision && precision != PRECISION_NF4)
        meter_note(meter, "%s: trained with --precision %s, which is taken here too",
                   options->adapter, precision_name(precision));
    if (train_run_is_unfinished(options->adapter))
        meter_note(meter,
                   "%s: its training is not finished; the same midashi train with --resume goes on",
                   options->adapter);
}

/* Missing weights should be told before a long corpus is read. */
static enum status check_weights(const char *path, struct err *err)
{
    struct arena arena = {0};
    const char *file;
    enum model_format format;
    enum status status = model_files_weights(&arena, path, &file, &format, err);
    arena_free(&arena);
    return status;
}

static struct representation_request request_representation(const struct options *options)
{
    struct representation_request request = {
        .pool = options->pool,
        .layer = options->layer,
        .normalise = options->normalise,
        .prompt = options->prompt,
        .remove_components = options->remove_components,
    };
    if (options->as_report && !request.pool)
        request.pool = "last"; /* the other autos follow it */
    return request;
}

enum status plan_given(struct embedding_plan *plan, const struct options *options, struct err *err)
{
    *plan = (struct embedding_plan){0};
    if (options->layer || options->prompt || options->max_tokens || options->adapter)
        return err_set(err, STATUS_USAGE,
                       "--embeddings are taken as they are; leave --layer, --prompt, --max-tokens "
                       "and --adapter out, or name the --model that made them");
    const struct representation_request request = request_representation(options);
    return representation_resolve(&plan->representation, &request, 0, err);
}

/* What was the adapter trained for? */
static enum status read_adapter(struct representation_request *request, const char *folder,
                                struct err *err)
{
    struct arena arena = {0};
    struct adapter_config config = {0};
    const char *path;
    TRY(lora_adapter_check(folder, err));
    enum status status = model_files_join(&arena, folder, ADAPTER_CONFIG_FILE, &path, err);
    if (status == STATUS_OK)
        status = adapter_config_read(&config, path, err);
    request->classifier = config.classifies;
    request->embedder = config.task == ADAPTER_EMBEDS;
    adapter_config_free(&config);
    arena_free(&arena);
    return status;
}

enum status plan_embedding(struct embedding_plan *plan, const struct options *options,
                           struct err *err)
{
    *plan = (struct embedding_plan){0};
    if (!options->model)
        return err_set(err, STATUS_USAGE,
                       "which model? give --model with a model's folder or a .gguf "
                       "(tools/fetch-model.sh smollm2-135m gets a small one)");
    if (strcmp(options->type, "f32") != 0 && strcmp(options->type, "f16") != 0)
        return err_set(err, STATUS_USAGE, "--type %s: use f32 or f16", options->type);
    plan->type = strcmp(options->type, "f16") == 0 ? NPY_F16 : NPY_F32;
    TRY(settle_precision(&plan->settings.precision, options, err));
    struct representation_request request = request_representation(options);
    struct model_config config;
    TRY(model_config_read(&config, options->model_path, err));
    if (options->n_embeddings == 0)
        TRY(check_weights(options->model_path, err));
    if (options->adapter)
        TRY(read_adapter(&request, options->adapter, err));
    else if (options->finetune) /* there will be one */
        request.classifier = strcmp(options->objective, "next-token") != 0;
    struct sentence_pooling declared = {0};
    if (!request.pool || strcmp(request.pool, "auto") == 0)
        TRY(sentence_pooling_read(&declared, options->model_path, err));
    if (declared.mode != SENTENCE_NONE)
        request.declared = &declared;
    TRY(representation_resolve(&plan->representation, &request, config.n_layers, err));
    plan->settings.prompt = plan->representation.prompt;
    plan->settings.adapter = options->adapter;
    plan->settings.n_layers = plan->representation.layer;
    plan->settings.max_tokens =
        options->max_tokens ? options->max_tokens : embedder_max_tokens(&config);
    plan->settings.batch_tokens = options->batch_tokens;
    plan->width = config.hidden_size * (plan->representation.pool == POOLING_LAST_MEAN ? 2 : 1);
    return STATUS_OK;
}

static enum status write_rows(void *context, int request, size_t first_row, size_t n_rows,
                              const float *vectors, struct err *err)
{
    (void)request, (void)first_row;
    return npy_writer_add(context, vectors, (int64_t)n_rows, err);
}

enum status embed_to_file(const struct embedding_plan *plan, const struct options *options,
                          struct device *device, const struct corpus *corpus, const char *path,
                          struct embedding_counts *counts, double *load_seconds,
                          struct meter *meter, struct err *err)
{
    double start = seconds_now();
    struct progress progress = meter_progress(meter);
    struct embedder embedder;
    struct npy_writer writer = {0};
    const struct embedding_request request = {plan->representation.pool,
                                              plan->representation.layer};
    note_adapter(options, plan->settings.precision, meter);
    /* The output comes first: a folder that is not there should not cost an hour. */
    TRY(npy_writer_open(&writer, path, plan->type, 2, (int64_t)corpus->n_rows, plan->width, err));
    enum status status =
        embedder_open(&embedder, device, options->model_path, &plan->settings, &progress, err);
    if (load_seconds)
        *load_seconds = seconds_now() - start;
    if (status == STATUS_OK) {
        if (embedder_dequantises(&embedder))
            meter_note(meter,
                       "%s: its weights are NF4; --precision %s dequantises them, which takes more "
                       "memory and gives no accuracy back",
                       options->model, precision_name(plan->settings.precision));
        status = embedder_run(&embedder, device, corpus->rows, corpus->n_rows, &request, 1,
                              write_rows, &writer, counts, &progress, err);
        embedder_close(&embedder);
    }
    if (status == STATUS_OK)
        status = npy_writer_commit(&writer, err);
    npy_writer_discard(&writer);
    if (status == STATUS_OK && counts->truncated > 0)
        meter_note(meter, "%zu text%s cut to %d tokens; raise --max-tokens to read more",
                   counts->truncated, counts->truncated == 1 ? " was" : "s were",
                   plan->settings.max_tokens);
    return status;
}
