/* stories260K, a real model of 260,000 parameters, out of llama2.c's format. */
#ifndef MIDASHI_TESTS_STORIES_MODEL_H
#define MIDASHI_TESTS_STORIES_MODEL_H

/* A temporary folder with it in safetensors and with its tokenizer.model; NULL where the shared
 * data are not there. */
const char *stories_model(void);

#endif
