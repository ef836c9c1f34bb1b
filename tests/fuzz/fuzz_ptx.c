/* Fuzzes PTX: any text is parsed and decoded, or refused in one line that names it. What is decoded
 * has places within its register file and targets within its program, and touches no memory but its
 * own when it runs, for some instructions, plain and with the checkers. */
#include <string.h>
#include "host/base/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tools/softcuda/check.h"
#include "tools/softcuda/decode.h"
#include "tools/softcuda/execute.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/ptx.h"

#define BUFFER_BYTES 4096

/* One buffer of global memory, that the variables lie in and the parameters point to. */
static struct memory memory;
static uint64_t buffer;

static bool variable_address(void *context, const char *name, uint64_t *address)
{
    (void)context;
    *address = buffer;
    return name[0] == 'g'; /* some variables are there, some are not */
}

static void open_memory(void)
{
    struct err err;
    if (buffer)
        return;
    REQUIRE(memory_open(&memory, (uint64_t)1 << 20, &err) == STATUS_OK);
    check_attach(&memory);
    const struct allocation *allocation = memory_allocate(&memory, BUFFER_BYTES, NULL);
    REQUIRE(allocation);
    buffer = allocation->base;
}

/* A block of 40 threads, the second of whose warps is short. */
static void run_program(const struct program *program, bool checked)
{
    uint64_t parameters[PARAMETERS_LARGEST / 8 + 1];
    const struct machine_settings settings = {.n_workers = 1};
    struct reporter reporter = {.checks = checked ? CHECK_ALL : 0};
    struct launch launch = {
        .program = program,
        .memory = &memory,
        .settings = &settings,
        .grid = {1, 1, 1},
        .block = {40, 1, 1},
        .dynamic_shared = 256,
        .parameters = (const unsigned char *)parameters,
        .resident = 1,
        .n_sms = 1,
        .reporter = &reporter,
        .checked = checked,
    };
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        parameters[i] = buffer;
    REQUIRE(check_open_launch(&launch, false));
    struct cta *cta = cta_create(&launch, 0);
    REQUIRE(cta);
    cta_run(cta, 2000);
    cta_destroy(cta);
    check_close_launch(&launch);
    reporter_close(&reporter);
}

static void check_program(const struct program *program)
{
    for (int i = 0; i < program->n_instructions; i++) {
        const struct instruction *instruction = &program->instructions[i];
        REQUIRE(instruction->run && instruction->guard < program->n_predicates);
        REQUIRE(instruction->target < program->n_instructions);
        for (int j = 0; j < instruction->n_targets; j++)
            REQUIRE(instruction->targets[j] >= 0 &&
                    instruction->targets[j] < program->n_instructions);
        REQUIRE(instruction->n_sources <= OPERANDS_LARGEST &&
                instruction->n_destinations <= OPERANDS_LARGEST);
        if (strncmp(instruction->text, "call", 4) == 0)
            continue; /* offsets in the frame */
        for (int j = 0; j < instruction->n_sources; j++)
            REQUIRE(instruction->sources[j] >= 0 &&
                    ((size_t)instruction->sources[j] + 128 <= program->register_bytes ||
                     instruction->sources[j] < program->n_predicates));
        for (int j = 0; j < instruction->n_destinations; j++)
            REQUIRE(instruction->destinations[j] >= -1 &&
                    ((size_t)instruction->destinations[j] + 128 <= program->register_bytes ||
                     instruction->destinations[j] < program->n_predicates));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct ptx_module module;
    struct err err;
    const struct decode_settings settings = {
        .module_name = "fuzz.ptx", .forms = forms_choose(size % 2), .address = variable_address};
    open_memory();
    enum status status = ptx_parse(&module, (const char *)data, size, "fuzz.ptx", &arena, &err);
    if (status != STATUS_OK)
        fuzz_check_error(status, &err, "fuzz.ptx");
    for (int i = 0; status == STATUS_OK && i < module.n_functions && i < 8; i++) {
        struct program program;
        if (!module.functions[i].is_entry)
            continue;
        enum status decoded =
            decode_kernel(&program, &module, &module.functions[i], &settings, &arena, &err);
        if (decoded != STATUS_OK) {
            fuzz_check_error(decoded, &err, "fuzz.ptx");
            continue;
        }
        check_program(&program);
        run_program(&program, false);
        run_program(&program, true);
    }
    arena_free(&arena);
    return 0;
}
