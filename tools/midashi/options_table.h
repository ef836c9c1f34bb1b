/* The table of all options, and what a command's list of them means: what parsing and the help
 * pages share. */
#ifndef MIDASHI_TOOLS_OPTIONS_TABLE_H
#define MIDASHI_TOOLS_OPTIONS_TABLE_H

#include <stddef.h>
#include "tools/midashi/options.h"

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_FILES,   /* const char ** with its count behind: one word, and more that end in .npy */
    OPTION_INT,     /* int, low .. high */
    OPTION_COUNT,   /* int, low .. high, or COUNT_AUTO for the word "auto" */
    OPTION_SEED,    /* uint64_t, 0 .. 2^63 - 1 */
    OPTION_DECIMAL, /* double, 0 .. 1e9 */
};

struct option {
    const char *name, *value; /* value: how the help calls it; NULL for a flag */
    enum option_kind kind;
    size_t offset; /* of struct options' member */
    int low, high;
    const char *help;
};

/* NULL: there is none. */
const struct option *option_find(const char *name, size_t length);

/* Calls visit for each option of the command, groups expanded, until it returns true. heading: what
 * stands above the option on the help page, or NULL. */
bool option_each(const struct command *command,
                 bool (*visit)(void *context, const struct option *option, const char *heading),
                 void *context);

/* What the option's value may be for the command, and what it says there. */
const char *option_value(const struct command *command, const struct option *option);
const char *option_help(const struct command *command, const struct option *option);

/* One of what only fine-tuning reads. */
bool option_is_training(const struct option *option);

#endif
