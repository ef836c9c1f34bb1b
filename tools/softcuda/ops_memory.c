/* ld, st, atom, red and cvta. */
#include <stdatomic.h>
#include "tools/softcuda/access_plain.h"
#include "tools/softcuda/half.h"
#include "tools/softcuda/op_fields.h"
#include "tools/softcuda/ops.h"

/* ---- loads and stores ----------------------------------------------------------------------- */

/* A loaded element as the register holds it: signed types fill a wider register with the sign. */
static inline uint64_t extend(uint64_t value, enum ptx_type type)
{
    switch (type) {
    case PTX_S8:
        return (uint64_t)(int64_t)(int8_t)value;
    case PTX_S16:
        return (uint64_t)(int64_t)(int16_t)value;
    case PTX_S32:
        return (uint64_t)(int64_t)(int32_t)value;
    default:
        return value;
    }
}

/* Registers of 16 bits lie in lanes of 32, whose upper half stays 0; those of s8 and s16 in 32 bits
 * are filled with the sign, and cut where the register has 16. */
static inline void put_element(void *registers, int lane, uint64_t value, enum ptx_type type,
                               bool wide)
{
    value = extend(value, type);
    if (wide)
        ((uint64_t *)registers)[lane] = value;
    else
        ((uint32_t *)registers)[lane] = (uint32_t)value;
}

/* Strong ones meet those of other workers: whole, and in order with what stands before and behind.
 */
static uint64_t load_strong(const unsigned char *host, int size)
{
    switch (size) {
    case 1:
        return __atomic_load_n(host, __ATOMIC_ACQUIRE);
    case 2:
        return __atomic_load_n((const uint16_t *)(const void *)host, __ATOMIC_ACQUIRE);
    case 4:
        return __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_ACQUIRE);
    default:
        return __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_ACQUIRE);
    }
}

static void store_strong(unsigned char *host, const unsigned char *from, int size)
{
    uint64_t value = 0;
    move_element(&value, from, size);
    switch (size) {
    case 1:
        __atomic_store_n(host, (uint8_t)value, __ATOMIC_RELEASE);
        return;
    case 2:
        __atomic_store_n((uint16_t *)(void *)host, (uint16_t)value, __ATOMIC_RELEASE);
        return;
    case 4:
        __atomic_store_n((uint32_t *)(void *)host, (uint32_t)value, __ATOMIC_RELEASE);
        return;
    default:
        __atomic_store_n((uint64_t *)(void *)host, value, __ATOMIC_RELEASE);
    }
}

/* The words of vectors of 4 bytes, a row a lane: rows are moved whole. */
struct rows {
    uint32_t words[WARP_LANES][4];
};

#define LOAD_ROWS(n)                                                                               \
    for (uint32_t left = access->lanes; left; left &= left - 1) {                                  \
        int l = __builtin_ctz(left);                                                               \
        memcpy(rows.words[l], access->host[l], 4 * (n));                                           \
    }

static void load_vector(struct warp *warp, const struct instruction *instruction,
                        const struct access *access)
{
    struct rows rows;
    if (instruction->vector == 4) {
        LOAD_ROWS(4)
    } else {
        LOAD_ROWS(2)
    }
    for (int element = 0; element < instruction->vector; element++) {
        if (instruction->destinations[element] < 0)
            continue;
        uint32_t *d = DESTINATION(warp, instruction, element);
        if (access->lanes == ALL_LANES)
            for (int l = 0; l < WARP_LANES; l++)
                d[l] = rows.words[l][element];
        else
            for (int l = 0; l < WARP_LANES; l++)
                d[l] = access->lanes >> l & 1 ? rows.words[l][element] : d[l];
    }
}

static void load_strong_lanes(struct warp *warp, const struct instruction *instruction,
                              const struct access *access, int element)
{
    enum ptx_type type = (enum ptx_type)instruction->type;
    int size = ptx_type_size(type);
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uint64_t value = load_strong(access->host[l] + element * size, size);
        if (instruction->half_register)
            value = extend(value, type) & 0xFFFF;
        put_element(DESTINATION(warp, instruction, element), l, value,
                    instruction->half_register ? PTX_U16 : type, instruction->wide_register);
    }
}

#define LOAD_LANES(T)                                                                              \
    for (uint32_t left = access->lanes; left; left &= left - 1) {                                  \
        int l = __builtin_ctz(left);                                                               \
        T value;                                                                                   \
        memcpy(&value, access->host[l] + at, sizeof value);                                        \
        if (wide)                                                                                  \
            ((uint64_t *)d)[l] = (uint64_t)value;                                                  \
        else                                                                                       \
            ((uint32_t *)d)[l] = (uint32_t)value & mask;                                           \
    }                                                                                              \
    return

/* Byte `at` of each lane's place and on, as put_element has it. */
static void load_lanes(void *d, const struct instruction *instruction, const struct access *access,
                       int at)
{
    bool wide = instruction->wide_register;
    uint32_t mask = instruction->half_register ? 0xFFFFu : UINT32_MAX;
    switch ((enum ptx_type)instruction->type) {
    case PTX_S8:
        LOAD_LANES(int8_t);
    case PTX_S16:
        LOAD_LANES(int16_t);
    case PTX_S32:
        LOAD_LANES(int32_t);
    default:
        break;
    }
    switch (ptx_type_size((enum ptx_type)instruction->type)) {
    case 1:
        LOAD_LANES(uint8_t);
    case 2:
        LOAD_LANES(uint16_t);
    case 4:
        LOAD_LANES(uint32_t);
    default:
        LOAD_LANES(uint64_t);
    }
}

static void load_elements(struct warp *warp, const struct instruction *instruction,
                          const struct access *access)
{
    int size = ptx_type_size((enum ptx_type)instruction->type);
    bool words = size == 4 && !instruction->wide_register && !access->strong;
    if (words && instruction->vector > 1) {
        load_vector(warp, instruction, access);
        return;
    }
    for (int element = 0; element < instruction->vector; element++) {
        if (instruction->destinations[element] < 0)
            continue;
        void *d = DESTINATION(warp, instruction, element);
        if (access->strong)
            load_strong_lanes(warp, instruction, access, element);
        else if (words && access->lanes == ALL_LANES)
            for (int l = 0; l < WARP_LANES; l++)
                memcpy((uint32_t *)d + l, access->host[l], 4);
        else
            load_lanes(d, instruction, access, element * size);
    }
}

static enum next load(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    int bytes = instruction->vector * ptx_type_size((enum ptx_type)instruction->type);
    struct access access;
    while (lanes) {
        if (!access_reach(warp, instruction, lanes, 0, instruction->offset,
                          (enum ptx_space)instruction->space, ACCESS_READ, bytes, bytes, &access))
            return NEXT_STOP;
        load_elements(warp, instruction, &access);
        access_done(warp, &access);
        lanes &= ~access.lanes;
    }
    return NEXT_GO;
}

static bool store_strong_lanes(const struct access *access, int at, const unsigned char *from,
                               int stride, int size)
{
    bool changed = false;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uint64_t old = load_strong(access->host[l] + at, size);
        changed |= memcmp(&old, from + l * stride, (size_t)size) != 0;
        store_strong(access->host[l] + at, from + l * stride, size);
    }
    return changed;
}

#define STORE_LANES(T)                                                                             \
    do {                                                                                           \
        T differ = {0};                                                                            \
        for (uint32_t left = access->lanes; left; left &= left - 1) {                              \
            int l = __builtin_ctz(left);                                                           \
            T old, fresh;                                                                          \
            memcpy(&old, access->host[l] + at, sizeof old);                                        \
            memcpy(&fresh, from + l * stride, sizeof fresh);                                       \
            memcpy(access->host[l] + at, &fresh, sizeof fresh);                                    \
            differ |= old ^ fresh;                                                                 \
        }                                                                                          \
        memcpy(changed, &differ, sizeof differ);                                                   \
    } while (0)

/* Byte `at` of each lane's place and on; true: a value has changed. size: 1, 2, 4, 8, 16. */
static bool store_lanes(const struct access *access, int at, const unsigned char *from, int stride,
                        int size)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    uint64_t changed[2] = {0};
    switch (size) {
    case 1:
        STORE_LANES(uint8_t);
        break;
    case 2:
        STORE_LANES(uint16_t);
        break;
    case 4:
        STORE_LANES(uint32_t);
        break;
    case 8:
        STORE_LANES(uint64_t);
        break;
    default:
        STORE_LANES(pair);
    }
    return (changed[0] | changed[1]) != 0;
}

static bool store_vector(const struct warp *warp, const struct instruction *instruction,
                         const struct access *access)
{
    struct rows rows;
    const uint32_t *a = SOURCE(warp, instruction, 1), *b = SOURCE(warp, instruction, 2);
    if (instruction->vector == 2) {
        for (int l = 0; l < WARP_LANES; l++)
            rows.words[l][0] = a[l], rows.words[l][1] = b[l];
    } else {
        const uint32_t *c = SOURCE(warp, instruction, 3), *d = SOURCE(warp, instruction, 4);
        for (int l = 0; l < WARP_LANES; l++) {
            rows.words[l][0] = a[l], rows.words[l][1] = b[l];
            rows.words[l][2] = c[l], rows.words[l][3] = d[l];
        }
    }
    return store_lanes(access, 0, (const unsigned char *)rows.words, 16, 4 * instruction->vector);
}

/* true: a value has changed. */
static bool store_elements(const struct warp *warp, const struct instruction *instruction,
                           const struct access *access)
{
    int size = ptx_type_size((enum ptx_type)instruction->type);
    uint32_t constants = instruction->constant_sources >> 1;
    bool changed = false;
    if (instruction->vector > 1 && size == 4 && !instruction->wide_register && !constants &&
        !access->strong)
        return store_vector(warp, instruction, access);
    for (int element = 0; element < instruction->vector; element++) {
        const unsigned char *from = SOURCE(warp, instruction, 1 + element);
        /* Constants of `r` have 8 bytes a lane. */
        int stride = instruction->wide_register || constants >> element & 1 ? 8 : 4;
        if (access->strong)
            changed |= store_strong_lanes(access, element * size, from, stride, size);
        else
            changed |= store_lanes(access, element * size, from, stride, size);
    }
    return changed;
}

static enum next store(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    int size = ptx_type_size((enum ptx_type)instruction->type), bytes = instruction->vector * size;
    struct access access;
    bool changed = false; /* who waits in a loop may go on */
    while (lanes) {
        if (!access_reach(warp, instruction, lanes, 0, instruction->offset,
                          (enum ptx_space)instruction->space, ACCESS_WRITE, bytes, bytes, &access))
            return NEXT_STOP;
        changed |= store_elements(warp, instruction, &access);
        warp->cta->n_changes += changed && access.space != PTX_LOCAL;
        lanes &= ~access.lanes;
    }
    return NEXT_GO;
}

/* ---- atomics -------------------------------------------------------------------------------- */

static uint32_t flushed(uint32_t bits, bool flush)
{
    return flush && !(bits & 0x7F800000u) ? bits & 0x80000000u : bits;
}

/* In global memory subnormal numbers are zeros of their sign, in shared memory they are not. */
static uint32_t float_add_bits(uint32_t a, uint32_t b, bool flush)
{
    float sum = float_from_bits(flushed(a, flush)) + float_from_bits(flushed(b, flush));
    return sum != sum ? 0x7FFFFFFFu : flushed(bits_from_float(sum), flush);
}

static uint64_t combine_integer(enum atomic_operation operation, uint64_t a, uint64_t b, int bits,
                                bool is_signed)
{
    int64_t sa = bits == 32 ? (int32_t)a : (int64_t)a, sb = bits == 32 ? (int32_t)b : (int64_t)b;
    switch (operation) {
    case ATOMIC_ADD:
        return a + b;
    case ATOMIC_MIN:
        return is_signed ? (sa < sb ? a : b) : (a < b ? a : b);
    case ATOMIC_MAX:
        return is_signed ? (sa > sb ? a : b) : (a > b ? a : b);
    case ATOMIC_INC:
        return a >= b ? 0 : a + 1;
    case ATOMIC_DEC:
        return a == 0 || a > b ? b : a - 1;
    case ATOMIC_AND:
        return a & b;
    case ATOMIC_OR:
        return a | b;
    case ATOMIC_XOR:
        return a ^ b;
    default:
        return b; /* exch */
    }
}

/* The new value; for cas `a == compare ? b : a`. */
static uint64_t combine(const struct instruction *instruction, uint64_t a, uint64_t b,
                        uint64_t compare, bool flush)
{
    enum atomic_operation operation = (enum atomic_operation)instruction->aux;
    enum ptx_type type = (enum ptx_type)instruction->type;
    if (operation == ATOMIC_CAS)
        return a == compare ? b : a;
    if (operation == ATOMIC_ADD && type == PTX_F32)
        return float_add_bits((uint32_t)a, (uint32_t)b, flush);
    if (operation == ATOMIC_ADD && type == PTX_F64)
        return double_bits(double_of(a) + double_of(b));
    if (operation == ATOMIC_ADD && (type == PTX_F16 || type == PTX_BF16))
        return half_add(a & 0xFFFF, b & 0xFFFF, type == PTX_BF16);
    if (operation == ATOMIC_ADD && (type == PTX_F16X2 || type == PTX_BF16X2))
        return half_add((uint16_t)a, (uint16_t)b, type == PTX_BF16X2) |
               (uint64_t)half_add((uint16_t)(a >> 16), (uint16_t)(b >> 16), type == PTX_BF16X2)
                   << 16;
    bool is_signed = type == PTX_S32 || type == PTX_S64;
    return combine_integer(operation, a, b, ptx_type_size(type) * 8, is_signed);
}

/* Other workers' atomics on the same word: a compare-exchange of the processor's own. */
#define UPDATE(T)                                                                                  \
    do {                                                                                           \
        _Atomic(T) *word = (_Atomic(T) *)(void *)host;                                             \
        T seen = atomic_load(word), next;                                                          \
        do                                                                                         \
            next = (T)combine(instruction, seen, b, compare, flush);                               \
        while (!atomic_compare_exchange_weak(word, &seen, next));                                  \
        *fresh = next;                                                                             \
        return seen;                                                                               \
    } while (0)

/* Stands for a value at a place in the sum of what atomics have changed. */
static uint64_t swap_weight(const unsigned char *host, uint64_t value)
{
    uint64_t z = (value + 1) * 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)host;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    return z ^ z >> 27;
}

static uint64_t update(const struct instruction *instruction, unsigned char *host, uint64_t b,
                       uint64_t compare, bool flush, uint64_t *fresh)
{
    switch (ptx_type_size((enum ptx_type)instruction->type)) {
    case 2:
        UPDATE(uint16_t);
    case 4:
        UPDATE(uint32_t);
    default:
        UPDATE(uint64_t);
    }
}

static uint64_t read_source(const struct warp *warp, const struct instruction *instruction,
                            int source, int lane)
{
    const unsigned char *place = SOURCE(warp, instruction, source);
    int size = ptx_type_size((enum ptx_type)instruction->type);
    bool wide = instruction->wide_register || instruction->constant_sources >> source & 1;
    uint64_t value = 0;
    move_element(&value, place + lane * (wide ? 8 : 4), size);
    return value;
}

/* Lanes go one after the other, in ascending order: one of the orders that a card may take. */
static enum next atomic(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    int size = ptx_type_size((enum ptx_type)instruction->type);
    bool cas = instruction->aux == ATOMIC_CAS;
    struct access access;
    while (lanes) {
        if (!access_reach(warp, instruction, lanes, 0, instruction->offset,
                          (enum ptx_space)instruction->space, ACCESS_ATOMIC, size, size, &access))
            return NEXT_STOP;
        for (uint32_t left = access.lanes; left; left &= left - 1) {
            int l = __builtin_ctz(left);
            uint64_t b = read_source(warp, instruction, 1 + cas, l);
            uint64_t compare = cas ? read_source(warp, instruction, 1, l) : 0;
            uint64_t fresh, old = update(instruction, access.host[l], b, compare,
                                         access.space == PTX_GLOBAL, &fresh);
            if (fresh != old) { /* 0 in sum when a lock has been taken and given back */
                warp->cta->n_swaps++;
                warp->cta->swapped +=
                    swap_weight(access.host[l], fresh) - swap_weight(access.host[l], old);
            }
            if (instruction->n_destinations > 0 && instruction->destinations[0] >= 0)
                put_element(DESTINATION(warp, instruction, 0), l, old, PTX_B64,
                            instruction->wide_register);
        }
        access_done(warp, &access);
        lanes &= ~access.lanes;
    }
    return NEXT_GO;
}

/* ---- addresses ------------------------------------------------------------------------------ */

OP1(identity, uint64_t, uint64_t, x)
#define TO_GENERIC(name, window)                                                                   \
    OP1(name, uint64_t, uint64_t, x | (uint64_t)(window) << WINDOW_SHIFT)
TO_GENERIC(from_shared, WINDOW_SHARED)
TO_GENERIC(from_local, WINDOW_LOCAL)
TO_GENERIC(from_param, WINDOW_PARAM)
OP1(without_window, uint64_t, uint64_t, x &(((uint64_t)1 << WINDOW_SHIFT) - 1))

#define IS_SPACE(name, first, last)                                                                \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const uint64_t *xs = SOURCE(warp, instruction, 0);                                         \
        uint32_t result = 0;                                                                       \
        for (int l = 0; l < WARP_LANES; l++)                                                       \
            result |=                                                                              \
                (uint32_t)(xs[l] >> WINDOW_SHIFT == (first) || xs[l] >> WINDOW_SHIFT == (last))    \
                << l;                                                                              \
        set_predicate(warp, instruction->destinations[0], lanes, result);                          \
        return NEXT_GO;                                                                            \
    }
IS_SPACE(is_global, WINDOW_HOST, WINDOW_GLOBAL)
IS_SPACE(is_shared, WINDOW_SHARED, WINDOW_SHARED)
IS_SPACE(is_local, WINDOW_LOCAL, WINDOW_LOCAL)
IS_SPACE(is_param, WINDOW_PARAM, WINDOW_PARAM)

#define CVTA(space, to_generic, from_generic)                                                      \
    {"cvta." space ".u64", "d=d", CLASS_INTEGER, to_generic},                                      \
    {                                                                                              \
        "cvta.to." space ".u64", "d=d", CLASS_INTEGER, from_generic                                \
    }

const struct form OPS_EXPORT(forms_memory)[] = {
    {"ld", "r=a", CLASS_LOAD, load},
    {"ld", "2r=a", CLASS_LOAD, load},
    {"ld", "4r=a", CLASS_LOAD, load},
    {"st", "ar", CLASS_STORE, store},
    {"st", "a2r", CLASS_STORE, store},
    {"st", "a4r", CLASS_STORE, store},
    {"atom", "r=ar", CLASS_ATOMIC, atomic},
    {"atom.cas", "r=arr", CLASS_ATOMIC, atomic},
    {"red", "ar", CLASS_ATOMIC, atomic},
    /* With a cache policy behind all others, which changes nothing here. */
    {"ld.hint", "r=ad", CLASS_LOAD, load},
    {"ld.hint", "2r=ad", CLASS_LOAD, load},
    {"ld.hint", "4r=ad", CLASS_LOAD, load},
    {"st.hint", "ard", CLASS_STORE, store},
    {"st.hint", "a2rd", CLASS_STORE, store},
    {"st.hint", "a4rd", CLASS_STORE, store},
    {"atom.hint", "r=ard", CLASS_ATOMIC, atomic},
    {"atom.cas.hint", "r=arrd", CLASS_ATOMIC, atomic},
    {"red.hint", "ard", CLASS_ATOMIC, atomic},
    CVTA("global", identity, identity),
    CVTA("const", identity, identity),
    CVTA("shared", from_shared, without_window),
    CVTA("local", from_local, without_window),
    CVTA("param", from_param, without_window),
    {"isspacep.global", "p=d", CLASS_INTEGER, is_global},
    {"isspacep.const", "p=d", CLASS_INTEGER, is_global},
    {"isspacep.shared", "p=d", CLASS_INTEGER, is_shared},
    {"isspacep.local", "p=d", CLASS_INTEGER, is_local},
    {"isspacep.param", "p=d", CLASS_INTEGER, is_param},
    {0},
};
