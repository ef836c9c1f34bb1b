/* Kernels as they are really written (kernels/real_*.cu): right against float64, the same to the
 * bit in every order, and no checker says a word. */
#include "tests/softcuda/rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ------------------------------------------------------------------------------- */

/* Runs that must agree to the bit: fixed order, and shuffled ones, late and early copies, on one
 * thread and on several, with both sets of handlers, with registers that share places and without.
 */
#define RUNS 6

static bool open_run(struct rig *rig, const char *file, int run, enum mma_model mma)
{
    rig_open(rig);
    rig->resident = 64;
    rig->settings = (struct machine_settings){
        .seed = (uint64_t)run * 31337,
        .shuffled = run % 3 > 0,
        .mma = mma,
        .async = run < 3 ? ASYNC_LATE : ASYNC_EARLY,
        .n_workers = run % 2 ? 2 : 1,
    };
    rig->own_places = run == 4;
    rig->reporter.checks = CHECK_ALL;
    if (rig_load_kernel_file(rig, file, run == 1))
        return true;
    rig_close(rig);
    return false;
}

static void check_silence(const struct rig *rig, const char *what, int run)
{
    ck_assert_msg(rig->reporter.outcome == OUTCOME_GOOD && rig->reporter.n_reports == 0,
                  "%s, run %d: %s", what, run, rig->reports);
    ck_assert_str_eq(rig->reports, "");
}

/* The first run's bytes are kept in *kept; later ones must be the same. */
static void check_same(void **kept, const void *got, size_t size, const char *what, int run)
{
    if (!*kept) {
        *kept = malloc(size);
        memcpy(*kept, got, size);
    }
    ck_assert_msg(memcmp(*kept, got, size) == 0, "%s: run %d differs from the first", what, run);
}

static uint16_t bfloat(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float of_bfloat(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* Normal values, rounded to bf16. */
static uint16_t *random_bfloats(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    uint16_t *out = malloc(n * sizeof *out);
    fill_normal(x, n, seed, 1.0f);
    for (size_t i = 0; i < n; i++)
        out[i] = bfloat(x[i]);
    free(x);
    return out;
}

/* ---- matrix multiplication ------------------------------------------------------------------ */

static const float codes[16] = {
    -1.0f,        -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
    -0.09105004f, 0.0f,         0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
    0.44070983f,  0.56261700f,  0.72295684f,  1.0f,
};

struct matrices {
    uint64_t y, x, w, absmax;
    int32_t m, n, k, unused;
};

/* Sums of k products, each exact: chained they err by k rounding errors of the sum of magnitudes at
 * most; truncated, by twice as much a product and again at each of its k / 8 blocks. */
static void check_gemm(const float *y, const uint16_t *x, const unsigned char *w,
                       const float *absmax, const struct matrices *shape, enum mma_model mma)
{
    double unit = ldexp(1.0, -24) * (mma == MMA_IEEE ? 1 : 4);
    for (int i = 0; i < shape->m; i++)
        for (int j = 0; j < shape->n; j++) {
            double sum = 0, magnitude = 0;
            for (int l = 0; l < shape->k; l++) {
                size_t at = (size_t)j * (size_t)shape->k + (size_t)l;
                int code = l % 2 ? w[at / 2] & 15 : w[at / 2] >> 4;
                double product = (double)of_bfloat(x[i * shape->k + l]) *
                                 of_bfloat(bfloat(codes[code] * absmax[at / 64]));
                sum += product;
                magnitude += fabs(product);
            }
            double error = fabs(y[i * shape->n + j] - sum);
            ck_assert_msg(error <= shape->k * unit * magnitude,
                          "y (%d, %d) of %dx%dx%d: %g, not %g", i, j, shape->m, shape->n, shape->k,
                          y[i * shape->n + j], sum);
        }
}

START_TEST(nf4_gemm)
{
    static const int shapes[][3] = {{128, 128, 64}, {150, 200, 192}, {1, 129, 64}};
    struct matrices a = {0};
    a.m = shapes[_i / 2][0], a.n = shapes[_i / 2][1], a.k = shapes[_i / 2][2];
    enum mma_model mma = _i % 2 ? MMA_TRUNCATING : MMA_IEEE;
    size_t n_w = (size_t)a.n * (size_t)a.k;
    uint16_t *x = random_bfloats((size_t)(a.m * a.k), 1);
    unsigned char *w = malloc(n_w / 2);
    float *absmax = malloc(n_w / 64 * sizeof *absmax);
    for (size_t i = 0; i < n_w / 2; i++)
        w[i] = (unsigned char)mix64(2, i);
    fill_uniform(absmax, n_w / 64, 3, 0.01f, 0.1f);
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_gemm", run, mma))
            SKIP("needs nvcc");
        size_t size = (size_t)(a.m * a.n) * sizeof(float);
        a.y = rig_upload(&rig, NULL, size);
        a.x = rig_upload(&rig, x, (size_t)(a.m * a.k) * 2);
        a.w = rig_upload(&rig, w, n_w / 2);
        a.absmax = rig_upload(&rig, absmax, n_w / 64 * sizeof *absmax);
        rig_launch_raw(&rig, "nf4_gemm",
                       (uint32_t[3]){(uint32_t)(a.n + 127) / 128, (uint32_t)(a.m + 127) / 128, 1},
                       (uint32_t[3]){256, 1, 1}, 2 * 128 * 80 + 128 * 80 + 2 * 128 * 16 + 2048, &a);
        check_silence(&rig, "nf4_gemm", run);
        check_same(&kept, rig_host(&rig, a.y), size, "nf4_gemm", run);
        if (run == 0)
            check_gemm(rig_host(&rig, a.y), x, w, absmax, &a, mma);
        rig_close(&rig);
    }
    free(kept), free(x), free(w), free(absmax);
}
END_TEST

/* ---- attention ------------------------------------------------------------------------------ */

/* Probabilities are rounded to bf16 (by 2^-8 of each at most), scores and sums to f32. */
static void check_attention(const float *y, const uint16_t *q, const uint16_t *k, const uint16_t *v,
                            int n)
{
    double *p = malloc((size_t)n * sizeof *p);
    for (int i = 0; i < n; i++) {
        double most = -INFINITY, total = 0;
        for (int j = 0; j <= i; j++) {
            p[j] = 0;
            for (int e = 0; e < 64; e++)
                p[j] += (double)of_bfloat(q[i * 64 + e]) * of_bfloat(k[j * 64 + e]);
            p[j] /= 8;
            most = p[j] > most ? p[j] : most;
        }
        for (int j = 0; j <= i; j++)
            total += p[j] = exp(p[j] - most);
        for (int e = 0; e < 64; e++) {
            double sum = 0, magnitude = 0;
            for (int j = 0; j <= i; j++) {
                sum += p[j] / total * of_bfloat(v[j * 64 + e]);
                magnitude += p[j] / total * fabs(of_bfloat(v[j * 64 + e]));
            }
            ck_assert_msg(fabs(y[i * 64 + e] - sum) <= (1.0 / 256 + 1e-5) * magnitude,
                          "y (%d, %d) of %d: %g, not %g", i, e, n, y[i * 64 + e], sum);
        }
    }
    free(p);
}

START_TEST(attention)
{
    static const int lengths[] = {1, 64, 131};
    int n = lengths[_i / 2];
    enum mma_model mma = _i % 2 ? MMA_TRUNCATING : MMA_IEEE;
    size_t size = (size_t)n * 64;
    uint16_t *q = random_bfloats(size, 1), *k = random_bfloats(size, 2);
    uint16_t *v = random_bfloats(size, 3);
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_attention", run, mma))
            SKIP("needs nvcc");
        const uint64_t parameters[] = {rig_upload(&rig, NULL, size * 4),
                                       rig_upload(&rig, q, size * 2), rig_upload(&rig, k, size * 2),
                                       rig_upload(&rig, v, size * 2), (uint64_t)n};
        rig_launch(&rig, "attention", (uint32_t[3]){(uint32_t)(n + 63) / 64, 1, 1},
                   (uint32_t[3]){128, 1, 1}, 5 * 64 * 144, 5, parameters);
        check_silence(&rig, "attention", run);
        check_same(&kept, rig_host(&rig, parameters[0]), size * 4, "attention", run);
        if (run == 0)
            check_attention(rig_host(&rig, parameters[0]), q, k, v, n);
        rig_close(&rig);
    }
    free(kept), free(q), free(k), free(v);
}
END_TEST

/* ---- rows ----------------------------------------------------------------------------------- */

START_TEST(rmsnorm)
{
    static const int widths[] = {2, 576, 1030};
    int n = widths[_i], rows = 3;
    size_t size = (size_t)(rows * n);
    uint16_t *x = random_bfloats(size, 1);
    float *weight = malloc((size_t)n * sizeof *weight);
    fill_uniform(weight, (size_t)n, 2, 0.5f, 2.0f);
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_rows", run, MMA_IEEE))
            SKIP("needs nvcc");
        struct {
            uint64_t y, x, weight;
            int32_t n;
            float epsilon;
        } parameters = {rig_upload(&rig, NULL, size * 2), rig_upload(&rig, x, size * 2),
                        rig_upload(&rig, weight, (size_t)n * 4), n, 1e-5f};
        rig_launch_raw(&rig, "rmsnorm", (uint32_t[3]){(uint32_t)rows, 1, 1},
                       (uint32_t[3]){160, 1, 1}, 0, &parameters);
        check_silence(&rig, "rmsnorm", run);
        const uint16_t *y = rig_host(&rig, parameters.y);
        check_same(&kept, y, size * 2, "rmsnorm", run);
        for (int r = 0; r < rows; r++) {
            double sum = 0;
            for (int i = 0; i < n; i++)
                sum += pow(of_bfloat(x[r * n + i]), 2);
            for (int i = 0; i < n; i++) {
                double want = of_bfloat(x[r * n + i]) / sqrt(sum / n + 1e-5) * weight[i];
                /* half a unit of bf16, and some of f32 */
                ck_assert_double_le(fabs(of_bfloat(y[r * n + i]) - want),
                                    fabs(want) * (1.0 / 256 + 1e-5));
            }
        }
        rig_close(&rig);
    }
    free(kept), free(x), free(weight);
}
END_TEST

START_TEST(softmax)
{
    static const int widths[] = {1, 100, 777};
    int n = widths[_i], rows = 3;
    size_t size = (size_t)(rows * n);
    float *x = malloc(size * sizeof *x);
    fill_normal(x, size, 1, 5.0f);
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_rows", run, MMA_IEEE))
            SKIP("needs nvcc");
        const uint64_t parameters[] = {rig_upload(&rig, NULL, size * 4),
                                       rig_upload(&rig, x, size * 4), (uint64_t)n};
        rig_launch(&rig, "softmax", (uint32_t[3]){(uint32_t)rows, 1, 1}, (uint32_t[3]){96, 1, 1}, 0,
                   3, parameters);
        check_silence(&rig, "softmax", run);
        const float *y = rig_host(&rig, parameters[0]);
        check_same(&kept, y, size * 4, "softmax", run);
        for (int r = 0; r < rows; r++) {
            double most = -INFINITY, sum = 0;
            for (int i = 0; i < n; i++)
                most = fmax(most, x[r * n + i]);
            for (int i = 0; i < n; i++)
                sum += exp(x[r * n + i] - most);
            for (int i = 0; i < n; i++) {
                double want = exp(x[r * n + i] - most) / sum;
                ck_assert_double_le(fabs(y[r * n + i] - want), want * 4e-6 + 1e-38);
            }
        }
        rig_close(&rig);
    }
    free(kept), free(x);
}
END_TEST

/* ---- sums ----------------------------------------------------------------------------------- */

START_TEST(grid_sum)
{
    int n = 20000;
    float *x = malloc((size_t)n * sizeof *x);
    double want = 0;
    fill_uniform(x, (size_t)n, 1, -1.0f, 3.0f);
    for (int i = 0; i < n; i++)
        want += x[i];
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_sums", run, MMA_IEEE))
            SKIP("needs nvcc");
        unsigned zero = 0;
        const uint64_t parameters[] = {rig_upload(&rig, NULL, 8), rig_upload(&rig, NULL, 23 * 8),
                                       rig_upload(&rig, x, (size_t)n * 4),
                                       rig_upload(&rig, &zero, 4), (uint64_t)n};
        for (int again = 0; again < 2; again++) /* the counter is as it was */
            rig_launch(&rig, "grid_sum", (uint32_t[3]){23, 1, 1}, (uint32_t[3]){256, 1, 1}, 0, 5,
                       parameters);
        check_silence(&rig, "grid_sum", run);
        double got;
        memcpy(&got, rig_host(&rig, parameters[0]), 8);
        check_same(&kept, &got, 8, "grid_sum", run);
        ck_assert_double_le(fabs(got - want), 1e-9);
        rig_close(&rig);
    }
    free(kept), free(x);
}
END_TEST

static int nearest_of(const float *x, const float *centres, int k, int d)
{
    int at = 0;
    double best = INFINITY;
    for (int c = 0; c < k; c++) {
        double sum = 0;
        for (int j = 0; j < d; j++)
            sum += pow((double)x[j] - centres[c * d + j], 2);
        if (sum < best) {
            best = sum;
            at = c;
        }
    }
    return at;
}

START_TEST(kmeans)
{
    int n = 67, k = 45, d = 24;
    float *x = malloc((size_t)(n * d) * 4), *centres = malloc((size_t)(k * d) * 4);
    fill_normal(x, (size_t)(n * d), 1, 1.0f);
    fill_normal(centres, (size_t)(k * d), 2, 1.0f);
    float *sums = calloc((size_t)(k * d), 4);
    unsigned *counts = calloc((size_t)k, 4);
    void *kept = NULL;
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_sums", run, MMA_IEEE))
            SKIP("needs nvcc");
        const uint64_t parameters[] = {rig_upload(&rig, NULL, (size_t)n * 4),
                                       rig_upload(&rig, x, (size_t)(n * d) * 4),
                                       rig_upload(&rig, centres, (size_t)(k * d) * 4),
                                       (uint64_t)n | (uint64_t)k << 32, (uint64_t)d};
        rig_launch(&rig, "assign", (uint32_t[3]){(uint32_t)(n + 3) / 4, 1, 1},
                   (uint32_t[3]){128, 1, 1}, (size_t)(32 * (d + 1)) * 4, 5, parameters);
        check_silence(&rig, "assign", run);
        const int32_t *nearest = rig_host(&rig, parameters[0]);
        check_same(&kept, nearest, (size_t)n * 4, "assign", run);
        for (int i = 0; i < n; i++)
            ck_assert_int_eq(nearest[i], nearest_of(x + i * d, centres, k, d));
        const uint64_t more[] = {rig_upload(&rig, sums, (size_t)(k * d) * 4),
                                 rig_upload(&rig, counts, (size_t)k * 4), parameters[1],
                                 parameters[0], (uint64_t)n | (uint64_t)d << 32};
        rig_launch(&rig, "accumulate", (uint32_t[3]){5, 1, 1}, (uint32_t[3]){64, 1, 1}, 0, 5, more);
        check_silence(&rig, "accumulate", run);
        const float *got = rig_host(&rig, more[0]);
        double all = 0, all_got = 0;
        for (int i = 0; i < n * d; i++)
            all += x[i];
        for (int i = 0; i < k * d; i++)
            all_got += got[i];
        ck_assert_double_le(fabs(all - all_got), 1e-3);
        rig_close(&rig);
    }
    free(kept), free(x), free(centres), free(sums), free(counts);
}
END_TEST

/* A barrier of the grid's own, by an atomic and a volatile wait. */
START_TEST(grid_phases)
{
    enum { BLOCKS = 6, N = BLOCKS * 64, PHASES = 4 };
    float x[N], want[N], next[N];
    fill_uniform(x, N, 1, 0.0f, 1.0f);
    memcpy(want, x, sizeof want);
    for (int phase = 0; phase < PHASES; phase++) {
        for (int i = 0; i < N; i++)
            next[i] = want[(i + 33) % N] + 1.0f;
        memcpy(want, next, sizeof want);
    }
    for (int run = 0; run < RUNS; run++) {
        struct rig rig;
        if (!open_run(&rig, "real_sums", run, MMA_IEEE))
            SKIP("needs nvcc");
        unsigned zero = 0;
        const uint64_t parameters[] = {rig_upload(&rig, x, sizeof x), rig_upload(&rig, &zero, 4),
                                       PHASES};
        rig_launch(&rig, "phases", (uint32_t[3]){BLOCKS, 1, 1}, (uint32_t[3]){64, 1, 1}, 0, 3,
                   parameters);
        check_silence(&rig, "phases", run);
        ck_assert_mem_eq(rig_host(&rig, parameters[0]), want, sizeof want);
        rig_close(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_real");
    TCase *tests = tcase_create("every order, every check");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, nf4_gemm, 0, 6);
    tcase_add_loop_test(tests, attention, 0, 6);
    tcase_add_loop_test(tests, rmsnorm, 0, 3);
    tcase_add_loop_test(tests, softmax, 0, 3);
    tcase_add_test(tests, grid_sum);
    tcase_add_test(tests, kmeans);
    tcase_add_test(tests, grid_phases);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
