/* Reading a corpus: which format, from where, and the pieces in order. See corpus.h. */
#include "loaders/corpus.h"

#include <string.h>
#include <strings.h>
#include "host/base/memory.h"
#include "host/base/names.h"
#include "loaders/corpus_rows.h"

static const struct {
    const char *ending;
    enum corpus_format format;
} endings[] = {
    {".csv", CORPUS_CSV},      {".tsv", CORPUS_TSV}, {".jsonl", CORPUS_JSONL},
    {".ndjson", CORPUS_JSONL}, {".txt", CORPUS_TXT},
};
#define N_ENDINGS (sizeof endings / sizeof *endings)

bool corpus_format_parse(enum corpus_format *format, const char *word)
{
    for (size_t i = 0; i < N_ENDINGS; i++)
        if (strcmp(endings[i].ending + 1, word) == 0) {
            *format = endings[i].format;
            return true;
        }
    return false;
}

void corpus_match_labels(int *match, const struct corpus *corpus, const char *const *names, int n)
{
    for (int label = 0; label < corpus->n_labels; label++)
        match[label] = find_name(names, n, corpus->labels[label]);
}

/* Takes ENDING off the name's end, in any case. */
static bool take_ending(const char *name, size_t *length, const char *ending)
{
    size_t n = strlen(ending);
    if (*length < n || strncasecmp(name + *length - n, ending, n) != 0)
        return false;
    *length -= n;
    return true;
}

enum status corpus_parse(struct corpus *corpus, const char *name, struct text_source *source,
                         const struct corpus_settings *settings, struct err *err)
{
    *corpus = (struct corpus){.bytes = source->bytes};
    size_t size = source->size;
    struct corpus_reading reading;
    corpus_reading_begin(&reading, corpus, name, settings);
    text_source_find_fault(&reading.fault, source);
    *source = (struct text_source){0};
    enum status status = settings->format == CORPUS_JSONL ? corpus_read_jsonl(&reading, size, err)
                                                          : corpus_read_table(&reading, size, err);
    if (status == STATUS_OK)
        status = corpus_reading_finish(&reading, err);
    corpus_reading_end(&reading, status);
    return status;
}

static enum status read_folder(struct corpus *corpus, const char *path,
                               const struct corpus_settings *settings, struct err *err)
{
    if (settings->format != CORPUS_BY_NAME && settings->format != CORPUS_TXT)
        return err_set(err, STATUS_USAGE,
                       "%s: a folder is a corpus of .txt; leave --format out, or name one file",
                       path);
    struct corpus_reading reading;
    corpus_reading_begin(&reading, corpus, path, settings);
    enum status status = corpus_read_folder(&reading, err);
    if (status == STATUS_OK)
        status = corpus_reading_finish(&reading, err);
    corpus_reading_end(&reading, status);
    return status;
}

enum status corpus_read(struct corpus *corpus, const char *path,
                        const struct corpus_settings *settings, struct err *err)
{
    *corpus = (struct corpus){0};
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    enum text_place place;
    TRY(text_source_place(&place, path, err));
    if (place == TEXT_FOLDER)
        return read_folder(corpus, path, settings, err);
    struct corpus_settings settled = *settings;
    size_t length = strlen(path);
    bool compressed = take_ending(path, &length, ".gz");
    for (size_t i = 0; i < N_ENDINGS && settled.format == CORPUS_BY_NAME; i++)
        if (take_ending(path, &length, endings[i].ending))
            settled.format = endings[i].format;
    if (settled.format == CORPUS_BY_NAME && place == TEXT_PIPE)
        settled.format = CORPUS_TXT;
    if (settled.format == CORPUS_BY_NAME)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: the kind of file is not known by its name; let it end in .csv, .tsv, "
                       ".jsonl or .txt, perhaps with .gz behind it, or give --format",
                       path);
    struct text_source source;
    TRY(text_source_read(&source, path, name, err));
    enum status status = compressed || text_source_is_gzip(&source)
                             ? text_source_gunzip(&source, name, err)
                             : STATUS_OK;
    if (status != STATUS_OK) {
        text_source_free(&source);
        return status;
    }
    return corpus_parse(corpus, name, &source, &settled, err);
}

void corpus_free(struct corpus *corpus)
{
    mem_free(corpus->rows);
    mem_free((void *)corpus->labels);
    mem_free(corpus->bytes);
    arena_free(&corpus->arena);
    *corpus = (struct corpus){0};
}
