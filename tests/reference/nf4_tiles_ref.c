/* The tiles of nf4_layout.h, nibble by nibble: for each weight its byte. */
#include "kernels/nf4_tiles.h"

#include <string.h>

void nf4_tiles_pack_ref(uint8_t *codes, uint8_t *absmax_codes, const struct nf4_matrix *part)
{
    size_t across = (size_t)(part->columns + 63) / 64, down = (size_t)(part->rows + 15) / 16;
    memset(codes, 0x77, down * across * 512);
    if (absmax_codes)
        memset(absmax_codes, 0, down * across * 16);
    for (int row = 0; row < part->rows; row++)
        for (int k = 0; k < part->columns; k++) {
            int64_t i = (int64_t)row * part->columns + k;
            unsigned code = part->codes[i / 2] >> (i % 2 ? 0 : 4) & 15;
            size_t tile = (size_t)(row / 16) * across + (size_t)(k / 64);
            int lane = row % 8 * 4 + k % 8 / 2, word = k % 64 / 16;
            int byte = row % 16 / 8 * 2 + k % 16 / 8;
            uint8_t *at = &codes[tile * 512 + (size_t)(16 * lane + 4 * word + byte)];
            *at = (uint8_t)(k % 2 ? (*at & 0xF0) | code : (*at & 0x0F) | code << 4);
            if (absmax_codes)
                absmax_codes[tile * 16 + (size_t)(row % 16)] = part->absmax_codes[i / 64];
        }
}
