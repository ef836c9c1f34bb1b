/* See train_record.h. A member is called as its option is, with '_' for '-', where it has one. */
#include "host/train_record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"

/* ---- equal? --------------------------------------------------------------------------------- */

static bool same(const json_t *a, const json_t *b, int digits)
{
    const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits);
    if (!a || !b)
        return false;
    char *one = json_dumps(a, flags), *other = json_dumps(b, flags);
    bool same = one && other && strcmp(one, other) == 0;
    mem_free(one);
    mem_free(other);
    return same;
}

/* ---- in words ------------------------------------------------------------------------------- */

/* "cuda-sm_89", as device_kernels writes it. */
static bool is_gpu(const json_t *kernels)
{
    const char *word = json_string_value(kernels);
    return word && strncmp(word, "cuda-", 5) == 0;
}

static void write_value(char *text, size_t size, const json_t *value)
{
    if (json_is_string(value))
        snprintf(text, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_number(value))
        snprintf(text, size, "%.9g", json_number_value(value));
    else
        snprintf(text, size, "none");
}

/* What needs no option's name beside it: true, and text is all that there is to say. */
static bool write_special(char *text, size_t size, const char *key, const json_t *value)
{
    const char *word = json_is_string(value) ? json_string_value(value) : "";
    if (!value)
        return false;
    if (strcmp(key, "kernels") == 0)
        snprintf(text, size, "%s %s", is_gpu(value) ? "a GPU of" : "a CPU with",
                 strchr(word, '-') ? strchr(word, '-') + 1 : word);
    else if (strcmp(key, "rslora") == 0)
        snprintf(text, size, "%s", json_is_true(value) ? "--rslora" : "no --rslora");
    else if (strcmp(key, "near") == 0 && json_integer_value(value) == 0)
        snprintf(text, size, "no --group");
    else if (strcmp(key, "validation") == 0 && json_number_value(value) < 0)
        snprintf(text, size, "--validation-file");
    else
        return false;
    return true;
}

/* "--steps 12"; true: something that needs no option's name. */
static bool write_member(char *text, size_t size, const char *key, const json_t *value)
{
    char name[64], written[64];
    if (write_special(text, size, key, value))
        return true;
    snprintf(name, sizeof name, "--%s", key);
    for (char *c = name; *c; c++)
        *c = *c == '_' ? '-' : *c;
    if (strcmp(key, "validation_texts") == 0)
        snprintf(name, sizeof name, "texts held out:");
    write_value(written, sizeof written, value);
    snprintf(text, size, "%s %s", name, written);
    return false;
}

static void add(struct train_difference *difference, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct train_difference *difference, const char *format, ...)
{
    char item[256];
    size_t length = strlen(difference->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(item, sizeof item, format, arguments);
    va_end(arguments);
    snprintf(difference->text + length, sizeof difference->text - length, "%s%s",
             length ? ", " : "", item);
}

static void add_member(struct train_difference *difference, const char *key, const json_t *was,
                       const json_t *is)
{
    char before[128], now[128];
    if (strcmp(key, "corpus") == 0 || strcmp(key, "model") == 0) { /* hashes */
        add(difference, "another %s", key);
        return;
    }
    bool special = write_member(before, sizeof before, key, was);
    special = write_member(now, sizeof now, key, is) || special;
    if (!special) /* one name is enough */
        write_value(now, sizeof now, is);
    add(difference, "%s (now %s)", before, now);
}

/* What to give so that the run goes on where it began. */
static const char *device_advice(const json_t *was, const json_t *is)
{
    if (is_gpu(was) == is_gpu(is))
        return is_gpu(is) ? "with a card of that kind" : "with a processor of that kind";
    return is_gpu(was) ? "with --device cuda, on a card of that kind" : "with --device cpu";
}

bool train_record_differs(const json_t *stored, const json_t *now, int digits,
                          struct train_difference *difference)
{
    const char *key;
    json_t *is;
    int n = 0;
    *difference = (struct train_difference){.resume = "with what it had"};
    json_object_foreach((json_t *)now, key, is)
    {
        const json_t *was = json_object_get(stored, key);
        if (same(was, is, digits))
            continue;
        add_member(difference, key, was, is);
        bool device = n++ == 0 && strcmp(key, "kernels") == 0; /* alone, so far */
        difference->resume = device ? device_advice(was, is) : "with what it had";
    }
    return n > 0;
}
