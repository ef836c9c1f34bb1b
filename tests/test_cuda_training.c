/* Training steps on a GPU, that is on softcuda: near the CPU's, the same bytes whatever memory
 * there is and in whatever order blocks run, one row of launches, and nothing lost when memory
 * ends. */
#include "tests/cuda_calls.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host/base/cuda_memory.h"
#include "host/base/file.h"
#include "tests/model_writer.h"
#include "tests/training.h"

static const enum objective_kind all_objectives[] = {OBJECTIVE_CLASSIFY, OBJECTIVE_NEXT_TOKEN,
                                                     OBJECTIVE_CONTRASTIVE};

/* NULL where the shared data are not there. */
static const char *tinystories(void)
{
    static char folder[4096];
    const char *path = shared_data("models/tinystories-656k");
    snprintf(folder, sizeof folder, "%s", path ? path : "");
    return path ? folder : NULL;
}

static void good(enum status status, const struct err *err)
{
    cuda_good(status, err);
}

static void steps(struct training *t, int n, struct trainer_report *report)
{
    struct err err;
    for (int step = 0; step < n; step++)
        good(training_step(&t->trainer, report, &err), &err);
}

/* ---- near the CPU --------------------------------------------------------------------------- */

/* What a step may be off by. Between texts and gradients lie some thirty roundings to bfloat16 a
 * layer and way, of activations, of their gradients and of weights, each of 2^-9 at most, 2^-10 or
 * so on average: as a random walk 0.6 % each way. A contrastive step cannot be held to this: it
 * divides its cosines, whose errors are these, by a temperature of 0.05, and its gradient is the
 * difference of near ones. test_cuda_training_peft holds it to float64's and torch's. */
#define NEAR_ENOUGH 0.02

/* The first moment after one step from an adapter whose B is not 0: a tenth of the gradient. */
static float *first_moment(const struct training_options *options, int64_t *n,
                           struct trainer_report *report)
{
    struct training t;
    struct err err;
    ck_assert(training_open(&t, options));
    *n = t.adapter.n_parameters;
    fill_uniform(t.adapter.parameters, (size_t)*n, 9, -0.1f, 0.1f);
    good(trainer_send(&t.trainer, 0, &err), &err);
    steps(&t, 1, report);
    good(trainer_fetch(&t.trainer, true, &err), &err);
    float *m = malloc((size_t)*n * sizeof *m);
    memcpy(m, t.trainer.m, (size_t)*n * sizeof *m);
    training_close(&t);
    return m;
}

static void check_step(const char *model, enum objective_kind objective, enum precision precision)
{
    struct training_options options = training_defaults(model);
    struct trainer_report cpu, gpu;
    int64_t n, m;
    options.objective = objective;
    options.precision = precision;
    options.clip = 0;
    float *want = first_moment(&options, &n, &cpu);
    options.gpu = true;
    float *got = first_moment(&options, &m, &gpu);
    ck_assert_int_eq(n, m);
    double gradients = relative_distance(got, want, (size_t)n);
    ck_assert_msg(gradients <= NEAR_ENOUGH, "%s: the gradient is %.4f off",
                  objective_name(objective), gradients);
    ck_assert_double_eq_tol(gpu.loss, cpu.loss, NEAR_ENOUGH * cpu.loss);
    ck_assert_double_eq_tol(gpu.norm, cpu.norm, NEAR_ENOUGH * cpu.norm);
    ck_assert_int_eq(gpu.tokens, cpu.tokens);
    free(want);
    free(got);
}

START_TEST(a_step_is_near_the_cpus)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    const char *model = tinystories();
    check_step(tiny_model(), OBJECTIVE_CLASSIFY, PRECISION_NF4);
    check_step(tiny_model(), OBJECTIVE_NEXT_TOKEN, PRECISION_BF16);
    if (model && (_i == 1 || cuda_test_full())) {
        check_step(model, OBJECTIVE_CLASSIFY, PRECISION_NF4);
        check_step(model, OBJECTIVE_NEXT_TOKEN, PRECISION_NF4);
    }
    device_close(&cuda_test);
}
END_TEST

/* The losses of 20 steps, and that of the validation. */
static void learn(const struct training_options *options, double losses[20], double *validation)
{
    struct training t;
    struct trainer_report report;
    struct err err;
    ck_assert(training_open(&t, options));
    for (int step = 0; step < 20; step++) {
        steps(&t, 1, &report);
        losses[step] = report.loss;
    }
    good(trainer_evaluate(&t.trainer, &report, &err), &err);
    *validation = report.loss;
    training_close(&t);
}

START_TEST(it_learns_as_on_the_cpu)
{
    const char *model = tinystories();
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    /* The short form has sums that do not truncate, as softcuda takes three times as long for
     * those, and no checkers: kernels run under all of them in the tests around this one. */
    if (cuda_test_full() ? !cuda_test_device(1) : !cuda_test_device_with(4, "none"))
        SKIP("needs nvcc");
    for (size_t i = 0; i < 3; i++) {
        struct training_options options = training_defaults(model);
        double cpu[20], gpu[20], cpu_validation, gpu_validation, first = 0, last = 0;
        options.objective = all_objectives[i];
        options.steps = 20;
        options.learning_rate = 3e-3;
        options.near = 4; /* contrastive: texts of a label stand 4 apart */
        if (options.objective == OBJECTIVE_CONTRASTIVE)
            options.batch = 8; /* of 3 pairs the loss is a matter of which texts meet */
        learn(&options, cpu, &cpu_validation);
        options.gpu = true;
        learn(&options, gpu, &gpu_validation);
        for (int step = 0; step < 20; step++) {
            ck_assert_msg(fabs(gpu[step] - cpu[step]) <= 0.05 * cpu[0],
                          "%s, step %d: loss %g, on the CPU %g", objective_name(options.objective),
                          step + 1, gpu[step], cpu[step]);
            first += step < 5 ? gpu[step] : 0;
            last += step >= 15 ? gpu[step] : 0;
        }
        ck_assert_msg(last < 0.9 * first, "%s: %g, then %g", objective_name(options.objective),
                      first / 5, last / 5);
        ck_assert_double_eq_tol(gpu_validation, cpu_validation, 0.05 * cpu[0]);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- the same bytes ------------------------------------------------------------------------- */

/* The adapter after options->steps steps, then the losses and that of the validation. */
static float *train(const struct training_options *options, size_t *bytes)
{
    struct training t;
    struct trainer_report report;
    struct err err;
    double losses[8];
    ck_assert(training_open(&t, options));
    ck_assert_int_lt(options->steps, 8);
    for (int step = 0; step < options->steps; step++) {
        steps(&t, 1, &report);
        losses[step] = report.loss;
    }
    good(trainer_evaluate(&t.trainer, &report, &err), &err);
    losses[options->steps] = report.loss;
    good(trainer_fetch(&t.trainer, false, &err), &err);
    size_t n = (size_t)t.adapter.n_parameters * sizeof(float);
    size_t m = (size_t)(options->steps + 1) * sizeof *losses;
    char *result = malloc(n + m);
    memcpy(result, t.adapter.parameters, n);
    memcpy(result + n, losses, m);
    *bytes = n + m;
    training_close(&t);
    return (float *)(void *)result;
}

static void check_same(const float *want, size_t bytes, const struct training_options *options,
                       const char *what)
{
    size_t n;
    float *got = train(options, &n);
    ck_assert_uint_eq(n, bytes);
    ck_assert_msg(memcmp(got, want, n) == 0, "%s, %s: other bytes",
                  objective_name(options->objective), what);
    free(got);
}

START_TEST(memory_and_passes_change_no_bit)
{
    bool full = cuda_test_full();
    if (!cuda_test_device(full ? 3 : 4)) /* both shuffle; 3 truncates */
        SKIP("needs nvcc");
    for (size_t i = 0; i < 3; i++) {
        struct training_options whole = training_defaults(tiny_model()), other;
        size_t bytes;
        whole.objective = all_objectives[i];
        whole.gpu = true;
        whole.steps = 2;
        whole.accumulate = full ? 5 : 3;
        float *want = train(&whole, &bytes);
        if (full || i == 0)
            check_same(want, bytes, &whole, "again");
        other = whole;
        other.kept_layers = 0;
        check_same(want, bytes, &other, "no layer kept");
        other.kept_layers = 1;
        if (full)
            check_same(want, bytes, &other, "one layer kept");
        other = whole;
        other.pass_tokens = 2 * 3 * 20; /* a unit of contrastive pairs, and not two */
        check_same(want, bytes, &other, "a unit a pass");
        free(want);
    }
    device_close(&cuda_test);
}
END_TEST

/* In a process of its own, since a driver reads its settings once. The bytes go to a file. */
static void train_apart(const char *order, const char *seed, const char *path)
{
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct training_options options = training_defaults(tiny_model());
        char driver[4096];
        struct err err;
        FILE *file = fopen(path, "wb");
        snprintf(driver, sizeof driver, "%s/softcuda/libcuda.so.1", build_folder());
        setenv("MIDASHI_CUDA_DRIVER", driver, 1);
        setenv("SOFTCUDA_CHECK", "all", 1);
        setenv("SOFTCUDA_ORDER", order, 1);
        setenv("SOFTCUDA_SEED", seed, 1);
        good(device_open(&cuda_test, "cuda", 1, &err), &err);
        options.gpu = true;
        options.steps = cuda_test_full() ? 4 : 2;
        for (size_t i = 0; i < 3; i++) {
            size_t bytes;
            options.objective = all_objectives[i];
            float *result = train(&options, &bytes);
            fwrite(result, 1, bytes, file);
            free(result);
        }
        device_close(&cuda_test);
        exit(fclose(file) == 0 ? 0 : 1); /* not _exit: softcuda looks for leaks */
    }
    int result;
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

START_TEST(the_order_of_blocks_changes_no_bit)
{
    static const char *const orders[3][2] = {{"fixed", "1"}, {"shuffled", "2"}, {"shuffled", "3"}};
    int n_orders = cuda_test_full() ? 3 : 2;
    char paths[3][300];
    struct file_map files[3];
    struct err err;
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    tiny_model();
    const char *folder = temporary_folder();
    for (int i = 0; i < n_orders; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%d", folder, i);
        train_apart(orders[i][0], orders[i][1], paths[i]);
        good(file_map(&files[i], paths[i], &err), &err);
        ck_assert(files[i].size > 0 && files[i].size == files[0].size);
        ck_assert_mem_eq(files[i].data, files[0].data, files[0].size);
    }
    for (int i = 0; i < n_orders; i++)
        file_unmap(&files[i]);
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------ */

/* A loss that is not finite is told with step and rows, though the next step is under way, and
 * leaves the adapter as it was before. */
START_TEST(a_loss_that_is_not_finite_is_told)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    struct trainer_report report;
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    options.gpu = true;
    ck_assert(training_open(&t, &options));
    size_t bytes = (size_t)t.adapter.n_parameters * sizeof(float);
    steps(&t, 1, &report);
    good(trainer_fetch(&t.trainer, true, &err), &err);
    t.adapter.head[0] = NAN;
    good(trainer_send(&t.trainer, 1, &err), &err);
    float *before = malloc(bytes);
    memcpy(before, t.adapter.parameters, bytes);
    good(trainer_step(&t.trainer, &err), &err);
    good(trainer_report(&t.trainer, false, &report, &err), &err);
    ck_assert_int_eq(report.step, 0);
    good(trainer_step(&t.trainer, &err), &err);
    check_error(trainer_report(&t.trainer, false, &report, &err), &err, STATUS_FAILED,
                "step 2: the loss is not a number (texts of rows ", "a NaN in the head");
    ck_assert(strstr(err.text, "--learning-rate"));
    ck_assert_int_eq(t.trainer.step, 1);
    good(trainer_fetch(&t.trainer, true, &err), &err);
    ck_assert_mem_eq(before, t.adapter.parameters, bytes);
    free(before);
    training_close(&t);
    device_close(&cuda_test);
}
END_TEST

/* ---- what the driver is asked --------------------------------------------------------------- */

/* A step of several passes: numbers up, launches, copies within and zeros; a record down and an
 * event. The host waits for the step before, once it has queued this one, and for nothing else. */
START_TEST(a_step_is_a_row_of_launches)
{
    struct training t;
    struct trainer_report report;
    struct err err;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    struct training_options options = training_defaults(tiny_model());
    options.gpu = true;
    options.objective = all_objectives[_i];
    options.pass_tokens = 2 * 3 * 20; /* a unit of pairs, or two units */
    options.accumulate = 4;
    options.kept_layers = 1;
    cuda_calls_listen_to_memory();
    ck_assert(training_open(&t, &options));
    cuda_calls_listen();
    for (int step = 1; step <= 4; step++) {
        cuda_calls_clear();
        good(trainer_step(&t.trainer, &err), &err);
        ck_assert_msg(strspn(cuda_calls, "zurLcd") == strlen(cuda_calls), "%s", cuda_calls);
        ck_assert_msg(strncmp(cuda_calls, "zurL", 4) == 0, "%s", cuda_calls);
        size_t length = strlen(cuda_calls);
        ck_assert_msg(strcmp(cuda_calls + length - 3, "Ldr") == 0, "%s", cuda_calls);
        int up = 0, down = 0;
        for (const char *call = cuda_calls; *call; call++) {
            up += *call == 'u';
            down += *call == 'd';
        }
        ck_assert_msg(up > 1 && down == 1, "%s", cuda_calls);
        cuda_calls_clear();
        good(trainer_report(&t.trainer, false, &report, &err), &err);
        ck_assert_int_eq(report.step, step - 1);
        ck_assert_str_eq(cuda_calls, step == 1 ? "" : "W");
    }
    cuda_calls_end();
    training_close(&t);
    device_close(&cuda_test);
}
END_TEST

/* Of more passes than there are sets of numbers: before the ninth is packed the host waits until
 * the first one's numbers have been copied, no sooner, and so on; the bytes are those of one pass.
 */
START_TEST(many_passes_wait_with_eight_ahead)
{
    enum { UNITS = 12 };
    struct training_options options = training_defaults(tiny_model());
    float *results[2];
    size_t bytes = 0;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    options.gpu = true;
    options.objective = all_objectives[2];
    options.accumulate = UNITS;
    for (int apart = 0; apart < 2; apart++) {
        struct training t;
        struct trainer_report report;
        struct err err;
        options.pass_tokens = (apart ? 1 : UNITS) * 2 * 3 * 20; /* a unit of pairs, or two; all */
        cuda_calls_listen_to_memory();
        ck_assert(training_open(&t, &options));
        cuda_calls_listen();
        for (int step = 1; step <= 2; step++) {
            int passes = 0, waits = 0;
            cuda_calls_clear();
            good(trainer_step(&t.trainer, &err), &err);
            for (const char *call = cuda_calls; *call; call++) {
                waits += *call == 'W';
                passes += *call == 'u';
                if (*call == 'u' && apart)
                    ck_assert_int_eq(waits, step == 2 ? passes : passes > 8 ? passes - 8 : 0);
            }
            ck_assert(apart ? passes > 9 : passes == 1 && waits == 0);
        }
        cuda_calls_end();
        good(trainer_report(&t.trainer, true, &report, &err), &err);
        good(trainer_report(&t.trainer, true, &report, &err), &err);
        good(trainer_fetch(&t.trainer, false, &err), &err);
        bytes = (size_t)t.adapter.n_parameters * sizeof(float);
        results[apart] = malloc(bytes);
        memcpy(results[apart], t.adapter.parameters, bytes);
        training_close(&t);
    }
    ck_assert_mem_eq(results[0], results[1], bytes);
    free(results[0]), free(results[1]);
    device_close(&cuda_test);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

START_TEST(the_plan_is_what_is_taken)
{
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    for (size_t i = 0; i < 3; i++)
        for (int kept = tiny_shape.n_layers; kept >= 0; kept--) {
            struct training_options options = training_defaults(tiny_model());
            struct training t;
            struct trainer_report report;
            options.gpu = true;
            options.objective = all_objectives[i];
            options.kept_layers = kept;
            options.steps = 1;
            ck_assert_uint_eq(cuda_test.cuda->allocated.now, 0);
            cuda_test.cuda->allocated.most = 0;
            ck_assert(training_open(&t, &options));
            steps(&t, 1, &report);
            double taken = (double)cuda_test.cuda->allocated.most, planned = (double)t.plan.total;
            training_close(&t);
            ck_assert_msg(fabs(planned - taken) <= 0.05 * taken,
                          "%s, %d layers kept: planned %.0f, taken %.0f",
                          objective_name(options.objective), kept, planned, taken);
        }
    device_close(&cuda_test);
}
END_TEST

/* Opens a trainer and makes a step. */
static enum status train_a_step(void *context, struct err *err)
{
    const struct training_options *options = context;
    struct training t = {0};
    struct trainer_report report;
    enum status status = training_try(&t, options, err);
    if (status == STATUS_OK)
        status = training_step(&t.trainer, &report, err);
    training_close(&t);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    if (_i > 0 && !cuda_test_full())
        SKIP("needs MIDASHI_CUDA_TESTS=full");
    struct training_options options = training_defaults(tiny_model());
    options.gpu = true;
    options.objective = all_objectives[_i];
    int n = 1, result;
    while ((result = cuda_test_with_failure(n, train_a_step, &options)) == CUDA_CLEAN_ERROR)
        n++;
    ck_assert_msg(result == 0, "allocation %d: exit code %d", n, result);
    ck_assert_msg(n > 12, "only %d allocations", n - 1);
}
END_TEST

/* The host's memory too; nothing stays on the GPU. */
START_TEST(every_allocation_of_the_host_may_fail)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    struct err err;
    bool failed = true;
    long n = 0;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    options.gpu = true;
    ck_assert(training_open(&t, &options));
    const struct trainer_settings settings = t.trainer.settings;
    trainer_close(&t.trainer);
    size_t before = cuda_test.cuda->allocated.now;
    while (failed) {
        mem_fail_once(++n);
        enum status status = trainer_open(&t.trainer, &t.device, &t.embedder, &t.adapter, &t.data,
                                          &t.plan, &settings, &err);
        failed = mem_fail_once(0);
        ck_assert_int_eq(status, failed ? STATUS_RESOURCE : STATUS_OK);
        trainer_close(&t.trainer);
        ck_assert_uint_eq(cuda_test.cuda->allocated.now, before);
    }
    ck_assert_msg(n > 5, "only %ld allocations", n - 1);
    training_close(&t);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_training");
    TCase *tests = tcase_create("cuda_training");
    tcase_set_timeout(tests, 600); /* under all checks, on a busy machine */
    tcase_add_loop_test(tests, a_step_is_near_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, it_learns_as_on_the_cpu);
    tcase_add_test(tests, memory_and_passes_change_no_bit);
    tcase_add_test(tests, the_order_of_blocks_changes_no_bit);
    tcase_add_test(tests, a_loss_that_is_not_finite_is_told);
    tcase_add_test(tests, many_passes_wait_with_eight_ahead);
    tcase_add_loop_test(tests, a_step_is_a_row_of_launches, 0, 3);
    tcase_add_test(tests, the_plan_is_what_is_taken);
    tcase_add_loop_test(tests, every_allocation_may_fail, 0, 3);
    tcase_add_test(tests, every_allocation_of_the_host_may_fail);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
