/* Distances to candidates in the harness: a pass of k-means' seeding over the rows. */
#include "kernels/candidate_distance.h"
#include "bench/operations.h"

enum { N, T, D };
enum { OUT, X, CANDIDATES };

/* As many trials as 20, 100 and 1,000 clusters have. */
static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int trials[] = {4, 6, 8};
    int n = full ? 3 : 1;
    for (int i = 0; i < n; i++)
        shapes[i][N] = 20000, shapes[i][T] = trials[i], shapes[i][D] = model->hidden;
    return n;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], t = trial->size[T], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n * t, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, t * d, 1, err));
    /* A subtraction, a multiplication, an addition. */
    trial->operations = 3.0 * (double)n * (double)t * (double)d;
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    return candidate_distance_fwd(trial->device, trial_at(trial, OUT), trial_at(trial, X),
                                  trial_at(trial, CANDIDATES), (int)trial->size[N],
                                  (int)trial->size[T], (int)trial->size[D], err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], t = (int)trial->size[T], d = (int)trial->size[D];
    double *x = trial_doubles(trial, X), *candidates = trial_doubles(trial, CANDIDATES);
    double *want = trial_wanted(trial, (int64_t)n * t);
    if (!x || !candidates || !want)
        return err_no_memory(err, "a reference", 0);
    candidate_distance_fwd_ref(want, x, candidates, n, t, d);
    verdict_floats(verdict, trial->tensors[OUT].host, want, (int64_t)n * t,
                   candidate_distance_fwd_least(d), candidate_distance_fwd_tolerance(d));
    return STATUS_OK;
}

const struct bench_operation bench_candidate_distance = {
    .name = "candidate_distance_fwd",
    .dtype = "f32",
    .dimensions = {"n", "t", "d"},
    .cuda = true,
    .no_activations = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
