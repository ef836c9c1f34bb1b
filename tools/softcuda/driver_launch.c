/* Functions and their launches: what may be asked of a kernel, and what is too much. */
#include "tools/softcuda/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/resources.h"

/* ---- what a kernel needs -------------------------------------------------------------------- */

static int product(const int sizes[3])
{
    return sizes[0] > 0 ? sizes[0] * sizes[1] * sizes[2] : 0;
}

/* By launch bounds, and by the registers of an SM. */
static int most_threads(const struct function *function)
{
    const struct program *program = function->program;
    int most = CARD_THREADS_PER_BLOCK, bound = product(program->required_threads);
    if (bound == 0)
        bound = product(program->max_threads);
    if (bound > 0 && bound < most)
        most = bound;
    while (most > WARP_LANES &&
           card_occupancy(driver.settings.card, most, function->registers, 0, NULL) == 0)
        most -= WARP_LANES;
    return most;
}

static int occupancy(const struct function *function, int threads, size_t dynamic_shared)
{
    return card_occupancy(driver.settings.card, threads, function->registers,
                          (size_t)function->program->shared_bytes + dynamic_shared, NULL);
}

static CUresult enter_function(CUfunction handle, struct function **function)
{
    CUresult result = enter();
    return result ? result : object_find(handle, OBJECT_FUNCTION, function);
}

/* ---- attributes ----------------------------------------------------------------------------- */

static CUresult get_attribute(int *value, CUfunction_attribute attribute,
                              const struct function *function)
{
    const struct card *card = driver.settings.card;
    const struct program *program = function->program;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = most_threads(function);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = program->shared_bytes;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = program->local_bytes;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = function->registers;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *value = program->module->target;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = card->major * 10 + card->minor;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = function->dynamic_shared;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = function->carveout;
        return CUDA_SUCCESS;
    default:
        *value = 0; /* constants, caches, clusters: nothing here has any */
        return CUDA_SUCCESS;
    }
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result && (!value || (unsigned)attribute > CU_FUNC_ATTRIBUTE_LARGEST))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = get_attribute(value, attribute, function);
    return leave(result);
}

static CUresult set_attribute(struct function *function, CUfunction_attribute attribute, int value)
{
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        if (value < 0 ||
            value > driver.settings.card->shared_opt_in - function->program->shared_bytes)
            return CUDA_ERROR_INVALID_VALUE;
        function->dynamic_shared = value;
        return CUDA_SUCCESS;
    }
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
        function->carveout = value; /* a hint: occupancy here counts on all of the SM's */
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result)
        result = set_attribute(function, attribute, value);
    return leave(result);
}

/* A hint of old cards. */
CUresult cuFuncSetCacheConfig(CUfunction handle, int config)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result && (config < 0 || config > 3))
        result = CUDA_ERROR_INVALID_VALUE;
    return leave(result);
}

CUresult cuFuncSetSharedMemConfig(CUfunction handle, int config)
{
    return cuFuncSetCacheConfig(handle, config);
}

CUresult cuFuncGetName(const char **name, CUfunction handle)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result && !name)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *name = function->program->name;
    return leave(result);
}

/* ---- occupancy ------------------------------------------------------------------------------ */

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle,
                                                              int block_size, size_t dynamic_shared,
                                                              unsigned flags)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result && (!blocks || block_size < 1 || flags > CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *blocks = block_size > most_threads(function) ||
                          dynamic_shared > (size_t)driver.settings.card->shared_opt_in
                      ? 0
                      : occupancy(function, block_size, dynamic_shared);
    return leave(result);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
                                                     int block_size, size_t dynamic_shared)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size,
                                                                dynamic_shared, 0);
}

/* The block that keeps the most threads on an SM, the largest of those. */
static void best_block(const struct function *function, CUoccupancyB2DSize *shared_of,
                       size_t dynamic_shared, int limit, int *block_size, int *blocks)
{
    int most = most_threads(function), best = 0;
    if (limit > 0 && limit < most)
        most = limit;
    *block_size = *blocks = 0;
    for (int threads = most; threads > 0;) {
        size_t shared = shared_of ? shared_of(threads) : dynamic_shared;
        int n = occupancy(function, threads, shared);
        if (n * threads > best) {
            best = n * threads;
            *block_size = threads;
            *blocks = n;
        }
        threads = threads % WARP_LANES ? threads / WARP_LANES * WARP_LANES : threads - WARP_LANES;
    }
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid_size, int *block_size,
                                                   CUfunction handle, CUoccupancyB2DSize *shared_of,
                                                   size_t dynamic_shared, int limit, unsigned flags)
{
    struct function *function;
    CUresult result = enter_function(handle, &function);
    if (!result &&
        (!grid_size || !block_size || limit < 0 || flags > CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        int blocks;
        best_block(function, shared_of, dynamic_shared, limit, block_size, &blocks);
        *grid_size = blocks * driver.settings.card->n_sms;
    }
    return leave(result);
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid_size, int *block_size, CUfunction function,
                                          CUoccupancyB2DSize *shared_of, size_t dynamic_shared,
                                          int limit)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid_size, block_size, function, shared_of,
                                                     dynamic_shared, limit, 0);
}

/* ---- launches ------------------------------------------------------------------------------- */

/* The code alone says little. Where anything is checked, a line says what is wrong; a program that
 * only tries what fits is not bothered otherwise. */
__attribute__((format(printf, 3, 4))) static CUresult
refuse(const struct function *function, CUresult result, const char *format, ...)
{
    char why[160];
    va_list arguments;
    if (!driver.reporter.checks)
        return result;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    say("%s is not launched: %s", function->program->name, why);
    return result;
}

/* `extra`: a buffer with all parameters in their places. */
static CUresult find_buffer(void **extra, const unsigned char **buffer, size_t *size)
{
    size_t *size_at = NULL;
    *buffer = NULL;
    for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            *buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size_at = extra[i + 1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (!size_at || (!*buffer && *size_at > 0))
        return CUDA_ERROR_INVALID_VALUE;
    *size = *size_at;
    return CUDA_SUCCESS;
}

/* The parameters are copied at the call: the program may reuse their memory at once. */
static CUresult copy_parameters(unsigned char **out, const struct function *function, void **values,
                                void **extra)
{
    const struct program *program = function->program;
    size_t n = (size_t)program->parameter_bytes;
    if (values && extra)
        return refuse(function, CUDA_ERROR_INVALID_VALUE,
                      "both parameters and a buffer of them are given");
    unsigned char *bytes = mem_alloc_zero(n + 1, 1);
    CUresult result = bytes ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (!result && extra) {
        const unsigned char *buffer;
        size_t size;
        result = find_buffer(extra, &buffer, &size);
        /* The end of the last one may be cut off where it is padding. */
        if (!result && (size > (n + 7) / 8 * 8 || size < n))
            result = refuse(function, CUDA_ERROR_INVALID_VALUE,
                            "its parameters have %zu bytes, the buffer has %zu", n, size);
        if (!result && n > 0)
            memcpy(bytes, buffer, n);
    }
    for (int i = 0; !result && !extra && i < program->n_parameters; i++) {
        const struct parameter *parameter = &program->parameters[i];
        if (!values || !values[i])
            result = refuse(function, CUDA_ERROR_INVALID_VALUE,
                            "parameter %d of %d is a null pointer", i + 1, program->n_parameters);
        else
            memcpy(bytes + parameter->offset, values[i], (size_t)parameter->size);
    }
    if (result)
        mem_free(bytes);
    else
        *out = bytes;
    return result;
}

static CUresult check_sizes(const struct kernel_work *kernel)
{
    const struct function *function = kernel->function;
    const struct program *program = function->program;
    const uint32_t *grid = kernel->grid, *block = kernel->block;
    if (grid[0] < 1 || grid[1] < 1 || grid[2] < 1 || block[0] < 1 || block[1] < 1 || block[2] < 1 ||
        grid[0] > CARD_GRID_X || grid[1] > CARD_GRID_YZ || grid[2] > CARD_GRID_YZ ||
        block[0] > CARD_THREADS_PER_BLOCK || block[1] > CARD_THREADS_PER_BLOCK ||
        block[2] > CARD_BLOCK_Z || block[0] * block[1] * block[2] > CARD_THREADS_PER_BLOCK)
        return refuse(function, CUDA_ERROR_INVALID_VALUE,
                      "a grid of %u x %u x %u blocks of %u x %u x %u threads; a block has 1 to %d",
                      grid[0], grid[1], grid[2], block[0], block[1], block[2],
                      CARD_THREADS_PER_BLOCK);
    const int *required = program->required_threads;
    if (required[0] > 0 && (block[0] != (uint32_t)required[0] ||
                            block[1] != (uint32_t)required[1] || block[2] != (uint32_t)required[2]))
        return refuse(function, CUDA_ERROR_INVALID_VALUE,
                      "blocks of %u x %u x %u threads, and it is compiled for %d x %d x %d",
                      block[0], block[1], block[2], required[0], required[1], required[2]);
    if (kernel->shared > (unsigned)function->dynamic_shared)
        return refuse(function, CUDA_ERROR_INVALID_VALUE,
                      "%u bytes of dynamic shared memory, and %d are allowed; "
                      "cuFuncSetAttribute allows more, up to %d with the static ones",
                      kernel->shared, function->dynamic_shared,
                      driver.settings.card->shared_opt_in);
    int threads = (int)(block[0] * block[1] * block[2]), most = most_threads(function);
    int fit = occupancy(function, threads, kernel->shared);
    if (threads > most)
        return refuse(function, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "blocks of %d threads, and its bounds and registers allow %d", threads, most);
    if (fit == 0)
        return refuse(function, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "a block of %d threads and %u bytes of shared memory does not fit a "
                      "multiprocessor",
                      threads, (unsigned)program->shared_bytes + kernel->shared);
    uint64_t n = (uint64_t)grid[0] * grid[1] * grid[2];
    uint64_t together = (uint64_t)fit * (uint64_t)driver.settings.card->n_sms;
    if (kernel->cooperative && n > together)
        return refuse(function, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                      "%llu blocks must run at a time, and %llu can", (unsigned long long)n,
                      (unsigned long long)together);
    return CUDA_SUCCESS;
}

struct request {
    CUfunction function;
    CUstream stream;
    void **values, **extra;
    struct kernel_work kernel; /* function and parameters to be filled in */
};

static CUresult submit(struct context *context, struct request *request)
{
    struct stream *stream;
    struct kernel_work *kernel = &request->kernel;
    CUresult result = object_find(request->function, OBJECT_FUNCTION, &kernel->function);
    if (!result)
        result = stream_find(context, request->stream, &stream);
    if (!result && kernel->function->object.context != context)
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result)
        result = check_sizes(kernel);
    if (!result)
        result =
            copy_parameters(&kernel->parameters, kernel->function, request->values, request->extra);
    if (result)
        return result;
    struct work *work = work_create(WORK_KERNEL);
    if (!work) {
        mem_free(kernel->parameters);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    work->kernel = *kernel;
    return work_submit(stream, work, NULL);
}

static CUresult launch(struct request request)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = submit(context, &request);
    return leave(result);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        CUstream stream, void **parameters, void **extra)
{
    return launch((struct request){
        .function = function,
        .stream = stream,
        .values = parameters,
        .extra = extra,
        .kernel = {.grid = {grid_x, grid_y, grid_z},
                   .block = {block_x, block_y, block_z},
                   .shared = shared},
    });
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                   unsigned grid_z, unsigned block_x, unsigned block_y,
                                   unsigned block_z, unsigned shared, CUstream stream,
                                   void **parameters)
{
    return launch((struct request){
        .function = function,
        .stream = stream,
        .values = parameters,
        .kernel = {.grid = {grid_x, grid_y, grid_z},
                   .block = {block_x, block_y, block_z},
                   .shared = shared,
                   .cooperative = true},
    });
}

/* Hints change nothing here; a cluster would. */
static CUresult read_attribute(const CUlaunchAttribute *attribute, struct request *request)
{
    switch (attribute->id) {
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        request->kernel.cooperative = attribute->value.cooperative != 0;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        if (attribute->value.cluster[0] == 1 && attribute->value.cluster[1] == 1 &&
            attribute->value.cluster[2] == 1)
            return CUDA_SUCCESS;
        break;
    default:
        break;
    }
    say("cuLaunchKernelEx: attribute %u is not supported", attribute->id);
    return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                          void **extra)
{
    if (!config || (config->numAttrs > 0 && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    struct request request = {
        .function = function,
        .stream = config->hStream,
        .values = parameters,
        .extra = extra,
        .kernel = {.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                   .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                   .shared = config->sharedMemBytes},
    };
    for (unsigned i = 0; i < config->numAttrs; i++) {
        CUresult result = read_attribute(&config->attrs[i], &request);
        if (result)
            return result;
    }
    return launch(request);
}
