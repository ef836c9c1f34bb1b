/* See train_run.h. */
#include "host/train_run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "host/base/clock.h"
#include "host/base/file.h"
#include "host/output_folder.h"
#include "host/topics_files.h"
#include "host/train_record.h"
#include "loaders/json.h"

/* Steps whose mean loss tells how training went at the end. */
#define LAST_STEPS 20

#define CHECKPOINT     "checkpoint.safetensors"
#define LOG            "training.jsonl"
#define PICTURE        "loss.svg"
#define RECORD         "training.json"
#define RECORD_LARGEST (1 << 20) /* bytes */

const char *const train_run_files[] = {ADAPTER_CONFIG_FILE,
                                       ADAPTER_WEIGHTS_FILE,
                                       ADAPTER_LABELS_FILE,
                                       CHECKPOINT,
                                       LOG,
                                       PICTURE,
                                       RECORD,
                                       NULL};

struct run {
    struct trainer *trainer;
    const struct train_run_settings *settings;
    const struct train_watcher *watcher;
    struct train_outcome *outcome;
    struct train_counters counters;
    struct loss_log log;
    float *best;         /* (n_parameters) */
    bool saved;          /* the folder has it, of this process */
    int64_t drawn_bytes; /* of the log when the picture was drawn; -1: not by this process */
    double since;        /* when the step that is not logged yet began */
    char checkpoint[PATH_MAX], log_path[PATH_MAX], picture[PATH_MAX], record[PATH_MAX];
};

static bool has_validation(const struct run *run)
{
    return run->trainer->data->n_validation > 0;
}

static size_t parameter_bytes(const struct run *run)
{
    return (size_t)run->trainer->adapter->n_parameters * sizeof(float);
}

static struct train_arrays arrays_of(const struct run *run)
{
    const struct trainer *trainer = run->trainer;
    return (struct train_arrays){
        .parameters = trainer->adapter->parameters,
        .m = trainer->m,
        .v = trainer->v,
        .best = run->best,
        .n = trainer->adapter->n_parameters,
    };
}

/* ---- beginning ------------------------------------------------------------------------------ */

static enum status resume(struct run *run, struct err *err)
{
    struct train_arrays arrays = arrays_of(run);
    TRY(train_checkpoint_read(run->checkpoint, run->settings->record, &run->counters, &arrays,
                              err));
    run->outcome->resumed_from = run->counters.step;
    if (run->watcher->resumed)
        run->watcher->resumed(run->watcher->context, run->counters.step);
    return trainer_send(run->trainer, run->counters.step, err);
}

/* Whatever an earlier run left there is of no use to this one. */
static enum status forget_old_run(struct run *run, struct err *err)
{
    /* The adapter's configuration first: without it nobody takes the old adapter for this run's. */
    char config[PATH_MAX];
    snprintf(config, sizeof config, "%s/" ADAPTER_CONFIG_FILE, run->settings->folder);
    const char *const old[] = {config, run->checkpoint, run->record, run->picture};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (unlink(old[i]) != 0 && errno != ENOENT)
            return err_set(err, STATUS_RESOURCE, "%s: %s", old[i], strerror(errno));
    return STATUS_OK;
}

static enum status begin(struct run *run, struct err *err)
{
    const struct train_run_settings *s = run->settings;
    snprintf(run->checkpoint, sizeof run->checkpoint, "%s/" CHECKPOINT, s->folder);
    snprintf(run->log_path, sizeof run->log_path, "%s/" LOG, s->folder);
    snprintf(run->picture, sizeof run->picture, "%s/" PICTURE, s->folder);
    snprintf(run->record, sizeof run->record, "%s/" RECORD, s->folder);
    output_folder_sweep(s->folder, train_run_files);
    run->counters = (struct train_counters){.best_loss = INFINITY, .best_accuracy = NAN};
    run->best = arena_alloc(&run->trainer->arena, parameter_bytes(run), 1);
    if (!run->best)
        return err_no_memory(err, "the best adapter", parameter_bytes(run));
    memcpy(run->best, run->trainer->adapter->parameters, parameter_bytes(run));
    if (s->resume && train_run_leftover(s->folder) == TRAIN_CHECKPOINT)
        TRY(resume(run, err));
    else
        TRY(forget_old_run(run, err));
    return loss_log_open(&run->log, run->log_path, run->counters.log_bytes, err);
}

static double mean_of_last(const struct loss_log *log)
{
    int n = log->n_steps < LAST_STEPS ? log->n_steps : LAST_STEPS;
    double sum = 0;
    for (int i = log->n_steps - n; i < log->n_steps; i++)
        sum += log->steps[i].loss;
    return n > 0 ? sum / n : NAN;
}

/* ---- on the way ----------------------------------------------------------------------------- */

static enum status write_checkpoint(struct run *run, struct err *err)
{
    const struct train_arrays arrays = arrays_of(run);
    TRY(trainer_fetch(run->trainer, true, err));
    run->counters.step = run->trainer->step;
    run->counters.log_bytes = run->log.bytes;
    return train_checkpoint_write(run->checkpoint, run->settings->record, &run->counters, &arrays,
                                  err);
}

/* The parameters of now are the best. report: of the validation, or NULL. */
static enum status keep_best(struct run *run, const struct trainer_report *report, struct err *err)
{
    struct trainer *trainer = run->trainer;
    TRY(trainer_fetch(trainer, false, err));
    memcpy(run->best, trainer->adapter->parameters, parameter_bytes(run));
    run->counters.best_step = trainer->step;
    run->counters.best_loss = report ? report->loss : INFINITY;
    run->counters.best_accuracy = report ? report->accuracy : NAN;
    run->counters.evaluations_without_gain = 0;
    return STATUS_OK;
}

static enum status save_best(struct run *run, struct err *err)
{
    TRY(lora_adapter_save(run->trainer->adapter, run->settings->folder, err));
    run->saved = true;
    return STATUS_OK;
}

static enum status draw(struct run *run, struct err *err)
{
    TRY(loss_log_draw(&run->log, run->picture, err));
    run->drawn_bytes = run->log.bytes;
    return STATUS_OK;
}

static enum status evaluate(struct run *run, struct err *err)
{
    struct trainer_report report;
    TRY(trainer_evaluate(run->trainer, &report, err));
    if (!isfinite(report.loss))
        return err_set(err, STATUS_FAILED,
                       "step %lld: the validation loss is not finite; lower --learning-rate",
                       (long long)run->trainer->step);
    bool best = report.loss < run->counters.best_loss;
    TRY(loss_log_evaluation(&run->log, run->trainer->step, report.loss, report.accuracy, err));
    if (best) { /* saved at once: whatever happens later, there is an adapter */
        TRY(keep_best(run, &report, err));
        TRY(save_best(run, err));
    } else {
        run->counters.evaluations_without_gain++;
    }
    run->outcome->tokens += report.tokens;
    TRY(draw(run, err));
    if (run->watcher->evaluated)
        run->watcher->evaluated(run->watcher->context, run->trainer->step, &report,
                                mean_of_last(&run->log), best);
    return STATUS_OK;
}

static bool is_due(int64_t step, int every, bool last)
{
    return last || (every > 0 && step % every == 0);
}

static bool is_judged(const struct run *run)
{
    const struct trainer *trainer = run->trainer;
    return trainer->step > 0 && has_validation(run) &&
           is_due(trainer->step, run->settings->evaluate_every,
                  trainer->step == trainer->settings.steps);
}

static bool is_checkpoint(const struct run *run)
{
    const struct trainer *trainer = run->trainer;
    return trainer->step != trainer->settings.steps && run->settings->checkpoint_every > 0 &&
           trainer->step % run->settings->checkpoint_every == 0;
}

/* Evaluates the step that is done, if that is due and was not done before an interruption, and says
 * whether the run is to stop. */
static enum status judge_step(struct run *run, struct err *err)
{
    const struct trainer *trainer = run->trainer;
    const struct train_run_settings *s = run->settings;
    const struct loss_log *log = &run->log;
    bool judged =
        log->n_evaluations > 0 && log->evaluations[log->n_evaluations - 1].step == trainer->step;
    if (is_judged(run) && !judged)
        TRY(evaluate(run, err));
    run->outcome->stopped_early = trainer->step < trainer->settings.steps && s->patience > 0 &&
                                  run->counters.evaluations_without_gain >= s->patience;
    return STATUS_OK;
}

/* Logs what is known of the steps; `all`: of each that there was, for which a GPU is waited for. */
static enum status log_steps(struct run *run, bool all, struct err *err)
{
    for (;;) {
        struct trainer_report report;
        TRY(trainer_report(run->trainer, all, &report, err));
        if (report.step == 0)
            return STATUS_OK;
        double now = seconds_now(), seconds = now - run->since;
        run->since = now;
        run->outcome->tokens += report.tokens;
        TRY(loss_log_step(&run->log, report.step, report.loss, report.accuracy, report.norm,
                          report.learning_rate, report.tokens, seconds, err));
        if (run->watcher->stepped)
            run->watcher->stepped(run->watcher->context, report.step, &report,
                                  mean_of_last(&run->log), seconds);
    }
}

static enum status one_step(struct run *run, struct err *err)
{
    struct trainer *trainer = run->trainer;
    if (trainer->reported == trainer->step)
        run->since = seconds_now();
    TRY(trainer_step(trainer, err));
    bool last = trainer->step == trainer->settings.steps;
    TRY(log_steps(run, last || is_judged(run) || is_checkpoint(run), err));
    TRY(judge_step(run, err));
    return is_checkpoint(run) ? write_checkpoint(run, err) : STATUS_OK;
}

/* Interrupted within a step or an evaluation: what was done of it is dropped, and done again when
 * the run goes on. */
static enum status interrupted(struct run *run, struct err *err)
{
    struct err other;
    enum status status = log_steps(run, true, &other);
    if (status == STATUS_FAILED) {
        *err = other;
        return status;
    }
    if (status == STATUS_OK && run->settings->checkpoint_every > 0 && run->trainer->step > 0 &&
        write_checkpoint(run, &other) == STATUS_OK)
        return err_set(err, STATUS_INTERRUPTED,
                       "interrupted after step %lld; the same command with --resume goes on from "
                       "there",
                       (long long)run->trainer->step);
    return STATUS_INTERRUPTED;
}

/* ---- the end -------------------------------------------------------------------------------- */

static enum status write_record(struct run *run, struct err *err)
{
    const struct train_outcome *o = run->outcome;
    json_t *root = json_pack(
        "{s:s, s:O, s:I, s:b, s:I, s:o, s:o, s:o}", "program", "midashi", "settings",
        (json_t *)run->settings->record, "steps", (json_int_t)o->steps, "stopped_early",
        o->stopped_early, "best_step", (json_int_t)o->best_step, "validation_loss",
        json_number_or_null(o->best_loss), "validation_accuracy",
        json_number_or_null(o->best_accuracy), "training_loss", json_number_or_null(o->last_loss));
    enum status status =
        root ? json_write(root, run->record, err) : err_no_memory(err, "training.json", 0);
    json_decref(root);
    return status;
}

static bool has_adapter(const char *folder)
{
    return file_is_in(folder, ADAPTER_CONFIG_FILE) && file_is_in(folder, ADAPTER_WEIGHTS_FILE);
}

enum train_leftover train_run_leftover(const char *folder)
{
    if (file_is_in(folder, CHECKPOINT))
        return TRAIN_CHECKPOINT;
    if (!has_adapter(folder))
        return TRAIN_NOTHING;
    return file_is_in(folder, RECORD) ? TRAIN_FINISHED : TRAIN_ADAPTER;
}

/* training.json, as a new reference; NULL: none that can be read. */
static json_t *read_results(const char *folder)
{
    char path[PATH_MAX];
    struct err ignored;
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/" RECORD, folder);
    return json_read_file(&root, path, RECORD_LARGEST, 0, &ignored) == STATUS_OK ? root : NULL;
}

bool train_run_is_done(const char *folder, const json_t *record, struct train_outcome *outcome)
{
    struct train_difference ignored;
    json_t *root = has_adapter(folder) ? read_results(folder) : NULL;
    json_t *settings = json_object_get(root, "settings");
    bool same = root && json_object_size(settings) == json_object_size(record) &&
                !train_record_differs(settings, record, TRAIN_RECORD_DIGITS, &ignored);
    if (same)
        *outcome = (struct train_outcome){
            .steps = json_integer_value(json_object_get(root, "steps")),
            .best_step = json_integer_value(json_object_get(root, "best_step")),
            .stopped_early = json_is_true(json_object_get(root, "stopped_early")),
            .best_loss = json_number_or(json_object_get(root, "validation_loss"), NAN),
            .best_accuracy = json_number_or(json_object_get(root, "validation_accuracy"), NAN),
            .last_loss = json_number_or(json_object_get(root, "training_loss"), NAN),
        };
    json_decref(root);
    return same;
}

json_t *train_run_record(const char *folder)
{
    char checkpoint[PATH_MAX];
    json_t *root = read_results(folder);
    snprintf(checkpoint, sizeof checkpoint, "%s/" CHECKPOINT, folder);
    if (!root)
        return file_is_in(folder, CHECKPOINT) ? train_checkpoint_record(checkpoint) : NULL;
    json_t *record = json_incref(json_object_get(root, "settings"));
    json_decref(root);
    return record;
}

bool train_run_is_unfinished(const char *folder)
{
    return file_is_in(folder, LOG) && !file_is_in(folder, RECORD);
}

enum status train_run_compare(const char *folder, enum train_leftover left, const json_t *record,
                              struct err *err)
{
    char checkpoint[PATH_MAX];
    struct train_difference difference;
    snprintf(checkpoint, sizeof checkpoint, "%s/" CHECKPOINT, folder);
    if (left == TRAIN_CHECKPOINT)
        return train_checkpoint_check(checkpoint, record, err);
    json_t *root = read_results(folder), *settings = json_object_get(root, "settings");
    bool differs = train_record_differs(settings, record, TRAIN_RECORD_DIGITS, &difference);
    bool known = settings != NULL;
    json_decref(root);
    if (!differs)
        return STATUS_OK;
    return err_set(err, STATUS_USAGE,
                   "%s: holds a finished run, which had %s; give another --output, or --force to "
                   "train anew",
                   folder, known ? difference.text : "a training.json that cannot be read");
}

static enum status finish(struct run *run, struct err *err)
{
    struct trainer *trainer = run->trainer;
    struct train_outcome *outcome = run->outcome;
    if (!has_validation(run))
        TRY(keep_best(run, NULL, err));
    memcpy(trainer->adapter->parameters, run->best, parameter_bytes(run));
    if (!run->saved)
        TRY(save_best(run, err));
    outcome->steps = trainer->step;
    outcome->best_step = run->counters.best_step;
    outcome->best_loss = has_validation(run) ? run->counters.best_loss : NAN;
    outcome->best_accuracy = run->counters.best_accuracy;
    outcome->last_loss = mean_of_last(&run->log);
    outcome->fall = loss_fall_of(&run->log);
    if (run->drawn_bytes != run->log.bytes)
        TRY(draw(run, err));
    TRY(write_record(run, err));
    if (unlink(run->checkpoint) != 0 && errno != ENOENT)
        return err_set(err, STATUS_RESOURCE, "%s: %s", run->checkpoint, strerror(errno));
    return STATUS_OK;
}

static enum status steps(struct run *run, struct err *err)
{
    TRY(begin(run, err));
    enum status status = judge_step(run, err); /* of the checkpoint */
    while (status == STATUS_OK && run->trainer->step < run->trainer->settings.steps &&
           !run->outcome->stopped_early)
        status = one_step(run, err);
    if (status == STATUS_INTERRUPTED)
        return interrupted(run, err);
    TRY(status);
    return finish(run, err);
}

enum status train_run(struct trainer *trainer, const struct train_run_settings *settings,
                      const struct train_watcher *watcher, struct train_outcome *outcome,
                      struct err *err)
{
    static const struct train_watcher nobody = {0};
    struct run run = {
        .trainer = trainer,
        .settings = settings,
        .watcher = watcher ? watcher : &nobody,
        .outcome = outcome,
        .drawn_bytes = -1,
    };
    *outcome = (struct train_outcome){.best_loss = NAN, .best_accuracy = NAN};
    double start = seconds_now();
    enum status status = strlen(settings->folder) + sizeof "/" CHECKPOINT >= PATH_MAX
                             ? err_set(err, STATUS_USAGE, "--output: the path is too long")
                             : steps(&run, err);
    outcome->seconds = seconds_now() - start;
    loss_log_close(&run.log);
    return status;
}
