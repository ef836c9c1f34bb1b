/* A tiny Llama with random weights and a byte-level tokenizer: three layers, hidden size 48. That
 * is no multiple of 64: NF4's blocks straddle its rows. */
#ifndef MIDASHI_TESTS_TINY_MODEL_H
#define MIDASHI_TESTS_TINY_MODEL_H

/* Writes config.json, tokenizer.json and model.safetensors to folder, which is made where it is not
 * there. Always the same bytes. Ends the program where it cannot write. */
void tiny_model_write(const char *folder);

#endif
