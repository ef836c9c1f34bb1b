/* The steps of a run, one by one: what each takes, in time and memory. */
#ifndef MIDASHI_BENCH_PIPELINE_H
#define MIDASHI_BENCH_PIPELINE_H

#include "host/embedder.h"
#include "host/topics.h"

/* One step. */
struct stage {
    const char *name; /* "load", "quantise", "tokenise", "embed", "words", "kmeans",
                         "after_embedding" */
    const char *unit; /* what `items` counts: "tokens", "texts", "MB" */
    double items, seconds;
    size_t peak_bytes; /* VmHWM during the step, 0 where the system cannot begin it anew */
};
#define STAGES_LARGEST 8

struct pipeline_settings {
    const char *model_path;
    struct embedder_settings embedder;
    struct embedding_request request;
    struct topics_settings topics;
    const char *scratch; /* a folder for what `quantise` writes; NULL: leave that step out */
    bool embeds_nothing; /* ends before `embed` */
};

/* Runs the steps over the corpus. stages: room for STAGES_LARGEST. Steps that do not apply (a model
 * that is NF4 already is not quantised) are left out. `after_embedding` is all that follows it:
 * words, k-means, and naming. Fails as the steps do. */
enum status pipeline_run(struct stage *stages, int *n_stages, struct device *device,
                         const struct corpus *corpus, const struct pipeline_settings *settings,
                         const struct progress *progress, struct err *err);

#endif
