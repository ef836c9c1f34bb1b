/* Bytes, as messages have them. */
#ifndef MIDASHI_BASE_AMOUNT_H
#define MIDASHI_BASE_AMOUNT_H

#include <stdbool.h>
#include <stdio.h>

struct amount {
    char text[32];
};

/* "4096 bytes", "1.5 MB", "12 MB", "25.77 GB": what is missing by a few bytes is no "0 MB". */
static inline struct amount amount_of(size_t bytes)
{
    struct amount amount;
    bool mega = bytes < 1000000000;
    if (bytes < 10000)
        snprintf(amount.text, sizeof amount.text, "%zu byte%s", bytes, bytes == 1 ? "" : "s");
    else
        snprintf(amount.text, sizeof amount.text,
                 !mega              ? "%.2f GB"
                 : bytes < 100000   ? "%.2f MB"
                 : bytes < 10000000 ? "%.1f MB"
                                    : "%.0f MB",
                 (double)bytes / (mega ? 1e6 : 1e9));
    return amount;
}

#endif
