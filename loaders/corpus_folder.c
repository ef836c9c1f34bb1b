/* A folder of .txt (or .txt.gz) as a corpus: a text a file. See corpus.h.
 *
 * Folders inside the folder are read too, and the first of them on a file's way is its label, as in
 * scikit-learn's load_files. Rows are in the order of the paths below the folder, byte by byte, as
 * `find | LC_ALL=C sort` has them, so that the order does not depend on the file system. Passed
 * over: hidden names, other files, the folders that `midashi topics` leaves (*.topics), and links
 * to folders, so that no loop can arise and no text comes twice. Links to files are followed. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/corpus_rows.h"

/* Paths below the folder, "" for itself. */
struct paths {
    const char **items;
    size_t n, capacity;
};

struct walk {
    const char *root;
    struct paths files, folders; /* folders: still to be read */
    size_t n_links;              /* links to folders */
    struct arena arena;
};

static enum status push(struct paths *paths, const char *path, struct err *err)
{
    if (paths->n == paths->capacity) {
        size_t larger = paths->capacity ? 2 * paths->capacity : 64;
        const char **items = mem_resize((void *)paths->items, larger, sizeof *items);
        if (!items)
            return err_no_memory(err, "the names of files", larger * sizeof *items);
        paths->items = items;
        paths->capacity = larger;
    }
    paths->items[paths->n++] = path;
    return STATUS_OK;
}

/* "FOLDER/NAME", or NAME where folder is "". */
static enum status join(struct arena *arena, char **out, const char *folder, const char *name,
                        struct err *err)
{
    size_t n_folder = strlen(folder), n_name = strlen(name);
    bool slash = n_folder > 0 && folder[n_folder - 1] != '/';
    *out = arena_alloc(arena, n_folder + n_name + 2, 1);
    if (!*out)
        return err_no_memory(err, "the name of a file", n_folder + n_name + 2);
    memcpy(*out, folder, n_folder);
    if (slash)
        (*out)[n_folder] = '/';
    memcpy(*out + n_folder + slash, name, n_name + 1);
    return STATUS_OK;
}

static bool ends_in(const char *name, const char *ending)
{
    size_t length = strlen(name), n = strlen(ending);
    return length >= n && strcasecmp(name + length - n, ending) == 0;
}

/* Sorts an entry of a folder into files, folders, and what is passed over. */
static enum status add_entry(struct walk *walk, const char *folder, const char *name,
                             struct err *err)
{
    char *path, *full;
    struct stat info, target;
    if (name[0] == '.')
        return STATUS_OK;
    bool is_text = ends_in(name, ".txt") || ends_in(name, ".txt.gz");
    struct arena_mark mark = arena_mark(&walk->arena);
    TRY(join(&walk->arena, &path, folder, name, err));
    struct arena_mark full_mark = arena_mark(&walk->arena);
    TRY(join(&walk->arena, &full, walk->root, path, err));
    int failed = lstat(full, &info);
    bool is_link = !failed && S_ISLNK(info.st_mode);
    if (is_link)
        failed = stat(full, &target);
    if (failed && is_text)
        return err_set(err, errno == ENOENT ? STATUS_MISSING : STATUS_RESOURCE,
                       "%s: %s%s; mend or remove it", full,
                       is_link ? "a link that leads nowhere: " : "", strerror(errno));
    if (failed) {
        arena_reset(&walk->arena, mark);
        return STATUS_OK;
    }
    mode_t mode = is_link ? target.st_mode : info.st_mode;
    if (is_text && !S_ISREG(mode) && !S_ISDIR(mode))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: this is %s; a folder of texts may hold regular files only", full,
                       S_ISFIFO(mode) ? "a pipe" : "a device or a socket");
    arena_reset(&walk->arena, full_mark);
    if (S_ISDIR(mode) && is_link)
        walk->n_links++;
    else if (S_ISDIR(mode) && !ends_in(name, ".topics"))
        return push(&walk->folders, path, err);
    else if (is_text && S_ISREG(mode))
        return push(&walk->files, path, err);
    arena_reset(&walk->arena, mark);
    return STATUS_OK;
}

static enum status read_entries(struct walk *walk, const char *folder, struct err *err)
{
    char *full;
    TRY(join(&walk->arena, &full, walk->root, folder, err));
    DIR *stream = opendir(full);
    if (!stream)
        return err_set(err, STATUS_RESOURCE, "%s: cannot be opened: %s", full, strerror(errno));
    enum status status = STATUS_OK;
    errno = 0;
    for (const struct dirent *entry; status == STATUS_OK && (entry = readdir(stream)); errno = 0)
        status = add_entry(walk, folder, entry->d_name, err);
    if (status == STATUS_OK && errno)
        status = err_set(err, STATUS_RESOURCE, "%s: cannot be read: %s", full, strerror(errno));
    closedir(stream);
    return status;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One folder at a time is open, however deep they lie in one another. */
static enum status find_files(struct walk *walk, struct err *err)
{
    TRY(push(&walk->folders, "", err));
    while (walk->folders.n > 0) {
        TRY(interrupt_check(err));
        TRY(read_entries(walk, walk->folders.items[--walk->folders.n], err));
    }
    if (walk->files.n == 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: no .txt in this folder; name a folder of .txt files, or one .csv, "
                       ".tsv, .jsonl or .txt",
                       walk->root);
    qsort((void *)walk->files.items, walk->files.n, sizeof *walk->files.items, compare_paths);
    return STATUS_OK;
}

/* ---- texts ---------------------------------------------------------------------------------- */

/* The first folder on the path, which is the label; NULL for a file directly in the corpus. */
static enum status find_label(struct corpus_reading *r, const char *path, const char **label,
                              struct err *err)
{
    const char *slash = strchr(path, '/');
    *label = NULL;
    if (!slash)
        return STATUS_OK;
    size_t length = (size_t)(slash - path);
    if (utf8_valid_length(path, length) != length)
        return err_set(err, STATUS_BAD_DATA,
                       "%s/%.*s: the folder's name, which is a label, is not UTF-8; rename it",
                       r->name, (int)length, path);
    *label = arena_text(&r->corpus->arena, path, length);
    return *label ? STATUS_OK : err_no_memory(err, "the labels", length);
}

/* The text of a file: without a byte-order mark, and without the end of its last line. */
static enum status add_text(struct corpus_reading *r, const struct text_source *source,
                            const char *full, const char *label, struct err *err)
{
    struct text_fault fault;
    text_source_find_fault(&fault, source);
    if (fault.byte < source->size)
        return err_set(err, STATUS_BAD_DATA, "%s: byte %zu: %s", full, fault.byte, fault.what);
    const char *bytes = source->bytes;
    size_t size = source->size;
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        bytes += 3, size -= 3;
    if (size > 0 && bytes[size - 1] == '\n')
        size -= size > 1 && bytes[size - 2] == '\r' ? 2 : 1;
    struct arena *arena = &r->corpus->arena;
    struct arena_mark mark = arena_mark(arena);
    size_t n_rows = r->corpus->n_rows;
    char *text = arena_text(arena, bytes, size);
    if (!text)
        return err_no_memory(err, full, size);
    TRY(corpus_add_row(r, text, size, label, err));
    if (r->corpus->n_rows == n_rows) /* --rows left it out */
        arena_reset(arena, mark);
    return STATUS_OK;
}

static enum status read_file(struct corpus_reading *r, const char *full, const char *label,
                             struct err *err)
{
    struct text_source source;
    TRY(text_source_read(&source, full, full, err));
    enum status status = STATUS_OK;
    if (ends_in(full, ".gz") || text_source_is_gzip(&source))
        status = text_source_gunzip(&source, full, err);
    if (status == STATUS_OK)
        status = add_text(r, &source, full, label, err);
    text_source_free(&source);
    return status;
}

static enum status read_files(struct corpus_reading *r, struct walk *walk, struct err *err)
{
    for (size_t i = 0; i < walk->files.n; i++) {
        const char *path = walk->files.items[i], *label;
        TRY(interrupt_check(err));
        TRY(find_label(r, path, &label, err));
        struct arena_mark mark = arena_mark(&walk->arena);
        char *full;
        TRY(join(&walk->arena, &full, walk->root, path, err));
        TRY(read_file(r, full, label, err));
        arena_reset(&walk->arena, mark);
    }
    return STATUS_OK;
}

static void describe(char guess[256], const struct walk *walk, bool has_labels)
{
    size_t used =
        (size_t)snprintf(guess, 256, "a text a file; %s",
                         has_labels ? "label is the folder inside the folder" : "no labels");
    if (walk->n_links > 0)
        snprintf(guess + used, 256 - used, "; %zu link%s to folders not followed", walk->n_links,
                 walk->n_links == 1 ? "" : "s");
}

enum status corpus_read_folder(struct corpus_reading *reading, struct err *err)
{
    const struct corpus_settings *settings = reading->settings;
    if (settings->text_column || settings->label_column || settings->header == CORPUS_HEADER_YES)
        return err_set(err, STATUS_USAGE,
                       "%s: a folder has a text a file, without columns and header; leave --text, "
                       "--label and --header out",
                       reading->name);
    struct walk walk = {.root = reading->name};
    enum status status = find_files(&walk, err);
    if (status == STATUS_OK)
        status = read_files(reading, &walk, err);
    if (status == STATUS_OK)
        describe(reading->corpus->guess, &walk, reading->corpus->n_labels > 0);
    mem_free((void *)walk.files.items);
    mem_free((void *)walk.folders.items);
    arena_free(&walk.arena);
    return status;
}
