/* Little-endian numbers in a file's bytes, at any alignment. Compilers make one load of each.
 * Arrays of values are taken as they are, so the machine must be little-endian too. */
#ifndef MIDASHI_LOADERS_LITTLE_ENDIAN_H
#define MIDASHI_LOADERS_LITTLE_ENDIAN_H

#include <assert.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "midashi runs on little-endian machines");

static inline uint16_t le_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t le_u64(const unsigned char *p)
{
    return (uint64_t)le_u32(p) | (uint64_t)le_u32(p + 4) << 32;
}

#endif
