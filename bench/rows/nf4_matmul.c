/* Matrix products with a weight in NF4, double-quantised as models are, in the harness. On a GPU
 * the operands are the tiles that its kernels read; those of nf4.h stay with the row, for the
 * reference. */
#include "kernels/nf4_matmul.h"

#include <string.h>
#include "bench/operations.h"
#include "bench/rows/product.h"
#include "host/base/float16.h"

/* Of a flat matrix on a GPU absmax is by block, as on the CPU. */
enum { CODES = PRODUCT_W, ABSMAX, NESTED_ABSMAX };

/* What the reference reads, on the host, and how the GPU has it. */
struct own {
    struct nf4_matrix w;
    struct nf4_tiles tiles;
};

static enum status no_memory(struct err *err)
{
    return err_no_memory(err, "a bench row's operands", 0);
}

/* codes, absmax_codes, nested_absmax: to be filled. */
static enum status quantize(struct trial *trial, uint8_t *codes, uint8_t *absmax_codes,
                            float *nested_absmax, struct err *err)
{
    struct own *own = trial->own;
    int64_t n = trial->size[PRODUCT_N] * trial->size[PRODUCT_K];
    struct arena scratch = {0};
    size_t n_blocks = nf4_block_count(n);
    float *absmax = arena_alloc(&scratch, n_blocks, sizeof *absmax);
    float *values = arena_alloc(&scratch, (size_t)n, sizeof *values);
    if (!absmax || !values) {
        arena_free(&scratch);
        return no_memory(err);
    }
    trial_uniform(values, n, PRODUCT_W, 0.05);
    nf4_quantize(trial->device, codes, absmax, values, n);
    nf4_quantize_absmax(absmax_codes, nested_absmax, &own->w.offset, absmax, (int64_t)n_blocks);
    arena_free(&scratch);
    own->w.rows = (int)trial->size[PRODUCT_N];
    own->w.columns = (int)trial->size[PRODUCT_K];
    own->w.codes = codes;
    own->w.absmax_codes = absmax_codes;
    own->w.nested_absmax = nested_absmax;
    return STATUS_OK;
}

static enum status prepare_cpu(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[PRODUCT_N] * trial->size[PRODUCT_K];
    int64_t n_blocks = (int64_t)nf4_block_count(n);
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, (int64_t)nf4_code_bytes(n), 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, n_blocks, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, (int64_t)nf4_nested_block_count(n_blocks), 0,
                     err));
    return quantize(trial, trial->tensors[CODES].host, trial->tensors[ABSMAX].host,
                    trial->tensors[NESTED_ABSMAX].host, err);
}

static enum status prepare_cuda(struct trial *trial, struct err *err)
{
    struct own *own = trial->own;
    int64_t n = trial->size[PRODUCT_N] * trial->size[PRODUCT_K];
    int64_t n_blocks = (int64_t)nf4_block_count(n);
    uint8_t *codes = trial_alloc(trial, (int64_t)nf4_code_bytes(n), 1);
    uint8_t *absmax_codes = trial_alloc(trial, n_blocks, 1);
    float *nested = trial_alloc(trial, (int64_t)nf4_nested_block_count(n_blocks), sizeof *nested);
    if (!codes || !absmax_codes || !nested)
        return no_memory(err);
    TRY(quantize(trial, codes, absmax_codes, nested, err));
    const struct nf4_matrix *part = &own->w;
    nf4_tiles_plan(&own->tiles, &part, 1);
    own->tiles.segments[0].offset = part->offset;
    int64_t n_tiles = (int64_t)own->tiles.n_groups * own->tiles.n_steps;
    bool flat = own->tiles.flat;
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, n_tiles * NF4_TILE_BYTES, 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, flat ? n_blocks : n_tiles * NF4_TILE_ROWS, 0,
                     err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, (int64_t)nf4_nested_block_count(n_blocks), 0,
                     err));
    nf4_tiles_pack_ref(trial->tensors[CODES].host, flat ? NULL : trial->tensors[ABSMAX].host, part);
    if (flat)
        memcpy(trial->tensors[ABSMAX].host, absmax_codes, (size_t)n_blocks);
    memcpy(trial->tensors[NESTED_ABSMAX].host, nested,
           nf4_nested_block_count(n_blocks) * sizeof *nested);
    return STATUS_OK;
}

static enum status prepare_way(struct trial *trial, enum product_way way, struct err *err)
{
    TRY(product_prepare(trial, way, err));
    struct own *own = trial->own = trial_alloc(trial, 1, sizeof *own);
    if (!own)
        return no_memory(err);
    *own = (struct own){.w = {.rows = 0}};
    switch (trial->device->kind) {
    case DEVICE_CPU:
        return prepare_cpu(trial, err);
    case DEVICE_CUDA:
        return prepare_cuda(trial, err);
    }
    return STATUS_OK;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    return prepare_way(trial, PRODUCT_FORWARD, err);
}

static enum status prepare_back(struct trial *trial, struct err *err)
{
    return prepare_way(trial, PRODUCT_BACK, err);
}

static enum status prepare_adapted(struct trial *trial, struct err *err)
{
    TRY(prepare_way(trial, PRODUCT_ADAPTED, err));
    return product_prepare_adapters(trial, err);
}

/* As this turn's run has it: only *tiles on a GPU. */
static struct nf4_matrix matrix_of(const struct trial *trial, struct nf4_tiles *tiles)
{
    const struct own *own = trial->own;
    struct nf4_matrix w = own->w;
    if (trial->device->kind == DEVICE_CPU)
        return w;
    *tiles = own->tiles;
    tiles->codes = trial_at(trial, CODES);
    tiles->absmax_codes = tiles->flat ? NULL : trial_at(trial, ABSMAX);
    tiles->segments[0].flat_absmax = tiles->flat ? trial_at(trial, ABSMAX) : NULL;
    tiles->segments[0].nested_absmax = trial_at(trial, NESTED_ABSMAX);
    w.tiles = tiles;
    return w;
}

static enum status run(struct trial *trial, struct err *err)
{
    struct nf4_tiles tiles;
    struct nf4_matrix w = matrix_of(trial, &tiles);
    return nf4_matmul_fwd(trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X), &w,
                          (int)trial->size[PRODUCT_M], false, err);
}

static enum status run_back(struct trial *trial, struct err *err)
{
    struct nf4_tiles tiles;
    struct nf4_matrix w = matrix_of(trial, &tiles);
    return nf4_matmul_bwd_input(trial->device, trial_at(trial, PRODUCT_Y),
                                trial_at(trial, PRODUCT_X), &w, (int)trial->size[PRODUCT_M], false,
                                err);
}

static enum status run_adapted(struct trial *trial, struct err *err)
{
    struct nf4_tiles tiles;
    struct nf4_matrix w = matrix_of(trial, &tiles);
    struct lora_parts adapters = product_adapters(trial);
    return nf4_matmul_lora_fwd_cuda(
        trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X), w.tiles, NULL,
        (int)trial->size[PRODUCT_M], false, &adapters, product_adapters_s(trial), err);
}

static enum status run_few(struct trial *trial, struct err *err)
{
    struct nf4_tiles tiles;
    struct nf4_matrix w = matrix_of(trial, &tiles);
    return nf4_matmul_few_fwd_cuda(trial->device, trial_at(trial, PRODUCT_Y),
                                   trial_at(trial, PRODUCT_X), w.tiles, NULL,
                                   (int)trial->size[PRODUCT_M], false, err);
}

static enum status verify_way(struct trial *trial, enum product_way way, struct verdict *verdict,
                              struct err *err)
{
    const struct own *own = trial->own;
    int64_t n = trial->size[PRODUCT_N] * trial->size[PRODUCT_K];
    double *values = trial_wanted(trial, n);
    if (values)
        nf4_dequantize_ref(values, &own->w);
    if (trial->device->kind == DEVICE_CUDA)
        for (int64_t i = 0; values && i < n; i++)
            values[i] = bf16_to_float(bf16_from_float((float)values[i]));
    return product_verify(trial, way, values, verdict, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_way(trial, PRODUCT_FORWARD, verdict, err);
}

static enum status verify_back(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_way(trial, PRODUCT_BACK, verdict, err);
}

static enum status verify_adapted(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_way(trial, PRODUCT_ADAPTED, verdict, err);
}

const struct bench_operation bench_nf4_matmul = {
    .name = "nf4_matmul_fwd",
    .dtype = "nf4",
    .dimensions = PRODUCT_DIMENSIONS,
    .cuda = true,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

const struct bench_operation bench_nf4_matmul_bwd_input = {
    .name = "nf4_matmul_bwd_input",
    .dtype = "nf4",
    .dimensions = PRODUCT_DIMENSIONS,
    .cuda = true,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare_back,
    .run = run_back,
    .verify = verify_back,
};

/* The product with the low-rank term of adapters, given s, in its epilogue. */
const struct bench_operation bench_nf4_matmul_lora = {
    .name = "nf4_matmul_lora_fwd",
    .dtype = "nf4",
    .dimensions = PRODUCT_ADAPTED_DIMENSIONS,
    .cuda = true,
    .not_cpu = true,
    .shapes = product_adapted_shapes,
    .refuse = product_adapted_refuse,
    .prepare = prepare_adapted,
    .run = run_adapted,
    .verify = verify_adapted,
};

/* ---- few rows ------------------------------------------------------------------------------- */

static int shapes_few(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                      bool full)
{
    int n = product_shapes(shapes, model, false);
    for (int i = 0; i < n; i++)
        shapes[i][PRODUCT_M] = full ? NF4_MATMUL_FEW : 1;
    return n;
}

static const char *refuse_few(const int64_t *size)
{
    return size[PRODUCT_M] > NF4_MATMUL_FEW ? "few is at most 8" : product_refuse(size);
}

/* A GPU's kernel for up to 8 rows. */
const struct bench_operation bench_nf4_matmul_few = {
    .name = "nf4_matmul_few_fwd",
    .dtype = "nf4",
    .dimensions = {"few", "n", "k"},
    .cuda = true,
    .not_cpu = true,
    .shapes = shapes_few,
    .refuse = refuse_few,
    .prepare = prepare,
    .run = run_few,
    .verify = verify,
};
