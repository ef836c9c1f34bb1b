/* SipHash-2-4 with 128 bits: the fingerprint of a corpus.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), and the 128-bit variant
 * of their reference implementation. The same on every machine. With a key that everybody knows it
 * tells texts apart by chance only: it is no defence against someone who looks for collisions. */
#ifndef MIDASHI_LOADERS_SIPHASH_H
#define MIDASHI_LOADERS_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* A message that comes in parts: the hash depends on the bytes, not on where the parts end. */
struct siphash {
    uint64_t v[4];
    uint64_t tail;  /* bytes that do not fill a word yet, little-endian */
    uint64_t total; /* bytes so far */
};

void siphash_start(struct siphash *hash, const unsigned char key[16]);
void siphash_add(struct siphash *hash, const void *bytes, size_t size);
void siphash_finish(struct siphash *hash, unsigned char out[16]);

/* 16 bytes as 32 hexadecimal digits and a 0 byte. */
void siphash_digits(char text[33], const unsigned char bytes[16]);
/* Finishes the hash to such digits. */
void siphash_finish_digits(struct siphash *hash, char text[33]);

#endif
