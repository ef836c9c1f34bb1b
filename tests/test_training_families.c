/* A step's gradient in every family of models, norms of heads, biases and windows included, against
 * central differences of its loss. The models are tests/golden/make_families.py's; one more is
 * llama's with an output matrix of its own. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/npy.h"
#include "tests/training.h"

#define BATCH      3
#define ACCUMULATE 2
#define N_LABELS   3
/* A difference of losses of float32 accuracy over twice this; the curvature's part is its square.
 */
#define STEP 0.02
/* They come to 0.006 at the most; a window of 48 that is forgotten on the way back, to 0.016. */
#define TOLERANCE 0.01

/* Token j of a text is (7 j j + 13 j + 31 salt + 5) % 256. */
struct text {
    int length, salt;
};

/* Longer than their windows of 16 and 48, and one of a single token. */
static const struct text all_texts[BATCH * ACCUMULATE] = {{60, 0}, {1, 1}, {17, 2},
                                                          {33, 3}, {2, 4}, {50, 5}};
/* llama's in tests/golden/make_families.py. */
static const struct text golden_texts[BATCH * ACCUMULATE] = {{1, 1},   {2, 2},   {23, 23},
                                                             {24, 24}, {25, 25}, {72, 72}};

#define UNTIED "untied"

static const struct family {
    const char *config, *weights;
} families[] = {
    {"llama", "llama"}, {"mistral", "mistral"},    {"qwen2", "qwen2"}, {"qwen2_window", "qwen2"},
    {"qwen3", "qwen3"}, {"qwen3_layers", "qwen3"}, {UNTIED, UNTIED},
};
#define N_FAMILIES ((int)(sizeof families / sizeof *families))
#define N_DEVICES  2 /* of test_device: portable C, AVX2 */

struct rig {
    struct device device;
    struct embedder embedder; /* its model alone */
    struct lora_adapter adapter;
    struct train_data data;
    struct trainer trainer;
    float *start, *gradient;
};

static void must(enum status status, const struct err *err)
{
    ck_assert_msg(status == STATUS_OK, "%s", err->text);
}

/* ---- an output matrix of its own ------------------------------------------------------------ */

#define VOCABULARY 256
#define HIDDEN     32

static void fill_output(float *output)
{
    fill_normal(output, (size_t)VOCABULARY * HIDDEN, 11, 0.5f);
}

/* llama's configuration, its embeddings no longer tied. */
static void write_untied_config(const char *folder, const struct file_map *config)
{
    static const char tied[] = "\"tie_word_embeddings\": true";
    char text[4096];
    snprintf(text, sizeof text, "%.*s", (int)config->size, (const char *)config->data);
    char *at = strstr(text, tied);
    ck_assert(at);
    memcpy(at, "\"tie_word_embeddings\":false", sizeof tied - 1);
    write_file(folder, "config.json", text, strlen(text));
}

/* llama's tensors and, first in the header and last in the data, lm_head.weight. */
static void write_untied_weights(const char *folder, const struct file_map *weights)
{
    uint64_t length, bytes = (uint64_t)VOCABULARY * HIDDEN * sizeof(float);
    memcpy(&length, weights->data, sizeof length);
    const char *header = (const char *)weights->data + sizeof length, *data = header + length;
    uint64_t end = weights->size - sizeof length - length;
    char *file = calloc(1, weights->size + bytes + 256), *at = file + sizeof length;
    at += sprintf(at,
                  "{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%llu,"
                  "%llu]},%.*s",
                  VOCABULARY, HIDDEN, (unsigned long long)end, (unsigned long long)(end + bytes),
                  (int)length - 1, header + 1);
    while ((at - file) % 8 != 0)
        *at++ = ' ';
    length = (uint64_t)(at - file) - sizeof length;
    memcpy(file, &length, sizeof length);
    memcpy(at, data, end);
    fill_output((float *)(at + end));
    write_file(folder, "model.safetensors", file, (size_t)(at - file) + end + bytes);
    free(file);
}

static const char *untied_model(void)
{
    static char folder[256];
    struct file_map config, weights;
    struct err err;
    if (folder[0])
        return folder;
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    must(file_map(&config, golden("families/llama/config.json"), &err), &err);
    must(file_map(&weights, golden("families/llama/model.safetensors"), &err), &err);
    write_untied_config(folder, &config);
    write_untied_weights(folder, &weights);
    file_unmap(&config);
    file_unmap(&weights);
    return folder;
}

/* ---- a step --------------------------------------------------------------------------------- */

static const char *path_of(const char *name)
{
    char path[256];
    if (strcmp(name, UNTIED) == 0)
        return untied_model();
    snprintf(path, sizeof path, "families/%s", name);
    return golden(path);
}

static void fill_texts(struct train_data *data, const struct text *texts)
{
    struct err err;
    int n = BATCH * ACCUMULATE, at = 0;
    data->texts = mem_alloc_zero((size_t)n, sizeof *data->texts);
    data->tokens = mem_alloc(512, sizeof *data->tokens);
    for (int i = 0; i < n; i++) {
        data->texts[i] = (struct train_text){.first = (size_t)at,
                                             .n_tokens = texts[i].length,
                                             .label = i % N_LABELS,
                                             .row = (size_t)i,
                                             .mean_begin = texts[i].length > 1,
                                             .mean_end = texts[i].length};
        for (int j = 0; j < texts[i].length; j++)
            data->tokens[at++] = (7 * j * j + 13 * j + 31 * texts[i].salt + 5) % 256;
    }
    data->n_texts = n;
    data->n_tokens = (size_t)at;
    must(train_data_split_at(data, n, 0, &err), &err);
}

/* device: test_device's number; false where there is no such one. */
static bool rig_open(struct rig *s, int device, const struct family *family,
                     enum objective_kind objective, int kept_layers, const struct text *texts)
{
    static const char *const labels[N_LABELS] = {"a", "b", "c"};
    struct err err;
    struct train_plan plan;
    struct model_config *config = &s->embedder.config;
    bool classify = objective == OBJECTIVE_CLASSIFY;
    *s = (struct rig){0};
    if (!test_device(device, &s->device))
        return false;
    fill_texts(&s->data, texts);
    must(model_config_read(config, path_of(family->config), &err), &err);
    must(weights_open(&s->embedder.weights, path_of(family->weights), config, &err), &err);
    must(lora_adapter_create(&s->adapter, config,
                             &(struct lora_settings){
                                 .rank = 2,
                                 .alpha = 4,
                                 .task = classify ? ADAPTER_CLASSIFIES : ADAPTER_CONTINUES,
                                 .n_labels = classify ? N_LABELS : 0,
                                 .labels = labels,
                             },
                             0, &err),
         &err);
    must(train_plan_make(&plan,
                         &(struct train_plan_request){
                             .config = config,
                             .adapter = &s->adapter,
                             .objective = objective,
                             .batch = BATCH,
                             .accumulate = ACCUMULATE,
                             .longest = train_data_longest(&s->data),
                             .dropout = true,
                         },
                         &err),
         &err);
    if (kept_layers >= 0)
        plan.kept_layers = kept_layers;
    must(llama_load(&s->embedder.llama, &s->device, s->embedder.weights, config, PRECISION_F32,
                    config->n_layers, train_data_longest(&s->data), plan.pass_tokens, NULL, NULL,
                    &err),
         &err);
    must(trainer_open(&s->trainer, &s->device, &s->embedder, &s->adapter, &s->data, &plan,
                      &(struct trainer_settings){
                          .objective = objective,
                          .temperature = 0.2f,
                          .steps = 1,
                          .batch = BATCH,
                          .accumulate = ACCUMULATE,
                          .learning_rate = 0, /* a step that measures alone */
                          .dropout = 0.25,
                          .seed = 5,
                      },
                      &err),
         &err);
    size_t n = (size_t)s->adapter.n_parameters;
    s->start = malloc(n * sizeof *s->start);
    s->gradient = malloc(n * sizeof *s->gradient);
    fill_uniform(s->start, n, 9, -0.3f, 0.3f); /* B is not 0 */
    return true;
}

static void rig_close(struct rig *s)
{
    trainer_close(&s->trainer);
    llama_free(&s->embedder.llama);
    weights_close(s->embedder.weights);
    lora_adapter_free(&s->adapter);
    train_data_free(&s->data);
    device_close(&s->device);
    free(s->start);
    free(s->gradient);
}

/* The loss `by` from the start along a direction (n parameters from `first` on). AdamW's first
 * moment is a tenth of the gradient then. */
static double loss_at(struct rig *s, double by, const float *direction, int64_t first, int64_t n)
{
    struct trainer_report report;
    struct err err;
    size_t bytes = (size_t)s->adapter.n_parameters * sizeof(float);
    memcpy(s->adapter.parameters, s->start, bytes);
    for (int64_t i = first; i < first + n; i++)
        s->adapter.parameters[i] += (float)(by * (double)direction[i]);
    memset(s->trainer.m, 0, bytes);
    must(trainer_send(&s->trainer, 0, &err), &err);
    must(training_step(&s->trainer, &report, &err), &err);
    return report.loss;
}

/* Along its own gradient a loss rises by the gradient's length. */
static void check_tensors(struct rig *s, int64_t first, int64_t n, const char *what, int layer)
{
    double length = 0;
    for (int64_t i = first; i < first + n; i++)
        length += (double)s->gradient[i] * (double)s->gradient[i];
    length = sqrt(length);
    ck_assert_msg(length > 1e-4, "%s, layer %d: no gradient", what, layer);
    double by = STEP / length;
    double rise = (loss_at(s, by, s->gradient, first, n) - loss_at(s, -by, s->gradient, first, n)) /
                  (2 * STEP);
    ck_assert_msg(fabs(rise - length) <= TOLERANCE * length + 2e-5,
                  "%s, layer %d: the loss rises by %g, the gradient is %g long", what, layer, rise,
                  length);
}

static void check_family(int device, const struct family *family, enum objective_kind objective,
                         int kept_layers)
{
    struct rig s;
    char what[128];
    if (!rig_open(&s, device, family, objective, kept_layers, all_texts))
        return;
    loss_at(&s, 0, s.start, 0, 0);
    for (int64_t i = 0; i < s.adapter.n_parameters; i++)
        s.gradient[i] = s.trainer.m[i] * 10;
    for (int layer = 0; layer < s.adapter.n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &s.adapter.layers[layer][target];
            snprintf(what, sizeof what, "%s, %s, %s", family->config, objective_name(objective),
                     lora_target_name((enum lora_target)target));
            check_tensors(&s, lora->a - s.adapter.parameters, /* B lies behind A */
                          (int64_t)lora->rank * (lora->columns + lora->rows), what, layer);
        }
    if (s.adapter.head)
        check_tensors(&s, s.adapter.head - s.adapter.parameters,
                      (int64_t)N_LABELS * s.adapter.hidden_size, "the head", -1);
    rig_close(&s);
}

START_TEST(gradients_are_what_losses_do)
{
    const struct family *family = &families[_i / N_DEVICES];
    int device = _i % N_DEVICES;
    check_family(device, family, OBJECTIVE_CLASSIFY, -1);
    check_family(device, family, OBJECTIVE_CONTRASTIVE, 1);
    if (strcmp(family->weights, "mistral") != 0) /* it has no output matrix */
        check_family(device, family, OBJECTIVE_NEXT_TOKEN, 0);
}
END_TEST

/* The loss of next tokens, in float64, from transformers' states for llama's golden texts, with
 * lm_head.weight's matrix. */
static double reference_loss(void)
{
    struct npy npy;
    struct err err;
    static float states[512 * HIDDEN], output[VOCABULARY * HIDDEN];
    double sum = 0;
    int at = 0, n = 0;
    fill_output(output);
    must(npy_open(&npy, golden("families/llama.npy"), &err), &err);
    ck_assert(npy.rows <= 512 && npy.columns == HIDDEN);
    must(npy_read_rows(&npy, 0, npy.rows, states, &err), &err);
    for (int text = 0; text < BATCH * ACCUMULATE; at += golden_texts[text++].length)
        for (int i = 0; i + 1 < golden_texts[text].length; i++, n++) {
            int j = i + 1,
                next = (7 * j * j + 13 * j + 31 * golden_texts[text].salt + 5) % VOCABULARY;
            double total = 0, logit = 0;
            for (int row = 0; row < VOCABULARY; row++) {
                double product = 0;
                for (int column = 0; column < HIDDEN; column++)
                    product += (double)states[(at + i) * HIDDEN + column] *
                               (double)output[row * HIDDEN + column];
                total += exp(product);
                logit = row == next ? product : logit;
            }
            sum += log(total) - logit;
        }
    ck_assert_int_eq(at, npy.rows);
    npy_close(&npy);
    return sum / n;
}

/* Differences of losses alone would not tell whose matrix it is. */
START_TEST(an_output_matrix_of_its_own_makes_the_loss)
{
    struct rig s;
    if (!rig_open(&s, _i, &(struct family){UNTIED, UNTIED}, OBJECTIVE_NEXT_TOKEN, -1, golden_texts))
        return;
    s.trainer.settings.dropout = 0;
    memset(s.start, 0, (size_t)s.adapter.n_parameters * sizeof *s.start);
    double got = loss_at(&s, 0, s.start, 0, 0), want = reference_loss();
    ck_assert_msg(fabs(got - want) <= 1e-5 * want, "loss %.9g, not %.9g", got, want);
    rig_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("training_families");
    TCase *tcase = tcase_create("training_families");
    tcase_add_loop_test(tcase, gradients_are_what_losses_do, 0, N_FAMILIES * N_DEVICES);
    tcase_add_loop_test(tcase, an_output_matrix_of_its_own_makes_the_loss, 0, N_DEVICES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
