/* The parts of an opcode to fields of the instruction. See decode_fields.h. */
#include "tools/softcuda/decode_fields.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/decode_rules.h"
#include "tools/softcuda/op_fields.h"

/* ---- parts of an opcode --------------------------------------------------------------------- */

static bool is(const char *part, const char *name)
{
    return strcmp(part, name) == 0;
}

/* The index of part in names, or -1. */
static int index_of(const char *part, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (names[i] && is(part, names[i]))
            return i;
    return -1;
}

/* What says how to cache, or whose order counts, and changes no result. */
static bool is_neutral(const char *part)
{
    static const char *const names[] = {"weak", "ca", "cg",  "cs",  "lu",  "cv",      "wb",
                                        "wt",   "nc", "cta", "gpu", "sys", "cluster", "noftz"};
    return index_of(part, names, sizeof names / sizeof *names) >= 0 ||
           strncmp(part, "L1::", 4) == 0 || strncmp(part, "L2::", 4) == 0;
}

/* STRONG_..., 0: none of them. */
static int strength(const char *part)
{
    static const char *const names[] = {"volatile", "relaxed", "acquire", "release", "acq_rel"};
    static const int strengths[] = {STRONG_RELAXED, STRONG_RELAXED, STRONG_ACQUIRE, STRONG_RELEASE,
                                    STRONG_ACQUIRE | STRONG_RELEASE};
    int found = index_of(part, names, sizeof names / sizeof *names);
    return found < 0 ? 0 : strengths[found];
}

static bool take_space(struct instruction *instruction, const char *part)
{
    static const char *const names[] = {[PTX_GLOBAL] = "global",
                                        [PTX_SHARED] = "shared",
                                        [PTX_LOCAL] = "local",
                                        [PTX_CONST] = "const",
                                        [PTX_PARAM] = "param"};
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(part, ":"), part);
    int space = index_of(name, names, sizeof names / sizeof *names);
    if (space >= 0)
        instruction->space = (uint8_t)space;
    return space >= 0;
}

/* ---- families ------------------------------------------------------------------------------- */

/* Each sets fields of the instruction and writes the opcode to look up into `key`; false: a part
 * that it does not know. */
static bool memory_fields(const struct ptx_instruction *source, struct instruction *instruction,
                          char *key)
{
    static const char *const atomics[] = {
        [ATOMIC_ADD] = "add", [ATOMIC_MIN] = "min",   [ATOMIC_MAX] = "max", [ATOMIC_INC] = "inc",
        [ATOMIC_DEC] = "dec", [ATOMIC_AND] = "and",   [ATOMIC_OR] = "or",   [ATOMIC_XOR] = "xor",
        [ATOMIC_CAS] = "cas", [ATOMIC_EXCH] = "exch",
    };
    bool atomic = is(source->parts[0], "atom") || is(source->parts[0], "red"), hint = false;
    instruction->vector = 1;
    instruction->space = PTX_GENERIC;
    instruction->aux = -1;
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int operation = atomic ? index_of(part, atomics, sizeof atomics / sizeof *atomics) : -1;
        if (type != PTX_NONE)
            instruction->type = (uint8_t)type;
        else if (is(part, "v2") || is(part, "v4"))
            instruction->vector = (uint8_t)(part[1] - '0');
        else if (strength(part))
            instruction->strong = (uint8_t)strength(part);
        else if (operation >= 0)
            instruction->aux = operation;
        else if (is(part, "L2::cache_hint"))
            hint = true;
        else if (!is_neutral(part) && !take_space(instruction, part))
            return false;
    }
    snprintf(key, FORM_KEY_SIZE, "%s%s%s", is(source->parts[0], "ldu") ? "ld" : source->parts[0],
             instruction->aux == ATOMIC_CAS ? ".cas" : "", hint ? ".hint" : "");
    if (atomic && (instruction->aux < 0 || instruction->vector > 1 ||
                   !rules_atomic((enum atomic_operation)instruction->aux,
                                 (enum ptx_type)instruction->type, is(source->parts[0], "red"))))
        return false;
    return instruction->type != PTX_NONE && instruction->type != PTX_PRED &&
           instruction->vector * ptx_type_size((enum ptx_type)instruction->type) <= 16;
}

/* cvt: two types, a rounding, flags. cvta: its direction and space. */
static bool convert_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    static const char *const roundings[] = {
        [ROUND_NONE] = "",   [ROUND_RN] = "rn",   [ROUND_RZ] = "rz",   [ROUND_RM] = "rm",
        [ROUND_RP] = "rp",   [ROUND_RNI] = "rni", [ROUND_RZI] = "rzi", [ROUND_RMI] = "rmi",
        [ROUND_RPI] = "rpi", [ROUND_RNA] = "rna",
    };
    int rounding = ROUND_NONE, flags = 0, n_types = 0;
    enum ptx_type types[2] = {PTX_NONE, PTX_NONE};
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int found = index_of(part, roundings, sizeof roundings / sizeof *roundings);
        if (type != PTX_NONE && n_types < 2)
            types[n_types++] = type;
        else if (found >= 0)
            rounding = found;
        else if (is(part, "ftz"))
            flags |= CONVERT_FTZ;
        else if (is(part, "sat"))
            flags |= CONVERT_SAT;
        else if (is(part, "relu"))
            flags |= CONVERT_RELU;
        else if (is(part, "satfinite"))
            flags |= CONVERT_SATFINITE;
        else
            return false;
    }
    if (n_types != 2 || !rules_convert(types[0], types[1], (enum rounding)rounding, flags))
        return false;
    instruction->aux = convert_pack(types[0], types[1], rounding, flags);
    instruction->type = (uint8_t)types[0];
    snprintf(key, FORM_KEY_SIZE, "cvt%s",
             types[0] == PTX_F16X2 || types[0] == PTX_BF16X2 ? ".x2" : "");
    return true;
}

static bool compare_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    static const char *const comparisons[] = {
        [COMPARE_EQ] = "eq",   [COMPARE_NE] = "ne",   [COMPARE_LT] = "lt",   [COMPARE_LE] = "le",
        [COMPARE_GT] = "gt",   [COMPARE_GE] = "ge",   [COMPARE_LO] = "lo",   [COMPARE_LS] = "ls",
        [COMPARE_HI] = "hi",   [COMPARE_HS] = "hs",   [COMPARE_EQU] = "equ", [COMPARE_NEU] = "neu",
        [COMPARE_LTU] = "ltu", [COMPARE_LEU] = "leu", [COMPARE_GTU] = "gtu", [COMPARE_GEU] = "geu",
        [COMPARE_NUM] = "num", [COMPARE_NAN] = "nan",
    };
    static const char *const combinations[] = {
        [COMBINE_NONE] = "", [COMBINE_AND] = "and", [COMBINE_OR] = "or", [COMBINE_XOR] = "xor"};
    enum ptx_type types[2] = {PTX_NONE, PTX_NONE};
    int n_types = 0, comparison = -1, combination = COMBINE_NONE, ftz = 0;
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int found = index_of(part, comparisons, sizeof comparisons / sizeof *comparisons);
        if (type != PTX_NONE && n_types < 2)
            types[n_types++] = type;
        else if (found >= 0 && comparison < 0)
            comparison = found;
        else if (index_of(part, combinations, 4) > 0)
            combination = index_of(part, combinations, 4);
        else if (is(part, "ftz"))
            ftz = 1;
        else
            return false;
    }
    bool set = is(source->parts[0], "set");
    if (comparison < 0 || n_types != (set ? 2 : 1) ||
        !rules_compare(types[n_types - 1], (enum comparison)comparison, ftz))
        return false;
    instruction->aux = comparison;
    instruction->aux2 = combination | ftz << 8;
    instruction->type = (uint8_t)types[0];
    snprintf(key, FORM_KEY_SIZE, set ? "set.%s.%s" : "setp.%s", ptx_type_name(types[0]),
             ptx_type_name(types[n_types - 1]));
    return true;
}

/* bar and barrier are one thing; `bar` is always aligned. */
static bool barrier_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    bool of_warp = source->n_parts > 1 && is(source->parts[1], "warp");
    bool aligned = is(source->parts[0], "bar") && !of_warp;
    snprintf(key, FORM_KEY_SIZE, "bar");
    for (int i = 1; i < source->n_parts; i++) {
        aligned |= is(source->parts[i], "aligned");
        if (!is(source->parts[i], "aligned") && !is(source->parts[i], "cta"))
            snprintf(key + strlen(key), FORM_KEY_SIZE - strlen(key), ".%s", source->parts[i]);
    }
    instruction->aux2 = aligned;
    return source->n_parts > 1;
}

/* membar.gl, fence.acq_rel.gpu: the widest scope that is named. */
static bool fence_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    instruction->aux = 0;
    for (int i = 1; i < source->n_parts; i++)
        if (is(source->parts[i], "gl") || is(source->parts[i], "gpu") ||
            is(source->parts[i], "sys"))
            instruction->aux = 1;
        else if (is(source->parts[i], "proxy") || is(source->parts[i], "mbarrier_init"))
            return false;
    snprintf(key, FORM_KEY_SIZE, "membar");
    return true;
}

static bool async_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    instruction->space = PTX_SHARED;
    snprintf(key, FORM_KEY_SIZE, "cp.async");
    for (int i = 2; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        if (is(part, "commit_group") || is(part, "wait_group") || is(part, "wait_all"))
            snprintf(key + strlen(key), FORM_KEY_SIZE - strlen(key), ".%s", part);
        else if (is(part, "cg"))
            instruction->aux2 = 1; /* beside the L1 cache */
        else if (is(part, "L2::cache_hint"))
            snprintf(key + strlen(key), FORM_KEY_SIZE - strlen(key), ".hint");
        else if (!is_neutral(part) && !take_space(instruction, part))
            return false;
    }
    instruction->space = PTX_SHARED;
    return source->n_parts > 1 && is(source->parts[1], "async");
}

/* Everything else: the opcode as it stands, without what is neutral. */
static bool plain_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    bool matrix = is(source->parts[0], "mma") || is(source->parts[0], "ldmatrix");
    key[0] = '\0';
    for (int i = 0; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        bool vote = is(source->parts[0], "vote"); /* whose .uni is an operation */
        if ((is(part, "uni") && !vote) || (matrix && is(part, "aligned")))
            continue;
        snprintf(key + strlen(key), FORM_KEY_SIZE - strlen(key), "%s%s", i > 0 ? "." : "",
                 is(part, "shared::cta") ? "shared" : part);
    }
    instruction->space = PTX_SHARED; /* of ldmatrix */
    instruction->type = (uint8_t)ptx_type_named(source->parts[source->n_parts - 1],
                                                strlen(source->parts[source->n_parts - 1]));
    return true;
}

/* prefetch, applypriority, discard: the space in a field. Priorities of lines are those of L2,
 * which caches global memory alone. */
static bool hint_fields(const struct ptx_instruction *source, struct instruction *instruction,
                        char *key)
{
    instruction->space = PTX_GENERIC;
    snprintf(key, FORM_KEY_SIZE, "%s", source->parts[0]);
    for (int i = 1; i < source->n_parts; i++)
        if (!take_space(instruction, source->parts[i]))
            snprintf(key + strlen(key), FORM_KEY_SIZE - strlen(key), ".%s", source->parts[i]);
    bool prefetch = is(source->parts[0], "prefetch");
    if (instruction->space == PTX_LOCAL)
        return prefetch && !strstr(key, "::");
    if (instruction->space == PTX_GENERIC)
        return !prefetch || !strstr(key, "::");
    return instruction->space == PTX_GLOBAL && !is(source->parts[0], "prefetchu");
}

/* createpolicy.fractional|range: a priority, and one for the rest. */
static bool policy_fields(const struct ptx_instruction *source, struct instruction *instruction,
                          char *key)
{
    static const char *const first[] = {"L2::evict_last", "L2::evict_normal", "L2::evict_first",
                                        "L2::evict_unchanged"};
    int n = source->n_parts, i = 2;
    bool range = n > 1 && is(source->parts[1], "range");
    instruction->space = PTX_GENERIC;
    if (n > 1 && is(source->parts[1], "cvt"))
        return plain_fields(source, instruction, key);
    if (n < 2 || (!range && !is(source->parts[1], "fractional")))
        return false;
    if (range && i < n && take_space(instruction, source->parts[i]))
        i++;
    if (i == n || index_of(source->parts[i++], first, 4) < 0)
        return false;
    if (i < n && index_of(source->parts[i], first + 2, 2) >= 0)
        i++;
    snprintf(key, FORM_KEY_SIZE, "createpolicy.%s", source->parts[1]);
    return i + 1 == n && is(source->parts[i], "b64") &&
           (instruction->space == PTX_GENERIC || instruction->space == PTX_GLOBAL);
}

/* cvt.pack has another shape than cvt. */
static bool is_pack(const struct ptx_instruction *source)
{
    return is(source->parts[0], "cvt") && source->n_parts > 1 && is(source->parts[1], "pack");
}

typedef bool field_reader(const struct ptx_instruction *source, struct instruction *instruction,
                          char *key);

static field_reader *reader_of(const char *first)
{
    static const struct {
        const char *name;
        field_reader *read;
    } families[] = {
        {"ld", memory_fields},          {"ldu", memory_fields},    {"st", memory_fields},
        {"atom", memory_fields},        {"red", memory_fields},    {"cvt", convert_fields},
        {"setp", compare_fields},       {"set", compare_fields},   {"bar", barrier_fields},
        {"barrier", barrier_fields},    {"membar", fence_fields},  {"fence", fence_fields},
        {"cp", async_fields},           {"prefetch", hint_fields}, {"prefetchu", hint_fields},
        {"applypriority", hint_fields}, {"discard", hint_fields},  {"createpolicy", policy_fields},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (is(first, families[i].name))
            return families[i].read;
    return plain_fields;
}

bool decode_fields(const struct ptx_instruction *source, struct instruction *instruction, char *key)
{
    field_reader *read = is_pack(source) ? plain_fields : reader_of(source->parts[0]);
    return read(source, instruction, key);
}
