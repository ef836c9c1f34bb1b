/* See embedding_key.h. The record is a JSON object: key, hash of the embeddings' file, counts. */
#include "host/embedding_key.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/file.h"
#include "host/linear.h"
#include "host/topics_files.h"
#include "loaders/json.h"
#include "loaders/siphash.h"

static const unsigned char hash_key[16] = "midashi-embed-1";

static enum status hash_file(char text[33], const char *path, struct err *err)
{
    struct file_map map;
    TRY(file_map(&map, path, err));
    struct siphash hash;
    siphash_start(&hash, hash_key);
    siphash_add(&hash, map.data, map.size);
    siphash_finish_digits(&hash, text);
    return file_map_finish(&map, path, STATUS_OK, err);
}

/* ---- the model's identity ------------------------------------------------------------------- */

static bool is_model_file(const char *name)
{
    static const char *const endings[] = {".json", ".safetensors", ".gguf", ".model"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (length > n && strcmp(name + length - n, endings[i]) == 0)
            return true;
    }
    return false;
}

/* Adds up the files' hashes, so that the order in which the folder lists them does not matter. */
static void add_file(uint64_t sum[2], const char *name, const struct stat *stat)
{
    struct siphash hash;
    unsigned char out[16];
    uint64_t half[2];
    const int64_t facts[3] = {stat->st_size, stat->st_mtim.tv_sec, stat->st_mtim.tv_nsec};
    siphash_start(&hash, hash_key);
    siphash_add(&hash, name, strlen(name));
    siphash_add(&hash, facts, sizeof facts);
    siphash_finish(&hash, out);
    memcpy(half, out, sizeof half);
    sum[0] += half[0];
    sum[1] += half[1];
}

static enum status identify_model(uint64_t sum[2], const char *path, struct err *err)
{
    struct stat status;
    sum[0] = sum[1] = 0;
    if (stat(path, &status) != 0)
        return err_set(err, errno == ENOENT ? STATUS_MISSING : STATUS_RESOURCE, "%s: %s", path,
                       strerror(errno));
    if (!S_ISDIR(status.st_mode)) {
        add_file(sum, "model", &status);
        return STATUS_OK;
    }
    DIR *folder = opendir(path);
    if (!folder)
        return err_set(err, STATUS_RESOURCE, "%s: %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (is_model_file(entry->d_name) && stat(file, &status) == 0)
            add_file(sum, entry->d_name, &status);
    }
    closedir(folder);
    return STATUS_OK;
}

enum status embedding_model_identity(char text[33], const char *path, struct err *err)
{
    uint64_t sum[2];
    TRY(identify_model(sum, path, err));
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)sum[0], (unsigned long long)sum[1]);
    return STATUS_OK;
}

/* " adapter=HASH" of its files' bytes, or "". The files are small. */
static enum status identify_adapter(char text[48], const char *folder, struct err *err)
{
    static const char *const names[] = {ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE};
    struct siphash hash;
    text[0] = '\0';
    siphash_start(&hash, hash_key);
    for (size_t i = 0; folder && i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX], digits[33];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        TRY(hash_file(digits, path, err));
        siphash_add(&hash, digits, sizeof digits);
    }
    if (folder) {
        strcpy(text, " adapter=");
        siphash_finish_digits(&hash, text + strlen(text));
    }
    return STATUS_OK;
}

enum status embedding_key(char *text, size_t size, const struct device *device,
                          const char *model_path, const struct embedder_settings *settings,
                          const struct representation *representation, const struct corpus *corpus,
                          struct err *err)
{
    struct siphash prompt;
    char model[33], prompt_hash[33], corpus_hash[33], adapter[48], kernels[DEVICE_KERNELS_SIZE];
    device_kernels(device, kernels);
    TRY(embedding_model_identity(model, model_path, err));
    TRY(identify_adapter(adapter, settings->adapter, err));
    siphash_start(&prompt, hash_key);
    siphash_add(&prompt, representation->prompt, strlen(representation->prompt));
    siphash_finish_digits(&prompt, prompt_hash);
    siphash_digits(corpus_hash, corpus->hash);
    snprintf(text, size,
             "1 model=%s precision=%s pool=%s layer=%d prompt=%s max_tokens=%d "
             "kernels=%s corpus=%s%s",
             model, precision_name(settings->precision), pool_name(representation->pool),
             representation->layer, prompt_hash, settings->max_tokens, kernels, corpus_hash,
             adapter);
    return STATUS_OK;
}

/* ---- the record ----------------------------------------------------------------------------- */

/* NULL where it cannot be read. */
static json_t *read_record(const char *path)
{
    struct file_map map;
    json_error_t error;
    json_t *record = NULL;
    if (file_map(&map, path, NULL) != STATUS_OK)
        return NULL;
    json_parse(&record, (const char *)map.data, map.size, 0, &error, path, NULL);
    file_unmap(&map);
    return record;
}

bool embedding_key_matches(const char *record_path, const char *embeddings_path, const char *key,
                           struct embedding_counts *counts)
{
    char hash[33];
    const char *stored_key, *stored_hash;
    json_int_t texts, blank, truncated, tokens;
    json_t *record = read_record(record_path);
    bool matches = json_unpack(record, "{s:s, s:s, s:I, s:I, s:I, s:I}", "key", &stored_key, "hash",
                               &stored_hash, "texts", &texts, "blank", &blank, "truncated",
                               &truncated, "tokens", &tokens) == 0 &&
                   strcmp(stored_key, key) == 0 &&
                   hash_file(hash, embeddings_path, NULL) == STATUS_OK &&
                   strcmp(stored_hash, hash) == 0;
    if (matches)
        *counts = (struct embedding_counts){(size_t)texts, (size_t)blank, (size_t)truncated,
                                            (size_t)tokens};
    json_decref(record);
    return matches;
}

enum status embedding_key_write(const char *record_path, const char *embeddings_path,
                                const char *key, const struct embedding_counts *counts,
                                struct err *err)
{
    char hash[33];
    TRY(hash_file(hash, embeddings_path, err));
    json_t *record =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "key", key, "hash", hash, "texts",
                  (json_int_t)counts->texts, "blank", (json_int_t)counts->blank, "truncated",
                  (json_int_t)counts->truncated, "tokens", (json_int_t)counts->tokens);
    if (!record)
        return err_no_memory(err, record_path, 0);
    enum status status = json_write(record, record_path, err);
    json_decref(record);
    return status;
}
