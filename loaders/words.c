/* Words: normalisation, the choice between MeCab and ICU, and what is left out. See words.h.
 *
 * Texts go through in pieces, so that buffers stay small whatever a file holds. */
#include "loaders/words.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/uloc.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/japanese.h"
#include "loaders/languages.h"
#include "loaders/stop_words.h"
#include "loaders/text_pieces.h"

#define PIECE_BYTES ((size_t)1 << 16)

/* UTF-16, as ICU wants it. */
struct utf16 {
    UChar *units;
    int32_t length, capacity;
};

struct words {
    char language[3]; /* "" where the scripts decide */
    bool keep_single;
    struct languages languages; /* of the texts observed */
    struct stop_words *stop_words;
    struct japanese *japanese; /* NULL until the first Japanese text */
    const UNormalizer2 *nfkc;  /* ICU's own */
    UBreakIterator *breaks;
    struct utf16 text, normal, folded;
    char *bytes; /* UTF-8 of a normalised piece, or of a word */
    size_t capacity;
};

/* Where words go. */
struct sink {
    struct words *words;
    enum status (*word)(void *context, const char *w, size_t w_length, struct err *err);
    void *context;
    enum stop_language language;
};

/* ---- opening -------------------------------------------------------------------------------- */

static enum status set_language(struct words *words, const char *language, struct err *err)
{
    if (strlen(language) == 2) {
        words->language[0] = (char)tolower((unsigned char)language[0]);
        words->language[1] = (char)tolower((unsigned char)language[1]);
        for (const char *const *code = uloc_getISOLanguages(); *code; code++)
            if (strcmp(*code, words->language) == 0)
                return STATUS_OK;
    }
    char list[N_STOP_LANGUAGES * 4 + 1] = "";
    for (int i = 0; i < N_STOP_LANGUAGES; i++) {
        strcat(list, i ? ", " : "");
        strcat(list, stop_language_code((enum stop_language)i));
    }
    return err_set(
        err, STATUS_USAGE,
        "--language %.40s: not a language code; give two letters of ISO 639-1 (with stop "
        "words: %s)",
        language, list);
}

static enum status icu_error(struct err *err, UErrorCode code)
{
    if (code == U_MEMORY_ALLOCATION_ERROR)
        return err_no_memory(err, "word boundaries", 0);
    return err_set(err, STATUS_RESOURCE, "ICU: %s", u_errorName(code));
}

enum status words_open(struct words **out, const struct words_settings *settings, struct err *err)
{
    *out = NULL;
    struct words *words = mem_alloc_zero(1, sizeof *words);
    if (!words)
        return err_no_memory(err, "the words", sizeof *words);
    words->keep_single = settings->keep_single;
    enum status status;
    UErrorCode code = U_ZERO_ERROR;
    if (settings->language)
        TRY_TO(status, set_language(words, settings->language, err), failed);
    TRY_TO(status, stop_words_open(&words->stop_words, err), failed);
    words->nfkc = unorm2_getNFKCInstance(&code);
    words->breaks = ubrk_open(UBRK_WORD, words->language, NULL, 0, &code);
    if (U_FAILURE(code)) {
        status = icu_error(err, code);
        goto failed;
    }
    *out = words;
    return STATUS_OK;
failed:
    words_close(words);
    return status;
}

void words_close(struct words *words)
{
    if (!words)
        return;
    stop_words_close(words->stop_words);
    japanese_close(words->japanese);
    if (words->breaks)
        ubrk_close(words->breaks);
    mem_free(words->text.units);
    mem_free(words->normal.units);
    mem_free(words->folded.units);
    mem_free(words->bytes);
    mem_free(words);
}

void words_observe(struct words *words, const char *text, size_t length)
{
    languages_observe(&words->languages, words->stop_words, text, length);
}

const char *words_language(const struct words *words)
{
    return words->language[0] ? words->language : languages_main(&words->languages);
}

/* ---- buffers -------------------------------------------------------------------------------- */

static enum status reserve_units(struct utf16 *buffer, int32_t units, struct err *err)
{
    if (units <= buffer->capacity)
        return STATUS_OK;
    UChar *larger = mem_resize(buffer->units, (size_t)units, sizeof *larger);
    if (!larger)
        return err_no_memory(err, "a text", (size_t)units * sizeof *larger);
    buffer->units = larger;
    buffer->capacity = units;
    return STATUS_OK;
}

/* text.. in NFKC, in words->normal. */
static enum status normalise(struct words *words, const char *text, size_t length, struct err *err)
{
    UErrorCode code = U_ZERO_ERROR;
    struct utf16 *raw = &words->text, *normal = &words->normal;
    /* UTF-16 never has more units than UTF-8 has bytes. */
    TRY(reserve_units(raw, (int32_t)PIECE_BYTES, err));
    u_strFromUTF8(raw->units, raw->capacity, &raw->length, text, (int32_t)length, &code);
    if (U_FAILURE(code))
        return icu_error(err, code);
    TRY(reserve_units(normal, (int32_t)PIECE_BYTES, err));
    normal->length = unorm2_normalize(words->nfkc, raw->units, raw->length, normal->units,
                                      normal->capacity, &code);
    if (code == U_BUFFER_OVERFLOW_ERROR) {
        code = U_ZERO_ERROR;
        TRY(reserve_units(normal, normal->length, err));
        unorm2_normalize(words->nfkc, raw->units, raw->length, normal->units, normal->capacity,
                         &code);
    }
    return U_FAILURE(code) ? icu_error(err, code) : STATUS_OK;
}

/* units as UTF-8 in words->bytes. */
static enum status to_utf8(struct words *words, const UChar *units, int32_t n, size_t *length,
                           struct err *err)
{
    size_t most = 3 * (size_t)n + 1;
    if (most > words->capacity) {
        char *larger = mem_resize(words->bytes, most, 1);
        if (!larger)
            return err_no_memory(err, "a text", most);
        words->bytes = larger;
        words->capacity = most;
    }
    UErrorCode code = U_ZERO_ERROR;
    int32_t written;
    u_strToUTF8(words->bytes, (int32_t)words->capacity, &written, units, n, &code);
    *length = (size_t)written;
    return U_FAILURE(code) ? icu_error(err, code) : STATUS_OK;
}

/* ---- what is a word ------------------------------------------------------------------------- */

/* The characters of a word, or 0 where it has no letter, or has white space or a control character
 * in it. Marks that only modify letters (a row of ー) do not make a word. */
static size_t count_characters(const char *word, size_t length)
{
    size_t n = 0;
    bool has_letter = false;
    for (size_t at = 0; at < length; n++) {
        int32_t c;
        at += (size_t)utf8_decode(word + at, length - at, &c);
        if (u_isUWhiteSpace(c) || u_isISOControl(c))
            return 0;
        has_letter = has_letter || (u_isalpha(c) && u_charType(c) != U_MODIFIER_LETTER);
    }
    return has_letter ? n : 0;
}

static bool in_list(const struct words *words, enum stop_language language, const char *word,
                    size_t length)
{
    return language != STOP_NONE &&
           (stop_words_lookup(words->stop_words, word, length) >> language & 1) != 0;
}

static enum status emit(const struct sink *sink, const char *word, size_t length, struct err *err)
{
    size_t characters = count_characters(word, length);
    if (characters == 0 || (characters == 1 && !sink->words->keep_single))
        return STATUS_OK;
    return sink->word(sink->context, word, length, err);
}

/* ---- Japanese ------------------------------------------------------------------------------- */

/* To MeCab every Latin word is a noun, so English function words are told by the list. Those in
 * capitals (IT, US) are more often names. */
static bool is_english_function_word(const struct words *words, const char *word, size_t length)
{
    char folded[16];
    bool has_small = false;
    if (length > sizeof folded)
        return false;
    for (size_t i = 0; i < length; i++) {
        has_small |= word[i] >= 'a' && word[i] <= 'z';
        folded[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] | 0x20) : word[i];
    }
    return has_small && in_list(words, STOP_ENGLISH, folded, length);
}

static enum status japanese_word(void *context, const char *word, size_t length, struct err *err)
{
    const struct sink *sink = context;
    if (in_list(sink->words, STOP_JAPANESE, word, length) ||
        is_english_function_word(sink->words, word, length))
        return STATUS_OK;
    return emit(sink, word, length, err);
}

static enum status split_japanese(struct sink *sink, struct err *err)
{
    struct words *words = sink->words;
    if (!words->japanese)
        TRY(japanese_open(&words->japanese, err));
    for (int32_t i = 0; i < words->normal.length; i++) /* controls and invisible formatting */
        if (u_iscntrl(words->normal.units[i]))
            words->normal.units[i] = ' ';
    size_t length;
    TRY(to_utf8(words, words->normal.units, words->normal.length, &length, err));
    return japanese_split(words->japanese, words->bytes, length, japanese_word, sink, err);
}

/* ---- other languages ------------------------------------------------------------------------ */

/* Case-folded in words->folded, without soft hyphens, with straight apostrophes, and without
 * underscores at its ends, which ICU counts as letters. */
static enum status fold(struct words *words, const UChar *units, int32_t n, struct err *err)
{
    struct utf16 *folded = &words->folded;
    UErrorCode code = U_ZERO_ERROR;
    /* In Turkish and Azerbaijani I and i are two letters. */
    uint32_t options = strcmp(words->language, "tr") == 0 || strcmp(words->language, "az") == 0
                           ? U_FOLD_CASE_EXCLUDE_SPECIAL_I
                           : U_FOLD_CASE_DEFAULT;
    TRY(reserve_units(folded, 3 * n, err)); /* the most that folding grows */
    int32_t length = u_strFoldCase(folded->units, folded->capacity, units, n, options, &code);
    if (U_FAILURE(code))
        return icu_error(err, code);
    folded->length = 0;
    for (int32_t i = 0; i < length; i++) {
        UChar unit = folded->units[i];
        if (unit != 0x00AD)
            folded->units[folded->length++] = unit == 0x2019 ? '\'' : unit;
    }
    int32_t start = 0;
    while (folded->length > 0 && folded->units[folded->length - 1] == '_')
        folded->length--;
    while (start < folded->length && folded->units[start] == '_')
        start++;
    folded->length -= start;
    u_memmove(folded->units, folded->units + start, folded->length);
    return STATUS_OK;
}

static enum status folded_word(const struct sink *sink, const UChar *units, int32_t n,
                               struct err *err)
{
    struct words *words = sink->words;
    size_t length;
    TRY(fold(words, units, n, err));
    TRY(to_utf8(words, words->folded.units, words->folded.length, &length, err));
    if (in_list(words, sink->language, words->bytes, length))
        return STATUS_OK;
    const char *word = stop_words_trim(sink->language, words->bytes, &length);
    if (in_list(words, sink->language, word, length))
        return STATUS_OK;
    return emit(sink, word, length, err);
}

static enum status split_by_boundaries(struct sink *sink, struct err *err)
{
    struct words *words = sink->words;
    UErrorCode code = U_ZERO_ERROR;
    ubrk_setText(words->breaks, words->normal.units, words->normal.length, &code);
    if (U_FAILURE(code))
        return icu_error(err, code);
    int32_t start = ubrk_first(words->breaks), end;
    for (; (end = ubrk_next(words->breaks)) != UBRK_DONE; start = end)
        /* Below are spaces, punctuation and numbers; above letters, kana and ideographs. */
        if (ubrk_getRuleStatus(words->breaks) >= UBRK_WORD_LETTER)
            TRY(folded_word(sink, words->normal.units + start, end - start, err));
    return STATUS_OK;
}

/* ---- the choice ----------------------------------------------------------------------------- */

/* Sets the sink's language; STOP_JAPANESE means MeCab. */
static void choose_language(struct sink *sink, const char *text, size_t length)
{
    const struct words *words = sink->words;
    if (words->language[0]) {
        sink->language = stop_language_find(words->language);
        return;
    }
    const struct languages *languages = &words->languages;
    struct languages alone = {0};
    if (memcmp(languages, &alone, sizeof alone) == 0) { /* nothing was observed */
        languages_observe(&alone, words->stop_words, text, length);
        languages = &alone;
    }
    struct text_letters letters = count_letters(text, length);
    enum script script = main_script(&letters);
    if (languages_japanese(languages, &letters))
        sink->language = STOP_JAPANESE;
    else
        sink->language = script == SCRIPT_EAST_ASIAN ? STOP_CHINESE
                         : script == SCRIPT_HANGUL   ? STOP_KOREAN
                         : script == SCRIPT_LATIN    ? languages_latin(languages)
                                                     : STOP_NONE;
}

enum status words_split(struct words *words, const char *text, size_t length,
                        enum status (*word)(void *context, const char *w, size_t w_length,
                                            struct err *err),
                        void *context, struct err *err)
{
    struct sink sink = {.words = words, .word = word, .context = context};
    choose_language(&sink, text, length);
    while (length > 0) {
        size_t piece = text_piece(text, length, PIECE_BYTES);
        TRY(normalise(words, text, piece, err));
        if (sink.language == STOP_JAPANESE)
            TRY(split_japanese(&sink, err));
        else
            TRY(split_by_boundaries(&sink, err));
        text += piece;
        length -= piece;
    }
    return STATUS_OK;
}
