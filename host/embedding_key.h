/* When may embeddings be used again? When everything that made them is the same: the model's files,
 * the texts, the representation, the kernels. The key is a line of text that says all of it; it is
 * kept beside the embeddings with a hash of their file, so that neither a half-replaced folder nor
 * an edited file is taken for what it was. */
#ifndef MIDASHI_HOST_EMBEDDING_KEY_H
#define MIDASHI_HOST_EMBEDDING_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/device.h"
#include "host/embedder.h"
#include "host/representation.h"
#include "loaders/corpus.h"

/* Writes the key into text. The model's identity is the names, sizes and modification times of
 * its folder's model, configuration and tokenizer files (its own, for a single file): reading all
 * of a large model again would take as long as embedding a small corpus. An adapter's is its files'
 * bytes. */
enum status embedding_key(char *text, size_t size, const struct device *device,
                          const char *model_path, const struct embedder_settings *settings,
                          const struct representation *representation, const struct corpus *corpus,
                          struct err *err);

/* The model's identity alone, in hexadecimal digits. */
enum status embedding_model_identity(char text[33], const char *path, struct err *err);

/* True when RECORD (a small JSON file) says that EMBEDDINGS was made under this key, and
 * EMBEDDINGS still has the hash it had; *counts is then what RECORD keeps. Anything odd is false,
 * never an error, and leaves *counts as it was. */
bool embedding_key_matches(const char *record_path, const char *embeddings_path, const char *key,
                           struct embedding_counts *counts);

/* Writes RECORD for EMBEDDINGS as it is now. */
enum status embedding_key_write(const char *record_path, const char *embeddings_path,
                                const char *key, const struct embedding_counts *counts,
                                struct err *err);

#endif
