/* safetensors: the original library's file, and damaged ones. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "loaders/safetensors.h"

/* header and n_data bytes of zeros as a file; the length is that of the header. */
static const char *write_safetensors(const char *header, size_t n_data)
{
    static unsigned char bytes[4096];
    uint64_t length = strlen(header);
    ck_assert_uint_le(8 + length + n_data, sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    return write_file(temporary_folder(), "a.safetensors", bytes, 8 + length + n_data);
}

static struct safetensors *open_whole(const char *path)
{
    struct safetensors *safetensors;
    struct err err;
    ck_assert_msg(safetensors_open(&safetensors, path, &err) == STATUS_OK, "%s", err.text);
    return safetensors;
}

/* By tests/golden/make_safetensors.py. What the bytes mean is tested with weights. */
START_TEST(safetensors_reads_the_original_librarys_file)
{
    static const struct {
        const char *name, *type_name;
        int n_dims;
        int64_t dims[3], bytes;
    } tensors[] = {
        {"matrix.f32", "F32", 2, {5, 3}, 60},
        {"matrix.f16", "F16", 2, {4, 7}, 56},
        {"matrix.bf16", "BF16", 2, {3, 9}, 54},
        {"vector.f32", "F32", 1, {11}, 44},
        {"scalar.f32", "F32", 0, {0}, 4},
        {"empty.f32", "F32", 2, {0, 4}, 0},
        {"cube.f16", "F16", 3, {2, 3, 4}, 48},
        {"positions", "I64", 1, {6}, 48},
        {"\xC3\xBCn\xC3\xAF"
         "code",
         "F32",
         1,
         {2},
         8},
    };
    struct safetensors *safetensors = open_whole(golden("mixed.safetensors"));
    ck_assert_int_eq(safetensors_count(safetensors), 9);
    for (int i = 0; i < 9; i++) {
        const struct safetensors_tensor *tensor = safetensors_at(safetensors, i);
        if (i > 0)
            ck_assert(safetensors_at(safetensors, i - 1)->data <= tensor->data);
        int j = 0;
        while (j < 9 && strcmp(tensors[j].name, tensor->name) != 0)
            j++;
        ck_assert_msg(j < 9, "%s", tensor->name);
        ck_assert_str_eq(tensor->type_name, tensors[j].type_name);
        ck_assert_int_eq(tensor->n_dims, tensors[j].n_dims);
        ck_assert_int_eq(tensor->bytes, tensors[j].bytes);
        for (int k = 0; k < tensor->n_dims; k++)
            ck_assert_int_eq(tensor->dims[k], tensors[j].dims[k]);
        if (strcmp(tensor->type_name, "F32") == 0 && tensor->bytes > 0) {
            float first;
            memcpy(&first, tensor->data, sizeof first);
            ck_assert_float_eq(first, -0.375f);
        }
    }
    safetensors_close(safetensors);
}
END_TEST

START_TEST(safetensors_accepts)
{
    static const struct {
        const char *header;
        size_t n_data;
        int count;
    } cases[] = {
        {"{}", 0, 0},
        {"{\"__metadata__\":{\"format\":\"pt\"}}      ", 0, 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,5],\"data_offsets\":[0,5]}}", 5, 1},
        {"{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]},"
         "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[0,4]}}",
         8, 2},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct safetensors *safetensors =
            open_whole(write_safetensors(cases[i].header, cases[i].n_data));
        ck_assert_int_eq(safetensors_count(safetensors), cases[i].count);
        safetensors_close(safetensors);
    }
}
END_TEST

/* T(info): a header with one tensor t. */
#define T(info)               "{\"t\":{" info "}}"
#define F32(shape, begin_end) "\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" begin_end

static const struct {
    const char *header;
    size_t n_data;
    const char *part;
} damaged[] = {
    {"", 0, "byte 8: the header does not start with '{'"},
    {"[]", 0, "byte 8: the header does not start with '{'"},
    {"{", 0, "the header is not good JSON"},
    {"{\"t\":{}", 0, "the header is not good JSON"},
    {"{\"t\xFF\":{}}", 0, "the header is not good JSON"},
    {"{\"t\\u0000\":{}}", 0, "the header is not good JSON"},
    {"{}x", 0, "byte 11: the header is not good JSON"},
    {"{\"__metadata__\":1}", 0, "tensor __metadata__: it is no object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "tensor __metadata__: a value is no string"},
    {"{\"t\":1}", 0, "tensor t: its entry is not an object"},
    {"{\"\":{" F32("[1]", "[0,4]") "}}", 4, "its entry is not an object with a name"},
    {"{\"t\":{" F32("[1]", "[0,4]") "},\"t\":{" F32("[1]", "[4,8]") "}}", 8, "duplicate"},
    {T("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "tensor t: its dtype is missing"},
    {T("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "dtype F31 is not known"},
    {T("\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "its dtype is missing"},
    {T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "tensor t: its shape is missing"},
    {T(F32("[1,1,1,1,1,1,1,1,1]", "[0,4]")), 4, "more than 8 dimensions"},
    {T(F32("[-1]", "[0,4]")), 4, "not a whole number"},
    {T(F32("[1.0]", "[0,4]")), 4, "not a whole number"},
    {T(F32("[\"1\"]", "[0,4]")), 4, "not a whole number"},
    {T(F32("[4611686018427387904]", "[0,4]")), 4, "its shape is too large"},
    {T(F32("[2147483648,2147483648,4]", "[0,4]")), 4, "its shape is too large"},
    {T(F32("[99999999999999999999]", "[0,4]")), 4, "too big integer"},
    {T("\"dtype\":\"F32\",\"shape\":[1]"), 4, "its data_offsets are not two"},
    {T(F32("[1]", "[0]")), 4, "its data_offsets are not two"},
    {T(F32("[1]", "[0,4,8]")), 4, "its data_offsets are not two"},
    {T(F32("[1]", "[0,4.0]")), 4, "its data_offsets are not two"},
    {T(F32("[1]", "{\"0\":0}")), 4, "its data_offsets are not two"},
    {T(F32("[1]", "[-4,0]")), 4, "its bytes -4 to 0 are not within the data's 4"},
    {T(F32("[1]", "[4,0]")), 4, "its bytes 4 to 0 are not within"},
    {T(F32("[2]", "[0,8]")), 4, "its bytes 0 to 8 are not within the data's 4"},
    {T(F32("[1]", "[9223372036854775804,9223372036854775807]")), 4, "are not within"},
    {T(F32("[2]", "[0,4]")), 4, "it has 4 bytes, but its shape in F32 needs 8"},
    {T(F32("[]", "[0,0]")), 0, "it has 0 bytes, but its shape in F32 needs 4"},
    {T(F32("[1]", "[4,8]")), 8, "begin at 4 of the data, but those before it end at 0 (a hole)"},
    {"{\"s\":{" F32("[2]", "[0,8]") "},\"t\":{" F32("[2]", "[4,12]") "}}", 12, "(an overlap)"},
    {"{\"s\":{" F32("[2]", "[0,8]") "},\"t\":{" F32("[2]", "[0,8]") "}}", 8, "(an overlap)"},
    {"{\"s\":{" F32("[2]", "[0,8]") "},\"t\":{" F32("[0]", "[4,4]") "}}", 8, "(an overlap)"},
    {T(F32("[1]", "[0,4]")), 5, "the file goes on for 1 bytes behind the last tensor"},
};

START_TEST(safetensors_refuses_damage)
{
    const char *path = write_safetensors(damaged[_i].header, damaged[_i].n_data);
    struct safetensors *safetensors;
    struct err err;
    check_error(safetensors_open(&safetensors, path, &err), &err, STATUS_BAD_DATA, damaged[_i].part,
                damaged[_i].header);
    check_error(err.status, &err, STATUS_BAD_DATA, path, damaged[_i].header);
    ck_assert_ptr_null(safetensors);
}
END_TEST

START_TEST(safetensors_refuses_bad_lengths)
{
    static const struct {
        unsigned char bytes[16];
        size_t size;
    } cases[] = {
        {"", 0},
        {"\2\0\0\0\0\0\0", 7},
        {"\3\0\0\0\0\0\0\0{}", 10},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10},
        {"\xF8\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = write_file(temporary_folder(), "a", cases[i].bytes, cases[i].size);
        struct safetensors *safetensors;
        struct err err;
        check_error(safetensors_open(&safetensors, path, &err), &err, STATUS_BAD_DATA,
                    "byte 0: the header's length", "length");
    }
}
END_TEST

/* A header beyond the limit in a file that is long enough: sparse, so that it costs nothing. */
START_TEST(safetensors_bounds_the_header)
{
    uint64_t length = SAFETENSORS_HEADER_LARGEST + 1;
    const char *path = write_file(temporary_folder(), "a", &length, 8);
    ck_assert_int_eq(truncate(path, 8 + (off_t)length), 0);
    struct safetensors *safetensors;
    struct err err;
    check_error(safetensors_open(&safetensors, path, &err), &err, STATUS_BAD_DATA,
                "the limit of 100000000", "limit");
}
END_TEST

static enum status open_and_close(void *path, struct err *err)
{
    struct safetensors *safetensors;
    enum status status = safetensors_open(&safetensors, path, err);
    safetensors_close(safetensors);
    return status;
}

START_TEST(safetensors_survives_lack_of_memory)
{
    void *path = (void *)(uintptr_t)golden("mixed.safetensors");
    ck_assert_int_ge(check_lack_of_memory(open_and_close, path, "safetensors_open"), 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("safetensors");
    tcase_add_test(tests, safetensors_reads_the_original_librarys_file);
    tcase_add_test(tests, safetensors_accepts);
    tcase_add_loop_test(tests, safetensors_refuses_damage, 0,
                        (int)(sizeof damaged / sizeof *damaged));
    tcase_add_test(tests, safetensors_refuses_bad_lengths);
    tcase_add_test(tests, safetensors_bounds_the_header);
    tcase_add_test(tests, safetensors_survives_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
