/* midashi: finds the command, runs it, and turns its failure into one line and an exit code. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "loaders/json.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/suggest.h"

static const struct command *const commands[] = {
    &command_topics,  &command_train,    &command_classify, &command_embed,
    &command_cluster, &command_tokenize, &command_quantize, &command_merge,
    &command_info,    &command_bench,    &command_devices,
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_usage(FILE *stream)
{
    fputs("midashi: what is a pile of texts about?\n\n"
          "  midashi topics CORPUS --model MODEL     corpus in, named topics out\n\n"
          "Commands:\n",
          stream);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`midashi COMMAND --help` lists a command's options; `midashi --version` tells\n"
          "which one this is. CORPUS is a .csv, .tsv, .jsonl or .txt, a folder of .txt,\n"
          "each also .gz, or - for standard input. MODEL is a folder with config.json,\n"
          "weights in safetensors and a tokenizer, or a .gguf; or ORG/NAME, in models/ or\n"
          "in the Hugging Face cache.\n\n"
          "Exit codes: 0 done, 1 failed, 2 wrong usage, 65 bad data, 66 a file is missing,\n"
          "71 the device, memory or disk, 130 interrupted.\n",
          stream);
}

/* Standard output may be a full disk, or closed: what was printed must have arrived. */
static enum status finish_output(struct err *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(err, STATUS_RESOURCE, "standard output: cannot write; is the disk full?");
    return STATUS_OK;
}

static enum status run_command(const struct command *command, int argc, char **argv,
                               struct err *err)
{
    const char **arguments = mem_alloc(2 * (size_t)argc, sizeof *arguments);
    if (!arguments)
        return err_no_memory(err, "the arguments", 2 * (size_t)argc * sizeof *arguments);
    struct options options;
    enum status status = options_parse(&options, command, argc, argv, arguments, err);
    if (status == STATUS_OK && options.help)
        options_help(command, stdout);
    else if (status == STATUS_OK)
        status = command->run(&options, err);
    if (status == STATUS_OK)
        status = finish_output(err);
    mem_free(arguments);
    return status;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static enum status unknown_command(const char *name, struct err *err)
{
    const char *nearest = NULL;
    int nearest_distance = INT_MAX;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        int distance = suggest_distance(name + strspn(name, "-"), commands[i]->name);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = commands[i]->name;
        }
    }
    if (nearest)
        return err_set(err, STATUS_USAGE, "there is no command %s; did you mean %s?", name,
                       nearest);
    return err_set(err, STATUS_USAGE, "there is no command %s; see midashi --help", name);
}

static enum status run(int argc, char **argv, struct err *err)
{
    const char *word = argv[1];
    bool help = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
    if (help && argc == 2) {
        print_usage(stdout);
        return finish_output(err);
    }
    if (strcmp(word, "--version") == 0) {
        puts("midashi " MIDASHI_VERSION);
        return finish_output(err);
    }
    const char *name = help ? argv[2] : word;
    const struct command *command = find_command(name);
    if (!command)
        return unknown_command(name, err);
    if (help) { /* `midashi help topics` */
        options_help(command, stdout);
        return finish_output(err);
    }
    return run_command(command, argc - 2, argv + 2, err);
}

int main(int argc, char **argv)
{
    interrupt_install();
    json_use_memory();
    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    struct err err = {0};
    enum status status = run(argc, argv, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "midashi: %s\n", err.text);
    return status;
}
