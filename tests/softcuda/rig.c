/* See rig.h. */
#define _GNU_SOURCE
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "tools/softcuda/check_memory.h"

#define CARD_BYTES ((uint64_t)1 << 32)

void rig_open(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->resident = 16;
    rig->n_sms = 4;
    rig->settings.n_workers = 1;
    ck_assert_msg(memory_open(&rig->memory, CARD_BYTES, &rig->err) == STATUS_OK, "%s",
                  rig->err.text);
    check_attach(&rig->memory);
    rig->reporter.out = open_memstream(&rig->reports, &rig->reports_size);
    ck_assert_ptr_nonnull(rig->reporter.out);
}

void rig_close(struct rig *rig)
{
    memory_close(&rig->memory);
    reporter_close(&rig->reporter);
    fclose(rig->reporter.out);
    free(rig->reports);
    arena_free(&rig->arena);
}

static bool variable_address(void *context, const char *name, uint64_t *address)
{
    struct rig *rig = context;
    for (int i = 0; i < rig->memory.count; i++) {
        const struct allocation *allocation = rig->memory.table[i];
        if (allocation->label && strcmp(allocation->label, name) == 0) {
            *address = allocation->base;
            return true;
        }
    }
    return false;
}

static void place_variables(struct rig *rig)
{
    for (int i = 0; i < rig->module.n_variables; i++) {
        const struct ptx_variable *variable = &rig->module.variables[i];
        if (variable->space != PTX_GLOBAL && variable->space != PTX_CONST)
            continue;
        struct allocation *allocation =
            memory_allocate(&rig->memory, (uint64_t)variable->size, variable->name);
        ck_assert_ptr_nonnull(allocation);
        memset(allocation->host, 0, (size_t)variable->size);
        if (variable->bytes)
            memcpy(allocation->host, variable->bytes, (size_t)variable->size);
    }
}

enum status rig_load(struct rig *rig, const char *ptx, size_t size, bool portable)
{
    const struct decode_settings settings = {
        .module_name = "test.ptx",
        .forms = forms_choose(portable),
        .address = variable_address,
        .context = rig,
        .own_places = rig->own_places,
    };
    rig->n_programs = 0;
    TRY(ptx_parse(&rig->module, ptx, size, "test.ptx", &rig->arena, &rig->err));
    place_variables(rig);
    for (int i = 0; i < rig->module.n_functions; i++) {
        if (!rig->module.functions[i].is_entry)
            continue;
        ck_assert_int_lt(rig->n_programs, RIG_KERNELS);
        TRY(decode_kernel(&rig->programs[rig->n_programs++], &rig->module,
                          &rig->module.functions[i], &settings, &rig->arena, &rig->err));
    }
    return STATUS_OK;
}

bool rig_load_kernel_file(struct rig *rig, const char *name, bool portable)
{
    char path[4096];
    struct file_map map;
    snprintf(path, sizeof path, "%s/tests/ptx/%s.ptx", build_folder(), name);
    if (file_map(&map, path, &rig->err) != STATUS_OK)
        return false;
    ck_assert_msg(rig_load(rig, (const char *)map.data, map.size, portable) == STATUS_OK, "%s",
                  rig->err.text);
    file_unmap(&map);
    return true;
}

void rig_load_body(struct rig *rig, int n_parameters, const char *body, bool portable)
{
    size_t size = strlen(body) + 2048;
    char *text = arena_alloc(&rig->arena, size, 1);
    ck_assert_ptr_nonnull(text);
    int n = snprintf(text, size,
                     ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry kernel(");
    for (int i = 0; i < n_parameters; i++)
        n += snprintf(text + n, size - (size_t)n, "%s.param .u64 p%d", i ? ", " : "", i);
    snprintf(text + n, size - (size_t)n,
             ") {\n.reg .pred %%p<32>;\n.reg .b16 %%h<64>;\n.reg .b32 %%r<256>;\n"
             ".reg .f32 %%f<64>;\n.reg .b64 %%d<128>;\n.reg .f64 %%e<32>;\n%s\nret;\n}\n",
             body);
    ck_assert_msg(rig_load(rig, text, strlen(text), portable) == STATUS_OK, "%s\n%s", rig->err.text,
                  body);
}

uint64_t rig_upload(struct rig *rig, const void *bytes, size_t size)
{
    struct allocation *allocation = memory_allocate(&rig->memory, size, NULL);
    ck_assert_ptr_nonnull(allocation);
    if (bytes) {
        memcpy(allocation->host, bytes, size);
        check_host_write(&rig->memory, allocation->base, size);
    }
    return allocation->base;
}

void *rig_host(struct rig *rig, uint64_t address)
{
    struct allocation *allocation = memory_find(&rig->memory, address);
    ck_assert_ptr_nonnull(allocation);
    return allocation->host + (address - allocation->base);
}

void rig_free_all(struct rig *rig)
{
    while (rig->memory.count > 0)
        ck_assert(memory_free(&rig->memory, rig->memory.table[0]->base));
}

enum status rig_launch_raw(struct rig *rig, const char *name, const uint32_t grid[3],
                           const uint32_t block[3], size_t shared, const void *parameters)
{
    const struct program *program = NULL;
    for (int i = 0; i < rig->n_programs && !program; i++)
        if (!name || strcmp(rig->programs[i].name, name) == 0)
            program = &rig->programs[i];
    ck_assert_msg(program != NULL, "no kernel %s", name ? name : "at all");
    struct launch launch = {
        .program = program,
        .memory = &rig->memory,
        .settings = &rig->settings,
        .grid = {grid[0], grid[1], grid[2]},
        .block = {block[0], block[1], block[2]},
        .dynamic_shared = shared,
        .parameters = parameters,
        .resident = rig->resident,
        .n_sms = rig->n_sms,
        .reporter = &rig->reporter,
        .checked = (rig->reporter.checks & (CHECK_INIT | CHECK_RACE)) != 0,
    };
    rig->reporter.outcome = OUTCOME_GOOD;
    if (rig->report)
        ck_assert_ptr_nonnull(launch.counters = count_report_begin(rig->report, &launch));
    else if (rig->card)
        ck_assert_ptr_nonnull(launch.counters =
                                  counters_create(rig->card, &launch, rig->sample, NULL));
    enum status status = grid_run(&launch, &rig->err);
    if (launch.counters) {
        counters_total(launch.counters, &rig->totals);
        if (rig->report)
            ck_assert_int_eq(count_report_end(rig->report, launch.counters, &launch, &rig->err),
                             STATUS_OK);
        else
            counters_destroy(launch.counters);
    }
    fflush(rig->reporter.out);
    return status;
}

enum status rig_launch(struct rig *rig, const char *name, const uint32_t grid[3],
                       const uint32_t block[3], size_t shared, int n_parameters,
                       const uint64_t *parameters)
{
    unsigned char bytes[512] = {0};
    ck_assert_int_le(n_parameters, 64);
    if (n_parameters > 0)
        memcpy(bytes, parameters, (size_t)n_parameters * 8);
    return rig_launch_raw(rig, name, grid, block, shared, bytes);
}
