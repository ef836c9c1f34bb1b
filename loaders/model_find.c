/* See model_find.h. */
#include "loaders/model_find.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/file.h"

#define ID_LARGEST       200 /* bytes of ORG/NAME; the hub allows 96 */
#define REVISION_LARGEST 200

/* ---- names ---------------------------------------------------------------------------------- */

/* Nothing that could lead out of the folder that the name is put behind. */
static bool is_plain(const char *text, int slashes)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-/";
    if (!*text || text[strspn(text, letters)] || strstr(text, "..") || strstr(text, "//"))
        return false;
    for (const char *c = text; *c; c++) {
        bool first = c == text || c[-1] == '/';
        slashes -= *c == '/';
        if (first && (*c == '/' || *c == '.' || *c == '-'))
            return false;
    }
    return slashes >= 0 && text[strlen(text) - 1] != '/';
}

struct wanted {
    char id[ID_LARGEST + 1];             /* NAME or ORG/NAME */
    const char *name;                    /* in id, behind ORG/ */
    char revision[REVISION_LARGEST + 1]; /* "" where none is named */
};

static bool parse_name(struct wanted *wanted, const char *text)
{
    const char *at = strchr(text, '@');
    size_t length = at ? (size_t)(at - text) : strlen(text);
    if (length > ID_LARGEST || (at && strlen(at + 1) > REVISION_LARGEST))
        return false;
    memcpy(wanted->id, text, length);
    wanted->id[length] = '\0';
    snprintf(wanted->revision, sizeof wanted->revision, "%s", at ? at + 1 : "");
    const char *slash = strchr(wanted->id, '/');
    wanted->name = slash ? slash + 1 : wanted->id;
    return is_plain(wanted->id, 1) && (!at || is_plain(wanted->revision, INT_MAX));
}

/* What ends so is meant as a path. */
static bool is_file_name(const char *name)
{
    static const char *const endings[] = {".gguf", ".safetensors", ".json", ".model", ".bin"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static bool is_there(const char *path, bool folder)
{
    struct stat status;
    return stat(path, &status) == 0 && (!folder || S_ISDIR(status.st_mode));
}

/* ---- snapshots ------------------------------------------------------------------------------ */

/* Room for a path; what is longer is cut, and then not found. */
typedef char path_text[PATH_MAX];

/* The commit that refs/REVISION holds; false where there is no such file, or a strange one. */
static bool read_reference(const char *repository, const char *revision, char commit[65])
{
    path_text path;
    struct file_map map;
    if (snprintf(path, sizeof path, "%s/refs/%s", repository, revision) >= (int)sizeof path ||
        file_map(&map, path, NULL) != STATUS_OK)
        return false;
    size_t length = 0;
    while (length < map.size && length < 64 && strchr("0123456789abcdef", map.data[length]) &&
           map.data[length])
        length++;
    memcpy(commit, map.data, length);
    commit[length] = '\0';
    bool whole = length > 0 && (length == map.size || map.data[length] == '\n');
    return file_map_finish(&map, path, STATUS_OK, NULL) == STATUS_OK && whole;
}

/* Downloads that were broken off leave snapshots with a few files only. */
static bool is_usable(const char *snapshot)
{
    path_text path;
    if (snprintf(path, sizeof path, "%s/config.json", snapshot) < (int)sizeof path &&
        is_there(path, false))
        return true;
    DIR *directory = opendir(snapshot);
    bool found = false;
    for (struct dirent *entry; directory && !found && (entry = readdir(directory));) {
        const char *dot = strrchr(entry->d_name, '.');
        found = dot && strcmp(dot, ".gguf") == 0 &&
                snprintf(path, sizeof path, "%s/%s", snapshot, entry->d_name) < (int)sizeof path &&
                is_there(path, false);
    }
    if (directory)
        closedir(directory);
    return found;
}

static bool is_newer(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Among equally new ones the last by name: the order of the folder's entries must not decide. */
static bool newest_snapshot(const char *repository, path_text newest)
{
    path_text snapshots, path;
    struct stat status;
    struct timespec time = {0};
    if (snprintf(snapshots, sizeof snapshots, "%s/snapshots", repository) >= (int)sizeof snapshots)
        return false;
    DIR *directory = opendir(snapshots);
    *newest = '\0';
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", snapshots, entry->d_name) >= (int)sizeof path ||
            stat(path, &status) != 0 || !S_ISDIR(status.st_mode) || !is_usable(path))
            continue;
        bool older = is_newer(&time, &status.st_mtim);
        bool newer = is_newer(&status.st_mtim, &time);
        if (*newest && (older || (!newer && strcmp(path, newest) < 0)))
            continue;
        time = status.st_mtim;
        strcpy(newest, path);
    }
    if (directory)
        closedir(directory);
    return *newest != '\0';
}

/* repository: a folder models--ORG--NAME. revision "": main, else the newest. */
static bool find_snapshot(const char *repository, const char *revision, path_text snapshot)
{
    char commit[65];
    if (read_reference(repository, *revision ? revision : "main", commit) &&
        snprintf(snapshot, PATH_MAX, "%s/snapshots/%s", repository, commit) < PATH_MAX &&
        is_there(snapshot, true))
        return true;
    if (!*revision)
        return newest_snapshot(repository, snapshot);
    return !strchr(revision, '/') &&
           snprintf(snapshot, PATH_MAX, "%s/snapshots/%s", repository, revision) < PATH_MAX &&
           is_there(snapshot, true);
}

/* ---- the cache ------------------------------------------------------------------------------ */

/* Without a home there is none, and nothing is in it. */
static void cache_folder(path_text folder)
{
    static const struct {
        const char *variable, *behind;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HUGGINGFACE_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    strcpy(folder, "no HOME");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *value = getenv(places[i].variable), *home = getenv("HOME");
        if (!value || !*value)
            continue;
        bool tilde = home && value[0] == '~' && (value[1] == '/' || !value[1]);
        int length = snprintf(folder, PATH_MAX, "%s%s%s", tilde ? home : "", value + tilde,
                              places[i].behind);
        if (length >= PATH_MAX)
            strcpy(folder, "too long a path");
        return;
    }
}

/* The folder of the model in the cache, there or not; false where the path is too long. */
static bool cached_repository(const char *cache, const struct wanted *wanted, path_text repository)
{
    int organisation = (int)(wanted->name - wanted->id);
    return snprintf(repository, PATH_MAX, "%s/models--%.*s%s%s", cache,
                    organisation > 0 ? organisation - 1 : 0, wanted->id,
                    organisation > 0 ? "--" : "", wanted->name) < PATH_MAX;
}

/* ---- finding -------------------------------------------------------------------------------- */

static enum status keep(struct arena *arena, const char *found, const char **path, struct err *err)
{
    *path = arena_text(arena, found, strlen(found));
    return *path ? STATUS_OK : err_no_memory(err, "a path", strlen(found));
}

/* How to get a model of this name: tools/fetch-model.sh takes ORG/NAME, and knows one by its name
 * alone. */
static const char *fetch_advice(const char *id, char text[ID_LARGEST + 80])
{
    static const char known[] = "smollm2-135m";
    if (strchr(id, '/') || strcmp(id, known) == 0)
        snprintf(text, ID_LARGEST + 80, "fetch it: sh tools/fetch-model.sh %s", id);
    else
        snprintf(text, ID_LARGEST + 80,
                 "sh tools/fetch-model.sh fetches %s, or ORG/NAME of the hub", known);
    return text;
}

static enum status not_found(const struct wanted *wanted, const char *cache, const char *repository,
                             struct err *err)
{
    const char *id = wanted->id, *revision = wanted->revision;
    char advice[ID_LARGEST + 80];
    if (*revision && !strchr(id, '/'))
        return err_set(err, STATUS_MISSING,
                       "%s@%s: the Hugging Face cache (%s) has no such model or revision; the "
                       "hub's names are ORG/NAME, and sh tools/fetch-model.sh ORG/NAME --revision "
                       "%s fetches one",
                       id, revision, cache, revision);
    if (*revision)
        return err_set(err, STATUS_MISSING,
                       "%s@%s: the Hugging Face cache (%s) has no such revision; sh "
                       "tools/fetch-model.sh %s --revision %s puts it into models/, as %s",
                       id, revision, cache, id, revision, id);
    if (*repository && is_there(repository, true))
        return err_set(err, STATUS_MISSING, "%s: %s holds no whole snapshot; %s", id, repository,
                       fetch_advice(id, advice));
    return err_set(err, STATUS_MISSING,
                   "%s: no such file or folder, nor is it in models/ or in the Hugging Face cache "
                   "(%s); %s",
                   id, cache, fetch_advice(id, advice));
}

static enum status find_by_name(struct arena *arena, const struct wanted *wanted, const char **path,
                                struct err *err)
{
    path_text cache, repository = "", found;
    const char *const names[] = {wanted->id, wanted->name};
    for (int i = 0; i < 2 && !*wanted->revision; i++) {
        snprintf(found, sizeof found, "models/%s", names[i]);
        if (is_there(found, true))
            return keep(arena, found, path, err);
    }
    cache_folder(cache);
    if (cached_repository(cache, wanted, repository) &&
        find_snapshot(repository, wanted->revision, found))
        return keep(arena, found, path, err);
    return not_found(wanted, cache, repository, err);
}

enum status model_find(struct arena *arena, const char *name, const char **path, struct err *err)
{
    struct wanted wanted;
    path_text inside;
    char advice[ID_LARGEST + 80];
    *path = NULL;
    if (is_there(name, false)) {
        /* A cache's folder of a model stands for its snapshot. */
        bool has_snapshots = snprintf(inside, sizeof inside, "%s/snapshots", name) < PATH_MAX &&
                             is_there(inside, true) && find_snapshot(name, "", inside);
        return keep(arena, has_snapshots ? inside : name, path, err);
    }
    if (errno != ENOENT && errno != ENOTDIR)
        return err_set(err, STATUS_RESOURCE, "%s: %s", name, strerror(errno));
    static const char ours[] = "models/"; /* the way to a model, and no organisation */
    if (parse_name(&wanted, name) && strncmp(name, ours, sizeof ours - 1) == 0)
        return err_set(err, STATUS_MISSING, "%s: no such file or folder; %s", name,
                       fetch_advice(wanted.name, advice));
    if (parse_name(&wanted, name) && !is_file_name(wanted.name))
        return find_by_name(arena, &wanted, path, err);
    return err_set(err, STATUS_MISSING,
                   "%s: no such file or folder; name a model's folder, a .gguf, or ORG/NAME of one "
                   "that was fetched (tools/fetch-model.sh smollm2-135m gets a small one)",
                   name);
}
