/* Cases of bits: logic, shifts, bit fields, permutations, selects and moves. The manual's
 * pseudo-code, bit by bit. */
#include <string.h>
#include "tests/softcuda/alu_scalar.h"

REFERENCE(both, x[0] & x[1])
REFERENCE(either, x[0] | x[1])
REFERENCE(one_of, x[0] ^ x[1])
REFERENCE(complement, ~x[0])
REFERENCE(is_zero, x[0] == 0)
REFERENCE(same, x[0])

/* A shift's amount is clamped at the width; a signed number is filled with its sign. */
static uint64_t amount(const struct alu_case *alu, const uint64_t *x)
{
    return x[1] > (uint64_t)alu->bits ? (uint64_t)alu->bits : x[1];
}
REFERENCE(shift_left, (wide)x[0] << amount(alu, x))
REFERENCE(shift_right, V(0) >> amount(alu, x))

/* Of the 64 bits b:a. aux: bit 0: right, bit 1: the amount is taken modulo 32 (else clamped). */
static void funnel(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    uint64_t pair = x[1] << 32 | x[0];
    int n = alu->aux & 2 ? (int)(x[2] & 31) : x[2] > 32 ? 32 : (int)x[2];
    out[0] = 0;
    for (int i = 0; i < 32; i++) {
        int from = alu->aux & 1 ? i + n : 32 + i - n;
        out[0] |= (pair >> from & 1) << i;
    }
}

static void reverse(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = 0;
    for (int i = 0; i < alu->bits; i++)
        out[0] |= (x[0] >> i & 1) << (alu->bits - 1 - i);
}

static void count_ones(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = 0;
    for (int i = 0; i < alu->bits; i++)
        out[0] += x[0] >> i & 1;
}

static void leading_zeros(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = 0;
    for (int i = alu->bits - 1; i >= 0 && !(x[0] >> i & 1); i--)
        out[0]++;
}

/* aux 1: .shiftamt */
static void find(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    uint64_t a = x[0];
    out[0] = 0xFFFFFFFF;
    if (alu->is_signed && a >> (alu->bits - 1) & 1)
        a = ~a;
    for (int i = alu->bits - 1; i >= 0; i--)
        if (a >> i & 1) {
            out[0] = (uint64_t)(alu->aux ? alu->bits - 1 - i : i);
            break;
        }
}

static void field(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    int most = alu->bits - 1, position = (int)(x[1] & 255), length = (int)(x[2] & 255);
    int last = position + length - 1 < most ? position + length - 1 : most;
    uint64_t fill = alu->is_signed && length > 0 ? x[0] >> last & 1 : 0;
    out[0] = 0;
    for (int i = 0; i <= most; i++) {
        uint64_t bit = i < length && position + i <= most ? x[0] >> (position + i) & 1 : fill;
        out[0] |= bit << i;
    }
}

static void insert(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    int position = (int)(x[2] & 255), length = (int)(x[3] & 255);
    out[0] = x[1];
    for (int i = 0; i < length && position + i < alu->bits; i++) {
        out[0] &= ~((uint64_t)1 << (position + i));
        out[0] |= (x[0] >> i & 1) << (position + i);
    }
}

/* aux: the mode, 0 for none, then f4e, b4e, rc8, ecl, ecr, rc16. */
static void permute(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    unsigned char bytes[8];
    int s = (int)(x[2] & 3);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((i < 4 ? x[0] : x[1]) >> 8 * (i & 3));
    out[0] = 0;
    for (int i = 0; i < 4; i++) {
        int nibble = (int)(x[2] >> 4 * i & 15);
        const int chosen[] = {nibble & 7,    i + s,         (s - i) & 7,          s,
                              i > s ? i : s, i < s ? i : s, (i & 1) + 2 * (s & 1)};
        unsigned char byte = bytes[chosen[alu->aux]];
        if (alu->aux == 0 && nibble & 8)
            byte = byte >> 7 ? 0xFF : 0;
        out[0] |= (uint64_t)byte << 8 * i;
    }
}

static void table(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = 0;
    for (int i = 0; i < 32; i++) {
        int entry = (int)((x[0] >> i & 1) << 2 | (x[1] >> i & 1) << 1 | (x[2] >> i & 1));
        out[0] |= (uint64_t)(alu->aux >> entry & 1) << i;
    }
}

/* aux of the table with bit 8: p is (d != 0) and q, else or q. */
static void table_and_predicate(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    bool both_hold = strncmp(alu->opcode, "lop3.and", 8) == 0;
    table(alu, x, out);
    bool some = out[0] != 0, q = x[3] != 0;
    out[1] = both_hold ? some && q : some || q;
}

/* The manual's pseudo-code of bmsk, szext and fns, in numbers of 64 bits. */
static void mask_of_bits(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    bool clamp = strstr(alu->opcode, ".clamp") != NULL;
    uint64_t a = x[0] & 31, b = x[1] & 31, ones = 0xFFFFFFFF;
    uint64_t mask0 = clamp && x[0] >= 32 ? 0 : ones << a & ones;
    uint64_t mask1 = a + b >= 32 || (clamp && (x[0] >= 32 || x[1] >= 32)) ? 0 : ones << (a + b);
    out[0] = mask0 & ~mask1 & ones;
}

static void extend(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    bool too_large = strstr(alu->opcode, ".clamp") && x[1] >= 32;
    uint64_t b = x[1] & 31, mask = too_large ? 0 : 0xFFFFFFFFull << b & 0xFFFFFFFF;
    bool sign = alu->is_signed && b != 0 && !too_large && x[0] >> ((b - 1) & 31) & 1;
    out[0] = (x[0] & ~mask) | (sign ? mask : 0);
}

static void nth_set(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    (void)alu;
    int64_t offset = (int32_t)x[2], position = (int64_t)x[1];
    int64_t count = (offset < 0 ? -offset : offset) - 1;
    out[0] = 0xFFFFFFFF;
    if (offset == 0 && position < 32 && x[0] >> position & 1)
        out[0] = (uint64_t)position;
    for (; offset != 0 && position >= 0 && position<32; position += offset> 0 ? 1 : -1)
        if (x[0] >> position & 1 && count-- == 0) {
            out[0] = (uint64_t)position;
            return;
        }
}

/* Vectors: the first element is the lowest. aux: bits of one. */
static void pack(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = 0;
    for (int i = 0; i * alu->aux < alu->bits; i++)
        out[0] |= x[i] << i * alu->aux;
}
static void unpack(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    for (int i = 0; i * alu->aux < alu->bits; i++)
        out[i] = x[0] >> i * alu->aux;
}

REFERENCE(select_pred, x[2] ? x[0] : x[1])
REFERENCE(select_s32, (int32_t)x[2] >= 0 ? x[0] : x[1])
/* -0 is no less than 0; NaN selects b. */
static void select_f32(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    uint64_t c = alu->ftz ? exact_flush(x[2], &exact_f32) : x[2];
    out[0] = exact_value(c, &exact_f32) >= 0 ? x[0] : x[1];
}
REFERENCE(constant, alu->aux)

static void logic(struct alu_list *list, const char *opcode, int n, alu_reference *reference)
{
    static const char *const types[] = {"b16", "b32", "b64", "pred"};
    for (int i = 0; i < 4; i++) {
        char name[64], operands[8] = "?=";
        if (reference == is_zero && i == 3)
            continue;
        operands[0] = "hwdp"[i];
        memset(operands + 2, "hwdp"[i], (size_t)n);
        alu_opcode(name, "%s.%s", opcode, types[i]);
        alu_add(list, name, operands, &(i == 3 ? "pp" : "ii")[2 - n], reference);
        if (i == 3) {
            operands[2] = 'n';
            alu_add(list, name, operands, &"pp"[2 - n], reference);
        }
    }
}

static void shifts(struct alu_list *list)
{
    for (int i = 0; i < 3; i++) {
        char name[64], operands[8] = "?=?w";
        operands[0] = operands[2] = "hwd"[i];
        alu_opcode(name, "shl.b%d", 16 << i);
        alu_add(list, name, operands, "is", shift_left);
        for (const char *kind = "bus"; *kind; kind++) {
            alu_opcode(name, "shr.%c%d", *kind, 16 << i);
            alu_add(list, name, operands, "is", shift_right);
        }
    }
    alu_add(list, "shf.l.wrap.b32", "w=www", "iis", funnel)->aux = 2;
    alu_add(list, "shf.l.clamp.b32", "w=www", "iis", funnel)->aux = 0;
    alu_add(list, "shf.r.wrap.b32", "w=www", "iis", funnel)->aux = 3;
    alu_add(list, "shf.r.clamp.b32", "w=www", "iis", funnel)->aux = 1;
}

static void fields(struct alu_list *list)
{
    for (int i = 0; i < 2; i++) {
        char name[64];
        bool wide64 = i == 1;
        int bits = 32 << i;
        alu_opcode(name, "brev.b%d", bits);
        alu_add(list, name, wide64 ? "d=d" : "w=w", "i", reverse);
        alu_opcode(name, "popc.b%d", bits);
        alu_add(list, name, wide64 ? "w=d" : "w=w", "i", count_ones);
        alu_opcode(name, "clz.b%d", bits);
        alu_add(list, name, wide64 ? "w=d" : "w=w", "i", leading_zeros);
        for (const char *sign = "us"; *sign; sign++) {
            alu_opcode(name, "bfind.%c%d", *sign, bits);
            alu_add(list, name, wide64 ? "w=d" : "w=w", "i", find);
            alu_opcode(name, "bfind.shiftamt.%c%d", *sign, bits);
            alu_add(list, name, wide64 ? "w=d" : "w=w", "i", find)->aux = 1;
            alu_opcode(name, "bfe.%c%d", *sign, bits);
            alu_add(list, name, wide64 ? "d=dww" : "w=www", "iss", field);
        }
        alu_opcode(name, "bfi.b%d", bits);
        alu_add(list, name, wide64 ? "d=ddww" : "w=wwww", "iiss", insert);
    }
}

static void moves(struct alu_list *list)
{
    static const struct {
        char letter;
        const char *type, *kind;
    } types[] = {{'h', "b16", "x"}, {'h', "u16", "x"}, {'h', "s16", "x"}, {'w', "b32", "i"},
                 {'w', "u32", "i"}, {'w', "s32", "i"}, {'w', "f32", "f"}, {'d', "b64", "i"},
                 {'d', "u64", "i"}, {'d', "s64", "i"}, {'d', "f64", "e"}, {'h', "f16", "h"},
                 {'h', "bf16", "b"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char name[64], operands[8] = "?=??p", values[8];
        operands[0] = operands[2] = operands[3] = types[i].letter;
        values[0] = values[1] = types[i].kind[0] == 'x' ? 'i' : types[i].kind[0];
        memcpy(values + 2, "p", 2);
        alu_opcode(name, "selp.%s", types[i].type);
        alu_add(list, name, operands, values, select_pred);
        operands[4] = 'n';
        alu_add(list, name, operands, values, select_pred);
        operands[3] = '\0';
        alu_opcode(name, "mov.%s", types[i].type);
        alu_add(list, name, operands, types[i].kind, same);
        if (i >= 11) /* slct has no halves */
            continue;
        memcpy(operands + 3, (char[]){types[i].letter, 'w', '\0'}, 3);
        memcpy(values + 2, "i", 2);
        alu_opcode(name, "slct.%s.s32", types[i].type);
        alu_add(list, name, operands, values, select_s32);
        memcpy(values + 2, "f", 2);
        alu_opcode(name, "slct.%s.f32", types[i].type);
        alu_add(list, name, operands, values, select_f32);
        alu_opcode(name, "slct.ftz.%s.f32", types[i].type);
        alu_add(list, name, operands, values, select_f32);
    }
    alu_add(list, "mov.b32", "w=2h", "ii", pack)->aux = 16;
    alu_add(list, "mov.b64", "d=2w", "ii", pack)->aux = 32;
    alu_add(list, "mov.b64", "d=4h", "iiii", pack)->aux = 16;
    alu_add(list, "mov.b32", "2h=w", "i", unpack)->aux = 16;
    alu_add(list, "mov.b64", "2w=d", "i", unpack)->aux = 32;
    alu_add(list, "mov.b64", "4h=d", "i", unpack)->aux = 16;
    alu_add(list, "mov.pred", "p=p", "p", same);
    alu_add(list, "mov.pred", "p=n", "p", same);
    alu_add(list, "mov.pred", "p=i", "", constant)->aux = 1;
    alu_add(list, "mov.pred", "p=i", "", constant)->aux = 0;
}

void alu_logic(struct alu_list *list)
{
    static const char *const modes[] = {"", ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16"};
    logic(list, "and", 2, both);
    logic(list, "or", 2, either);
    logic(list, "xor", 2, one_of);
    logic(list, "not", 1, complement);
    logic(list, "cnot", 1, is_zero);
    shifts(list);
    fields(list);
    moves(list);
    for (int i = 0; i < 7; i++) {
        char name[64];
        alu_opcode(name, "prmt.b32%s", modes[i]);
        alu_add(list, name, "w=www", "iii", permute)->aux = i;
    }
    for (int i = 0; i < 256; i++)
        alu_add(list, "lop3.b32", "w=wwwi", "iii", table)->aux = i;
    for (int i = 0; i < 256; i += 17) {
        struct alu_case *alu = alu_add(list, i % 2 ? "lop3.or.b32" : "lop3.and.b32", "Dwp=wwwip",
                                       "iiip", table_and_predicate);
        alu->aux = i;
        alu->few = true;
        alu = alu_add(list, i % 2 ? "lop3.and.b32" : "lop3.or.b32",
                      i % 3 ? "D_p=wwwin" : "Dwp=wwwin", "iiip", table_and_predicate);
        alu->aux = i;
        alu->few = true;
    }
    alu_add(list, "bmsk.clamp.b32", "w=ww", "ss", mask_of_bits);
    alu_add(list, "bmsk.wrap.b32", "w=ww", "ss", mask_of_bits);
    alu_add(list, "szext.clamp.u32", "w=ww", "is", extend);
    alu_add(list, "szext.clamp.s32", "w=ww", "is", extend);
    alu_add(list, "szext.wrap.u32", "w=ww", "is", extend);
    alu_add(list, "szext.wrap.s32", "w=ww", "is", extend);
    alu_add(list, "fns.b32", "w=www", "isn", nth_set);
}
