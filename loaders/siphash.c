/* SipHash-2-4-128. See siphash.h. */
#include "loaders/siphash.h"

#include <stdio.h>

static uint64_t load_word(const unsigned char *bytes)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--)
        word = word << 8 | bytes[i];
    return word;
}

static void store_word(unsigned char *bytes, uint64_t word)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(word >> 8 * i);
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(uint64_t v[4], int n)
{
    for (int i = 0; i < n; i++) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

static void add_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

void siphash_start(struct siphash *hash, const unsigned char key[16])
{
    uint64_t k0 = load_word(key), k1 = load_word(key + 8);
    /* The constants spell "somepseudorandomlygeneratedbytes"; 0xEE asks for 128 bits. */
    *hash = (struct siphash){.v = {k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE,
                                   k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573}};
}

void siphash_add(struct siphash *hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes, *end = at + size;
    for (; at < end && hash->total % 8 != 0; at++) {
        hash->tail |= (uint64_t)*at << 8 * (hash->total % 8);
        if (++hash->total % 8 == 0) {
            add_word(hash->v, hash->tail);
            hash->tail = 0;
        }
    }
    for (; end - at >= 8; at += 8, hash->total += 8)
        add_word(hash->v, load_word(at));
    for (; at < end; at++, hash->total++)
        hash->tail |= (uint64_t)*at << 8 * (hash->total % 8);
}

void siphash_finish(struct siphash *hash, unsigned char out[16])
{
    add_word(hash->v, hash->total << 56 | hash->tail);
    hash->v[2] ^= 0xEE;
    rounds(hash->v, 4);
    store_word(out, hash->v[0] ^ hash->v[1] ^ hash->v[2] ^ hash->v[3]);
    hash->v[1] ^= 0xDD;
    rounds(hash->v, 4);
    store_word(out + 8, hash->v[0] ^ hash->v[1] ^ hash->v[2] ^ hash->v[3]);
}

void siphash_digits(char text[33], const unsigned char bytes[16])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void siphash_finish_digits(struct siphash *hash, char text[33])
{
    unsigned char bytes[16];
    siphash_finish(hash, bytes);
    siphash_digits(text, bytes);
}
