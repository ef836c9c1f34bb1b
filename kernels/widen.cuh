/* float32 into float64 on a GPU without conversions.
 *
 * GeForce cards have 2 units of float64 a multiprocessor, and what turns float32 into float64 is as
 * slow there as a sum. So values are widened by integers:
 *
 *   float32   s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm
 *   float64   s 000eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm0...      shifted: the value times 2^-896
 *
 * That is exact for all finite values, subnormals too: in both, exponents of 0 stand for the least
 * power and no leading 1. The factor is taken back where it costs nothing, in a multiply-add which
 * rounds once, or by adding to the exponent, which holds for normal numbers only. */
#ifndef MIDASHI_KERNELS_WIDEN_CUH
#define MIDASHI_KERNELS_WIDEN_CUH

#define SHRUNK_BY 0x1p896

/* x / SHRUNK_BY, where x is finite; `more` is added to the exponent. */
static __device__ __forceinline__ double shrunk(float x, int more = 0)
{
    int bits = __float_as_int(x);
    return __hiloint2double(((bits >> 3) & 0x8FFFFFFF) + (more << 20), bits << 29);
}

static __device__ __forceinline__ bool is_finite(float x)
{
    return (__float_as_uint(x) & 0x7F800000) != 0x7F800000;
}

/* The exponent is neither 0 nor that of infinities: one more is at least 2, and does not wrap. */
static __device__ __forceinline__ bool is_normal(float x)
{
    return ((__float_as_uint(x) + 0x00800000) & 0x7F000000) != 0;
}

/* The slow way. Volatile, or the compiler would take it always, and choose after. */
static __device__ __forceinline__ double widened(float x)
{
    double y;
    asm volatile("cvt.f64.f32 %0, %1;" : "=d"(y) : "f"(x));
    return y;
}

#endif
