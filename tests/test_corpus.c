/* Corpora: what is read from which bytes, and what is said about bytes that cannot be read. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include "host/base/memory.h"
#include "loaders/corpus.h"

/* Bytes of a literal, 0 bytes included. */
#define BYTES(literal) (literal), sizeof(literal) - 1

/* The settings of a case in short: "TEXT/LABEL/HEADER", empty for NULL and for guessing. */
struct settings_buffer {
    char text[64], label[64], header[64];
};

static struct corpus_settings parse_settings(struct settings_buffer *buffer, const char *settings)
{
    memset(buffer, 0, sizeof *buffer);
    sscanf(settings, "%63[^/]", buffer->text);
    const char *slash = strchr(settings, '/');
    if (slash)
        sscanf(slash, "/%63[^/]", buffer->label);
    slash = slash ? strchr(slash + 1, '/') : NULL;
    if (slash)
        sscanf(slash, "/%63s", buffer->header);
    return (struct corpus_settings){
        .text_column = buffer->text[0] ? buffer->text : NULL,
        .label_column = buffer->label[0] ? buffer->label : NULL,
        .header = strcmp(buffer->header, "yes") == 0  ? CORPUS_HEADER_YES
                  : strcmp(buffer->header, "no") == 0 ? CORPUS_HEADER_NO
                                                      : CORPUS_HEADER_GUESS,
    };
}

static enum status read_bytes(struct corpus *corpus, const char *name, const char *bytes, size_t n,
                              const char *settings, struct err *err)
{
    struct settings_buffer buffer;
    struct corpus_settings parsed = parse_settings(&buffer, settings);
    return corpus_read(corpus, write_file(temporary_folder(), name, bytes, n), &parsed, err);
}

/* ---- what is read --------------------------------------------------------------------------- */

/* rows: "LABEL>TEXT" or "TEXT" each, parted by '|'; a blank one is marked by '~' before it. */
static const struct {
    const char *name, *bytes;
    size_t n;
    const char *settings, *rows, *guess;
} good[] = {
    {"a.txt", BYTES("one\ntwo\n"), "", "one|two", "a text a line; no labels"},
    {"a.txt", BYTES("one\r\ntwo"), "1", "one|two", "a text a line; no labels"},
    {"a.txt", BYTES("\xEF\xBB\xBFone\n\n \xE3\x80\x80\nfo\"ur,\t5\n"), "",
     "one|~|~ \xE3\x80\x80|fo\"ur,\t5", "a text a line; no labels"},
    {"a.txt", BYTES("text\nlabel\n"), "", "text|label", "a text a line; no labels"},
    {"a.txt", BYTES("\none\n"), "", "~|one", "a text a line; no labels"},
    {"a.txt", BYTES("a\rb\n"), "", "a\rb", "a text a line; no labels"},
    {"A.TXT", BYTES("one"), "", "one", "a text a line; no labels"},
    {"a.tsv", BYTES("label\ttext\nx\tone\ny\ttwo\nx\tthree\n"), "", "x>one|y>two|x>three",
     "header found: text is column 2 \"text\", label is column 1 \"label\""},
    {"a.tsv", BYTES("LABEL\tText\nx\tone\n"), "", "x>one",
     "header found: text is column 2 \"Text\", label is column 1 \"LABEL\""},
    {"a.tsv", BYTES("Text\ttext\tLabels\nno\tone\tx\n"), "", "one",
     "header found: text is column 2 \"text\"; no labels"},
    {"a.tsv", BYTES("Label\ttitle\nx\tone\n"), "2", "x>one",
     "header found: text is column 2 \"title\", label is column 1 \"Label\""},
    {"a.tsv", BYTES("label\tTEXT\nx\tone\n"), "//yes", "x>one",
     "header: text is column 2 \"TEXT\", label is column 1 \"label\""},
    {"a.tsv", BYTES("text\tlabel\r\none\tx\r\n\ttwo\r\n"), "", "x>one|two>~",
     "header found: text is column 1 \"text\", label is column 2 \"label\""},
    {"a.tsv", BYTES("id\ttext\n1\t\"one\"\n2\ta \"b\n"), "", "\"one\"|a \"b",
     "header found: text is column 2 \"text\"; no labels"},
    {"a.tsv", BYTES("x\tone\ny\ttwo\n"), "", "one|two",
     "no header found, so the first line is a text (is it a header? then --text NAME): text is "
     "column 2, the last; no labels"},
    {"a.csv", BYTES("one;text\ntwo\n"), "//no", "one;text|two",
     "no header: text is column 1, the last; no labels"},
    {"a.csv", BYTES("one; text, label\n"), "", " label",
     "no header found, so the first line is a text (is it a header? then --text NAME): text is "
     "column 2, the last; no labels"},
    {"a.tsv", BYTES("x\tone\ny\ttwo\n"), "/1", "x>one|y>two",
     "no header found, so the first line is a text (is it a header? then --text NAME): text is "
     "column 2, the last; label is "
     "column 1"},
    {"a.tsv", BYTES("one\tx\ntwo\ty\n"), "1/2/no", "x>one|y>two",
     "no header: text is column 1; label is column 2"},
    {"a.tsv", BYTES("a\tb\none\tx\n"), "1//yes", "one",
     "header: text is column 1 \"a\"; no labels"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "//no", "text|one",
     "no header: text is column 2, the last; no labels"},
    {"a.tsv", BYTES("kind\ttitle\nx\tone\n"), "title/kind", "x>one",
     "header found: text is column 2 \"title\", label is column 1 \"kind\""},
    {"a.tsv", BYTES("kind\ttext\nx\tone\n"), "2/kind", "x>one",
     "header found: text is column 2 \"text\", label is column 1 \"kind\""},
    {"a.tsv", BYTES("label\ttitle\nx\tone\n"), "2", "x>one",
     "header found: text is column 2 \"title\", label is column 1 \"label\""},
    {"a.tsv", BYTES("2\tone\n1\ttwo\n"), "2/1", "2>one|1>two",
     "no header found, so the first line is a text (is it a header? then --header): text is column "
     "2; label is column 1"},
    {"a.tsv", BYTES("label\tother\nx\tone\n"), "label", "x",
     "header found: text is column 1 \"label\"; no labels"},
    {"a.tsv", BYTES("text\n\none\n"), "", "~|one",
     "header found: text is column 1 \"text\"; no labels"},
    {"a.tsv", BYTES("\n\nlabel\ttext\n\nx\tone\n\n"), "", "x>one",
     "header found: text is column 2 \"text\", label is column 1 \"label\""},
    {"a.tsv", BYTES("\none\n\n"), "", "~|one|~",
     "no header found, so the first line is a text (is it a header? then --text NAME): text is "
     "column 1, the last; no labels"},
    {"a.csv", BYTES("text,label\n\"one, two\",x\n\"say \"\"hi\"\"\",y\n"), "",
     "x>one, two|y>say \"hi\"",
     "header found: text is column 1 \"text\", label is column 2 \"label\""},
    {"a.csv", BYTES("\xEF\xBB\xBF\"text\"\r\n\"a\r\nb\"\r\n\"\"\"\"\r\nc"), "", "a\r\nb|\"|c",
     "header found: text is column 1 \"text\"; no labels"},
    {"a.csv", BYTES("x,\"\"\ny,one\n"), "/1", "x>~|y>one", NULL},
    {"a.csv", BYTES("label,text\n,one\nx,\n"), "", "one|x>~", NULL},
    {"a.csv", BYTES("one\n\"\"\n\nfour\n"), "", "one|~|~|four", NULL},
    {"a.csv", BYTES("x,one\r"), "", "one", NULL},
    {"a.csv", BYTES("x,\"one\"\r"), "", "one", NULL},
};

/* One row as in `good`, with the checks that every row must pass. */
static size_t format_row(char *out, size_t capacity, const struct corpus *corpus, size_t i)
{
    const struct corpus_row *row = &corpus->rows[i];
    ck_assert_int_eq(row->text[row->length], '\0');
    ck_assert_int_lt(row->label, corpus->n_labels);
    return (size_t)snprintf(out, capacity, "%s%s%s%s%s", i ? "|" : "",
                            row->label >= 0 ? corpus->labels[row->label] : "",
                            row->label >= 0 ? ">" : "", row->blank ? "~" : "", row->text);
}

START_TEST(corpus_reads)
{
    for (size_t c = 0; c < sizeof good / sizeof *good; c++) {
        struct corpus corpus;
        struct err err = {0};
        enum status status =
            read_bytes(&corpus, good[c].name, good[c].bytes, good[c].n, good[c].settings, &err);
        ck_assert_msg(status == STATUS_OK, "case %zu: %s", c, err.text);
        char rows[512] = "";
        size_t used = 0, n_blank = 0;
        for (size_t i = 0; i < corpus.n_rows; i++) {
            used += format_row(rows + used, sizeof rows - used, &corpus, i);
            n_blank += corpus.rows[i].blank;
        }
        ck_assert_msg(strcmp(rows, good[c].rows) == 0, "case %zu: %s, not %s", c, rows,
                      good[c].rows);
        if (good[c].guess)
            ck_assert_msg(strcmp(corpus.guess, good[c].guess) == 0, "case %zu: %s", c,
                          corpus.guess);
        ck_assert_uint_eq(corpus.n_blank, n_blank);
        corpus_free(&corpus);
    }
}
END_TEST

/* All 25 characters of White_Space are blank; U+200B (zero width space) and U+FEFF are not. */
START_TEST(corpus_tells_blank_texts)
{
    static const char spaces[] =
        "\t\v\f\r \xC2\x85\xC2\xA0\xE1\x9A\x80\xE2\x80\x80\xE2\x80\x81\xE2\x80\x82\xE2\x80\x83"
        "\xE2\x80\x84\xE2\x80\x85\xE2\x80\x86\xE2\x80\x87\xE2\x80\x88\xE2\x80\x89\xE2\x80\x8A"
        "\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAF\xE2\x81\x9F\xE3\x80\x80"
        "\nx\n\xE2\x80\x8B\n \xEF\xBB\xBF\n";
    struct corpus corpus;
    struct err err;
    ck_assert_int_eq(read_bytes(&corpus, "a.txt", BYTES(spaces), "", &err), STATUS_OK);
    ck_assert_uint_eq(corpus.n_rows, 4);
    ck_assert(corpus.rows[0].blank && !corpus.rows[1].blank);
    ck_assert(!corpus.rows[2].blank && !corpus.rows[3].blank);
    corpus_free(&corpus);
}
END_TEST

/* ---- what is said --------------------------------------------------------------------------- */

static const struct {
    const char *name, *bytes;
    size_t n;
    const char *settings;
    enum status status;
    const char *message; /* part of it */
} bad[] = {
    {"a.txt", BYTES(""), "", STATUS_BAD_DATA, "a.txt: no texts: the file has no rows"},
    {"a.txt", BYTES("\xEF\xBB\xBF"), "", STATUS_BAD_DATA, "no texts: the file has no rows"},
    {"a.tsv", BYTES("label\ttext\n"), "", STATUS_BAD_DATA, "no texts: the file has no rows"},
    {"a.csv", BYTES("\n\n\n"), "title", STATUS_BAD_DATA, "no texts: the file has no rows"},
    {"a.txt", BYTES("\n \n"), "", STATUS_BAD_DATA, "no texts: all rows are blank"},
    {"a.txt", BYTES("one\ntw\xFFo\n"), "", STATUS_BAD_DATA,
     "a.txt: row 2 (line 2), byte 6 of the file: invalid UTF-8 (0xFF)"},
    {"a.txt", BYTES("\xEF\xBB\xBF\x93\xFA\n"), "", STATUS_BAD_DATA,
     "row 1 (line 1), byte 3 of the file: invalid UTF-8 (0x93); convert"},
    {"a.txt", BYTES("one\n\xE3\x81"), "", STATUS_BAD_DATA, "row 2 (line 2), byte 4"},
    {"a.txt", BYTES("\x1F\x8B\x08"), "", STATUS_BAD_DATA,
     "byte 3 of the compressed file: the gzip data ends too early"},
    {"a.txt", BYTES("one\ntw\0o\n"), "", STATUS_BAD_DATA,
     "a.txt: row 2 (line 2), byte 6 of the file: a 0 byte; remove it"},
    {"a.csv", BYTES("text\n\"a\n\0\"\n\xFF\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2), byte 8 of the file: a 0 byte"},
    {"a.csv", BYTES("text\none\n\0"), "", STATUS_BAD_DATA, "row 2 (line 3), byte 9"},
    {"a.txt", BYTES("o\0n\0e\0"), "", STATUS_BAD_DATA, "if it is UTF-16"},
    {"a.txt", BYTES("\xFF\xFEo\0n\0"), "", STATUS_BAD_DATA, "iconv -f UTF-16"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n\xC0\ttwo\n"), "", STATUS_BAD_DATA,
     "row 2 (line 3), byte 17 of the file: invalid UTF-8 (0xC0)"},
    {"a.tsv", BYTES("labe\xFFl\ttext\n"), "", STATUS_BAD_DATA,
     "the header or row 1 (line 1), byte 4 of the file"},
    {"a.csv", BYTES("text\n\"\"\"\"\"\xFFo\"\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2), byte 10 of the file: invalid UTF-8 (0xFF)"},
    {"a.tsv", BYTES("label\ttext\nx\tone\ny\n"), "", STATUS_BAD_DATA,
     "row 2 (line 3): 1 field, but the first line has 2; complete the row"},
    {"a.tsv", BYTES("text\tlabel\none\tx\ntwo\n"), "", STATUS_BAD_DATA, "row 2 (line 3): 1 field"},
    {"a.tsv", BYTES("label\ttext\nx\tone\ttwo\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2): 3 fields, but the first line has 2; a text cannot hold tabs"},
    {"a.tsv", BYTES("label\ttext\nx\tone\t\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2): 3 fields, but the first line has 2"},
    {"a.tsv", BYTES("label\ttext\textra\nx\tone\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2): 2 fields, but the first line has 3; complete the row"},
    {"a.csv", BYTES("a,b\n1,2\n1,2,3\n"), "", STATUS_BAD_DATA,
     "row 3 (line 3): 3 fields, but the first line has 2; put a text with commas in quotes"},
    {"a.csv", BYTES("text\n\"a\nb\"\none, two\n"), "", STATUS_BAD_DATA,
     "row 2 (line 4): 2 fields, but the first line has 1; put a text with commas in quotes"},
    {"a.csv", BYTES("text\none\n\"two\nthree\n"), "", STATUS_BAD_DATA,
     "row 2 (line 3): the quote that opens field 1 is never closed"},
    {"a.csv", BYTES("\nlabel;text\nx;one\n"), "", STATUS_BAD_DATA,
     "line 2: semicolons part the columns of this header; save it with commas, or --no-header"},
    {"a.csv", BYTES("Label;Text\nx;one\n"), "", STATUS_BAD_DATA,
     "line 1: semicolons part the columns of this header; save it with commas, or --no-header"},
    {"a.csv", BYTES("body\tlabel\none\tx\n"), "body", STATUS_BAD_DATA,
     "line 1: tabs part the columns of this header; give --format tsv, or --no-header"},
    {"a.tsv", BYTES("id,text,label\n1,one,x\n"), "2", STATUS_BAD_DATA,
     "line 1: commas part the columns of this header; give --format csv, or --no-header"},
    {"a.csv", BYTES("x,text\ny,\""), "", STATUS_BAD_DATA, "the quote that opens field 2"},
    {"a.csv", BYTES("text\na \"b\" c\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2): a quote inside field 1, which does not start with one"},
    {"a.csv", BYTES("x,text\ny,\"a\" b\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2): field 2 goes on behind its closing quote"},
    {"a.csv", BYTES("\"text\"\rone\n"), "", STATUS_BAD_DATA,
     "the header or row 1 (line 1): field 1 goes on behind"},
    {"a.tsv", BYTES("label\ttext\nx\0y\tone\n"), "", STATUS_BAD_DATA,
     "row 1 (line 2), byte 12 of the file: a 0 byte"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "title", STATUS_USAGE,
     "there is no column \"title\"; --text takes one of \"label\", \"text\", or a number from 1"},
    {"a.tsv", BYTES("label\tText\nx\tone\n"), "text", STATUS_USAGE,
     "there is no column \"text\"; --text takes one of \"label\", \"Text\", or a number from 1"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "/kind", STATUS_USAGE,
     "there is no column \"kind\"; --label takes one of \"label\", \"text\""},
    {"a.tsv", BYTES("a\tb\nx\tone\n"), "//yes", STATUS_USAGE, "there is no column \"text\""},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "text//no", STATUS_USAGE,
     "without a header there is no column \"text\"; give --text a number from 1"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "3", STATUS_USAGE,
     "there is no column 3: the first line has 2"},
    {"a.tsv", BYTES("label\ttext\nx\tone\n"), "0", STATUS_USAGE, "there is no column 0"},
    {"a.tsv", BYTES("x\tone\n"), "/99999999999999999999999", STATUS_USAGE,
     "there is no column 9999"},
    {"a.txt", BYTES("one\n"), "2", STATUS_USAGE, "a .txt is a text a line"},
    {"a.txt", BYTES("one\n"), "//yes", STATUS_USAGE, "a .txt is a text a line"},
    {"a.txt", BYTES("one\n"), "/1", STATUS_USAGE, "a .txt is a text a line"},
    {"a.json", BYTES("one\n"), "", STATUS_BAD_DATA, "let it end in .csv, .tsv, .jsonl or .txt"},
    {"corpus.gz", BYTES("one\n"), "", STATUS_BAD_DATA, "let it end in .csv, .tsv, .jsonl or .txt"},
};

START_TEST(corpus_refuses)
{
    for (size_t c = 0; c < sizeof bad / sizeof *bad; c++) {
        struct corpus corpus;
        struct err err = {0};
        enum status status =
            read_bytes(&corpus, bad[c].name, bad[c].bytes, bad[c].n, bad[c].settings, &err);
        check_error(status, &err, bad[c].status, bad[c].message, bad[c].bytes);
        ck_assert_ptr_null(corpus.rows);
        ck_assert_ptr_null(corpus.bytes);
    }
}
END_TEST

START_TEST(corpus_refuses_what_is_no_file)
{
    struct corpus corpus;
    struct corpus_settings settings = {0};
    struct err err;
    char path[4200];
    const char *folder = temporary_folder();
    check_error(corpus_read(&corpus, folder, &settings, &err), &err, STATUS_BAD_DATA,
                "no .txt in this folder", "a folder");
    check_error(corpus_read(&corpus, "/dev/null", &settings, &err), &err, STATUS_BAD_DATA,
                "/dev/null: this is a device", "a device");
    snprintf(path, sizeof path, "%s/absent.tsv", folder);
    check_error(corpus_read(&corpus, path, &settings, &err), &err, STATUS_MISSING,
                "absent.tsv: no such file", "a missing file");
    snprintf(path, sizeof path, "%s/absent.xyz", folder);
    check_error(corpus_read(&corpus, path, &settings, &err), &err, STATUS_MISSING, "no such file",
                "a missing file of an unknown kind");
    snprintf(path, sizeof path, "%s/folder.tsv", folder);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    check_error(corpus_read(&corpus, path, &settings, &err), &err, STATUS_BAD_DATA,
                "no .txt in this folder", "a folder named as a table");
}
END_TEST

/* A name that is too long, and many of them: the message stays one line of bounded length. */
START_TEST(corpus_lists_at_most_twenty_columns)
{
    char bytes[4000] = "";
    for (int i = 0; i < 30; i++)
        snprintf(bytes + strlen(bytes), sizeof bytes - strlen(bytes), "%scolumn%02d", i ? "\t" : "",
                 i);
    struct corpus corpus;
    struct err err;
    check_error(read_bytes(&corpus, "a.tsv", bytes, strlen(bytes), "title", &err), &err,
                STATUS_USAGE, "\"column19\", ... (30 in all)", "30 columns");
    ck_assert_ptr_null(strstr(err.text, "column20"));
    memset(bytes, 'x', 3000);
    memcpy(bytes + 59, "\xE3\x81\x82", 3); /* the cut falls into it */
    strcpy(bytes + 3000, "\ttext\none\ttwo\n");
    check_error(read_bytes(&corpus, "a.tsv", bytes, strlen(bytes), "title", &err), &err,
                STATUS_USAGE, "xxx...\", \"text\"", "a long name");
    ck_assert_int_eq(read_bytes(&corpus, "a.tsv", bytes, strlen(bytes), "1", &err), STATUS_OK);
    ck_assert_ptr_nonnull(strstr(corpus.guess, "xxx...\""));
    corpus_free(&corpus);
}
END_TEST

/* ---- gzip ----------------------------------------------------------------------------------- */

/* One gzip member; the caller frees. */
static unsigned char *gzip(const void *bytes, size_t n, size_t *size)
{
    z_stream stream = {0};
    ck_assert_int_eq(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    *size = deflateBound(&stream, n) + 64;
    unsigned char *out = malloc(*size);
    stream.next_in = (Bytef *)bytes, stream.avail_in = (uInt)n;
    stream.next_out = out, stream.avail_out = (uInt)*size;
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *size = stream.total_out;
    deflateEnd(&stream);
    return out;
}

/* Two members, then `tail`; the first `cut` bytes of that are written. Returns the status. */
static enum status read_gzip(struct corpus *corpus, const char *tail, size_t tail_size, size_t cut,
                             size_t *whole, struct err *err)
{
    size_t size1, size2;
    unsigned char *member1 = gzip("label\ttext\nx\tone\ny\tt", 20, &size1);
    unsigned char *member2 = gzip("wo\n", 3, &size2);
    *whole = size1 + size2 + tail_size;
    char *bytes = malloc(*whole + 1);
    memcpy(bytes, member1, size1);
    memcpy(bytes + size1, member2, size2);
    memcpy(bytes + size1 + size2, tail, tail_size);
    enum status status =
        read_bytes(corpus, "a.tsv.GZ", bytes, cut < *whole ? cut : *whole, "", err);
    free(member1), free(member2), free(bytes);
    return status;
}

START_TEST(corpus_reads_gzip)
{
    struct corpus corpus;
    struct err err;
    size_t whole;
    for (int padded = 0; padded < 2; padded++) {
        enum status status = read_gzip(&corpus, "\0\0\0\0", padded ? 4 : 0, SIZE_MAX, &whole, &err);
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
        ck_assert_uint_eq(corpus.n_rows, 2);
        ck_assert_str_eq(corpus.rows[1].text, "two");
        ck_assert_str_eq(corpus.labels[corpus.rows[1].label], "y");
        corpus_free(&corpus);
    }
}
END_TEST

START_TEST(corpus_refuses_damaged_gzip)
{
    struct corpus corpus;
    struct err err;
    size_t whole;
    check_error(read_gzip(&corpus, "more", 4, SIZE_MAX, &whole, &err), &err, STATUS_BAD_DATA,
                "damaged gzip data (incorrect header check)", "bytes behind the last member");
    check_error(read_gzip(&corpus, "\x1F\x8B", 2, SIZE_MAX, &whole, &err), &err, STATUS_BAD_DATA,
                "the gzip data ends too early", "a third member cut");
    /* Cut anywhere, but where the first member ends. */
    read_gzip(&corpus, "", 0, 0, &whole, &err);
    int n_good = 0;
    for (size_t cut = 0, all = whole; cut < all; cut++) {
        enum status status = read_gzip(&corpus, "", 0, cut, &whole, &err);
        char place[64];
        snprintf(place, sizeof place, "a.tsv.GZ: byte %zu of the compressed file", cut);
        if (status != STATUS_OK)
            check_error(status, &err, STATUS_BAD_DATA, place, "a truncated file");
        n_good += status == STATUS_OK;
        corpus_free(&corpus);
    }
    ck_assert_int_eq(n_good, 1);
    check_error(read_bytes(&corpus, "a.txt.gz", BYTES("one\n"), "", &err), &err, STATUS_BAD_DATA,
                "damaged gzip data", "plain text named .gz");
}
END_TEST

/* A flipped bit behind the header is found by the checksum at the latest, but for those that fill
 * the last byte before it and mean nothing. */
START_TEST(corpus_finds_flipped_bits_in_gzip)
{
    size_t size;
    static const char text[] = "one two three two one\ntwo\nthree\n";
    unsigned char *member = gzip(text, strlen(text), &size);
    for (size_t bit = 10 * 8; bit < size * 8; bit++) {
        member[bit / 8] ^= (unsigned char)(1 << bit % 8);
        struct text_source source = {.bytes = mem_resize(NULL, size + 1, 1), .size = size};
        memcpy(source.bytes, member, size);
        struct err err;
        enum status status = text_source_gunzip(&source, "x", &err);
        if (status == STATUS_OK) {
            ck_assert_uint_eq(bit / 8, size - 9);
            ck_assert_str_eq(source.bytes, text);
        } else {
            ck_assert_int_eq(status, STATUS_BAD_DATA);
            ck_assert_uint_eq(source.size, size);
        }
        text_source_free(&source);
        member[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(member);
}
END_TEST

/* ---- large files, pipes, memory ------------------------------------------------------------- */

/* 20 MB in all: a text of 10 MB full of quotes, then two rows of 100,000 columns and more. */
START_TEST(corpus_reads_large_rows)
{
    size_t n_text = 10 << 20, n_columns = 100000, at = 0;
    char *bytes = malloc(24 << 20);
    at += (size_t)sprintf(bytes, "text");
    for (size_t i = 0; i < n_columns; i++)
        at += (size_t)sprintf(bytes + at, ",c%zu", i);
    bytes[at++] = '\n';
    bytes[at++] = '"';
    memset(bytes + at, '"', n_text);
    at += n_text;
    bytes[at++] = '"';
    memset(bytes + at, ',', n_columns);
    at += n_columns;
    at += (size_t)sprintf(bytes + at, "\nshort");
    for (size_t i = 0; i < n_columns; i++)
        at += (size_t)sprintf(bytes + at, ",\"%zu\"", i);
    struct corpus corpus;
    struct err err;
    ck_assert_msg(read_bytes(&corpus, "a.csv", bytes, at, "", &err) == STATUS_OK, "%s", err.text);
    ck_assert_uint_eq(corpus.n_rows, 2);
    ck_assert_uint_eq(corpus.rows[0].length, n_text / 2);
    ck_assert_str_eq(corpus.rows[1].text, "short");
    corpus_free(&corpus);
    free(bytes);
}
END_TEST

/* 5,000 labels, each twice: the table of labels grows and finds them again. */
START_TEST(corpus_numbers_labels_by_first_appearance)
{
    enum { N_LABELS = 5000 };
    char *bytes = malloc(N_LABELS * 40);
    size_t at = (size_t)sprintf(bytes, "text\tlabel\n");
    for (int i = 0; i < 2 * N_LABELS; i++)
        at += (size_t)sprintf(bytes + at, "t%d\tL%d\n", i, i % N_LABELS * 7919 % N_LABELS);
    struct corpus corpus;
    struct err err;
    ck_assert_msg(read_bytes(&corpus, "a.tsv", bytes, at, "", &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(corpus.n_labels, N_LABELS);
    for (int i = 0; i < 2 * N_LABELS; i++) {
        char want[16];
        snprintf(want, sizeof want, "L%d", i % N_LABELS * 7919 % N_LABELS);
        ck_assert_int_eq(corpus.rows[i].label, i % N_LABELS);
        ck_assert_str_eq(corpus.labels[corpus.rows[i].label], want);
    }
    corpus_free(&corpus);
    free(bytes);
}
END_TEST

START_TEST(corpus_reads_pipes)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/pipe.txt", temporary_folder());
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    pid_t writer = fork();
    if (writer == 0) {
        FILE *file = fopen(path, "w");
        for (int i = 0; file && i < 50000; i++)
            fprintf(file, "text %d\n", i);
        _exit(file && fclose(file) == 0 ? 0 : 1);
    }
    struct corpus corpus;
    struct corpus_settings settings = {0};
    struct err err;
    ck_assert_msg(corpus_read(&corpus, path, &settings, &err) == STATUS_OK, "%s", err.text);
    waitpid(writer, NULL, 0);
    ck_assert_uint_eq(corpus.n_rows, 50000);
    ck_assert_str_eq(corpus.rows[49999].text, "text 49999");
    corpus_free(&corpus);
}
END_TEST

START_TEST(corpus_survives_lack_of_memory)
{
    static const struct {
        const char *name, *bytes;
    } cases[] = {
        {"a.csv", "label,text\nx,one\ny,\"t\"\"wo\"\n"},
        {"a.tsv", "label\ttext\nx\tone\ny\ttwo\n"},
        {"a.txt", "one\ntwo\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *folder = temporary_folder(), *bytes = cases[i].bytes;
        char name[16], what[32];
        size_t size;
        unsigned char *member = gzip(bytes, strlen(bytes), &size);
        snprintf(name, sizeof name, "%s.gz", cases[i].name);
        const char *plain = write_file(folder, cases[i].name, bytes, strlen(bytes));
        const char *packed = write_file(folder, name, member, size);
        free(member);
        snprintf(what, sizeof what, "reading %s", cases[i].name);
        /* The text, its rows; zlib's own two. */
        long n = check_corpus_lacks_memory(plain, what);
        ck_assert_int_ge(n, 2);
        ck_assert_int_ge(check_corpus_lacks_memory(packed, what), n + 2);
    }
}
END_TEST

/* ---- the hash ------------------------------------------------------------------------------- */

static void hash_of(unsigned char hash[16], const char *name, const char *bytes)
{
    struct corpus corpus;
    struct err err;
    ck_assert_int_eq(read_bytes(&corpus, name, bytes, strlen(bytes), "", &err), STATUS_OK);
    memcpy(hash, corpus.hash, 16);
    corpus_free(&corpus);
}

START_TEST(corpus_hash_tells_texts_apart)
{
    unsigned char base[16], other[16];
    hash_of(base, "a.txt", "one\ntwo\n");
    hash_of(other, "a.csv", "label,text\r\nx,\"one\"\r\n,two");
    ck_assert_mem_eq(base, other, 16); /* the texts count, not the file that held them */
    static const char *const others[] = {"two\none\n", "onet\nwo\n", "one\ntwo\n\n", "one\n",
                                         "onetwo\n",   "\none\ntwo", "One\ntwo\n"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        hash_of(other, "a.txt", others[i]);
        ck_assert_mem_ne(base, other, 16);
    }
}
END_TEST

/* ---- the corpora at hand -------------------------------------------------------------------- */

START_TEST(corpus_reads_livedoor)
{
    const char *path = shared_data("corpora/livedoor_titles.tsv");
    if (!path)
        SKIP("needs ../shared/data/corpora/livedoor_titles.tsv");
    struct corpus corpus;
    struct corpus_settings settings = {0};
    struct err err;
    ck_assert_msg(corpus_read(&corpus, path, &settings, &err) == STATUS_OK, "%s", err.text);
    ck_assert_uint_eq(corpus.n_rows, 5894);
    ck_assert_int_eq(corpus.n_labels, 9);
    ck_assert_str_eq(corpus.labels[0], "dokujo-tsushin");
    ck_assert_str_eq(corpus.rows[3].text, "税金を払うのは私たちなんですけど！");
    ck_assert_uint_eq(corpus.n_blank, 0);
    corpus_free(&corpus);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("corpus");
    TCase *tests = tcase_create("corpus");
    tcase_add_test(tests, corpus_reads);
    tcase_add_test(tests, corpus_tells_blank_texts);
    tcase_add_test(tests, corpus_refuses);
    tcase_add_test(tests, corpus_refuses_what_is_no_file);
    tcase_add_test(tests, corpus_lists_at_most_twenty_columns);
    tcase_add_test(tests, corpus_reads_gzip);
    tcase_add_test(tests, corpus_refuses_damaged_gzip);
    tcase_add_test(tests, corpus_finds_flipped_bits_in_gzip);
    tcase_add_test(tests, corpus_reads_large_rows);
    tcase_add_test(tests, corpus_numbers_labels_by_first_appearance);
    tcase_add_test(tests, corpus_reads_pipes);
    tcase_add_test(tests, corpus_survives_lack_of_memory);
    tcase_add_test(tests, corpus_hash_tells_texts_apart);
    tcase_add_test(tests, corpus_reads_livedoor);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
