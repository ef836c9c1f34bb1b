/* What happens to a text before it is split: see tokenizer_internal.h.
 *
 * NFC is ICU's. Most texts are in NFC already, and a look at each character's properties says so
 * (the quick check of UAX #15): only the others go through UTF-16 and back. */
#define _GNU_SOURCE /* memmem */
#include "loaders/tokenizer_internal.h"

#include <string.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include "host/base/utf8.h"

/* True where every character is allowed in NFC and none is a combining mark that order matters for.
 * Below U+0300 nothing composes with what stands before it. */
static bool surely_nfc(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(text + at, length - at, &c);
        if (c >= 0x300 && (u_getIntPropertyValue(c, UCHAR_NFC_QUICK_CHECK) != UNORM_YES ||
                           u_getCombiningClass(c) != 0))
            return false;
    }
    return true;
}

static enum status nfc_failed(UErrorCode code, struct err *err)
{
    if (code == U_MEMORY_ALLOCATION_ERROR)
        return err_no_memory(err, "Unicode normalisation", 0);
    return err_set(err, STATUS_RESOURCE, "Unicode normalisation (ICU) failed: %s",
                   u_errorName(code));
}

/* wide and narrow hold (capacity) UTF-16 units each. */
static enum status nfc_through_utf16(const char *text, size_t length, UChar *wide, UChar *composed,
                                     int32_t capacity, struct bytes *out, struct err *err)
{
    UErrorCode code = U_ZERO_ERROR;
    int32_t n = 0;
    u_strFromUTF8(wide, capacity, &n, text, (int32_t)length, &code);
    const UNormalizer2 *nfc = unorm2_getNFCInstance(&code);
    int32_t n_composed = unorm2_normalize(nfc, wide, n, composed, capacity, &code);
    if (U_FAILURE(code))
        return nfc_failed(code, err);
    char piece[4 * 256];
    for (int32_t at = 0; at < n_composed;) { /* back to UTF-8, a buffer at a time */
        size_t filled = 0;
        while (at < n_composed && filled + 4 <= sizeof piece) {
            UChar32 c;
            U16_NEXT(composed, at, n_composed, c);
            filled += (size_t)utf8_encode(c, piece + filled);
        }
        if (!bytes_add(out, piece, filled))
            return err_no_memory(err, "a normalised text", out->length);
    }
    return STATUS_OK;
}

static enum status normalise_nfc(const char *text, size_t length, struct bytes *out,
                                 struct err *err)
{
    /* A UTF-8 byte is at most one UTF-16 unit, and NFC makes no text longer than three times its
     * units (UAX #15, table 11). ICU counts in int32_t. */
    if (length > INT32_MAX / 4)
        return err_set(err, STATUS_BAD_DATA,
                       "a text of %zu bytes is too long to normalise; split it", length);
    size_t capacity = 3 * length + 1;
    UChar *wide = mem_alloc(2 * capacity, sizeof *wide);
    if (!wide)
        return err_no_memory(err, "Unicode normalisation", 2 * capacity * sizeof *wide);
    enum status status =
        nfc_through_utf16(text, length, wide, wide + capacity, (int32_t)capacity, out, err);
    mem_free(wide);
    return status;
}

static bool replace_all(const struct normaliser *n, const char *text, size_t length,
                        struct bytes *out)
{
    const char *end = text + length;
    for (;;) {
        const char *found = memmem(text, (size_t)(end - text), n->from, n->from_length);
        const char *stop = found ? found : end;
        if (!bytes_add(out, text, (size_t)(stop - text)))
            return false;
        if (!found)
            return true;
        if (!bytes_add(out, n->to, n->to_length))
            return false;
        text = found + n->from_length;
    }
}

/* SentencePiece: leading spaces go, a space behind a space goes; at the end spaces go, and with
 * them what stands for a space in its pieces, as that is what they are by then. */
static bool collapse_spaces(const struct normaliser *n, const char *text, size_t length,
                            struct bytes *out)
{
    bool after_space = true;
    size_t run = 0;
    for (size_t i = 0; i < length; i++) {
        bool space = text[i] == ' ';
        if (space && after_space) {
            if (!bytes_add(out, text + run, i - run))
                return false;
            run = i + 1;
        }
        after_space = space;
    }
    if (run < length && !bytes_add(out, text + run, length - run))
        return false;
    for (;;) {
        size_t left = out->length;
        if (left > 0 && out->data[left - 1] == ' ')
            out->length--;
        else if (n->from_length > 0 && left >= n->from_length &&
                 memcmp(out->data + left - n->from_length, n->from, n->from_length) == 0)
            out->length -= n->from_length;
        else
            return true;
    }
}

enum status normalise(const struct normaliser *normalisers, int n, const char *text, size_t length,
                      struct bytes *buffers, const char **out, size_t *out_length, struct err *err)
{
    int turn = 0;
    for (int i = 0; i < n; i++) {
        const struct normaliser *normaliser = &normalisers[i];
        struct bytes *to = &buffers[turn];
        to->length = 0;
        bool done = true;
        switch (normaliser->kind) {
        case NORMALISE_NFC:
            if (surely_nfc(text, length))
                continue;
            TRY(normalise_nfc(text, length, to, err));
            break;
        case NORMALISE_PREPEND:
            if (length == 0)
                continue;
            done =
                bytes_add(to, normaliser->to, normaliser->to_length) && bytes_add(to, text, length);
            break;
        case NORMALISE_REPLACE:
            if (!memmem(text, length, normaliser->from, normaliser->from_length))
                continue;
            done = replace_all(normaliser, text, length, to);
            break;
        case NORMALISE_COLLAPSE:
            done = collapse_spaces(normaliser, text, length, to);
            break;
        }
        if (!done)
            return err_no_memory(err, "a normalised text", to->length);
        text = to->data ? to->data : "";
        length = to->length;
        turn = !turn;
    }
    *out = text;
    *out_length = length;
    return STATUS_OK;
}
