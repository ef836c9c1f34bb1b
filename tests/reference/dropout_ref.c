/* Dropout's mask by its definition, one element at a time, with rounds of Philox of its own. */
#include "kernels/dropout.h"

void dropout_factors_ref(double *factor, const struct dropout *dropout, int n, int d)
{
    for (int64_t i = 0; i < (int64_t)n * d; i++) {
        uint64_t element = (uint64_t)dropout->first_row * (uint64_t)d + (uint64_t)i;
        uint64_t c[4] = {element / 8 % 0x100000000u, element / 8 / 0x100000000u, dropout->step,
                         dropout->stream};
        uint64_t k[2] = {dropout->seed % 0x100000000u, dropout->seed / 0x100000000u};
        for (int round = 0; round < 10; round++) {
            uint64_t product0 = 0xD2511F53u * c[0], product1 = 0xCD9E8D57u * c[2];
            uint64_t next[4] = {product1 / 0x100000000u ^ c[1] ^ k[0], product1 % 0x100000000u,
                                product0 / 0x100000000u ^ c[3] ^ k[1], product0 % 0x100000000u};
            for (int word = 0; word < 4; word++)
                c[word] = next[word];
            k[0] = (k[0] + 0x9E3779B9u) % 0x100000000u;
            k[1] = (k[1] + 0xBB67AE85u) % 0x100000000u;
        }
        int e = (int)(element % 8);
        uint64_t half = e % 2 ? c[e / 2] / 65536 : c[e / 2] % 65536;
        factor[i] = half < dropout->threshold ? 0 : 65536.0 / (65536.0 - dropout->threshold);
    }
}
