/* Numbers in words of the command line. */
#ifndef MIDASHI_TOOLS_NUMBERS_H
#define MIDASHI_TOOLS_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

/* A whole number in [low, high], the whole text. false otherwise. */
bool parse_whole(const char *text, int64_t low, int64_t high, int64_t *value);
/* A finite decimal number in [low, high], the whole text. */
bool parse_decimal(const char *text, double low, double high, double *value);

#endif
