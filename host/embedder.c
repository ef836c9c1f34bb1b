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

static enum status settle_lengths(struct embedder *embedder, const char *prompt, int max_tokens,
                                  struct err *err)
{
    int limit = embedder->config.max_positions;
    bool bare = strcmp(prompt, "{text}") == 0; /* the only one for who trains and classifies */
    if (max_tokens == 0)
        max_tokens = embedder_max_tokens(&embedder->config);
    if (max_tokens > limit)
        return err_set(err, STATUS_USAGE, "--max-tokens %d: this model reads at most %d",
                       max_tokens, limit);
    if (embedder->n_fixed + embedder->text_slots > max_tokens)
        return err_set(err, STATUS_USAGE,
                       "--max-tokens %d: %sthe special tokens alone take %d; raise it%s",
                       max_tokens, bare ? "" : "the prompt and ", embedder->n_fixed,
                       bare ? "" : ", or give a shorter --prompt (none is one)");
    embedder->max_tokens = max_tokens;
    return STATUS_OK;
}

enum status embedder_open_texts(struct embedder *embedder, const char *path, const char *prompt,
                                int max_tokens, struct err *err)
{
    memset(embedder, 0, sizeof *embedder);
    enum status status;
    TRY_TO(status, model_config_read(&embedder->config, path, err), release);
    TRY_TO(status, tokenizer_open(&embedder->tokenizer, path, err), release);
    if (tokenizer_vocab_size(embedder->tokenizer) > embedder->config.vocab_size) {
        status =
            err_set(err, STATUS_BAD_DATA, "%s: the tokenizer has %d tokens, but the model only %d",
                    path, tokenizer_vocab_size(embedder->tokenizer), embedder->config.vocab_size);
        goto release;
    }
    TRY_TO(status, prepare_prompt(embedder, prompt, err), release);
    status = settle_lengths(embedder, prompt, max_tokens, err);
release:
    if (status != STATUS_OK)
        embedder_close(embedder);
    return status;
}

enum status embedder_load(struct embedder *embedder, struct device *device, const char *path,
                          enum precision precision, int n_layers, int batch_tokens,
                          const struct progress *progress, struct err *err)
{
    if (batch_tokens == 0 && device->kind == DEVICE_CPU)
        batch_tokens = EMBEDDER_BATCH_TOKENS;
    /* A GPU takes as many as its memory holds: llama_load knows. */
    if (batch_tokens > 0 && batch_tokens < embedder->max_tokens)
        batch_tokens = embedder->max_tokens;
    TRY(weights_open(&embedder->weights, path, &embedder->config, err));
    const struct lora_adapter *adapter =
        embedder->adapter.n_parameters > 0 ? &embedder->adapter : NULL;
    return llama_load(&embedder->llama, device, embedder->weights, &embedder->config, precision,
                      n_layers, embedder->max_tokens, batch_tokens, adapter, progress, err);
}

enum status embedder_open(struct embedder *embedder, struct device *device, const char *path,
                          const struct embedder_settings *settings, const struct progress *progress,
                          struct err *err)
{
    TRY(embedder_open_texts(embedder, path, settings->prompt, settings->max_tokens, err));
    enum status status = STATUS_OK;
    if (settings->adapter)
        status = lora_adapter_load(&embedder->adapter, settings->adapter, &embedder->config, err);
    if (status == STATUS_OK)
        status = embedder_load(embedder, device, path, settings->precision, settings->n_layers,
                               settings->batch_tokens, progress, err);
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

/* ---- texts ---------------------------------------------------------------------------------- */

size_t embedder_room(const struct embedder *embedder)
{
    return (size_t)(embedder->max_tokens - embedder->n_fixed) / (size_t)embedder->text_slots;
}

/* The first tokens of a text, at least `room` of them where it has so many. Of a long text only the
 * beginning is tokenised, or a text of 10 MB would cost seconds for the 512 tokens that count: a
 * prefix of 64 bytes a token, which is four times larger until it gives twice the tokens asked for.
 * Where a prefix ends its last tokens differ from the whole text's; those are not used. */
#define PREFIX_BYTES_A_TOKEN 64
enum status embedder_encode(const struct embedder *embedder, const char *text, size_t length,
                            struct tokens *tokens, struct err *err)
{
    const struct tokenizer *tokenizer = embedder->tokenizer;
    size_t room = embedder_room(embedder);
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

int embedding_width(const struct embedder *embedder, enum pool pool)
{
    return embedder->config.hidden_size * (pool == POOLING_LAST_MEAN ? 2 : 1);
}
