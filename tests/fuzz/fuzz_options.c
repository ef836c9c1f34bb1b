/* Fuzzes the command line: words, one a line, for the command that the first byte picks. Whatever
 * is accepted must be within the bounds that the help states; whatever is not must be one line. The
 * readers of numbers are held to strtoll and strtod. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/options.h"

#define WORDS_LARGEST 64

static void check_numbers(const char *word)
{
    int64_t whole = 0;
    double decimal = 0;
    char *end;
    errno = 0;
    long long want = strtoll(word, &end, 10);
    bool is_whole = *word && *end == '\0' && errno == 0;
    if (parse_whole(word, -1000, 1000000, &whole))
        REQUIRE(is_whole && whole == want && whole >= -1000 && whole <= 1000000);
    if (parse_decimal(word, 0, 1e9, &decimal))
        REQUIRE(decimal >= 0 && decimal <= 1e9 && decimal == strtod(word, &end) && *end == '\0');
}

static void check_accepted(const struct options *options, int n_words)
{
    REQUIRE(options->n_arguments >= 0 && options->n_arguments <= n_words);
    for (int i = 0; i < options->n_arguments; i++)
        REQUIRE(options->arguments[i]);
    REQUIRE(options->threads >= 0 && options->topics >= 0 && options->restarts >= 0);
    REQUIRE(options->max_tokens >= 0 && options->batch_tokens >= 0);
    REQUIRE(isfinite(options->tolerance) && options->tolerance >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct command *const commands[] = {
        &command_topics,   &command_embed, &command_cluster,
        &command_tokenize, &command_info,  &command_devices,
    };
    static char text[4096];
    char *words[WORDS_LARGEST];
    const char *arguments[2 * WORDS_LARGEST];
    int n = 0;
    if (size < 1 || size > sizeof text - 1)
        return 0;
    const struct command *command = commands[data[0] % 6];
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    for (char *word = strtok(text, "\n"); word && n < WORDS_LARGEST; word = strtok(NULL, "\n")) {
        words[n++] = word;
        check_numbers(word);
    }
    struct options options;
    struct err err = {0};
    enum status status = options_parse(&options, command, n, words, arguments, &err);
    if (status == STATUS_OK)
        check_accepted(&options, n);
    else
        fuzz_check_error(status, &err, "");
    return 0;
}
