/* The real kernels in a namespace, their names ending in _SET: see module.cu. */
namespace JOIN(set, SET)
{
    namespace of_attention
    {
#include "tests/softcuda/kernels/real_attention.cu"
    }
    namespace of_gemm
    {
#undef ROW
#include "tests/softcuda/kernels/real_gemm.cu"
    }
    namespace of_rows
    {
#include "tests/softcuda/kernels/real_rows.cu"
    }
#if SET < 3
    namespace of_sums
    {
#include "tests/softcuda/kernels/real_sums.cu"
    }
#endif
}
#undef ROW
