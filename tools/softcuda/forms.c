/* All tables of forms, in both instruction sets. See forms.h. */
#include "tools/softcuda/forms.h"

#include <string.h>
#include "host/base/cpu.h"

/* clang-format off */
#define FAMILIES(F, isa)                                                    \
    F(forms_integer_##isa) \
    F(forms_carry_##isa) \
    F(forms_logic_##isa) \
    F(forms_float_##isa) \
    F(forms_half_##isa) \
    F(forms_compare_##isa) \
    F(forms_convert_##isa) \
    F(forms_convert_loops_##isa) \
    F(forms_special_##isa) \
    F(forms_memory_##isa) \
    F(forms_hint_##isa) \
    F(forms_warp_##isa) \
    F(forms_async_##isa) \
    F(forms_matrix_##isa) \
    F(forms_control_##isa)
/* clang-format on */
#define DECLARE(table) extern const struct form table[];
#define LIST(table)    table,

FAMILIES(DECLARE, portable)
static const struct form *const portable_tables[] = {FAMILIES(LIST, portable) NULL};
const struct form_set forms_portable = {portable_tables};

#if defined(__x86_64__)
FAMILIES(DECLARE, avx2)
static const struct form *const avx2_tables[] = {FAMILIES(LIST, avx2) NULL};
const struct form_set forms_avx2 = {avx2_tables};
#else
const struct form_set forms_avx2 = {portable_tables};
#endif

const struct form_set *forms_choose(bool portable)
{
    return !portable && cpu_has(CPU_AVX2) ? &forms_avx2 : &forms_portable;
}

/* All forms of an opcode are in one table, one behind the other: a test holds the tables to it. */
const struct form *forms_find(const struct form_set *set, const char *opcode, int *n)
{
    for (int i = 0; set->tables[i]; i++)
        for (const struct form *form = set->tables[i]; form->opcode; form++)
            if (strcmp(form->opcode, opcode) == 0) {
                *n = 1;
                while (form[*n].opcode && strcmp(form[*n].opcode, opcode) == 0)
                    ++*n;
                return form;
            }
    *n = 0;
    return NULL;
}
