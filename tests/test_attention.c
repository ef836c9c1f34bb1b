/* Packed causal attention against its float64 reference, and what batches promise: a text gets the
 * same bytes alone or in company, with any number of threads, and keeps its NaNs to itself. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/attention.h"

/* Empty, single, round the vector width of 8, the panel of 16, the key block of 128, and several
 * blocks. */
static const int lengths[] = {0,  1,  2,  7,  8,  9,   15,  16,  17,  0,   31,
                              32, 33, 63, 64, 65, 127, 128, 129, 500, 257, 0};
#define N_TEXTS ((int)(sizeof lengths / sizeof *lengths))

static const struct {
    int n_heads, n_kv_heads, head_dim;
} cases[] = {
    {1, 1, 8},  {8, 4, 8},   {9, 3, 16},  {4, 1, 32}, {9, 3, 64}, {8, 4, 64}, {4, 1, 80},
    {1, 1, 80}, {2, 1, 128}, {1, 1, 256}, {3, 1, 10}, {5, 5, 7},  {4, 2, 1},  {1, 1, 33},
};

/* One packed batch: inputs, and where its texts begin. */
struct batch {
    float *q, *k, *v, *out;
    int32_t *cu_seqlens;
    int n_texts, n_heads, n_kv_heads, head_dim;
    size_t q_size, k_size;
};

static struct batch make_batch(const int *text_lengths, int n_texts, int n_heads, int n_kv_heads,
                               int head_dim)
{
    struct batch batch = {
        .n_texts = n_texts, .n_heads = n_heads, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    batch.cu_seqlens = malloc(((size_t)n_texts + 1) * sizeof(int32_t));
    batch.cu_seqlens[0] = 0;
    for (int t = 0; t < n_texts; t++)
        batch.cu_seqlens[t + 1] = batch.cu_seqlens[t] + text_lengths[t];
    size_t n = (size_t)batch.cu_seqlens[n_texts];
    batch.q_size = n * (size_t)n_heads * (size_t)head_dim;
    batch.k_size = n * (size_t)n_kv_heads * (size_t)head_dim;
    batch.q = guarded_floats(batch.q_size);
    batch.k = guarded_floats(batch.k_size);
    batch.v = guarded_floats(batch.k_size);
    batch.out = guarded_floats(batch.q_size);
    fill_normal(batch.q, batch.q_size, 1, 1.5f);
    fill_normal(batch.k, batch.k_size, 2, 1.5f);
    fill_normal(batch.v, batch.k_size, 3, 1.0f);
    return batch;
}

static void free_batch(struct batch *batch)
{
    check_guarded(batch->q, batch->q_size);
    check_guarded(batch->k, batch->k_size);
    check_guarded(batch->v, batch->k_size);
    check_guarded(batch->out, batch->q_size);
    free(batch->cu_seqlens);
}

static void run(struct device *device, struct batch *batch)
{
    struct err err;
    float scale = 1 / sqrtf((float)batch->head_dim);
    ck_assert_int_eq(attention_fwd(device, batch->out, batch->q, batch->k, batch->v,
                                   batch->cu_seqlens, batch->n_texts, batch->n_heads,
                                   batch->n_kv_heads, batch->head_dim, scale, &err),
                     STATUS_OK);
}

static double *reference(const struct batch *batch)
{
    double *q = to_doubles(batch->q, batch->q_size), *k = to_doubles(batch->k, batch->k_size);
    double *v = to_doubles(batch->v, batch->k_size), *out = malloc(batch->q_size * sizeof *out + 1);
    double *scores = malloc((size_t)batch->cu_seqlens[batch->n_texts] * sizeof *scores + 1);
    attention_fwd_ref(out, q, k, v, batch->cu_seqlens, batch->n_texts, batch->n_heads,
                      batch->n_kv_heads, batch->head_dim,
                      (double)(1 / sqrtf((float)batch->head_dim)), scores);
    free(q), free(k), free(v), free(scores);
    return out;
}

/* With u = 2^-24 and deviation 1.5 a scaled score is a chain of d products, each about 1.5^2 /
 * sqrt(d): its error is about u * 2.25 * sqrt(d) at worst over many, and it becomes a relative
 * error of a probability. The sums over n <= 500 keys in order add u * sqrt(n), exp and the
 * division a few u. |v| < 5. */
static double tolerance(int head_dim)
{
    return 0x1p-24 * 5 * (2.25 * sqrt(head_dim) + sqrt(500) + 8);
}

START_TEST(attention_matches_reference)
{
    int c = _i;
    struct batch batch =
        make_batch(lengths, N_TEXTS, cases[c].n_heads, cases[c].n_kv_heads, cases[c].head_dim);
    double *want = reference(&batch);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t j = 0; j < batch.q_size; j++)
            batch.out[j] = NAN;
        run(&device, &batch);
        check_close(batch.out, want, batch.q_size, tolerance(batch.head_dim), 0, "%s %d/%d x %d",
                    test_device_name(&device), batch.n_heads, batch.n_kv_heads, batch.head_dim);
        device_close(&device);
    }
    free(want);
    free_batch(&batch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, attention_matches_reference, 0, sizeof cases / sizeof *cases);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
