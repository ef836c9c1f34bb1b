/* Fuzzes the splitting into words, MeCab and ICU included.
 *
 * The first byte chooses the language and whether single characters are kept; the rest is a text,
 * up to where its UTF-8 is valid. Each word must be what words.h promises, and splitting again must
 * give the same words. */
#include <string.h>
#include <unicode/uchar.h>
#include "host/base/utf8.h"
#include "loaders/words.h"
#include "tests/fuzz/fuzz.h"

static const char *const languages[] = {NULL, "ja", "en", "fr", "it", "tr", "th", "zh"};
#define N_LANGUAGES (sizeof languages / sizeof *languages)

struct seen {
    bool keep_single;
    size_t n_words, n_bytes;
    uint64_t hash; /* of all words: FNV-1a */
};

static enum status see(void *context, const char *word, size_t length, struct err *err)
{
    (void)err;
    struct seen *seen = context;
    size_t characters = 0;
    REQUIRE(length > 0 && utf8_valid_length(word, length) == length);
    for (size_t at = 0; at < length; characters++) {
        int32_t c;
        at += (size_t)utf8_decode(word + at, length - at, &c);
        REQUIRE(!u_isUWhiteSpace(c) && !u_isISOControl(c));
    }
    REQUIRE(characters > 1 || seen->keep_single);
    for (size_t i = 0; i < length; i++)
        seen->hash = (seen->hash ^ (unsigned char)word[i]) * 0x100000001B3;
    seen->n_words++;
    seen->n_bytes += length;
    return STATUS_OK;
}

/* Opening MeCab's dictionary takes longer than a split, so words with a fixed language, which keep
 * nothing from one text to the next, stay open. */
static struct words *open_words(size_t language, bool keep_single)
{
    static struct words *kept[N_LANGUAGES][2];
    struct words_settings settings = {.language = languages[language], .keep_single = keep_single};
    struct words *words = kept[language][keep_single];
    struct err err;
    if (!words)
        REQUIRE(words_open(&words, &settings, &err) == STATUS_OK);
    if (languages[language])
        kept[language][keep_single] = words;
    return words;
}

static struct seen split_once(size_t language, bool keep_single, const char *text, size_t length)
{
    struct err err;
    struct seen seen = {.keep_single = keep_single, .hash = 0xCBF29CE484222325};
    struct words *words = open_words(language, keep_single);
    words_observe(words, text, length);
    enum status status = words_split(words, text, length, see, &seen, &err);
    REQUIRE(status == STATUS_OK || status == STATUS_RESOURCE); /* no dictionary on this machine */
    if (!languages[language])
        words_close(words);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    size_t language = data[0] % N_LANGUAGES;
    bool keep_single = data[0] & 0x80;
    size_t length = utf8_valid_length(text, size - 1);
    struct seen first = split_once(language, keep_single, text, length);
    /* A character becomes at most 18 by NFKC (U+FDFA), and each at most three by folding. */
    REQUIRE(first.n_bytes <= 54 * length);
    struct seen second = split_once(language, keep_single, text, length);
    REQUIRE(first.hash == second.hash && first.n_words == second.n_words);
    return 0;
}
