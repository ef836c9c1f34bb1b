/* Errors as one line of text. See status.h. */
#include "host/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "host/base/utf8.h"

/* Control characters become spaces, and bytes that are not UTF-8 (a damaged file's) question marks;
 * a character cut in two by the buffer's end goes. */
static void make_one_line(char *text, size_t capacity)
{
    size_t length = strlen(text);
    if (length == capacity - 1) {
        while (length > 0 && ((unsigned char)text[length - 1] & 0xC0) == 0x80)
            length--;
        if (length > 0 && ((unsigned char)text[length - 1] & 0xC0) == 0xC0)
            length--;
        text[length] = '\0';
    }
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            text[i] = ' ';
    for (size_t i = 0; (i += utf8_valid_length(text + i, length - i)) < length; i++)
        text[i] = '?';
}

enum status err_set(struct err *err, enum status status, const char *format, ...)
{
    if (!err)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->text, sizeof err->text, format, arguments);
    va_end(arguments);
    err->status = status;
    make_one_line(err->text, sizeof err->text);
    return status;
}

enum status err_no_memory(struct err *err, const char *what, unsigned long long bytes)
{
    if (bytes == 0)
        return err_set(err, STATUS_RESOURCE, "not enough memory for %s", what);
    return err_set(err, STATUS_RESOURCE, "not enough memory for %s (%llu bytes)", what, bytes);
}

enum status err_prefix(struct err *err, const char *format, ...)
{
    char prefix[sizeof err->text], joined[2 * sizeof err->text + 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    snprintf(joined, sizeof joined, "%s: %s", prefix, err->text);
    return err_set(err, err->status, "%s", joined);
}
