/* See training_golden.h. */
#include "tests/training_golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support.h"

#define N_SUMS 64

/* Columns of RUN_tensors.npy. */
enum { LAYER, TARGET, KIND, ROWS, COLUMNS, WHOLE, TENSOR_COLUMNS };

static const char *const quantities[] = {"gradient", "change"};

/* ---- files ---------------------------------------------------------------------------------- */

static void open_array(struct npy *npy, const char *run, const char *what, enum npy_type type,
                       int64_t columns)
{
    char file[128];
    struct err err;
    snprintf(file, sizeof file, "peft_training/%s_%s.npy", run, what);
    ck_assert_msg(npy_open(npy, golden(file), &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(npy->type, type);
    ck_assert_msg(columns == 0 || npy->columns == columns, "%s: %lld columns", file,
                  (long long)npy->columns);
}

static void read_texts(struct training_golden *golden, const char *run)
{
    char model[64];
    snprintf(model, sizeof model, "%.*s", (int)strcspn(run, "_"), run);
    open_array(&golden->text_rows, model, "texts", NPY_I32, 0);
    ck_assert_int_eq(golden->text_rows.rows, TRAINING_GOLDEN_TEXTS);
    for (int i = 0; i < TRAINING_GOLDEN_TEXTS; i++) {
        const int32_t *row =
            (const int32_t *)golden->text_rows.data + i * golden->text_rows.columns;
        golden->texts[i] = (struct training_golden_text){row[0], row[1], row + 2};
        ck_assert_int_le(2 + row[1], golden->text_rows.columns);
    }
}

static void read_steps(struct training_golden *golden, const char *run)
{
    struct npy steps;
    open_array(&steps, run, "steps", NPY_F32, 2);
    ck_assert_int_eq(steps.rows, TRAINING_GOLDEN_STEPS);
    for (int i = 0; i < TRAINING_GOLDEN_STEPS; i++) {
        golden->losses[i] = (double)((const float *)steps.data)[2 * i];
        golden->norms[i] = (double)((const float *)steps.data)[2 * i + 1];
    }
    npy_close(&steps);
}

static int64_t size_of(const struct training_golden_tensor *tensor)
{
    return (int64_t)tensor->rows * tensor->columns;
}

/* Returns how many elements the tensors have that are there whole. */
static int64_t read_tensors(struct training_golden *golden, const char *run)
{
    struct npy npy;
    int64_t whole = 0;
    open_array(&npy, run, "tensors", NPY_I32, TENSOR_COLUMNS);
    golden->n_tensors = (int)npy.rows;
    golden->tensors = calloc((size_t)npy.rows, sizeof *golden->tensors);
    ck_assert_ptr_nonnull(golden->tensors);
    for (int i = 0; i < golden->n_tensors; i++) {
        const int32_t *row = (const int32_t *)npy.data + i * TENSOR_COLUMNS;
        golden->tensors[i] = (struct training_golden_tensor){
            .kind = (enum training_golden_kind)row[KIND],
            .layer = row[LAYER],
            .target = row[TARGET],
            .rows = row[ROWS],
            .columns = row[COLUMNS],
            .first = golden->n_parameters,
            .whole = row[WHOLE],
        };
        golden->n_parameters += size_of(&golden->tensors[i]);
        if (row[WHOLE] >= 0) {
            ck_assert_int_eq(row[WHOLE], whole);
            whole += size_of(&golden->tensors[i]);
        }
    }
    npy_close(&npy);
    return whole;
}

void training_golden_open(struct training_golden *golden, const char *run)
{
    *golden = (struct training_golden){0};
    read_texts(golden, run);
    read_steps(golden, run);
    int64_t whole = read_tensors(golden, run);
    for (int q = 0; q < TRAINING_GOLDEN_QUANTITIES; q++) {
        open_array(&golden->whole[q], run, quantities[q], NPY_F32, 1);
        ck_assert_int_eq(golden->whole[q].rows, whole);
        if (whole == golden->n_parameters)
            continue;
        char what[64];
        snprintf(what, sizeof what, "%s_sketches", quantities[q]);
        open_array(&golden->sums[q], run, what, NPY_F32, 1 + N_SUMS);
        ck_assert_int_eq(golden->sums[q].rows, golden->n_tensors);
    }
}

/* A column of a RUN_*.npy. */
static void take_column(const struct npy *npy, int64_t column, double *to)
{
    for (int64_t i = 0; i < npy->rows; i++)
        to[i] = (double)((const float *)npy->data)[i * npy->columns + column];
}

void training_bfloat16_open(struct training_bfloat16 *b, struct training_golden *golden,
                            const char *run)
{
    struct npy exact, steps, tensors;
    *b = (struct training_bfloat16){0};
    open_array(&exact, run, "exact_steps", NPY_F32, 2);
    open_array(&steps, run, "bfloat16_steps", NPY_F32, 2);
    open_array(&tensors, run, "bfloat16_tensors", NPY_F32, TRAINING_GOLDEN_QUANTITIES);
    ck_assert_int_le(exact.rows, TRAINING_GOLDEN_STEPS);
    ck_assert_int_eq(exact.rows, steps.rows);
    ck_assert_int_eq(tensors.rows, golden->n_tensors + 1);
    b->n_steps = (int)exact.rows;
    take_column(&exact, 0, b->losses);
    take_column(&exact, 1, b->norms);
    take_column(&steps, 0, b->loss_errors);
    take_column(&steps, 1, b->norm_errors);
    for (int q = 0; q < TRAINING_GOLDEN_QUANTITIES; q++) {
        b->errors[q] = malloc((size_t)tensors.rows * sizeof(double));
        ck_assert_ptr_nonnull(b->errors[q]);
        take_column(&tensors, q, b->errors[q]);
    }
    b->has_change = b->errors[TRAINING_GOLDEN_CHANGE][golden->n_tensors] >= 0;
    npy_close(&exact);
    npy_close(&steps);
    npy_close(&tensors);
    if (!b->has_change)
        return;
    int64_t rows = golden->whole[TRAINING_GOLDEN_CHANGE].rows;
    npy_close(&golden->whole[TRAINING_GOLDEN_CHANGE]);
    open_array(&golden->whole[TRAINING_GOLDEN_CHANGE], run, "exact_change", NPY_F32, 1);
    ck_assert_int_eq(golden->whole[TRAINING_GOLDEN_CHANGE].rows, rows);
}

void training_bfloat16_close(struct training_bfloat16 *b)
{
    for (int q = 0; q < TRAINING_GOLDEN_QUANTITIES; q++)
        free(b->errors[q]);
    *b = (struct training_bfloat16){0};
}

void training_golden_close(struct training_golden *golden)
{
    for (int q = 0; q < TRAINING_GOLDEN_QUANTITIES; q++) {
        npy_close(&golden->whole[q]);
        npy_close(&golden->sums[q]);
    }
    npy_close(&golden->text_rows);
    free(golden->tensors);
    *golden = (struct training_golden){0};
}

/* ---- what the run began with ---------------------------------------------------------------- */

int training_golden_draw(int step, int micro_batch, int j)
{
    int micro_batches = step * TRAINING_GOLDEN_ACCUMULATE + micro_batch;
    return (micro_batches * TRAINING_GOLDEN_BATCH + j) % TRAINING_GOLDEN_TEXTS;
}

void training_golden_initial(const struct training_golden *golden, float *parameters)
{
    for (int t = 0; t < golden->n_tensors; t++) {
        const struct training_golden_tensor *tensor = &golden->tensors[t];
        double scale = tensor->kind == TRAINING_GOLDEN_A   ? 2 / sqrt((double)tensor->columns)
                       : tensor->kind == TRAINING_GOLDEN_B ? 0.02
                                                           : 0.2;
        for (int64_t i = tensor->first; i < tensor->first + size_of(tensor); i++) {
            uint32_t hash = (uint32_t)i * 2654435761u;
            parameters[i] = (float)((hash * 0x1p-32 - 0.5) * scale);
        }
    }
}

/* ---- distances ------------------------------------------------------------------------------ */

bool training_golden_has_sums(const struct training_golden *golden)
{
    return golden->sums[0].data != NULL;
}

double training_golden_estimate(const struct training_golden *golden,
                                enum training_golden_quantity quantity, int tensor,
                                const float *got)
{
    const struct training_golden_tensor *t = &golden->tensors[tensor];
    const float *want = (const float *)golden->sums[quantity].data + tensor * (1 + N_SUMS);
    double sums[N_SUMS] = {0}, squares = 0;
    for (int64_t i = 0; i < size_of(t); i++) {
        uint64_t bits = mix64(1, (uint64_t)i);
        double x = (double)got[t->first + i];
        for (int k = 0; k < N_SUMS; k++)
            sums[k] += bits >> k & 1 ? x : -x;
    }
    for (int k = 0; k < N_SUMS; k++) {
        double d = sums[k] - (double)want[1 + k];
        squares += d * d;
    }
    return sqrt(squares / N_SUMS) / (double)want[0];
}

double training_golden_distance(const struct training_golden *golden,
                                enum training_golden_quantity quantity, int tensor,
                                const float *got)
{
    const struct training_golden_tensor *t = &golden->tensors[tensor];
    if (t->whole < 0)
        return training_golden_estimate(golden, quantity, tensor, got);
    return relative_distance(got + t->first, (const float *)golden->whole[quantity].data + t->whole,
                             (size_t)size_of(t));
}

double training_golden_largest_distance(const struct training_golden *golden,
                                        enum training_golden_quantity quantity, const float *got,
                                        int *worst)
{
    double largest = -1;
    *worst = 0;
    for (int i = 0; i < golden->n_tensors; i++) {
        double distance = training_golden_distance(golden, quantity, i, got);
        if (distance <= largest)
            continue;
        largest = distance, *worst = i;
        if (isnan(distance))
            break;
    }
    return largest;
}

/* The norm of PEFT's tensor. */
static double norm_of(const struct training_golden *golden, enum training_golden_quantity quantity,
                      int tensor)
{
    const struct training_golden_tensor *t = &golden->tensors[tensor];
    double squares = 0;
    if (t->whole < 0)
        return (double)((const float *)golden->sums[quantity].data)[tensor * (1 + N_SUMS)];
    const float *want = (const float *)golden->whole[quantity].data + t->whole;
    for (int64_t i = 0; i < size_of(t); i++)
        squares += (double)want[i] * (double)want[i];
    return sqrt(squares);
}

void training_golden_distances(const struct training_golden *golden,
                               enum training_golden_quantity quantity, const float *got,
                               double *distances)
{
    double difference = 0, norm = 0;
    for (int i = 0; i < golden->n_tensors; i++) {
        double size = norm_of(golden, quantity, i);
        distances[i] = training_golden_distance(golden, quantity, i, got);
        difference += distances[i] * size * distances[i] * size;
        norm += size * size;
    }
    distances[golden->n_tensors] = sqrt(difference / norm);
}

const char *training_golden_name(const struct training_golden *golden, int tensor)
{
    static const char *const targets[] = {"q", "k", "v", "o", "gate", "up", "down"};
    static char name[64];
    const struct training_golden_tensor *t = &golden->tensors[tensor];
    if (tensor == golden->n_tensors)
        return "all";
    if (t->kind == TRAINING_GOLDEN_HEAD)
        return "head";
    snprintf(name, sizeof name, "layer %d, %s, %c", t->layer, targets[t->target],
             t->kind == TRAINING_GOLDEN_A ? 'A' : 'B');
    return name;
}
