/* Cases of the carry flag: the manual's section "Extended-Precision Integer Arithmetic
 * Instructions". The sums are worked out in 128 bits and looked at above the width. */
#include <string.h>
#include "tests/softcuda/alu_scalar.h"

/* aux: the source that is the flag, 0: none. */
static wide flag(const struct alu_case *alu, const uint64_t *x)
{
    return alu->aux ? (wide)x[alu->aux] : 0;
}

static void put(const struct alu_case *alu, wide value, uint64_t *out)
{
    out[0] = (uint64_t)value;
    out[1] = (uint64_t)(value >> alu->bits & 1);
}

static void sum(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    put(alu, (wide)x[0] + x[1] + flag(alu, x), out);
}

/* Below zero all bits above the width are ones: the borrow. */
static void difference(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    put(alu, (wide)x[0] - x[1] - flag(alu, x), out);
}

/* The half of the product that is asked for has the width; only adding to it can carry. */
static void product_sum(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    wide product = (wide)V(0) * (wide)V(1);
    if (strstr(alu->opcode, ".hi"))
        product = alu->is_signed ? (wide)((wide_signed)product >> alu->bits) : product >> alu->bits;
    product &= ((wide)1 << alu->bits) - 1;
    put(alu, product + x[2] + flag(alu, x), out);
}

static void variants(struct alu_list *list, const char *base, const char *part, int n_sources,
                     alu_reference *reference)
{
    for (int i = 0; i < 12; i++) {
        bool in = i % 3 > 0, carries = i % 3 != 1, is_wide = i / 3 % 2;
        char name[64], operands[12] = "", values[8] = "iii";
        char letter = is_wide ? 'd' : 'w', result[2] = {letter, '\0'};
        alu_opcode(name, "%s%s%s%s.%c%d", base, in ? "c" : "", part, carries ? ".cc" : "",
                   "us"[i / 6], is_wide ? 64 : 32);
        strcat(strcat(operands, result), carries ? "c=" : "=");
        for (int source = 0; source < n_sources; source++)
            strcat(operands, result);
        strcat(operands, in ? "c" : "");
        strcpy(values + n_sources, in ? "p" : "");
        alu_add(list, name, operands, values, reference)->aux = in ? n_sources : 0;
    }
}

void alu_carry(struct alu_list *list)
{
    variants(list, "add", "", 2, sum);
    variants(list, "sub", "", 2, difference);
    variants(list, "mad", ".lo", 3, product_sum);
    variants(list, "mad", ".hi", 3, product_sum);
}
