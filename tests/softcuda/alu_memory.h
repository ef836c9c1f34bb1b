/* Cases of loads, stores and atomics: what their list (alu_memory.c) and the program that runs them
 * (test_softcuda_access.c) share. */
#ifndef MIDASHI_TESTS_SOFTCUDA_ALU_MEMORY_H
#define MIDASHI_TESTS_SOFTCUDA_ALU_MEMORY_H

#include "tests/softcuda/alu.h"

/* Where the bytes lie: `aux` of a load or store; of an atomic the low 4 bits, above them the number
 * of words that the lanes share. */
enum memory_place {
    MEMORY_GENERIC, /* in global memory */
    MEMORY_GLOBAL,
    MEMORY_SHARED,
    MEMORY_LOCAL,
    MEMORY_CONST,
    MEMORY_PARAM,
    MEMORY_GENERIC_SHARED,
    MEMORY_GENERIC_LOCAL,
    MEMORY_PLACES,
};
extern const char *const memory_spaces[MEMORY_PLACES]; /* as the opcode has them: ".shared" */

/* Byte i of the 512 that the lanes have, 16 each: of const memory, and what tests give the others.
 */
unsigned char memory_byte(int i);
int memory_vector(const struct alu_case *alu); /* elements: 1, 2, 4 */

/* Kernels of one warp. p0: the bytes; p1: rows of 32 x 8 bytes: old values of a load, sources of a
 * store; of an atomic b (of cas: the comparand), the new value of cas, old results; p2: guards (8
 * bytes a lane); p3: rows of results; a store gives the 512 bytes back instead, an atomic one row
 * of results, and at 1024 the bytes; then 512 bytes of parameters. */
void memory_write_load(const struct alu_case *alu, char *text, size_t size);
void memory_write_store(const struct alu_case *alu, char *text, size_t size);
void memory_write_atomic(const struct alu_case *alu, char *text, size_t size);

#endif
