/* Weights in shards: against the single file, and all that an index may claim wrongly. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "loaders/shards.h"
#include "loaders/weights.h"

static const struct model_config plain = {.head_dim = 16};

static struct weights *open_whole(const char *path)
{
    struct weights *weights;
    struct err err;
    ck_assert_msg(weights_open(&weights, path, &plain, &err) == STATUS_OK, "%s", err.text);
    return weights;
}

static float *read_whole(const struct weights *weights, const struct weight *weight)
{
    float *values = guarded_floats((size_t)(weight->rows * weight->columns));
    struct err err;
    ck_assert_msg(weight_read(weights, weight, 0, weight->rows, values, &err) == STATUS_OK, "%s",
                  err.text);
    return values;
}

/* ---- what is right -------------------------------------------------------------------------- */

/* huggingface_hub cut tests/golden/shards out of mixed.safetensors (make_shards.py). */
START_TEST(shards_hold_what_the_single_file_does)
{
    struct weights *one = open_whole(golden("mixed.safetensors"));
    struct weights *many = open_whole(golden("shards"));
    ck_assert_int_eq(weights_count(many), weights_count(one));
    ck_assert_int_eq(weights_file_count(one), 1);
    ck_assert_int_eq(weights_file_count(many), 3);
    ck_assert_int_eq(weights_format(many), MODEL_SHARDS);
    for (int i = 0; i < weights_count(one); i++) {
        const struct weight *want = weights_at(one, i), *got = weights_find(many, want->name);
        ck_assert_ptr_nonnull(got);
        ck_assert_str_eq(got->type_name, want->type_name);
        ck_assert_int_eq(got->n_dims, want->n_dims);
        ck_assert_int_eq(got->rows, want->rows);
        ck_assert_int_eq(got->columns, want->columns);
        ck_assert_ptr_nonnull(strstr(got->path, "-of-00003.safetensors"));
        if (!want->type)
            continue; /* positions, in I64 */
        size_t n = (size_t)(want->rows * want->columns);
        float *w = read_whole(one, want), *g = read_whole(many, got);
        ck_assert_msg(memcmp(w, g, n * sizeof *w) == 0, "%s", want->name);
        check_guarded(w, n);
        check_guarded(g, n);
        weight_release(many, got);
    }
    weights_close(one);
    weights_close(many);
}
END_TEST

/* ---- shards of our own ---------------------------------------------------------------------- */

static char folder[4096];

static void fresh_folder(void)
{
    snprintf(folder, sizeof folder, "%s", temporary_folder());
}

/* A shard with one F32 of value 1 for each of the names, which commas part. */
static void write_shard(const char *file, const char *names)
{
    char bytes[4096], list[256];
    size_t length = 1, n = 0;
    snprintf(list, sizeof list, "%s", names);
    bytes[8] = '{';
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ","), n++)
        length += (size_t)snprintf(
            bytes + 8 + length, sizeof bytes - 8 - length,
            "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", n ? "," : "",
            name, 4 * n, 4 * n + 4);
    bytes[8 + length++] = '}';
    memcpy(bytes, &(uint64_t){length}, 8);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 8 + length + 4 * i, &(float){1}, 4);
    write_file(folder, file, bytes, 8 + length + 4 * n);
}

static void write_index(const char *text)
{
    write_file(folder, "model.safetensors.index.json", text, strlen(text));
}

static void check_refused(enum status status, const char *part)
{
    struct weights *weights;
    struct err err;
    check_error(weights_open(&weights, folder, &plain, &err), &err, status, part, part);
    ck_assert_ptr_null(weights);
}

/* Lies in the index that are not about files: the tensors count. */
START_TEST(shards_do_not_trust_total_size)
{
    static const char *const sizes[] = {"-1", "0", "\"much\"", "99999999999999999999999", "1e300"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char index[256];
        fresh_folder();
        write_shard("a.safetensors", "x");
        write_shard("b.safetensors", "y,extra");
        snprintf(index, sizeof index,
                 "{\"metadata\":{\"total_size\":%s},\"weight_map\":{\"x\":\"a.safetensors\","
                 "\"y\":\"b.safetensors\"}}",
                 sizes[i]);
        write_index(index);
        struct weights *weights = open_whole(folder);
        ck_assert_int_eq(weights_count(weights), 3);
        ck_assert_ptr_nonnull(weights_find(weights, "extra"));
        weights_close(weights);
    }
}
END_TEST

/* As in the hub's cache: the folder's files are links to others with a hash for a name. */
START_TEST(shards_may_be_links)
{
    char from[5000], to[5000];
    static const char *const names[] = {"a.safetensors", "b.safetensors",
                                        "model.safetensors.index.json"};
    fresh_folder();
    snprintf(from, sizeof from, "%s/blobs", folder);
    snprintf(to, sizeof to, "%s/snapshot", folder);
    ck_assert_int_eq(mkdir(to, 0777), 0);
    write_shard("a.safetensors", "x");
    write_shard("b.safetensors", "y");
    write_index("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}");
    ck_assert_int_eq(mkdir(from, 0777), 0);
    for (int i = 0; i < 3; i++) {
        char old[6000], blob[6000], target[64], link[6000];
        snprintf(old, sizeof old, "%s/%s", folder, names[i]);
        snprintf(blob, sizeof blob, "%s/%d%d%d", from, i, i, i);
        snprintf(target, sizeof target, "../blobs/%d%d%d", i, i, i);
        snprintf(link, sizeof link, "%s/%s", to, names[i]);
        ck_assert_int_eq(rename(old, blob), 0);
        ck_assert_int_eq(symlink(target, link), 0);
    }
    struct weights *weights = open_whole(to);
    ck_assert_int_eq(weights_count(weights), 2);
    weights_close(weights);
    strcat(folder, "/snapshot");
    strcat(from, "/111");
    ck_assert_int_eq(unlink(from), 0);
    check_refused(STATUS_MISSING, "/snapshot/b.safetensors: no such file, but "
                                  "model.safetensors.index.json names it; fetch it again");
}
END_TEST

START_TEST(shards_are_many)
{
    static char index[1 << 16];
    char name[64];
    size_t length = (size_t)snprintf(index, sizeof index, "{\"weight_map\":{");
    fresh_folder();
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "t%d", i);
        length += (size_t)snprintf(index + length, sizeof index - length,
                                   "%s\"%s\":\"model-%05d-of-00100.safetensors\"", i ? "," : "",
                                   name, i + 1);
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-00100.safetensors", i + 1);
        write_shard(file, name);
    }
    snprintf(index + length, sizeof index - length, "}}");
    write_index(index);
    struct weights *weights = open_whole(folder);
    ck_assert_int_eq(weights_count(weights), 100);
    ck_assert_int_eq(weights_file_count(weights), 100);
    float *value = read_whole(weights, weights_find(weights, "t77"));
    ck_assert(value[0] == 1);
    check_guarded(value, 1);
    weights_close(weights);
}
END_TEST

/* ---- what is wrong -------------------------------------------------------------------------- */

#define NOT_PLAIN "is not the plain name of a .safetensors file in this folder"

static const struct {
    const char *index, *part;
} refused[] = {
    {"", "index.json: line 1: not good JSON"},
    {"{\"weight_map\":\n{\"x\":}}", "index.json: line 2: not good JSON"},
    {"[]", "index.json: weight_map: missing or empty"},
    {"{}", "index.json: weight_map: missing or empty"},
    {"{\"weight_map\":[]}", "index.json: weight_map: missing or empty"},
    {"{\"weight_map\":{}}", "index.json: weight_map: missing or empty"},
    {"{\"weight_map\":{\"x\":1}}", "weight_map: tensor x: what it has " NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"\"}}", "tensor x:  " NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"/etc/a.safetensors\"}}", "x: /etc/a.safetensors " NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"../a.safetensors\"}}", "x: ../a.safetensors " NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"sub/../../a.safetensors\"}}", NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"..\"}}", "x: .. " NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"..\\\\a.safetensors\"}}", NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"c:\\\\a.safetensors\"}}", NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\".safetensors\"}}", NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"pytorch_model.bin\"}}", NOT_PLAIN},
    {"{\"weight_map\":{\"x\":\"a.safetensors\\u0000\"}}", "not good JSON"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"x\":\"b.safetensors\"}}", "duplicate"},
    {"{\"weight_map\":{\"x\":\"b.safetensors\",\"y\":\"b.safetensors\"}}",
     "b.safetensors: tensor x: model.safetensors.index.json says that it is here, but it is not"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"z\":\"a.safetensors\"}}",
     "a.safetensors: tensor z: model.safetensors.index.json says that it is here, but it is not"},
    {"{\"weight_map\":{\"y\":\"b.safetensors\",\"z\":\"b.safetensors\",\"x\":\"a.safetensors\"}}",
     "b.safetensors: tensor z: model.safetensors.index.json says"},
    /* Both are there, each in the other's place. */
    {"{\"weight_map\":{\"x\":\"b.safetensors\",\"y\":\"a.safetensors\"}}",
     "b.safetensors: tensor x: model.safetensors.index.json says"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"c.safetensors\"}}",
     "c.safetensors: tensor x: it stands in "},
};

START_TEST(shards_refuse_a_bad_index)
{
    fresh_folder();
    write_shard("a.safetensors", "x");
    write_shard("b.safetensors", "y");
    write_shard("c.safetensors", "x,y");
    write_index(refused[_i].index);
    check_refused(STATUS_BAD_DATA, refused[_i].part);
}
END_TEST

START_TEST(shards_refuse_a_huge_or_deep_index)
{
    char path[5000];
    fresh_folder();
    write_index("{}");
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    ck_assert_int_eq(truncate(path, (64 << 20) + 1), 0); /* sparse */
    check_refused(STATUS_BAD_DATA, "67108865 bytes are more than the 67108864");
    static char deep[100000];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "{\"weight_map\":", 14);
    write_index(deep);
    check_refused(STATUS_BAD_DATA, "maximum parsing depth");
}
END_TEST

/* Names of files in a number that no process could open. */
START_TEST(shards_are_bounded)
{
    static char index[1 << 17];
    size_t length = (size_t)snprintf(index, sizeof index, "{\"weight_map\":{");
    for (int i = 0; i <= SHARDS_LARGEST; i++)
        length += (size_t)snprintf(index + length, sizeof index - length,
                                   "%s\"t%d\":\"s%d.safetensors\"", i ? "," : "", i, i);
    snprintf(index + length, sizeof index - length, "}}");
    fresh_folder();
    write_index(index);
    check_refused(STATUS_BAD_DATA, "weight_map: more than 1000 files");
}
END_TEST

START_TEST(shards_may_be_other_things)
{
    char path[5000];
    fresh_folder();
    write_shard("a.safetensors", "x");
    write_index("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}");
    check_refused(STATUS_MISSING, "b.safetensors: no such file, but model.safetensors.index.json");
    snprintf(path, sizeof path, "%s/b.safetensors", folder);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    check_refused(STATUS_BAD_DATA, "b.safetensors: this is a pipe; name a regular file");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    check_refused(STATUS_BAD_DATA, "b.safetensors: this is a folder; name a regular file");
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(symlink("b.safetensors", path), 0);
    check_refused(STATUS_RESOURCE, "b.safetensors: Too many levels of symbolic links");
    ck_assert_int_eq(unlink(path), 0);
    write_file(folder, "b.safetensors", "\1\2", 2);
    check_refused(STATUS_BAD_DATA, "b.safetensors: byte 0: the header's length");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    write_file(folder, "b.safetensors", pointer, sizeof pointer - 1);
    check_refused(STATUS_BAD_DATA, "b.safetensors: this is a Git LFS pointer");
}
END_TEST

/* One shard is cut while the model is open: its own tensors fail, the other's do not. */
START_TEST(shards_see_a_cut_each)
{
    char path[5000];
    float out[1];
    struct err err;
    fresh_folder();
    write_shard("a.safetensors", "x");
    write_shard("b.safetensors", "y");
    write_index("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}");
    struct weights *weights = open_whole(folder);
    snprintf(path, sizeof path, "%s/b.safetensors", folder);
    ck_assert_int_eq(truncate(path, 20), 0);
    ck_assert_int_eq(weight_read(weights, weights_find(weights, "x"), 0, 1, out, &err), STATUS_OK);
    check_error(weight_read(weights, weights_find(weights, "y"), 0, 1, out, &err), &err,
                STATUS_BAD_DATA, "b.safetensors: byte 20: the file was cut", "cut");
    weights_close(weights);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shards");
    TCase *tests = tcase_create("shards");
    tcase_add_test(tests, shards_hold_what_the_single_file_does);
    tcase_add_test(tests, shards_do_not_trust_total_size);
    tcase_add_test(tests, shards_may_be_links);
    tcase_add_test(tests, shards_are_many);
    tcase_add_loop_test(tests, shards_refuse_a_bad_index, 0,
                        (int)(sizeof refused / sizeof *refused));
    tcase_add_test(tests, shards_refuse_a_huge_or_deep_index);
    tcase_add_test(tests, shards_are_bounded);
    tcase_add_test(tests, shards_may_be_other_things);
    tcase_add_test(tests, shards_see_a_cut_each);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
