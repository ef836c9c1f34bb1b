/* The default token pattern. See token_pattern.h. */
#include "host/token_pattern.h"

#include <unicode/uchar.h>
#include "host/base/utf8.h"

/* Python's \w is str.isalnum() or '_', and isalnum is isalpha (category L), isdecimal, isdigit or
 * isnumeric (a numeric type of any kind). */
bool token_pattern_is_word(int32_t code_point)
{
    if (code_point < 0)
        return false;
    return code_point == '_' || u_isalpha(code_point) ||
           u_getIntPropertyValue(code_point, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

/* \b\w\w+\b takes a whole run of word characters: a shorter match would not end at a boundary. */
enum status token_pattern_split(const char *text, size_t length,
                                enum status (*word)(void *context, const char *w, size_t w_length,
                                                    struct err *err),
                                void *context, struct err *err)
{
    size_t start = 0, place = 0;
    int run = 0; /* word characters since start */
    for (;;) {
        int32_t code_point;
        int size = utf8_decode(text + place, length - place, &code_point);
        if (size > 0 && token_pattern_is_word(code_point)) {
            if (run++ == 0)
                start = place;
        } else {
            if (run >= 2)
                TRY(word(context, text + start, place - start, err));
            run = 0;
        }
        if (size == 0)
            return STATUS_OK;
        place += (size_t)size;
    }
}
