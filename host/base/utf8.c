/* UTF-8: checking, reading and writing. See utf8.h. */
#include "host/base/utf8.h"

#include <string.h>

/* The length that a first byte announces, and the range its second byte must be in: that range is
 * what excludes overlong forms, surrogates and values above U+10FFFF. */
static int sequence_length(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2) /* a continuation byte, or the overlong C0 and C1 */
        return 0;
    if (first < 0xE0)
        return 2;
    if (first < 0xF0) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (first == 0xF0)
        *low = 0x90;
    if (first == 0xF4)
        *high = 0x8F;
    return first < 0xF5 ? 4 : 0;
}

int utf8_decode(const char *text, size_t length, int32_t *code_point)
{
    if (length == 0)
        return 0;
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *code_point = byte[0];
        return 1;
    }
    unsigned char low, high;
    int n = sequence_length(byte[0], &low, &high);
    *code_point = -1;
    if (n == 0 || (size_t)n > length || byte[1] < low || byte[1] > high)
        return 1;
    int32_t value = byte[0] & (0x7F >> n);
    for (int i = 1; i < n; i++) {
        if ((byte[i] & 0xC0) != 0x80)
            return 1;
        value = value << 6 | (byte[i] & 0x3F);
    }
    *code_point = value;
    return n;
}

size_t utf8_valid_length(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        /* Runs of ASCII go eight bytes at a time. */
        uint64_t word;
        while (length - at >= sizeof word) {
            memcpy(&word, text + at, sizeof word);
            if (word & 0x8080808080808080u)
                break;
            at += sizeof word;
        }
        if (at == length)
            break;
        int32_t code_point;
        int n = utf8_decode(text + at, length - at, &code_point);
        if (code_point < 0)
            return at;
        at += (size_t)n;
    }
    return at;
}

int utf8_encode(int32_t code_point, char out[4])
{
    if (code_point < 0 || code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
        return 0;
    uint32_t c = (uint32_t)code_point;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(first[n] | c);
    return n;
}
