/* Runs that stop at awkward moments and go on to what they would have been; and the log they
 * leave. Kills from outside are tests/cli/test_train.sh's matter. */
#include "tests/cuda_support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/interrupt.h"
#include "host/train_run.h"
#include "tests/model_writer.h"
#include "tests/training.h"

#define STEPS 8
#define EVERY 2 /* steps between evaluations */

struct plot {
    char folder[256];
    struct train_run_settings settings;
    double learning_rate;
    bool gpu;     /* on softcuda; by run_apart alone */
    int64_t step; /* after which something happens, before it is evaluated; 0: nothing does */
    void (*event)(const struct plot *plot);
};

static void stepped(void *context, int64_t step, const struct trainer_report *report,
                    double mean_loss, double seconds)
{
    const struct plot *plot = context;
    (void)report, (void)mean_loss, (void)seconds;
    if (step == plot->step)
        plot->event(plot);
}

static const char *join(const char *folder, const char *name)
{
    static char paths[2][512];
    static int turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* What the folder had when it was evaluated last; a file that is written anew is another one. */
static ino_t last_adapter, last_picture;
static double last_mean_loss;

static ino_t number_of(const struct plot *plot, const char *name)
{
    struct stat there;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", plot->folder, name);
    return stat(path, &there) == 0 ? there.st_ino : 0;
}

static void evaluated(void *context, int64_t step, const struct trainer_report *report,
                      double mean_loss, bool best)
{
    const struct plot *plot = context;
    struct file_map adapter;
    struct err err;
    (void)step, (void)report;
    if (best) {
        ck_assert(file_map(&adapter, join(plot->folder, "adapter_model.safetensors"), &err) ==
                  STATUS_OK);
        write_file(plot->folder, "best", adapter.data, adapter.size);
        file_unmap(&adapter);
    }
    last_mean_loss = mean_loss;
    last_adapter = number_of(plot, "adapter_model.safetensors");
    last_picture = number_of(plot, "loss.svg");
}

static struct plot in_new_folder(const struct plot *plot)
{
    struct plot other = *plot;
    snprintf(other.folder, sizeof other.folder, "%s", temporary_folder());
    return other;
}

static enum status run(const struct plot *plot, struct train_outcome *outcome, struct err *err)
{
    static char model[256];
    if (!model[0]) {
        snprintf(model, sizeof model, "%s", temporary_folder());
        write_random_model(model, &tiny_shape);
    }
    struct training_options options = training_defaults(model);
    struct training t;
    struct train_run_settings settings = plot->settings;
    const struct train_watcher watcher = {(void *)plot, stepped, evaluated, NULL};
    json_t *record = json_pack("{s:s}", "what", "a test");
    options.steps = STEPS;
    options.learning_rate = plot->learning_rate;
    options.gpu = plot->gpu;
    if (plot->gpu)
        ck_assert(cuda_test_device(1));
    settings.folder = plot->folder;
    settings.record = record;
    ck_assert(training_open(&t, &options));
    enum status status = train_run(&t.trainer, &settings, &watcher, outcome, err);
    training_close(&t);
    if (plot->gpu)
        device_close(&cuda_test);
    json_decref(record);
    return status;
}

static void check_same_bytes(const char *a, const char *b)
{
    struct file_map one, other;
    struct err err;
    ck_assert_msg(file_map(&one, a, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(file_map(&other, b, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(one.size == other.size && memcmp(one.data, other.data, one.size) == 0,
                  "%s: other bytes", b);
    file_unmap(&one);
    file_unmap(&other);
}

static void check_same_file(const char *a, const char *b, const char *name)
{
    check_same_bytes(join(a, name), join(b, name));
}

/* All that does not hold seconds. */
static void check_same_run(const char *a, const char *b)
{
    check_same_file(a, b, "adapter_model.safetensors");
    check_same_file(a, b, "training.json");
    check_same_file(a, b, "loss.svg");
}

/* ---- stopping ------------------------------------------------------------------------------- */

static void interrupt(const struct plot *plot)
{
    (void)plot;
    interrupt_install();
    raise(SIGINT);
}

/* A signal is remembered for good: by another process. Ends with what the run returned. */
static int run_apart(const struct plot *plot)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct train_outcome outcome;
        struct err err;
        int code = (int)run(plot, &outcome, &err);
        if (plot->gpu)
            exit(code); /* softcuda looks for leaks */
        _exit(code);
    }
    ck_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Whichever evaluation was cut short, the one that goes on makes it up. */
START_TEST(an_interrupted_evaluation_is_made_up_for)
{
    const struct plot whole = in_new_folder(&(struct plot){
        .learning_rate = 0.02, .settings = {.evaluate_every = EVERY, .checkpoint_every = 100}});
    struct train_outcome outcome;
    struct err err;
    ck_assert_msg(run(&whole, &outcome, &err) == STATUS_OK, "%s", err.text);
    double last_loss = outcome.last_loss;
    for (int step = EVERY; step <= STEPS; step += EVERY) {
        struct plot cut = in_new_folder(&whole);
        cut.step = step;
        cut.event = interrupt;
        ck_assert_int_eq(run_apart(&cut), STATUS_INTERRUPTED);
        cut.step = 0;
        cut.settings.resume = true;
        ck_assert_msg(run(&cut, &outcome, &err) == STATUS_OK, "%s", err.text);
        ck_assert_int_eq(outcome.resumed_from, step);
        ck_assert(last_mean_loss == outcome.last_loss && outcome.last_loss == last_loss);
        check_same_run(whole.folder, cut.folder);
    }
}
END_TEST

/* On a GPU steps are told of a step late; wherever it is cut, it goes on to the same bytes. */
START_TEST(an_interrupted_run_on_a_gpu_goes_on)
{
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    const struct plot whole =
        in_new_folder(&(struct plot){.learning_rate = 0.02,
                                     .gpu = true,
                                     .settings = {.evaluate_every = 4, .checkpoint_every = 3}});
    ck_assert_int_eq(run_apart(&whole), STATUS_OK);
    for (int step = 1; step < STEPS; step += 2) {
        struct plot cut = in_new_folder(&whole);
        cut.step = step;
        cut.event = interrupt;
        ck_assert_int_eq(run_apart(&cut), STATUS_INTERRUPTED);
        cut.step = 0;
        cut.settings.resume = true;
        ck_assert_int_eq(run_apart(&cut), STATUS_OK);
        check_same_run(whole.folder, cut.folder);
    }
}
END_TEST

/* So that the end of the run, and it alone, fails. */
static void block_record(const struct plot *plot)
{
    ck_assert_int_eq(mkdir(join(plot->folder, "training.json"), 0777), 0);
}

/* At a rate of 0 no evaluation gains: the second one ends the run. Cut off between its checkpoint
 * and its end, it takes no further step. */
START_TEST(a_run_that_had_stopped_early_takes_no_further_step)
{
    const struct plot whole = in_new_folder(&(struct plot){
        .settings = {.evaluate_every = EVERY, .patience = 1, .checkpoint_every = 1}});
    struct train_outcome outcome;
    struct err err;
    ck_assert_msg(run(&whole, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert(outcome.stopped_early && outcome.steps == 2 * EVERY);
    struct plot cut = in_new_folder(&whole);
    cut.step = 2 * EVERY;
    cut.event = block_record;
    ck_assert(run(&cut, &outcome, &err) != STATUS_OK);
    ck_assert_int_eq(rmdir(join(cut.folder, "training.json")), 0);
    cut.step = 0;
    cut.settings.resume = true;
    ck_assert_msg(run(&cut, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(outcome.resumed_from, 2 * EVERY);
    check_same_run(whole.folder, cut.folder);
}
END_TEST

/* What the run leaves is the adapter of its best evaluation, here neither the first nor the last,
 * also where that one came before an interruption and is known from the checkpoint alone. */
START_TEST(the_best_adapter_is_kept)
{
    const struct plot whole = in_new_folder(&(struct plot){
        .learning_rate = 0.5, .settings = {.evaluate_every = EVERY, .checkpoint_every = 1}});
    struct train_outcome outcome;
    struct err err;
    ck_assert_msg(run(&whole, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_gt(outcome.best_step, EVERY);
    ck_assert_int_lt(outcome.best_step, STEPS);
    check_same_bytes(join(whole.folder, "best"), join(whole.folder, "adapter_model.safetensors"));
    struct plot cut = in_new_folder(&whole);
    cut.step = outcome.best_step + 1;
    cut.event = interrupt;
    ck_assert_int_eq(run_apart(&cut), STATUS_INTERRUPTED);
    cut.step = 0;
    cut.settings.resume = true;
    ck_assert_msg(run(&cut, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_gt(outcome.resumed_from, outcome.best_step);
    check_same_run(whole.folder, cut.folder);
}
END_TEST

/* The best adapter was saved, and the picture drawn, when it was evaluated. */
START_TEST(the_end_writes_nothing_twice)
{
    const struct plot plot =
        in_new_folder(&(struct plot){.learning_rate = 0.02, .settings = {.evaluate_every = EVERY}});
    struct train_outcome outcome;
    struct err err;
    ck_assert_msg(run(&plot, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert(last_adapter != 0 && last_picture != 0);
    ck_assert(number_of(&plot, "adapter_model.safetensors") == last_adapter);
    ck_assert(number_of(&plot, "loss.svg") == last_picture);
}
END_TEST

/* What a kill left in the middle of a file goes; what a process that lives is writing stays. */
START_TEST(what_a_kill_left_is_swept_away)
{
    const struct plot plot = in_new_folder(&(struct plot){.settings = {.checkpoint_every = 1}});
    struct train_outcome outcome;
    struct err err;
    char living[64], dead[64];
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    ck_assert(pid > 0 && waitpid(pid, NULL, 0) == pid);
    snprintf(living, sizeof living, "checkpoint.safetensors.tmp-%ld", (long)getppid());
    snprintf(dead, sizeof dead, "checkpoint.safetensors.tmp-%ld", (long)pid);
    write_file(plot.folder, living, "x", 1);
    write_file(plot.folder, dead, "x", 1);
    ck_assert_msg(run(&plot, &outcome, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(access(join(plot.folder, living), F_OK), 0);
    ck_assert_int_ne(access(join(plot.folder, dead), F_OK), 0);
}
END_TEST

/* ---- the log -------------------------------------------------------------------------------- */

/* An accuracy of 1 or 0 is written without a point, and is a number all the same. */
START_TEST(a_log_that_is_read_again_draws_the_same)
{
    const struct plot plot = in_new_folder(&(struct plot){0});
    const char *folder = plot.folder;
    char path[300], picture[300];
    struct loss_log log;
    struct err err;
    snprintf(path, sizeof path, "%s/log", folder);
    ck_assert(loss_log_open(&log, path, 0, &err) == STATUS_OK);
    for (int step = 1; step <= 4; step++) {
        double loss = 4.0 / step, accuracy = step / 4;
        ck_assert(loss_log_step(&log, step, loss, accuracy, 1, 1e-3, 100, 0.5, &err) == STATUS_OK);
        ck_assert(loss_log_evaluation(&log, step, loss, accuracy, &err) == STATUS_OK);
    }
    snprintf(picture, sizeof picture, "%s/one.svg", folder);
    ck_assert(loss_log_draw(&log, picture, &err) == STATUS_OK);
    int64_t bytes = log.bytes;
    loss_log_close(&log);
    ck_assert_msg(loss_log_open(&log, path, bytes, &err) == STATUS_OK, "%s", err.text);
    snprintf(picture, sizeof picture, "%s/other.svg", folder);
    ck_assert(loss_log_draw(&log, picture, &err) == STATUS_OK);
    loss_log_close(&log);
    check_same_bytes(join(folder, "one.svg"), picture);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("train_run");
    TCase *tcase = tcase_create("train_run");
    tcase_add_test(tcase, an_interrupted_evaluation_is_made_up_for);
    tcase_set_timeout(tcase, 300); /* on softcuda, on a busy machine */
    tcase_add_test(tcase, an_interrupted_run_on_a_gpu_goes_on);
    tcase_add_test(tcase, a_run_that_had_stopped_early_takes_no_further_step);
    tcase_add_test(tcase, the_best_adapter_is_kept);
    tcase_add_test(tcase, the_end_writes_nothing_twice);
    tcase_add_test(tcase, what_a_kill_left_is_swept_away);
    tcase_add_test(tcase, a_log_that_is_read_again_draws_the_same);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
