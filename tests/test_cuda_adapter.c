/* Models with an adapter on a GPU, that is on softcuda: as near to PEFT as the models themselves
 * are to the CPU, the same bytes in any batch, no more memory than the layers that are loaded need,
 * and nothing lost when memory ends. */
#include "tests/cuda_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/base/file.h"
#include "host/cuda_adapter.h"
#include "host/embedder.h"
#include "host/llama_cuda.h"
#include "host/merge.h"
#include "loaders/json.h"
#include "loaders/npy.h"
#include "tests/model_writer.h"

/* ---- states of the golden texts ------------------------------------------------------------- */

/* Those of tests/test_lora_adapter.c. */
#define N_TEXTS  4
#define N_TOKENS 63
static const int lengths[N_TEXTS] = {1, 5, 17, 40};

static const char *path_of(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return golden(path);
}

struct last_states {
    const struct llama *llama;
    struct device *device;
    int layer;    /* whose output is wanted */
    void *states; /* the device's */
};

static enum status keep_last(void *context, int layer, const void *hidden, int n_tokens,
                             struct err *err)
{
    struct last_states *last = context;
    if (layer < last->layer)
        return STATUS_OK;
    return llama_final_norm(last->llama, last->device, last->states, hidden, n_tokens, err);
}

enum { ALL = -1 };

/* (N_TOKENS, D) after `layer` layers of a model of which n_layers are loaded; each may be ALL.
 * adapter_path NULL: none. The caller frees. */
static float *states_at(struct device *device, const char *path, const char *adapter_path,
                        enum precision precision, int n_layers, int layer)
{
    struct err err;
    struct model_config config;
    struct weights *weights;
    struct llama llama;
    struct lora_adapter adapter = {0};
    int32_t tokens[N_TOKENS], positions[N_TOKENS], cu_seqlens[N_TEXTS + 1] = {0};
    bool gpu = device->kind == DEVICE_CUDA;
    cuda_good(model_config_read(&config, path, &err), &err);
    cuda_good(weights_open(&weights, path, &config, &err), &err);
    if (adapter_path)
        cuda_good(lora_adapter_load(&adapter, adapter_path, &config, &err), &err);
    n_layers = n_layers == ALL ? config.n_layers : n_layers;
    cuda_good(llama_load(&llama, device, weights, &config, precision, n_layers, 40, 64,
                         adapter_path ? &adapter : NULL, NULL, &err),
              &err);
    for (int t = 0; t < N_TEXTS; t++) {
        for (int i = 0; i < lengths[t]; i++) {
            tokens[cu_seqlens[t] + i] = (7 * i * i + 13 * i + 31 * lengths[t] + 5) % 256;
            positions[cu_seqlens[t] + i] = i;
        }
        cu_seqlens[t + 1] = cu_seqlens[t] + lengths[t];
    }
    size_t n = N_TOKENS * (size_t)config.hidden_size;
    float *states = gpu ? NULL : malloc(n * sizeof *states);
    struct last_states last = {&llama, device, layer == ALL ? n_layers : layer, states};
    struct llama_batch batch = {tokens, positions, cu_seqlens, N_TEXTS, N_TOKENS};
    struct cuda_tensor of_states, arrays[3];
    if (gpu) {
        of_states = cuda_empty(PRECISION_BF16, n);
        arrays[0] = cuda_send_ints(tokens, N_TOKENS),
        arrays[1] = cuda_send_ints(positions, N_TOKENS);
        arrays[2] = cuda_send_ints(cu_seqlens, N_TEXTS + 1);
        last.states = cuda_pointer(&of_states);
        batch.tokens = cuda_pointer(&arrays[0]), batch.positions = cuda_pointer(&arrays[1]);
        batch.cu_seqlens = cuda_pointer(&arrays[2]);
    }
    cuda_good(llama_forward(&llama, device, &batch, last.layer, keep_last, &last, &err), &err);
    if (gpu) {
        states = cuda_download(&of_states);
        for (int i = 0; i < 3; i++)
            cuda_drop(&arrays[i]);
    }
    llama_free(&llama);
    lora_adapter_free(&adapter);
    weights_close(weights);
    return states;
}

static float *states_of(struct device *device, const char *path, const char *adapter_path,
                        enum precision precision)
{
    return states_at(device, path, adapter_path, precision, ALL, ALL);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the tokens' relative errors. Random adapters as large as these saturate a head here
 * and there, so that of some token a rounding makes another one. */
static double typical_error(const float *got, const struct npy *want)
{
    double errors[N_TOKENS];
    size_t d = (size_t)want->columns;
    ck_assert_int_eq(want->rows, N_TOKENS);
    for (size_t i = 0; i < N_TOKENS; i++)
        errors[i] = relative_distance(got + i * d, (const float *)want->data + i * d, d);
    qsort(errors, N_TOKENS, sizeof *errors, compare);
    return errors[N_TOKENS / 2];
}

/* Ranks that differ, targets and layers that are left alone. */
static const struct {
    const char *adapter, *model, *states;
    enum precision precision;
    const char *dense; /* of a quantised model: the states of the one that is not */
} cases[] = {
    {"plain", "llama", "plain.npy", PRECISION_BF16, NULL},
    {"plain", "llama", "plain_nf4.npy", PRECISION_NF4, "plain.npy"},
    {"rslora", "qwen2", "rslora.npy", PRECISION_BF16, NULL},
    {"patterns", "qwen3", "patterns.npy", PRECISION_BF16, NULL},
    {"patterns_rslora", "llama", "patterns_rslora.npy", PRECISION_BF16, NULL},
    {"subset", "llama", "subset.npy", PRECISION_BF16, NULL},
    {"layers", "qwen2", "layers.npy", PRECISION_BF16, NULL},
    {"classifier", "llama", "classifier.npy", PRECISION_BF16, NULL},
    {"base", "mistral", "base.npy", PRECISION_BF16, NULL},
};
#define N_CASES (sizeof cases / sizeof *cases)

static void copy_file(const char *folder, const char *model, const char *name)
{
    char path[4096];
    struct file_map map;
    struct err err;
    snprintf(path, sizeof path, "%s/%s", model, name);
    cuda_good(file_map(&map, path, &err), &err);
    write_file(folder, name, map.data, map.size);
    file_unmap(&map);
}

/* A model with the adapter added to its weights: what bfloat16 costs that one on the GPU is the
 * measure. */
static double merged_error(struct device *cpu, const char *model, const char *adapter,
                           const struct npy *peft)
{
    char source[2048], folder[4096];
    struct err err;
    struct merge_counts counts;
    snprintf(source, sizeof source, "%s", temporary_folder());
    snprintf(folder, sizeof folder, "%s/merged", source);
    copy_file(source, model, "config.json");
    copy_file(source, model, "model.safetensors");
    write_byte_tokenizer(source, NULL);
    cuda_good(merge_model(cpu, source, adapter, folder, false, NULL, &counts, &err), &err);
    float *states = states_of(&cuda_test, folder, NULL, PRECISION_BF16);
    double error = typical_error(states, peft);
    free(states);
    return error;
}

/* A, B and s are rounded, where that model has the sum of weight and adapter: at most twice that.
 */
START_TEST(adapter_computes_what_peft_computes)
{
    struct device cpu;
    struct err err;
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    cuda_good(device_open(&cpu, "cpu", 1, &err), &err);
    for (size_t i = 0; i < N_CASES; i++) {
        struct npy peft, dense;
        const char *model = path_of("families", cases[i].model);
        const char *adapter = path_of("peft", cases[i].adapter);
        enum precision precision = cases[i].precision;
        cuda_good(npy_open(&peft, path_of("peft", cases[i].states), &err), &err);
        float *got = states_of(&cuda_test, model, adapter, precision);
        float *without = states_of(&cuda_test, model, NULL, precision);
        double error = typical_error(got, &peft);
        cuda_good(npy_open(&dense,
                           path_of("peft", cases[i].dense ? cases[i].dense : cases[i].states),
                           &err),
                  &err);
        double measure = merged_error(&cpu, model, adapter, &dense);
        ck_assert_msg(error <= 2 * measure, "%s: %g; merged %g", cases[i].states, error, measure);
        ck_assert_msg(typical_error(without, &peft) > 0.3, "%s: does nothing", cases[i].states);
        free(got), free(without);
        npy_close(&peft), npy_close(&dense);
    }
    device_close(&cpu);
    device_close(&cuda_test);
}
END_TEST

/* ---- layers that are not loaded ------------------------------------------------------------- */

static size_t behind(size_t used, size_t bytes)
{
    return (used + CUDA_ARENA_ALIGNMENT - 1) / CUDA_ARENA_ALIGNMENT * CUDA_ARENA_ALIGNMENT + bytes;
}

/* What the first n_layers of an adapter take behind the weights: a table of those matrices that
 * have a part, and of each part bfloat16 copies of A and B. */
static size_t with_copies(size_t used, const struct lora_adapter *adapter, int n_layers)
{
    static const enum cuda_matrix matrix_of[LORA_TARGETS] = {
        CUDA_QKV, CUDA_QKV, CUDA_QKV, CUDA_O, CUDA_GATE_UP, CUDA_GATE_UP, CUDA_DOWN};
    size_t n_tables = 0;
    for (int layer = 0; layer < n_layers; layer++) {
        bool has[CUDA_MATRICES] = {false};
        for (int target = 0; target < LORA_TARGETS; target++)
            has[matrix_of[target]] |= adapter->layers[layer][target].rank > 0;
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++)
            n_tables += has[matrix];
    }
    used = behind(used, n_tables * sizeof(struct lora_parts));
    for (int layer = 0; layer < n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &adapter->layers[layer][target];
            size_t padded = ((size_t)lora->rank + 15) / 16 * 16;
            if (padded == 0)
                continue;
            used = behind(used, 2 * padded * (size_t)lora->columns);
            used = behind(used, 2 * padded * (size_t)lora->rows);
        }
    return used;
}

/* Elements of the first n_layers; with all of them the head's too. */
static size_t parameters_of(const struct lora_adapter *adapter, int n_layers)
{
    size_t n = 0;
    for (int layer = 0; layer < n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &adapter->layers[layer][target];
            n += (size_t)lora->rank * (size_t)(lora->rows + lora->columns);
        }
    bool all = n_layers == adapter->n_layers;
    return n + (all ? (size_t)adapter->n_labels * (size_t)adapter->hidden_size : 0);
}

/* What the plan takes for them. */
static size_t planned_parameters(const struct lora_adapter *adapter,
                                 const struct model_config *config, int n_layers)
{
    struct err err;
    struct cuda_adapter on_gpu;
    struct cuda_arena arena = {0};
    cuda_good(cuda_adapter_open(&on_gpu, adapter, config, n_layers, &err), &err);
    cuda_adapter_plan_parameters(&on_gpu, &arena);
    cuda_adapter_close(&on_gpu);
    return arena.most;
}

static void check_memory(const char *model, const char *adapter_path, enum precision precision)
{
    struct err err;
    struct model_config config;
    struct weights *weights;
    struct lora_adapter adapter;
    cuda_good(model_config_read(&config, model, &err), &err);
    cuda_good(weights_open(&weights, model, &config, &err), &err);
    cuda_good(lora_adapter_load(&adapter, adapter_path, &config, &err), &err);
    for (int n = 0; n <= config.n_layers; n++) {
        struct llama_cuda_bytes without, with;
        struct llama llama = {
            .config = config,
            .precision = precision,
            .n_layers = n,
            .max_tokens = 40,
            .batch_tokens = 64,
        };
        cuda_good(llama_cuda_measure(&llama, weights, &without, &err), &err);
        llama.adapter = &adapter;
        cuda_good(llama_cuda_measure(&llama, weights, &with, &err), &err);
        ck_assert_uint_eq(with.weights, with_copies(without.weights, &adapter, n));
        ck_assert_uint_eq(planned_parameters(&adapter, &config, n),
                          parameters_of(&adapter, n) * sizeof(float));
        cuda_good(llama_load(&llama, &cuda_test, weights, &config, precision, n, 40, 64, &adapter,
                             NULL, &err),
                  &err);
        ck_assert_uint_eq(llama.weight_bytes, with.weights);
        ck_assert_uint_eq(cuda_test.cuda->allocated.now, with.all);
        llama_free(&llama);
    }
    lora_adapter_free(&adapter);
    weights_close(weights);
}

/* Neither copies nor parameters, and the others compute what they do beside them. */
START_TEST(layers_that_are_not_loaded_take_nothing)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < N_CASES; i++) {
        const char *model = path_of("families", cases[i].model);
        const char *adapter = path_of("peft", cases[i].adapter);
        check_memory(model, adapter, cases[i].precision);
        for (int layer = 0; layer < 2; layer++) {
            float *all = states_at(&cuda_test, model, adapter, cases[i].precision, ALL, layer);
            float *few = states_at(&cuda_test, model, adapter, cases[i].precision, layer, layer);
            ck_assert_mem_eq(all, few, N_TOKENS * 32 * sizeof *all);
            free(all), free(few);
        }
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- embeddings ----------------------------------------------------------------------------- */

static enum status collect(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    struct {
        float *vectors;
        size_t width;
    } *collected = context;
    (void)request, (void)err;
    memcpy(collected->vectors + first_row * collected->width, vectors,
           n_rows * collected->width * sizeof *vectors);
    return STATUS_OK;
}

/* Of the headlines from `first` on. Opens, runs and closes; the caller frees. */
static enum status embed_status(float **vectors, size_t *width, struct device *device,
                                const char *model, const char *adapter, size_t first, size_t n_rows,
                                int batch_tokens, struct err *err)
{
    struct corpus corpus;
    struct embedder embedder;
    struct embedding_counts counts;
    struct model_config config;
    TRY(model_config_read(&config, model, err));
    const struct embedding_request request = {POOLING_LAST, config.n_layers};
    const struct embedder_settings settings = {
        .precision = PRECISION_NF4,
        .prompt = "{text}",
        .n_layers = request.layer,
        .batch_tokens = batch_tokens,
        .adapter = adapter,
    };
    TRY(embedder_open(&embedder, device, model, &settings, NULL, err));
    struct {
        float *vectors;
        size_t width;
    } collected = {NULL, (size_t)embedding_width(&embedder, POOLING_LAST)};
    collected.vectors = malloc(n_rows * collected.width * sizeof *collected.vectors);
    enum status status =
        corpus_read(&corpus, "demo/headlines_en.tsv", &(struct corpus_settings){0}, err);
    if (status == STATUS_OK) {
        status = embedder_run(&embedder, device, corpus.rows + first, n_rows, &request, 1, collect,
                              &collected, &counts, NULL, err);
        corpus_free(&corpus);
    }
    embedder_close(&embedder);
    *vectors = collected.vectors, *width = collected.width;
    if (status != STATUS_OK)
        free(collected.vectors);
    return status;
}

static float *embed(size_t *width, struct device *device, const char *model, const char *adapter,
                    size_t first, size_t n_rows, int batch_tokens)
{
    struct err err;
    float *vectors = NULL;
    cuda_good(
        embed_status(&vectors, width, device, model, adapter, first, n_rows, batch_tokens, &err),
        &err);
    return vectors;
}

/* The folder of an adapter that changes much. */
static const char *make_adapter(const char *model, int rank)
{
    static char folder[4096];
    struct model_config config;
    struct lora_adapter adapter;
    struct err err;
    const struct lora_settings settings = {.rank = rank, .alpha = 8, .task = ADAPTER_CONTINUES};
    cuda_good(model_config_read(&config, model, &err), &err);
    cuda_good(lora_adapter_create(&adapter, &config, &settings, 7, &err), &err);
    fill_normal(adapter.parameters, (size_t)adapter.n_parameters, 3, 0.15f);
    snprintf(folder, sizeof folder, "%s/adapter", temporary_folder());
    cuda_good(lora_adapter_save(&adapter, folder, &err), &err);
    lora_adapter_free(&adapter);
    return folder;
}

START_TEST(embeddings_are_near_the_cpus)
{
    enum { N = 12 };
    const char *model = shared_data("models/tinystories-656k");
    struct device cpu;
    struct err err;
    size_t width;
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    cuda_good(device_open(&cpu, "cpu", 1, &err), &err);
    const char *adapter = make_adapter(model, 8);
    float *plain = embed(&width, &cpu, model, NULL, 0, N, 512);
    float *want = embed(&width, &cpu, model, adapter, 0, N, 512);
    float *plain_gpu = embed(&width, &cuda_test, model, NULL, 0, N, 512);
    float *got = embed(&width, &cuda_test, model, adapter, 0, N, 512);
    double measure = relative_distance(plain_gpu, plain, N * width),
           error = relative_distance(got, want, N * width);
    double effect = relative_distance(plain, want, N * width);
    ck_assert_msg(error <= 2 * measure, "%g; without an adapter %g", error, measure);
    ck_assert_msg(effect > 0.2, "the adapter changes %g", effect);
    free(plain), free(want), free(plain_gpu), free(got);
    device_close(&cpu);
    device_close(&cuda_test);
}
END_TEST

START_TEST(a_text_has_the_same_bytes_in_any_batch)
{
    enum { N = 12 };
    const char *model = shared_data("models/tinystories-656k");
    size_t width;
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    const char *adapter = make_adapter(model, 20);
    float *all = embed(&width, &cuda_test, model, adapter, 0, N, 0);
    float *few = embed(&width, &cuda_test, model, adapter, 0, N, 512);
    ck_assert_mem_eq(all, few, N * width * sizeof *all);
    for (size_t row = 0; row < N; row += 5) {
        float *alone = embed(&width, &cuda_test, model, adapter, row, 1, 512);
        ck_assert_mem_eq(all + row * width, alone, width * sizeof *alone);
        free(alone);
    }
    free(all), free(few);
    device_close(&cuda_test);
}
END_TEST

/* ---- when memory ends ----------------------------------------------------------------------- */

struct paths {
    const char *model, *adapter;
};

static enum status embed_two(void *context, struct err *err)
{
    const struct paths *paths = context;
    float *vectors;
    size_t width;
    enum status status =
        embed_status(&vectors, &width, &cuda_test, paths->model, paths->adapter, 0, 2, 0, err);
    if (status == STATUS_OK)
        free(vectors);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    const char *model = shared_data("models/tinystories-656k");
    if (!model)
        SKIP("needs models/tinystories-656k of the shared data");
    if (!cuda_has_kernels())
        SKIP("needs nvcc");
    struct paths paths = {model, make_adapter(model, 8)};
    int n = 1, result;
    while ((result = cuda_test_with_failure(n, embed_two, &paths)) == CUDA_CLEAN_ERROR)
        n++;
    ck_assert_msg(result == 0, "allocation %d: exit code %d", n, result);
    ck_assert_msg(n > 9, "only %d allocations", n - 1);
}
END_TEST

int main(void)
{
    json_use_memory();
    Suite *suite = suite_create("cuda_adapter");
    TCase *tests = tcase_create("cuda_adapter");
    tcase_set_timeout(tests, 300); /* under all checks, on a busy machine */
    tcase_add_loop_test(tests, adapter_computes_what_peft_computes, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, layers_that_are_not_loaded_take_nothing, 0, 2);
    tcase_add_loop_test(tests, embeddings_are_near_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, a_text_has_the_same_bytes_in_any_batch, 0, 3);
    tcase_add_test(tests, every_allocation_may_fail);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
