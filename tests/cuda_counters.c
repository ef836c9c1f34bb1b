/* See cuda_counters.h. */
#include "tests/cuda_counters.h"

#include <dlfcn.h>
#include <jansson.h>
#include <string.h>
#include "tests/cuda_support.h"

/* A function of softcuda's own, which no driver of a card has. */
static void *own(const char *name)
{
    void *function = dlsym(cuda_test.cuda->driver.library, name);
    ck_assert_msg(function != NULL, "the driver has no %s", name);
    return function;
}

void cuda_count_begin(void)
{
    CUresult (*begin)(void);
    *(void **)&begin = own("softcudaCountBegin");
    ck_assert_int_eq(begin(), CUDA_SUCCESS);
}

/* The sum of the counters whose names begin and end so, less or with those of a least count. */
static json_int_t total(json_t *counters, const char *begin, const char *end, bool least)
{
    const char *name;
    json_t *value;
    json_int_t sum = 0;
    json_object_foreach(counters, name, value)
    {
        size_t length = strlen(name), tail = strlen(end);
        if (strncmp(name, begin, strlen(begin)) == 0 && length > tail &&
            strcmp(name + length - tail, end) == 0 && (strstr(name, "_least_") != NULL) == least)
            sum += json_integer_value(value);
    }
    return sum;
}

/* As few as there may be, and some. */
static void check_least(json_t *counters, const char *begin, const char *end)
{
    ck_assert_int_gt(total(counters, begin, end, true), 0);
    ck_assert_int_eq(total(counters, begin, end, false), total(counters, begin, end, true));
}

void cuda_count_end_touched_well(int n_kernels)
{
    const char *path = write_file(temporary_folder(), "report.json", "", 0);
    CUresult (*end)(const char *);
    *(void **)&end = own("softcudaCountEnd");
    ck_assert_int_eq(end(path), CUDA_SUCCESS);
    json_t *report = json_load_file(path, 0, NULL), *kernel;
    size_t index;
    ck_assert_int_eq(json_array_size(json_object_get(report, "kernels")), n_kernels);
    json_array_foreach(json_object_get(report, "kernels"), index, kernel)
    {
        json_t *counters = json_object_get(kernel, "counters");
        check_least(counters, "shared_", "_wavefronts");
        check_least(counters, "global_", "_sectors");
    }
    json_decref(report);
}
