/* See loss_log.h. */
#include "host/loss_log.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include "host/base/file.h"
#include "loaders/json.h"

/* ---- points --------------------------------------------------------------------------------- */

static enum status add_point(struct loss_log *log, bool evaluation, int64_t step, double loss,
                             double accuracy, struct err *err)
{
    struct loss_point **points = evaluation ? &log->evaluations : &log->steps;
    int *n = evaluation ? &log->n_evaluations : &log->n_steps;
    int *capacity = evaluation ? &log->evaluations_capacity : &log->steps_capacity;
    if (!arena_grow(&log->arena, points, *n, capacity, sizeof **points))
        return err_no_memory(err, "the log", 0);
    (*points)[(*n)++] = (struct loss_point){step, loss, accuracy};
    return STATUS_OK;
}

/* A line that was written before. */
static enum status read_line(struct loss_log *log, const char *line, size_t length, struct err *err)
{
    json_t *root;
    json_error_t error;
    TRY(json_parse(&root, line, length, 0, &error, log->path, err));
    json_t *step = json_object_get(root, "step"), *loss = json_object_get(root, "loss");
    json_t *validation = json_object_get(root, "validation_loss");
    json_t *accuracy = json_object_get(root, validation ? "validation_accuracy" : "accuracy");
    enum status status = STATUS_BAD_DATA;
    if (json_is_integer(step) && json_is_real(validation ? validation : loss))
        status = add_point(log, validation != NULL, json_integer_value(step),
                           json_real_value(validation ? validation : loss),
                           json_is_number(accuracy) ? json_number_value(accuracy) : NAN, err);
    json_decref(root);
    return status;
}

static enum status read_lines(struct loss_log *log, int64_t keep_bytes, struct err *err)
{
    struct file_map map;
    TRY(file_map(&map, log->path, err));
    enum status status = (int64_t)map.size < keep_bytes ? STATUS_BAD_DATA : STATUS_OK;
    for (size_t at = 0; status == STATUS_OK && at < (size_t)keep_bytes;) {
        const char *line = (const char *)map.data + at;
        const char *end = memchr(line, '\n', (size_t)keep_bytes - at);
        status = end ? read_line(log, line, (size_t)(end - line), err) : STATUS_BAD_DATA;
        at += end ? (size_t)(end - line) + 1 : 0;
    }
    if (status == STATUS_BAD_DATA)
        err_set(err, status,
                "%s: not the log that belongs to the checkpoint; delete the checkpoint, or bring "
                "the log back",
                log->path);
    return file_map_finish(&map, log->path, status, err);
}

/* ---- the file ------------------------------------------------------------------------------- */

enum status loss_log_open(struct loss_log *log, const char *path, int64_t keep_bytes,
                          struct err *err)
{
    *log = (struct loss_log){0};
    enum status status = STATUS_OK;
    log->path = arena_text(&log->arena, path, strlen(path));
    if (!log->path)
        status = err_no_memory(err, "the log", 0);
    if (status == STATUS_OK && keep_bytes > 0)
        status = read_lines(log, keep_bytes, err);
    if (status == STATUS_OK) {
        log->stream = fopen(path, keep_bytes > 0 ? "r+" : "w");
        log->bytes = keep_bytes;
        if (!log->stream || ftruncate(fileno(log->stream), keep_bytes) != 0 ||
            fseek(log->stream, 0, SEEK_END) != 0)
            status = err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    }
    if (status != STATUS_OK)
        loss_log_close(log);
    return status;
}

void loss_log_close(struct loss_log *log)
{
    if (log->stream)
        fclose(log->stream);
    arena_free(&log->arena);
    *log = (struct loss_log){0};
}

static enum status end_line(struct loss_log *log, int written, double accuracy, const char *key,
                            struct err *err)
{
    if (written >= 0 && isfinite(accuracy)) {
        int more = fprintf(log->stream, ", \"%s\": %.17g", key, accuracy);
        written = more < 0 ? more : written + more;
    }
    if (written < 0 || fputs("}\n", log->stream) < 0 || fflush(log->stream) != 0)
        return err_set(err, STATUS_RESOURCE, "%s: %s", log->path, strerror(errno));
    log->bytes += written + 2;
    return STATUS_OK;
}

enum status loss_log_step(struct loss_log *log, int64_t step, double loss, double accuracy,
                          double norm, double learning_rate, int64_t tokens, double seconds,
                          struct err *err)
{
    TRY(add_point(log, false, step, loss, accuracy, err));
    int written = fprintf(log->stream,
                          "{\"step\": %lld, \"loss\": %#.17g, \"gradient_norm\": %#.17g, "
                          "\"learning_rate\": %#.17g, \"tokens\": %lld, \"seconds\": %.3f",
                          (long long)step, loss, norm, learning_rate, (long long)tokens, seconds);
    return end_line(log, written, accuracy, "accuracy", err);
}

enum status loss_log_evaluation(struct loss_log *log, int64_t step, double loss, double accuracy,
                                struct err *err)
{
    TRY(add_point(log, true, step, loss, accuracy, err));
    int written =
        fprintf(log->stream, "{\"step\": %lld, \"validation_loss\": %#.17g", (long long)step, loss);
    return end_line(log, written, accuracy, "validation_accuracy", err);
}

/* ---- the picture ---------------------------------------------------------------------------- */

#define WIDTH  760
#define HEIGHT 380
#define LEFT   64
#define RIGHT  600
#define TOP    28
#define BOTTOM 330
#define TICKS  5

/* Colours that people with any colour vision tell apart (Okabe and Ito 2008). */
#define TRAINING   "#0072B2"
#define VALIDATION "#D55E00"
#define ACCURACY   "#009E73"

struct frame {
    double last_step, largest; /* of the axes; both begin at 0 */
};

static double x_of(const struct frame *frame, int64_t step)
{
    return LEFT + (RIGHT - LEFT) * (double)step / frame->last_step;
}

static double y_of(const struct frame *frame, double value)
{
    return BOTTOM - (BOTTOM - TOP) * fmin(value / frame->largest, 1);
}

/* A round number that is not below x > 0, and not far above. */
static double round_up(double x)
{
    static const double factors[] = {1, 1.5, 2, 2.5, 3, 4, 5, 6, 8};
    double power = pow(10, floor(log10(x)));
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        if (factors[i] * power >= x)
            return factors[i] * power;
    return 10 * power;
}

static struct frame fit(const struct loss_log *log)
{
    struct frame frame = {1, 0};
    for (int i = 0; i < log->n_steps; i++) {
        frame.last_step = fmax(frame.last_step, (double)log->steps[i].step);
        frame.largest = fmax(frame.largest, log->steps[i].loss);
    }
    for (int i = 0; i < log->n_evaluations; i++)
        frame.largest = fmax(frame.largest, log->evaluations[i].loss);
    frame.largest = round_up(frame.largest > 0 ? frame.largest : 1);
    return frame;
}

/* Whole steps, equally far apart, from 0 as far as they go. */
static void draw_steps(FILE *out, const struct frame *frame)
{
    int64_t every = (int64_t)ceil(round_up(frame->last_step / TICKS));
    for (int64_t step = 0; step <= (int64_t)frame->last_step; step += every)
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%lld</text>\n",
                x_of(frame, step), BOTTOM + 18, (long long)step);
}

static void draw_axes(FILE *out, const struct frame *frame, bool accuracy)
{
    fprintf(out, "<g stroke=\"#bbb\" stroke-width=\"0.5\">\n");
    for (int i = 0; i <= TICKS; i++) {
        double y = y_of(frame, frame->largest * i / TICKS);
        fprintf(out, "<path d=\"M%d %.1fH%d\"/>\n", LEFT, y, RIGHT);
    }
    fprintf(out, "</g>\n<g fill=\"#333\">\n");
    for (int i = 0; i <= TICKS; i++) {
        double y = y_of(frame, frame->largest * i / TICKS) + 4;
        fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, y,
                frame->largest * i / TICKS);
        if (accuracy)
            fprintf(out, "<text x=\"%d\" y=\"%.1f\" fill=\"" ACCURACY "\">%d %%</text>\n",
                    RIGHT + 8, y, 100 * i / TICKS);
    }
    draw_steps(out, frame);
    if (accuracy)
        fprintf(out,
                "<text x=\"%d\" y=\"%d\" fill=\"" ACCURACY
                "\" text-anchor=\"end\">accuracy</text>\n",
                RIGHT, TOP - 10);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", (LEFT + RIGHT) / 2,
            BOTTOM + 38);
    fprintf(out, "<text x=\"%d\" y=\"%d\">loss</text>\n</g>\n", LEFT, TOP - 10);
}

/* window: steps of a running mean; 1: the points themselves. */
static void draw_training(FILE *out, const struct loss_log *log, const struct frame *frame,
                          int window, const char *style)
{
    double sum = 0;
    fprintf(out, "<polyline fill=\"none\" stroke=\"" TRAINING "\" %s points=\"", style);
    for (int i = 0; i < log->n_steps; i++) {
        sum += log->steps[i].loss;
        if (i >= window)
            sum -= log->steps[i - window].loss;
        double mean = sum / (i < window ? i + 1 : window);
        fprintf(out, "%.1f,%.1f ", x_of(frame, log->steps[i].step), y_of(frame, mean));
    }
    fprintf(out, "\"/>\n");
}

static void draw_evaluations(FILE *out, const struct loss_log *log, const struct frame *frame,
                             bool accuracy)
{
    const char *colour = accuracy ? ACCURACY : VALIDATION;
    const struct frame scale = {frame->last_step, accuracy ? 1 : frame->largest};
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (int i = 0; i < log->n_evaluations; i++) {
        const struct loss_point *point = &log->evaluations[i];
        fprintf(out, "%.1f,%.1f ", x_of(&scale, point->step),
                y_of(&scale, accuracy ? point->accuracy : point->loss));
    }
    fprintf(out, "\"/>\n<g fill=\"%s\">\n", colour);
    for (int i = 0; i < log->n_evaluations; i++) {
        const struct loss_point *point = &log->evaluations[i];
        double value = accuracy ? point->accuracy : point->loss;
        fprintf(out,
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>step %lld: %.4g</title>"
                "</circle>\n",
                x_of(&scale, point->step), y_of(&scale, value), (long long)point->step, value);
    }
    fprintf(out, "</g>\n");
}

static void draw_key(FILE *out, int line, const char *colour, const char *name)
{
    int y = TOP + 18 * line;
    fprintf(out,
            "<path d=\"M%d %dh18\" stroke=\"%s\" stroke-width=\"2\"/>"
            "<text x=\"%d\" y=\"%d\" fill=\"#333\">%s</text>\n",
            RIGHT + 60, y, colour, RIGHT + 84, y + 4, name);
}

enum status loss_log_draw(const struct loss_log *log, const char *path, struct err *err)
{
    struct out_file file;
    const struct frame frame = fit(log);
    bool accuracy = log->n_evaluations > 0 && isfinite(log->evaluations[0].accuracy);
    TRY(out_file_open(&file, path, err));
    FILE *out = file.stream;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
            "<title>Loss by step</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_axes(out, &frame, accuracy);
    draw_training(out, log, &frame, 1, "stroke-opacity=\"0.3\"");
    draw_training(out, log, &frame, 20, "stroke-width=\"1.5\"");
    draw_key(out, 0, TRAINING, "training");
    if (log->n_evaluations > 0) {
        draw_evaluations(out, log, &frame, false);
        draw_key(out, 1, VALIDATION, "validation");
    }
    if (accuracy) {
        draw_evaluations(out, log, &frame, true);
        draw_key(out, 2, ACCURACY, "accuracy");
    }
    fprintf(out, "</svg>\n");
    return out_file_commit(&file, err);
}
