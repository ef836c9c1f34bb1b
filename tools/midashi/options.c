/* See options.h. The table of options_table.c is the single source for parsing and for the help
 * pages. */
#include "tools/midashi/options.h"

#include <limits.h>
#include <string.h>
#include "loaders/model_find.h"
#include "tools/midashi/options_table.h"
#include "tools/midashi/suggest.h"

static bool is_option(void *context, const struct option *option, const char *heading)
{
    (void)heading;
    return option == context;
}

/* ---- suggestions ---------------------------------------------------------------------------- */

struct nearest {
    const char *wanted, *name;
    int distance;
};

static bool keep_nearest(void *context, const struct option *option, const char *heading)
{
    (void)heading;
    struct nearest *nearest = context;
    int distance = suggest_distance(nearest->wanted, option->name);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->name = option->name;
    }
    return false;
}

static enum status unknown_option(const struct command *command, const char *argument,
                                  struct err *err)
{
    struct nearest nearest = {.wanted = argument, .distance = INT_MAX};
    const char *ours = suggest_option(argument);
    const struct option *same = ours ? option_find(ours, strlen(ours)) : NULL;
    option_each(command, keep_nearest, &nearest);
    if (same && option_each(command, is_option, (void *)same))
        nearest.name = same->name;
    if (nearest.name)
        return err_set(err, STATUS_USAGE, "midashi %s has no option %s; did you mean %s?",
                       command->name, argument, nearest.name);
    return err_set(err, STATUS_USAGE, "midashi %s has no option %s; see midashi %s --help",
                   command->name, argument, command->name);
}

/* ---- values --------------------------------------------------------------------------------- */

static enum status set_value(struct options *options, const struct option *option,
                             const char *value, struct err *err)
{
    void *member = (char *)options + option->offset;
    int64_t whole;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return STATUS_OK;
    case OPTION_TEXT:
        *(const char **)member = value;
        return STATUS_OK;
    case OPTION_FILES:
        options->embeddings[options->n_embeddings++] = value;
        return STATUS_OK;
    case OPTION_COUNT:
        if (strcmp(value, "auto") == 0) {
            *(int *)member = COUNT_AUTO;
            return STATUS_OK;
        }
        if (!parse_whole(value, option->low, option->high, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from %d to %d, or auto",
                           option->name, value, option->low, option->high);
        *(int *)member = (int)whole;
        return STATUS_OK;
    case OPTION_INT:
        if (!parse_whole(value, option->low, option->high, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from %d to %d",
                           option->name, value, option->low, option->high);
        *(int *)member = (int)whole;
        return STATUS_OK;
    case OPTION_SEED:
        if (!parse_whole(value, 0, INT64_MAX, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from 0 to %lld",
                           option->name, value, (long long)INT64_MAX);
        *(uint64_t *)member = (uint64_t)whole;
        return STATUS_OK;
    case OPTION_DECIMAL:
        if (!parse_decimal(value, 0, 1e9, member))
            return err_set(err, STATUS_USAGE, "%s %s: give a number from 0 to 1e9", option->name,
                           value);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static void set_defaults(struct options *options)
{
    *options = (struct options){
        .device = "auto",
        .type = "f32",
        .restarts = 1,
        .max_iterations = 300,
        .tolerance = 1e-4,
        .n_words = 20,
        .objective = "auto",
        .schedule = "linear",
        .memory = "auto",
        .steps = 500,
        .rank = 32,
        .evaluate_every = 100,
        .checkpoint_every = 100,
        .learning_rate = 5e-5,
        .clip = 1,
        .dropout = 0.1,
        .alpha = 32,
        .temperature = -1,
        .validation = -1,
        .min_df = "auto",
        .set = "smollm2",
        .seconds = 0.5,
        .largest = 30000,
    };
}

struct kmeans_settings options_kmeans(const struct options *options)
{
    return (struct kmeans_settings){
        .k = options->topics == COUNT_AUTO ? 0 : options->topics,
        .seed = options->seed,
        .restarts = options->restarts,
        .max_iterations = options->max_iterations,
        .tolerance = options->tolerance,
        .spherical = options->spherical,
    };
}

static bool is_npy(const char *word)
{
    size_t length = strlen(word);
    return word[0] != '-' && length > 4 && strcmp(word + length - 4, ".npy") == 0;
}

static enum status check_counts(const struct options *options, const struct command *command,
                                struct err *err)
{
    if (options->n_arguments < command->least_arguments)
        return err_set(err, STATUS_USAGE, "too few arguments; usage: midashi %s %s", command->name,
                       command->usage);
    if (options->n_arguments > command->most_arguments)
        return err_set(err, STATUS_USAGE, "one argument too many, %s; usage: midashi %s %s",
                       options->arguments[command->most_arguments], command->name, command->usage);
    if (options->header && options->no_header)
        return err_set(err, STATUS_USAGE, "--header and --no-header contradict each other");
    return STATUS_OK;
}

/* value: NULL where the command line ends. A value that is empty, or an option's name that does not
 * stand behind a '=', means that the value was forgotten. */
static enum status check_value(const struct command *command, const struct option *option,
                               const char *value, bool behind_equals, struct err *err)
{
    if (!value || !*value)
        return err_set(err, STATUS_USAGE, "%s needs a value: %s", option->name,
                       option_value(command, option));
    if (!behind_equals && option_find(value, strcspn(value, "=")))
        return err_set(err, STATUS_USAGE, "%s needs a value, %s, before %s", option->name,
                       option_value(command, option), value);
    return STATUS_OK;
}

/* Once for all commands. */
static enum status find_model(struct options *options, const struct command *command,
                              struct err *err)
{
    const char *name = command->first_is_model ? options->arguments[0] : options->model, *path;
    struct arena arena = {0};
    if (!name)
        return STATUS_OK;
    enum status status = model_find(&arena, name, &path, err);
    if (status == STATUS_OK && strlen(path) >= sizeof options->model_path)
        status = err_set(err, STATUS_MISSING, "%s: the path is too long", name);
    if (status == STATUS_OK)
        strcpy(options->model_path, path);
    arena_free(&arena);
    return status;
}

enum status options_parse(struct options *options, const struct command *command, int argc,
                          char **argv, const char **arguments, struct err *err)
{
    set_defaults(options);
    if (command->defaults)
        command->defaults(options);
    options->arguments = arguments;
    options->embeddings = arguments + argc;
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (word[0] == '\0') /* "$UNSET", mostly */
            return err_set(err, STATUS_USAGE, "an argument is empty; usage: midashi %s %s",
                           command->name, command->usage);
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            arguments[options->n_arguments++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_arguments = true;
            continue;
        }
        if (strcmp(word, "-h") == 0)
            word = "--help";
        if (strcmp(word, "-o") == 0)
            word = "--output";
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct option *option = option_find(word, length);
        if (!option || !option_each(command, is_option, (void *)option))
            return unknown_option(command, word, err);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == OPTION_FLAG && value)
            return err_set(err, STATUS_USAGE, "%s takes no value", option->name);
        if (option->kind != OPTION_FLAG && !value && i + 1 < argc)
            value = argv[++i];
        if (option->kind != OPTION_FLAG)
            TRY(check_value(command, option, value, equals, err));
        TRY(set_value(options, option, value, err));
        if (option_is_training(option))
            options->training_option = option->name;
        for (; option->kind == OPTION_FILES && i + 1 < argc && is_npy(argv[i + 1]); i++)
            TRY(set_value(options, option, argv[i + 1], err));
    }
    options->topics_given = options->topics != 0;
    if (!options->topics_given)
        options->topics = 20;
    if (options->help)
        return STATUS_OK;
    TRY(check_counts(options, command, err));
    return find_model(options, command, err);
}

/* ---- help ----------------------------------------------------------------------------------- */

#define HELP_COLUMN 4
#define HELP_WIDTH  79 /* the least terminal */

/* Prints words of text, broken at HELP_WIDTH; an empty line begins a paragraph. */
static void print_wrapped(FILE *stream, const char *text, int indent)
{
    int column = 0;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (column == 0 || column + 1 + length > HELP_WIDTH) {
            fprintf(stream, "%s%*s", column ? "\n" : "", indent, "");
            column = indent;
        } else {
            fputc(' ', stream);
            column++;
        }
        fwrite(text, 1, (size_t)length, stream);
        column += length;
        text += length;
        if (strncmp(text, "\n\n", 2) == 0) {
            fputs("\n\n", stream);
            column = 0;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', stream);
}

struct help {
    const struct command *command;
    FILE *stream;
    const char *heading; /* of the option before */
};

static bool print_option(void *context, const struct option *option, const char *heading)
{
    struct help *help = context;
    const char *value = option_value(help->command, option);
    if (heading && (!help->heading || strcmp(heading, help->heading) != 0))
        fprintf(help->stream, "\n%s:\n", heading);
    help->heading = heading;
    fprintf(help->stream, "  %s%s%s\n", option->name, value ? " " : "", value ? value : "");
    print_wrapped(help->stream, option_help(help->command, option), 2 * HELP_COLUMN);
    return false;
}

void options_help(const struct command *command, FILE *stream)
{
    fprintf(stream, "midashi %s %s\n\n", command->name, command->usage);
    print_wrapped(stream, command->summary, 0);
    if (*command->details)
        print_wrapped(stream, command->details, 0);
    fprintf(stream, "\nOptions (defaults in brackets):\n");
    option_each(command, print_option, &(struct help){command, stream, NULL});
}
