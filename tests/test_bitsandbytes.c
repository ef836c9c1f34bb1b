/* Checkpoints that bitsandbytes quantised: values bit for bit as bitsandbytes dequantises them, the
 * file used as it lies, and damage. Goldens: tests/golden/make_bitsandbytes.py. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "host/base/float16.h"
#include "host/base/memory.h"
#include "host/embedder.h"
#include "host/linear.h"
#include "loaders/bitsandbytes.h"
#include "loaders/json.h"
#include "loaders/npy.h"

#define DOWN "model.layers.0.mlp.down_proj.weight"

static struct weights *open_whole(const char *path)
{
    const struct model_config config = {.head_dim = 12, .tied_embeddings = true};
    struct weights *weights;
    struct err err;
    ck_assert_msg(weights_open(&weights, path, &config, &err) == STATUS_OK, "%s", err.text);
    return weights;
}

/* ---- values --------------------------------------------------------------------------------- */

/* A matrix in each precision, and what it took of the arena. */
struct loaded {
    struct linear f32, bf16, nf4;
    size_t nf4_bytes;
    struct arena arena, scratch;
};

static enum status load(struct loaded *loaded, struct device *device, const struct weights *weights,
                        const char *name, int rows, int columns, struct err *err)
{
    *loaded = (struct loaded){0};
    TRY(linear_load(&loaded->nf4, device, weights, name, rows, columns, PRECISION_NF4,
                    &loaded->arena, &loaded->scratch, err));
    loaded->nf4_bytes = loaded->arena.total;
    TRY(linear_load(&loaded->bf16, device, weights, name, rows, columns, PRECISION_BF16,
                    &loaded->arena, &loaded->scratch, err));
    return linear_load(&loaded->f32, device, weights, name, rows, columns, PRECISION_F32,
                       &loaded->arena, &loaded->scratch, err);
}

static void unload(struct loaded *loaded)
{
    arena_free(&loaded->arena);
    arena_free(&loaded->scratch);
}

static unsigned long checksum(const float *values, size_t n)
{
    return crc32_z(0, (const unsigned char *)values, n * sizeof *values);
}

/* The line's matrix of the checkpoint at `path`. mapped: the file's numbers are aligned. */
static void check_matrix(struct device *device, const char *path, const char *name, int rows,
                         int columns, const char *type, unsigned long want, bool mapped)
{
    struct weights *weights = open_whole(path);
    struct loaded loaded;
    struct err err;
    size_t n = (size_t)rows * (size_t)columns;
    ck_assert_msg(load(&loaded, device, weights, name, rows, columns, &err) == STATUS_OK, "%s",
                  err.text);
    const float *values = loaded.f32.dense.data;
    ck_assert_msg(checksum(values, n) == want, "%s: %s: checksum %08lx, not %08lx", path, name,
                  checksum(values, n), want);
    const uint16_t *halves = loaded.bf16.dense.data;
    for (size_t i = 0; i < n; i++)
        ck_assert(halves[i] == bf16_from_float(values[i]));

    const struct weight *weight = weights_find(weights, name);
    ck_assert_str_eq(weight->type_name, type);
    ck_assert((strcmp(type, "NF4") == 0) == (weight->nf4 != NULL));
    if (weight->nf4) {
        ck_assert_int_eq(weight->rows, rows);
        ck_assert_int_eq(weight->columns, columns);
        ck_assert_ptr_eq(loaded.nf4.nf4.codes, weight->nf4->codes);
        ck_assert_msg((loaded.nf4_bytes == 0) == mapped, "%s: %zu bytes copied", name,
                      loaded.nf4_bytes);
        float *decoded = guarded_floats(n);
        nf4_dequantize(device, decoded, &loaded.nf4.nf4, 0, rows);
        for (size_t i = 0; i < n; i++) {
            float rounded = decoded[i];
            if (weight->nf4->result == NF4_TO_BF16)
                rounded = bf16_to_float(bf16_from_float(rounded));
            if (weight->nf4->result == NF4_TO_F16)
                rounded = f16_to_float(f16_from_float(rounded));
            ck_assert(rounded == values[i]);
        }
        check_guarded(decoded, n);
    }
    unload(&loaded);
    weights_close(weights);
}

struct line {
    char folder[16], name[128], type[8];
    int rows, columns;
    unsigned long checksum;
};

static bool next_line(FILE *file, struct line *line)
{
    return fscanf(file, "%15s %127s %d %d %7s %lx", line->folder, line->name, &line->rows,
                  &line->columns, line->type, &line->checksum) == 6;
}

START_TEST(values_equal_bitsandbytes)
{
    struct device device;
    ck_assert(test_device(0, &device));
    FILE *file = fopen(golden("bitsandbytes/values.txt"), "r");
    ck_assert_ptr_nonnull(file);
    struct line line;
    int n = 0;
    for (; next_line(file, &line); n++) {
        char folder[64];
        snprintf(folder, sizeof folder, "bitsandbytes/%s", line.folder);
        check_matrix(&device, golden(folder), line.name, line.rows, line.columns, line.type,
                     line.checksum, true);
    }
    ck_assert_int_eq(n, 28);
    fclose(file);
    device_close(&device);
}
END_TEST

/* Seven matrices, two norms, the last norm and the embeddings, whatever stands beside them. */
START_TEST(parts_count_as_one_tensor)
{
    static const char *const folders[] = {"bitsandbytes/nested", "bitsandbytes/flat",
                                          "bitsandbytes/bf16", "bitsandbytes/f16"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct weights *weights = open_whole(golden(folders[i]));
        ck_assert_int_eq(weights_count(weights), 11);
        for (int j = 0; j < weights_count(weights); j++)
            ck_assert_ptr_eq(weights_find(weights, weights_at(weights, j)->name),
                             weights_at(weights, j));
        ck_assert_ptr_null(weights_find(weights, DOWN ".absmax"));
        const struct weight *weight;
        struct err err;
        check_error(
            weights_expect(weights, "model.layers.0.mlp.up_proj.weight", 48, 400, &weight, &err),
            &err, STATUS_BAD_DATA, "its shape is 400 x 48 (2 dimensions), not 48 x 400",
            folders[i]);
        float out[48];
        weight = weights_find(weights, "model.layers.0.mlp.up_proj.weight");
        check_error(weight_read(weights, weight, 0, 1, out, &err), &err, STATUS_BAD_DATA,
                    "type NF4 cannot be read", folders[i]);
        weights_close(weights);
    }
}
END_TEST

/* ---- files that are changed ----------------------------------------------------------------- */

struct file {
    unsigned char bytes[1 << 17];
    size_t size;
};

static void read_golden(struct file *file, const char *folder)
{
    char path[128];
    snprintf(path, sizeof path, "bitsandbytes/%s/model.safetensors", folder);
    FILE *stream = fopen(golden(path), "rb");
    ck_assert_ptr_nonnull(stream);
    file->size = fread(file->bytes, 1, sizeof file->bytes, stream);
    fclose(stream);
    ck_assert_uint_lt(file->size, sizeof file->bytes - 8);
}

/* Puts `to` over `from`, of the same length, wherever it stands behind `after`. */
static void replace(struct file *file, const char *after, const char *from, const char *to)
{
    size_t n = strlen(from);
    ck_assert_uint_eq(n, strlen(to));
    unsigned char *at = memmem(file->bytes, file->size, after, strlen(after));
    ck_assert_msg(at != NULL, "%s", after);
    at = memmem(at, file->size - (size_t)(at - file->bytes), from, n);
    ck_assert_msg(at != NULL, "%s", from);
    memcpy(at, to, n);
}

/* The bytes of a tensor. */
static unsigned char *data_of(struct file *file, const char *name)
{
    char key[128];
    long long begin;
    uint64_t header;
    memcpy(&header, file->bytes, 8);
    snprintf(key, sizeof key, "\"%s\"", name);
    unsigned char *at = memmem(file->bytes, file->size, key, strlen(key));
    ck_assert_msg(at != NULL, "%s", name);
    at = memmem(at, 300, "data_offsets\":[", 15);
    ck_assert_int_eq(sscanf((char *)at + 15, "%lld", &begin), 1);
    return file->bytes + 8 + header + begin;
}

static const char *write_whole(const struct file *file)
{
    return write_file(temporary_folder(), "model.safetensors", file->bytes, file->size);
}

/* One space more in the header, and every number of the data lies at an odd address. */
START_TEST(values_need_no_alignment)
{
    static struct file file;
    struct device device;
    ck_assert(test_device(0, &device));
    FILE *lines = fopen(golden("bitsandbytes/values.txt"), "r");
    ck_assert_ptr_nonnull(lines);
    struct line line;
    while (next_line(lines, &line)) {
        read_golden(&file, line.folder);
        uint64_t header;
        memcpy(&header, file.bytes, 8);
        memmove(file.bytes + 8 + header + 1, file.bytes + 8 + header, file.size - 8 - header);
        file.bytes[8 + header++] = ' ';
        file.size++;
        memcpy(file.bytes, &header, 8);
        check_matrix(&device, write_whole(&file), line.name, line.rows, line.columns, line.type,
                     line.checksum, false);
    }
    fclose(lines);
    device_close(&device);
}
END_TEST

static const struct {
    const char *folder, *after, *from, *to; /* "": not changed */
    const char *part;
} damaged[] = {
    {"nested", "{", DOWN ".quant_map", DOWN ".quant_mop", DOWN ".quant_map: missing"},
    {"nested", "{", DOWN ".absmax", DOWN ".obsmax", DOWN ".absmax: missing"},
    {"nested", "{", DOWN ".nested_quant_map", DOWN ".nested_quant_mop",
     DOWN ".nested_quant_map: missing"},
    {"nested", "{", DOWN ".nested_absmax", DOWN ".nested_obsmax",
     DOWN ".absmax: it has 300 bytes of U8, not 1200 of F32"},
    {"nested", "{", DOWN ".quant_state.bitsandbytes__nf4", DOWN ".quant_state.bitsandbytes__nf5",
     DOWN ".quant_state.bitsandbytes__nf4: missing"},
    {"nested", "{", DOWN ".quant_state.bitsandbytes__nf4", DOWN ".quant_state.bitsandbytes__fp4",
     DOWN ": quantised to FP4, which is not read; use the model that it was made from"},
    {"flat", "{", DOWN ".absmax\":{\"dtype\":\"F32", DOWN ".absmax\":{\"dtype\":\"I32",
     DOWN ".absmax: it has 1200 bytes of I32, not 1200 of F32"},
    {"nested", "{", DOWN ".absmax\":{\"dtype\":\"U8", DOWN ".absmax\":{\"dtype\":\"I8",
     DOWN ".absmax: it has 300 bytes of I8, not 300 of U8"},
    {"nested", "{\"quant_type", "{", "[", "it is not good JSON"},
    {"nested", "{\"quant_type", "quant_type", "quant_typo", "it is no object with a quant_type"},
    {"nested", "{\"quant_type", "\"nf4\"", "\"int\"", "quant_type int is not supported, only nf4"},
    {"nested", "{\"quant_type", "\"blocksize\": 64", "\"blocksize\": 32",
     "blocksize 32 is not supported, only 64; use the model"},
    {"nested", "{\"quant_type", "\"blocksize\": 64", "\"blocksize\":\"a\"",
     "a block size is missing, or not a whole number"},
    {"nested", "{\"quant_type", "float32", "float64",
     "dtype float64 is not supported, only float32, bfloat16 and float16"},
    {"nested", "{\"quant_type", "\"dtype", "\"dtypo", "dtype is missing"},
    {"nested", "{\"quant_type", "[48, 400]", "[48, 402]", "are not the codes of 48 x 402 weights"},
    {"nested", "{\"quant_type", "[48, 400]", "[-8, 400]", "are not the codes of -8 x 400 weights"},
    {"nested", "{\"quant_type", "[48, 400]", "[19200.0]", "shape is not two whole numbers"},
    {"nested", "{\"quant_type", "[48, 400]", "[4, 8, 4]", "shape is not two whole numbers"},
    {"nested", "{\"quant_type", "nested_blocksize\": 256", "nested_blocksize\": 128",
     "nested_blocksize 128 is not supported, only 256"},
    {"nested", "nested_dtype", "float32", "float16",
     "nested_dtype float16 is not supported, only float32"},
    {"nested", "nested_dtype", "nested_offset\": 0.", "nested_offset\": -1",
     "nested_offset is not a number from 0 on"},
    {"nested", "nested_dtype", "nested_offset\": 0", "nested_offset\":\"0", "not good JSON"},
};

START_TEST(damaged_parts_are_named)
{
    static struct file file;
    struct err err;
    struct weights *weights;
    const struct model_config config = {.head_dim = 12, .tied_embeddings = true};
    read_golden(&file, damaged[_i].folder);
    replace(&file, damaged[_i].after, damaged[_i].from, damaged[_i].to);
    enum status status = weights_open(&weights, write_whole(&file), &config, &err);
    check_error(status, &err, STATUS_BAD_DATA, damaged[_i].part, damaged[_i].to);
    ck_assert_ptr_nonnull(strstr(err.text, "model.safetensors: tensor model.layers.0."));
}
END_TEST

/* Values are looked at when a matrix is loaded. */
START_TEST(damaged_numbers_are_named)
{
    static const struct {
        const char *folder, *tensor;
        int place;
        float value;
        const char *part;
    } cases[] = {
        {"nested", DOWN ".nested_absmax", 1, NAN, DOWN ".nested_absmax: value 1 is negative, NaN"},
        {"nested", DOWN ".nested_absmax", 0, -1, DOWN ".nested_absmax: value 0 is negative, NaN"},
        {"flat", DOWN ".absmax", 299, INFINITY, DOWN ".absmax: value 299 is negative, NaN"},
        {"flat", DOWN ".absmax", 0, -0.5f, DOWN ".absmax: value 0 is negative, NaN"},
        {"flat", DOWN ".quant_map", 7, 1e-9f, DOWN ".quant_map: not the 16 values of NF4"},
        {"nested", DOWN ".nested_quant_map", 5, NAN,
         DOWN ".nested_quant_map: a value is not within"},
        {"nested", DOWN ".nested_quant_map", 255, 1.5f, DOWN ".nested_quant_map: a value is not"},
    };
    static struct file file;
    struct device device;
    ck_assert(test_device(0, &device));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loaded loaded;
        struct err err;
        read_golden(&file, cases[i].folder);
        memcpy(data_of(&file, cases[i].tensor) + 4 * cases[i].place, &cases[i].value, 4);
        struct weights *weights = open_whole(write_whole(&file));
        check_error(load(&loaded, &device, weights, DOWN, 48, 400, &err), &err, STATUS_BAD_DATA,
                    cases[i].part, cases[i].part);
        unload(&loaded);
        weights_close(weights);
    }
    device_close(&device);
}
END_TEST

/* F16 ends at 65504, and absmax may be larger. */
START_TEST(overflow_to_infinity_is_refused)
{
    static struct file file;
    struct device device;
    struct loaded loaded;
    struct err err;
    const char *name = "model.layers.0.self_attn.q_proj.weight";
    float large = 1e6f;
    ck_assert(test_device(0, &device));
    read_golden(&file, "f16");
    memcpy(data_of(&file, "model.layers.0.self_attn.q_proj.weight.absmax") + 4, &large, 4);
    struct weights *weights = open_whole(write_whole(&file));
    check_error(load(&loaded, &device, weights, name, 48, 48, &err), &err, STATUS_BAD_DATA,
                "q_proj.weight: row 1 holds NaN or an infinity", "overflow");
    unload(&loaded);
    weights_close(weights);
    device_close(&device);
}
END_TEST

/* Another version of torch may have made the map: it is obeyed, as bitsandbytes does. The first
 * block's absmax by hand: map * nested + offset. */
START_TEST(another_nested_map_is_obeyed)
{
    static struct file file;
    struct device device;
    struct loaded loaded;
    struct err err;
    ck_assert(test_device(0, &device));
    read_golden(&file, "nested");
    unsigned char code = *data_of(&file, DOWN ".absmax");
    unsigned char *map = data_of(&file, DOWN ".nested_quant_map");
    float entry = 0.625f, nested;
    memcpy(map + 4 * code, &entry, 4);
    memcpy(&nested, data_of(&file, DOWN ".nested_absmax"), 4);
    struct weights *weights = open_whole(write_whole(&file));
    ck_assert_msg(load(&loaded, &device, weights, DOWN, 48, 400, &err) == STATUS_OK, "%s",
                  err.text);
    const struct nf4_weight *view = weights_find(weights, DOWN)->nf4;
    float absmax = entry * nested;
    absmax += view->offset;
    ck_assert(nf4_block_absmax(&loaded.nf4.nf4, 0) == absmax);
    /* The other blocks with another code are what they were. */
    struct weights *before = open_whole(golden("bitsandbytes/nested"));
    struct loaded plain;
    ck_assert_int_eq(load(&plain, &device, before, DOWN, 48, 400, &err), STATUS_OK);
    int same = 0;
    for (int block = 0; block < 300; block++)
        if (view->absmax[block] != code) {
            ck_assert(nf4_block_absmax(&loaded.nf4.nf4, block) ==
                      nf4_block_absmax(&plain.nf4.nf4, block));
            same++;
        }
    ck_assert_int_gt(same, 200);
    unload(&plain), unload(&loaded);
    weights_close(before), weights_close(weights);
    device_close(&device);
}
END_TEST

static enum status open_and_load(void *context, struct err *err)
{
    const struct model_config config = {.head_dim = 12, .tied_embeddings = true};
    struct weights *weights;
    struct loaded loaded = {0};
    TRY(weights_open(&weights, golden("bitsandbytes/nested"), &config, err));
    enum status status = load(&loaded, context, weights, DOWN, 48, 400, err);
    unload(&loaded);
    weights_close(weights);
    return status;
}

START_TEST(lack_of_memory_is_survived)
{
    struct device device;
    json_use_memory();
    ck_assert(test_device(0, &device));
    ck_assert_int_gt(check_lack_of_memory(open_and_load, &device, "a checkpoint"), 100);
    device_close(&device);
}
END_TEST

/* ---- hidden states -------------------------------------------------------------------------- */

#define N_TEXTS 12

struct collected {
    float *vectors[3];
    size_t width;
};

static enum status collect(void *context, int request, size_t first_row, size_t n_rows,
                           const float *vectors, struct err *err)
{
    (void)err;
    struct collected *collected = context;
    memcpy(collected->vectors[request] + first_row * collected->width, vectors,
           n_rows * collected->width * sizeof *vectors);
    return STATUS_OK;
}

/* Both quantise the same weights; the golden's rounding is torch's. */
static void check_states(struct embedder *embedder, struct device *device,
                         const struct corpus *corpus, enum pool pool, const char *file)
{
    struct npy npy;
    struct err err;
    struct embedding_counts counts;
    ck_assert_msg(npy_open(&npy, golden(file), &err) == STATUS_OK, "%s", err.text);
    const float *want = npy.data;
    size_t d = (size_t)npy.columns;
    const struct embedding_request requests[] = {{pool, 0}, {pool, 1}, {pool, 2}};
    struct collected collected = {.width = d};
    for (int r = 0; r < 3; r++)
        collected.vectors[r] = guarded_floats(N_TEXTS * d);
    ck_assert_msg(embedder_run(embedder, device, corpus->rows, corpus->n_rows, requests, 3, collect,
                               &collected, &counts, NULL, &err) == STATUS_OK,
                  "%s", err.text);
    for (int r = 0; r < 3; r++) {
        for (size_t i = 0; i < N_TEXTS; i++) {
            const float *w = want + (3 * i + (size_t)r) * d, *g = collected.vectors[r] + i * d;
            double error = 0, norm = 0;
            for (size_t j = 0; j < d; j++) {
                double difference = (double)g[j] - w[j];
                error += difference * difference;
                norm += (double)w[j] * w[j];
            }
            ck_assert_msg(sqrt(error) <= 1e-5 * sqrt(norm), "%s: layer %d text %zu: %g", file, r, i,
                          sqrt(error / norm));
        }
        check_guarded(collected.vectors[r], N_TEXTS * d);
    }
    npy_close(&npy);
}

START_TEST(tinystories_matches_bitsandbytes)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs models/tinystories-656k of the shared data");
    struct device device;
    struct embedder embedder;
    struct corpus corpus;
    struct err err;
    const struct embedder_settings settings = {
        .precision = PRECISION_NF4, .prompt = "{text}", .n_layers = 2};
    ck_assert(test_device(0, &device));
    ck_assert_msg(corpus_read(&corpus, golden("hidden_states/texts.txt"),
                              &(struct corpus_settings){0}, &err) == STATUS_OK,
                  "%s", err.text);
    ck_assert_msg(embedder_open(&embedder, &device, path, &settings, NULL, &err) == STATUS_OK, "%s",
                  err.text);
    check_states(&embedder, &device, &corpus, POOLING_LAST, "bitsandbytes/tinystories_last.npy");
    check_states(&embedder, &device, &corpus, POOLING_MEAN, "bitsandbytes/tinystories_mean.npy");
    embedder_close(&embedder);
    corpus_free(&corpus);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bitsandbytes");
    TCase *tests = tcase_create("bitsandbytes");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, values_equal_bitsandbytes);
    tcase_add_test(tests, parts_count_as_one_tensor);
    tcase_add_test(tests, values_need_no_alignment);
    tcase_add_loop_test(tests, damaged_parts_are_named, 0, sizeof damaged / sizeof *damaged);
    tcase_add_test(tests, damaged_numbers_are_named);
    tcase_add_test(tests, overflow_to_infinity_is_refused);
    tcase_add_test(tests, another_nested_map_is_obeyed);
    tcase_add_test(tests, lack_of_memory_is_survived);
    tcase_add_test(tests, tinystories_matches_bitsandbytes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
