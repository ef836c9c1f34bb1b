/* midashi merge: an adapter folded into its model. */
#include <jansson.h>
#include <stdio.h>
#include "host/merge.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"
#include "tools/midashi/progress.h"
#include "tools/midashi/system.h"

static enum status report(const struct options *options, const struct merge_counts *counts,
                          struct meter *meter, struct err *err)
{
    if (!options->json) {
        meter_note(meter, "%s: %d matrices changed, %.1f million weights, %.0f MB", options->output,
                   counts->n_matrices, (double)counts->parameters / 1e6,
                   (double)counts->bytes / 1e6);
        if (counts->n_labels > 0)
            meter_note(meter,
                       "the head for %d labels is score.weight, which classify does not read; "
                       "lm_head is left out",
                       counts->n_labels);
        if (counts->n_labels > 0)
            meter_note(meter, "give --pool last to embed as with the adapter");
        else if (counts->embeds)
            meter_note(meter, "give --pool mean, and topics --normalise centre+l2 too, to embed as "
                              "with the adapter");
        return STATUS_OK;
    }
    json_t *root = json_pack("{s:s, s:I, s:i, s:i, s:I}", "output", options->output, "parameters",
                             (json_int_t)counts->parameters, "matrices", counts->n_matrices,
                             "labels", counts->n_labels, "bytes", (json_int_t)counts->bytes);
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    if (!options->output)
        return err_set(err, STATUS_USAGE, "where to? give --output FOLDER");
    struct meter meter;
    struct device device = {0};
    struct merge_counts counts;
    enum status status;
    meter_open(&meter, options->quiet);
    TRY_TO(status, open_cpu_device(&device, options, err), release);
    struct progress progress = meter_progress(&meter);
    TRY_TO(status,
           merge_model(&device, options->model_path, options->arguments[1], options->output,
                       options->force, &progress, &counts, err),
           release);
    status = report(options, &counts, &meter, err);
release:
    meter_close(&meter);
    device_close(&device);
    return status;
}

static const char *const option_names[] = {"--output", "--force", "--device", "--threads",
                                           "--quiet",  "--json",  "--help",   NULL};

const struct command command_merge = {
    .name = "merge",
    .usage = "MODEL ADAPTER --output FOLDER [options]",
    .summary = "fold an adapter into its model",
    .details =
        "ADAPTER is a folder of PEFT's or of train's. FOLDER is a model for --model, and for "
        "other programs: plain safetensors in the types that MODEL has, BF16 where MODEL is "
        "quantised. To embed as with ADAPTER give --pool last if it was trained to classify, "
        "--pool "
        "mean --normalise centre+l2 if contrastively.",
    .options = option_names,
    .least_arguments = 2,
    .most_arguments = 2,
    .first_is_model = true,
    .cpu_only = true,
    .run = run,
};
