/* Running an embedder over a corpus. See embedder.h.
 *
 * A batch takes texts in order until batch_tokens are full: nothing is padded, so nothing is gained
 * by sorting, and rows leave in the order in which they came.
 *
 * On a GPU two batches take turns: one is computed while the texts of the next are tokenised and
 * the vectors of the one before are handed on. What the host waits for is a batch's vectors, after
 * it has queued the next one:
 *
 *     host   tokens of 1 | queue 1 | tokens of 2 | queue 2 | wait for 1, hand on | tokens of 3 ...
 *     GPU                  numbers 1, launches, vectors 1    numbers 2, launches, vectors 2 ...
 *
 * All is on one stream, in order, so the GPU has a batch's numbers and vectors once; the host has
 * them twice, page-locked. */
#include "host/embedder.h"

#include <string.h>
#include "host/base/cuda_memory.h"
#include "kernels/pooling.h"

/* Blank rows take no tokens; this bounds the rows of a batch, so that progress shows and memory
 * stays small in a corpus of blanks. */
#define LARGEST_ROWS LLAMA_TEXTS_LARGEST

/* ---- batches -------------------------------------------------------------------------------- */

/* What kernels read of a batch beside weights, one array behind the other, so that one copy brings
 * them all. */
struct numbers {
    int32_t *tokens;     /* (batch_tokens) */
    int32_t *positions;  /* (batch_tokens) */
    int32_t *cu_seqlens; /* (most_texts + 1) */
    int32_t *mean_begin; /* (most_texts) first token that counts in a mean */
    int32_t *mean_end;   /* (most_texts) one past the last */
};

struct batch {
    size_t first_row, n_rows; /* blank ones too */
    int n_texts, n_tokens;
    bool under_way; /* computed, or being computed, and not handed on yet */
    /* Host memory, page-locked beside a GPU. */
    struct numbers numbers;
    float *pooled;       /* (n_parts, most_texts, D) */
    size_t *row_of_text; /* (most_texts) */
    CUevent done;        /* a GPU's: the vectors are on the host */
};

#define BATCHES_LARGEST 2

struct run {
    struct embedder *embedder;
    struct device *device;
    const struct embedding_request *requests;
    int n_requests;
    embedding_sink *sink;
    void *sink_context;
    struct embedding_counts *counts;

    struct batch batches[BATCHES_LARGEST];
    int n_batches, current;
    int most_texts; /* of a batch */
    int n_parts;    /* pooled vectors of a text: one for each request, two for a pair */
    size_t n_delivered;
    float *vectors; /* (n_rows, width) grows */
    size_t vectors_capacity;
    struct arena arena;
    char *pinned[BATCHES_LARGEST];
    struct cuda_arena cuda_arena;
    struct numbers cuda_numbers;
    float *cuda_pooled;
};

static int parts_of(enum pool pool)
{
    return pool == POOLING_LAST_MEAN ? 2 : 1;
}

static struct batch *current_batch(struct run *run)
{
    return &run->batches[run->current];
}

/* Returns how many numbers there are. block: where they are or, NULL, will be. */
static size_t carve_numbers(const struct run *run, struct numbers *numbers, int32_t *block)
{
    size_t tokens = (size_t)run->embedder->llama.batch_tokens, texts = (size_t)run->most_texts;
    if (block)
        *numbers = (struct numbers){
            .tokens = block,
            .positions = block + tokens,
            .cu_seqlens = block + 2 * tokens,
            .mean_begin = block + 2 * tokens + texts + 1,
            .mean_end = block + 2 * tokens + 2 * texts + 1,
        };
    return 2 * tokens + 3 * texts + 1;
}

static size_t count_pooled(const struct run *run)
{
    return (size_t)run->n_parts * (size_t)run->most_texts *
           (size_t)run->embedder->config.hidden_size;
}

/* The host's arrays of a batch, carved from `block`; NULL: how many bytes they take. */
static size_t carve_host(const struct run *run, struct batch *batch, char *block)
{
    int32_t *numbers;
    const struct {
        void *pointer;
        size_t bytes;
    } arrays[] = {
        {&numbers, carve_numbers(run, NULL, NULL) * sizeof *numbers},
        {&batch->pooled, count_pooled(run) * sizeof *batch->pooled},
        {&batch->row_of_text, (size_t)run->most_texts * sizeof *batch->row_of_text},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        char *at = block ? block + used : NULL;
        memcpy(arrays[i].pointer, &at, sizeof at);
        used += (arrays[i].bytes + 63) / 64 * 64;
    }
    carve_numbers(run, &batch->numbers, numbers);
    return used;
}

static void carve_device(struct run *run)
{
    struct cuda_arena *arena = &run->cuda_arena;
    size_t n = carve_numbers(run, NULL, NULL);
    carve_numbers(run, &run->cuda_numbers, cuda_arena_take(arena, n, sizeof(int32_t)));
    run->cuda_pooled = cuda_arena_take(arena, count_pooled(run), sizeof(float));
}

static enum status begin_on_gpu(struct run *run, size_t bytes, struct err *err)
{
    struct cuda_device *cuda = run->device->cuda;
    for (int i = 0; i < run->n_batches; i++) {
        void *pinned;
        TRY(cuda_pinned_alloc(cuda, &pinned, bytes, err));
        run->pinned[i] = pinned;
        carve_host(run, &run->batches[i], run->pinned[i]);
        CUDA_TRY(&cuda->driver, err, EventCreate, &run->batches[i].done, CU_EVENT_DISABLE_TIMING);
    }
    carve_device(run);
    TRY(cuda_arena_open(&run->cuda_arena, cuda, "a batch of vectors",
                        "use a smaller --batch-tokens", err));
    carve_device(run);
    return STATUS_OK;
}

static enum status run_begin(struct run *run, struct err *err)
{
    int tokens = run->embedder->llama.batch_tokens;
    run->most_texts = tokens < LARGEST_ROWS ? tokens : LARGEST_ROWS; /* a text has a token */
    run->n_batches = run->device->kind == DEVICE_CUDA ? 2 : 1;
    for (int r = 0; r < run->n_requests; r++)
        run->n_parts += parts_of(run->requests[r].pool);
    size_t bytes = carve_host(run, &run->batches[0], NULL);
    if (run->device->kind == DEVICE_CUDA) {
        TRY(begin_on_gpu(run, bytes, err));
    } else {
        char *block = arena_alloc(&run->arena, bytes, 1);
        if (!block)
            return err_no_memory(err, "a batch", bytes);
        carve_host(run, &run->batches[0], block);
    }
    for (int i = 0; i < run->n_batches; i++)
        run->batches[i].numbers.cu_seqlens[0] = 0;
    return STATUS_OK;
}

static void run_end(struct run *run)
{
    struct cuda_device *cuda = run->device->cuda;
    if (run->device->kind == DEVICE_CUDA) {
        cuda->driver.StreamSynchronize(cuda->stream); /* after an error a batch may be under way */
        for (int i = 0; i < run->n_batches; i++) {
            if (run->batches[i].done)
                cuda->driver.EventDestroy(run->batches[i].done);
            cuda_pinned_free(cuda, run->pinned[i]);
        }
        cuda_arena_close(&run->cuda_arena, cuda);
    }
    arena_free(&run->arena);
    mem_free(run->vectors);
}

static void append(struct batch *batch, const struct tokens *tokens, size_t count)
{
    if (count > 0)
        memcpy(batch->numbers.tokens + batch->n_tokens, tokens->ids, count * sizeof *tokens->ids);
    batch->n_tokens += (int)count;
}

/* Puts a text with its prompt behind the batch. n_text of its tokens fit. */
static void add_text(struct run *run, size_t row, const struct tokens *text, size_t n_text)
{
    const struct embedder *embedder = run->embedder;
    struct batch *batch = current_batch(run);
    int i = batch->n_texts++, start = batch->n_tokens, begin = start;
    for (int slot = 0; slot < embedder->text_slots; slot++) {
        append(batch, &embedder->fixed[slot], embedder->fixed[slot].count);
        begin = batch->n_tokens;
        append(batch, text, n_text);
    }
    int end = batch->n_tokens;
    append(batch, &embedder->fixed[embedder->text_slots],
           embedder->fixed[embedder->text_slots].count);
    if (begin == start && end - begin > 1)
        begin++; /* no BOS: the first token is the attention sink */
    for (int token = start; token < batch->n_tokens; token++)
        batch->numbers.positions[token] = token - start;
    batch->numbers.mean_begin[i] = begin;
    batch->numbers.mean_end[i] = end;
    batch->numbers.cu_seqlens[i + 1] = batch->n_tokens;
    batch->row_of_text[i] = row - batch->first_row;
}

/* ---- pooling -------------------------------------------------------------------------------- */

static size_t part_offset(const struct run *run, int part)
{
    return (size_t)part * (size_t)run->most_texts * (size_t)run->embedder->config.hidden_size;
}

/* Where the kernels read a batch's numbers. */
static const struct numbers *numbers_of(const struct run *run, const struct batch *batch)
{
    return run->device->kind == DEVICE_CUDA ? &run->cuda_numbers : &batch->numbers;
}

/* The tokens begin[i] .. end[i] of text i that `pool` takes. */
struct ranges {
    const int32_t *begin, *end;
    int n;
};

static enum status pool_on_cpu(struct run *run, const struct ranges *ranges, enum pool pool,
                               bool last_layer, const void *hidden, float *out, struct err *err)
{
    struct llama *llama = &run->embedder->llama;
    bool mean = pool != POOLING_LAST;
    if (mean && last_layer) {
        TRY(llama_final_norm(llama, run->device, llama->normed, hidden,
                             current_batch(run)->n_tokens, err));
        hidden = llama->normed;
    }
    TRY(pooling_fwd(run->device, out, hidden, ranges->begin, ranges->end, ranges->n,
                    llama->config.hidden_size, mean ? POOL_MEAN : POOL_LAST, err));
    if (!mean && last_layer) /* the norm is needed on the pooled rows only */
        return llama_final_norm(llama, run->device, out, out, ranges->n, err);
    return STATUS_OK;
}

static enum status pool_on_gpu(struct run *run, const struct ranges *ranges, enum pool pool,
                               bool last_layer, const void *hidden, float *out, struct err *err)
{
    const struct llama *llama = &run->embedder->llama;
    return pooling_fwd_cuda(run->device, out, hidden, ranges->begin, ranges->end, ranges->n,
                            llama->config.hidden_size, pool == POOLING_LAST ? POOL_LAST : POOL_MEAN,
                            last_layer ? llama_final_norm_weight(llama) : NULL,
                            llama->config.rms_norm_eps, err);
}

/* `pool` is no pair. */
static enum status pool_part(struct run *run, const struct batch *batch, enum pool pool, int layer,
                             const void *hidden, int part, struct err *err)
{
    const struct numbers *numbers = numbers_of(run, batch);
    struct ranges ranges = {numbers->cu_seqlens, numbers->cu_seqlens + 1, batch->n_texts};
    bool last_layer = layer == run->embedder->config.n_layers;
    size_t at = part_offset(run, part);
    if (pool == POOLING_MEAN) {
        ranges.begin = numbers->mean_begin;
        ranges.end = numbers->mean_end;
    }
    return run->device->kind == DEVICE_CUDA
               ? pool_on_gpu(run, &ranges, pool, last_layer, hidden, run->cuda_pooled + at, err)
               : pool_on_cpu(run, &ranges, pool, last_layer, hidden, batch->pooled + at, err);
}

static enum status visit_layer(void *context, int layer, const void *hidden, int n_tokens,
                               struct err *err)
{
    struct run *run = context;
    const struct batch *batch = current_batch(run);
    (void)n_tokens;
    for (int r = 0, part = 0; r < run->n_requests; r++) {
        enum pool pool = run->requests[r].pool;
        int n_parts = parts_of(pool);
        if (run->requests[r].layer == layer)
            for (int i = 0; i < n_parts; i++)
                TRY(pool_part(run, batch,
                              n_parts == 1 ? pool
                              : i == 0     ? POOLING_LAST
                                           : POOLING_MEAN,
                              layer, hidden, part + i, err));
        part += n_parts;
    }
    return STATUS_OK;
}

/* ---- computing and handing on --------------------------------------------------------------- */

static enum status send_numbers(struct run *run, const struct batch *batch, struct err *err)
{
    return cuda_copy_to(run->device->cuda, run->cuda_numbers.tokens, batch->numbers.tokens,
                        carve_numbers(run, NULL, NULL) * sizeof(int32_t), err);
}

static enum status fetch_pooled(struct run *run, const struct batch *batch, struct err *err)
{
    struct cuda_device *cuda = run->device->cuda;
    size_t bytes =
        (size_t)batch->n_texts * (size_t)run->embedder->config.hidden_size * sizeof *batch->pooled;
    for (int part = 0; part < run->n_parts; part++) {
        size_t at = part_offset(run, part);
        TRY(cuda_copy_from(cuda, batch->pooled + at, run->cuda_pooled + at, bytes, err));
    }
    CUDA_TRY(&cuda->driver, err, EventRecord, batch->done, cuda->stream);
    return STATUS_OK;
}

/* On a GPU it is only queued. */
static enum status compute(struct run *run, struct batch *batch, struct err *err)
{
    const struct numbers *numbers = numbers_of(run, batch);
    const struct llama_batch forward = {
        .tokens = numbers->tokens,
        .positions = numbers->positions,
        .cu_seqlens = numbers->cu_seqlens,
        .n_texts = batch->n_texts,
        .n_tokens = batch->n_tokens,
    };
    bool gpu = run->device->kind == DEVICE_CUDA;
    int deepest = 0;
    for (int r = 0; r < run->n_requests; r++)
        if (run->requests[r].layer > deepest)
            deepest = run->requests[r].layer;
    if (gpu)
        TRY(send_numbers(run, batch, err));
    TRY(llama_forward(&run->embedder->llama, run->device, &forward, deepest, visit_layer, run,
                      err));
    TRY(weights_check(run->embedder->weights, err));
    return gpu ? fetch_pooled(run, batch, err) : STATUS_OK;
}

static enum status reserve_floats(float **buffer, size_t *capacity, size_t n, struct err *err)
{
    if (n <= *capacity)
        return STATUS_OK;
    float *larger = mem_resize(*buffer, n, sizeof *larger);
    if (!larger)
        return err_no_memory(err, "embeddings", n * sizeof *larger);
    *buffer = larger;
    *capacity = n;
    return STATUS_OK;
}

/* Gives the batch's rows to the sink, request by request, and empties it. */
static enum status deliver(struct run *run, struct batch *batch, struct err *err)
{
    size_t d = (size_t)run->embedder->config.hidden_size;
    if (run->device->kind == DEVICE_CUDA && batch->n_texts > 0)
        CUDA_TRY(&run->device->cuda->driver, err, EventSynchronize, batch->done);
    for (int r = 0, part = 0; r < run->n_requests; r++) {
        int n_parts = parts_of(run->requests[r].pool);
        size_t width = d * (size_t)n_parts;
        TRY(reserve_floats(&run->vectors, &run->vectors_capacity, batch->n_rows * width, err));
        memset(run->vectors, 0, batch->n_rows * width * sizeof *run->vectors);
        for (int i = 0; i < n_parts; i++, part++)
            for (int text = 0; text < batch->n_texts; text++)
                memcpy(run->vectors + batch->row_of_text[text] * width + (size_t)i * d,
                       batch->pooled + part_offset(run, part) + (size_t)text * d,
                       d * sizeof *run->vectors);
        TRY(run->sink(run->sink_context, r, batch->first_row, batch->n_rows, run->vectors, err));
    }
    run->n_delivered += batch->n_rows;
    batch->under_way = false;
    batch->n_rows = 0;
    batch->n_texts = batch->n_tokens = 0;
    return STATUS_OK;
}

/* Computes the batch at hand, which may hold blank rows only, hands on the one before it, or on
 * the CPU this one, and begins the next. */
static enum status flush(struct run *run, struct err *err)
{
    struct batch *batch = current_batch(run);
    if (batch->n_rows == 0)
        return STATUS_OK;
    size_t next_row = batch->first_row + batch->n_rows;
    if (batch->n_texts > 0)
        TRY(compute(run, batch, err));
    run->counts->tokens += (size_t)batch->n_tokens;
    run->counts->texts += (size_t)batch->n_texts;
    batch->under_way = true;
    run->current = (run->current + 1) % run->n_batches;
    struct batch *next = current_batch(run);
    if (next->under_way)
        TRY(deliver(run, next, err));
    next->first_row = next_row;
    return STATUS_OK;
}

static enum status deliver_all(struct run *run, struct err *err)
{
    TRY(flush(run, err));
    for (int i = 0; i < run->n_batches; i++) { /* from the one that began first */
        struct batch *batch = &run->batches[(run->current + i) % run->n_batches];
        if (batch->under_way)
            TRY(deliver(run, batch, err));
    }
    return STATUS_OK;
}

/* ---- texts ---------------------------------------------------------------------------------- */

static enum status add_row(struct run *run, const struct corpus_row *row, size_t index,
                           struct tokens *text, struct err *err)
{
    const struct embedder *embedder = run->embedder;
    size_t slots = (size_t)embedder->text_slots, n_fixed = (size_t)embedder->n_fixed;
    size_t room = embedder_room(embedder);
    text->count = 0;
    if (!row->blank && embedder_encode(embedder, row->text, row->length, text, err))
        return err_prefix(err, "text %zu", index + 1);
    if (text->count == 0) { /* blank, or the tokenizer's normaliser left nothing */
        run->counts->blank++;
    } else {
        size_t n_text = text->count < room ? text->count : room;
        run->counts->truncated += n_text < text->count;
        int left = embedder->llama.batch_tokens - current_batch(run)->n_tokens;
        if (n_fixed + n_text * slots > (size_t)left)
            TRY(flush(run, err));
        add_text(run, index, text, n_text);
    }
    if (++current_batch(run)->n_rows == LARGEST_ROWS)
        return flush(run, err);
    return STATUS_OK;
}

enum status embedder_run(struct embedder *embedder, struct device *device,
                         const struct corpus_row *rows, size_t n_rows,
                         const struct embedding_request *requests, int n_requests,
                         embedding_sink *sink, void *context, struct embedding_counts *counts,
                         const struct progress *progress, struct err *err)
{
    struct run run = {
        .embedder = embedder,
        .device = device,
        .requests = requests,
        .n_requests = n_requests,
        .sink = sink,
        .sink_context = context,
        .counts = counts,
    };
    struct tokens text = {0};
    *counts = (struct embedding_counts){0};
    enum status status = run_begin(&run, err);
    progress_report(progress, "embed", "texts", 0, n_rows);
    for (size_t i = 0; i < n_rows && status == STATUS_OK; i++) {
        size_t done = run.n_delivered;
        status = add_row(&run, &rows[i], i, &text, err);
        if (run.n_delivered != done)
            progress_report(progress, "embed", "texts", run.n_delivered, n_rows);
    }
    if (status == STATUS_OK)
        status = deliver_all(&run, err);
    if (status == STATUS_OK)
        progress_report(progress, "embed", "texts", n_rows, n_rows);
    tokens_free(&text);
    run_end(&run);
    return status;
}
