/* See finite.h. */
#include "host/finite.h"

/* The sum of x - x is 0 for finite numbers and NaN otherwise: one add a value, which vectorises. */
bool finite_f32(const float *x, int64_t n)
{
    float sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sum[lane] += x[i + lane] - x[i + lane];
    for (; i < n; i++)
        sum[0] += x[i] - x[i];
    for (int lane = 1; lane < 8; lane++)
        sum[0] += sum[lane];
    return sum[0] == 0;
}

/* An exponent of ones is NaN or an infinity; adding one to its lowest bit carries out of it. */
static bool finite_16(const uint16_t *x, int64_t n, uint16_t exponent, uint16_t lowest)
{
    uint16_t carries = 0;
    for (int64_t i = 0; i < n; i++)
        carries |= (uint16_t)((x[i] & exponent) + lowest);
    return !(carries & 0x8000);
}

bool finite_bf16(const uint16_t *x, int64_t n)
{
    return finite_16(x, n, 0x7F80, 0x0080);
}

bool finite_f16(const uint16_t *x, int64_t n)
{
    return finite_16(x, n, 0x7C00, 0x0400);
}

enum status finite_refuse(const struct weight *weight, int64_t row, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "%s: tensor %s: row %lld holds NaN or an infinity; the file is damaged",
                   weight->path, weight->name, (long long)row);
}
