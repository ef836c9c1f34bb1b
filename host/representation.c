/* From words on the command line to a settled representation. See representation.h. */
#include "host/representation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/names.h"

static const char *const pool_names[] = {[POOLING_LAST] = "last",
                                         [POOLING_MEAN] = "mean",
                                         [POOLING_LAST_MEAN] = "last+mean",
                                         [POOLING_MEAN_ALL] = "mean-all"};
static const char *const normalise_names[] = {[NORMALISE_NONE] = "none",
                                              [NORMALISE_CENTRE] = "centre",
                                              [NORMALISE_CENTRE_L2] = "centre+l2",
                                              [NORMALISE_L2] = "l2"};

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

enum status normalise_parse(enum transform_normalise *normalise, const char *word, struct err *err)
{
    int found = find_name(normalise_names, N_NAMES(normalise_names), word);
    if (found < 0)
        return err_set(err, STATUS_USAGE, "--normalise %s: use auto, none, centre, l2 or centre+l2",
                       word);
    *normalise = (enum transform_normalise)found;
    return STATUS_OK;
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
    if (strcmp(word, "none") == 0)
        return "{text}";
    /* Springer et al. 2024 (arXiv:2402.15449): the second copy has seen the whole text. */
    if (strcmp(word, "echo") == 0)
        return "Rewrite the sentence: {text}, rewritten sentence: {text}";
    /* Jiang et al. 2023 (arXiv:2307.16645), PromptEOL. */
    if (strcmp(word, "one-word") == 0)
        return "This sentence: \"{text}\" means in one word: \"";
    return word;
}

/* What docs/quality.md found best: the model is asked for one word and the last token is read one
 * block before the end; without that prompt, the mean at a third of the depth, where the vectors
 * tell most without their two strongest components. */
static struct representation best_found(int n_layers, const char *prompt)
{
    if (is_auto(prompt) || strcmp(prompt, "one-word") == 0)
        return (struct representation){
            .pool = POOLING_LAST,
            .layer = n_layers > 1 ? n_layers - 1 : n_layers,
            .normalise = NORMALISE_CENTRE_L2,
            .prompt = resolve_prompt("one-word"),
        };
    return (struct representation){
        .pool = POOLING_MEAN,
        .layer = (n_layers + 2) / 3,
        .normalise = NORMALISE_CENTRE_L2,
        .remove_components = 2,
    };
}

/* What the autos of pool, layer, normalise, remove_components and prompt mean. */
static enum status resolve_autos(struct representation *out,
                                 const struct representation_request *request, int n_layers,
                                 struct err *err)
{
    const char *pool = request->pool;
    const struct sentence_pooling *declared = request->declared;
    *out = (struct representation){
        .layer = n_layers, .normalise = NORMALISE_NONE, .prompt = resolve_prompt("none")};
    if (!is_auto(pool)) {
        int found = find_name(pool_names, N_NAMES(pool_names), pool);
        if (found < 0)
            return err_set(err, STATUS_USAGE,
                           "--pool %s: use auto, last, mean, last+mean or mean-all", pool);
        out->pool = (enum pool)found;
        return STATUS_OK;
    }
    if (request->classifier) {
        out->pool = POOLING_LAST;
        return STATUS_OK;
    }
    if (request->embedder) {
        out->pool = POOLING_MEAN;
        out->normalise = NORMALISE_CENTRE_L2;
        return STATUS_OK;
    }
    if (!declared) {
        *out = best_found(n_layers, request->prompt);
        return STATUS_OK;
    }
    if (declared->mode == SENTENCE_OTHER)
        return err_set(err, STATUS_USAGE,
                       "--pool auto: the model asks for %s, which is not built; give --pool mean, "
                       "last, last+mean or mean-all",
                       declared->what);
    out->pool = declared->mode == SENTENCE_MEAN ? POOLING_MEAN_ALL : POOLING_LAST;
    out->normalise = declared->l2 ? NORMALISE_L2 : NORMALISE_NONE;
    return STATUS_OK;
}

enum status representation_resolve(struct representation *out,
                                   const struct representation_request *request, int n_layers,
                                   struct err *err)
{
    TRY(resolve_autos(out, request, n_layers, err));
    if (!is_auto(request->normalise))
        TRY(normalise_parse(&out->normalise, request->normalise, err));
    if (!is_auto(request->layer))
        TRY(resolve_layer(&out->layer, request->layer, n_layers, err));
    if (!is_auto(request->remove_components))
        TRY(remove_components_parse(&out->remove_components, request->remove_components, err));
    if (!is_auto(request->prompt))
        out->prompt = resolve_prompt(request->prompt);
    if (!strstr(out->prompt, "{text}"))
        return err_set(err, STATUS_USAGE,
                       "--prompt %s: use none, echo, one-word or a template that holds {text}",
                       out->prompt);
    return STATUS_OK;
}
