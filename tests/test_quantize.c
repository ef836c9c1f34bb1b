/* Writing a model's NF4 weights: the folder holds what loading the source would have made, whatever
 * happens on the way. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/llama.h"
#include "host/quantize.h"
#include "loaders/gguf.h"
#include "loaders/json.h"
#include "loaders/model_config_write.h"
#include "loaders/safetensors.h"
#include "loaders/safetensors_writer.h"
#include "loaders/tokenizer.h"

/* ---- safetensors ---------------------------------------------------------------------------- */

static const struct safetensors_entry entries[] = {
    {"bytes", "U8", 2, {3, 1}}, {"scales", "F32", 1, {5}},  {"halves", "BF16", 2, {3, 7}},
    {"codes", "U8", 1, {1}},    {"more", "F32", 2, {2, 3}}, {"none", "F32", 1, {0}},
};
#define N_ENTRIES ((int)(sizeof entries / sizeof *entries))
static const size_t entry_bytes[N_ENTRIES] = {3, 20, 42, 1, 24, 0};

START_TEST(writer_writes_what_the_reader_reads)
{
    char path[PATH_MAX];
    unsigned char bytes[64];
    struct safetensors_writer writer;
    struct safetensors *safetensors;
    struct err err;
    snprintf(path, sizeof path, "%s/a.safetensors", temporary_folder());
    ck_assert_msg(safetensors_writer_open(&writer, path, entries, N_ENTRIES, &err) == STATUS_OK,
                  "%s", err.text);
    for (int i = N_ENTRIES - 1; i >= 0; i--) {
        memset(bytes, 'a' + i, sizeof bytes);
        ck_assert_int_eq(safetensors_writer_put(&writer, i, bytes, &err), STATUS_OK);
    }
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(safetensors_writer_commit(&writer, &err), STATUS_OK);
    struct stat stat_of_file;
    ck_assert_int_eq(stat(path, &stat_of_file), 0);
    ck_assert_int_eq(stat_of_file.st_size, writer.size);

    ck_assert_msg(safetensors_open(&safetensors, path, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(safetensors_count(safetensors), N_ENTRIES);
    for (int j = 0; j < N_ENTRIES; j++) {
        const struct safetensors_tensor *tensor = safetensors_at(safetensors, j);
        int i = 0;
        while (i < N_ENTRIES && strcmp(entries[i].name, tensor->name) != 0)
            i++;
        ck_assert_int_lt(i, N_ENTRIES);
        ck_assert_str_eq(tensor->type_name, entries[i].type_name);
        ck_assert_int_eq(tensor->n_dims, entries[i].n_dims);
        for (int d = 0; d < tensor->n_dims; d++)
            ck_assert_int_eq(tensor->dims[d], entries[i].dims[d]);
        ck_assert_uint_eq((size_t)tensor->bytes, entry_bytes[i]);
        size_t size = (size_t)safetensors_type_size(tensor->type_name);
        ck_assert_uint_eq((uintptr_t)tensor->data % size, 0);
        for (size_t k = 0; k < entry_bytes[i]; k++)
            ck_assert_int_eq(tensor->data[k], 'a' + i);
    }
    safetensors_close(safetensors);
    safetensors_writer_discard(&writer);
}
END_TEST

START_TEST(writer_leaves_nothing_when_discarded)
{
    char path[PATH_MAX];
    struct safetensors_writer writer;
    struct err err;
    const char *folder = temporary_folder();
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    ck_assert_int_eq(safetensors_writer_open(&writer, path, entries, N_ENTRIES, &err), STATUS_OK);
    ck_assert_int_eq(safetensors_writer_put(&writer, 0, "abc", &err), STATUS_OK);
    safetensors_writer_discard(&writer);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* ---- config.json ---------------------------------------------------------------------------- */

static const struct model_config a_config = {
    .hidden_size = 96,
    .intermediate_size = 200,
    .n_layers = 3,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 20,
    .vocab_size = 77,
    .max_positions = 1000,
    .rms_norm_eps = 1e-5f,
    .first_window_layer = 3, /* none */
    .rope = {.theta = 123456.789},
};

static json_t *to_json(const struct model_config *config)
{
    json_t *root;
    struct err err;
    ck_assert_msg(model_config_to_json(&root, config, "model", &err) == STATUS_OK, "%s", err.text);
    return root;
}

static const char *write_json(json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(2));
    const char *path = write_file(temporary_folder(), "config.json", text, strlen(text));
    free(text);
    json_decref(root);
    return path;
}

/* want: the class, where it is not the config's own. */
static void check_round_trip(const struct model_config *config, enum architecture want)
{
    struct model_config got, expected = *config;
    struct err err;
    expected.architecture = want;
    ck_assert_msg(model_config_read(&got, write_json(to_json(config)), &err) == STATUS_OK, "%s",
                  err.text);
    ck_assert_msg(memcmp(&got, &expected, sizeof got) == 0, "%s", architecture_name(want));
}

START_TEST(positions_read_as_they_were_written)
{
    struct model_config configs[5];
    for (int i = 0; i < 5; i++)
        configs[i] = a_config;
    configs[1].tied_embeddings = true;
    configs[2].rope.scaling = ROPE_LINEAR;
    configs[2].rope.factor = 2.7;
    configs[3].rope.scaling = ROPE_LLAMA3;
    configs[3].rope.factor = 8;
    configs[3].rope.low_frequency_factor = 1;
    configs[3].rope.high_frequency_factor = 4;
    configs[3].rope.original_max_positions = 500;
    configs[4].rope.scaling = ROPE_DIVIDED;
    for (int i = 0; i < 10; i++)
        configs[4].rope.divisors[i] = 1 + (float)i / 3;
    for (int i = 0; i < 5; i++)
        check_round_trip(&configs[i], ARCHITECTURE_LLAMA);
}
END_TEST

/* A GGUF says what a model has, and a class of transformers must be found that has it. */
START_TEST(families_read_as_they_were_written)
{
    static const struct {
        enum architecture architecture;
        bool attention, output, mlp, norms;
        int window, first;
        enum architecture want;
    } cases[] = {
        {ARCHITECTURE_LLAMA, true, true, true, false, 0, 3, ARCHITECTURE_LLAMA},
        {ARCHITECTURE_LLAMA, false, false, true, false, 0, 3, ARCHITECTURE_LLAMA},
        {ARCHITECTURE_LLAMA, false, false, false, false, 17, 0, ARCHITECTURE_MISTRAL},
        {ARCHITECTURE_LLAMA, true, false, false, false, 0, 3, ARCHITECTURE_QWEN2},
        {ARCHITECTURE_MISTRAL, false, false, false, false, 17, 0, ARCHITECTURE_MISTRAL},
        {ARCHITECTURE_MISTRAL, false, false, false, false, 0, 3, ARCHITECTURE_MISTRAL},
        {ARCHITECTURE_QWEN2, true, false, false, false, 0, 3, ARCHITECTURE_QWEN2},
        {ARCHITECTURE_QWEN2, true, false, false, false, 17, 1, ARCHITECTURE_QWEN2},
        {ARCHITECTURE_QWEN2, true, false, false, false, 17, 0, ARCHITECTURE_QWEN2},
        {ARCHITECTURE_QWEN3, false, false, false, true, 17, 2, ARCHITECTURE_QWEN3},
        {ARCHITECTURE_QWEN3, true, true, false, true, 0, 3, ARCHITECTURE_QWEN3},
    };
    struct model_config config = a_config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config.architecture = cases[i].architecture;
        config.attention_bias = cases[i].attention;
        config.attention_output_bias = cases[i].output;
        config.mlp_bias = cases[i].mlp;
        config.head_norms = cases[i].norms;
        config.sliding_window = cases[i].window;
        config.first_window_layer = cases[i].first;
        check_round_trip(&config, cases[i].want);
    }
    config.mlp_bias = true; /* with norms of heads */
    json_t *root;
    struct err err;
    check_error(model_config_to_json(&root, &config, "a.gguf", &err), &err, STATUS_BAD_DATA,
                "a.gguf: no model class of transformers has", "no class");
    ck_assert_ptr_null(root);
}
END_TEST

/* What longrope is beyond a division of frequencies is not built. */
START_TEST(other_longropes_are_refused)
{
    struct model_config divided = a_config, got;
    divided.rope.scaling = ROPE_DIVIDED;
    for (int i = 0; i < 10; i++)
        divided.rope.divisors[i] = 2;
    for (int i = 0; i < 5; i++) {
        json_t *root = to_json(&divided);
        json_t *scaling = json_object_get(root, "rope_scaling");
        const char *part = "rope_scaling.rope_type: longrope is supported with 10 factors";
        if (i == 0)
            json_object_set_new(scaling, "attention_factor", json_real(1.2));
        if (i == 1)
            json_array_set_new(json_object_get(scaling, "short_factor"), 3, json_real(1));
        if (i == 2)
            json_object_del(scaling, "long_factor");
        if (i == 3) {
            json_array_append_new(json_object_get(scaling, "short_factor"), json_real(2));
            json_array_append_new(json_object_get(scaling, "long_factor"), json_real(2));
        }
        if (i == 4) {
            json_array_set_new(json_object_get(scaling, "short_factor"), 9, json_real(-1));
            json_array_set_new(json_object_get(scaling, "long_factor"), 9, json_real(-1));
            part = "rope_scaling.long_factor: value 9 is not positive";
        }
        struct err err;
        check_error(model_config_read(&got, write_json(root), &err), &err, STATUS_BAD_DATA, part,
                    "longrope");
    }
}
END_TEST

/* ---- vocabularies --------------------------------------------------------------------------- */

/* The metadata alone is a tokenizer, and no model. */
START_TEST(metadata_is_a_vocabulary)
{
    char path[PATH_MAX];
    struct gguf *gguf;
    struct tokenizer *whole, *alone;
    struct tokens want = {0}, got = {0};
    struct err err;
    const char *source = golden("tokenizer_kinds/gguf_smollm.gguf");
    const char *folder = temporary_folder();
    snprintf(path, sizeof path, "%s/tokenizer.gguf", folder);
    ck_assert_msg(gguf_open(&gguf, source, &err) == STATUS_OK, "%s", err.text);
    FILE *file = fopen(path, "wb");
    ck_assert_int_eq(gguf_write_metadata(gguf, file, &err), STATUS_OK);
    ck_assert_int_eq(fclose(file), 0);
    gguf_close(gguf);
    ck_assert_int_eq(tokenizer_open(&whole, source, &err), STATUS_OK);
    ck_assert_msg(tokenizer_open(&alone, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(tokenizer_vocab_size(alone), tokenizer_vocab_size(whole));
    const char *text = "All that 12 glitters is not gold.";
    ck_assert_int_eq(tokenizer_encode(whole, text, strlen(text), true, &want, &err), STATUS_OK);
    ck_assert_int_eq(tokenizer_encode(alone, text, strlen(text), true, &got, &err), STATUS_OK);
    ck_assert_uint_eq(got.count, want.count);
    ck_assert_mem_eq(got.ids, want.ids, want.count * sizeof *want.ids);
    tokens_free(&want), tokens_free(&got);
    tokenizer_close(whole), tokenizer_close(alone);
    struct model_config config;
    check_error(model_config_read(&config, folder, &err), &err, STATUS_MISSING, folder, "config");
}
END_TEST

/* ---- whole models --------------------------------------------------------------------------- */

/* The tiny model of the command-line tests, from the program beside this one. */
static const char *tiny_model(void)
{
    char program[PATH_MAX], command[2 * PATH_MAX + 32];
    static char folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt(length, 0);
    program[length] = '\0';
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    snprintf(command, sizeof command, "'%s/tool_tiny_model' '%s'", dirname(program), folder);
    ck_assert_int_eq(system(command), 0);
    return folder;
}

static void check_parameter(struct device *device, const struct weights *source,
                            const struct weights *written, const struct llama_parameter *p)
{
    struct arena arena = {0}, scratch = {0};
    struct linear want, got;
    struct err err;
    enum precision precision = p->kind == PARAMETER_LINEAR   ? PRECISION_NF4
                               : p->kind == PARAMETER_VECTOR ? PRECISION_F32
                                                             : PRECISION_BF16;
    ck_assert_msg(linear_load(&want, device, source, p->name, p->rows, p->columns, precision,
                              &arena, &scratch, &err) == STATUS_OK,
                  "%s", err.text);
    size_t before = arena.total;
    ck_assert_msg(linear_load(&got, device, written, p->name, p->rows, p->columns, precision,
                              &arena, &scratch, &err) == STATUS_OK,
                  "%s", err.text);
    int64_t n = (int64_t)p->rows * p->columns, n_blocks = (int64_t)nf4_block_count(n);
    if (p->kind == PARAMETER_LINEAR) {
        ck_assert_uint_eq(arena.total, before); /* mapped */
        ck_assert_mem_eq(got.nf4.codes, want.nf4.codes, nf4_code_bytes(n));
        ck_assert_mem_eq(got.nf4.absmax_codes, want.nf4.absmax_codes, (size_t)n_blocks);
        ck_assert_mem_eq(got.nf4.nested_absmax, want.nf4.nested_absmax,
                         4 * nf4_nested_block_count(n_blocks));
        ck_assert(got.nf4.offset == want.nf4.offset);
    } else {
        size_t size = p->kind == PARAMETER_VECTOR ? 4 : 2;
        ck_assert_mem_eq(got.dense.data, want.dense.data, size * (size_t)n);
    }
    arena_free(&arena);
    arena_free(&scratch);
}

/* tiny: norms that BF16 does not hold, so that all of it is F32; the .gguf's, too. */
static void check_model(const char *source, const char *folder)
{
    struct device device;
    struct model_config config, written_config;
    struct weights *weights, *written;
    struct err err;
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(model_config_read(&config, source, &err), STATUS_OK);
    ck_assert_msg(model_config_read(&written_config, folder, &err) == STATUS_OK, "%s", err.text);
    written_config.architecture = config.architecture;
    ck_assert_mem_eq(&config, &written_config, sizeof config);
    ck_assert_int_eq(weights_open(&weights, source, &config, &err), STATUS_OK);
    ck_assert_msg(weights_open(&written, folder, &config, &err) == STATUS_OK, "%s", err.text);
    struct llama_parameter p;
    int cursor = 0, n = 0;
    for (; llama_next_parameter(&config, &cursor, &p); n++)
        check_parameter(&device, weights, written, &p);
    ck_assert_int_ge(n, 2 + 9 * config.n_layers);
    ck_assert_int_eq(weights_count(written),
                     n + (!config.tied_embeddings && weights_find(weights, "lm_head.weight")));
    weights_close(weights);
    weights_close(written);
    device_close(&device);
}

static enum status quantize(const char *source, const char *folder, bool force,
                            const struct progress *progress, struct err *err)
{
    struct device device;
    struct quantize_counts counts;
    ck_assert(test_device(0, &device));
    enum status status = quantize_model(&device, source, folder, force, progress, &counts, err);
    device_close(&device);
    return status;
}

static void copy_file(const char *from, const char *folder, const char *name)
{
    struct file_map map;
    struct err err;
    ck_assert_msg(file_map(&map, from, &err) == STATUS_OK, "%s", err.text);
    write_file(folder, name, map.data, map.size);
    file_unmap(&map);
}

static void check_quantize(const char *source)
{
    char folder[PATH_MAX];
    struct err err;
    snprintf(folder, sizeof folder, "%s/out", temporary_folder());
    ck_assert_msg(quantize(source, folder, false, NULL, &err) == STATUS_OK, "%s", err.text);
    check_model(source, folder);
    /* A model may be replaced, where that is meant; one that is NF4 may not be quantised. */
    check_error(quantize(source, folder, false, NULL, &err), &err, STATUS_USAGE,
                "the folder holds a model; give another --output, or --force to replace it",
                "again");
    ck_assert_msg(quantize(source, folder, true, NULL, &err) == STATUS_OK, "%s", err.text);
    check_error(quantize(folder, temporary_folder(), false, NULL, &err), &err, STATUS_BAD_DATA,
                "the weights are NF4 already", "twice");
}

/* Two kinds of source: a folder with a tokenizer.json, and a .gguf with its vocabulary. */
START_TEST(folders_hold_what_loading_makes)
{
    check_quantize(tiny_model());
    check_quantize(golden("gguf/whole.gguf"));
}
END_TEST

/* tests/golden/make_families.py, each with a tokenizer that is not its own. */
START_TEST(families_hold_what_loading_makes)
{
    static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3"};
    char tokenizer[PATH_MAX], folder[PATH_MAX], file[256];
    snprintf(tokenizer, sizeof tokenizer, "%.4000s/tokenizer.json", tiny_model());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(folder, sizeof folder, "%s", temporary_folder());
        copy_file(tokenizer, folder, "tokenizer.json");
        snprintf(file, sizeof file, "families/%s.gguf", names[i]);
        copy_file(golden(file), folder, "model.gguf");
        check_quantize(folder);

        snprintf(folder, sizeof folder, "%s", temporary_folder());
        copy_file(tokenizer, folder, "tokenizer.json");
        snprintf(file, sizeof file, "families/%s/config.json", names[i]);
        copy_file(golden(file), folder, "config.json");
        snprintf(file, sizeof file, "families/%s/model.safetensors", names[i]);
        copy_file(golden(file), folder, "model.safetensors");
        check_quantize(folder);
    }
}
END_TEST

/* The type of what is not quantised, and of config.json's dtype. */
START_TEST(bf16_is_kept_where_it_holds_every_norm)
{
    char folder[PATH_MAX], path[PATH_MAX + 16];
    struct model_config config;
    struct weights *weights;
    struct file_map map;
    struct err err;
    const char *source = tiny_model();
    /* Rounds each number of the source to BF16. */
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    FILE *file = fopen(path, "r+b");
    uint64_t header;
    ck_assert_uint_eq(fread(&header, 8, 1, file), 1);
    uint32_t number;
    for (long at = 8 + (long)header; fseek(file, at, SEEK_SET) == 0 && fread(&number, 4, 1, file);
         at += 4) {
        number &= 0xFFFF0000;
        fseek(file, at, SEEK_SET);
        ck_assert_uint_eq(fwrite(&number, 4, 1, file), 1);
    }
    fclose(file);
    snprintf(folder, sizeof folder, "%s/out", temporary_folder());
    ck_assert_msg(quantize(source, folder, false, NULL, &err) == STATUS_OK, "%s", err.text);
    check_model(source, folder);
    ck_assert_int_eq(model_config_read(&config, folder, &err), STATUS_OK);
    ck_assert_int_eq(weights_open(&weights, folder, &config, &err), STATUS_OK);
    ck_assert_str_eq(weights_find(weights, "model.norm.weight")->type_name, "BF16");
    ck_assert_ptr_nonnull(weight_view(weights_find(weights, "model.embed_tokens.weight"), "BF16"));
    weights_close(weights);
    snprintf(path, sizeof path, "%s/config.json", folder);
    ck_assert_int_eq(file_map(&map, path, &err), STATUS_OK);
    ck_assert_ptr_nonnull(memmem(map.data, map.size, "\"dtype\": \"bfloat16\"", 19));
    file_unmap(&map);
}
END_TEST

/* ---- trouble -------------------------------------------------------------------------------- */

static int count_entries(const char *folder)
{
    int n = 0;
    DIR *directory = opendir(folder);
    ck_assert_ptr_nonnull(directory);
    while (readdir(directory))
        n++;
    closedir(directory);
    return n - 2;
}

static void interrupt_in_the_middle(void *context, const char *stage, const char *unit, size_t done,
                                    size_t total)
{
    (void)context, (void)stage, (void)unit;
    if (done == total / 2)
        raise(SIGINT);
}

START_TEST(an_interrupt_leaves_nothing)
{
    char folder[PATH_MAX];
    struct err err;
    const char *around = temporary_folder();
    const struct progress progress = {.report = interrupt_in_the_middle};
    snprintf(folder, sizeof folder, "%s/out", around);
    interrupt_install();
    check_error(quantize(tiny_model(), folder, false, &progress, &err), &err, STATUS_INTERRUPTED,
                "interrupted", "interrupt");
    ck_assert_int_eq(count_entries(around), 0);
}
END_TEST

struct attempt {
    struct device device;
    char source[PATH_MAX], around[PATH_MAX], folder[PATH_MAX + 8];
    int n_before; /* 0: there is no folder yet */
};

/* A failure leaves what was there: nothing, or the model of an earlier run. */
static enum status attempt(void *context, struct err *err)
{
    struct attempt *a = context;
    struct quantize_counts counts;
    enum status status =
        quantize_model(&a->device, a->source, a->folder, a->n_before > 0, NULL, &counts, err);
    int n = status == STATUS_OK ? 1 : a->n_before;
    ck_assert_int_eq(count_entries(a->around), n);
    if (n > 0)
        ck_assert_int_eq(count_entries(a->folder), 3);
    return status;
}

START_TEST(lack_of_memory_changes_nothing)
{
    static struct attempt a;
    json_use_memory();
    ck_assert(test_device(0, &a.device));
    snprintf(a.source, sizeof a.source, "%s", tiny_model());
    snprintf(a.around, sizeof a.around, "%s", temporary_folder());
    snprintf(a.folder, sizeof a.folder, "%s/out", a.around);
    for (a.n_before = 0; a.n_before < 2; a.n_before++) {
        ck_assert_int_gt(check_lack_of_memory(attempt, &a, "quantize"), 100);
        check_model(a.source, a.folder);
    }
    device_close(&a.device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quantize");
    TCase *tests = tcase_create("quantize");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, writer_writes_what_the_reader_reads);
    tcase_add_test(tests, writer_leaves_nothing_when_discarded);
    tcase_add_test(tests, positions_read_as_they_were_written);
    tcase_add_test(tests, families_read_as_they_were_written);
    tcase_add_test(tests, other_longropes_are_refused);
    tcase_add_test(tests, metadata_is_a_vocabulary);
    tcase_add_test(tests, folders_hold_what_loading_makes);
    tcase_add_test(tests, families_hold_what_loading_makes);
    tcase_add_test(tests, bf16_is_kept_where_it_holds_every_norm);
    tcase_add_test(tests, an_interrupt_leaves_nothing);
    tcase_add_test(tests, lack_of_memory_changes_nothing);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
