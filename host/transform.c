/* Transforms of pooled vectors. See transform.h.
 *
 * The covariance is never formed: at d = 4096 it would take 128 MB and n d^2 products. Subspace
 * iteration needs it only as a product with a few vectors, which is two passes over each row. */
#include "host/transform.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/philox.h"
#include "host/row_chunks.h"
#include "host/rows.h"

/* Vectors iterated beyond those wanted: the error of the last one wanted falls by
 * lambda(remove + SPARE + 1) / lambda(remove) a step. */
#define SPARE          8
#define MOST_STEPS     120   /* without gaps in the spectrum any of the near-equal ones will do */
#define TOLERANCE      1e-7  /* of |A v - lambda v| / lambda: directions are kept in float32 */
#define NO_VARIANCE    1e-12 /* of lambda / lambda(1): below lies the rounding of float32 rows */
#define SUBSPACE_DRAWS 0x73756273u /* Philox stream: "subs" */

struct subspace {
    struct row_chunks *rows;
    int d, q;
    double *mean;    /* (d) */
    double *basis;   /* (q, d) orthonormal rows */
    double *image;   /* (q, d) the covariance (times n) applied to basis */
    double *rotated; /* (q, d) */
    double *small;   /* (q, q) basis image^T, then diagonal */
    double *vectors; /* (q, q) eigenvectors of small, in columns */
    double *lambda;  /* (q) falling */
};

/* ---- the mean -------------------------------------------------------------------------------- */

static enum status find_mean(struct subspace *s, struct err *err)
{
    if (s->rows->n == 0)
        return err_set(err, STATUS_BAD_DATA,
                       "no row to take the mean of: all are blank; use --normalise none");
    return row_chunks_mean(s->rows, s->mean, err);
}

/* ---- principal directions -------------------------------------------------------------------- */

static double dot(const double *a, const double *b, int d)
{
    double partial[4] = {0};
    int j = 0;
    for (; j + 4 <= d; j += 4)
        for (int lane = 0; lane < 4; lane++)
            partial[lane] += a[j + lane] * b[j + lane];
    double sum = ((partial[0] + partial[1]) + partial[2]) + partial[3];
    for (; j < d; j++)
        sum += a[j] * b[j];
    return sum;
}

static double deviation_dot(const float *row, const double *mean, const double *v, int d)
{
    double partial[4] = {0};
    int j = 0;
    for (; j + 4 <= d; j += 4)
        for (int lane = 0; lane < 4; lane++)
            partial[lane] += ((double)row[j + lane] - mean[j + lane]) * v[j + lane];
    double sum = ((partial[0] + partial[1]) + partial[2]) + partial[3];
    for (; j < d; j++)
        sum += ((double)row[j] - mean[j]) * v[j];
    return sum;
}

/* partial (q, d) += sum_i (basis . r_i) r_i^T, r_i the deviation of row i from the mean. */
static void add_images(void *context, const float *x, int first, int last, double *partial)
{
    const struct subspace *s = context;
    int d = s->d;
    for (int i = first; i < last; i++) {
        const float *row = x + (size_t)i * (size_t)d;
        for (int c = 0; c < s->q; c++) {
            const double *v = s->basis + (size_t)c * (size_t)d;
            double *out = partial + (size_t)c * (size_t)d;
            double weight = deviation_dot(row, s->mean, v, d);
            for (int j = 0; j < d; j++)
                out[j] += weight * ((double)row[j] - s->mean[j]);
        }
    }
}

static void fill_random(double *v, int d, int vector, uint32_t attempt)
{
    for (int j = 0; j < d; j++)
        v[j] = philox_uniform((uint64_t)vector, attempt, SUBSPACE_DRAWS, (uint64_t)j) - 0.5;
}

/* Gram-Schmidt, twice for each row: once leaves what cancellation has spoilt. A row that depends on
 * those before it is drawn again. */
static void orthonormalise(double *rows, int q, int d)
{
    for (int c = 0; c < q; c++) {
        double *row = rows + (size_t)c * (size_t)d;
        for (uint32_t attempt = 1;; attempt++) {
            double before = sqrt(dot(row, row, d));
            for (int pass = 0; pass < 2; pass++)
                for (int b = 0; b < c; b++) {
                    const double *other = rows + (size_t)b * (size_t)d;
                    double share = dot(row, other, d);
                    for (int j = 0; j < d; j++)
                        row[j] -= share * other[j];
                }
            double norm = sqrt(dot(row, row, d));
            if (norm > 1e-13 * before) {
                for (int j = 0; j < d; j++)
                    row[j] /= norm;
                break;
            }
            fill_random(row, d, c, attempt);
        }
    }
}

/* One Jacobi rotation that clears a[p][r] of the symmetric a (q, q). */
static void rotate(double *a, double *vectors, int q, int p, int r)
{
    double off = a[p * q + r];
    if (off == 0)
        return;
    double theta = (a[r * q + r] - a[p * q + p]) / (2 * off);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double cosine = 1 / sqrt(t * t + 1), sine = t * cosine;
    for (int i = 0; i < q; i++) {
        double ap = a[i * q + p], ar = a[i * q + r];
        a[i * q + p] = cosine * ap - sine * ar;
        a[i * q + r] = sine * ap + cosine * ar;
    }
    for (int i = 0; i < q; i++) {
        double ap = a[p * q + i], ar = a[r * q + i];
        a[p * q + i] = cosine * ap - sine * ar;
        a[r * q + i] = sine * ap + cosine * ar;
    }
    for (int i = 0; i < q; i++) {
        double vp = vectors[i * q + p], vr = vectors[i * q + r];
        vectors[i * q + p] = cosine * vp - sine * vr;
        vectors[i * q + r] = sine * vp + cosine * vr;
    }
}

/* Cyclic Jacobi (Golub and Van Loan, section 8.5): a becomes diagonal, a = vectors diag vectors^T.
 * Sweeps converge quadratically; 30 are more than float64 can use. */
static void diagonalise(double *a, double *vectors, int q)
{
    for (int i = 0; i < q * q; i++)
        vectors[i] = i % (q + 1) == 0;
    for (int sweep = 0; sweep < 30; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < q * q; i++) {
            all += a[i] * a[i];
            off += i % (q + 1) == 0 ? 0 : a[i] * a[i];
        }
        if (off <= 1e-32 * all)
            return;
        for (int p = 0; p + 1 < q; p++)
            for (int r = p + 1; r < q; r++)
                rotate(a, vectors, q, p, r);
    }
}

/* Row c of rows (q, d) becomes sum_b vectors[b][order[c]] * row b. */
static void rotate_rows(struct subspace *s, double *rows, const int *order)
{
    size_t d = (size_t)s->d;
    memset(s->rotated, 0, (size_t)s->q * d * sizeof *s->rotated);
    for (int c = 0; c < s->q; c++)
        for (int b = 0; b < s->q; b++) {
            double share = s->vectors[b * s->q + order[c]];
            for (size_t j = 0; j < d; j++)
                s->rotated[(size_t)c * d + j] += share * rows[(size_t)b * d + j];
        }
    memcpy(rows, s->rotated, (size_t)s->q * d * sizeof *rows);
}

/* Turns basis and image so that the basis holds the Ritz vectors, by falling Ritz value. */
static void rayleigh_ritz(struct subspace *s)
{
    int q = s->q, order[TRANSFORM_MOST_REMOVED + SPARE];
    for (int a = 0; a < q; a++)
        for (int b = 0; b <= a; b++)
            s->small[a * q + b] = s->small[b * q + a] =
                dot(s->basis + (size_t)a * (size_t)s->d, s->image + (size_t)b * (size_t)s->d, s->d);
    diagonalise(s->small, s->vectors, q);
    for (int c = 0; c < q; c++) { /* insertion sort */
        int place = c;
        double value = s->small[c * q + c];
        for (; place > 0 && s->lambda[place - 1] < value; place--)
            s->lambda[place] = s->lambda[place - 1], order[place] = order[place - 1];
        s->lambda[place] = value, order[place] = c;
    }
    rotate_rows(s, s->basis, order);
    rotate_rows(s, s->image, order);
}

static int varying_directions(const struct subspace *s, int wanted)
{
    int count = 0;
    while (count < wanted && s->lambda[count] > NO_VARIANCE * s->lambda[0])
        count++;
    return count;
}

static bool has_converged(const struct subspace *s, int wanted)
{
    for (int c = 0; c < varying_directions(s, wanted); c++) {
        const double *v = s->basis + (size_t)c * (size_t)s->d;
        const double *image = s->image + (size_t)c * (size_t)s->d;
        double square = 0;
        for (int j = 0; j < s->d; j++) {
            double residual = image[j] - s->lambda[c] * v[j];
            square += residual * residual;
        }
        if (!(sqrt(square) <= TOLERANCE * s->lambda[c]))
            return false;
    }
    return true;
}

/* *found of the wanted directions there are; they are the first rows of s->basis. */
static enum status find_directions(struct subspace *s, int wanted, int *found, struct err *err)
{
    for (int c = 0; c < s->q; c++)
        fill_random(s->basis + (size_t)c * (size_t)s->d, s->d, c, 0);
    for (int step = 0;; step++) {
        orthonormalise(s->basis, s->q, s->d);
        TRY(row_chunks_sum(s->rows, s->image, (size_t)s->q * (size_t)s->d, add_images, s, err));
        rayleigh_ritz(s);
        if (has_converged(s, wanted) || step == MOST_STEPS) {
            *found = varying_directions(s, wanted);
            return STATUS_OK;
        }
        memcpy(s->basis, s->image, (size_t)s->q * (size_t)s->d * sizeof *s->basis);
    }
}

static void keep_direction(float *out, const double *v, int d)
{
    int largest = 0;
    for (int j = 1; j < d; j++)
        if (fabs(v[j]) > fabs(v[largest]))
            largest = j;
    for (int j = 0; j < d; j++)
        out[j] = (float)(v[largest] < 0 ? -v[j] : v[j]);
}

static bool centres(enum transform_normalise normalise)
{
    return normalise == NORMALISE_CENTRE || normalise == NORMALISE_CENTRE_L2;
}

/* ---- fit ------------------------------------------------------------------------------------- */

static enum status allocate_subspace(struct subspace *s, struct arena *scratch, struct err *err)
{
    size_t q = (size_t)s->q, size = q * (size_t)s->d;
    s->basis = arena_alloc(scratch, size, sizeof *s->basis);
    s->image = arena_alloc(scratch, size, sizeof *s->image);
    s->rotated = arena_alloc(scratch, size, sizeof *s->rotated);
    s->small = arena_alloc(scratch, q * q, sizeof *s->small);
    s->vectors = arena_alloc(scratch, q * q, sizeof *s->vectors);
    s->lambda = arena_alloc(scratch, q, sizeof *s->lambda);
    if (!s->basis || !s->image || !s->rotated || !s->small || !s->vectors || !s->lambda)
        return err_no_memory(err, "principal components", (3 * size + 2 * q * q) * sizeof(double));
    return STATUS_OK;
}

static enum status fit_directions(struct subspace *s, struct transform *transform, int remove,
                                  struct arena *scratch, struct arena *arena, struct err *err)
{
    s->q = remove + SPARE < s->d ? remove + SPARE : s->d;
    TRY(allocate_subspace(s, scratch, err));
    size_t d = (size_t)s->d;
    int found;
    TRY(find_directions(s, remove, &found, err));
    if (found == 0)
        return STATUS_OK;
    transform->directions = arena_alloc(arena, (size_t)found * d, sizeof(float));
    if (!transform->directions)
        return err_no_memory(err, "principal components", (size_t)found * d * sizeof(float));
    for (int c = 0; c < found; c++)
        keep_direction(transform->directions + (size_t)c * d, s->basis + (size_t)c * d, s->d);
    transform->n_removed = found;
    return STATUS_OK;
}

static enum status fit(struct subspace *s, struct transform *transform, int remove,
                       struct arena *scratch, struct arena *arena, struct err *err)
{
    size_t d = (size_t)s->d;
    s->mean = arena_alloc(scratch, d, sizeof *s->mean);
    transform->mean = arena_alloc(arena, d, sizeof *transform->mean);
    if (!s->mean || !transform->mean)
        return err_no_memory(err, "the mean", d * (sizeof(double) + sizeof(float)));
    TRY(find_mean(s, err));
    for (size_t j = 0; j < d; j++)
        transform->mean[j] = (float)s->mean[j];
    return remove > 0 ? fit_directions(s, transform, remove, scratch, arena, err) : STATUS_OK;
}

enum status transform_fit(struct transform *transform, enum transform_normalise normalise,
                          int remove, struct row_chunks *rows, struct arena *arena, struct err *err)
{
    int d = rows->d;
    assert(d >= 1);
    *transform = (struct transform){.normalise = normalise, .d = d};
    if (remove < 0 || remove >= d || remove > TRANSFORM_MOST_REMOVED)
        return err_set(err, STATUS_USAGE,
                       "cannot remove %d components of %d columns; ask for 0 to %d", remove, d,
                       d - 1 < TRANSFORM_MOST_REMOVED ? d - 1 : TRANSFORM_MOST_REMOVED);
    if (d > TRANSFORM_MOST_COLUMNS)
        return err_set(err, STATUS_BAD_DATA, "%d columns are more than the %d that fit", d,
                       TRANSFORM_MOST_COLUMNS);
    TRY(row_chunks_check(rows, err));
    if (!centres(normalise) && remove == 0)
        return STATUS_OK;
    struct subspace s = {.rows = rows, .d = d};
    struct arena scratch = {0};
    struct arena_mark mark = arena_mark(arena);
    enum status status = fit(&s, transform, remove, &scratch, arena, err);
    if (status != STATUS_OK) {
        arena_reset(arena, mark);
        *transform = (struct transform){.normalise = normalise, .d = d};
    }
    arena_free(&scratch);
    return status;
}

/* ---- apply ----------------------------------------------------------------------------------- */

#define ROWS_PER_TASK 32

struct apply_job {
    struct device *device;
    const struct transform *transform;
    float *x;
    int n;
};

/* deviation: room for d doubles. */
static void transform_row(const struct transform *t, float *row, double *deviation)
{
    double share[TRANSFORM_MOST_REMOVED];
    bool centre = centres(t->normalise);
    for (int j = 0; j < t->d; j++)
        deviation[j] = (double)row[j] - (t->mean ? (double)t->mean[j] : 0);
    for (int c = 0; c < t->n_removed; c++) {
        const float *direction = t->directions + (size_t)c * (size_t)t->d;
        share[c] = 0;
        for (int j = 0; j < t->d; j++)
            share[c] += deviation[j] * (double)direction[j];
    }
    for (int c = 0; c < t->n_removed; c++) {
        const float *direction = t->directions + (size_t)c * (size_t)t->d;
        for (int j = 0; j < t->d; j++)
            deviation[j] -= share[c] * (double)direction[j];
    }
    for (int j = 0; j < t->d; j++)
        row[j] = (float)(deviation[j] + (centre || !t->mean ? 0 : (double)t->mean[j]));
    if (t->normalise == NORMALISE_CENTRE_L2 || t->normalise == NORMALISE_L2)
        row_normalise(row, t->d);
}

static void apply_task(void *context, int task, int worker)
{
    const struct apply_job *job = context;
    double *deviation = device_scratch(job->device, worker);
    size_t d = (size_t)job->transform->d;
    for (int i = task * ROWS_PER_TASK; i < job->n && i / ROWS_PER_TASK == task; i++)
        transform_row(job->transform, job->x + (size_t)i * d, deviation);
}

void transform_apply(struct device *device, const struct transform *transform, float *x, int n)
{
    assert(transform->d <= TRANSFORM_MOST_COLUMNS);
    struct apply_job job = {device, transform, x, n};
    int n_tasks = n / ROWS_PER_TASK + (n % ROWS_PER_TASK != 0);
    threads_run(device->threads, n_tasks, apply_task, &job);
}

bool transform_is_identity(const struct transform *transform)
{
    return transform->normalise == NORMALISE_NONE && transform->n_removed == 0;
}
