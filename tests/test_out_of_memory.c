/* Whole commands under a lack of memory: whichever allocation fails, a command says so in one line,
 * releases what it holds, and leaves each output file whole or not there at all. Allocations are
 * those of host/base/memory and of the libraries that ask it: jansson, PCRE2 and zlib. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "host/lora_adapter.h"
#include "loaders/npy.h"
#include "tests/model_writer.h"
#include "tools/midashi/commands.h"

#define MOST_ARGUMENTS 32
#define MOST_FILES     16

/* ---- inputs --------------------------------------------------------------------------------- */

/* The folder of this test: the inputs, and what the commands write. */
static char folder[4096];

static const char *const words_of_group[3][4] = {
    {"boat", "harbour", "sail", "tide"},
    {"oven", "flour", "bread", "yeast"},
    {"violin", "concert", "melody", "choir"},
};

#define N_TEXTS 24

static void write_corpora(void)
{
    char csv[4096] = "label,text\n", tsv[4096] = "label\ttext\n", lines[4096] = "", json[4096] = "",
         path[4200];
    for (int i = 0; i < N_TEXTS; i++) {
        const char *const *words = words_of_group[i % 3];
        char text[64];
        snprintf(text, sizeof text, "the %s and the %s", words[i / 3 % 4], words[(i / 3 + 1) % 4]);
        sprintf(csv + strlen(csv), "%c,\"%s, \"\"really\"\"\"\n", 'a' + i % 3, text);
        sprintf(tsv + strlen(tsv), "%c\t%s\n", 'a' + i % 3, text);
        sprintf(lines + strlen(lines), "%s\n", text);
        sprintf(json + strlen(json), "\"%s \\u898b\"\n", text);
    }
    strcat(csv, "a, \n"); /* a blank text */
    write_file(folder, "texts.csv", csv, strlen(csv));
    write_file(folder, "texts.txt", lines, strlen(lines));
    write_file(folder, "texts.jsonl", json, strlen(json));
    snprintf(path, sizeof path, "%s/texts.tsv.gz", folder);
    gzFile file = gzopen(path, "wb");
    gzwrite(file, tsv, (unsigned)strlen(tsv));
    ck_assert_int_eq(gzclose(file), Z_OK);
}

static void write_inputs(void)
{
    char path[4200];
    float x[20 * 6];
    struct err err;
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_corpora();
    snprintf(path, sizeof path, "%s/model", folder);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    write_random_model(path, &tiny_shape);
    snprintf(path, sizeof path, "%s/x.npy", folder);
    fill_normal(x, 20 * 6, 5, 1);
    ck_assert_int_eq(npy_write(path, NPY_F32, 2, 20, 6, x, &err), STATUS_OK);
}

/* ---- running a command ---------------------------------------------------------------------- */

/* A command line. Words that begin with '@' are names in the folder. */
struct run {
    const struct command *command;
    const char *words[MOST_ARGUMENTS];
    const char
        *outputs[MOST_FILES];     /* files under the folder that it writes, always the same bytes */
    bool keep;                    /* the outputs stay from run to run */
    bool prints;                  /* what it prints is always the same but for times */
    char *wanted[MOST_FILES + 1]; /* by a run that has memory; the last is what it prints */
    size_t wanted_size[MOST_FILES + 1];
};

/* A whole file in fresh memory, NULL where it is not there. */
static char *read_whole(const char *path, size_t *size)
{
    struct file_map map;
    if (file_map(&map, path, NULL) != STATUS_OK)
        return NULL;
    char *bytes = malloc(map.size + 1);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, map.data, map.size);
    *size = map.size;
    file_unmap(&map);
    return bytes;
}

/* Takes out of JSON, which has a value a line, what differs from run to run. Not by jansson, whose
 * memory may be failing just now. */
static void drop_times(char *text, size_t *size)
{
    static const char *const different[] = {
        "\"finished\"",   "\"read\"",    "\"embed\"",           "\"topics\"",
        "\"peak_bytes\"", "\"seconds\"", "\"seeding_seconds\"", "\"embeddings_reused\"",
    };
    char *out = text;
    for (char *line = text, *next; line < text + *size; line = next) {
        next = strchr(line, '\n') + 1;
        bool keep = true;
        for (size_t i = 0; i < sizeof different / sizeof *different; i++)
            keep = keep && strncmp(line + strspn(line, " "), different[i], strlen(different[i]));
        if (keep)
            out = (char *)memmove(out, line, (size_t)(next - line)) + (next - line);
    }
    *size = (size_t)(out - text);
}

static char *read_output(const char *path, size_t *size)
{
    char *bytes = read_whole(path, size);
    if (bytes && (strstr(path, "/run.json") || strstr(path, "/printed"))) {
        bytes[*size] = '\0';
        drop_times(bytes, size);
    }
    return bytes;
}

/* Standard output, for good, since each test has a process of its own. */
static void catch_output(void)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/printed", folder);
    ck_assert_ptr_nonnull(freopen(path, "wb", stdout));
}

static const char *output_path(const struct run *run, int i)
{
    static char path[2 * 4096];
    snprintf(path, sizeof path, "%s/%s", folder, i < MOST_FILES ? run->outputs[i] : "printed");
    return path;
}

static enum status run_once(void *context, struct err *err)
{
    const struct run *run = context;
    char paths[MOST_ARGUMENTS][4200], *argv[MOST_ARGUMENTS];
    const char *arguments[2 * MOST_ARGUMENTS];
    int argc = 0;
    for (; run->words[argc]; argc++) {
        const char *word = run->words[argc];
        snprintf(paths[argc], sizeof *paths, "%s%s%s", *word == '@' ? folder : "",
                 *word == '@' ? "/" : "", *word == '@' ? word + 1 : word);
        argv[argc] = paths[argc];
    }
    for (int i = 0; i < MOST_FILES && run->outputs[i] && !run->keep; i++)
        unlink(output_path(run, i));
    rewind(stdout);
    ck_assert_int_eq(ftruncate(STDOUT_FILENO, 0), 0);
    struct options options;
    enum status status = options_parse(&options, run->command, argc, argv, arguments, err);
    if (status == STATUS_OK)
        status = run->command->run(&options, err);
    fflush(stdout);
    return status;
}

/* No file that is being written stays behind. */
static void check_no_temporary(const char *path)
{
    DIR *entries = opendir(path);
    if (!entries)
        return;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        ck_assert_msg(!strstr(entry->d_name, ".tmp-"), "%s/%s is left", path, entry->d_name);
        char below[2 * 4096];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && entry->d_type == DT_DIR)
            check_no_temporary(below);
    }
    closedir(entries);
}

/* Each output is whole; where complete is false it may also be missing. */
static void check_outputs(const struct run *run, bool complete, long n)
{
    check_no_temporary(folder);
    for (int i = 0; i <= MOST_FILES; i++) {
        if (!run->wanted[i] || (i == MOST_FILES && !complete))
            continue;
        size_t size = 0;
        char *bytes = read_output(output_path(run, i), &size);
        ck_assert_msg(bytes || !complete, "allocation %ld: no %s", n, output_path(run, i));
        ck_assert_msg(!bytes ||
                          (size == run->wanted_size[i] && memcmp(bytes, run->wanted[i], size) == 0),
                      "allocation %ld: %s differs", n, output_path(run, i));
        free(bytes);
    }
}

static enum status run_and_check(void *context, struct err *err)
{
    enum status status = run_once(context, err);
    check_outputs(context, status == STATUS_OK, 0);
    return status;
}

/* One allocation fails, and those behind it do not: then a command either says so, or its answer is
 * the right one. A part left out silently is neither. */
static void check_single_failures(struct run *run)
{
    struct err err;
    for (long n = 1;; n += n < 200 ? 1 : 1 + n / 64) {
        mem_fail_once(n);
        enum status status = run_once(run, &err);
        if (!mem_fail_once(0))
            return;
        if (status != STATUS_OK)
            check_error(status, &err, STATUS_RESOURCE, "not enough memory", run->command->name);
        check_outputs(run, status == STATUS_OK, n);
    }
}

/* least: allocations that there are at the least, so that the test does not pass on none. */
static void check_command(struct run *run, long least)
{
    struct err err;
    catch_output();
    enum status status = run_once(run, &err);
    ck_assert_msg(status == STATUS_OK, "%s: %s", run->command->name, err.text);
    for (int i = 0; i <= MOST_FILES; i++)
        if (i < MOST_FILES ? run->outputs[i] != NULL : run->prints) {
            run->wanted[i] = read_output(output_path(run, i), &run->wanted_size[i]);
            ck_assert_msg(run->wanted[i] != NULL, "%s is not written", output_path(run, i));
        }
    long n = check_lack_of_memory(run_and_check, run, run->command->name);
    ck_assert_msg(n >= least, "%s: only %ld allocations", run->command->name, n);
    check_single_failures(run);
    for (int i = 0; i <= MOST_FILES; i++)
        free(run->wanted[i]);
}

/* ---- the commands --------------------------------------------------------------------------- */

#define TOPICS_OUTPUTS                                                                             \
    "out/topics.json", "out/topics.txt", "out/documents.csv", "out/embeddings.npy",                \
        "out/model/centres.npy", "out/model/mean.npy", "out/model/directions.npy",                 \
        "out/model/representation.json", "out/run.json"

START_TEST(topics_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_topics,
        .words = {"@texts.csv", "--model", "@model", "--topics", "3", "--output", "@out",
                  "--threads", "2", "--quiet", "--json"},
        .outputs = {TOPICS_OUTPUTS, "out/model/embeddings.json"},
        .prints = true,
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(topics_with_embeddings_at_hand_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_topics,
        .words = {"@texts.tsv.gz", "--model", "@model", "--topics", "3", "--output", "@out",
                  "--threads", "1", "--quiet", "--json", "--spherical", "--as-report", "--min-df",
                  "1"},
        .outputs = {TOPICS_OUTPUTS},
        .keep = true,
        .prints = true,
    };
    check_command(&run, 200);
}
END_TEST

START_TEST(topics_of_given_embeddings_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_topics,
        .words = {"@texts.jsonl", "--rows", "3:22", "--embeddings", "@x.npy", "--topics", "3",
                  "--output", "@out", "--threads", "1", "--quiet", "--json", "--min-df", "1"},
        .outputs = {TOPICS_OUTPUTS, "out/model/embeddings.json"},
        .prints = true,
    };
    check_command(&run, 200);
}
END_TEST

START_TEST(embed_survives)
{
    static const char *const settings[][2] = {
        {"nf4", "mean"}, {"bf16", "last"}, {"f32", "last+mean"}};
    write_inputs();
    struct run run = {
        .command = &command_embed,
        .words = {"@texts.txt", "--model", "@model", "--output", "@e.npy", "--threads", "1",
                  "--quiet", "--type", "f16", "--prompt", "echo", "--precision", settings[_i][0],
                  "--pool", settings[_i][1]},
        .outputs = {"e.npy"},
    };
    check_command(&run, 500);
}
END_TEST

/* For embed and merge. Its names are a base model's, since those of a whole model have 62 bytes:
 * where jansson's lexer finds no memory just for the quote behind such a name, it reads on beyond
 * it. */
static void write_adapter(void)
{
    static const char *const labels[] = {"a", "b", "c"};
    const struct lora_settings settings = {.rank = 2, .alpha = 4, .n_labels = 3, .labels = labels};
    struct model_config config;
    struct lora_adapter adapter;
    struct err err;
    char path[4200];
    snprintf(path, sizeof path, "%s/model", folder);
    ck_assert_int_eq(model_config_read(&config, path, &err), STATUS_OK);
    ck_assert_int_eq(lora_adapter_create(&adapter, &config, &settings, 1, &err), STATUS_OK);
    adapter.base_names = true;
    snprintf(path, sizeof path, "%s/adapter", folder);
    ck_assert_int_eq(lora_adapter_save(&adapter, path, &err), STATUS_OK);
    lora_adapter_free(&adapter);
}

START_TEST(embed_with_an_adapter_survives)
{
    write_inputs();
    write_adapter();
    struct run run = {
        .command = &command_embed,
        .words = {"@texts.txt", "--model", "@model", "--adapter", "@adapter", "--output", "@e.npy",
                  "--threads", "1", "--quiet"},
        .outputs = {"e.npy"},
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(classify_survives)
{
    write_inputs();
    write_adapter();
    struct run run = {
        .command = &command_classify,
        .words = {"@texts.csv", "--model", "@model", "--adapter", "@adapter", "--probabilities",
                  "@p.npy", "--threads", "1", "--quiet", "--json"},
        .outputs = {"p.npy"},
        .prints = true,
    };
    check_command(&run, 500);
}
END_TEST

/* The adapter is saved at the only evaluation. Times apart, everything is always the same. */
START_TEST(train_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_train,
        .words =
            {"@texts.csv", "--model",      "@model", "--output",           "@trained", "--steps",
             "2",          "--batch",      "3",      "--accumulate",       "2",        "--rank",
             "2",          "--validation", "0.2",    "--threads",          "1",        "--quiet",
             "--json",     "--memory",     "1G",     "--checkpoint-every", "1",        "--force"},
        .outputs = {"trained/adapter_model.safetensors", "trained/adapter_config.json",
                    "trained/labels.json", "trained/training.json", "trained/loss.svg"},
        .prints = true,
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(merge_survives)
{
    write_inputs();
    write_adapter();
    struct run run = {
        .command = &command_merge,
        .words = {"@model", "@adapter", "--output", "@merged", "--threads", "1", "--quiet"},
        .outputs = {"merged/config.json", "merged/model.safetensors", "merged/tokenizer.json"},
    };
    check_command(&run, 300);
}
END_TEST

START_TEST(cluster_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_cluster,
        .words = {"@x.npy", "@x.npy", "--topics", "3", "--output", "@labels.npy", "--centres",
                  "@centres.npy", "--normalise", "centre+l2", "--remove-components", "2",
                  "--threads", "2", "--quiet", "--json"},
        .outputs = {"labels.npy", "centres.npy"},
        .prints = true,
    };
    check_command(&run, 20);
}
END_TEST

/* Shards, found by their name in a cache, with a pooling of their own. */
START_TEST(embed_of_the_cache_survives)
{
    char path[4200];
    static const char modules[] = "[{\"path\":\"\",\"type\":\"a.Transformer\"},"
                                  "{\"path\":\"1_Pooling\",\"type\":\"a.Pooling\"}]",
                      pooling[] = "{\"pooling_mode\":\"lasttoken\"}";
    write_inputs();
    setenv("HF_HUB_CACHE", folder, 1);
    static const char *const levels[] = {"models--acme--tiny", "snapshots", "1", "1_Pooling"};
    snprintf(path, sizeof path, "%s", folder);
    for (int i = 0; i < 4; i++) {
        strcat(strcat(path, "/"), levels[i]);
        ck_assert_int_eq(mkdir(path, 0777), 0);
    }
    write_file(path, "config.json", pooling, sizeof pooling - 1);
    *strrchr(path, '/') = '\0';
    write_file(path, "modules.json", modules, sizeof modules - 1);
    write_random_shards(path, &tiny_shape, 3);
    struct run run = {
        .command = &command_embed,
        .words = {"@texts.txt", "--model", "acme/tiny", "--output", "@e.npy", "--threads", "1",
                  "--quiet"},
        .outputs = {"e.npy"},
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(tokenize_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_tokenize,
        .words = {"@texts.jsonl", "--model", "@model", "--jsonl"},
        .prints = true,
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(info_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_info,
        .words = {"@model", "--json"},
        .prints = true,
    };
    check_command(&run, 500);
}
END_TEST

START_TEST(devices_survives)
{
    write_inputs();
    struct run run = {
        .command = &command_devices,
        .words = {"--json", "--threads", "3"},
        .prints = true,
    };
    check_command(&run, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("out_of_memory");
    TCase *tests = tcase_create("out_of_memory");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, topics_survives);
    tcase_add_test(tests, topics_with_embeddings_at_hand_survives);
    tcase_add_test(tests, topics_of_given_embeddings_survives);
    tcase_add_loop_test(tests, embed_survives, 0, 3);
    tcase_add_test(tests, embed_with_an_adapter_survives);
    tcase_add_test(tests, merge_survives);
    tcase_add_test(tests, classify_survives);
    tcase_add_test(tests, train_survives);
    tcase_add_test(tests, embed_of_the_cache_survives);
    tcase_add_test(tests, cluster_survives);
    tcase_add_test(tests, tokenize_survives);
    tcase_add_test(tests, info_survives);
    tcase_add_test(tests, devices_survives);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
