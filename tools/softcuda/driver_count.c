/* Counting a part of a process: what no other driver has. A program finds these by dlsym, beside
 * softcuda_version. SOFTCUDA_REPORT counts all of a process instead.
 *
 *     CUresult softcudaCountBegin(void)             counts what is launched from now on
 *     CUresult softcudaCountEnd(const char *path)   writes it as SOFTCUDA_REPORT would, and stops
 *
 * Both wait for what is queued. CUDA_ERROR_NOT_PERMITTED: SOFTCUDA_REPORT is set;
 * CUDA_ERROR_INVALID_VALUE: counting has begun already, or has not; CUDA_ERROR_OPERATING_SYSTEM:
 * the file cannot be written. */
#include "tools/softcuda/driver.h"

CUresult softcudaCountBegin(void) __attribute__((visibility("default")));
CUresult softcudaCountEnd(const char *path) __attribute__((visibility("default")));

static CUresult finish_all(void)
{
    for (struct object *at = driver.objects[OBJECT_CONTEXT]; at; at = at->next) {
        struct context *context = (struct context *)at;
        queue_finish_all(context);
        if (context->fault)
            return context->fault;
    }
    return CUDA_SUCCESS;
}

CUresult softcudaCountBegin(void)
{
    CUresult result = enter();
    if (!result && driver.settings.report)
        result = CUDA_ERROR_NOT_PERMITTED;
    if (!result && driver.report)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = finish_all();
    if (!result) {
        driver.report = count_report_open(driver.settings.card, driver.settings.sample);
        result = driver.report ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    return leave(result);
}

CUresult softcudaCountEnd(const char *path)
{
    struct err err;
    CUresult result = enter();
    if (!result && driver.settings.report)
        result = CUDA_ERROR_NOT_PERMITTED;
    if (!result && (!driver.report || !path))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        result = finish_all();
        if (!result && count_report_write(driver.report, path, &err) != STATUS_OK) {
            say("%s", err.text);
            result = CUDA_ERROR_OPERATING_SYSTEM;
        }
        count_report_close(driver.report);
        driver.report = NULL;
    }
    return leave(result);
}
