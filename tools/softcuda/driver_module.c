/* Modules: from an image to kernels that can be launched and variables that have memory. All of a
 * module is decoded when it is loaded, so that nothing unknown is met later. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "tools/softcuda/check_memory.h"
#include "tools/softcuda/decode.h"
#include "tools/softcuda/fatbin.h"
#include "tools/softcuda/resources.h"

#define NEWEST_PTX 900 /* version 9.0, of CUDA 13.0 */

struct module {
    struct object object;
    struct arena arena;
    struct ptx_module ptx;
    struct function *functions;
    int n_functions;
    uint64_t *addresses; /* of ptx.variables; 0: it has none */
};

/* ---- variables ------------------------------------------------------------------------------ */

static int variable_named(const struct module *module, const char *name)
{
    for (int i = 0; i < module->ptx.n_variables; i++)
        if (module->addresses[i] && strcmp(module->ptx.variables[i].name, name) == 0)
            return i;
    return -1;
}

static bool variable_address(void *context, const char *name, uint64_t *address)
{
    const struct module *module = context;
    int i = variable_named(module, name);
    if (i >= 0)
        *address = module->addresses[i];
    return i >= 0;
}

static CUresult place_variables(struct module *module, const char *name, struct err *err)
{
    for (int i = 0; i < module->ptx.n_variables; i++) {
        const struct ptx_variable *variable = &module->ptx.variables[i];
        if ((variable->space != PTX_GLOBAL && variable->space != PTX_CONST) || variable->size == 0)
            continue;
        if (variable->is_extern) {
            err_set(err, STATUS_BAD_DATA, "%s: %s is defined elsewhere, and modules are not linked",
                    name, variable->name);
            return CUDA_ERROR_INVALID_PTX;
        }
        struct allocation *allocation =
            device_allocate(module->object.context, (uint64_t)variable->size, variable->name);
        if (!allocation) {
            err_set(err, STATUS_RESOURCE, "%s: no device memory for %s (%lld bytes)", name,
                    variable->name, (long long)variable->size);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        module->addresses[i] = allocation->base;
        memset(allocation->host, 0, (size_t)variable->size);
        if (variable->bytes)
            memcpy(allocation->host, variable->bytes, (size_t)variable->size);
        check_host_write(&driver.memory, allocation->base, allocation->size);
    }
    return CUDA_SUCCESS;
}

/* Addresses of variables in the initial values of others. */
static CUresult relocate(struct module *module, const char *name, struct err *err)
{
    for (int i = 0; i < module->ptx.n_variables; i++) {
        const struct ptx_variable *variable = &module->ptx.variables[i];
        if (!module->addresses[i])
            continue;
        unsigned char *bytes = memory_find(&driver.memory, module->addresses[i])->host;
        for (int j = 0; j < variable->n_relocations; j++) {
            const struct ptx_relocation *relocation = &variable->relocations[j];
            uint64_t address;
            if (!variable_address(module, relocation->symbol, &address)) {
                err_set(err, STATUS_BAD_DATA, "%s: %s holds the address of %s, which has none here",
                        name, variable->name, relocation->symbol);
                return CUDA_ERROR_INVALID_PTX;
            }
            address += (uint64_t)relocation->addend;
            memcpy(bytes + relocation->offset, &address, sizeof address);
        }
    }
    return CUDA_SUCCESS;
}

/* ---- kernels -------------------------------------------------------------------------------- */

static int capability(void)
{
    return driver.settings.card->major * 10 + driver.settings.card->minor;
}

static CUresult add_function(struct module *module, const struct program *program, const char *name,
                             struct err *err)
{
    const struct card *card = driver.settings.card;
    if (program->shared_bytes > card->shared_per_block) {
        err_set(err, STATUS_BAD_DATA, "%s: %s has %d bytes of static shared memory, and %d is most",
                name, program->name, program->shared_bytes, card->shared_per_block);
        return CUDA_ERROR_INVALID_PTX;
    }
    struct function *function = &module->functions[module->n_functions++];
    *function = (struct function){
        .module = module,
        .program = program,
        .registers = resources_of(program, capability()).registers,
        .dynamic_shared = card->shared_per_block - program->shared_bytes,
        .carveout = -1,
    };
    object_add(&function->object, OBJECT_FUNCTION, module->object.context);
    return CUDA_SUCCESS;
}

static CUresult decode_all(struct module *module, const char *name, struct err *err)
{
    const struct decode_settings settings = {
        .module_name = name,
        .forms = forms_choose(driver.settings.machine.portable),
        .address = variable_address,
        .context = module,
    };
    for (int i = 0; i < module->ptx.n_functions; i++) {
        const struct ptx_function *kernel = &module->ptx.functions[i];
        if (!kernel->is_entry)
            continue;
        struct program *program = arena_alloc(&module->arena, 1, sizeof *program);
        if (!program) {
            err_no_memory(err, "a program", 0);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        enum status status =
            decode_kernel(program, &module->ptx, kernel, &settings, &module->arena, err);
        if (status != STATUS_OK)
            return status == STATUS_RESOURCE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
        CUresult result = add_function(module, program, name, err);
        if (result)
            return result;
    }
    return CUDA_SUCCESS;
}

/* ---- loading -------------------------------------------------------------------------------- */

static CUresult check_versions(const struct ptx_module *ptx, const char *name, struct err *err)
{
    if (ptx->version_major * 100 + ptx->version_minor * 10 > NEWEST_PTX) {
        err_set(err, STATUS_BAD_DATA, "%s: PTX version %d.%d, and 9.0 is the newest known", name,
                ptx->version_major, ptx->version_minor);
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    }
    if (ptx->target > capability()) {
        char advice[CARD_ADVICE_SIZE];
        card_advice(advice, ptx->target, capability());
        err_set(err, STATUS_BAD_DATA, "%s: PTX for sm_%d, and the card is sm_%d; %s", name,
                ptx->target, capability(), advice);
        return CUDA_ERROR_INVALID_PTX;
    }
    return CUDA_SUCCESS;
}

/* Takes back what a module has, in any state. */
void module_close(struct module *module)
{
    for (int i = 0; i < module->n_functions; i++)
        object_remove(&module->functions[i].object);
    for (int i = 0; module->addresses && i < module->ptx.n_variables; i++)
        if (module->addresses[i])
            device_free(module->addresses[i]);
    object_remove(&module->object);
    arena_free(&module->arena);
    mem_free(module);
}

static CUresult fill_module(struct module *module, const void *image, const char *name,
                            struct err *err)
{
    struct ptx_text text;
    CUresult result = fatbin_find_ptx(&text, image, capability(), err);
    if (result) {
        err_prefix(err, "%s", name);
        return result;
    }
    enum status status = ptx_parse(&module->ptx, text.text, text.size, name, &module->arena, err);
    if (status != STATUS_OK) {
        module->ptx.n_variables = 0;
        return status == STATUS_RESOURCE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
    }
    size_t n_variables = (size_t)module->ptx.n_variables + 1;
    module->addresses = arena_alloc(&module->arena, n_variables, sizeof *module->addresses);
    module->functions =
        arena_alloc(&module->arena, (size_t)module->ptx.n_functions + 1, sizeof *module->functions);
    if (!module->addresses || !module->functions) {
        module->addresses = NULL;
        err_no_memory(err, "a module", 0);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(module->addresses, 0, n_variables * sizeof *module->addresses);
    result = check_versions(&module->ptx, name, err);
    if (!result)
        result = place_variables(module, name, err);
    if (!result)
        result = relocate(module, name, err);
    if (!result)
        result = decode_all(module, name, err);
    return result;
}

static CUresult load(struct context *context, struct module **out, const void *image,
                     const char *name, struct err *err)
{
    err_set(err, STATUS_OK, "%s", "");
    struct module *module = mem_alloc_zero(1, sizeof *module);
    if (!module) {
        err_no_memory(err, "a module", 0);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    object_add(&module->object, OBJECT_MODULE, context);
    CUresult result = fill_module(module, image, name, err);
    if (result) {
        module_close(module);
        say("%s", err->text);
        return result;
    }
    *out = module;
    return CUDA_SUCCESS;
}

/* ---- the just-in-time compiler's options ---------------------------------------------------- */

struct log {
    char *buffer;
    size_t size;
    void **size_back; /* where the number of bytes written goes */
};

static struct log find_log(unsigned n, const CUjit_option *options, void **values,
                           CUjit_option buffer, CUjit_option size)
{
    struct log log = {0};
    for (unsigned i = 0; i < n; i++) {
        if (options[i] == buffer) {
            log.buffer = values[i];
        } else if (options[i] == size) {
            log.size = (size_t)(uint32_t)(uintptr_t)values[i];
            log.size_back = &values[i];
        }
    }
    return log;
}

static void write_log(const struct log *log, const char *text)
{
    size_t length = strlen(text);
    if (log->buffer && log->size > 0) {
        length = length < log->size ? length : log->size - 1;
        memcpy(log->buffer, text, length);
        log->buffer[length] = '\0';
    }
    if (log->size_back)
        *log->size_back = (void *)(uintptr_t)(log->buffer ? length : 0);
}

static bool options_fit(unsigned n, const CUjit_option *options, void **values)
{
    if (n > 0 && (!options || !values))
        return false;
    for (unsigned i = 0; i < n; i++)
        if ((unsigned)options[i] > CU_JIT_LARGEST)
            return false;
    return true;
}

/* ---- the API: modules ----------------------------------------------------------------------- */

CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned n_options,
                            CUjit_option *options, void **values)
{
    struct context *context;
    struct module *module;
    struct err err = {.text = ""};
    CUresult result = enter_context(&context);
    if (!result && (!out || !image || !options_fit(n_options, options, values)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = capture_forbids(context);
    if (!result) {
        result = load(context, &module, image, "module", &err);
        struct log errors = find_log(n_options, options, values, CU_JIT_ERROR_LOG_BUFFER,
                                     CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
        struct log words = find_log(n_options, options, values, CU_JIT_INFO_LOG_BUFFER,
                                    CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
        write_log(&errors, result ? err.text : "");
        write_log(&words, "");
    }
    if (!result)
        *out = (CUmodule)module;
    return leave(result);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatbin)
{
    return cuModuleLoadDataEx(module, fatbin, 0, NULL, NULL);
}

/* PTX in a file ends where the file does: a copy gets the 0 byte. */
static CUresult load_file(struct context *context, struct module **module, const char *path)
{
    struct file_map map;
    struct err err;
    if (file_map(&map, path, &err) != STATUS_OK) {
        say("%s", err.text);
        return err.status == STATUS_MISSING ? CUDA_ERROR_FILE_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
    }
    /* Room for the longest header that is looked at, however short the file is. */
    char *image = mem_alloc_zero(map.size + 64, 1);
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    if (image) {
        memcpy(image, map.data, map.size);
        uint64_t size = fatbin_size(image);
        result = CUDA_ERROR_INVALID_IMAGE;
        if (map.size == 0)
            say("%s: the file is empty", path);
        else if (size > map.size)
            say("%s: a fat binary that is cut off: %zu bytes of %llu", path, map.size,
                (unsigned long long)size);
        else
            result = load(context, module, image, path, &err);
    }
    mem_free(image);
    file_unmap(&map);
    return result;
}

CUresult cuModuleLoad(CUmodule *out, const char *path)
{
    struct context *context;
    struct module *module;
    CUresult result = enter_context(&context);
    if (!result && (!out || !path))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = load_file(context, &module, path);
    if (!result)
        *out = (CUmodule)module;
    return leave(result);
}

static CUresult enter_module(CUmodule handle, struct context **context, struct module **module)
{
    CUresult result = enter_context(context);
    return result ? result : object_find(handle, OBJECT_MODULE, module);
}

CUresult cuModuleUnload(CUmodule handle)
{
    struct context *context;
    struct module *module;
    CUresult result = enter_module(handle, &context, &module);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = queue_finish_all(module->object.context);
    if (!result)
        module_close(module);
    return leave(result);
}

CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name)
{
    struct context *context;
    struct module *module;
    CUresult result = enter_module(handle, &context, &module);
    if (!result && (!out || !name))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        result = CUDA_ERROR_NOT_FOUND;
        for (int i = 0; i < module->n_functions; i++)
            if (strcmp(module->functions[i].program->name, name) == 0) {
                *out = (CUfunction)&module->functions[i];
                result = CUDA_SUCCESS;
            }
    }
    return leave(result);
}

CUresult cuModuleGetFunctionCount(unsigned *count, CUmodule handle)
{
    struct context *context;
    struct module *module;
    CUresult result = enter_module(handle, &context, &module);
    if (!result && !count)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *count = (unsigned)module->n_functions;
    return leave(result);
}

CUresult cuModuleGetGlobal(CUdeviceptr *address, size_t *bytes, CUmodule handle, const char *name)
{
    struct context *context;
    struct module *module;
    CUresult result = enter_module(handle, &context, &module);
    if (!result && (!name || (!address && !bytes)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        int i = variable_named(module, name);
        if (i < 0)
            result = CUDA_ERROR_NOT_FOUND;
        if (i >= 0 && address)
            *address = module->addresses[i];
        if (i >= 0 && bytes)
            *bytes = (size_t)module->ptx.variables[i].size;
    }
    return leave(result);
}

CUresult cuFuncGetModule(CUmodule *out, CUfunction handle)
{
    struct function *function;
    CUresult result = enter();
    if (!result && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = object_find(handle, OBJECT_FUNCTION, &function);
    if (!result)
        *out = (CUmodule)function->module;
    return leave(result);
}

/* ---- the API: libraries, which are modules of the current context here ---------------------- */

CUresult cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *options,
                           void **values, unsigned n_options, void *library_options,
                           void **library_values, unsigned n_library_options)
{
    (void)library_options, (void)library_values, (void)n_library_options;
    return cuModuleLoadDataEx((CUmodule *)library, image, n_options, options, values);
}

CUresult cuLibraryUnload(CUlibrary library)
{
    return cuModuleUnload((CUmodule)library);
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
    struct module *unused;
    CUresult result = enter();
    if (!result && !module)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = object_find(library, OBJECT_MODULE, &unused);
    if (!result)
        *module = (CUmodule)library;
    return leave(result);
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    return cuModuleGetFunction((CUfunction *)kernel, (CUmodule)library, name);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary library,
                            const char *name)
{
    return cuModuleGetGlobal(address, bytes, (CUmodule)library, name);
}

CUresult cuKernelGetFunction(CUfunction *out, CUkernel kernel)
{
    struct function *function;
    CUresult result = enter();
    if (!result && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = object_find(kernel, OBJECT_FUNCTION, &function);
    if (!result)
        *out = (CUfunction)function;
    return leave(result);
}

ALSO_EXPORTED(cuModuleGetGlobal_v2, cuModuleGetGlobal);
