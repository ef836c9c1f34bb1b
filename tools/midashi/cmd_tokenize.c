/* midashi tokenize: a line of ids for a line of text. Reads files and pipes alike, line by line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include "host/base/interrupt.h"
#include "loaders/json.h"
#include "loaders/tokenizer.h"
#include "tools/midashi/commands.h"

/* The text of a line that is a JSON string. *string owns it. */
static enum status json_text(json_t **string, const char *line, size_t length, const char **text,
                             size_t *text_length, struct err *err)
{
    json_error_t error;
    enum status status = json_parse(string, line, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error,
                                    "a JSON string", err);
    if (status == STATUS_BAD_DATA)
        err_set(err, status, "byte %d: not JSON: %s", error.position, error.text);
    TRY(status);
    if (!json_is_string(*string))
        return err_set(err, STATUS_BAD_DATA, "not a JSON string");
    *text = json_string_value(*string);
    *text_length = json_string_length(*string);
    return STATUS_OK;
}

static enum status tokenize_line(const struct tokenizer *tokenizer, const struct options *options,
                                 const char *line, size_t length, struct tokens *tokens,
                                 struct err *err)
{
    json_t *string = NULL;
    const char *text = line;
    size_t text_length = length;
    enum status status = STATUS_OK;
    if (options->jsonl)
        status = json_text(&string, line, length, &text, &text_length, err);
    tokens->count = 0;
    if (status == STATUS_OK)
        status = tokenizer_encode(tokenizer, text, text_length, !options->no_special, tokens, err);
    json_decref(string);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < tokens->count; i++)
        printf(i ? " %d" : "%d", tokens->ids[i]);
    putchar('\n');
    return STATUS_OK;
}

static enum status tokenize_stream(const struct tokenizer *tokenizer, const struct options *options,
                                   FILE *stream, const char *name, struct err *err)
{
    char *line = NULL;
    size_t capacity = 0, number = 0;
    struct tokens tokens = {0};
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        errno = 0;
        ssize_t length = getline(&line, &capacity, stream);
        if (length < 0) {
            if (interrupt_check(err) != STATUS_OK)
                status = STATUS_INTERRUPTED;
            else if (errno == EISDIR)
                status = err_set(err, STATUS_BAD_DATA, "%s: a folder; name a file of texts", name);
            else if (ferror(stream) || errno == ENOMEM)
                status = err_set(err, STATUS_RESOURCE, "%s: %s", name, strerror(errno));
            break;
        }
        number++;
        if (length > 0 && line[length - 1] == '\n')
            length--;
        status = tokenize_line(tokenizer, options, line, (size_t)length, &tokens, err);
        if (status != STATUS_OK)
            err_prefix(err, "%s: line %zu", name, number);
        else
            status = interrupt_check(err);
    }
    tokens_free(&tokens);
    free(line); /* getline's */
    return status;
}

static enum status cannot_open(const char *path, struct err *err)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return err_set(err, STATUS_MISSING, "%s: no such file; check the path", path);
    return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
}

static enum status run(const struct options *options, struct err *err)
{
    if (!options->model)
        return err_set(err, STATUS_USAGE,
                       "which tokenizer? give --model with a folder, a .gguf, a tokenizer.json or "
                       "a tokenizer.model");
    const char *path = options->n_arguments ? options->arguments[0] : "-";
    bool standard_input = strcmp(path, "-") == 0;
    struct tokenizer *tokenizer;
    TRY(tokenizer_open(&tokenizer, options->model_path, err));
    enum status status = STATUS_OK;
    FILE *stream = standard_input ? stdin : fopen(path, "rb");
    if (stream)
        status = tokenize_stream(tokenizer, options, stream,
                                 standard_input ? "standard input" : path, err);
    else
        status = cannot_open(path, err);
    if (stream && !standard_input)
        fclose(stream);
    tokenizer_close(tokenizer);
    return status;
}

static const char *const option_names[] = {"--model", "--no-special", "--jsonl",
                                           "--quiet", "--help",       NULL};

const struct command command_tokenize = {
    .name = "tokenize",
    .usage = "--model MODEL [FILE] [options]",
    .summary = "a line of token ids for a line of text",
    .details = "FILE absent or - is standard input. The names of special tokens inside a text are "
               "plain text. MODEL may also be a bare tokenizer.json or tokenizer.model.",
    .options = option_names,
    .least_arguments = 0,
    .most_arguments = 1,
    .run = run,
};
