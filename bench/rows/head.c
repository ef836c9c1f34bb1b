/* A classification head's products on a GPU in the harness, 150 labels: forwards, by its input, by
 * itself with two units of texts. On a CPU they are matmul's and weight_gradient's rows. */
#include "kernels/head.h"
#include <math.h>
#include "bench/operations.h"
#include "kernels/matmul.h"
#include "kernels/weight_gradient.h"

enum { N, LABELS, D };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int batches[] = {16, 256};
    int n = full ? 2 : 1;
    for (int i = 0; i < n; i++)
        shapes[i][N] = batches[i], shapes[i][LABELS] = 150, shapes[i][D] = model->hidden;
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[LABELS] > UINT16_MAX)
        return "labels are at most 65535";
    return size[N] * size[D] > INT32_MAX || size[LABELS] * size[D] > INT32_MAX
               ? "n times d and labels times d are below 2^31"
               : NULL;
}

/* Values: `written` of the result, how it is written, and those of two factors that are read. */
static enum status prepare_three(struct trial *trial, enum tensor_role role, int64_t written,
                                 int64_t first, int64_t second, struct err *err)
{
    trial->operations =
        2.0 * (double)trial->size[N] * (double)trial->size[LABELS] * (double)trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, role, written, role == TENSOR_UPDATED, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, first, 1, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, second, 1, err);
}

/* n values, of which each may be off by a share of its magnitude. */
static void verify_shares(struct verdict *verdict, const float *got, const double *want,
                          const double *magnitude, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        verdict_value(verdict, got[i], want[i], tolerance * magnitude[i]);
}

/* ---- products with the head ----------------------------------------------------------------- */

enum { RESULT, ROWS, HEAD };

typedef enum status head_product(struct device *device, float *result, const float *rows,
                                 const float *head, int n, int n_labels, int d, struct err *err);

static enum status run_product(struct trial *trial, head_product *product, struct err *err)
{
    return product(trial->device, trial_at(trial, RESULT), trial_at(trial, ROWS),
                   trial_at(trial, HEAD), (int)trial->size[N], (int)trial->size[LABELS],
                   (int)trial->size[D], err);
}

typedef void head_reference(double *result, double *magnitude, const double *rows,
                            const double *head, int n, int n_labels, int d, bool add);

static enum status verify_product(struct trial *trial, struct verdict *verdict,
                                  head_reference *reference, int64_t size, double tolerance,
                                  struct err *err)
{
    double *rows = trial_doubles(trial, ROWS), *head = trial_doubles(trial, HEAD);
    double *want = trial_wanted(trial, size), *magnitude = trial_wanted(trial, size);
    if (!rows || !head || !want || !magnitude)
        return err_no_memory(err, "a reference", 0);
    reference(want, magnitude, rows, head, (int)trial->size[N], (int)trial->size[LABELS],
              (int)trial->size[D], false);
    verify_shares(verdict, trial->tensors[RESULT].host, want, magnitude, size, tolerance);
    return STATUS_OK;
}

static enum status prepare_fwd(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], n_labels = trial->size[LABELS], d = trial->size[D];
    return prepare_three(trial, TENSOR_WRITTEN, n * n_labels, n * d, n_labels * d, err);
}

static enum status run_fwd(struct trial *trial, struct err *err)
{
    return run_product(trial, head_fwd_cuda, err);
}

static enum status verify_fwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_product(trial, verdict, matmul_fwd_ref, trial->size[N] * trial->size[LABELS],
                          head_fwd_tolerance((int)trial->size[D]), err);
}

const struct bench_operation bench_head = {
    .name = "head_fwd",
    .dtype = "f32",
    .dimensions = {"n", "labels", "d"},
    .cuda = true,
    .not_cpu = true,
    .no_activations = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_fwd,
    .run = run_fwd,
    .verify = verify_fwd,
};

static enum status prepare_input(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], n_labels = trial->size[LABELS], d = trial->size[D];
    return prepare_three(trial, TENSOR_WRITTEN, n * d, n * n_labels, n_labels * d, err);
}

static enum status run_input(struct trial *trial, struct err *err)
{
    return run_product(trial, head_bwd_input_cuda, err);
}

static enum status verify_input(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_product(trial, verdict, matmul_bwd_input_ref, trial->size[N] * trial->size[D],
                          head_bwd_input_tolerance((int)trial->size[LABELS]), err);
}

const struct bench_operation bench_head_bwd_input = {
    .name = "head_bwd_input",
    .dtype = "f32",
    .dimensions = {"n", "labels", "d"},
    .cuda = true,
    .not_cpu = true,
    .no_activations = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_input,
    .run = run_input,
    .verify = verify_input,
};

/* ---- head_gradient -------------------------------------------------------------------------- */

enum { DHEAD, DY, OF_X, UNITS };
#define N_UNITS 2

static enum status prepare_gradient(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], n_labels = trial->size[LABELS], d = trial->size[D];
    TRY(prepare_three(trial, TENSOR_UPDATED, n_labels * d, n * n_labels, n * d, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, N_UNITS + 1, 0, err));
    int32_t *units = trial->tensors[UNITS].host;
    units[1] = (int32_t)(n / 2), units[2] = (int32_t)n;
    return STATUS_OK;
}

static enum status run_gradient(struct trial *trial, struct err *err)
{
    return head_gradient_cuda(trial->device, trial_at(trial, DHEAD), trial_at(trial, DY),
                              trial_at(trial, OF_X), trial_at(trial, UNITS), N_UNITS,
                              (int)trial->size[LABELS], (int)trial->size[D], err);
}

static enum status verify_gradient(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n_labels = (int)trial->size[LABELS], d = (int)trial->size[D];
    int64_t n_head = (int64_t)n_labels * d;
    const int32_t *units = trial->tensors[UNITS].host;
    double *dy = trial_doubles(trial, DY), *x = trial_doubles(trial, OF_X);
    double *want = trial_doubles(trial, DHEAD), *before = trial_doubles(trial, DHEAD);
    double *magnitude = trial_wanted(trial, n_head);
    if (!dy || !x || !want || !before || !magnitude)
        return err_no_memory(err, "a reference", 0);
    weight_gradient_ref(want, magnitude, dy, x, units, N_UNITS, n_labels, d);
    for (int64_t i = 0; i < n_head; i++)
        magnitude[i] += fabs(before[i]);
    verify_shares(verdict, trial->tensors[DHEAD].host, want, magnitude, n_head,
                  weight_gradient_tolerance(units, N_UNITS));
    return STATUS_OK;
}

const struct bench_operation bench_head_gradient = {
    .name = "head_gradient",
    .dtype = "f32",
    .dimensions = {"n", "labels", "d"},
    .cuda = true,
    .not_cpu = true,
    .no_activations = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_gradient,
    .run = run_gradient,
    .verify = verify_gradient,
};
