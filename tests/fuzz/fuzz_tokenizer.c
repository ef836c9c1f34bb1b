/* Fuzzes tokenizers: the input is a tokenizer.json, a tokenizer.model or a .gguf, told by its first
 * byte, and when it opens, texts are encoded, its own end among them. */
#include <string.h>
#include "host/base/utf8.h"
#include "loaders/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char *const texts[] = {
    "",
    "the market, and the Rain: 1234 \n\n x",
    "  \xE6\xB8\xAF\xE3\x81\xAE <s>\xE2\x96\x81<tool> [both]\t\xC3\xA9 e\xCC\x81 \xF0\x9F\x99\x82",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

/* Every id is a token, the special ones stand round the text, and a second time gives the same. */
static void encode(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    struct tokens plain = {0}, special = {0};
    struct err err;
    int before, behind;
    enum status status = tokenizer_encode(tokenizer, text, length, false, &plain, &err);
    REQUIRE(tokenizer_encode(tokenizer, text, length, true, &special, &err) == status);
    if (status == STATUS_OK) {
        tokenizer_specials(tokenizer, &before, &behind);
        REQUIRE(special.count == plain.count + (size_t)before + (size_t)behind);
        REQUIRE(plain.count == 0 ||
                memcmp(plain.ids, special.ids + before, plain.count * sizeof *plain.ids) == 0);
        for (size_t i = 0; i < special.count; i++) {
            const char *bytes;
            REQUIRE(special.ids[i] >= 0 && special.ids[i] < tokenizer_vocab_size(tokenizer));
            tokenizer_bytes(tokenizer, special.ids[i], &bytes);
        }
    } else {
        REQUIRE(plain.count == 0 && special.count == 0 && err.status == status);
    }
    tokens_free(&plain);
    tokens_free(&special);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char first = size > 0 ? (char)data[0] : '\0';
    const char *path = fuzz_file(first == '{'   ? "tokenizer.json"
                                 : first == 'G' ? "tokenizer.gguf"
                                                : "tokenizer.model",
                                 data, size);
    struct tokenizer *tokenizer;
    struct err err;
    enum status status = tokenizer_open(&tokenizer, path, &err);
    if (status != STATUS_OK) {
        REQUIRE(!tokenizer);
        fuzz_check_error(status, &err, path);
        return 0;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        encode(tokenizer, texts[i], strlen(texts[i]));
    size_t tail = size < 48 ? size : 48;
    const char *end = (const char *)data + size - tail;
    while (tail > 0 && utf8_valid_length(end, tail) < tail)
        end++, tail--;
    encode(tokenizer, end, tail);
    tokenizer_close(tokenizer);
    return 0;
}
