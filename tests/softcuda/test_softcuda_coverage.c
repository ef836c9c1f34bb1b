/* Nothing runs untested: every form in the tables of handlers, and every opcode in the PTX of the
 * project's kernels, has a case in the tests' tables or a program that is named here. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host/base/file.h"
#include "tests/softcuda/alu.h"

/* ---- tested by programs of their own -------------------------------------------------------- */

/* Opcodes that begin so (whole parts of them) are tested by the program named. */
static const struct {
    const char *opcode, *program;
} elsewhere[] = {
    {"shfl", "test_softcuda_warp"},
    {"vote", "test_softcuda_warp"},
    {"activemask", "test_softcuda_warp"},
    {"match", "test_softcuda_warp"},
    {"redux", "test_softcuda_warp"},
    {"bar", "test_softcuda_warp"},
    {"barrier", "test_softcuda_warp"},
    {"membar", "test_softcuda_warp"},
    {"fence", "test_softcuda_warp"},
    {"nanosleep", "test_softcuda_warp"},
    {"cp.async", "test_softcuda_async"},
    {"mma.sync", "test_softcuda_matrix"},
    {"ldmatrix", "test_softcuda_matrix"},
    {"movmatrix", "test_softcuda_matrix"},
    {"bra", "test_softcuda_flow"},
    {"brx", "test_softcuda_flow"},
    {"exit", "test_softcuda_control"},
    {"ret", "test_softcuda_control"},
    {"call", "test_softcuda_control"},
    {"trap", "test_softcuda_control"},
    {"brkpt", "test_softcuda_control"},
    {"pmevent", "test_softcuda_control"},
    {"clock", "test_softcuda_control"},
    {"clock_hi", "test_softcuda_control"},
    {"clock64", "test_softcuda_control"},
    {"globaltimer", "test_softcuda_control"},
    {"globaltimer_lo", "test_softcuda_control"},
    {"globaltimer_hi", "test_softcuda_control"},
    {"cvta", "test_softcuda_access"},
    {"isspacep", "test_softcuda_access"},
    {"prefetch", "test_softcuda_access"},
    {"prefetchu", "test_softcuda_access"},
    {"applypriority", "test_softcuda_access"},
    {"discard", "test_softcuda_access"},
    {"createpolicy", "test_softcuda_access"},
};

static const char *program_of(const char *opcode)
{
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        size_t n = strlen(elsewhere[i].opcode);
        if (strncmp(opcode, elsewhere[i].opcode, n) == 0 && (opcode[n] == '.' || !opcode[n]))
            return elsewhere[i].program;
    }
    return NULL;
}

/* ---- forms ---------------------------------------------------------------------------------- */

#define FORMS_LARGEST 4096

static int flatten(const struct form_set *set, const struct form **out)
{
    int n = 0;
    for (int i = 0; set->tables[i]; i++)
        for (const struct form *form = set->tables[i]; form->opcode; form++) {
            ck_assert_int_lt(n, FORMS_LARGEST);
            out[n++] = form;
        }
    return n;
}

/* The form that a case's opcode was decoded to: of the instruction whose text it is. */
static const struct form *form_of(struct rig *rig, const struct alu_case *alu)
{
    char text[16384];
    if (alu->written)
        alu->written(alu, text, sizeof text);
    else
        alu_write(alu, 256, NULL, text, sizeof text);
    rig_free_all(rig);
    arena_free(&rig->arena);
    ck_assert_msg(rig_load(rig, text, strlen(text), true) == STATUS_OK, "%s", rig->err.text);
    const struct program *program = &rig->programs[0];
    for (int i = 0; i < program->n_instructions; i++)
        if (program->instructions[i].guard >= 0 &&
            strcmp(program->instructions[i].text, alu->opcode) == 0)
            return program->instructions[i].form;
    ck_abort_msg("%s: its kernel does not run it", alu->opcode);
    return NULL;
}

START_TEST(every_form_has_a_case)
{
    static const struct form *forms[FORMS_LARGEST];
    static bool covered[FORMS_LARGEST];
    struct alu_list list = {0};
    struct rig rig;
    int n = flatten(&forms_portable, forms), n_missing = 0;
    char missing[4096] = "";
    rig_open(&rig);
    alu_all(&list);
    for (int i = 0; i < list.n; i++) {
        const struct form *form = form_of(&rig, &list.cases[i]);
        for (int j = 0; j < n; j++)
            covered[j] |= forms[j] == form;
    }
    for (int i = 0; i < n; i++)
        if (!covered[i] && !program_of(forms[i]->opcode) && n_missing++ < 20)
            snprintf(missing + strlen(missing), sizeof missing - strlen(missing), " %s (%s)",
                     forms[i]->opcode, forms[i]->operands);
    ck_assert_msg(n_missing == 0, "%d forms have no case:%s", n_missing, missing);
    rig_free_all(&rig);
    rig_close(&rig);
    alu_free(&list);
}
END_TEST

/* forms_find takes those behind the first: others of the opcode would never be seen. */
START_TEST(forms_of_an_opcode_stand_together)
{
    static const struct form *forms[FORMS_LARGEST];
    int n = flatten(_i ? &forms_avx2 : &forms_portable, forms);
    for (int i = 0; i < n; i++) {
        int n_found;
        const struct form *first =
            forms_find(_i ? &forms_avx2 : &forms_portable, forms[i]->opcode, &n_found);
        ck_assert_ptr_nonnull(first);
        ck_assert_msg(forms[i] >= first && forms[i] < first + n_found, "%s stands in two places",
                      forms[i]->opcode);
        for (const struct form *before = first; before < forms[i]; before++)
            ck_assert_msg(strcmp(before->operands, forms[i]->operands) != 0, "%s %s stands twice",
                          forms[i]->opcode, forms[i]->operands);
    }
}
END_TEST

START_TEST(both_sets_list_the_same)
{
    static const struct form *portable[FORMS_LARGEST], *other[FORMS_LARGEST];
    int n = flatten(&forms_portable, portable);
    ck_assert_int_eq(n, flatten(&forms_avx2, other));
    for (int i = 0; i < n; i++) {
        ck_assert_str_eq(portable[i]->opcode, other[i]->opcode);
        ck_assert_str_eq(portable[i]->operands, other[i]->operands);
        ck_assert_int_eq(portable[i]->op_class, other[i]->op_class);
    }
}
END_TEST

START_TEST(programs_that_are_named_are_there)
{
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tests/%s", build_folder(), elsewhere[i].program);
        ck_assert_msg(access(path, X_OK) == 0, "%s is tested by %s, which is not there",
                      elsewhere[i].opcode, path);
    }
}
END_TEST

/* ---- opcodes of kernels --------------------------------------------------------------------- */

/* Parts that change no result: caching, order and scope, alignment. */
static bool is_neutral(const char *part)
{
    static const char *const names[] = {"uni",     "weak",    "ca",      "cg",       "cs",
                                        "lu",      "cv",      "wb",      "wt",       "nc",
                                        "cta",     "gpu",     "sys",     "volatile", "relaxed",
                                        "acquire", "release", "acq_rel", "noftz",    "aligned"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(part, names[i]) == 0)
            return true;
    return strncmp(part, "L1::", 4) == 0 || strncmp(part, "L2::", 4) == 0;
}

static void plain_opcode(const char *opcode, char *out)
{
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", opcode);
    out[0] = '\0';
    for (char *part = strtok_r(copy, ".", &rest); part; part = strtok_r(NULL, ".", &rest)) {
        char *scope = strstr(part, "::");
        if (is_neutral(part))
            continue;
        if (scope && strncmp(part, "shared", 6) == 0)
            *scope = '\0';
        if (out[0])
            strcat(out, ".");
        strcat(out, part);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* All opcodes with a case, plain and sorted: rows of 128. */
static char (*known_opcodes(int *n))[128]
{
    struct alu_list list = {0};
    alu_all(&list);
    char(*known)[128] = calloc((size_t)list.n, sizeof *known);
    ck_assert_ptr_nonnull(known);
    for (int i = 0; i < list.n; i++)
        plain_opcode(list.cases[i].opcode, known[i]);
    *n = list.n;
    qsort(known, (size_t)list.n, sizeof *known, by_text);
    alu_free(&list);
    return known;
}

static void check_file(const char *path, char (*known)[128], int n)
{
    struct file_map map;
    struct ptx_module module;
    struct arena arena = {0};
    struct err err;
    ck_assert_int_eq(file_map(&map, path, &err), STATUS_OK);
    ck_assert_msg(ptx_parse(&module, (const char *)map.data, map.size, path, &arena, &err) ==
                      STATUS_OK,
                  "%s", err.text);
    for (int f = 0; f < module.n_functions; f++)
        for (int i = 0; i < module.functions[f].n_instructions; i++) {
            const struct ptx_instruction *instruction = &module.functions[f].instructions[i];
            char plain[128];
            plain_opcode(instruction->text, plain);
            ck_assert_msg(program_of(plain) ||
                              bsearch(plain, known, (size_t)n, sizeof *known, by_text),
                          "%s: line %d: '%s' has no case in tests/softcuda", path,
                          instruction->place.ptx_line, instruction->text);
        }
    arena_free(&arena);
    file_unmap(&map);
}

/* All *.ptx in a folder of the build. */
static int check_folder(const char *folder, char (*known)[128], int n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", build_folder(), folder);
    DIR *directory = opendir(path);
    int n_files = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".ptx") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/%.200s", build_folder(), folder, entry->d_name);
        check_file(path, known, n);
        n_files++;
    }
    if (directory)
        closedir(directory);
    return n_files;
}

START_TEST(every_opcode_of_a_kernel_has_a_case)
{
    int n;
    char(*known)[128] = known_opcodes(&n);
    int n_files = check_folder("tests/ptx", known, n) + check_folder("ptx", known, n);
    free(known);
    if (n_files == 0)
        SKIP("no kernel has been compiled: needs nvcc");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_coverage");
    TCase *tests = tcase_create("forms and opcodes");
    tcase_set_timeout(tests, 600);
    tcase_add_test(tests, every_form_has_a_case);
    tcase_add_loop_test(tests, forms_of_an_opcode_stand_together, 0, 2);
    tcase_add_test(tests, both_sets_list_the_same);
    tcase_add_test(tests, programs_that_are_named_are_there);
    tcase_add_test(tests, every_opcode_of_a_kernel_has_a_case);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
