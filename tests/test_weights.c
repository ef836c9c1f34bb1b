/* Tensors by name: values bit for bit against the original packages', from both kinds of file. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "loaders/weights.h"

static struct weights *open_whole(const char *path, const struct model_config *config)
{
    struct weights *weights;
    struct err err;
    ck_assert_msg(weights_open(&weights, path, config, &err) == STATUS_OK, "%s", err.text);
    return weights;
}

/* For files without permuted tensors. */
static const struct model_config plain = {.head_dim = 16};

static struct model_config config_of(const char *path)
{
    struct model_config config;
    struct err err;
    ck_assert_msg(model_config_read(&config, path, &err) == STATUS_OK, "%s", err.text);
    return config;
}

/* All rows, in pieces of at most `piece`, into a guarded buffer. */
static float *read_whole(const struct weights *weights, const struct weight *weight, int64_t piece)
{
    float *values = guarded_floats((size_t)(weight->rows * weight->columns));
    struct err err;
    for (int64_t row = 0; row < weight->rows; row += piece) {
        int64_t n = weight->rows - row < piece ? weight->rows - row : piece;
        enum status status =
            weight_read(weights, weight, row, n, values + row * weight->columns, &err);
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
    }
    return values;
}

/* Random bits and edge cases in every type; the .safetensors holds what the gguf package and
 * transformers make of them (tests/golden/make_gguf.py). */
static const struct {
    const char *gguf, *safetensors;
    int n_permuted; /* q and k of two layers */
} original_pairs[] = {
    {"gguf/tiny.gguf", "gguf/tiny.safetensors", 4},
    {"gguf/types.gguf", "gguf/types.safetensors", 0},
};

START_TEST(weights_of_gguf_equal_the_originals)
{
    struct weights *got = open_whole(golden(original_pairs[_i].gguf), &plain);
    struct weights *want = open_whole(golden(original_pairs[_i].safetensors), &plain);
    ck_assert_int_eq(weights_count(got), weights_count(want));
    int n_permuted = 0;
    for (int i = 0; i < weights_count(got); i++) {
        const struct weight *g = weights_at(got, i), *w = weights_find(want, g->name);
        ck_assert_msg(w != NULL, "%s", g->name);
        ck_assert_int_eq(g->n_dims, w->n_dims);
        ck_assert_int_eq(g->rows, w->rows);
        ck_assert_int_eq(g->columns, w->columns);
        n_permuted += g->permuted;
        size_t n = (size_t)(g->rows * g->columns);
        float *expected = read_whole(want, w, 1000);
        for (int64_t piece = 1; piece <= 1000; piece = piece == 1 ? 7 : piece == 7 ? 1000 : 1001) {
            float *values = read_whole(got, g, piece);
            for (size_t j = 0; j < n; j++)
                if (memcmp(&values[j], &expected[j], 4) != 0)
                    ck_abort_msg("%s (%s): value %zu is %a, not %a", g->name, g->type_name, j,
                                 (double)values[j], (double)expected[j]);
            check_guarded(values, n);
        }
        check_guarded(expected, n);
    }
    ck_assert_int_eq(n_permuted, original_pairs[_i].n_permuted);
    weights_close(got);
    weights_close(want);
}
END_TEST

/* By tests/golden/make_safetensors.py: value i is (i - 3) / 8. */
START_TEST(weights_of_safetensors_equal_the_originals)
{
    static const struct {
        const char *name, *type_name;
        int n_dims, rows, columns;
    } tensors[] = {
        {"matrix.f32", "F32", 2, 5, 3},   {"matrix.f16", "F16", 2, 4, 7},
        {"matrix.bf16", "BF16", 2, 3, 9}, {"vector.f32", "F32", 1, 1, 11},
        {"scalar.f32", "F32", 0, 1, 1},   {"empty.f32", "F32", 2, 0, 4},
        {"cube.f16", "F16", 3, 6, 4},
    };
    struct weights *weights = open_whole(golden("mixed.safetensors"), &plain);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const struct weight *weight = weights_find(weights, tensors[i].name);
        ck_assert_ptr_nonnull(weight);
        ck_assert_str_eq(weight->type_name, tensors[i].type_name);
        ck_assert_int_eq(weight->n_dims, tensors[i].n_dims);
        ck_assert_int_eq(weight->rows, tensors[i].rows);
        ck_assert_int_eq(weight->columns, tensors[i].columns);
        size_t n = (size_t)(weight->rows * weight->columns);
        float *values = read_whole(weights, weight, 2);
        for (size_t j = 0; j < n; j++)
            ck_assert_float_eq(values[j], ((float)j - 3) / 8);
        check_guarded(values, n);
    }
    weights_close(weights);
}
END_TEST

START_TEST(weights_expect_checks)
{
    struct weights *weights = open_whole(golden("mixed.safetensors"), &plain);
    const struct weight *weight;
    struct err err;
    float out[6];
    ck_assert_int_eq(weights_expect(weights, "matrix.f16", 4, 7, &weight, &err), STATUS_OK);
    ck_assert_ptr_eq(weight, weights_find(weights, "matrix.f16"));
    ck_assert_int_eq(weights_expect(weights, "vector.f32", 1, 11, &weight, &err), STATUS_OK);
    check_error(weights_expect(weights, "matrix.f15", 4, 7, &weight, &err), &err, STATUS_BAD_DATA,
                "mixed.safetensors: tensor matrix.f15: missing", "missing");
    ck_assert_ptr_null(weight);
    check_error(weights_expect(weights, "matrix.f16", 7, 4, &weight, &err), &err, STATUS_BAD_DATA,
                "tensor matrix.f16: its shape is 4 x 7 (2 dimensions), not 7 x 4", "shape");
    check_error(weights_expect(weights, "cube.f16", 6, 4, &weight, &err), &err, STATUS_BAD_DATA,
                "tensor cube.f16: its shape is 6 x 4 (3 dimensions)", "dimensions");
    check_error(weights_expect(weights, "positions", 1, 6, &weight, &err), &err, STATUS_BAD_DATA,
                "tensor positions: type I64 cannot be read; use a model in one of F32", "type");
    check_error(weight_read(weights, weights_find(weights, "positions"), 0, 1, out, &err), &err,
                STATUS_BAD_DATA, "type I64 cannot be read", "read");
    weights_close(weights);
}
END_TEST

/* ---- tied embeddings ------------------------------------------------------------------------ */

START_TEST(weights_find_tied_embeddings_under_both_names)
{
    static const char *const names[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int held = 0; held < 2; held++)
        for (int tied = 0; tied < 2; tied++) {
            char file[256];
            uint64_t length = (uint64_t)snprintf(
                file + 8, sizeof file - 8,
                "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}", names[held]);
            memcpy(file, &length, 8);
            const char *path =
                write_file(temporary_folder(), "a.safetensors", file, 8 + length + 4);
            struct model_config config = {.head_dim = 16, .tied_embeddings = tied};
            struct weights *weights = open_whole(path, &config);
            const struct weight *weight = weights_find(weights, names[held]);
            ck_assert_ptr_nonnull(weight);
            ck_assert_ptr_eq(weights_find(weights, names[1 - held]), tied ? weight : NULL);
            ck_assert_ptr_null(weights_find(weights, "model.norm.weight"));
            weights_close(weights);
        }
}
END_TEST

/* A file of a base model: every name without "model.". */
START_TEST(weights_find_base_models_names)
{
    struct model_config config = config_of(golden("families/qwen3"));
    struct weights *weights = open_whole(golden("families/qwen3"), &config);
    static const char *const names[] = {"model.embed_tokens.weight", "model.norm.weight",
                                        "model.layers.2.self_attn.k_norm.weight"};
    for (int i = 0; i < 3; i++) {
        const struct weight *weight = weights_find(weights, names[i]);
        ck_assert_ptr_nonnull(weight);
        ck_assert_str_eq(weight->name, names[i] + strlen("model."));
        ck_assert_ptr_eq(weights_find(weights, names[i] + strlen("model.")), weight);
    }
    ck_assert_ptr_eq(weights_find(weights, "lm_head.weight"),
                     weights_find(weights, "model.embed_tokens.weight"));
    ck_assert_ptr_null(weights_find(weights, "model.layers.3.self_attn.k_norm.weight"));
    weights_close(weights);
}
END_TEST

START_TEST(weights_of_tinystories)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs ../shared/data/models/tinystories-656k");
    struct model_config config = config_of(path);
    struct weights *weights = open_whole(path, &config);
    const struct weight *weight;
    struct err err;
    ck_assert_int_eq(weights_expect(weights, "model.embed_tokens.weight", 2048, 128, &weight, &err),
                     STATUS_OK);
    ck_assert_str_eq(weight->name, "lm_head.weight");
    ck_assert_int_eq(
        weights_expect(weights, "model.layers.1.self_attn.k_proj.weight", 64, 128, &weight, &err),
        STATUS_OK);
    ck_assert(!weight->permuted);
    weights_close(weights);
}
END_TEST

/* Each tensor's checksum is that of what transformers loads (tests/golden/make_gguf.py). */
START_TEST(weights_of_smollm2_equal_transformers)
{
    const char *path = local_model("smollm2-135m");
    if (!path)
        SKIP("needs models/smollm2-135m");
    struct model_config config = config_of(path);
    struct weights *weights = open_whole(path, &config);
    FILE *file = fopen(golden("gguf/smollm2.txt"), "r");
    ck_assert_ptr_nonnull(file);
    char name[128];
    long long rows, columns;
    unsigned long want;
    int n = 0;
    for (; fscanf(file, "%127s %lld %lld %lx", name, &rows, &columns, &want) == 4; n++) {
        const struct weight *weight;
        struct err err;
        enum status status = weights_expect(weights, name, rows, columns, &weight, &err);
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
        float *values = read_whole(weights, weight, 1 << 16);
        unsigned long got = crc32_z(0, (const unsigned char *)values, (size_t)(rows * columns) * 4);
        ck_assert_msg(got == want, "%s: checksum %08lx, not %08lx", name, got, want);
        check_guarded(values, (size_t)(rows * columns));
        weight_release(weights, weight);
    }
    fclose(file);
    ck_assert_int_eq(n, weights_count(weights) + 1); /* the embeddings count twice */
    weights_close(weights);
}
END_TEST

/* ---- files ---------------------------------------------------------------------------------- */

START_TEST(weights_survive_release)
{
    struct weights *weights = open_whole(golden("gguf/tiny.safetensors"), &plain);
    const struct weight *weight = weights_find(weights, "model.layers.0.mlp.up_proj.weight");
    size_t n = (size_t)(weight->rows * weight->columns);
    float *before = read_whole(weights, weight, 3);
    weight_release(weights, weight);
    float *after = read_whole(weights, weight, 1000);
    ck_assert_mem_eq(before, after, n * 4);
    check_guarded(before, n);
    check_guarded(after, n);
    weights_close(weights);
}
END_TEST

START_TEST(weights_see_a_cut)
{
    static unsigned char bytes[100000];
    FILE *file = fopen(golden("gguf/tiny.safetensors"), "rb");
    ck_assert_ptr_nonnull(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    const char *path = write_file(temporary_folder(), "a.safetensors", bytes, size);
    struct weights *weights = open_whole(path, &plain);
    ck_assert_int_eq(truncate(path, (off_t)size - 5000), 0);
    const struct weight *weight = weights_at(weights, weights_count(weights) - 1);
    static float out[100000];
    struct err err;
    check_error(weight_read(weights, weight, 0, weight->rows, out, &err), &err, STATUS_BAD_DATA,
                "the file was cut", "cut");
    weights_close(weights);
}
END_TEST

/* A GGUF with one tensor of 1024 values, Q4_0 as 32 x 32, IQ4_XS as 4 x 256 or Q8_0 as a vector;
 * the metadata holds split.count. */
#define Q4_0   2
#define IQ4_XS 23
#define Q8_0   8
static const char *write_gguf(const char *name, uint32_t type, uint16_t parts)
{
    size_t bytes = type == IQ4_XS ? 4 * 136 : type == Q8_0 ? 32 * 34 : 32 * 18;
    uint64_t columns = type == IQ4_XS ? 256 : type == Q8_0 ? 1024 : 32;
    static unsigned char file[8192];
    memset(file, 0, sizeof file);
    memcpy(file, "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
    unsigned char *at = file + 24;
    memcpy(at, "\13\0\0\0\0\0\0\0split.count\2\0\0\0", 23);
    memcpy(at + 23, &parts, 2);
    at += 25;
    uint64_t length = strlen(name);
    memcpy(at, &length, 8);
    memcpy(at + 8, name, length);
    at += 8 + length;
    uint64_t rows = 1024 / columns;
    uint32_t n_dims = rows > 1 ? 2 : 1;
    memcpy(at, &n_dims, 4);
    memcpy(at + 4, &columns, 8);
    memcpy(at + 12, &rows, 8);
    at += 4 + 8 * n_dims;
    memcpy(at, &type, 4);
    at += 12;
    size_t table = ((size_t)(at - file) + 31) / 32 * 32;
    return write_file(temporary_folder(), "a.gguf", file, table + bytes);
}

START_TEST(weights_refuse_gguf)
{
    struct weights *weights;
    const struct weight *weight;
    struct err err;
    weights = open_whole(write_gguf("blk.0.attn_q.weight", Q4_0, 1), &plain);
    ck_assert_ptr_nonnull(weights_find(weights, "model.layers.0.self_attn.q_proj.weight"));
    weights_close(weights);

    check_error(weights_open(&weights, write_gguf("a", Q4_0, 3), &plain, &err), &err,
                STATUS_BAD_DATA, "metadata split.count: one of 3 parts; join them", "split");
    ck_assert_ptr_null(weights);
    const struct model_config odd = {.head_dim = 6};
    check_error(weights_open(&weights, write_gguf("blk.0.attn_k.weight", Q4_0, 1), &odd, &err),
                &err, STATUS_BAD_DATA, "blk.0.attn_k.weight: its 32 rows are not whole heads of 6",
                "heads");

    check_error(weights_open(&weights, write_gguf("blk.0.attn_k.bias", Q8_0, 1), &odd, &err), &err,
                STATUS_BAD_DATA, "attn_k.bias: its 1024 rows are not whole heads of 6", "bias");
    check_error(weights_open(&weights, write_gguf("blk.0.attn_k.bias", Q8_0, 1), &plain, &err),
                &err, STATUS_BAD_DATA, "blk.0.attn_k.bias: a bias of type Q8_0 cannot be read",
                "bias");

    weights = open_whole(write_gguf("output_norm.weight", IQ4_XS, 1), &plain);
    check_error(weights_expect(weights, "model.norm.weight", 4, 256, &weight, &err), &err,
                STATUS_BAD_DATA,
                "model.norm.weight: type IQ4_XS cannot be read; use a model in one", "IQ4_XS");
    weights_close(weights);
}
END_TEST

/* A GPTQ checkpoint without a word of it in config.json. */
START_TEST(weights_name_packed_ones)
{
    static const char header[] =
        "{\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char file[128];
    uint64_t length = sizeof header - 1;
    memcpy(file, &length, 8);
    memcpy(file + 8, header, sizeof header - 1);
    const char *path = write_file(temporary_folder(), "a.safetensors", file, 8 + length + 4);
    struct weights *weights = open_whole(path, &plain);
    const struct weight *weight;
    struct err err;
    check_error(weights_expect(weights, "a.weight", 1, 1, &weight, &err), &err, STATUS_BAD_DATA,
                "tensor a.weight: packed by GPTQ or AWQ (.qweight)", "packed");
    check_error(weights_expect(weights, "b.weight", 1, 1, &weight, &err), &err, STATUS_BAD_DATA,
                "tensor b.weight: missing", "missing");
    weights_close(weights);
}
END_TEST

/* Both names of one tensor, in one file. */
START_TEST(weights_refuse_a_name_twice)
{
    static const char *const names[] = {"output_norm.weight", "model.norm.weight"};
    unsigned char file[256] = "GGUF\3\0\0\0\2";
    unsigned char *at = file + 24;
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t length = strlen(names[i]), offset = 32 * i;
        memcpy(at, &length, 8);
        memcpy(at + 8, names[i], length);
        at += 8 + length;
        memcpy(at, "\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 16); /* F32, one value */
        memcpy(at + 16, &offset, 8);
        at += 24;
    }
    struct weights *weights;
    struct err err;
    const char *path = write_file(temporary_folder(), "a.gguf", file, sizeof file);
    check_error(weights_open(&weights, path, &plain, &err), &err, STATUS_BAD_DATA,
                "tensor model.norm.weight: it stands there twice", "twice");
}
END_TEST

START_TEST(weights_keep_names_that_are_not_known)
{
    static const char *const names[] = {"blk.0.",
                                        "blk..attn_q.weight",
                                        "blk.x.attn_q.weight",
                                        "blk.12345678901.ffn_up.weight",
                                        "blk.0.ffn_gate_inp",
                                        "blk.0.ffn_up.scale",
                                        "blk.0.weight",
                                        "blk.0.ffn_upp.bias"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct weights *weights = open_whole(write_gguf(names[i], Q4_0, 1), &plain);
        ck_assert_str_eq(weights_at(weights, 0)->name, names[i]);
        weights_close(weights);
    }
}
END_TEST

static enum status open_and_close(void *path, struct err *err)
{
    struct weights *weights;
    enum status status = weights_open(&weights, path, &plain, err);
    weights_close(weights);
    return status;
}

START_TEST(weights_survive_lack_of_memory)
{
    const char *const files[] = {"gguf/tiny.gguf", "gguf/tiny.safetensors", "shards"};
    for (int i = 0; i < 3; i++)
        ck_assert_int_ge(
            check_lack_of_memory(open_and_close, (void *)(uintptr_t)golden(files[i]), files[i]), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    TCase *tests = tcase_create("weights");
    tcase_add_loop_test(tests, weights_of_gguf_equal_the_originals, 0,
                        sizeof original_pairs / sizeof *original_pairs);
    tcase_add_test(tests, weights_of_safetensors_equal_the_originals);
    tcase_add_test(tests, weights_expect_checks);
    tcase_add_test(tests, weights_find_tied_embeddings_under_both_names);
    tcase_add_test(tests, weights_find_base_models_names);
    tcase_add_test(tests, weights_of_tinystories);
    tcase_add_test(tests, weights_survive_release);
    tcase_add_test(tests, weights_see_a_cut);
    tcase_add_test(tests, weights_refuse_gguf);
    tcase_add_test(tests, weights_name_packed_ones);
    tcase_add_test(tests, weights_refuse_a_name_twice);
    tcase_add_test(tests, weights_keep_names_that_are_not_known);
    tcase_add_test(tests, weights_survive_lack_of_memory);
    suite_add_tcase(suite, tests);
    TCase *slow = tcase_create("whole models");
    tcase_set_timeout(slow, 60);
    tcase_add_test(slow, weights_of_smollm2_equal_transformers);
    suite_add_tcase(suite, slow);
    return run_suite(suite);
}
