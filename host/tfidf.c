/* TF-IDF. See tfidf.h. Words are numbered as they come, through an open-addressed table; the order
 * by bytes, min_df and the weights wait for tfidf_finish, which knows every text. */
#include "host/tfidf.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "loaders/name_index.h"

struct seen_word {
    uint64_t hash;
    size_t start, length; /* in chars */
    int32_t df;
};

struct entry {
    int32_t word, count;
};

struct tfidf_builder {
    struct seen_word *words;
    int n_words, words_capacity;
    char *chars; /* the words, one behind the other */
    size_t n_chars, chars_capacity;
    int32_t *slots; /* (n_slots) a word's number or -1; n_slots is a power of two, 0 at first */
    size_t n_slots;

    int32_t *text; /* words of the text at hand, as they came */
    size_t n_text, text_capacity;
    struct entry *entries; /* different words of the texts before */
    size_t n_entries, entries_capacity;
    int64_t *text_start; /* (n_texts + 1) in entries; NULL before the first text */
    int n_texts, starts_capacity;
};

/* ---- growing --------------------------------------------------------------------------------- */

/* *array with room for `needed` elements. */
static enum status reserve(void **array, size_t *capacity, size_t needed, size_t size,
                           struct err *err)
{
    if (needed <= *capacity)
        return STATUS_OK;
    size_t larger = *capacity < 512 ? 1024 : *capacity + *capacity / 2;
    if (larger < needed)
        larger = needed;
    void *moved = mem_resize(*array, larger, size);
    if (!moved)
        return err_no_memory(err, "the words of the corpus", (unsigned long long)larger * size);
    *array = moved;
    *capacity = larger;
    return STATUS_OK;
}

/* The same for arrays counted by int. */
static enum status reserve_int(void **array, int *capacity, int needed, size_t size,
                               struct err *err)
{
    size_t room = (size_t)*capacity;
    TRY(reserve(array, &room, (size_t)needed, size, err));
    *capacity = room > INT_MAX ? INT_MAX : (int)room;
    return STATUS_OK;
}

enum status tfidf_open(struct tfidf_builder **out, struct err *err)
{
    *out = mem_alloc_zero(1, sizeof **out);
    return *out ? STATUS_OK : err_no_memory(err, "the words of the corpus", sizeof **out);
}

void tfidf_close(struct tfidf_builder *builder)
{
    if (!builder)
        return;
    mem_free(builder->words);
    mem_free(builder->chars);
    mem_free(builder->slots);
    mem_free(builder->text);
    mem_free(builder->entries);
    mem_free(builder->text_start);
    mem_free(builder);
}

int tfidf_n_texts(const struct tfidf_builder *builder)
{
    return builder->n_texts;
}

int tfidf_n_words(const struct tfidf_builder *builder)
{
    return builder->n_words;
}

/* ---- the table of words ---------------------------------------------------------------------- */

/* FNV-1a, then a mix: its low bits, which choose the slot, know little of the last byte. */
static uint64_t hash_of(const char *w, size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)w[i]) * 0x100000001B3u;
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

/* The slot of the word, or the empty one where it belongs. */
static size_t find_slot(const struct tfidf_builder *builder, uint64_t hash, const char *w,
                        size_t length)
{
    size_t mask = builder->n_slots - 1, slot = hash & mask;
    for (;; slot = (slot + 1) & mask) {
        int32_t number = builder->slots[slot];
        if (number < 0)
            return slot;
        const struct seen_word *seen = &builder->words[number];
        if (seen->hash == hash && seen->length == length &&
            memcmp(builder->chars + seen->start, w, length) == 0)
            return slot;
    }
}

/* A table of twice the size; at most half of it is in use. */
static enum status grow_table(struct tfidf_builder *builder, struct err *err)
{
    size_t n_slots = builder->n_slots ? 2 * builder->n_slots : 2048, mask = n_slots - 1;
    int32_t *slots = mem_alloc(n_slots, sizeof *slots);
    if (!slots)
        return err_no_memory(err, "the words of the corpus", n_slots * sizeof *slots);
    memset(slots, 0xFF, n_slots * sizeof *slots);
    for (int i = 0; i < builder->n_words; i++) {
        size_t slot = builder->words[i].hash & mask;
        while (slots[slot] >= 0)
            slot = (slot + 1) & mask;
        slots[slot] = i;
    }
    mem_free(builder->slots);
    builder->slots = slots;
    builder->n_slots = n_slots;
    return STATUS_OK;
}

/* The number of the word, which is new from now on if it was not there. */
static enum status number_of(struct tfidf_builder *builder, int32_t *number, const char *w,
                             size_t length, struct err *err)
{
    if ((size_t)builder->n_words >= builder->n_slots / 2)
        TRY(grow_table(builder, err));
    uint64_t hash = hash_of(w, length);
    size_t slot = find_slot(builder, hash, w, length);
    *number = builder->slots[slot];
    if (*number >= 0)
        return STATUS_OK;
    if (builder->n_words == INT_MAX)
        return err_set(err, STATUS_BAD_DATA, "more than %d different words; use fewer texts",
                       INT_MAX);
    TRY(reserve((void **)&builder->chars, &builder->chars_capacity, builder->n_chars + length, 1,
                err));
    TRY(reserve_int((void **)&builder->words, &builder->words_capacity, builder->n_words + 1,
                    sizeof *builder->words, err));
    memcpy(builder->chars + builder->n_chars, w, length);
    builder->words[builder->n_words] =
        (struct seen_word){.hash = hash, .start = builder->n_chars, .length = length};
    builder->n_chars += length;
    *number = builder->slots[slot] = builder->n_words++;
    return STATUS_OK;
}

/* ---- texts ----------------------------------------------------------------------------------- */

enum status tfidf_add_word(struct tfidf_builder *builder, const char *w, size_t length,
                           struct err *err)
{
    assert(length >= 1);
    int32_t number;
    if (builder->n_text == INT32_MAX)
        return err_set(err, STATUS_BAD_DATA, "text %d: more than %d words; split the text",
                       builder->n_texts + 1, INT32_MAX);
    TRY(reserve((void **)&builder->text, &builder->text_capacity, builder->n_text + 1,
                sizeof *builder->text, err));
    TRY(number_of(builder, &number, w, length, err));
    builder->text[builder->n_text++] = number;
    return STATUS_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

enum status tfidf_end_text(struct tfidf_builder *builder, struct err *err)
{
    if (builder->n_texts > INT_MAX - 2)
        return err_set(err, STATUS_BAD_DATA, "more than %d texts", INT_MAX - 2);
    TRY(reserve_int((void **)&builder->text_start, &builder->starts_capacity, builder->n_texts + 2,
                    sizeof *builder->text_start, err));
    TRY(reserve((void **)&builder->entries, &builder->entries_capacity,
                builder->n_entries + builder->n_text, sizeof *builder->entries, err));
    if (builder->n_text > 1)
        qsort(builder->text, builder->n_text, sizeof *builder->text, compare_numbers);
    builder->text_start[builder->n_texts] = (int64_t)builder->n_entries;
    for (size_t i = 0; i < builder->n_text; i++) {
        int32_t word = builder->text[i];
        if (i > 0 && word == builder->text[i - 1]) {
            builder->entries[builder->n_entries - 1].count++;
            continue;
        }
        builder->entries[builder->n_entries++] = (struct entry){.word = word, .count = 1};
        builder->words[word].df++;
    }
    builder->text_start[++builder->n_texts] = (int64_t)builder->n_entries;
    builder->n_text = 0;
    return STATUS_OK;
}

/* ---- the matrix ------------------------------------------------------------------------------ */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return (left->word > right->word) - (left->word < right->word);
}

/* The vocabulary, in its order, and `renumbered` (builder->n_words): a word's number there or -1.
 */
static enum status order_words(const struct tfidf_builder *builder, struct tfidf *out, int min_df,
                               int32_t *renumbered, struct arena *scratch, struct arena *arena,
                               struct err *err)
{
    int kept = 0;
    for (int i = 0; i < builder->n_words; i++)
        kept += builder->words[i].df >= min_df;
    if (builder->n_words == 0)
        return err_set(err, STATUS_BAD_DATA,
                       "no words to name topics with: stop words, numbers and single characters "
                       "do not count; try --keep-single or another --language");
    if (kept == 0)
        return err_set(err, STATUS_BAD_DATA,
                       "none of %d words is in %d texts or more, of %d texts; try a lower --min-df "
                       "or more texts",
                       builder->n_words, min_df, builder->n_texts);
    struct name_index index;
    size_t bytes = (size_t)kept * sizeof *index.entries;
    if (!name_index_init(&index, scratch, kept))
        return err_no_memory(err, "the vocabulary", bytes);
    struct name_entry *entry = index.entries;
    for (int i = 0; i < builder->n_words; i++) {
        const struct seen_word *seen = &builder->words[i];
        renumbered[i] = -1;
        if (seen->df >= min_df)
            *entry++ = (struct name_entry){builder->chars + seen->start, seen->length, i};
    }
    name_index_sort(&index);
    out->n_words = kept;
    out->words = arena_alloc(arena, (size_t)kept, sizeof *out->words);
    out->df = arena_alloc(arena, (size_t)kept, sizeof *out->df);
    size_t n_chars = 0;
    for (int i = 0; i < kept; i++)
        n_chars += index.entries[i].length + 1;
    char *chars = arena_alloc(arena, n_chars, 1);
    if (!out->words || !out->df || !chars)
        return err_no_memory(err, "the vocabulary", bytes + n_chars);
    for (int i = 0; i < kept; i++) {
        const struct name_entry *word = &index.entries[i];
        memcpy(chars, word->name, word->length);
        chars[word->length] = '\0';
        out->words[i] = chars;
        out->df[i] = builder->words[word->number].df;
        renumbered[word->number] = i;
        chars += word->length + 1;
    }
    return STATUS_OK;
}

/* The kept words of a text, in order, with their weights. Returns how many. `row` has room for all.
 */
static size_t weigh_row(const double *idf, const int32_t *renumbered, const struct entry *entries,
                        size_t n, struct entry *row, int32_t *word, double *value)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (renumbered[entries[i].word] >= 0)
            row[n_kept++] = (struct entry){renumbered[entries[i].word], entries[i].count};
    if (n_kept > 1)
        qsort(row, n_kept, sizeof *row, compare_entries);
    double square = 0;
    for (size_t i = 0; i < n_kept; i++) {
        word[i] = row[i].word;
        value[i] = (double)row[i].count * idf[row[i].word];
        square += value[i] * value[i];
    }
    double norm = sqrt(square);
    for (size_t i = 0; i < n_kept; i++)
        value[i] /= norm;
    return n_kept;
}

static enum status build(const struct tfidf_builder *builder, struct tfidf *out, int min_df,
                         struct arena *scratch, struct arena *arena, struct err *err)
{
    int32_t *renumbered = arena_alloc(scratch, (size_t)builder->n_words, sizeof *renumbered);
    if (!renumbered)
        return err_no_memory(err, "the vocabulary", (size_t)builder->n_words * sizeof *renumbered);
    TRY(order_words(builder, out, min_df, renumbered, scratch, arena, err));
    size_t n_entries = 0, longest = 0;
    for (int i = 0; i < out->n_words; i++)
        n_entries += (size_t)out->df[i];
    for (int i = 0; i < builder->n_texts; i++) {
        size_t n = (size_t)(builder->text_start[i + 1] - builder->text_start[i]);
        longest = n > longest ? n : longest;
    }
    double *idf = arena_alloc(scratch, (size_t)out->n_words, sizeof *idf);
    struct entry *row = arena_alloc(scratch, longest, sizeof *row);
    out->n_rows = builder->n_texts;
    out->row_start = arena_alloc(arena, (size_t)out->n_rows + 1, sizeof *out->row_start);
    out->word = arena_alloc(arena, n_entries, sizeof *out->word);
    out->value = arena_alloc(arena, n_entries, sizeof *out->value);
    if (!idf || !row || !out->row_start || !out->word || !out->value)
        return err_no_memory(err, "the weights of words",
                             n_entries * (sizeof *out->word + sizeof *out->value));
    for (int i = 0; i < out->n_words; i++)
        idf[i] = log((1.0 + builder->n_texts) / (1.0 + out->df[i])) + 1;
    size_t filled = 0;
    for (int i = 0; i < out->n_rows; i++) {
        size_t start = (size_t)builder->text_start[i];
        out->row_start[i] = (int64_t)filled;
        filled += weigh_row(idf, renumbered, builder->entries + start,
                            (size_t)builder->text_start[i + 1] - start, row, out->word + filled,
                            out->value + filled);
    }
    out->row_start[out->n_rows] = (int64_t)filled;
    return STATUS_OK;
}

enum status tfidf_finish(const struct tfidf_builder *builder, struct tfidf *out, int min_df,
                         struct arena *arena, struct err *err)
{
    assert(min_df >= 1);
    struct arena scratch = {0};
    struct arena_mark mark = arena_mark(arena);
    *out = (struct tfidf){0};
    enum status status = build(builder, out, min_df, &scratch, arena, err);
    if (status != STATUS_OK) {
        arena_reset(arena, mark);
        *out = (struct tfidf){0};
    }
    arena_free(&scratch);
    return status;
}
