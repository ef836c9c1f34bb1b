/* The gradient's norm and AdamW's step on a GPU: against the float64 references, and what happens
 * where something is not finite. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/adamw.h"

/* Round pieces of four, the block of 256 threads of them, and the norm's 16,384. */
static const int sizes[] = {0, 1, 3, 4, 5, 1023, 1025, 16384, 16385, 40003};
#define N_SIZES (sizeof sizes / sizeof *sizes)

/* ---- the norm ------------------------------------------------------------------------------- */

/* What the device holds of a training: a step's record and whether it has stopped. */
struct state {
    struct step_record record;
    int32_t stopped;
};

/* As one call leaves them; what they hold goes to the device before it. */
static void norm_of(struct state *state, const float *x, size_t n, int32_t step, double clip)
{
    struct err err;
    float *copy = test_floats(n);
    memcpy(copy, x, n * sizeof *x);
    struct cuda_tensor of_x = cuda_send(PRECISION_F32, copy, n);
    struct cuda_tensor record = cuda_send_bytes(&state->record, sizeof state->record);
    struct cuda_tensor stopped = cuda_send_bytes(&state->stopped, sizeof state->stopped);
    struct cuda_tensor scratch =
        cuda_empty(PRECISION_NF4, 8 * (size_t)gradient_norm_scratch((int64_t)n));
    cuda_good(gradient_norm_cuda(&cuda_test, cuda_pointer(&record), cuda_pointer(&stopped), step,
                                 cuda_pointer(&of_x), (int64_t)n, clip, cuda_pointer(&scratch),
                                 &err),
              &err);
    struct step_record *got = cuda_download_bytes(&record);
    int32_t *got_stopped = cuda_download_bytes(&stopped);
    state->record = *got, state->stopped = *got_stopped;
    free(got), free(got_stopped), free(copy);
    cuda_drop(&of_x), cuda_drop(&scratch);
}

START_TEST(norm_matches_reference)
{
    static const double clips[] = {0, 1, 1e33};
    static const float deviations[] = {3e30f, 1e-3f, 1e-40f};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < N_SIZES + cuda_test_full(); c++)
        for (int k = 0; k < 3; k++) {
            size_t n = c < N_SIZES ? (size_t)sizes[c] : 6000001;
            float *x = test_floats(n);
            struct state state = {.record = {.loss = 2.5, .correct = 7}};
            fill_normal(x, n, 1, deviations[k]);
            double *x64 = to_doubles(x, n), want = sqrt(sum_of_squares_ref(x64, (int64_t)n));
            norm_of(&state, x, n, 1, clips[k]);
            double got = state.record.norm, scale = clips[k] > 0 ? clip_scale(got, clips[k]) : 1;
            ck_assert_msg(fabs(got - want) <= sum_of_squares_tolerance((int64_t)n) * want,
                          "%zu: %.17g, want %.17g", n, got, want);
            ck_assert(state.record.gradient_scale == (float)scale);
            ck_assert(state.record.loss == 2.5 && state.record.correct == 7);
            ck_assert(state.record.stopped == 0 && state.stopped == 0);
            free(x), free(x64);
        }
    device_close(&cuda_test);
}
END_TEST

/* The first step that is not finite, whatever comes behind it. */
START_TEST(what_is_not_finite_stops_for_good)
{
    enum { N = 17000 };
    static const int places[] = {0, 5, 8191, 16384, N - 1};
    float *x = test_floats(N);
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, N, 1, 1.0f);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        struct state state = {.stopped = 0};
        float before = x[places[p]];
        norm_of(&state, x, N, 3, 1);
        ck_assert(state.record.stopped == 0 && state.stopped == 0);
        x[places[p]] = p % 2 ? NAN : -INFINITY;
        norm_of(&state, x, N, 4, 1);
        ck_assert(p % 2 ? isnan(state.record.norm) : isinf(state.record.norm));
        ck_assert(state.record.stopped == 4 && state.stopped == 4);
        norm_of(&state, x, N, 5, 1);
        x[places[p]] = before;
        state.record = (struct step_record){.loss = 1};
        norm_of(&state, x, N, 6, 1);
        ck_assert(isfinite(state.record.norm));
        ck_assert(state.record.stopped == 4 && state.stopped == 4);
    }
    for (int p = 0; p < 3; p++) {
        struct state state = {.record = {.loss = p == 0 ? (double)NAN : p == 1 ? INFINITY : 0}};
        norm_of(&state, x, N, 9, 1);
        ck_assert(state.record.stopped == (p < 2 ? 9 : 0) && state.stopped == state.record.stopped);
        ck_assert(isfinite(state.record.norm));
    }
    free(x);
    device_close(&cuda_test);
}
END_TEST

/* ---- the step ------------------------------------------------------------------------------- */

static const struct adamw settings[] = {
    {5e-5, 0.9, 0.999, 1e-8, 0, 1, 1},      {1e-3, 0.9, 0.999, 1e-8, 0.1, 2, 0.125},
    {1e-2, 0.8, 0.95, 1e-6, 0.01, 1000, 1}, {1e-3, 0, 0, 1e-8, 0, 3, 1},
    {0, 0.9, 0.999, 1e-8, 0.5, 1000000, 0},
};
#define N_SETTINGS (sizeof settings / sizeof *settings)

enum { PARAMETERS, GRADIENTS, M, V, ARRAYS };

/* Gradients of many sizes: their squares below float32's normal range, far above 1. */
static void fill_arrays(float *x[ARRAYS], size_t n)
{
    static const float scales[] = {1, 1e-4f, 1e-12f, 1e-25f, 1e-39f, 1e8f, 1e17f, 0};
    for (int a = 0; a < ARRAYS; a++)
        x[a] = test_floats(n);
    fill_normal(x[PARAMETERS], n, 1, 0.5f);
    fill_normal(x[GRADIENTS], n, 2, 1.0f);
    fill_normal(x[M], n, 3, 0.1f);
    fill_normal(x[V], n, 4, 0.1f);
    for (size_t i = 0; i < n; i++) {
        float g = x[GRADIENTS][i] *= scales[mix64(9, i) % (sizeof scales / sizeof *scales)];
        x[M][i] = g * (1 + x[M][i]) / 2;
        x[V][i] = g * x[V][i] * (g * x[V][i]); /* not negative */
    }
}

/* A step over copies of x on the device; out: what they are after it. record: NULL, or on the host.
 */
static void step(float *out[ARRAYS], float *x[ARRAYS], size_t n, const struct adamw *adamw,
                 const struct step_record *record)
{
    struct err err;
    struct cuda_tensor at[ARRAYS], of_record;
    for (int a = 0; a < ARRAYS; a++)
        at[a] = cuda_send(PRECISION_F32, x[a], n);
    if (record) {
        of_record = cuda_send_bytes(record, sizeof *record);
        cuda_good(adamw_step_cuda(&cuda_test, cuda_pointer(&at[PARAMETERS]),
                                  cuda_pointer(&at[GRADIENTS]), cuda_pointer(&at[M]),
                                  cuda_pointer(&at[V]), (int64_t)n, adamw, cuda_pointer(&of_record),
                                  &err),
                  &err);
        cuda_drop(&of_record);
    } else {
        cuda_good(adamw_step(&cuda_test, cuda_pointer(&at[PARAMETERS]),
                             cuda_pointer(&at[GRADIENTS]), cuda_pointer(&at[M]),
                             cuda_pointer(&at[V]), (int64_t)n, adamw, &err),
                  &err);
    }
    for (int a = 0; a < ARRAYS; a++)
        out[a] = cuda_download(&at[a]);
}

static void free_arrays(float *x[ARRAYS])
{
    for (int a = 0; a < ARRAYS; a++)
        free(x[a]);
}

static void check_floats(const float *got, const double *want, const double *allowed, size_t n,
                         const char *what, int setting)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= allowed[i]))
            ck_abort_msg("%s, settings %d, element %zu of %zu: %.9g, want %.9g, allowed %.3g", what,
                         setting, i, n, (double)got[i], want[i], allowed[i]);
}

/* The reference; and the bytes of AVX2, where there is. by_record: the scale comes from a record.
 */
static void check_step(size_t n, int setting, bool by_record)
{
    struct adamw adamw = settings[setting];
    struct step_record record = {.gradient_scale = (float)adamw.gradient_scale};
    float *x[ARRAYS], *out[ARRAYS];
    double *x64[ARRAYS], *allowed = malloc(3 * n * sizeof *allowed + 1);
    fill_arrays(x, n);
    for (int a = 0; a < ARRAYS; a++)
        x64[a] = to_doubles(x[a], n);
    adamw_step_ref(x64[PARAMETERS], x64[GRADIENTS], x64[M], x64[V], allowed, (int64_t)n, &adamw);
    if (by_record)
        adamw.gradient_scale = 77; /* is not read */
    step(out, x, n, &adamw, by_record ? &record : NULL);
    check_floats(out[PARAMETERS], x64[PARAMETERS], allowed, n, "parameters", setting);
    check_floats(out[M], x64[M], allowed + n, n, "m", setting);
    check_floats(out[V], x64[V], allowed + 2 * n, n, "v", setting);
    for (size_t i = 0; i < n; i++)
        if (out[GRADIENTS][i] != 0)
            ck_abort_msg("gradient %zu of %zu is left", i, n);
    if (cpu_has(CPU_AVX2)) {
        struct device cpu = device_cpu(&cuda_test);
        cpu.isa = CPU_AVX2;
        adamw_step_cpu(&cpu, x[PARAMETERS], x[GRADIENTS], x[M], x[V], (int64_t)n,
                       &settings[setting]);
        for (int a = 0; a < ARRAYS; a++)
            ck_assert_mem_eq(out[a], x[a], n * sizeof *x[a]);
    }
    for (int a = 0; a < ARRAYS; a++)
        free(x64[a]);
    free_arrays(x), free_arrays(out), free(allowed);
}

START_TEST(a_step_matches_reference_and_avx2)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < N_SIZES; c++)
        for (size_t s = 0; s < N_SETTINGS; s++)
            check_step((size_t)sizes[c], (int)s, (c + s) % 2);
    device_close(&cuda_test);
}
END_TEST

START_TEST(a_stopped_step_clears_gradients_only)
{
    enum { N = 1027 };
    float *x[ARRAYS], *out[ARRAYS];
    struct step_record record = {.gradient_scale = NAN, .stopped = 12};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_arrays(x, N);
    x[GRADIENTS][3] = NAN, x[GRADIENTS][N - 1] = INFINITY;
    step(out, x, N, &settings[0], &record);
    for (int a = 0; a < ARRAYS; a++)
        if (a != GRADIENTS)
            ck_assert_mem_eq(out[a], x[a], N * sizeof *x[a]);
    for (int i = 0; i < N; i++)
        if (out[GRADIENTS][i] != 0)
            ck_abort_msg("gradient %d is left", i);
    free_arrays(x), free_arrays(out);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_adamw");
    TCase *tests = tcase_create("cuda_adamw");
    tcase_add_loop_test(tests, norm_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, what_is_not_finite_stops_for_good, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_step_matches_reference_and_avx2, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_stopped_step_clears_gradients_only, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
