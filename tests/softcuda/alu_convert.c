/* Cases of cvt: every pair of types, rounding and modifier that the manual allows, and registers
 * wider than an integer type. Sources of 16 bits are exhaustive; f32 to f16 and bf16 goes over
 * every number of the narrow format, every middle between two and the middle's neighbours. */
#include <stdio.h>
#include <string.h>
#include "tests/softcuda/alu_scalar.h"

struct type {
    const char *name;
    int bits;
    bool is_signed;
    const struct exact_format *format;
    char kind; /* of edge values */
};
static const struct type types[] = {
    {"u8", 8, false, NULL, 'i'},        {"s8", 8, true, NULL, 'i'},
    {"u16", 16, false, NULL, 'i'},      {"s16", 16, true, NULL, 'i'},
    {"u32", 32, false, NULL, 'i'},      {"s32", 32, true, NULL, 'i'},
    {"u64", 64, false, NULL, 'i'},      {"s64", 64, true, NULL, 'i'},
    {"f16", 16, true, &exact_f16, 'h'}, {"bf16", 16, true, &exact_bf16, 'b'},
    {"f32", 32, true, &exact_f32, 'f'}, {"f64", 64, true, &exact_f64, 'e'},
};
#define N_TYPES 12

/* aux: the target's index, and from bit 8 on the source's; from bit 16 on 1: an integral rounding.
 */
#define TO(alu)   (&types[(alu)->aux & 255])
#define FROM(alu) (&types[(alu)->aux >> 8 & 255])

/* From f32, flushed where .ftz says so. */
static quad source(const struct alu_case *alu, uint64_t bits)
{
    const struct exact_format *format = FROM(alu)->format;
    if (alu->ftz && format == &exact_f32)
        bits = exact_flush(bits, format);
    return exact_value(bits, format);
}

/* .satfinite: an infinity of a format becomes its largest number. */
static uint64_t kept_finite(const struct alu_case *alu, uint64_t bits,
                            const struct exact_format *format)
{
    uint64_t sign = (uint64_t)1 << (format->exponent_bits + format->fraction_bits);
    uint64_t infinity = (((uint64_t)1 << format->exponent_bits) - 1) << format->fraction_bits;
    if (!strstr(alu->opcode, ".satfinite") || (bits & ~sign) != infinity)
        return bits;
    return (bits & sign) | (infinity - 1);
}

static uint64_t float_result(const struct alu_case *alu, quad value)
{
    const struct exact_format *format = TO(alu)->format;
    if (alu->aux >> 16 && value == value && value - value == 0) {
        /* To an integral value; those of 2^112 and more are integral as they are. */
        bool negative = quad_negative(value);
        if ((negative ? -value : value) < quad_power(64))
            value = (quad)quad_integral(value, alu->rounding);
        if (value == 0)
            value = negative ? -(quad)0 : 0;
    }
    if (alu->sat)
        value = value > 0 ? (value > 1 ? 1 : value) : 0;
    uint64_t bits = exact_round(value, 0, format, alu->aux >> 16 ? EXACT_RN : alu->rounding);
    if (alu->relu && bits >> (TO(alu)->bits - 1) & 1 && !exact_is_nan(bits, format))
        bits = 0;
    bits = kept_finite(alu, bits, format);
    return alu->ftz && format == &exact_f32 ? exact_flush(bits, format) : bits;
}

/* Values beyond the target's limits give the limits. NaN gives 0, or with 64 bits on either side
 * the highest bit. */
static uint64_t integer_result(const struct alu_case *alu, quad value)
{
    const struct type *to = TO(alu);
    if (value != value)
        return to->bits == 64 || FROM(alu)->bits == 64 ? (uint64_t)1 << (to->bits - 1) : 0;
    quad most = quad_power(80);
    value = value > most ? most : value < -most ? -most : value;
    return (uint64_t)clamp_number(quad_integral(value, alu->rounding), to->bits, to->is_signed);
}

static void convert(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    const struct type *to = TO(alu), *from = FROM(alu);
    if (from->format) {
        quad value = source(alu, x[0]);
        out[0] = to->format ? float_result(alu, value) : integer_result(alu, value);
    } else {
        wide_signed value = number_of(x[0], from->bits, from->is_signed);
        if (to->format) {
            out[0] = float_result(alu, (quad)value);
            return;
        }
        if (alu->sat)
            value = clamp_number(value, to->bits, to->is_signed);
        out[0] = (uint64_t)number_of((uint64_t)value, to->bits, to->is_signed);
    }
}

/* Small integers into a wider register are extended by their sign: the limits' low bits too. */
static void convert_extended(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    convert(alu, x, out);
    if (!TO(alu)->format)
        out[0] = (uint64_t)number_of(out[0], TO(alu)->bits, TO(alu)->is_signed);
}

/* Of f64 any NaN is right. */
static bool check_nan(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                      uint64_t want)
{
    (void)x, (void)index;
    const struct exact_format *format = TO(alu)->format;
    return got == want ||
           (format == &exact_f64 && exact_is_nan(got, format) && exact_is_nan(want, format));
}

/* Registers that hold the type; wider ones for integers. */
static const char *letters_of(const struct type *type)
{
    return type->bits == 64   ? "d"
           : type->bits == 32 ? (type->format ? "w" : "wd")
                              : (type->format ? "h" : "hwd");
}

static void add(struct alu_list *list, int to, int from, const char *rounding, bool integral,
                const char *modifiers)
{
    char name[64];
    alu_opcode(name, "cvt%s%s.%s.%s", rounding, modifiers, types[to].name, types[from].name);
    for (const char *a = letters_of(&types[to]); *a; a++)
        for (const char *b = letters_of(&types[from]); *b; b++) {
            /* All 16 bits once for each opcode. */
            bool first = a == letters_of(&types[to]) && *b == 'h' && !strstr(modifiers, ".sat");
            char kind[2] = {first ? 'x' : types[from].kind, '\0'};
            alu_add_checked(list, name, (char[]){*a, '=', *b, '\0'}, kind, convert_extended,
                            check_nan)
                ->aux = to | from << 8 | integral << 16;
        }
}

static const char *const directions[] = {".rn", ".rz", ".rm", ".rp"};
static const char *const integrals[] = {".rni", ".rzi", ".rmi", ".rpi"};

static void pair_of_types(struct alu_list *list, int to, int from)
{
    const struct exact_format *target = types[to].format, *given = types[from].format;
    bool ftz = target == &exact_f32 || given == &exact_f32;
    bool ftz_in = given == &exact_f32;
    if (!target && !given) {
        add(list, to, from, "", false, "");
        add(list, to, from, "", false, ".sat");
    } else if (!target) {
        for (int i = 0; i < 4; i++) {
            add(list, to, from, integrals[i], true, "");
            add(list, to, from, integrals[i], true, ".sat");
            if (ftz_in)
                add(list, to, from, integrals[i], true, ".ftz");
        }
    } else if (!given || types[to].bits < types[from].bits ||
               (types[to].bits == types[from].bits && to != from)) {
        for (int i = 0; i < 4; i++) {
            add(list, to, from, directions[i], false, "");
            add(list, to, from, directions[i], false, ".sat");
            if (given && ftz) {
                add(list, to, from, directions[i], false, ".ftz");
                add(list, to, from, directions[i], false, ".ftz.sat");
            }
        }
        if (ftz_in && types[to].bits == 16) {
            add(list, to, from, ".rn", false, ".relu");
            add(list, to, from, ".rz", false, ".relu");
            add(list, to, from, ".rn", false, ".satfinite");
            add(list, to, from, ".rz", false, ".relu.satfinite");
        }
    } else {
        for (int i = -1; i < (to == from ? 4 : 0); i++) {
            const char *rounding = i < 0 ? "" : integrals[i];
            add(list, to, from, rounding, i >= 0, "");
            add(list, to, from, rounding, i >= 0, ".sat");
            if (ftz) {
                add(list, to, from, rounding, i >= 0, ".ftz");
                add(list, to, from, rounding, i >= 0, ".ftz.sat");
            }
        }
    }
}

/* f32 around every number of the narrow formats, in every direction. */
static void around_halves(struct alu_list *list)
{
    for (int i = 0; i < 4; i++) {
        char name[64];
        alu_opcode(name, "cvt%s.f16.f32", directions[i]);
        alu_add(list, name, "h=w", "u", convert_extended)->aux = 8 | 10 << 8;
        alu_opcode(name, "cvt%s.bf16.f32", directions[i]);
        alu_add(list, name, "h=w", "v", convert_extended)->aux = 9 | 10 << 8;
    }
}

/* cvt.rn.f16x2.f32 d, a, b: a into the upper half. aux as of one half. */
static void convert_pair(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    uint64_t high, low;
    convert(alu, x, &high);
    convert(alu, x + 1, &low);
    out[0] = high << 16 | low;
}

/* 10 bits of fraction, ties away from zero, the low 13 bits 0. */
static void to_tf32(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    const struct exact_format tf32 = {8, 10, 0};
    if (exact_is_nan(x[0], &exact_f32))
        out[0] = 0x7FFFFFFF;
    else
        out[0] =
            kept_finite(alu, exact_round(exact_value(x[0], &exact_f32), 0, &tf32, EXACT_RNA), &tf32)
            << 13;
}

/* cvt.pack: b in the low bits, a above it, c above both. aux: the bits of one, 32 less where they
 * are a signed number. */
static void pack(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    bool is_signed = alu->aux < 0;
    int bits = is_signed ? alu->aux + 32 : alu->aux;
    uint64_t ones = ((uint64_t)1 << bits) - 1;
    out[0] = 0;
    for (int i = 0; i < 2; i++) {
        wide_signed value = clamp_number(number_of(x[1 - i], 32, true), bits, is_signed);
        out[0] |= ((uint64_t)value & ones) << bits * i;
    }
    out[0] |= bits == 16 ? 0 : x[2] << 2 * bits;
}

static void packs(struct alu_list *list)
{
    for (int bits = 2; bits <= 16; bits *= 2)
        for (const char *sign = "us"; *sign; sign++) {
            char name[64];
            alu_opcode(name, "cvt.pack.sat.%c%d.s32%s", *sign, bits, bits == 16 ? "" : ".b32");
            alu_add(list, name, bits == 16 ? "w=ww" : "w=www", &"iii"[bits == 16], pack)->aux =
                *sign == 's' ? bits - 32 : bits;
        }
}

void alu_convert(struct alu_list *list)
{
    for (int to = 0; to < N_TYPES; to++)
        for (int from = 0; from < N_TYPES; from++)
            pair_of_types(list, to, from);
    around_halves(list);
    for (int i = 0; i < 8; i++) {
        char name[64];
        static const char *const modifiers[] = {"", ".relu", ".satfinite", ".satfinite.relu"};
        const char *relu = modifiers[i / 2];
        alu_opcode(name, "cvt%s%s.f16x2.f32", directions[i & 1], relu);
        alu_add(list, name, "w=ww", "ff", convert_pair)->aux = 8 | 10 << 8;
        alu_opcode(name, "cvt%s%s.bf16x2.f32", directions[i & 1], relu);
        alu_add(list, name, "w=ww", "ff", convert_pair)->aux = 9 | 10 << 8;
    }
    alu_add(list, "cvt.rna.tf32.f32", "w=w", "f", to_tf32);
    alu_add(list, "cvt.rna.satfinite.tf32.f32", "w=w", "f", to_tf32);
    packs(list);
}
