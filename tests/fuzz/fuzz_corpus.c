/* Fuzzes the corpus reader: .txt, .tsv, .csv and gzip. fuzz_jsonl.c has .jsonl.
 *
 * The first byte chooses the format, the header setting and gzip, the second one the columns and
 * the rows; the rest is the file. Whatever is accepted must be what corpus.h promises, reading it
 * again must give the same, and some of its rows must be those of the whole. */
#include <string.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/corpus.h"
#include "tests/fuzz/fuzz.h"

static const char *const columns[] = {NULL, "text", "label", "1", "2", "99999999999999999999", ""};
#define N_COLUMNS (sizeof columns / sizeof *columns)

static const enum corpus_format formats[] = {CORPUS_TXT, CORPUS_TSV, CORPUS_CSV};
#define N_FORMATS (sizeof formats / sizeof *formats)

/* First and last row. */
static const size_t ranges[][2] = {{0, 0}, {2, 0}, {1, 3}, {3, 3}, {0, 1}, {SIZE_MAX, SIZE_MAX}};

static void check_corpus(const struct corpus *corpus, size_t size, bool all_rows)
{
    size_t n_blank = 0;
    REQUIRE(corpus->n_rows > 0 && corpus->n_labels >= 0);
    REQUIRE(memchr(corpus->guess, 0, sizeof corpus->guess) && corpus->guess[0]);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        const struct corpus_row *row = &corpus->rows[i];
        REQUIRE(row->text >= corpus->bytes && row->text + row->length <= corpus->bytes + size);
        REQUIRE(strlen(row->text) == row->length);
        REQUIRE(utf8_valid_length(row->text, row->length) == row->length);
        REQUIRE(row->label >= -1 && row->label < corpus->n_labels);
        n_blank += row->blank;
    }
    REQUIRE(n_blank == corpus->n_blank && (!all_rows || n_blank < corpus->n_rows));
    for (int i = 0; i < corpus->n_labels; i++) {
        size_t length = strlen(corpus->labels[i]);
        REQUIRE(length > 0 && utf8_valid_length(corpus->labels[i], length) == length);
    }
}

static void check_some_rows(const struct corpus *some, const struct corpus *all,
                            const size_t range[2])
{
    size_t first = range[0] ? range[0] : 1;
    size_t last = range[1] && range[1] < all->n_rows ? range[1] : all->n_rows;
    REQUIRE(some->rows_before == first - 1 && some->n_rows == last - first + 1);
    for (size_t i = 0; i < some->n_rows; i++) {
        const struct corpus_row *a = &some->rows[i], *b = &all->rows[first - 1 + i];
        REQUIRE(a->length == b->length && memcmp(a->text, b->text, a->length) == 0);
        REQUIRE((a->label < 0) == (b->label < 0) &&
                (a->label < 0 || strcmp(some->labels[a->label], all->labels[b->label]) == 0));
    }
}

static enum status read_once(struct corpus *corpus, const uint8_t *data, size_t size,
                             const size_t range[2], size_t *text_size)
{
    struct text_source source = {.bytes = mem_resize(NULL, size + 1, 1), .size = size};
    REQUIRE(source.bytes);
    memcpy(source.bytes, data + 2, size);
    source.bytes[size] = '\0';
    struct corpus_settings settings = {
        .format = formats[data[0] % N_FORMATS],
        .header = (enum corpus_header)(data[0] / 3 % 3),
        .text_column = columns[data[1] % N_COLUMNS],
        .label_column = columns[data[1] / N_COLUMNS % N_COLUMNS],
        .first_row = range[0],
        .last_row = range[1],
    };
    struct err err = {0};
    if (data[0] & 0x80) {
        enum status status = text_source_gunzip(&source, "fuzz", &err);
        if (status != STATUS_OK) {
            REQUIRE(err.status == status && strstr(err.text, "fuzz: ") == err.text);
            text_source_free(&source);
            return status;
        }
    }
    *text_size = source.size;
    enum status status = corpus_parse(corpus, "fuzz", &source, &settings, &err);
    REQUIRE(!source.bytes);
    if (status != STATUS_OK)
        REQUIRE(err.status == status && strstr(err.text, "fuzz: ") == err.text &&
                utf8_valid_length(err.text, strlen(err.text)) == strlen(err.text));
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct corpus first, second;
    size_t text_size = 0;
    if (size < 2)
        return 0;
    const size_t *range = ranges[data[1] / (N_COLUMNS * N_COLUMNS)], *all = ranges[0];
    size -= 2;
    if (read_once(&first, data, size, all, &text_size) != STATUS_OK)
        return 0;
    check_corpus(&first, text_size, true);
    if (range == all) {
        REQUIRE(read_once(&second, data, size, all, &text_size) == STATUS_OK);
        REQUIRE(first.n_rows == second.n_rows && memcmp(first.hash, second.hash, 16) == 0);
        corpus_free(&second);
    } else if (read_once(&second, data, size, range, &text_size) == STATUS_OK) {
        check_corpus(&second, text_size, false);
        check_some_rows(&second, &first, range);
        corpus_free(&second);
    } else {
        REQUIRE(range[0] > first.n_rows);
    }
    corpus_free(&first);
    return 0;
}
