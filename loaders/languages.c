/* Counting scripts and function words. See languages.h. */
#include "loaders/languages.h"

#include <stdint.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include "host/base/utf8.h"

/* One character of these scripts says about as much as three letters of an alphabet. */
#define EAST_ASIAN_WEIGHT 3
#define LONGEST_STOP_WORD 24 /* bytes; none of the lists has a longer one */

/* ---- scripts -------------------------------------------------------------------------------- */

struct text_letters count_letters(const char *text, size_t length)
{
    struct text_letters letters = {0};
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(text + at, length - at, &c);
        if (c < 0x80) { /* most of many texts, and ICU's tables are not asked */
            letters.latin += (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
            continue;
        }
        if (!u_isalpha(c))
            continue;
        UErrorCode code = U_ZERO_ERROR;
        switch (uscript_getScript(c, &code)) {
        case USCRIPT_HIRAGANA:
        case USCRIPT_KATAKANA:
            letters.kana++;
            break;
        case USCRIPT_HAN:
            letters.han++;
            break;
        case USCRIPT_HANGUL:
            letters.hangul++;
            break;
        case USCRIPT_LATIN:
            letters.latin++;
            break;
        case USCRIPT_COMMON: /* the long vowel mark of kana, for one */
        case USCRIPT_INHERITED:
            break;
        default:
            letters.other++;
        }
    }
    return letters;
}

enum script main_script(const struct text_letters *letters)
{
    const size_t weights[N_SCRIPTS] = {
        [SCRIPT_EAST_ASIAN] = EAST_ASIAN_WEIGHT * (letters->kana + letters->han),
        [SCRIPT_HANGUL] = EAST_ASIAN_WEIGHT * letters->hangul,
        [SCRIPT_LATIN] = letters->latin,
        [SCRIPT_OTHER] = letters->other,
    };
    int best = SCRIPT_NONE;
    for (int i = 0; i < N_SCRIPTS; i++)
        if (weights[i] > weights[best])
            best = i;
    return (enum script)best;
}

/* ---- function words ------------------------------------------------------------------------- */

/* Looks one word up in the lists; characters are folded one by one, which is enough here. */
static void count_word(struct languages *languages, const struct stop_words *stop_words,
                       const char *word, size_t length)
{
    languages->latin_words++;
    if (length > LONGEST_STOP_WORD)
        return;
    char folded[4 * LONGEST_STOP_WORD];
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(word + at, length - at, &c);
        used += (size_t)utf8_encode(u_foldCase(c, U_FOLD_CASE_DEFAULT), folded + used);
    }
    unsigned found = stop_words_lookup(stop_words, folded, used);
    for (int i = 0; i < N_STOP_LATIN; i++)
        languages->covered[i] += found >> i & 1;
}

void languages_observe(struct languages *languages, const struct stop_words *stop_words,
                       const char *text, size_t length)
{
    struct text_letters letters = count_letters(text, length);
    enum script script = main_script(&letters);
    languages->n_texts[script]++;
    languages->n_with_kana += script == SCRIPT_EAST_ASIAN && letters.kana > 0;
    if (script != SCRIPT_LATIN)
        return;
    size_t start = 0, at = 0; /* of a run of letters */
    while (at < length) {
        int32_t c;
        size_t next = at + (size_t)utf8_decode(text + at, length - at, &c);
        if (!u_isalpha(c)) {
            if (at > start)
                count_word(languages, stop_words, text + start, at - start);
            start = next;
        }
        at = next;
    }
    if (at > start)
        count_word(languages, stop_words, text + start, at - start);
}

/* ---- decisions ------------------------------------------------------------------------------ */

/* A quarter: Chinese texts hardly ever hold kana, Japanese ones nearly always do. */
static bool mostly_kana(const struct languages *languages)
{
    return languages->n_with_kana > 0 &&
           4 * languages->n_with_kana >= languages->n_texts[SCRIPT_EAST_ASIAN];
}

static enum script most_texts(const struct languages *languages)
{
    int best = SCRIPT_NONE + 1;
    for (int i = best; i < N_SCRIPTS; i++)
        if (languages->n_texts[i] > languages->n_texts[best])
            best = i;
    return languages->n_texts[best] > 0 ? (enum script)best : SCRIPT_NONE;
}

bool languages_japanese(const struct languages *languages, const struct text_letters *letters)
{
    enum script script = main_script(letters);
    if (script == SCRIPT_LATIN)
        return mostly_kana(languages) && most_texts(languages) == SCRIPT_EAST_ASIAN;
    return script == SCRIPT_EAST_ASIAN &&
           (mostly_kana(languages) ||
            (letters->kana > 0 && 5 * letters->kana >= letters->kana + letters->han));
}

enum stop_language languages_latin(const struct languages *languages)
{
    int best = 0;
    for (int i = 1; i < N_STOP_LATIN; i++)
        if (languages->covered[i] > languages->covered[best])
            best = i;
    /* 12 %: prose has 30 to 50 % of function words, headlines about 20 %, and a language without a
     * list shares a few short words with one that has it. */
    return languages->latin_words > 0 &&
                   100 * languages->covered[best] >= 12 * languages->latin_words
               ? (enum stop_language)best
               : STOP_NONE;
}

const char *languages_main(const struct languages *languages)
{
    enum stop_language language = STOP_NONE;
    switch (most_texts(languages)) {
    case SCRIPT_EAST_ASIAN:
        language = mostly_kana(languages) ? STOP_JAPANESE : STOP_CHINESE;
        break;
    case SCRIPT_HANGUL:
        language = STOP_KOREAN;
        break;
    case SCRIPT_LATIN:
        language = languages_latin(languages);
        break;
    default:
        break;
    }
    return language == STOP_NONE ? "und" : stop_language_code(language);
}
