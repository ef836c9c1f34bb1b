/* See adapter_rules.h. The expressions are those that PEFT puts round the file's patterns. */
#include "loaders/adapter_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "loaders/adapter_config.h"
#include "loaders/pattern_memory.h"

#define PATTERNS_LARGEST 10000
/* Module names are short: what needs more than this is made to hang. */
#define MATCH_ATTEMPTS 100000
#define CAPTURES       64

struct pattern {
    pcre2_code *code; /* owned */
    const char *text; /* as in the file, for messages */
    double value;     /* of rank_pattern and alpha_pattern */
};
struct patterns {
    struct pattern *items; /* in the arena */
    int count;
};

/* A choice of modules: by an expression over the whole name, or by names and ends of names. */
struct choice {
    struct patterns pattern; /* one, or none */
    const json_t *names;     /* else an array of strings, or NULL */
};

struct adapter_rules {
    const char *path;
    struct choice target, exclude;
    bool all_linear;         /* every linear layer but lm_head */
    const json_t *layers;    /* layers_to_transform: a number or an array of them; NULL: all */
    struct patterns indices; /* what finds a layer's number in a name */
    struct patterns ranks, alphas;
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

/* ---- patterns ------------------------------------------------------------------------------- */

static enum status no_memory(const struct json_members *file)
{
    return err_no_memory(file->err, file->path, 0);
}

/* BEFORE text BEHIND. */
static enum status compile(struct adapter_rules *rules, const struct json_members *file,
                           const char *key, const char *before, const char *text,
                           const char *behind, uint32_t options, struct pattern *out)
{
    size_t size = strlen(before) + strlen(text) + strlen(behind) + 1;
    char *whole = mem_alloc(size, 1);
    if (!whole)
        return no_memory(file);
    snprintf(whole, size, "%s%s%s", before, text, behind);
    pcre2_compile_context *context = pcre2_compile_context_create(rules->memory);
    int code = PCRE2_ERROR_HEAP_FAILED;
    PCRE2_SIZE offset;
    options |= PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C;
    out->text = text;
    if (context)
        out->code = pcre2_compile((PCRE2_SPTR)whole, size - 1, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    mem_free(whole);
    if (out->code)
        return STATUS_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return no_memory(file);
    char message[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
    return err_set(file->err, STATUS_BAD_DATA, "%s: %s: %.80s is no regular expression: %s",
                   file->path, key, text, message);
}

/* Does the module's name fit? Where index is not NULL, it gets the number that the group `idx`
 * caught. */
static enum status fits(const struct adapter_rules *rules, const struct pattern *pattern,
                        const char *module, bool *found, int *index, struct err *err)
{
    int n = pcre2_match(pattern->code, (PCRE2_SPTR)module, strlen(module), 0, 0, rules->match,
                        rules->limits);
    *found = n >= 0;
    if (n == PCRE2_ERROR_NOMEMORY || n == PCRE2_ERROR_HEAPLIMIT)
        return err_no_memory(err, "a pattern", 0);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
        char message[128] = "";
        pcre2_get_error_message(n, (PCRE2_UCHAR *)message, sizeof message);
        return err_set(err, STATUS_BAD_DATA,
                       "%s: the pattern %.80s: PCRE2 gives up: %s; write it in a simpler way",
                       rules->path, pattern->text, message);
    }
    if (!*found || !index)
        return STATUS_OK;
    PCRE2_UCHAR digits[16];
    PCRE2_SIZE size = sizeof digits;
    if (pcre2_substring_copy_byname(rules->match, (PCRE2_SPTR) "idx", digits, &size) == 0)
        *index = atoi((const char *)digits);
    return STATUS_OK;
}

static enum status reserve(struct patterns *patterns, const struct json_members *file,
                           struct arena *arena, const char *key, size_t count)
{
    if (count > PATTERNS_LARGEST)
        return err_set(file->err, STATUS_BAD_DATA, "%s: %s: more than %d patterns", file->path, key,
                       PATTERNS_LARGEST);
    patterns->items = arena_alloc(arena, count, sizeof *patterns->items);
    if (!patterns->items)
        return no_memory(file);
    memset(patterns->items, 0, count * sizeof *patterns->items);
    patterns->count = (int)count;
    return STATUS_OK;
}

/* rank_pattern, alpha_pattern: get_pattern_key's expression. */
static enum status open_values(struct adapter_rules *rules, const struct json_members *file,
                               struct arena *arena, struct patterns *patterns, const char *key)
{
    const json_t *object = json_member_find(file, key);
    if (object && !json_is_object(object))
        return json_member_wrong_type(file, key, "an object");
    TRY(reserve(patterns, file, arena, key, json_object_size(object)));
    int i = 0;
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)object, text, value)
    {
        if (!json_is_number(value))
            return err_set(file->err, STATUS_BAD_DATA, "%s: %s: the value of %.80s is no number",
                           file->path, key, text);
        patterns->items[i].value = json_number_value(value);
        TRY(compile(rules, file, key, "(.*\\.)?(", text, ")$", 0, &patterns->items[i++]));
    }
    return STATUS_OK;
}

/* ---- choices -------------------------------------------------------------------------------- */

static enum status open_choice(struct adapter_rules *rules, const struct json_members *file,
                               struct arena *arena, struct choice *choice, const char *key)
{
    const json_t *value = json_member_find(file, key);
    const char *text = json_string_value(value);
    if (!value || (text && !*text))
        return STATUS_OK;
    if (text) {
        TRY(reserve(&choice->pattern, file, arena, key, 1));
        return compile(rules, file, key, "(?:", text, ")", PCRE2_ENDANCHORED,
                       choice->pattern.items);
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return json_member_wrong_type(file, key, "a list of names, or a pattern");
    if (!json_is_array(value))
        return json_member_wrong_type(file, key, "a list of names, or a pattern");
    choice->names = value;
    return STATUS_OK;
}

/* *exact: the name stands there in full. */
static enum status choose(const struct adapter_rules *rules, const struct choice *choice,
                          const char *module, bool *chosen, bool *exact, struct err *err)
{
    *chosen = *exact = false;
    if (choice->pattern.count > 0) {
        *exact = true;
        return fits(rules, choice->pattern.items, module, chosen, NULL, err);
    }
    size_t length = strlen(module);
    for (size_t i = 0; i < json_array_size(choice->names); i++) {
        const char *name = json_string_value(json_array_get(choice->names, i));
        size_t n = strlen(name);
        if (strcmp(name, module) == 0)
            *exact = true;
        if (strcmp(name, module) == 0 ||
            (length > n && module[length - n - 1] == '.' && strcmp(module + length - n, name) == 0))
            *chosen = true;
    }
    return STATUS_OK;
}

/* ---- layers --------------------------------------------------------------------------------- */

static enum status open_layers(struct adapter_rules *rules, const struct json_members *file,
                               struct arena *arena)
{
    static const char key[] = "layers_pattern";
    const json_t *layers = json_member_find(file, "layers_to_transform");
    const json_t *value = json_member_find(file, key);
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (!json_is_integer(json_array_get(layers, i)))
            return json_member_wrong_type(file, "layers_to_transform", "a list of whole numbers");
    if (layers && !json_is_array(layers) && !json_is_integer(layers))
        return json_member_wrong_type(file, "layers_to_transform", "a list of whole numbers");
    if (layers && (rules->target.pattern.count > 0 || rules->all_linear))
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: layers_to_transform: not beside target_modules as one text; list the "
                       "modules",
                       file->path);
    rules->layers = json_is_array(layers) && json_array_size(layers) == 0 ? NULL : layers;
    const char *text = json_string_value(value);
    size_t n = json_array_size(value);
    if (value && !text && !json_is_array(value))
        return json_member_wrong_type(file, key, "a name, or a list of names");
    if (n == 0 && (!text || !*text)) {
        TRY(reserve(&rules->indices, file, arena, key, 1));
        return compile(rules, file, key, "", ".*?\\.[^.]*\\.(?<idx>\\d+)\\.", "", 0,
                       rules->indices.items);
    }
    TRY(reserve(&rules->indices, file, arena, key, text ? 1 : n));
    for (int i = 0; i < rules->indices.count; i++) {
        const char *name = text ? text : json_string_value(json_array_get(value, (size_t)i));
        if (!name)
            return json_member_wrong_type(file, key, "a name, or a list of names");
        TRY(compile(rules, file, key, "(?:^|.*?\\.)", name, "\\.(?<idx>\\d+)\\.", 0,
                    &rules->indices.items[i]));
    }
    return STATUS_OK;
}

static enum status check_layer(const struct adapter_rules *rules, const char *module, bool *within,
                               struct err *err)
{
    bool found = false;
    int index = -1;
    *within = !rules->layers;
    for (int i = 0; rules->layers && i < rules->indices.count && !found; i++)
        TRY(fits(rules, &rules->indices.items[i], module, &found, &index, err));
    if (json_is_integer(rules->layers))
        *within = index >= 0 && json_integer_value(rules->layers) == index;
    for (size_t i = 0; i < json_array_size(rules->layers); i++)
        *within |= index >= 0 && json_integer_value(json_array_get(rules->layers, i)) == index;
    return STATUS_OK;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* These have tensors of their own kind, or are tied to them; the adapters that name them change
 * what a token is read as. */
static enum status refuse_embeddings(const struct json_members *file, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
        if (strcmp(last, "lm_head") == 0 || strcmp(last, "embed_tokens") == 0)
            return err_set(file->err, STATUS_BAD_DATA,
                           "%s: target_modules: an adapter of %s is not supported, only of the "
                           "layers' matrices; merge it with PEFT (merge_and_unload) and use the "
                           "merged model",
                           file->path, last);
    }
    return STATUS_OK;
}

static enum status open_target(struct adapter_rules *rules, const struct json_members *file,
                               struct arena *arena)
{
    static const char key[] = "target_modules";
    const json_t *value = json_member_find(file, key);
    const char *text = json_string_value(value);
    if (!value || (text && !*text) || (json_is_array(value) && json_array_size(value) == 0))
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: %s: missing; list the modules that the adapter has tensors of",
                       file->path, key);
    rules->all_linear = text && strcasecmp(text, "all-linear") == 0;
    if (!rules->all_linear)
        TRY(open_choice(rules, file, arena, &rules->target, key));
    return refuse_embeddings(file, rules->target.names);
}

enum status adapter_rules_open(struct adapter_rules **out, const struct json_members *file,
                               struct arena *arena)
{
    struct adapter_rules *rules = *out = arena_alloc(arena, 1, sizeof *rules);
    if (!rules)
        return no_memory(file);
    *rules = (struct adapter_rules){.path = arena_text(arena, file->path, strlen(file->path)),
                                    .memory = pattern_memory()};
    if (rules->memory) {
        rules->limits = pcre2_match_context_create(rules->memory);
        rules->match = pcre2_match_data_create(CAPTURES, rules->memory);
    }
    if (!rules->path || !rules->limits || !rules->match)
        return no_memory(file);
    pcre2_set_match_limit(rules->limits, MATCH_ATTEMPTS);
    TRY(open_target(rules, file, arena));
    TRY(open_choice(rules, file, arena, &rules->exclude, "exclude_modules"));
    TRY(open_layers(rules, file, arena));
    TRY(open_values(rules, file, arena, &rules->ranks, "rank_pattern"));
    return open_values(rules, file, arena, &rules->alphas, "alpha_pattern");
}

static void free_patterns(const struct patterns *patterns)
{
    for (int i = 0; i < patterns->count; i++)
        pcre2_code_free(patterns->items[i].code);
}

void adapter_rules_close(struct adapter_rules *rules)
{
    if (!rules)
        return;
    free_patterns(&rules->target.pattern);
    free_patterns(&rules->exclude.pattern);
    free_patterns(&rules->indices);
    free_patterns(&rules->ranks);
    free_patterns(&rules->alphas);
    pcre2_match_data_free(rules->match);
    pcre2_match_context_free(rules->limits);
    pcre2_general_context_free(rules->memory);
}

const char *adapter_rules_path(const struct adapter_rules *rules)
{
    return rules->path;
}

enum status adapter_rules_target(const struct adapter_rules *rules, const char *module,
                                 bool *targeted, struct err *err)
{
    bool excluded, exact;
    TRY(choose(rules, &rules->exclude, module, &excluded, &exact, err));
    *targeted = !excluded && rules->all_linear;
    if (excluded || rules->all_linear)
        return STATUS_OK;
    TRY(choose(rules, &rules->target, module, targeted, &exact, err));
    if (*targeted && !exact) /* a name in full is not narrowed by layers_to_transform */
        return check_layer(rules, module, targeted, err);
    return STATUS_OK;
}

/* The first pattern that fits, or NULL. */
static enum status find_value(const struct adapter_rules *rules, const struct patterns *patterns,
                              const char *module, const struct pattern **out, struct err *err)
{
    bool found = false;
    *out = NULL;
    for (int i = 0; i < patterns->count && !found; i++) {
        TRY(fits(rules, &patterns->items[i], module, &found, NULL, err));
        if (found)
            *out = &patterns->items[i];
    }
    return STATUS_OK;
}

enum status adapter_rules_override(const struct adapter_rules *rules, const char *module, int *rank,
                                   double *alpha, struct err *err)
{
    const struct pattern *pattern;
    TRY(find_value(rules, &rules->ranks, module, &pattern, err));
    if (pattern && !(pattern->value >= 1 && pattern->value <= ADAPTER_RANK_LARGEST))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: rank_pattern: the rank %g of %.80s is not within 1 and %d; use another "
                       "adapter",
                       rules->path, pattern->value, pattern->text, ADAPTER_RANK_LARGEST);
    if (pattern && pattern->value != (int)pattern->value)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: rank_pattern: the rank %g of %.80s is no whole number", rules->path,
                       pattern->value, pattern->text);
    if (pattern)
        *rank = (int)pattern->value;
    TRY(find_value(rules, &rules->alphas, module, &pattern, err));
    if (pattern)
        *alpha = pattern->value;
    return STATUS_OK;
}
