/* What a program asks of the driver, call by call: cuda_test's functions are wrapped. */
#ifndef MIDASHI_TESTS_CUDA_CALLS_H
#define MIDASHI_TESTS_CUDA_CALLS_H

#include "tests/cuda_support.h"

/* A letter a call, runs of L, d, M, c and z are one letter each:
 *   L launch   u copy up   d copy down   c copy within   z cleared
 *   r event recorded   W event waited for   S stream waited for
 *   A, F memory   P page-locked memory   M module or function loaded */
extern char cuda_calls[4096];
void cuda_calls_note(char call); /* of the test's own */
void cuda_calls_clear(void);

/* From now on calls are noted, and copies between the GPU and memory that is not page-locked, at
 * which the host would wait, fail the test; so does another stream than the device's. */
void cuda_calls_listen(void);
/* The same of what takes memory, the GPU's or page-locked; the other may follow. */
void cuda_calls_listen_to_memory(void);
/* Undoes both. */
void cuda_calls_end(void);

#endif
