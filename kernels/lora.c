/* A low-rank adapter: CPU code, dispatch. It is made of other operations; what is its own is the
 * order of them, and that the mask is made again where it is needed, in the same scratch:
 *
 *   forward   dropped = drop(x)      s = scale * dropped · aᵀ      y += s · bᵀ
 *   backward  ds = scale * dy · b    db += dyᵀ · s
 *             dropped = drop(x)      da += dsᵀ · dropped
 *             dropped = ds · a       dx += drop(dropped)
 *
 * On a GPU what is its own is lora.cu. */
#include "kernels/lora.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/cpu.h"
#include "kernels/matmul.h"
#include "kernels/weight_gradient.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static struct dense_matrix matrix_a(const struct lora *lora)
{
    return (struct dense_matrix){PRECISION_F32, lora->a, lora->rank, lora->columns};
}

static struct dense_matrix matrix_b(const struct lora *lora)
{
    return (struct dense_matrix){PRECISION_F32, lora->b, lora->rows, lora->rank};
}

/* (m, rank) values are a hundredth of what is computed with them: one thread will do. */
static void multiply_by(float *x, float scale, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        *(float4_at_any_float *)(x + i) *= scale;
    for (; i < n; i++)
        x[i] *= scale;
}

/* The adapter's input: x itself where nothing is dropped. */
static const float *drop(struct device *device, float *dropped, const float *x,
                         const struct lora *lora, const struct dropout *dropout, int m)
{
    if (dropout->threshold == 0)
        return x;
    dropout_fwd_cpu(device, dropped, x, dropout, m, lora->columns, false);
    return dropped;
}

void lora_fwd_cpu(struct device *device, float *y, float *s, float *dropped, const float *x,
                  const struct lora *lora, const struct dropout *dropout, int m)
{
    struct dense_matrix a = matrix_a(lora), b = matrix_b(lora);
    matmul_fwd_cpu(device, s, drop(device, dropped, x, lora, dropout, m), &a, m, false);
    multiply_by(s, lora->scale, (size_t)m * (size_t)lora->rank);
    matmul_fwd_cpu(device, y, s, &b, m, true);
}

void lora_bwd_cpu(struct device *device, float *dx, float *da, float *db, float *ds, float *dropped,
                  const float *dy, const float *x, const float *s, const struct lora *lora,
                  const struct dropout *dropout, const int32_t *units, int n_units)
{
    struct dense_matrix a = matrix_a(lora), b = matrix_b(lora);
    int m = units[n_units];
    matmul_bwd_input_cpu(device, ds, dy, &b, m, false);
    multiply_by(ds, lora->scale, (size_t)m * (size_t)lora->rank);
    weight_gradient_cpu(device, db, dy, s, units, n_units, lora->rows, lora->rank);
    weight_gradient_cpu(device, da, ds, drop(device, dropped, x, lora, dropout, m), units, n_units,
                        lora->rank, lora->columns);
    if (!dx)
        return;
    if (dropout->threshold == 0) {
        matmul_bwd_input_cpu(device, dx, ds, &a, m, true);
        return;
    }
    matmul_bwd_input_cpu(device, dropped, ds, &a, m, false);
    dropout_fwd_cpu(device, dx, dropped, dropout, m, lora->columns, true);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* Those of lora.cu. */
#define BLOCK_THREADS 512
#define BLOCK_RANKS   32
#define COPY_THREADS  256
#define COPY_RANKS    32
#define COPY_LENGTH   128

enum status lora_copy_cuda(struct device *device, const struct lora_parts *tables, int n_tables,
                           int longest, int most_ranks, struct err *err)
{
    void *values[] = {&tables};
    assert(n_tables <= LORA_TABLES_LARGEST);
    if (n_tables == 0 || most_ranks == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "lora",
                           .name = "lora_copy",
                           .grid = {(unsigned)divide_up(longest, COPY_LENGTH),
                                    (unsigned)divide_up(most_ranks, COPY_RANKS),
                                    2 * LORA_PARTS * (unsigned)n_tables},
                           .block = {COPY_THREADS, 1, 1},
                           .values = values,
                       },
                       err);
}

/* The kernels of one product: of blocks of 8 rows, of 16, and of 8 for rows that are no vectors;
 * all give the same bytes. */
struct ranks_kernels {
    const char *small, *large, *any;
};

/* Whether blocks of 16 rows, which read the matrix half as often, give the busiest multiprocessor
 * no more rows than those of 8 do, or hardly. Where no masks are drawn, rows cost little beside
 * what is read. */
static bool large_blocks(const struct device *device, bool masks, int m, unsigned chunks)
{
    int n_sms = device->cuda->info.n_sms;
    int64_t large = divide_up(divide_up(m, 16) * chunks, n_sms);
    int64_t small = divide_up(divide_up(m, 8) * chunks, n_sms);
    return 100 * 2 * large <= (masks ? 110 : 135) * small;
}

/* A block for some rows and 32 ranks of a part. */
static enum status launch_ranks(struct device *device, const struct ranks_kernels *kernels,
                                bool vectors, bool masks, void **values,
                                const struct lora_parts *parts, int m, struct err *err)
{
    unsigned chunks = 0;
    for (int i = 0; i < parts->n_parts; i++)
        chunks += (unsigned)divide_up(parts->parts[i].padded, BLOCK_RANKS);
    if (m == 0 || chunks == 0)
        return STATUS_OK;
    bool large = vectors && large_blocks(device, masks, m, chunks);
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "lora",
                           .name = !vectors ? kernels->any
                                   : large  ? kernels->large
                                            : kernels->small,
                           .grid = {(unsigned)divide_up(m, large ? 16 : 8), chunks, 1},
                           .block = {BLOCK_THREADS, 1, 1},
                           .values = values,
                       },
                       err);
}

enum status lora_s_cuda(struct device *device, void *s, const void *x, int x_stride,
                        const struct lora_parts *parts, const struct dropout *dropout, int m,
                        struct err *err)
{
    struct lora_parts table = *parts;
    struct dropout of_step = *dropout;
    void *values[] = {&s, &x, &x_stride, &table, &of_step, &m};
    static const struct ranks_kernels kernels = {"lora_s_8", "lora_s_16", "lora_s_any"};
    bool vectors = parts->columns % 8 == 0 && x_stride % 8 == 0;
    return launch_ranks(device, &kernels, vectors, dropout->threshold > 0, values, parts, m, err);
}

enum status lora_ds_cuda(struct device *device, void *ds, const void *dy,
                         const struct lora_parts *parts, int m, struct err *err)
{
    struct lora_parts table = *parts;
    void *values[] = {&ds, &dy, &table, &m};
    bool vectors = true;
    for (int i = 0; i < parts->n_parts; i++)
        vectors = vectors && parts->parts[i].rows % 8 == 0;
    static const struct ranks_kernels kernels = {"lora_ds_8", "lora_ds_16", "lora_ds_any"};
    return launch_ranks(device, &kernels, vectors, false, values, parts, m, err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status lora_fwd(struct device *device, void *y, void *s, void *dropped, const void *x,
                     const struct lora *lora, const struct dropout *dropout, int m, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        lora_fwd_cpu(device, y, s, dropped, x, lora, dropout, m);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("lora", err);
}

enum status lora_bwd(struct device *device, void *dx, float *da, float *db, void *ds, void *dropped,
                     const void *dy, const void *x, const void *s, const struct lora *lora,
                     const struct dropout *dropout, const int32_t *units, int n_units,
                     struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        lora_bwd_cpu(device, dx, da, db, ds, dropped, dy, x, s, lora, dropout, units, n_units);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("lora_bwd", err);
}
