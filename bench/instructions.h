/* Instructions that this process executes outside the kernel, where Linux lets it count them. */
#ifndef MIDASHI_BENCH_INSTRUCTIONS_H
#define MIDASHI_BENCH_INSTRUCTIONS_H

#include <stdint.h>

/* A counter of the calling thread and those that it starts later; -1: the system does not count. */
int instructions_open(void);
uint64_t instructions_read(int counter); /* 0 for -1 */
void instructions_close(int counter);

#endif
