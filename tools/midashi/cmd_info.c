/* midashi info: what a model is and what it needs. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "host/linear.h"
#include "kernels/nf4.h"
#include "loaders/model_config.h"
#include "loaders/tokenizer.h"
#include "loaders/weights.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"

struct facts {
    struct model_config config;
    int64_t parameters, embedding_parameters, tensors;
    char types[128];       /* "F32, Q4_1": as the file calls them, most used first seen first */
    size_t bytes[3];       /* weights in memory by enum precision */
    const char *tokenizer; /* kind */
    int tokens;
};

static void add_type(struct facts *facts, const char *type)
{
    size_t length = strlen(facts->types);
    if (strstr(facts->types, type) || length + strlen(type) + 3 > sizeof facts->types)
        return;
    snprintf(facts->types + length, sizeof facts->types - length, "%s%s", length ? ", " : "", type);
}

/* Embeddings stay dense with nf4; 4.127 bits a weight are codes, absmax codes and nested absmax. */
static void count_tensors(struct facts *facts, const struct weights *weights)
{
    for (int i = 0; i < weights_count(weights); i++) {
        const struct weight *weight = weights_at(weights, i);
        int64_t n = weight->rows * weight->columns;
        facts->tensors++;
        facts->parameters += n;
        add_type(facts, weight->type_name);
        bool embedding = strcmp(weight->name, "model.embed_tokens.weight") == 0;
        bool vector = weight->rows == 1;
        if (strcmp(weight->name, "lm_head.weight") == 0 && !facts->config.tied_embeddings)
            continue; /* embedding texts needs no output head */
        facts->embedding_parameters += embedding ? n : 0;
        size_t size = (size_t)n, blocks = nf4_block_count(n);
        facts->bytes[PRECISION_F32] += 4 * size;
        facts->bytes[PRECISION_BF16] += (vector ? 4 : 2) * size;
        facts->bytes[PRECISION_NF4] += vector      ? 4 * size
                                       : embedding ? 2 * size
                                                   : (size + 1) / 2 + blocks + blocks / 64;
    }
}

static enum status gather(struct facts *facts, const char *path, struct err *err)
{
    struct weights *weights;
    struct tokenizer *tokenizer;
    *facts = (struct facts){0};
    TRY(model_config_read(&facts->config, path, err));
    TRY(weights_open(&weights, path, &facts->config, err));
    count_tensors(facts, weights);
    weights_close(weights);
    TRY(tokenizer_open(&tokenizer, path, err));
    facts->tokenizer = tokenizer_kind(tokenizer); /* a constant text */
    facts->tokens = tokenizer_vocab_size(tokenizer);
    tokenizer_close(tokenizer);
    return STATUS_OK;
}

static void print_text(const struct facts *facts, const char *path)
{
    const struct model_config *c = &facts->config;
    printf("%s\n", path);
    printf("architecture  %s, %d layers, hidden size %d, MLP %d\n",
           architecture_name(c->architecture), c->n_layers, c->hidden_size, c->intermediate_size);
    printf("attention     %d heads of %d (%d for keys and values)\n", c->n_heads, c->head_dim,
           c->n_kv_heads);
    printf("parameters    %.1f million in %lld tensors (%s)%s\n", (double)facts->parameters / 1e6,
           (long long)facts->tensors, facts->types, c->tied_embeddings ? ", embeddings tied" : "");
    printf("texts         up to %d tokens\n", c->max_positions);
    printf("tokenizer     %s, %d tokens\n", facts->tokenizer, facts->tokens);
    printf("memory        %.0f MB as nf4, %.0f MB as bf16, %.0f MB as f32\n",
           (double)facts->bytes[PRECISION_NF4] / 1e6, (double)facts->bytes[PRECISION_BF16] / 1e6,
           (double)facts->bytes[PRECISION_F32] / 1e6);
}

static enum status print_facts(const struct facts *facts, const char *path, struct err *err)
{
    const struct model_config *c = &facts->config;
    json_t *root = json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:I, s:I, s:s, s:{s:s, s:i}, "
        "s:{s:I, s:I, s:I}}",
        "model", path, "architecture", architecture_name(c->architecture), "layers", c->n_layers,
        "hidden_size", c->hidden_size, "heads", c->n_heads, "kv_heads", c->n_kv_heads, "head_dim",
        c->head_dim, "intermediate_size", c->intermediate_size, "vocab_size", c->vocab_size,
        "max_tokens", c->max_positions, "tied_embeddings", c->tied_embeddings, "parameters",
        (json_int_t)facts->parameters, "tensors", (json_int_t)facts->tensors, "types", facts->types,
        "tokenizer", "kind", facts->tokenizer, "tokens", facts->tokens, "memory_bytes", "nf4",
        (json_int_t)facts->bytes[PRECISION_NF4], "bf16", (json_int_t)facts->bytes[PRECISION_BF16],
        "f32", (json_int_t)facts->bytes[PRECISION_F32]);
    return print_json(root, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct facts facts;
    const char *path = options->model_path;
    TRY(gather(&facts, path, err));
    if (options->json)
        return print_facts(&facts, path, err);
    print_text(&facts, path);
    return STATUS_OK;
}

static const char *const option_names[] = {"--json", "--quiet", "--help", NULL};

const struct command command_info = {
    .name = "info",
    .usage = "MODEL [options]",
    .summary = "what a model is and what it needs",
    .details = "",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = 1,
    .run = run,
};
