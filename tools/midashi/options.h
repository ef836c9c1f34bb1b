/* The command line: one table of options, one struct that they fill. */
#ifndef MIDASHI_TOOLS_OPTIONS_H
#define MIDASHI_TOOLS_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "host/base/status.h"
#include "host/kmeans.h"
#include "tools/midashi/numbers.h"

/* Every option of every command; a command reads those that it lists. Texts borrow argv. */
#define COUNT_AUTO (-1)

struct options {
    /* common */
    const char *device;
    int threads;
    uint64_t seed;
    bool quiet, json, force, help;
    const char *output;
    /* corpus */
    const char *text_column, *label_column;
    bool header, no_header;
    const char *format, *rows;
    /* model and representation */
    const char *model;         /* as given: a path or a name */
    char model_path[PATH_MAX]; /* where the model lies, also one that is an argument; or "" */
    const char *precision;     /* NULL: not given */
    const char *adapter;       /* a folder of PEFT's */
    const char *pool, *layer, *normalise, *prompt, *remove_components;
    int max_tokens, batch_tokens;
    const char *type; /* of embeddings: f32|f16 */
    bool as_report;
    /* topics */
    int topics; /* or COUNT_AUTO */
    int restarts, max_iterations, n_words;
    double tolerance;
    bool spherical;
    bool topics_given;
    const char *min_df, *language, *centres, *init;
    bool keep_single;
    const char **embeddings; /* files, in order */
    int n_embeddings;
    /* fine-tuning. What is not given: batch, accumulate and near 0, temperature and validation -1
     */
    const char *objective, *schedule, *memory, *group_column, *validation_file;
    int steps, batch, accumulate, rank, warm_up, evaluate_every, patience, checkpoint_every, near;
    double learning_rate, weight_decay, clip, dropout, alpha, temperature, validation;
    bool rslora, resume, plan, finetune;
    const char *probabilities;   /* classify */
    const char *training_option; /* one of those for fine-tuning that was given; or NULL */
    /* bench */
    const char *set, *shape, *against, *corpus;
    double seconds;
    int largest;
    bool full, csv, worker;
    /* tokenize */
    bool no_special, jsonl;

    /* What is no option, in order. */
    const char **arguments;
    int n_arguments;
};

struct command {
    const char *name;
    const char *usage;          /* behind the name: "CORPUS --model MODEL [options]" */
    const char *summary;        /* one line */
    const char *details;        /* a paragraph for --help, or "" */
    const char *const *options; /* names from the table, NULL at the end; groups expand: "@common";
                                   "#Words" is a heading of the help page */
    int least_arguments, most_arguments;
    bool first_is_model;                       /* the first argument is what --model is elsewhere */
    bool cpu_only;                             /* --device takes no GPU */
    void (*defaults)(struct options *options); /* its own, where they differ; or NULL */
    enum status (*run)(const struct options *options, struct err *err);
};

/* Parses what follows the command's name. arguments: room for 2 * argc pointers. STATUS_USAGE: an
 * option that the command lacks (one that is near is suggested), a value missing, not a number or
 * out of range, too few or too many arguments. Options and arguments mix; "--" ends the options;
 * "--name=value" and "--name value" mean the same. */
enum status options_parse(struct options *options, const struct command *command, int argc,
                          char **argv, const char **arguments, struct err *err);

/* The page of `midashi COMMAND --help`. */
void options_help(const struct command *command, FILE *stream);

/* k-means as --topics (k 0 for auto), --seed, --restarts, --max-iterations, --tolerance and
 * --spherical say. */
struct kmeans_settings options_kmeans(const struct options *options);

#endif
