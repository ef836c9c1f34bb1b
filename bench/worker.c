/* See worker.h. */
#define _GNU_SOURCE /* sched_setaffinity */
#include "bench/worker.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench/instructions.h"
#include "bench/trial.h"
#include "host/base/clock.h"

/* ---- serving -------------------------------------------------------------------------------- */

struct server {
    const struct bench_row *rows;
    int n_rows;
    struct device *device;
    struct trial trial;
    bool open;
    int counter; /* of instructions, -1: none */
    FILE *out;
};

static enum status open_row(struct server *server, int row, struct err *err)
{
    struct verdict verdict;
    if (server->open)
        trial_close(&server->trial);
    server->open = true;
    TRY(trial_open(&server->trial, server->rows[row].operation, server->rows[row].size,
                   server->device, err));
    TRY(trial_verify(&server->trial, &verdict, err));
    fputs(verdict.worst <= 1 ? "opened\n" : "wrong\n", server->out);
    return STATUS_OK;
}

static enum status run_row(struct server *server, double seconds, struct err *err)
{
    long runs = 0;
    uint64_t instructions = instructions_read(server->counter);
    double begin = seconds_now(), processor_begin = processor_seconds(), processor;
    do {
        TRY(trial_run(&server->trial, err));
        runs++;
        processor = processor_seconds() - processor_begin;
    } while (processor < seconds);
    fprintf(server->out, "ran %ld %.9g %.9g %llu\n", runs, seconds_now() - begin, processor,
            (unsigned long long)(instructions_read(server->counter) - instructions));
    return STATUS_OK;
}

static enum status answer(struct server *server, const char *line, struct err *err)
{
    int row;
    double seconds;
    if (sscanf(line, "open %d", &row) == 1 && row >= 0 && row < server->n_rows)
        return open_row(server, row, err);
    if (server->open && sscanf(line, "run %lf", &seconds) == 1 && seconds < 3600)
        return run_row(server, seconds, err);
    return err_set(err, STATUS_USAGE,
                   "bench --worker: %s: no such request; it is started by "
                   "midashi bench compare --against",
                   line);
}

enum status worker_serve(const struct bench_row *rows, int n_rows, struct device *device, FILE *in,
                         FILE *out, struct err *err)
{
    struct server server = {.rows = rows, .n_rows = n_rows, .device = device, .out = out};
    char line[128];
    enum status status = STATUS_OK;
    server.counter = instructions_open();
    for (int i = 0; i < n_rows; i++)
        fprintf(out, "row %s\n", rows[i].title);
    fputs("ready\n", out);
    fflush(out);
    while (status == STATUS_OK && fgets(line, sizeof line, in)) {
        status = answer(&server, line, err);
        if (status != STATUS_OK)
            fprintf(out, "failed %s\n", err->text);
        fflush(out);
    }
    if (server.open)
        trial_close(&server.trial);
    instructions_close(server.counter);
    return status;
}

/* ---- driving -------------------------------------------------------------------------------- */

#define ARGUMENTS_LARGEST 16

static void stay_on(int processor)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    int left = processor % CPU_COUNT(&allowed), cpu = 0;
    while (!CPU_ISSET(cpu, &allowed) || left-- > 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void become(const char *program, const char *const *arguments, int processor, int in,
                   int out)
{
    if (processor >= 0)
        stay_on(processor);
    const char *words[ARGUMENTS_LARGEST + 4] = {program, "bench", "--worker"};
    for (int i = 0; i < ARGUMENTS_LARGEST && arguments[i]; i++)
        words[3 + i] = arguments[i];
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    for (int descriptor = 3; descriptor < 64; descriptor++)
        close(descriptor);
    execv(program, (char *const *)(void *)words);
    _exit(127);
}

enum status worker_start(struct worker *worker, const char *program, const char *const *arguments,
                         int processor, struct err *err)
{
    int to[2], from[2];
    *worker = (struct worker){.name = program};
    if (pipe(to) != 0)
        return err_set(err, STATUS_RESOURCE, "%s: cannot make a pipe", program);
    if (pipe(from) != 0) {
        close(to[0]), close(to[1]);
        return err_set(err, STATUS_RESOURCE, "%s: cannot make a pipe", program);
    }
    fflush(NULL);
    worker->pid = fork();
    if (worker->pid == 0)
        become(program, arguments, processor, to[0], from[1]);
    close(to[0]), close(from[1]);
    worker->requests = fdopen(to[1], "w");
    worker->answers = fdopen(from[0], "r");
    if (worker->pid < 0 || !worker->requests || !worker->answers)
        return err_set(err, STATUS_RESOURCE, "%s: cannot start it", program);
    return STATUS_OK;
}

static enum status read_line(struct worker *worker, char *line, int size, struct err *err)
{
    if (!fgets(line, size, worker->answers))
        return err_set(err, STATUS_FAILED,
                       "%s: it ended; is it a midashi that has bench --worker, with these rows?",
                       worker->name);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "failed ", 7) == 0)
        return err_set(err, STATUS_FAILED, "%s: %s", worker->name, line + 7);
    return STATUS_OK;
}

static enum status unexpected(const struct worker *worker, const char *line, struct err *err)
{
    return err_set(err, STATUS_FAILED, "%s: it answered \"%s\"; is it a midashi?", worker->name,
                   line);
}

enum status worker_titles(struct worker *worker, char ***titles, int *n_titles, struct arena *arena,
                          struct err *err)
{
    char line[256];
    int capacity = 0;
    *titles = NULL;
    *n_titles = 0;
    for (;;) {
        TRY(read_line(worker, line, sizeof line, err));
        if (strcmp(line, "ready") == 0)
            return STATUS_OK;
        if (strncmp(line, "row ", 4) != 0)
            return unexpected(worker, line, err);
        if (!arena_grow(arena, titles, *n_titles, &capacity, sizeof **titles) ||
            !((*titles)[*n_titles] = arena_text(arena, line + 4, strlen(line + 4))))
            return err_no_memory(err, "the list of rows", 0);
        ++*n_titles;
    }
}

enum status worker_open(struct worker *worker, int row, bool *right, struct err *err)
{
    char line[256];
    fprintf(worker->requests, "open %d\n", row);
    fflush(worker->requests);
    TRY(read_line(worker, line, sizeof line, err));
    *right = strcmp(line, "opened") == 0;
    return *right || strcmp(line, "wrong") == 0 ? STATUS_OK : unexpected(worker, line, err);
}

enum status worker_run(struct worker *worker, double seconds, struct worker_time *time,
                       struct err *err)
{
    char line[256];
    fprintf(worker->requests, "run %.9g\n", seconds);
    fflush(worker->requests);
    TRY(read_line(worker, line, sizeof line, err));
    if (sscanf(line, "ran %lf %lf %lf %lf", &time->runs, &time->seconds, &time->processor_seconds,
               &time->instructions) != 4 ||
        !(time->runs >= 1))
        return unexpected(worker, line, err);
    return STATUS_OK;
}

void worker_stop(struct worker *worker)
{
    if (worker->requests)
        fclose(worker->requests); /* the end of its input ends it */
    if (worker->answers)
        fclose(worker->answers);
    if (worker->pid > 0)
        waitpid(worker->pid, NULL, 0);
    *worker = (struct worker){.pid = 0};
}
