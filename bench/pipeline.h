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
    size_t peak_bytes;     /* VmHWM during the step, 0 where the system cannot begin it anew */
    size_t gpu_peak_bytes; /* the most that was allocated of a GPU's memory (cuda_device.h) */
};
#define STAGES_LARGEST 8

struct pipeline_settings {
    const char *model_path;
    struct embedder_settings embedder;
    struct embedding_request request;
    struct topics_settings topics;
    const char *scratch; /* a folder for what `quantise` writes; NULL: leave that step out */
    /* The last step. */
    enum { PIPELINE_TO_TOKENISE, PIPELINE_TO_EMBED, PIPELINE_TO_TOPICS } end;
};

/* Runs the steps over the corpus. stages: room for STAGES_LARGEST. `after_embedding` is all that
 * follows it: words, k-means, and naming. On a GPU `load` and `embed` are its, up to the last
 * result on the host, what kernels take to be loaded included; the other steps are the CPU's beside
 * it, and `quantise` must be left out. Times of softcuda mean nothing. Fails as the steps do. */
enum status pipeline_run(struct stage *stages, int *n_stages, struct device *device,
                         const struct corpus *corpus, const struct pipeline_settings *settings,
                         const struct progress *progress, struct err *err);

#endif
