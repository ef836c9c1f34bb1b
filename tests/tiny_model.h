/* A tiny Llama with random weights and a byte-level tokenizer: three layers, hidden size 48. That
 * is no multiple of 64: NF4's blocks straddle its rows. */
#ifndef MIDASHI_TESTS_TINY_MODEL_H
#define MIDASHI_TESTS_TINY_MODEL_H

/* Writes config.json, tokenizer.json and the weights to folder, which is made where it is not
 * there: model.safetensors where shards is 0, else that many (up to 9) with their index. Always the
 * same bytes. Ends the program where it cannot write. */
void tiny_model_write(const char *folder, int shards);

#endif
