/* A linear layer's bias in the harness. */
#include "bench/operations.h"
#include "kernels/bias.h"

enum { N, D };
enum { Y, BIAS };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return token_shapes(shapes, model->hidden, full);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, n * d, 2, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, d, 2, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return bias_fwd(trial->device, trial_at(trial, Y), trial_at(trial, BIAS), (int)trial->size[N],
                    (int)trial->size[D], err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *want = trial_doubles(trial, Y), *bias = trial_doubles(trial, BIAS);
    if (!bias || !want)
        return err_no_memory(err, "a reference", 0);
    bias_fwd_ref(want, bias, n, d);
    verdict_floats(verdict, trial->tensors[Y].host, want, (int64_t)n * d, 0, trial_rounding(trial));
    return STATUS_OK;
}

const struct bench_operation bench_bias = {
    .name = "bias_fwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
