/* Fuzzes PTX: any text is parsed and decoded, or refused in one line that names it. What is decoded
 * has places within its register file and targets within its program. */
#include <string.h>
#include "host/base/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tools/softcuda/decode.h"
#include "tools/softcuda/ptx.h"

static bool no_address(void *context, const char *name, uint64_t *address)
{
    (void)context;
    *address = (uint64_t)1 << 48;
    return name[0] == 'g'; /* some variables are there, some are not */
}

static void check_program(const struct program *program)
{
    for (int i = 0; i < program->n_instructions; i++) {
        const struct instruction *instruction = &program->instructions[i];
        REQUIRE(instruction->run && instruction->guard < program->n_predicates);
        REQUIRE(instruction->target < program->n_instructions);
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
        .module_name = "fuzz.ptx", .forms = &forms_portable, .address = no_address};
    enum status status = ptx_parse(&module, (const char *)data, size, "fuzz.ptx", &arena, &err);
    if (status != STATUS_OK)
        fuzz_check_error(status, &err, "fuzz.ptx");
    for (int i = 0; status == STATUS_OK && i < module.n_functions && i < 8; i++) {
        struct program program;
        if (!module.functions[i].is_entry)
            continue;
        enum status decoded =
            decode_kernel(&program, &module, &module.functions[i], &settings, &arena, &err);
        if (decoded == STATUS_OK)
            check_program(&program);
        else
            fuzz_check_error(decoded, &err, "fuzz.ptx");
    }
    arena_free(&arena);
    return 0;
}
