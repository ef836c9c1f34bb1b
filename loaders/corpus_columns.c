/* Header and columns of a corpus. See corpus_columns.h. */
#include "loaders/corpus_columns.h"

#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define CLIPPED_BYTES 60

/* ---- names and numbers ---------------------------------------------------------------------- */

/* A column's name for a message: one line, and not too long. */
static const char *clip(char out[CLIPPED_BYTES + 4], const struct table_field *field)
{
    size_t length = field->length;
    bool cut = length > CLIPPED_BYTES;
    if (cut)
        for (length = CLIPPED_BYTES; length > 0 && (field->text[length] & 0xC0) == 0x80; length--)
            ;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)field->text[i];
        out[i] = c < 0x20 || c == 0x7F ? ' ' : (char)c;
    }
    strcpy(out + length, cut ? "..." : "");
    return out;
}

void corpus_names_list(char *out, size_t capacity, const struct table_field *names, size_t n)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && i <= CORPUS_LISTED_NAMES && used < capacity; i++) {
        char name[CLIPPED_BYTES + 4];
        used += (size_t)(i == CORPUS_LISTED_NAMES
                             ? snprintf(out + used, capacity - used, ", ... (%zu in all)", n)
                             : snprintf(out + used, capacity - used, "%s\"%s\"", i ? ", " : "",
                                        clip(name, &names[i])));
    }
}

static bool is_number(const char *wanted)
{
    return wanted[0] != '\0' && wanted[strspn(wanted, "0123456789")] == '\0';
}

/* The column of that name, or CORPUS_NO_LABEL. */
static size_t find_name(const struct table_reader *first, const char *wanted)
{
    size_t length = strlen(wanted);
    for (size_t i = 0; i < first->n_fields; i++)
        if (first->fields[i].length == length && memcmp(first->fields[i].text, wanted, length) == 0)
            return i;
    return CORPUS_NO_LABEL;
}

/* The column of a name that nobody gave: the first that has it in any case of letters, should none
 * have it as it stands. */
static size_t find_default(const struct table_reader *first, const char *name)
{
    size_t length = strlen(name), column = find_name(first, name);
    for (size_t i = 0; column == CORPUS_NO_LABEL && i < first->n_fields; i++)
        if (first->fields[i].length == length &&
            strncasecmp(first->fields[i].text, name, length) == 0)
            column = i;
    return column;
}

/* wanted is a name (with a header) or a number; flag is the option that gives it. */
static enum status find_column(size_t *column, const char *name, const struct table_reader *first,
                               bool has_header, const char *wanted, const char *flag,
                               struct err *err)
{
    if (is_number(wanted)) {
        size_t number = 0;
        for (const char *digit = wanted; *digit && number <= first->n_fields; digit++)
            number = 10 * number + (size_t)(*digit - '0');
        if (number < 1 || number > first->n_fields)
            return err_set(err, STATUS_USAGE,
                           "%s: there is no column %.20s: the first line has %zu; %s takes a name "
                           "or a number from 1",
                           name, wanted, first->n_fields, flag);
        *column = number - 1;
        return STATUS_OK;
    }
    if (!has_header)
        return err_set(err, STATUS_USAGE,
                       "%s: without a header there is no column \"%.60s\"; give %s a number from 1",
                       name, wanted, flag);
    *column = find_name(first, wanted);
    if (*column != CORPUS_NO_LABEL)
        return STATUS_OK;
    char list[CORPUS_NAMES_LIST];
    corpus_names_list(list, sizeof list, first->fields, first->n_fields);
    return err_set(err, STATUS_USAGE,
                   "%s: there is no column \"%.60s\"; %s takes one of %s, or a number from 1", name,
                   wanted, flag, list);
}

/* ---- the decision --------------------------------------------------------------------------- */

static bool guess_header(const struct table_reader *first, const struct corpus_settings *settings)
{
    const char *text = settings->text_column, *label = settings->label_column;
    bool label_is_name = label && !is_number(label);
    if (label_is_name && find_name(first, label) != CORPUS_NO_LABEL)
        return true;
    if (text && is_number(text))
        return find_default(first, "text") != CORPUS_NO_LABEL ||
               (!label_is_name && find_default(first, "label") != CORPUS_NO_LABEL);
    return (text ? find_name(first, text) : find_default(first, "text")) != CORPUS_NO_LABEL;
}

static void describe(char guess[256], const struct corpus_columns *columns,
                     const struct table_reader *first, enum corpus_header asked, bool text_by_rule)
{
    char name[CLIPPED_BYTES + 4];
    size_t used = 0;
    if (columns->has_header) {
        used += (size_t)snprintf(guess, 256, "header%s: text is column %zu \"%s\"",
                                 asked == CORPUS_HEADER_GUESS ? " found" : "", columns->text + 1,
                                 clip(name, &first->fields[columns->text]));
    } else {
        const char *found =
            asked != CORPUS_HEADER_GUESS ? ""
            : text_by_rule
                ? " found, so the first line is a text (is it a header? then --text NAME)"
                : " found, so the first line is a text (is it a header? then --header)";
        used += (size_t)snprintf(guess, 256, "no header%s: text is column %zu%s", found,
                                 columns->text + 1, text_by_rule ? ", the last" : "");
    }
    if (columns->label == CORPUS_NO_LABEL)
        snprintf(guess + used, 256 - used, "; no labels");
    else if (columns->has_header)
        snprintf(guess + used, 256 - used, ", label is column %zu \"%s\"", columns->label + 1,
                 clip(name, &first->fields[columns->label]));
    else
        snprintf(guess + used, 256 - used, "; label is column %zu", columns->label + 1);
}

/* A .txt has one column without a name: only settings that say just that fit. */
static enum status check_lines(const char *name, const struct corpus_settings *settings,
                               struct err *err)
{
    if (settings->label_column || settings->header == CORPUS_HEADER_YES ||
        (settings->text_column && strcmp(settings->text_column, "1") != 0))
        return err_set(err, STATUS_USAGE,
                       "%s: a .txt is a text a line, without columns and header; leave --text, "
                       "--label and --header out, or use a .csv, .tsv or .jsonl",
                       name);
    return STATUS_OK;
}

static bool has_part(const char *line, const char *separator, const char *wanted, bool any_case)
{
    size_t length, whole = strlen(line), wanted_length = strlen(wanted);
    for (const char *part = line;; part += length + 1) {
        length = strcspn(part, separator);
        if (length < whole && length == wanted_length &&
            (any_case ? strncasecmp(part, wanted, length) : memcmp(part, wanted, length)) == 0)
            return true;
        if (part[length] == '\0')
            return false;
    }
}

/* One column whose first line would be a header if it were cut elsewhere: spreadsheets write .csv
 * with semicolons where the comma belongs to the numbers, and many a .csv has tabs. */
static enum status check_separator(const char *name, const struct table_reader *first,
                                   const struct corpus_settings *settings, struct err *err)
{
    static const struct {
        const char *separator, *what, *advice;
    } others[] = {
        {";", "semicolons", "save it with commas"},
        {"\t", "tabs", "give --format tsv"},
        {",", "commas", "give --format csv"},
    };
    const char *text = settings->text_column;
    bool by_default = !text || is_number(text);
    if (first->n_fields != 1 || settings->header == CORPUS_HEADER_NO)
        return STATUS_OK;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (has_part(first->fields[0].text, others[i].separator, by_default ? "text" : text,
                     by_default))
            return err_set(
                err, STATUS_BAD_DATA,
                "%s: line %zu: %s part the columns of this header; %s, or --no-header if "
                "it is a text",
                name, first->line, others[i].what, others[i].advice);
    return STATUS_OK;
}

enum status corpus_columns_find(struct corpus_columns *columns, char guess[256], const char *name,
                                const struct table_reader *first,
                                const struct corpus_settings *settings, struct err *err)
{
    *columns = (struct corpus_columns){.n = first->n_fields, .label = CORPUS_NO_LABEL};
    if (first->format == TABLE_LINES) {
        TRY(check_lines(name, settings, err));
        snprintf(guess, 256, "a text a line; no labels");
        return STATUS_OK;
    }
    TRY(check_separator(name, first, settings, err));
    const char *text = settings->text_column, *label = settings->label_column;
    columns->has_header =
        settings->header == CORPUS_HEADER_YES ||
        (settings->header == CORPUS_HEADER_GUESS && guess_header(first, settings));
    /* A name that was asked for and is nowhere: the columns of the first line are what can help. */
    bool named = columns->has_header || settings->header == CORPUS_HEADER_GUESS;
    bool text_by_rule = !text && !columns->has_header;
    size_t by_default = text ? CORPUS_NO_LABEL : find_default(first, "text");
    if (text_by_rule)
        columns->text = columns->n - 1;
    else if (by_default != CORPUS_NO_LABEL)
        columns->text = by_default;
    else
        TRY(find_column(&columns->text, name, first, named, text ? text : "text", "--text", err));
    if (label) {
        TRY(find_column(&columns->label, name, first, named, label,
                        settings->label_option ? settings->label_option : "--label", err));
    } else if (columns->has_header) {
        columns->label = find_default(first, "label");
        if (columns->label == columns->text)
            columns->label = CORPUS_NO_LABEL;
    }
    describe(guess, columns, first, settings->header, text_by_rule);
    return STATUS_OK;
}
