/* Writes Llamas as Hugging Face has them: config.json, model.safetensors in F32, and a byte-level
 * tokenizer.json. For tests and test tools; what cannot be written ends the program (exit 1), which
 * Check reports as a failure. */
#ifndef MIDASHI_TESTS_MODEL_WRITER_H
#define MIDASHI_TESTS_MODEL_WRITER_H

struct model_shape {
    int hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, max_positions;
};

/* A small model whose tokenizer is write_byte_tokenizer's. Hidden size 48 is no multiple of 64:
 * NF4's blocks straddle its rows. */
extern const struct model_shape tiny_shape;

/* Fills values (rows, columns) of the tensor `name`; rows 1 is a vector. layer: -1 outside of the
 * blocks. part: the name without "model.layers.N." and ".weight", as "self_attn.q_proj". */
typedef void fill_tensor(void *context, const char *part, int layer, int rows, int columns,
                         float *values);

/* FOLDER/config.json: tied embeddings, rope_theta 10000, eps 1e-5. */
void write_model_config(const char *folder, const struct model_shape *shape);

/* FOLDER/model.safetensors: all tensors of the shape, in the order embeddings, blocks, norm. */
void write_model_weights(const char *folder, const struct model_shape *shape, fill_tensor *fill,
                         void *context);

/* FOLDER/tokenizer.json: an id for each byte, and 256 for <s>, which it puts before a text.
 * dropped: a text that its normaliser removes (JSON, without quotes), or NULL. */
void write_byte_tokenizer(const char *folder, const char *dropped);

/* All three, with random weights: a matrix keeps the size of what it multiplies, a norm's weight is
 * near 1. */
void write_random_model(const char *folder, const struct model_shape *shape);
/* The same with the weights in n files, 1 to 9, and their index. */
void write_random_shards(const char *folder, const struct model_shape *shape, int n);

#endif
