/* Rows and labels. See corpus_rows.h. */
#include "loaders/corpus_rows.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unicode/uchar.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"

static const unsigned char hash_key[16] = "midashi corpus 1";

void corpus_reading_begin(struct corpus_reading *reading, struct corpus *corpus, const char *name,
                          const struct corpus_settings *settings)
{
    *reading = (struct corpus_reading){.corpus = corpus, .name = name, .settings = settings};
    siphash_start(&reading->hash, hash_key);
}

/* ---- labels --------------------------------------------------------------------------------- */

/* The slot where label is or would go. The table is never full. */
static int *find_slot(const struct corpus_reading *r, const char *label)
{
    unsigned char bytes[16];
    struct siphash hash;
    siphash_start(&hash, hash_key);
    siphash_add(&hash, label, strlen(label));
    siphash_finish(&hash, bytes);
    size_t at;
    memcpy(&at, bytes, sizeof at);
    for (;; at++) {
        int *slot = &r->slots[at & (r->n_slots - 1)];
        if (*slot == 0 || strcmp(r->corpus->labels[*slot - 1], label) == 0)
            return slot;
    }
}

static enum status grow_labels(struct corpus_reading *r, struct err *err)
{
    struct corpus *corpus = r->corpus;
    size_t larger = r->label_capacity ? 2 * r->label_capacity : 64;
    if (larger > INT_MAX)
        return err_set(err, STATUS_BAD_DATA, "%s: too many labels", r->name);
    const char **labels = mem_resize((void *)corpus->labels, larger, sizeof *labels);
    if (!labels)
        return err_no_memory(err, "the labels", larger * sizeof *labels);
    corpus->labels = labels;
    int *slots = mem_alloc_zero(2 * larger, sizeof *slots);
    if (!slots)
        return err_no_memory(err, "the labels", 2 * larger * sizeof *slots);
    mem_free(r->slots);
    r->slots = slots;
    r->n_slots = 2 * larger;
    r->label_capacity = larger;
    for (int i = 0; i < corpus->n_labels; i++)
        *find_slot(r, labels[i]) = i + 1;
    return STATUS_OK;
}

static enum status add_label(struct corpus_reading *r, const char *label, int *index,
                             struct err *err)
{
    *index = -1;
    if (!label || !*label)
        return STATUS_OK;
    if ((size_t)r->corpus->n_labels == r->label_capacity)
        TRY(grow_labels(r, err));
    int *slot = find_slot(r, label);
    if (*slot == 0) {
        r->corpus->labels[r->corpus->n_labels++] = label;
        *slot = r->corpus->n_labels;
    }
    *index = *slot - 1;
    return STATUS_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static bool is_blank(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(text + at, length - at, &c);
        if (!u_isUWhiteSpace(c))
            return false;
    }
    return true;
}

enum status corpus_add_row(struct corpus_reading *r, const char *text, size_t length,
                           const char *label, struct err *err)
{
    struct corpus *corpus = r->corpus;
    bool blank = is_blank(text, length);
    size_t number = ++r->n_rows;
    r->n_blank += blank;
    if (number < r->settings->first_row ||
        (r->settings->last_row && number > r->settings->last_row))
        return STATUS_OK;
    if (corpus->n_rows == r->row_capacity) {
        size_t larger = r->row_capacity ? 2 * r->row_capacity : 1024;
        struct corpus_row *rows = mem_resize(corpus->rows, larger, sizeof *rows);
        if (!rows)
            return err_no_memory(err, "the rows", larger * sizeof *rows);
        corpus->rows = rows;
        r->row_capacity = larger;
    }
    int index;
    TRY(add_label(r, label, &index, err));
    corpus->rows[corpus->n_rows++] =
        (struct corpus_row){.text = text, .length = length, .label = index, .blank = blank};
    corpus->n_blank += blank;
    /* With its length before it, a text cannot run into the next one. */
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)length >> 8 * i);
    siphash_add(&r->hash, size, sizeof size);
    siphash_add(&r->hash, text, length);
    return STATUS_OK;
}

/* ---- the end -------------------------------------------------------------------------------- */

enum status corpus_reading_finish(struct corpus_reading *r, struct err *err)
{
    struct corpus *corpus = r->corpus;
    const struct corpus_settings *settings = r->settings;
    siphash_finish(&r->hash, corpus->hash);
    if (r->n_blank == r->n_rows)
        return err_set(err, STATUS_BAD_DATA, "%s: no texts: %s", r->name,
                       r->n_rows ? "all rows are blank" : "the file has no rows");
    if (settings->first_row > r->n_rows)
        return err_set(err, STATUS_USAGE, "%s: --rows begins at %zu, but there are %zu rows",
                       r->name, settings->first_row, r->n_rows);
    corpus->rows_before = settings->first_row > 1 ? settings->first_row - 1 : 0;
    size_t used = strlen(corpus->guess);
    if (corpus->n_rows < r->n_rows)
        snprintf(corpus->guess + used, sizeof corpus->guess - used, "; rows %zu to %zu of %zu",
                 corpus->rows_before + 1, corpus->rows_before + corpus->n_rows, r->n_rows);
    return STATUS_OK;
}

void corpus_reading_end(struct corpus_reading *r, enum status status)
{
    mem_free(r->slots);
    if (status != STATUS_OK)
        corpus_free(r->corpus);
}
