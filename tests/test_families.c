/* Tiny random models of each family against transformers in float32, from safetensors and from a
 * GGUF, and configurations that do not belong to their weights. Made by
 * tests/golden/make_families.py. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/llama.h"
#include "loaders/npy.h"

/* w: the golden texts have 1, 2, w-1, w, w+1 and 3w tokens. */
static const struct family {
    const char *config, *weights, *states, *gguf; /* gguf NULL: it cannot say the same */
    int w;
} families[] = {
    {"llama", "llama", "llama.npy", "llama.gguf", 24},
    {"mistral", "mistral", "mistral.npy", "mistral.gguf", 48},
    {"mistral_llama3", "mistral", "mistral_llama3.npy", NULL, 48},
    {"mistral_full", "mistral", "mistral_full.npy", NULL, 48},
    {"qwen2", "qwen2", "qwen2.npy", "qwen2.gguf", 16},
    {"qwen2_window", "qwen2", "qwen2_window.npy", NULL, 16},
    {"qwen3", "qwen3", "qwen3.npy", "qwen3.gguf", 16},
    {"qwen3_layers", "qwen3", "qwen3_layers.npy", NULL, 16},
};

#define N_TEXTS 6

struct texts {
    int32_t tokens[512], cu_seqlens[N_TEXTS + 1];
};

static struct texts golden_texts(int w)
{
    const int lengths[N_TEXTS] = {1, 2, w - 1, w, w + 1, 3 * w};
    struct texts texts = {.cu_seqlens = {0}};
    for (int t = 0; t < N_TEXTS; t++) {
        int begin = texts.cu_seqlens[t], n = lengths[t];
        for (int i = 0; i < n; i++)
            texts.tokens[begin + i] = (7 * i * i + 13 * i + 31 * n + 5) % 256;
        texts.cu_seqlens[t + 1] = begin + n;
    }
    return texts;
}

static const char *path_of(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "families/%s", name);
    return golden(path);
}

/* ---- running a model ------------------------------------------------------------------------ */

struct model {
    struct weights *weights;
    struct llama llama;
};

static enum status load(struct model *model, struct device *device, const char *config_path,
                        const char *weights_path, int max_tokens, struct err *err)
{
    struct model_config config;
    *model = (struct model){0};
    TRY(model_config_read(&config, config_path, err));
    TRY(weights_open(&model->weights, weights_path, &config, err));
    return llama_load(&model->llama, device, model->weights, &config, PRECISION_F32,
                      config.n_layers, max_tokens, 512, NULL, NULL, err);
}

static void unload(struct model *model)
{
    llama_free(&model->llama);
    weights_close(model->weights);
}

struct last_states {
    struct model *model;
    struct device *device;
    float *states;
};

static enum status keep_last(void *context, int layer, const void *hidden, int n_tokens,
                             struct err *err)
{
    struct last_states *last = context;
    const struct llama *llama = &last->model->llama;
    if (layer < llama->config.n_layers)
        return STATUS_OK;
    return llama_final_norm(llama, last->device, last->states, hidden, n_tokens, err);
}

/* The last hidden states (T, D); the caller frees. */
static float *run(struct model *model, struct device *device, const int32_t *tokens,
                  const int32_t *cu_seqlens, int n_texts)
{
    size_t size = (size_t)cu_seqlens[n_texts] * (size_t)model->llama.config.hidden_size;
    struct last_states last = {model, device, malloc(size * sizeof(float))};
    int32_t *positions = malloc((size_t)cu_seqlens[n_texts] * sizeof *positions);
    struct llama_batch batch = {tokens, positions, cu_seqlens, n_texts, cu_seqlens[n_texts]};
    struct err err;
    for (int text = 0; text < n_texts; text++)
        for (int i = cu_seqlens[text]; i < cu_seqlens[text + 1]; i++)
            positions[i] = i - cu_seqlens[text];
    ck_assert_int_eq(llama_forward(&model->llama, device, &batch, model->llama.config.n_layers,
                                   keep_last, &last, &err),
                     STATUS_OK);
    free(positions);
    return last.states;
}

/* ---- against transformers ------------------------------------------------------------------- */

static void check_states(const float *got, const struct family *family, const char *what)
{
    struct npy npy;
    struct err err;
    ck_assert_msg(npy_open(&npy, path_of(family->states), &err) == STATUS_OK, "%s", err.text);
    const float *want = npy.data;
    size_t d = (size_t)npy.columns;
    for (size_t row = 0; row < (size_t)npy.rows; row++) {
        double error = relative_distance(got + row * d, want + row * d, d);
        if (!(error <= 1e-4))
            ck_abort_msg("%s, %s: row %zu: relative error %g", family->config, what, row, error);
    }
    npy_close(&npy);
}

static void check_alone(struct model *model, struct device *device, const struct texts *texts,
                        const float *together, const char *what)
{
    size_t d = (size_t)model->llama.config.hidden_size;
    for (int t = 0; t < N_TEXTS; t++) {
        int begin = texts->cu_seqlens[t];
        const int32_t alone[2] = {0, texts->cu_seqlens[t + 1] - begin};
        float *states = run(model, device, texts->tokens + begin, alone, 1);
        ck_assert_msg(memcmp(states, together + (size_t)begin * d,
                             (size_t)alone[1] * d * sizeof *states) == 0,
                      "%s: text %d alone", what, t);
        free(states);
    }
}

START_TEST(family_matches_transformers)
{
    const struct family *family = &families[_i];
    const struct texts texts = golden_texts(family->w);
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct model model;
        struct err err = {0};
        ck_assert_msg(load(&model, &device, path_of(family->config), path_of(family->weights),
                           3 * family->w, &err) == STATUS_OK,
                      "%s", err.text);
        float *states = run(&model, &device, texts.tokens, texts.cu_seqlens, N_TEXTS);
        check_states(states, family, test_device_name(&device));
        check_alone(&model, &device, &texts, states, test_device_name(&device));
        unload(&model);
        if (family->gguf) {
            const char *path = path_of(family->gguf);
            ck_assert_msg(load(&model, &device, path, path, 3 * family->w, &err) == STATUS_OK, "%s",
                          err.text);
            float *twin = run(&model, &device, texts.tokens, texts.cu_seqlens, N_TEXTS);
            ck_assert_mem_eq(twin, states,
                             (size_t)texts.cu_seqlens[N_TEXTS] *
                                 (size_t)model.llama.config.hidden_size * sizeof *states);
            free(twin);
            unload(&model);
        }
        free(states);
        device_close(&device);
    }
}
END_TEST

/* ---- configurations of other models --------------------------------------------------------- */

#define SIZES                                                                                      \
    "\"hidden_size\":32,\"intermediate_size\":40,\"num_attention_heads\":4,"                       \
    "\"num_key_value_heads\":2,\"vocab_size\":256"
#define CLASS(name) "\"architectures\":[\"" name "\"],"

static const struct {
    const char *weights, *json, *part;
} contradictions[] = {
    {"qwen2", CLASS("LlamaModel") SIZES ",\"num_hidden_layers\":3",
     "tensor model.layers.0.self_attn.q_proj.bias: the model that the configuration describes has "
     "none; use the configuration that belongs to the weights"},
    {"qwen2", CLASS("Qwen2Model") SIZES ",\"num_hidden_layers\":2",
     "tensor model.layers.2.input_layernorm.weight: the model that the configuration describes"},
    {"qwen2", CLASS("Qwen2Model") SIZES ",\"num_hidden_layers\":4",
     "tensor model.layers.3.input_layernorm.weight: missing"},
    {"qwen2", CLASS("Qwen2Model") SIZES ",\"num_hidden_layers\":3,\"head_dim\":16",
     "tensor model.layers.0.self_attn.q_proj.weight: its shape is 32 x 32 (2 dimensions), not 64"},
    {"qwen3", CLASS("MistralModel") SIZES ",\"num_hidden_layers\":3,\"head_dim\":16",
     "tensor layers.0.self_attn.q_norm.weight: the model that the configuration describes has"},
    {"qwen3", CLASS("Qwen2Model") SIZES ",\"num_hidden_layers\":3,\"head_dim\":16",
     "tensor model.layers.0.self_attn.q_proj.bias: missing"},
    {"mistral", CLASS("Qwen3Model") SIZES ",\"num_hidden_layers\":2,\"head_dim\":16",
     "tensor model.layers.0.self_attn.q_norm.weight: missing"},
    {"mistral",
     CLASS("LlamaModel") SIZES ",\"num_hidden_layers\":2,\"head_dim\":16,\"mlp_bias\":true",
     "tensor model.layers.0.mlp.gate_proj.bias: missing"},
    {"llama", CLASS("LlamaModel") SIZES ",\"num_hidden_layers\":2,\"attention_bias\":true",
     "tensor model.layers.0.mlp.gate_proj.bias: the model that the configuration describes"},
    {"llama", CLASS("Qwen2Model") SIZES ",\"num_hidden_layers\":2",
     "tensor model.layers.0.self_attn.o_proj.bias: the model that the configuration describes"},
};

START_TEST(family_refuses_the_configuration_of_another_model)
{
    char json[1024];
    snprintf(json, sizeof json, "{%s}", contradictions[_i].json);
    const char *config = write_file(temporary_folder(), "config.json", json, strlen(json));
    struct device device;
    struct model model;
    struct err err;
    test_device(0, &device);
    enum status status =
        load(&model, &device, config, path_of(contradictions[_i].weights), 64, &err);
    check_error(status, &err, STATUS_BAD_DATA, contradictions[_i].part, json);
    check_error(status, &err, STATUS_BAD_DATA, "model.safetensors: tensor", json);
    unload(&model);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("families");
    TCase *tests = tcase_create("families");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, family_matches_transformers, 0, sizeof families / sizeof *families);
    tcase_add_loop_test(tests, family_refuses_the_configuration_of_another_model, 0,
                        sizeof contradictions / sizeof *contradictions);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
