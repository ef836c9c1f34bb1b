/* See columns.h. By ICU and not by wcwidth, which knows no more than the locale does. */
#include "tools/midashi/columns.h"

#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unicode/uchar.h>
#include <unistd.h>
#include "host/base/utf8.h"

int terminal_columns(int descriptor)
{
    struct winsize size;
    if (!isatty(descriptor))
        return 0;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static int character_columns(int32_t code_point)
{
    int8_t category = u_charType(code_point);
    if (category == U_NON_SPACING_MARK || category == U_ENCLOSING_MARK || category == U_FORMAT_CHAR)
        return 0;
    int width = u_getIntPropertyValue(code_point, UCHAR_EAST_ASIAN_WIDTH);
    return width == U_EA_WIDE || width == U_EA_FULLWIDTH ? 2 : 1;
}

int text_columns(const char *text)
{
    size_t length = strlen(text);
    int columns = 0;
    for (size_t i = 0; i < length;) {
        int32_t code_point;
        i += (size_t)utf8_decode(text + i, length - i, &code_point);
        columns += character_columns(code_point);
    }
    return columns;
}
