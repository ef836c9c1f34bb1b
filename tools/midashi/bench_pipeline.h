/* The pipeline's rows of `midashi bench`, and `midashi bench scaling`. */
#ifndef MIDASHI_TOOLS_BENCH_PIPELINE_H
#define MIDASHI_TOOLS_BENCH_PIPELINE_H

#include "bench/pipeline.h"
#include "bench/run.h"
#include "tools/midashi/options.h"
#include "tools/midashi/progress.h"

/* Whether a pipeline row has the pattern in its name. */
bool bench_pipeline_matches(const char *pattern);
/* Whether one does of those that the place has: on a GPU load, embed and topics. The others are the
 * CPU's beside a GPU too. */
bool bench_pipeline_has(const struct bench_place *place, const char *pattern);

/* What the options say of model, representation and clusters; without `quantise`. */
enum status bench_pipeline_plan(struct pipeline_settings *settings, const struct options *options,
                                struct err *err);

/* Runs the pipeline with --model over --corpus, or synthetic texts, and at last the command topics
 * itself; returns the steps whose row the place has and the pattern chooses. stages: room for
 * STAGES_LARGEST. place: not softcuda, whose times mean nothing. */
enum status bench_pipeline(struct stage *stages, int *n_stages, struct bench_place *place,
                           const char *pattern, const struct options *options, struct meter *meter,
                           struct err *err);

/* Prints the growth with the number of texts (--model) and of k-means, and draws --output. */
enum status bench_scaling(const struct options *options, struct err *err);

#endif
