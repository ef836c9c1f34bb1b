/* midashi: finds the command, runs it, and turns its failure into one line and an exit code. */
#include <stdio.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "loaders/json.h"
#include "tools/midashi/commands.h"

static const struct command *const commands[] = {
    &command_topics,   &command_embed, &command_cluster,
    &command_tokenize, &command_info,  &command_devices,
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
    fputs("\n`midashi COMMAND --help` lists a command's options; `midashi --version` the version.\n"
          "CORPUS is a .tsv, .csv or .txt, also .gz. MODEL is a folder with config.json,\n"
          "model.safetensors and a tokenizer, or a .gguf.\n",
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
    const char **arguments = mem_alloc((size_t)argc + 1, sizeof *arguments);
    if (!arguments)
        return err_no_memory(err, "the arguments", (size_t)argc * sizeof *arguments);
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

int main(int argc, char **argv)
{
    interrupt_install();
    json_use_memory();
    struct err err = {0};
    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return finish_output(&err);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("midashi " MIDASHI_VERSION);
        return finish_output(&err);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i]->name) != 0)
            continue;
        enum status status = run_command(commands[i], argc - 2, argv + 2, &err);
        if (status != STATUS_OK)
            fprintf(stderr, "midashi: %s\n", err.text);
        return status;
    }
    fprintf(stderr, "midashi: there is no command %s; see midashi --help\n", argv[1]);
    return STATUS_USAGE;
}
