/* Texts to vectors: tokenise, pack into batches, run the model as deep as needed, pool. */
#ifndef MIDASHI_HOST_EMBEDDER_H
#define MIDASHI_HOST_EMBEDDER_H

#include <stddef.h>
#include "host/base/progress.h"
#include "host/llama.h"
#include "host/lora_adapter.h"
#include "host/representation.h"
#include "loaders/corpus.h"
#include "loaders/tokenizer.h"

/* One representation to compute in a pass: several may share one. */
struct embedding_request {
    enum pool pool;
    int layer; /* 0 the embeddings, else at most the settings' n_layers */
};

struct embedder_settings {
    enum precision precision;
    const char *prompt;  /* a template with {text}, see representation.h */
    const char *adapter; /* a folder of PEFT's; NULL: none */
    int n_layers;        /* blocks to load: the deepest layer that a request names */
    int max_tokens;      /* of one text with its prompt; 0: embedder_max_tokens */
    int batch_tokens;    /* of a batch; 0: EMBEDDER_BATCH_TOKENS, on a GPU by its free memory */
};

struct embedder {
    struct model_config config;
    struct tokenizer *tokenizer;
    struct weights *weights; /* open as long as llama is, which may look into its files */
    struct llama llama;
    struct lora_adapter adapter; /* zeroed: none */
    /* The prompt: text_slots copies of the text, with fixed tokens before, between and behind. */
    struct tokens
        *fixed; /* (text_slots + 1) lists; the model's special tokens are in the outer ones */
    int text_slots;
    int n_fixed; /* tokens in all of them */
    int max_tokens;
};

/* Counts of one run, for the user. */
struct embedding_counts {
    size_t texts;     /* embedded */
    size_t blank;     /* left out, blank or without a token: their rows are zeros */
    size_t truncated; /* cut to max_tokens */
    size_t tokens;    /* run through the model */
};

#define EMBEDDER_BATCH_TOKENS                                                                      \
    1024 /* the CPU's default: the matmuls reach their full rate from 256 rows on */

/* The default: 512, or the model's own limit if that is less. */
int embedder_max_tokens(const struct model_config *config);

/* Opens tokenizer and model at `path` (a folder or a .gguf), and the adapter. On failure all is
 * released. STATUS_USAGE where the prompt leaves no room within max_tokens; STATUS_RESOURCE for an
 * adapter on a GPU. */
enum status embedder_open(struct embedder *embedder, struct device *device, const char *path,
                          const struct embedder_settings *settings, const struct progress *progress,
                          struct err *err);
/* The same in two steps, for who must see the texts before the model is sized. The first opens
 * tokenizer and prompt; max_tokens as in the settings. The second loads the model; where it fails,
 * embedder_close. */
enum status embedder_open_texts(struct embedder *embedder, const char *path, const char *prompt,
                                int max_tokens, struct err *err);
enum status embedder_load(struct embedder *embedder, struct device *device, const char *path,
                          enum precision precision, int n_layers, int batch_tokens,
                          const struct progress *progress, struct err *err);
void embedder_close(struct embedder *embedder); /* a zeroed embedder is allowed */
/* The files hold NF4, and the settings asked for another precision. */
bool embedder_dequantises(const struct embedder *embedder);

/* The width of a request's vectors: hidden_size, twice that for POOLING_LAST_MEAN. */
int embedding_width(const struct embedder *embedder, enum pool pool);

/* Tokens of one text that fit into max_tokens with its prompt. */
size_t embedder_room(const struct embedder *embedder);
/* tokens <- those of a text, without prompt and special ones; of a long text the beginning, at
 * least one more than there is room for. STATUS_BAD_DATA: not UTF-8. */
enum status embedder_encode(const struct embedder *embedder, const char *text, size_t length,
                            struct tokens *tokens, struct err *err);

/* Called with rows first_row .. first_row + n_rows of request r: vectors (n_rows, width), float32.
 * Rows come in order, every row once for each request. */
typedef enum status embedding_sink(void *context, int request, size_t first_row, size_t n_rows,
                                   const float *vectors, struct err *err);

/* Embeds rows[0 .. n_rows). A row's vector depends on its text and the settings only, not on the
 * other rows, batch_tokens or the threads. What is pooled: `last` is the last token of the whole
 * sequence; `mean` is over the tokens of the last copy of the text, without special and prompt
 * tokens and without the attention sink (position 0: BOS, or where there is none the first token,
 * unless it is the only one); `mean-all` is over the whole sequence. The final norm is applied for
 * the last layer only.
 * STATUS_BAD_DATA: a text that is not UTF-8, with its row from 1; and what sink returns. */
enum status embedder_run(struct embedder *embedder, struct device *device,
                         const struct corpus_row *rows, size_t n_rows,
                         const struct embedding_request *requests, int n_requests,
                         embedding_sink *sink, void *context, struct embedding_counts *counts,
                         const struct progress *progress, struct err *err);

#endif
