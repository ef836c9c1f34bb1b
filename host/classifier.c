/* See classifier.h. The embedder's vector of a text, its last token's state after the final norm,
 * is what the head was trained on. */
#include "host/classifier.h"

#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"

struct run {
    struct device cpu; /* vectors come to the host; the head is small */
    struct dense_matrix head;
    float *probabilities; /* (n_rows of a batch, n_labels) grows */
    size_t capacity;
    classifier_sink *sink;
    void *context;
};

/* A blank text's vector is zeros, which no norm leaves of a state. */
static bool is_blank(const float *vector, int d)
{
    for (int j = 0; j < d; j++)
        if (vector[j] != 0)
            return false;
    return true;
}

static enum status classify_rows(void *context, int request, size_t first_row, size_t n_rows,
                                 const float *vectors, struct err *err)
{
    (void)request;
    struct run *run = context;
    size_t n_labels = (size_t)run->head.rows, d = (size_t)run->head.columns;
    if (n_rows * n_labels > run->capacity) {
        float *larger = mem_resize(run->probabilities, n_rows * n_labels, sizeof *larger);
        if (!larger)
            return err_no_memory(err, "the probabilities", n_rows * n_labels * sizeof *larger);
        run->probabilities = larger;
        run->capacity = n_rows * n_labels;
    }
    TRY(matmul_fwd(&run->cpu, run->probabilities, vectors, &run->head, (int)n_rows, false, err));
    TRY(softmax_fwd(&run->cpu, run->probabilities, run->probabilities, (int)n_rows, run->head.rows,
                    err));
    for (size_t i = 0; i < n_rows; i++)
        TRY(run->sink(
            run->context, first_row + i,
            is_blank(vectors + i * d, run->head.columns) ? NULL : run->probabilities + i * n_labels,
            err));
    return STATUS_OK;
}

enum status classifier_run(struct embedder *embedder, struct device *device,
                           const struct corpus_row *rows, size_t n_rows, classifier_sink *sink,
                           void *context, struct embedding_counts *counts,
                           const struct progress *progress, struct err *err)
{
    const struct lora_adapter *adapter = &embedder->adapter;
    const struct embedding_request request = {POOLING_LAST, embedder->config.n_layers};
    struct run run = {
        .cpu = device_cpu(device),
        .head = {.type = PRECISION_F32,
                 .data = adapter->head,
                 .rows = adapter->n_labels,
                 .columns = embedder->config.hidden_size},
        .sink = sink,
        .context = context,
    };
    enum status status = embedder_run(embedder, device, rows, n_rows, &request, 1, classify_rows,
                                      &run, counts, progress, err);
    mem_free(run.probabilities);
    return status;
}
