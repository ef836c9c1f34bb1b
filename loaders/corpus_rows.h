/* The rows and labels of a corpus while it is being read, whatever the format. Inside loaders/. */
#ifndef MIDASHI_LOADERS_CORPUS_ROWS_H
#define MIDASHI_LOADERS_CORPUS_ROWS_H

#include "loaders/corpus.h"
#include "loaders/siphash.h"

struct corpus_reading {
    struct corpus *corpus;
    const char *name; /* of the file, for messages */
    const struct corpus_settings *settings;
    struct text_fault fault; /* of corpus->bytes, found before they are cut in place */
    size_t n_rows;           /* read so far, those outside first_row .. last_row too */
    size_t n_blank;          /* among them */
    size_t row_capacity, label_capacity;
    int *slots; /* open addressing: label index + 1, or 0 */
    size_t n_slots;
    struct siphash hash;
};

/* A zeroed corpus, and settings that outlive the reading. */
void corpus_reading_begin(struct corpus_reading *reading, struct corpus *corpus, const char *name,
                          const struct corpus_settings *settings);

/* Adds a row. text and label (NULL or empty: none) are borrowed from the corpus, UTF-8 without 0
 * bytes, with a 0 byte behind. Rows that the settings leave out are counted only. STATUS_RESOURCE;
 * STATUS_BAD_DATA: more labels than an int counts. */
enum status corpus_add_row(struct corpus_reading *reading, const char *text, size_t length,
                           const char *label, struct err *err);

/* Checks that there are texts, settles the hash, and adds the rows that were chosen to the guess.
 * STATUS_BAD_DATA: no rows, or blank ones only. STATUS_USAGE: first_row lies behind the last. */
enum status corpus_reading_finish(struct corpus_reading *reading, struct err *err);

/* Releases what only the reading needs; after a failure the corpus as well. */
void corpus_reading_end(struct corpus_reading *reading, enum status status);

/* The formats. Each adds rows from corpus->bytes, of which the first `size` are the file, and sets
 * the guess; errors as corpus_read. */
enum status corpus_read_table(struct corpus_reading *reading, size_t size, struct err *err);
enum status corpus_read_jsonl(struct corpus_reading *reading, size_t size, struct err *err);
/* From the folder at reading->name, into the corpus' arena. */
enum status corpus_read_folder(struct corpus_reading *reading, struct err *err);

#endif
