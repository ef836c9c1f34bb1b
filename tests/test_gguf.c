/* GGUF: metadata and tensor tables, whole and damaged. What the tensors' bytes mean is tested with
 * weights (test_weights.c). */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "loaders/gguf.h"
#include "loaders/gguf_types.h"

/* ---- a small file, piece by piece ----------------------------------------------------------- */

/* Where in the file the damaged cases strike. */
enum place {
    MAGIC,
    VERSION,
    N_TENSORS,
    N_KEYS,
    KEY_LENGTH,
    KEY_TEXT,
    KEY_TYPE,
    ALIGNMENT,
    TEXT_LENGTH,
    LIST_TYPE,
    LIST_COUNT,
    NESTED_TYPE,
    NAME_LENGTH,
    NAME_TEXT,
    DIMS,
    DIM_0,
    DIM_1,
    TYPE,
    OFFSET,
    SECOND_NAME_TEXT,
    SECOND_DIM_0,
    SECOND_OFFSET,
    PLACES,
};

struct file {
    unsigned char bytes[1024];
    size_t size;
    size_t places[PLACES];
};

static void put(struct file *file, const void *bytes, size_t n)
{
    ck_assert_uint_le(file->size + n, sizeof file->bytes);
    memcpy(file->bytes + file->size, bytes, n);
    file->size += n;
}

static void put_u32(struct file *file, uint32_t value)
{
    put(file, &value, 4);
}

static void put_u64(struct file *file, uint64_t value)
{
    put(file, &value, 8);
}

static void put_text(struct file *file, const char *text)
{
    put_u64(file, strlen(text));
    put(file, text, strlen(text));
}

static void put_key(struct file *file, const char *key, enum gguf_type type)
{
    put_text(file, key);
    put_u32(file, type);
}

static void mark(struct file *file, enum place place)
{
    file->places[place] = file->size;
}

static void put_metadata(struct file *file)
{
    mark(file, KEY_LENGTH);
    file->places[KEY_TEXT] = file->size + 8;
    file->places[KEY_TYPE] = file->size + 8 + strlen("general.alignment");
    put_key(file, "general.alignment", GGUF_UINT32);
    mark(file, ALIGNMENT);
    put_u32(file, 64);

    put_key(file, "a.text", GGUF_STRING);
    mark(file, TEXT_LENGTH);
    put_text(file, "some text");

    put_key(file, "a.list", GGUF_ARRAY);
    mark(file, LIST_TYPE);
    put_u32(file, GGUF_STRING);
    mark(file, LIST_COUNT);
    put_u64(file, 3);
    put_text(file, "x");
    put_text(file, "");
    put_text(file, "yz");

    put_key(file, "a.nested", GGUF_ARRAY);
    mark(file, NESTED_TYPE);
    put_u32(file, GGUF_ARRAY);
    put_u64(file, 1);
    put_u32(file, GGUF_INT8);
    put_u64(file, 2);
    put(file, "\x01\xFF", 2);
}

/* Two tensors: F32 of 2 x 8 and Q4_0 of 32. */
static void put_tensors(struct file *file)
{
    mark(file, NAME_LENGTH);
    file->places[NAME_TEXT] = file->size + 8;
    put_text(file, "tensor.1");
    mark(file, DIMS);
    put_u32(file, 2);
    mark(file, DIM_0);
    put_u64(file, 8);
    mark(file, DIM_1);
    put_u64(file, 2);
    mark(file, TYPE);
    put_u32(file, 0);
    mark(file, OFFSET);
    put_u64(file, 0);

    file->places[SECOND_NAME_TEXT] = file->size + 8;
    put_text(file, "tensor.2");
    put_u32(file, 1);
    mark(file, SECOND_DIM_0);
    put_u64(file, 32);
    put_u32(file, 2);
    mark(file, SECOND_OFFSET);
    put_u64(file, 64);
    file->size = (file->size + 63) / 64 * 64 + 64 + 18;
}

static void build(struct file *file)
{
    memset(file, 0, sizeof *file);
    mark(file, MAGIC);
    put(file, "GGUF", 4);
    mark(file, VERSION);
    put_u32(file, 3);
    mark(file, N_TENSORS);
    put_u64(file, 2);
    mark(file, N_KEYS);
    put_u64(file, 4);
    put_metadata(file);
    put_tensors(file);
}

static struct gguf *open_whole(const char *path)
{
    struct gguf *gguf;
    struct err err;
    ck_assert_msg(gguf_open(&gguf, path, &err) == STATUS_OK, "%s", err.text);
    return gguf;
}

static struct gguf *open_built(void)
{
    struct file file;
    build(&file);
    return open_whole(write_file(temporary_folder(), "a.gguf", file.bytes, file.size));
}

/* ---- whole files ---------------------------------------------------------------------------- */

START_TEST(gguf_gives_metadata)
{
    struct gguf *gguf = open_built();
    struct err err;
    int64_t integer = -1;
    double number = -1;
    struct gguf_text text = {0};
    struct gguf_array list = {0}, nested = {0};
    ck_assert(gguf_has(gguf, "a.text") && !gguf_has(gguf, "a.tex") && !gguf_has(gguf, "a.textt"));
    ck_assert_int_eq(gguf_get_integer(gguf, "general.alignment", &integer, &err), STATUS_OK);
    ck_assert_int_eq(integer, 64);
    ck_assert_int_eq(gguf_get_number(gguf, "general.alignment", &number, &err), STATUS_OK);
    ck_assert_double_eq(number, 64);
    ck_assert_int_eq(gguf_get_text(gguf, "a.text", &text, &err), STATUS_OK);
    ck_assert_uint_eq(text.length, 9);
    ck_assert_mem_eq(text.text, "some text", 9);
    ck_assert_int_eq(gguf_get_array(gguf, "a.list", &list, &err), STATUS_OK);
    ck_assert_int_eq(list.type, GGUF_STRING);
    ck_assert_uint_eq(list.count, 3);
    static const char *const want[] = {"x", "", "yz"};
    for (int i = 0; i < 3; i++) {
        ck_assert(gguf_array_next_text(&list, &text));
        ck_assert_uint_eq(text.length, strlen(want[i]));
        ck_assert(memcmp(text.text, want[i], text.length) == 0);
    }
    ck_assert(!gguf_array_next_text(&list, &text));
    ck_assert_int_eq(gguf_get_array(gguf, "a.nested", &nested, &err), STATUS_OK);
    ck_assert(!gguf_array_integer(&nested, 0, &integer));
    ck_assert(!gguf_array_next_text(&nested, &text));
    gguf_close(gguf);
}
END_TEST

START_TEST(gguf_leaves_what_is_absent)
{
    struct gguf *gguf = open_built();
    struct err err;
    int64_t integer = 7;
    double number = 7;
    bool truth = true;
    ck_assert_int_eq(gguf_get_integer(gguf, "none", &integer, &err), STATUS_OK);
    ck_assert_int_eq(gguf_get_number(gguf, "none", &number, &err), STATUS_OK);
    ck_assert_int_eq(gguf_get_bool(gguf, "none", &truth, &err), STATUS_OK);
    ck_assert(integer == 7 && number == 7 && truth);
    gguf_close(gguf);
}
END_TEST

START_TEST(gguf_refuses_another_type)
{
    struct gguf *gguf = open_built();
    struct err err;
    int64_t integer;
    double number;
    bool truth;
    struct gguf_text text;
    struct gguf_array array;
    check_error(gguf_get_integer(gguf, "a.text", &integer, &err), &err, STATUS_BAD_DATA,
                "metadata a.text: the value (string) is not an integer", "integer");
    check_error(gguf_get_number(gguf, "a.list", &number, &err), &err, STATUS_BAD_DATA,
                "metadata a.list: the value (array) is not a number", "number");
    check_error(gguf_get_bool(gguf, "general.alignment", &truth, &err), &err, STATUS_BAD_DATA,
                "the value (uint32) is not true or false", "bool");
    check_error(gguf_get_text(gguf, "general.alignment", &text, &err), &err, STATUS_BAD_DATA,
                "the value (uint32) is not a string", "text");
    check_error(gguf_get_array(gguf, "a.text", &array, &err), &err, STATUS_BAD_DATA,
                "the value (string) is not an array", "array");
    gguf_close(gguf);
}
END_TEST

/* Every type of number, as a value and as an array of two. */
START_TEST(gguf_reads_every_number)
{
    static const struct {
        enum gguf_type type;
        int size;
        uint64_t bits;
        bool integer; /* an integer that fits */
        double value;
    } cases[] = {
        {GGUF_UINT8, 1, 0xFE, true, 254},
        {GGUF_INT8, 1, 0xFE, true, -2},
        {GGUF_UINT16, 2, 0xFFFE, true, 65534},
        {GGUF_INT16, 2, 0xFFFE, true, -2},
        {GGUF_UINT32, 4, 0xFFFFFFFE, true, 4294967294},
        {GGUF_INT32, 4, 0xFFFFFFFE, true, -2},
        {GGUF_UINT64, 8, 1ull << 62, true, 0x1p62},
        {GGUF_INT64, 8, -2ull, true, -2},
        {GGUF_FLOAT32, 4, 0x3FC00000, false, 1.5},
        {GGUF_FLOAT64, 8, 0xBFF8000000000000, false, -1.5},
        {GGUF_UINT64, 8, 1ull << 63, false, NAN}, /* does not fit */
        {GGUF_BOOL, 1, 1, false, NAN},            /* no number */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file file = {0};
        put(&file, "GGUF\3\0\0\0", 8);
        put_u64(&file, 0);
        put_u64(&file, 2);
        put_key(&file, "value", cases[i].type);
        put(&file, &cases[i].bits, (size_t)cases[i].size);
        put_key(&file, "list", GGUF_ARRAY);
        put_u32(&file, cases[i].type);
        put_u64(&file, 2);
        put(&file, "\0\0\0\0\0\0\0\0", (size_t)cases[i].size);
        put(&file, &cases[i].bits, (size_t)cases[i].size);
        struct gguf *gguf =
            open_whole(write_file(temporary_folder(), "a.gguf", file.bytes, file.size));
        struct gguf_array list = {0};
        struct err err;
        int64_t integer = 0;
        double number = 0;
        enum status good_integer = cases[i].integer ? STATUS_OK : STATUS_BAD_DATA;
        enum status good_number = isnan(cases[i].value) ? STATUS_BAD_DATA : STATUS_OK;
        ck_assert_int_eq(gguf_get_integer(gguf, "value", &integer, &err), good_integer);
        ck_assert_int_eq(gguf_get_number(gguf, "value", &number, &err), good_number);
        if (cases[i].integer)
            ck_assert_double_eq((double)integer, cases[i].value);
        if (good_number == STATUS_OK)
            ck_assert_double_eq(number, cases[i].value);
        ck_assert_int_eq(gguf_get_array(gguf, "list", &list, &err), STATUS_OK);
        ck_assert_int_eq(gguf_array_integer(&list, 1, &integer), cases[i].integer);
        ck_assert_int_eq(gguf_array_number(&list, 1, &number), good_number == STATUS_OK);
        if (good_number == STATUS_OK)
            ck_assert_double_eq(number, cases[i].value);
        ck_assert(!gguf_array_number(&list, 2, &number));
        gguf_close(gguf);
    }
}
END_TEST

START_TEST(gguf_gives_tensors)
{
    struct gguf *gguf = open_built();
    ck_assert_int_eq(gguf_tensor_count(gguf), 2);
    const struct gguf_tensor *first = gguf_tensor_at(gguf, 0);
    ck_assert_str_eq(first->name, "tensor.1");
    ck_assert(first->n_dims == 2 && first->dims[0] == 8 && first->dims[1] == 2);
    ck_assert_int_eq(first->bytes, 64);
    const struct gguf_tensor *second = gguf_tensor_find(gguf, "tensor.2");
    ck_assert_ptr_eq(second, gguf_tensor_at(gguf, 1));
    ck_assert(second->n_dims == 1 && second->dims[0] == 32);
    ck_assert_int_eq(second->bytes, 18);
    ck_assert_int_eq(second->data - first->data, 64);
    ck_assert_ptr_null(gguf_tensor_find(gguf, "tensor.3"));
    gguf_close(gguf);
}
END_TEST

START_TEST(gguf_reads_version_2)
{
    struct file file;
    build(&file);
    file.bytes[file.places[VERSION]] = 2;
    gguf_close(open_whole(write_file(temporary_folder(), "a.gguf", file.bytes, file.size)));
}
END_TEST

/* Written by the original package: see tests/golden/make_gguf.py. */
START_TEST(gguf_reads_the_original_writers_file)
{
    struct gguf *gguf = open_whole(golden("gguf/tiny.gguf"));
    struct err err;
    struct gguf_array tokens = {0}, scores = {0};
    struct gguf_text text;
    double score = 0;
    bool bos = false;
    ck_assert_int_eq(gguf_tensor_count(gguf), 2 + 2 * 9 + 1);
    ck_assert_int_eq(gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &bos, &err), STATUS_OK);
    ck_assert(bos);
    ck_assert_int_eq(gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, &err), STATUS_OK);
    ck_assert_int_eq(gguf_get_array(gguf, "tokenizer.ggml.scores", &scores, &err), STATUS_OK);
    ck_assert(tokens.count == 24 && scores.count == 24);
    for (int i = 0; i < 24; i++) {
        char want[16];
        snprintf(want, sizeof want, "token %d", i);
        ck_assert(gguf_array_next_text(&tokens, &text));
        ck_assert(text.length == strlen(want) && memcmp(text.text, want, text.length) == 0);
        ck_assert(gguf_array_number(&scores, (uint64_t)i, &score));
        ck_assert_double_eq(score, -0.5 * i);
    }
    gguf_close(gguf);
}
END_TEST

START_TEST(gguf_reads_vocabularies)
{
    static const struct {
        const char *name;
        uint64_t tokens;
    } files[] = {{"gpt-2", 50257}, {"llama-spm", 32000}};
    for (int i = 0; i < 2; i++) {
        char name[128];
        snprintf(name, sizeof name, "tokenizers/vectors/ggml-vocab-%s.gguf", files[i].name);
        const char *path = shared_data(name);
        if (!path)
            SKIP("needs ../shared/data/%s", name);
        struct gguf *gguf = open_whole(path);
        struct gguf_array tokens = {0};
        struct err err;
        ck_assert_int_eq(gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, &err), STATUS_OK);
        ck_assert_uint_eq(tokens.count, files[i].tokens);
        gguf_close(gguf);
    }
}
END_TEST

/* ---- damaged files -------------------------------------------------------------------------- */

static const struct {
    enum place place;
    int size; /* bytes that are overwritten */
    uint64_t value;
    const char *part;
} damaged[] = {
    {MAGIC, 1, 'g', "byte 0: not a GGUF file"},
    {VERSION, 4, 1, "version 1 is not supported"},
    {VERSION, 4, 4, "version 4 is not supported"},
    {VERSION, 4, 3 << 24, "big-endian"},
    {N_TENSORS, 8, 3, "byte "},
    {N_TENSORS, 8, UINT64_MAX, "more keys or tensors than the file has room for"},
    {N_TENSORS, 8, 1 << 21, "more keys or tensors than the file has room for"},
    {N_KEYS, 8, UINT64_MAX, "more keys or tensors than the file has room for"},
    {N_KEYS, 8, 1ull << 60, "more keys or tensors than the file has room for"},
    {KEY_LENGTH, 8, UINT64_MAX, "ends in the middle of its header"},
    {KEY_LENGTH, 8, 0, "a name is empty"},
    {KEY_TEXT, 1, '\n', "not printable ASCII"},
    {KEY_TEXT, 1, 0xE3, "not printable ASCII"},
    {KEY_TYPE, 4, 13, "a type that is not defined"},
    {KEY_TYPE, 4, UINT32_MAX, "a type that is not defined"},
    {ALIGNMENT, 4, 0, "metadata general.alignment: 0 is not a power of two"},
    {ALIGNMENT, 4, 48, "metadata general.alignment: 48 is not a power of two"},
    {ALIGNMENT, 4, 1u << 31, "is not a power of two"},
    {ALIGNMENT, 4, 128, "tensor tensor.2: its offset is not aligned"},
    {TEXT_LENGTH, 8, UINT64_MAX - 7, "ends in the middle of its header"},
    {LIST_TYPE, 4, 99, "a type that is not defined"},
    {LIST_COUNT, 8, UINT64_MAX, "byte "},
    {LIST_TYPE, 4, GGUF_FLOAT64, "byte "},
    {NESTED_TYPE, 4, GGUF_STRING, "byte "},
    {NAME_LENGTH, 8, 0, "a name is empty"},
    {NAME_TEXT, 1, ' ', "not printable ASCII"},
    {SECOND_NAME_TEXT, 8, 0x312E726F736E6574, "tensor tensor.1: the name stands there twice"},
    {DIMS, 4, 0, "tensor tensor.1: it has no dimension, or more than 4"},
    {DIMS, 4, 5, "tensor tensor.1: it has no dimension, or more than 4"},
    {DIM_0, 8, 0, "tensor tensor.1: a dimension is 0 or too large"},
    {DIM_0, 8, UINT64_MAX, "tensor tensor.1: a dimension is 0 or too large"},
    {DIM_0, 8, 1ull << 62, "tensor tensor.1: a dimension is 0 or too large"},
    {DIM_0, 8, 1ull << 61, "tensor tensor.1: a dimension is 0 or too large"},
    {DIM_0, 8, 1ull << 59, "beyond the file's end"},
    {DIM_1, 8, 64, "tensor tensor.1: its 2048 bytes at offset 0 of the data reach beyond"},
    {DIM_1, 8, 3, "tensor tensor.2: its bytes overlap those of tensor.1"},
    {TYPE, 4, 4, "tensor tensor.1: its type, number 4, is not known; supported: F32"},
    {TYPE, 4, UINT32_MAX, "is not known"},
    {TYPE, 4, 14, "tensor tensor.1: rows of 8 values are not whole blocks of 256 (Q6_K)"},
    {OFFSET, 8, 1ull << 63, "tensor tensor.1: its 64 bytes at offset 9223372036854775808"},
    {OFFSET, 8, UINT64_MAX - 63, "beyond the file's end"},
    {OFFSET, 8, 32, "tensor tensor.1: its offset is not aligned"},
    {SECOND_DIM_0, 8, 33, "tensor tensor.2: rows of 33 values are not whole blocks of 32 (Q4_0)"},
    {SECOND_DIM_0, 8, 1024, "tensor tensor.2: its 576 bytes"},
    {SECOND_OFFSET, 8, 0, "overlap"},
};

START_TEST(gguf_refuses_damage)
{
    struct file file;
    build(&file);
    memcpy(file.bytes + file.places[damaged[_i].place], &damaged[_i].value,
           (size_t)damaged[_i].size);
    /* Room behind, so that a tensor that moves or grows a little is still inside the file. */
    const char *path = write_file(temporary_folder(), "a.gguf", file.bytes, file.size + 256);
    struct gguf *gguf;
    struct err err;
    check_error(gguf_open(&gguf, path, &err), &err, STATUS_BAD_DATA, damaged[_i].part,
                damaged[_i].part);
    check_error(err.status, &err, STATUS_BAD_DATA, path, damaged[_i].part);
    ck_assert_ptr_null(gguf);
}
END_TEST

START_TEST(gguf_refuses_a_key_twice)
{
    struct file file = {0};
    put(&file, "GGUF\3\0\0\0", 8);
    put_u64(&file, 0);
    put_u64(&file, 2);
    for (int i = 0; i < 2; i++) {
        put_key(&file, "same.key", GGUF_UINT8);
        put(&file, &i, 1);
    }
    struct gguf *gguf;
    struct err err;
    const char *path = write_file(temporary_folder(), "a.gguf", file.bytes, file.size);
    check_error(gguf_open(&gguf, path, &err), &err, STATUS_BAD_DATA,
                "metadata same.key: the key stands there twice", "twice");
}
END_TEST

/* [[[[[1]]]]]: a level more than is allowed. */
START_TEST(gguf_refuses_deep_arrays)
{
    for (int depth = 4; depth <= 5; depth++) {
        struct file file = {0};
        put(&file, "GGUF\3\0\0\0", 8);
        put_u64(&file, 0);
        put_u64(&file, 1);
        put_key(&file, "deep", GGUF_ARRAY);
        for (int i = 1; i < depth; i++) {
            put_u32(&file, GGUF_ARRAY);
            put_u64(&file, 1);
        }
        put_u32(&file, GGUF_UINT8);
        put_u64(&file, 1);
        put(&file, "\1", 1);
        struct gguf *gguf;
        struct err err;
        enum status status =
            gguf_open(&gguf, write_file(temporary_folder(), "a.gguf", file.bytes, file.size), &err);
        if (depth == 4)
            ck_assert_int_eq(status, STATUS_OK);
        else
            check_error(status, &err, STATUS_BAD_DATA, "nested too deep", "deep");
        gguf_close(gguf);
    }
}
END_TEST

/* Cut anywhere, the file is refused: its last tensor ends where the file does. */
START_TEST(gguf_refuses_every_truncation)
{
    struct file file;
    build(&file);
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    for (size_t size = 0; size < file.size; size++) {
        struct gguf *gguf;
        struct err err;
        const char *path = write_file(folder, "a.gguf", file.bytes, size);
        check_error(gguf_open(&gguf, path, &err), &err, STATUS_BAD_DATA, path, "truncated");
    }
}
END_TEST

static enum status open_and_close(void *path, struct err *err)
{
    struct gguf *gguf;
    enum status status = gguf_open(&gguf, path, err);
    gguf_close(gguf);
    return status;
}

START_TEST(gguf_survives_lack_of_memory)
{
    struct file file;
    build(&file);
    const char *path = write_file(temporary_folder(), "a.gguf", file.bytes, file.size);
    ck_assert_int_ge(check_lack_of_memory(open_and_close, (void *)(uintptr_t)path, "gguf_open"), 4);
}
END_TEST

START_TEST(gguf_sees_a_cut)
{
    struct file file;
    build(&file);
    const char *path = write_file(temporary_folder(), "a.gguf", file.bytes, file.size);
    struct gguf *gguf = open_whole(path);
    struct err err;
    ck_assert_int_eq(gguf_check(gguf, &err), STATUS_OK);
    ck_assert_int_eq(truncate(path, 100), 0);
    check_error(gguf_check(gguf, &err), &err, STATUS_BAD_DATA, "byte 100: the file was cut", "cut");
    gguf_close(gguf);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tests = tcase_create("gguf");
    tcase_add_test(tests, gguf_gives_metadata);
    tcase_add_test(tests, gguf_leaves_what_is_absent);
    tcase_add_test(tests, gguf_refuses_another_type);
    tcase_add_test(tests, gguf_reads_every_number);
    tcase_add_test(tests, gguf_gives_tensors);
    tcase_add_test(tests, gguf_reads_version_2);
    tcase_add_test(tests, gguf_reads_the_original_writers_file);
    tcase_add_test(tests, gguf_reads_vocabularies);
    tcase_add_loop_test(tests, gguf_refuses_damage, 0, (int)(sizeof damaged / sizeof *damaged));
    tcase_add_test(tests, gguf_refuses_a_key_twice);
    tcase_add_test(tests, gguf_refuses_deep_arrays);
    tcase_add_test(tests, gguf_refuses_every_truncation);
    tcase_add_test(tests, gguf_survives_lack_of_memory);
    tcase_add_test(tests, gguf_sees_a_cut);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
