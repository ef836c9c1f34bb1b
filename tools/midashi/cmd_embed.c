/* midashi embed: a vector for each text, as a .npy. */
#include <jansson.h>
#include <stdio.h>
#include "tools/midashi/commands.h"
#include "tools/midashi/embed_corpus.h"
#include "tools/midashi/output.h"
#include "tools/midashi/system.h"

static enum status report(const struct options *options, const struct embedding_plan *plan,
                          const struct corpus *corpus, const struct embedding_counts *counts,
                          double seconds, double load_seconds, struct meter *meter, struct err *err)
{
    if (!options->json) {
        meter_note(meter, "%s: %zu rows, pool %s, layer %d, %zu tokens in %.1f s (%.0f a second)",
                   options->output, corpus->n_rows, pool_name(plan->representation.pool),
                   plan->representation.layer, counts->tokens, seconds,
                   (double)counts->tokens / seconds);
        return STATUS_OK;
    }
    json_t *root = json_pack(
        "{s:s, s:I, s:s, s:i, s:I, s:I, s:I, s:f, s:f, s:f}", "output", options->output, "rows",
        (json_int_t)corpus->n_rows, "pool", pool_name(plan->representation.pool), "layer",
        plan->representation.layer, "blank", (json_int_t)counts->blank, "truncated",
        (json_int_t)counts->truncated, "tokens", (json_int_t)counts->tokens, "seconds", seconds,
        "load_seconds", load_seconds, "embed_seconds", seconds - load_seconds);
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    if (!options->output)
        return err_set(err, STATUS_USAGE, "where to? give --output E.npy");
    TRY(check_file(options->output, "--output", err));
    TRY(check_apart(options->output, "--output", options->arguments[0], err));
    struct meter meter;
    struct device device = {0};
    struct corpus corpus = {0};
    struct embedding_plan plan;
    struct embedding_counts counts;
    enum status status;
    meter_open(&meter, options->quiet);
    TRY_TO(status, plan_embedding(&plan, options, err), release);
    TRY_TO(status, open_model_device(&device, options, plan.settings.precision, &meter, err),
           release);
    TRY_TO(status, read_corpus(&corpus, options->arguments[0], options, &meter, err), release);
    double load_seconds, start = seconds_now();
    TRY_TO(status,
           embed_to_file(&plan, options, &device, &corpus, options->output, &counts, &load_seconds,
                         &meter, err),
           release);
    status =
        report(options, &plan, &corpus, &counts, seconds_now() - start, load_seconds, &meter, err);
release:
    meter_close(&meter);
    corpus_free(&corpus);
    device_close(&device);
    return status;
}

static const char *const option_names[] = {"#Model and vectors",
                                           "@embedding",
                                           "#Output",
                                           "--output",
                                           "--type",
                                           "@corpus",
                                           "@common",
                                           NULL};

const struct command command_embed = {
    .name = "embed",
    .usage = "CORPUS --model MODEL --output E.npy [options]",
    .summary = "a vector for each text, as a NumPy array",
    .details = "A row a text; a blank text is a row of zeros. What --normalise does belongs to "
               "topics and cluster.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .run = run,
};
