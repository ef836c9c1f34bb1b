/* Text to token ids, equal to the original tokenizers'.
 *
 * Two kinds: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) and SentencePiece-style BPE with byte
 * fallback (Llama 2, Mistral), each from tokenizer.json, tokenizer.model (a SentencePiece protobuf)
 * or the vocabulary inside a GGUF. A tokenizer is immutable once open: encoding from several
 * threads is safe, each with its own struct tokens. */
#ifndef MIDASHI_LOADERS_TOKENIZER_H
#define MIDASHI_LOADERS_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/status.h"

struct tokenizer;

/* path: a folder (tokenizer.json, else tokenizer.model, else its one .gguf), one of those files, or
 * a .safetensors, whose folder's it is.
 * A tokenizer_config.json beside it may overrule add_bos_token and add_eos_token.
 * STATUS_MISSING: nothing of the kind there. STATUS_BAD_DATA: damaged, or a kind that is not
 * supported (named: WordPiece, Unigram, a normaliser or pre-tokeniser we lack). */
enum status tokenizer_open(struct tokenizer **out, const char *path, struct err *err);
/* The same from memory: a tokenizer.json or a tokenizer.model, told apart by the ending of name,
 * else by the first bytes. data may go when the call returns. name is for messages. */
enum status tokenizer_open_memory(struct tokenizer **out, const char *data, size_t size,
                                  const char *name, struct err *err);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is allowed */

/* A growing list of ids, owned by the caller; zeroed is empty and ready. */
struct tokens {
    int32_t *ids;
    size_t count, capacity;
};
void tokens_free(struct tokens *tokens);
/* Appends count ids. STATUS_RESOURCE: no memory; the list stays as it was. */
enum status tokens_append(struct tokens *tokens, const int32_t *ids, size_t count, struct err *err);

/* Appends the ids of text[0..length). special: put the tokens that the model expects round a text
 * (BOS, where the tokenizer adds one; EOS likewise). The names of special tokens inside a text are
 * plain text, never control tokens. text must be valid UTF-8: STATUS_BAD_DATA with the byte
 * otherwise. An empty text gives the special tokens only. STATUS_RESOURCE: no memory. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             bool special, struct tokens *tokens, struct err *err);

/* The number of special tokens that encoding with `special` puts before and behind a text. */
void tokenizer_specials(const struct tokenizer *tokenizer, int *before, int *behind);

/* The bytes of one id as they stand in a text (byte tokens give their byte, U+2581 becomes a space,
 * control tokens give nothing). Returns the length and sets *bytes to memory of the tokenizer's;
 * 0 for an id out of range. */
size_t tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, const char **bytes);

int tokenizer_vocab_size(const struct tokenizer *tokenizer);   /* largest id + 1 */
int32_t tokenizer_bos(const struct tokenizer *tokenizer);      /* -1 where there is none */
int32_t tokenizer_eos(const struct tokenizer *tokenizer);      /* -1 where there is none */
const char *tokenizer_kind(const struct tokenizer *tokenizer); /* "byte-level BPE", ... for info */

#endif
