/* From words on the command line to a settled representation. See representation.h. */
#include "host/representation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const pool_names[] = {
    [POOLING_LAST] = "last", [POOLING_MEAN] = "mean", [POOLING_LAST_MEAN] = "last+mean"};
static const char *const normalise_names[] = {
    [NORMALISE_NONE] = "none", [NORMALISE_CENTRE] = "centre", [NORMALISE_CENTRE_L2] = "centre+l2"};

const char *pool_name(enum pool pool)
{
    return pool_names[pool];
}

const char *normalise_name(enum transform_normalise normalise)
{
    return normalise_names[normalise];
}

static bool is_auto(const char *word)
{
    return !word || strcmp(word, "auto") == 0;
}

/* The index of word in names, or -1. */
static int find_name(const char *const *names, int n, const char *word)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], word) == 0)
            return i;
    return -1;
}

enum status normalise_parse(enum transform_normalise *normalise, const char *word, struct err *err)
{
    int found = find_name(normalise_names, 3, word);
    if (found < 0)
        return err_set(err, STATUS_USAGE, "--normalise %s: use auto, none, centre or centre+l2",
                       word);
    *normalise = (enum transform_normalise)found;
    return STATUS_OK;
}

/* What docs/quality.md found: a third of the depth (layer 10 of SmolLM2-135M's 30), where without
 * their two strongest components the vectors tell most. */
#define AUTO_REMOVED 2

static int auto_layer(int n_layers)
{
    return (n_layers + 2) / 3;
}

static enum status resolve_layer(int *layer, const char *word, int n_layers, struct err *err)
{
    char *end;
    errno = 0;
    long n = strtol(word, &end, 10);
    if (end == word || *end || errno)
        return err_set(err, STATUS_USAGE, "--layer %s: not a whole number; use auto or %d .. %d",
                       word, -n_layers - 1, n_layers);
    if (n < -n_layers - 1 || n > n_layers)
        return err_set(err, STATUS_USAGE,
                       "--layer %s: this model has %d layers; use auto or %d .. %d (0 is the "
                       "embeddings, -1 the last layer)",
                       word, n_layers, -n_layers - 1, n_layers);
    *layer = (int)(n < 0 ? n_layers + 1 + n : n);
    return STATUS_OK;
}

enum status remove_components_parse(int *removed, const char *word, struct err *err)
{
    char *end;
    errno = 0;
    long n = strtol(word, &end, 10);
    if (*word < '0' || *word > '9' || *end || errno || n > TRANSFORM_MOST_REMOVED)
        return err_set(err, STATUS_USAGE, "--remove-components %s: use auto or 0 .. %d", word,
                       TRANSFORM_MOST_REMOVED);
    *removed = (int)n;
    return STATUS_OK;
}

static const char *resolve_prompt(const char *word)
{
    if (is_auto(word) || strcmp(word, "none") == 0)
        return "{text}";
    /* Springer et al. 2024 (arXiv:2402.15449): the second copy has seen the whole text. */
    if (strcmp(word, "echo") == 0)
        return "Rewrite the sentence: {text}, rewritten sentence: {text}";
    /* Jiang et al. 2023 (arXiv:2307.16645), PromptEOL. */
    if (strcmp(word, "one-word") == 0)
        return "This sentence: \"{text}\" means in one word: \"";
    return word;
}

enum status representation_resolve(struct representation *out,
                                   const struct representation_request *request, int n_layers,
                                   struct err *err)
{
    bool pool_given = !is_auto(request->pool);
    int pool = POOLING_MEAN;
    if (pool_given && (pool = find_name(pool_names, 3, request->pool)) < 0)
        return err_set(err, STATUS_USAGE, "--pool %s: use auto, last, mean or last+mean",
                       request->pool);
    out->pool = (enum pool)pool;
    out->normalise = pool_given ? NORMALISE_NONE : NORMALISE_CENTRE_L2;
    if (!is_auto(request->normalise))
        TRY(normalise_parse(&out->normalise, request->normalise, err));
    out->layer = pool_given ? n_layers : auto_layer(n_layers);
    if (!is_auto(request->layer))
        TRY(resolve_layer(&out->layer, request->layer, n_layers, err));
    out->remove_components = pool_given ? 0 : AUTO_REMOVED;
    if (!is_auto(request->remove_components))
        TRY(remove_components_parse(&out->remove_components, request->remove_components, err));
    out->prompt = resolve_prompt(request->prompt);
    if (!strstr(out->prompt, "{text}"))
        return err_set(err, STATUS_USAGE,
                       "--prompt %s: use none, echo, one-word or a template that holds {text}",
                       out->prompt);
    return STATUS_OK;
}
