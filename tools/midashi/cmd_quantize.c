/* midashi quantize: keep the NF4 weights, so that the next load is a map. */
#include <jansson.h>
#include <stdio.h>
#include "host/quantize.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"
#include "tools/midashi/progress.h"
#include "tools/midashi/system.h"

static enum status report(const struct options *options, const struct quantize_counts *counts,
                          struct meter *meter, struct err *err)
{
    if (!options->json) {
        meter_note(meter, "%s: %.1f of %.1f million weights in NF4, %.0f MB", options->output,
                   (double)counts->quantised / 1e6, (double)counts->parameters / 1e6,
                   (double)counts->bytes / 1e6);
        return STATUS_OK;
    }
    json_t *root = json_pack("{s:s, s:I, s:I, s:I}", "output", options->output, "parameters",
                             (json_int_t)counts->parameters, "quantised",
                             (json_int_t)counts->quantised, "bytes", (json_int_t)counts->bytes);
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    if (!options->output)
        return err_set(err, STATUS_USAGE, "where to? give --output FOLDER");
    struct meter meter;
    struct device device = {0};
    struct quantize_counts counts;
    enum status status;
    meter_open(&meter, options->quiet);
    TRY_TO(status, open_cpu_device(&device, options, err), release);
    struct progress progress = meter_progress(&meter);
    TRY_TO(status,
           quantize_model(&device, options->model_path, options->output, options->force, &progress,
                          &counts, err),
           release);
    status = report(options, &counts, &meter, err);
release:
    meter_close(&meter);
    device_close(&device);
    return status;
}

static const char *const option_names[] = {"--output", "--force", "--device", "--threads",
                                           "--quiet",  "--json",  "--help",   NULL};

const struct command command_quantize = {
    .name = "quantize",
    .usage = "MODEL --output FOLDER [options]",
    .summary = "keep a model's NF4 weights, so that it loads at once",
    .details = "FOLDER is a model for --model that gives the same embeddings, to the last bit, as "
               "MODEL with --precision nf4. transformers loads it too, with bitsandbytes.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .first_is_model = true,
    .cpu_only = true,
    .run = run,
};
