/* printf and assert. See print.h. Texts and arguments come from device memory: everything is
 * bounded, and a format is taken apart rather than handed on. */
#include "tools/softcuda/print.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "tools/softcuda/faults.h"

/* The bytes that a generic address of this lane names, and how many there are; NULL: none. */
static const unsigned char *look(const struct warp *warp, int lane, uint64_t address, size_t *left)
{
    const struct cta *cta = warp->cta;
    uint64_t window = address >> WINDOW_SHIFT;
    uint64_t offset = address & (((uint64_t)1 << WINDOW_SHIFT) - 1);
    size_t local = (size_t)cta->launch->program->local_bytes;
    *left = 0;
    if (window == WINDOW_SHARED && offset < cta->shared_bytes) {
        *left = cta->shared_bytes - offset;
        return cta->shared + offset;
    }
    if (window == WINDOW_LOCAL && offset < local) {
        *left = local - offset;
        return warp->local + (size_t)lane * local + offset;
    }
    const struct allocation *allocation = memory_find(cta->launch->memory, address);
    if (!allocation)
        return NULL;
    *left = allocation->size - (address - allocation->base);
    return allocation->host + (address - allocation->base);
}

/* A C string of device memory into text; "(bad address)" where there is none. */
static void read_text(const struct warp *warp, int lane, uint64_t address, char *text, size_t size)
{
    size_t left;
    const unsigned char *bytes = look(warp, lane, address, &left);
    if (!bytes) {
        snprintf(text, size, "(bad address)");
        return;
    }
    size_t n = 0;
    while (n + 1 < size && n < left && bytes[n])
        n++;
    memcpy(text, bytes, n);
    text[n] = '\0';
}

/* Of `size` bytes, 4 or 8; decode.c has seen that the frame holds them. */
static uint64_t frame_value(const struct warp *warp, int lane, int32_t offset, size_t size)
{
    uint64_t value = 0;
    memcpy(&value,
           warp->local + (size_t)lane * (size_t)warp->cta->launch->program->local_bytes + offset,
           size);
    return value;
}

/* The argument behind those that were taken: ints have 4 bytes, all else 8, each aligned to itself.
 */
struct arguments {
    const unsigned char *bytes;
    size_t left, at;
    int n_taken;
};

static uint64_t take(struct arguments *arguments, size_t size)
{
    uint64_t value = 0;
    arguments->at = (arguments->at + size - 1) / size * size;
    if (arguments->at + size <= arguments->left)
        memcpy(&value, arguments->bytes + arguments->at, size);
    arguments->at += size;
    arguments->n_taken++;
    return value;
}

/* One conversion, from its '%' to behind its letter. */
static const char *print_conversion(const struct warp *warp, int lane, const char *format,
                                    struct arguments *arguments)
{
    char part[64], text[1024];
    size_t length = strspn(format + 1, "-+ #0123456789.") + 1;
    size_t modifiers = strspn(format + length, "hlzjt");
    char letter = format[length + modifiers];
    bool wide = memchr(format + length, 'l', modifiers) ||
                memchr(format + length, 'z', modifiers) ||
                memchr(format + length, 'j', modifiers) || memchr(format + length, 't', modifiers);
    if (letter == '\0' || length > 30)
        return format + strlen(format);
    if (letter == '%') {
        putchar('%');
        return format + length + modifiers + 1;
    }
    memcpy(part, format, length);
    if (strchr("di", letter)) {
        snprintf(part + length, sizeof part - length, "lld");
        uint64_t value = take(arguments, wide ? 8 : 4);
        printf(part, wide ? (long long)value : (long long)(int32_t)value);
    } else if (strchr("uxXo", letter)) {
        snprintf(part + length, sizeof part - length, "ll%c", letter);
        printf(part, (unsigned long long)take(arguments, wide ? 8 : 4));
    } else if (letter == 'c') {
        snprintf(part + length, sizeof part - length, "c");
        printf(part, (int)take(arguments, 4));
    } else if (strchr("eEfFgGaA", letter)) {
        uint64_t bits = take(arguments, 8);
        double value;
        memcpy(&value, &bits, sizeof value);
        snprintf(part + length, sizeof part - length, "%c", letter);
        printf(part, value);
    } else if (letter == 's') {
        read_text(warp, lane, take(arguments, 8), text, sizeof text);
        snprintf(part + length, sizeof part - length, "s");
        printf(part, text);
    } else if (letter == 'p') {
        printf("0x%llx", (unsigned long long)take(arguments, 8));
    } else {
        fwrite(format, 1, length + modifiers + 1, stdout);
    }
    return format + length + modifiers + 1;
}

enum next print_lanes(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock); /* a warp's lines stay together */
    for (uint32_t left = lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        char format[1024] = "";
        struct arguments arguments = {0};
        uint64_t text = frame_value(warp, lane, instruction->sources[0], 8);
        if (text != 0)
            read_text(warp, lane, text, format, sizeof format);
        arguments.bytes =
            look(warp, lane, frame_value(warp, lane, instruction->sources[1], 8), &arguments.left);
        for (const char *at = format; *at;) {
            if (*at == '%')
                at = print_conversion(warp, lane, at, &arguments);
            else
                putchar(*at++);
        }
        int result = text ? arguments.n_taken : -1; /* printf's on a card */
        memcpy(warp->local + (size_t)lane * (size_t)warp->cta->launch->program->local_bytes +
                   instruction->offset2,
               &result, sizeof result);
    }
    fflush(stdout);
    pthread_mutex_unlock(&lock);
    return NEXT_GO;
}

enum next print_assertion(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    int lane = __builtin_ctz(lanes);
    char message[256], file[256], function[256];
    read_text(warp, lane, frame_value(warp, lane, instruction->sources[0], 8), message,
              sizeof message);
    read_text(warp, lane, frame_value(warp, lane, instruction->sources[1], 8), file, sizeof file);
    read_text(warp, lane, frame_value(warp, lane, instruction->sources[3], 8), function,
              sizeof function);
    return fault_assert(warp, instruction, lane, file,
                        (int)(uint32_t)frame_value(warp, lane, instruction->sources[2], 4),
                        function, message);
}
