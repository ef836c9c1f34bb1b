/* Opening an embedder. See embedder.h; embedder_run.c runs it. */
#include "host/embedder.h"

#include <assert.h>
#include <string.h>

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

static enum status settle_lengths(struct embedder *embedder, const struct device *device,
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
    *batch_tokens = settings->batch_tokens;
    if (*batch_tokens == 0 && device->kind == DEVICE_CUDA)
        return STATUS_OK; /* as many as its memory holds: llama_load knows */
    if (*batch_tokens == 0)
        *batch_tokens = EMBEDDER_BATCH_TOKENS;
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
    if (settings->adapter)
        TRY(llama_check_adapter_device(device, err));
    TRY_TO(status, model_config_read(&embedder->config, path, err), release);
    if (settings->adapter)
        TRY_TO(status,
               lora_adapter_load(&embedder->adapter, settings->adapter, &embedder->config, err),
               release);
    TRY_TO(status, tokenizer_open(&embedder->tokenizer, path, err), release);
    if (tokenizer_vocab_size(embedder->tokenizer) > embedder->config.vocab_size) {
        status =
            err_set(err, STATUS_BAD_DATA, "%s: the tokenizer has %d tokens, but the model only %d",
                    path, tokenizer_vocab_size(embedder->tokenizer), embedder->config.vocab_size);
        goto release;
    }
    TRY_TO(status, prepare_prompt(embedder, settings->prompt, err), release);
    TRY_TO(status, settle_lengths(embedder, device, settings, &batch_tokens, err), release);
    TRY_TO(status, weights_open(&embedder->weights, path, &embedder->config, err), release);
    TRY_TO(status,
           llama_load(&embedder->llama, device, embedder->weights, &embedder->config,
                      settings->precision, settings->n_layers, embedder->max_tokens, batch_tokens,
                      progress, err),
           release);
    if (settings->adapter)
        status = llama_set_adapter(&embedder->llama, device, &embedder->adapter, err);
release:
    if (status != STATUS_OK)
        embedder_close(embedder);
    return status;
}

void embedder_close(struct embedder *embedder)
{
    llama_free(&embedder->llama);
    lora_adapter_free(&embedder->adapter);
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
