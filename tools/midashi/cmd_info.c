/* midashi info: what a model is and what it needs. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "host/embedder.h"
#include "host/estimate.h"
#include "loaders/model_config.h"
#include "loaders/tokenizer.h"
#include "loaders/weights.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"

struct facts {
    const char *path;
    struct model_config config;
    struct estimate estimate;
    enum model_format format;
    int n_files;
    char types[128];       /* "F32, Q4_1": as the files call them, in the order of their first */
    const char *tokenizer; /* kind */
    int tokens;
};

/* "F16" is not in "BF16": names are held against names. */
static bool has_type(const char *types, const char *type)
{
    size_t length = strlen(type);
    for (const char *at = types; (at = strstr(at, type)); at += length)
        if ((at == types || at[-1] == ' ') && (at[length] == ',' || !at[length]))
            return true;
    return false;
}

static void add_type(struct facts *facts, const char *type)
{
    size_t length = strlen(facts->types);
    if (has_type(facts->types, type) || length + strlen(type) + 3 > sizeof facts->types)
        return;
    snprintf(facts->types + length, sizeof facts->types - length, "%s%s", length ? ", " : "", type);
}

static enum status gather(struct facts *facts, const char *path, struct err *err)
{
    struct weights *weights;
    struct tokenizer *tokenizer;
    *facts = (struct facts){.path = path};
    TRY(model_config_read(&facts->config, path, err));
    TRY(weights_open(&weights, path, &facts->config, err));
    estimate_memory(&facts->estimate, weights, &facts->config, EMBEDDER_BATCH_TOKENS,
                    embedder_max_tokens(&facts->config));
    for (int i = 0; i < weights_count(weights); i++)
        add_type(facts, weights_at(weights, i)->type_name);
    facts->format = weights_format(weights);
    facts->n_files = weights_file_count(weights);
    weights_close(weights);
    TRY(tokenizer_open(&tokenizer, path, err));
    facts->tokenizer = tokenizer_kind(tokenizer); /* a constant text */
    facts->tokens = tokenizer_vocab_size(tokenizer);
    tokenizer_close(tokenizer);
    return STATUS_OK;
}

static const char *format_name(enum model_format format)
{
    return format == MODEL_GGUF ? "GGUF" : "safetensors";
}

static void print_memory(const struct facts *facts, const char *where, const char *beside,
                         size_t (*need)(const struct estimate *, enum precision))
{
    printf("memory, %s   %.0f MB as nf4, %.0f MB as bf16, %.0f MB as f32 (estimated%s)\n", where,
           (double)need(&facts->estimate, PRECISION_NF4) / 1e6,
           (double)need(&facts->estimate, PRECISION_BF16) / 1e6,
           (double)need(&facts->estimate, PRECISION_F32) / 1e6, beside);
}

static void print_text(const struct facts *facts)
{
    const struct model_config *c = &facts->config;
    printf("%s\n", facts->path);
    printf("files         %s, %d file%s, values in %s\n", format_name(facts->format),
           facts->n_files, facts->n_files == 1 ? "" : "s", facts->types);
    printf("architecture  %s, %d layers, hidden size %d, MLP %d\n",
           architecture_name(c->architecture), c->n_layers, c->hidden_size, c->intermediate_size);
    printf("attention     %d heads of %d (%d for keys and values)\n", c->n_heads, c->head_dim,
           c->n_kv_heads);
    printf("parameters    %.1f million in %lld tensors%s\n",
           (double)facts->estimate.parameters / 1e6, (long long)facts->estimate.tensors,
           c->tied_embeddings ? ", embeddings tied" : "");
    printf("texts         up to %d tokens\n", c->max_positions);
    printf("tokenizer     %s, %d tokens\n", facts->tokenizer, facts->tokens);
    print_memory(facts, "CPU", "", estimate_cpu);
    print_memory(facts, "GPU", ", 500 MB of it for CUDA itself", estimate_gpu);
}

static json_t *memory_json(const struct facts *facts,
                           size_t (*need)(const struct estimate *, enum precision))
{
    const struct estimate *estimate = &facts->estimate;
    return json_pack("{s:I, s:I, s:I}", "nf4", (json_int_t)need(estimate, PRECISION_NF4), "bf16",
                     (json_int_t)need(estimate, PRECISION_BF16), "f32",
                     (json_int_t)need(estimate, PRECISION_F32));
}

static enum status print_facts(const struct facts *facts, struct err *err)
{
    const struct model_config *c = &facts->config;
    json_t *root = json_pack(
        "{s:s, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:I, s:I, "
        "s:{s:s, s:i}, s:{s:o, s:o}}",
        "path", facts->path, "format", format_name(facts->format), "files", facts->n_files, "types",
        facts->types, "architecture", architecture_name(c->architecture), "layers", c->n_layers,
        "hidden_size", c->hidden_size, "heads", c->n_heads, "kv_heads", c->n_kv_heads, "head_dim",
        c->head_dim, "intermediate_size", c->intermediate_size, "vocab_size", c->vocab_size,
        "max_tokens", c->max_positions, "tied_embeddings", c->tied_embeddings, "parameters",
        (json_int_t)facts->estimate.parameters, "tensors", (json_int_t)facts->estimate.tensors,
        "tokenizer", "kind", facts->tokenizer, "tokens", facts->tokens, "memory_estimate", "cpu",
        memory_json(facts, estimate_cpu), "gpu", memory_json(facts, estimate_gpu));
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct facts facts;
    TRY(gather(&facts, options->model_path, err));
    if (options->json)
        return print_facts(&facts, err);
    print_text(&facts);
    return STATUS_OK;
}

static const char *const option_names[] = {"--json", "--quiet", "--help", NULL};

const struct command command_info = {
    .name = "info",
    .usage = "MODEL [options]",
    .summary = "what a model is and what it needs",
    .details = "Memory is an estimate: the weights as each --precision keeps them, the activations "
               "of a batch of 1024 tokens (float32 on the CPU, bfloat16 on a GPU) and, on a GPU, "
               "500 MB for CUDA itself. Texts and their vectors come on top.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .first_is_model = true,
    .run = run,
};
