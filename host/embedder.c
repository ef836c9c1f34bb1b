/* See embedder.h. A batch takes texts in order until batch_tokens are full: nothing is padded, so
 * nothing is gained by sorting, and rows leave in the order in which they came. */
#include "host/embedder.h"

#include <assert.h>
#include <string.h>
#include "kernels/pooling.h"

#define DEFAULT_MAX_TOKENS 512

/* ---- opening -------------------------------------------------------------------------------- */

/* Cuts the template at each {text} and tokenises the pieces. Tokenisers join across a boundary
 * now and then; the pieces and the text are tokenised apart, so that the text's tokens are known.
 */
static enum status prepare_prompt(struct embedder *embedder, const char *prompt, struct err *err)
{
    const struct tokenizer *tokenizer = embedder->tokenizer;
    int slots = 0, before, behind;
    for (const char *p = prompt; (p = strstr(p, "{text}")); p += 6)
        slots++;
    assert(slots > 0);
    embedder->fixed = mem_alloc_zero((size_t)slots + 1, sizeof *embedder->fixed);
    if (!embedder->fixed)
        return err_no_memory(err, "the prompt", ((size_t)slots + 1) * sizeof *embedder->fixed);
    embedder->text_slots = slots;
    tokenizer_specials(tokenizer, &before, &behind);

    struct tokens specials = {0};
    enum status status = tokenizer_encode(tokenizer, "", 0, true, &specials, err);
    const char *piece = prompt;
    for (int i = 0; i <= slots && status == STATUS_OK; i++) {
        const char *end = i < slots ? strstr(piece, "{text}") : piece + strlen(piece);
        struct tokens *fixed = &embedder->fixed[i];
        if (i == 0)
            status = tokens_append(fixed, specials.ids, (size_t)before, err);
        if (status == STATUS_OK && end > piece)
            status = tokenizer_encode(tokenizer, piece, (size_t)(end - piece), false, fixed, err);
        if (status == STATUS_OK && i == slots)
            status = tokens_append(fixed, specials.ids + before, (size_t)behind, err);
        embedder->n_fixed += (int)fixed->count;
        piece = end + 6;
    }
    tokens_free(&specials);
    return status == STATUS_BAD_DATA ? err_set(err, STATUS_USAGE, "--prompt: not valid UTF-8")
                                     : status;
}

int embedder_max_tokens(const struct model_config *config)
{
    return DEFAULT_MAX_TOKENS < config->max_positions ? DEFAULT_MAX_TOKENS : config->max_positions;
}

static enum status settle_lengths(struct embedder *embedder,
                                  const struct embedder_settings *settings, int *batch_tokens,
                                  struct err *err)
{
    int limit = embedder->config.max_positions;
    int max_tokens = settings->max_tokens;
    if (max_tokens == 0)
        max_tokens = embedder_max_tokens(&embedder->config);
    if (max_tokens > limit)
        return err_set(err, STATUS_USAGE, "--max-tokens %d: this model reads at most %d",
                       max_tokens, limit);
    if (embedder->n_fixed + embedder->text_slots > max_tokens)
        return err_set(
            err, STATUS_USAGE,
            "--max-tokens %d: the prompt and the special tokens alone take %d; raise it, or "
            "give a shorter --prompt (none is one)",
            max_tokens, embedder->n_fixed);
    embedder->max_tokens = max_tokens;
    *batch_tokens = settings->batch_tokens ? settings->batch_tokens : EMBEDDER_BATCH_TOKENS;
    if (*batch_tokens < max_tokens)
        *batch_tokens = max_tokens;
    return STATUS_OK;
}

enum status embedder_open(struct embedder *embedder, struct device *device, const char *path,
                          const struct embedder_settings *settings, const struct progress *progress,
                          struct err *err)
{
    memset(embedder, 0, sizeof *embedder);
    int batch_tokens = 0;
    enum status status;
    TRY_TO(status, model_config_read(&embedder->config, path, err), release);
    TRY_TO(status, tokenizer_open(&embedder->tokenizer, path, err), release);
    if (tokenizer_vocab_size(embedder->tokenizer) > embedder->config.vocab_size) {
        status =
            err_set(err, STATUS_BAD_DATA, "%s: the tokenizer has %d tokens, but the model only %d",
                    path, tokenizer_vocab_size(embedder->tokenizer), embedder->config.vocab_size);
        goto release;
    }
    TRY_TO(status, prepare_prompt(embedder, settings->prompt, err), release);
    TRY_TO(status, settle_lengths(embedder, settings, &batch_tokens, err), release);
    TRY_TO(status, weights_open(&embedder->weights, path, &embedder->config, err), release);
    TRY_TO(status,
           llama_load(&embedder->llama, device, embedder->weights, &embedder->config,
                      settings->precision, settings->n_layers, embedder->max_tokens, batch_tokens,
                      progress, err),
           release);
release:
    if (status != STATUS_OK)
        embedder_close(embedder);
    return status;
}

void embedder_close(struct embedder *embedder)
{
    llama_free(&embedder->llama);
    weights_close(embedder->weights);
    tokenizer_close(embedder->tokenizer);
    for (int i = 0; embedder->fixed && i <= embedder->text_slots; i++)
        tokens_free(&embedder->fixed[i]);
    mem_free(embedder->fixed);
    memset(embedder, 0, sizeof *embedder);
}

bool embedder_dequantises(const struct embedder *embedder)
{
    bool quantised = false;
    for (int i = 0; i < weights_count(embedder->weights) && !quantised; i++)
        quantised = weights_at(embedder->weights, i)->nf4 != NULL;
    return quantised && embedder->llama.precision != PRECISION_NF4;
}

int embedding_width(const struct embedder *embedder, enum pool pool)
{
    return embedder->config.hidden_size * (pool == POOLING_LAST_MEAN ? 2 : 1);
}

/* ---- one batch ------------------------------------------------------------------------------ */

/* A run and its batch at hand. Arrays have room for batch_tokens texts (each has a token at least).
 */
struct run {
    struct embedder *embedder;
    struct device *device;
    const struct embedding_request *requests;
    int n_requests;
    embedding_sink *sink;
    void *sink_context;
    struct embedding_counts *counts;

    size_t first_row, n_rows; /* of the batch, blank ones too */
    int n_texts, n_tokens;
    int32_t *tokens;     /* (batch_tokens) */
    int32_t *cu_seqlens; /* (batch_tokens + 1) */
    int32_t *mean_begin; /* (batch_tokens) first token that counts in a mean */
    int32_t *mean_end;   /* (batch_tokens) one past the last */
    size_t *row_of_text; /* (batch_tokens) */
    float *pooled;       /* (largest batch's texts, D) grows */
    float *vectors;      /* (n_rows, width) grows */
    size_t pooled_capacity, vectors_capacity;
    struct arena arena;
};

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

static enum status run_begin(struct run *run, struct err *err)
{
    size_t t = (size_t)run->embedder->llama.batch_tokens;
    run->tokens = arena_alloc(&run->arena, t, sizeof *run->tokens);
    run->cu_seqlens = arena_alloc(&run->arena, t + 1, sizeof *run->cu_seqlens);
    run->mean_begin = arena_alloc(&run->arena, t, sizeof *run->mean_begin);
    run->mean_end = arena_alloc(&run->arena, t, sizeof *run->mean_end);
    run->row_of_text = arena_alloc(&run->arena, t, sizeof *run->row_of_text);
    if (!run->tokens || !run->cu_seqlens || !run->mean_begin || !run->mean_end || !run->row_of_text)
        return err_no_memory(err, "a batch", t * sizeof *run->row_of_text);
    run->cu_seqlens[0] = 0;
    return STATUS_OK;
}

static void run_end(struct run *run)
{
    arena_free(&run->arena);
    mem_free(run->pooled);
    mem_free(run->vectors);
}

static void append(struct run *run, const struct tokens *tokens, size_t count)
{
    if (count > 0)
        memcpy(run->tokens + run->n_tokens, tokens->ids, count * sizeof *tokens->ids);
    run->n_tokens += (int)count;
}

/* Puts a text with its prompt behind the batch. n_text of its tokens fit. */
static void add_text(struct run *run, size_t row, const struct tokens *text, size_t n_text)
{
    const struct embedder *embedder = run->embedder;
    int i = run->n_texts++, start = run->n_tokens, begin = start;
    for (int slot = 0; slot < embedder->text_slots; slot++) {
        append(run, &embedder->fixed[slot], embedder->fixed[slot].count);
        begin = run->n_tokens;
        append(run, text, n_text);
    }
    int end = run->n_tokens;
    append(run, &embedder->fixed[embedder->text_slots],
           embedder->fixed[embedder->text_slots].count);
    if (begin == start && end - begin > 1)
        begin++; /* no BOS: the first token is the attention sink */
    run->mean_begin[i] = begin;
    run->mean_end[i] = end;
    run->cu_seqlens[i + 1] = run->n_tokens;
    run->row_of_text[i] = row - run->first_row;
}

/* Pools the batch into run->pooled (n_texts, D); pool is no pair. */
static enum status pool_one(struct run *run, enum pool pool, int layer, const void *hidden,
                            struct err *err)
{
    struct llama *llama = &run->embedder->llama;
    int d = llama->config.hidden_size;
    bool last_layer = layer == llama->config.n_layers, mean = pool != POOLING_LAST;
    TRY(reserve_floats(&run->pooled, &run->pooled_capacity, (size_t)run->n_texts * (size_t)d, err));
    if (mean && last_layer) {
        TRY(llama_final_norm(llama, run->device, llama->normed, hidden, run->n_tokens, err));
        hidden = llama->normed;
    }
    const int32_t *begin = pool == POOLING_MEAN ? run->mean_begin : run->cu_seqlens;
    const int32_t *end = pool == POOLING_MEAN ? run->mean_end : run->cu_seqlens + 1;
    TRY(pooling_fwd(run->device, run->pooled, hidden, begin, end, run->n_texts, d,
                    mean ? POOL_MEAN : POOL_LAST, err));
    if (!mean && last_layer) /* the norm is needed on the pooled rows only */
        return llama_final_norm(llama, run->device, run->pooled, run->pooled, run->n_texts, err);
    return STATUS_OK;
}

static enum status visit_layer(void *context, int layer, const void *hidden, int n_tokens,
                               struct err *err)
{
    struct run *run = context;
    (void)n_tokens;
    size_t d = (size_t)run->embedder->config.hidden_size;
    for (int r = 0; r < run->n_requests; r++) {
        const struct embedding_request *request = &run->requests[r];
        if (request->layer != layer)
            continue;
        size_t width = (size_t)embedding_width(run->embedder, request->pool);
        TRY(reserve_floats(&run->vectors, &run->vectors_capacity, run->n_rows * width, err));
        memset(run->vectors, 0, run->n_rows * width * sizeof *run->vectors);
        bool pair = request->pool == POOLING_LAST_MEAN;
        size_t column = 0;
        for (int half = 0; half <= pair; half++) {
            enum pool pool = !pair ? request->pool : half == 0 ? POOLING_LAST : POOLING_MEAN;
            TRY(pool_one(run, pool, layer, hidden, err));
            for (int i = 0; i < run->n_texts; i++)
                memcpy(run->vectors + run->row_of_text[i] * width + column,
                       run->pooled + (size_t)i * d, d * sizeof *run->vectors);
            column += d;
        }
        TRY(run->sink(run->sink_context, r, run->first_row, run->n_rows, run->vectors, err));
    }
    return STATUS_OK;
}

/* Runs the batch, which may hold blank rows only, and empties it. */
static enum status flush(struct run *run, struct err *err)
{
    if (run->n_rows == 0)
        return STATUS_OK;
    const struct llama_batch batch = {run->tokens, run->cu_seqlens, run->n_texts};
    int deepest = 0;
    for (int r = 0; r < run->n_requests; r++)
        if (run->requests[r].layer > deepest)
            deepest = run->requests[r].layer;
    TRY(llama_forward(&run->embedder->llama, run->device, &batch, deepest, visit_layer, run, err));
    TRY(weights_check(run->embedder->weights, err));
    run->counts->tokens += (size_t)run->n_tokens;
    run->counts->texts += (size_t)run->n_texts;
    run->first_row += run->n_rows;
    run->n_rows = 0;
    run->n_texts = run->n_tokens = 0;
    return STATUS_OK;
}

/* The first tokens of a text, at least `room` of them where it has so many. Of a long text only the
 * beginning is tokenised, or a text of 10 MB would cost seconds for the 512 tokens that count: a
 * prefix of 64 bytes a token, which is four times larger until it gives twice the tokens asked for.
 * Where a prefix ends its last tokens differ from the whole text's; those are not used. */
#define PREFIX_BYTES_A_TOKEN 64
static enum status encode_beginning(const struct tokenizer *tokenizer, const char *text,
                                    size_t length, size_t room, struct tokens *tokens,
                                    struct err *err)
{
    for (size_t prefix = PREFIX_BYTES_A_TOKEN * room;; prefix *= 4) {
        tokens->count = 0;
        if (prefix >= length)
            return tokenizer_encode(tokenizer, text, length, false, tokens, err);
        size_t end = prefix;
        while (((unsigned char)text[end] & 0xC0) == 0x80)
            end--; /* to where a character begins */
        TRY(tokenizer_encode(tokenizer, text, end, false, tokens, err));
        if (tokens->count >= 2 * room)
            return STATUS_OK;
    }
}

/* Blank rows take no tokens; this bounds the rows of a batch, so that progress shows and memory
 * stays small in a corpus of blanks. */
#define LARGEST_ROWS 4096

static enum status add_row(struct run *run, const struct corpus_row *row, size_t index,
                           struct tokens *text, struct err *err)
{
    const struct embedder *embedder = run->embedder;
    size_t slots = (size_t)embedder->text_slots, n_fixed = (size_t)embedder->n_fixed;
    size_t room = ((size_t)embedder->max_tokens - n_fixed) / slots;
    text->count = 0;
    if (!row->blank &&
        encode_beginning(embedder->tokenizer, row->text, row->length, room, text, err))
        return err_prefix(err, "text %zu", index + 1);
    if (text->count == 0) { /* blank, or the tokenizer's normaliser left nothing */
        run->counts->blank++;
    } else {
        size_t n_text = text->count < room ? text->count : room;
        run->counts->truncated += n_text < text->count;
        if (n_fixed + n_text * slots > (size_t)(embedder->llama.batch_tokens - run->n_tokens))
            TRY(flush(run, err));
        add_text(run, index, text, n_text);
    }
    if (++run->n_rows == LARGEST_ROWS)
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
        size_t done = run.first_row;
        status = add_row(&run, &rows[i], i, &text, err);
        if (run.first_row != done)
            progress_report(progress, "embed", "texts", run.first_row, n_rows);
    }
    if (status == STATUS_OK)
        status = flush(&run, err);
    if (status == STATUS_OK)
        progress_report(progress, "embed", "texts", n_rows, n_rows);
    tokens_free(&text);
    run_end(&run);
    return status;
}
