/* Cases of setp and set. The manual's section "Comparison and Selection Instructions". */
#include <stdio.h>
#include <string.h>
#include "tests/softcuda/alu_scalar.h"

static const char *const comparisons[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",
                                          "lo",  "ls",  "hi",  "hs",  "num", "nan",
                                          "equ", "neu", "ltu", "leu", "gtu", "geu"};
#define N_COMPARISONS 18
static const char *const combinations[] = {"", ".and", ".or", ".xor"};

/* aux: the comparison, and from bit 8 on the combination. */

/* order: -1, 0, 1; unordered where one is NaN. */
static bool answer(int comparison, int order, bool unordered)
{
    const char *name = comparisons[comparison];
    if (strcmp(name, "num") == 0)
        return !unordered;
    if (strcmp(name, "nan") == 0)
        return unordered;
    if (unordered)
        return strlen(name) == 3; /* those that end in u: true where one is NaN */
    switch (name[0] == 'h' ? 'g' : name[0]) {
    case 'e':
        return order == 0;
    case 'n':
        return order != 0;
    case 'l':
        return order < 0 || (order == 0 && (name[1] == 'e' || name[1] == 's'));
    default:
        return order > 0 || (order == 0 && (name[1] == 'e' || name[1] == 's'));
    }
}

static bool compared(int comparison, const struct exact_format *format, int bits, bool is_signed,
                     bool ftz, uint64_t a, uint64_t b)
{
    if (!format) {
        wide_signed x = number_of(a, bits, is_signed), y = number_of(b, bits, is_signed);
        return answer(comparison, x < y ? -1 : x > y, false);
    }
    quad x = exact_value(ftz ? exact_flush(a, format) : a, format);
    quad y = exact_value(ftz ? exact_flush(b, format) : b, format);
    return answer(comparison, x < y ? -1 : x > y, x != x || y != y);
}

static bool combined(int combination, bool result, bool third)
{
    return combination == 0   ? result
           : combination == 1 ? result && third
           : combination == 2 ? result || third
                              : result != third;
}

static bool is_pair(const struct alu_case *alu)
{
    return strstr(alu->opcode, "16x2") != NULL;
}

static bool half_compared(const struct alu_case *alu, const uint64_t *x, int shift)
{
    return compared(alu->aux & 255, alu->format, 16, false, alu->ftz, x[0] >> shift & 0xFFFF,
                    x[1] >> shift & 0xFFFF);
}

/* p|q: q is the comparison's opposite, combined alike; of a pair p is the low half's answer and q
 * the high one's. */
static void setp(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    int combination = alu->aux >> 8;
    if (is_pair(alu)) {
        out[0] = combined(combination, half_compared(alu, x, 0), x[2]);
        out[1] = combined(combination, half_compared(alu, x, 16), x[2]);
        return;
    }
    bool result =
        compared(alu->aux & 255, alu->format, alu->bits, alu->is_signed, alu->ftz, x[0], x[1]);
    out[0] = combined(combination, result, x[2]);
    out[1] = combined(combination, !result, x[2]);
}

/* The value for true by the type of the result, which stands before that of the sources. */
static uint64_t yes(const char *type)
{
    return strcmp(type, "f32") == 0    ? 0x3F800000
           : strcmp(type, "f16") == 0  ? 0x3C00
           : strcmp(type, "bf16") == 0 ? 0x3F80
                                       : UINT64_MAX;
}

static void result_type(const struct alu_case *alu, char *type)
{
    /* set.CMP{.BOOL}{.ftz}.TYPE.TYPE: the last but one. */
    char copy[sizeof alu->opcode];
    memcpy(copy, alu->opcode, sizeof copy);
    *strrchr(copy, '.') = '\0';
    snprintf(type, 8, "%s", strrchr(copy, '.') + 1);
}

static void set(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    char type[8];
    int combination = alu->aux >> 8;
    result_type(alu, type);
    if (is_pair(alu)) {
        uint64_t one = strcmp(type, "f16x2") == 0    ? 0x3C00
                       : strcmp(type, "bf16x2") == 0 ? 0x3F80
                                                     : 0xFFFF;
        out[0] = (combined(combination, half_compared(alu, x, 0), x[2]) ? one : 0) |
                 (combined(combination, half_compared(alu, x, 16), x[2]) ? one << 16 : 0);
        return;
    }
    bool result =
        compared(alu->aux & 255, alu->format, alu->bits, alu->is_signed, alu->ftz, x[0], x[1]);
    out[0] = combined(combination, result, x[2]) ? yes(type) : 0;
}

struct compared_type {
    const char *type;
    char letter, kind;
    int first, last; /* comparisons that it has */
    bool ftz;
};
static const struct compared_type types[] = {
    {"b16", 'h', 'i', 0, 1, false},     {"u16", 'h', 'i', 0, 9, false},
    {"s16", 'h', 'i', 0, 5, false},     {"b32", 'w', 'i', 0, 1, false},
    {"u32", 'w', 'i', 0, 9, false},     {"s32", 'w', 'i', 0, 5, false},
    {"b64", 'd', 'i', 0, 1, false},     {"u64", 'd', 'i', 0, 9, false},
    {"s64", 'd', 'i', 0, 5, false},     {"f32", 'w', 'f', 0, 17, true},
    {"f64", 'd', 'e', 0, 17, false},    {"f16", 'h', 'h', 0, 17, true},
    {"bf16", 'h', 'b', 0, 17, false},   {"f16x2", 'w', 'H', 0, 17, true},
    {"bf16x2", 'w', 'B', 0, 17, false},
};

static bool has(const struct compared_type *type, int comparison)
{
    bool is_float = type->last == 17;
    return comparison <= type->last && !(is_float && comparison >= 6 && comparison <= 9);
}

/* With no predicate, and with each combination of one and of one negated. */
static void one(struct alu_list *list, const struct compared_type *type, int comparison,
                const char *ftz, const char *to, char to_letter)
{
    /* Results other than .u32 take the same way: one combination will do. */
    int step = !to || strcmp(to, "u32") == 0 ? 1 : 2;
    for (int combination = 0; combination < 4; combination += step)
        for (int negated = 0; negated < (combination ? 2 : 1); negated++) {
            char name[64], operands[16], values[8];
            snprintf(values, sizeof values, "%c%c%s", type->kind, type->kind,
                     combination ? "p" : "");
            const char *third = combination == 0 ? "" : negated ? "n" : "p";
            if (to) {
                alu_opcode(name, "set.%s%s%s.%s.%s", comparisons[comparison],
                           combinations[combination], ftz, to, type->type);
                snprintf(operands, sizeof operands, "%c=%c%c%s", to_letter, type->letter,
                         type->letter, third);
            } else {
                alu_opcode(name, "setp.%s%s%s.%s", comparisons[comparison],
                           combinations[combination], ftz, type->type);
                /* One result, both, or one of them a sink. */
                const char *results = combination % 2 ? "Dpp" : negated ? "Dp_" : "p";
                snprintf(operands, sizeof operands, "%s=%c%c%s", results, type->letter,
                         type->letter, third);
            }
            alu_add(list, name, operands, values, to ? set : setp)->aux = comparison | combination
                                                                                           << 8;
        }
}

static void all(struct alu_list *list, const struct compared_type *type, const char *to,
                char to_letter)
{
    for (int comparison = 0; comparison < N_COMPARISONS; comparison++) {
        if (!has(type, comparison))
            continue;
        one(list, type, comparison, "", to, to_letter);
        if (type->ftz)
            one(list, type, comparison, ".ftz", to, to_letter);
    }
}

void alu_compare(struct alu_list *list)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct compared_type *type = &types[i];
        bool pair = strstr(type->type, "x2") != NULL, half = strstr(type->type, "f16") != NULL;
        all(list, type, NULL, 0);
        all(list, type, "u32", 'w');
        all(list, type, "s32", 'w');
        if (pair) {
            all(list, type, type->type, 'w');
            continue;
        }
        all(list, type, "f32", 'w');
        all(list, type, "f16", 'h');
        all(list, type, "bf16", 'h');
        if (half) {
            all(list, type, "u16", 'h');
            all(list, type, "s16", 'h');
        }
    }
}
