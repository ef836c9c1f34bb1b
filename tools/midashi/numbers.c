/* See numbers.h. */
#include "tools/midashi/numbers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool parse_whole(const char *text, int64_t low, int64_t high, int64_t *value)
{
    const char *digits = *text == '-' ? text + 1 : text;
    if (*digits < '0' || *digits > '9')
        return false; /* strtoll would skip white space and take a '+' */
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (*end || errno || n < low || n > high)
        return false;
    *value = n;
    return true;
}

bool parse_decimal(const char *text, double low, double high, double *value)
{
    if (!*text || text[strspn(text, "0123456789.eE+-")])
        return false; /* no hexadecimal, no "nan", no white space */
    char *end;
    double x = strtod(text, &end);
    if (*end || !isfinite(x) || x < low || x > high)
        return false;
    *value = x;
    return true;
}
