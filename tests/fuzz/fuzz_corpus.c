/* Fuzzes the corpus reader: .txt, .tsv, .csv and gzip.
 *
 * The first byte chooses the format, the header setting and gzip, the second one the columns; the
 * rest is the file. Whatever is accepted must be what corpus.h promises, and reading it again must
 * give the same. */
#include <string.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/corpus.h"
#include "tests/fuzz/fuzz.h"

static const char *const columns[] = {NULL, "text", "label", "1", "2", "99999999999999999999", ""};
#define N_COLUMNS (sizeof columns / sizeof *columns)

static void check_corpus(const struct corpus *corpus, size_t size)
{
    size_t n_blank = 0;
    REQUIRE(corpus->n_rows > 0 && corpus->n_labels >= 0);
    REQUIRE(memchr(corpus->guess, 0, sizeof corpus->guess) && corpus->guess[0]);
    for (size_t i = 0; i < corpus->n_rows; i++) {
        const struct corpus_row *row = &corpus->rows[i];
        REQUIRE(row->text >= corpus->bytes && row->text + row->length <= corpus->bytes + size);
        REQUIRE(row->text[row->length] == '\0');
        REQUIRE(utf8_valid_length(row->text, row->length) == row->length);
        REQUIRE(row->label >= -1 && row->label < corpus->n_labels);
        n_blank += row->blank;
    }
    REQUIRE(n_blank == corpus->n_blank && n_blank < corpus->n_rows);
    for (int i = 0; i < corpus->n_labels; i++) {
        size_t length = strlen(corpus->labels[i]);
        REQUIRE(length > 0 && utf8_valid_length(corpus->labels[i], length) == length);
    }
}

static enum status read_once(struct corpus *corpus, const uint8_t *data, size_t size,
                             size_t *text_size)
{
    struct text_source source = {.bytes = mem_resize(NULL, size + 1, 1), .size = size};
    REQUIRE(source.bytes);
    memcpy(source.bytes, data + 2, size);
    source.bytes[size] = '\0';
    struct corpus_settings settings = {
        .header = (enum corpus_header)(data[0] / 3 % 3),
        .text_column = columns[data[1] % N_COLUMNS],
        .label_column = columns[data[1] / N_COLUMNS % N_COLUMNS],
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
    enum status status =
        corpus_parse(corpus, "fuzz", (enum table_format)(data[0] % 3), &source, &settings, &err);
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
    if (size < 2 || read_once(&first, data, size - 2, &text_size) != STATUS_OK)
        return 0;
    check_corpus(&first, text_size);
    REQUIRE(read_once(&second, data, size - 2, &text_size) == STATUS_OK);
    REQUIRE(first.n_rows == second.n_rows && memcmp(first.hash, second.hash, 16) == 0);
    corpus_free(&first);
    corpus_free(&second);
    return 0;
}
