/* Cases of ld and st: every type, vector length, space and register's width. A warp's lanes have 16
 * bytes each; those that the guard holds back keep what they had. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "tests/softcuda/alu_memory.h"

/* ---- the kernels ---------------------------------------------------------------------------- */

const char *const memory_spaces[MEMORY_PLACES] = {"",       ".global", ".shared", ".local",
                                                  ".const", ".param",  "",        ""};

static const char head[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n%s"
    ".visible .entry kernel(.param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3, "
    ".param .align 16 .b8 bytes[512])\n"
    "{ .reg .pred %%p<4>; .reg .b16 %%h<16>; .reg .b32 %%r<32>; .reg .b64 %%d<32>;\n"
    "createpolicy.fractional.L2::evict_last.b64 %%d20;\n"
    ".shared .align 16 .b8 in_shared[512]; .local .align 16 .b8 in_local[16];\n"
    "mov.u32 %%r1, %%tid.x; mul.wide.u32 %%d1, %%r1, 16; mul.wide.u32 %%d2, %%r1, 8;\n"
    "ld.param.u64 %%d3, [p0]; add.u64 %%d3, %%d3, %%d1;\n"
    "ld.param.u64 %%d4, [p1]; add.u64 %%d4, %%d4, %%d2;\n"
    "ld.param.u64 %%d5, [p2]; add.u64 %%d5, %%d5, %%d2;\n"
    "ld.param.u64 %%d6, [p3]; add.u64 %%d6, %%d6, %%d2;\n"
    "ld.global.u32 %%r2, [%%d5]; setp.ne.u32 %%p1, %%r2, 0;\n";

static void put(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void put(char *text, size_t size, const char *format, ...)
{
    size_t n = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + n, size - n, format, arguments);
    va_end(arguments);
    ck_assert_uint_lt(strlen(text), size - 1);
}

unsigned char memory_byte(int i)
{
    return (unsigned char)(mix64(0xB17E, (uint64_t)i) >> 56);
}

static void put_head(char *text, size_t size, bool table)
{
    char constants[4096] = "";
    if (table) {
        strcpy(constants, ".const .align 16 .b8 table[512] = {");
        for (int i = 0; i < 512; i++)
            put(constants, sizeof constants, "%s%d", i ? "," : "", memory_byte(i));
        strcat(constants, "};\n");
    }
    text[0] = '\0';
    put(text, size, head, constants);
}

/* %d7, or %r7, is the lane's 16 bytes in the case's place, which `from` bytes are copied to. */
static const char *put_place(char *text, size_t size, enum memory_place place, bool copied)
{
    static const char *const address[MEMORY_PLACES] = {
        "mov.u64 %d7, %d3;\n",
        "mov.u64 %d7, %d3;\n",
        "mov.u32 %r7, in_shared; mad.lo.u32 %r7, %r1, 16, %r7;\n",
        "mov.u64 %d7, in_local;\n",
        "mov.u64 %d7, table; add.u64 %d7, %d7, %d1;\n",
        "mov.u64 %d7, bytes; add.u64 %d7, %d7, %d1;\n",
        "mov.u64 %d7, in_shared; cvta.shared.u64 %d7, %d7; add.u64 %d7, %d7, %d1;\n",
        "mov.u64 %d7, in_local; cvta.local.u64 %d7, %d7;\n",
    };
    const char *name = place == MEMORY_SHARED ? "%r7" : "%d7";
    put(text, size, "%s", address[place]);
    for (int i = 0; copied && place >= MEMORY_SHARED && place != MEMORY_CONST &&
                    place != MEMORY_PARAM && i < 16;
         i++)
        put(text, size, "ld.global.u8 %%h15, [%%d3+%d]; st%s.u8 [%s+%d], %%h15;\n", i,
            memory_spaces[place], name, i);
    return name;
}

static void put_registers(char *text, size_t size, char letter, int n, int first)
{
    for (int i = 0; i < n; i++)
        put(text, size, "%s%%%c%d",
            i       ? ", "
            : n > 1 ? "{"
                    : "",
            letter == 'w' ? 'r' : letter, first + i);
    put(text, size, "%s", n > 1 ? "}" : "");
}

/* ", %d20": the cache policy of opcodes that take one. */
static const char *policy_of(const struct alu_case *alu)
{
    return strstr(alu->opcode, "L2::cache_hint") ? ", %d20" : "";
}

static int bits_of(char letter)
{
    return letter == 'h' ? 16 : letter == 'w' ? 32 : 64;
}

int memory_vector(const struct alu_case *alu)
{
    return strstr(alu->opcode, ".v4") ? 4 : strstr(alu->opcode, ".v2") ? 2 : 1;
}

void memory_write_load(const struct alu_case *alu, char *text, size_t size)
{
    enum memory_place place = (enum memory_place)alu->aux;
    char letter = alu->operands[0];
    int n = memory_vector(alu);
    put_head(text, size, place == MEMORY_CONST);
    const char *address = put_place(text, size, place, true);
    for (int i = 0; i < n; i++)
        put(text, size, "ld.global.u%d %%%c%d, [%%d4+%d];\n", bits_of(letter),
            letter == 'w' ? 'r' : letter, 10 + i, 256 * i);
    put(text, size, "@%%p1 %s ", alu->opcode);
    put_registers(text, size, letter, n, 10);
    put(text, size, ", [%s]%s;\n", address, policy_of(alu));
    for (int i = 0; i < n; i++)
        put(text, size, "st.global.u%d [%%d6+%d], %%%c%d;\n", bits_of(letter), 256 * i,
            letter == 'w' ? 'r' : letter, 10 + i);
    put(text, size, "ret; }\n");
}

void memory_write_store(const struct alu_case *alu, char *text, size_t size)
{
    enum memory_place place = (enum memory_place)alu->aux;
    char letter = alu->operands[0];
    int n = memory_vector(alu);
    put_head(text, size, false);
    const char *address = put_place(text, size, place, true);
    for (int i = 0; i < n; i++)
        put(text, size, "ld.global.u%d %%%c%d, [%%d4+%d];\n", bits_of(letter),
            letter == 'w' ? 'r' : letter, 10 + i, 256 * i);
    put(text, size, "@%%p1 %s [%s], ", alu->opcode, address);
    put_registers(text, size, letter, n, 10);
    put(text, size, "%s;\nld.param.u64 %%d8, [p3]; add.u64 %%d8, %%d8, %%d1;\n", policy_of(alu));
    for (int i = 0; i < 16; i++)
        put(text, size, "ld%s.u8 %%h15, [%s+%d]; st.global.u8 [%%d8+%d], %%h15;\n",
            memory_spaces[place], address, i, i);
    put(text, size, "ret; }\n");
}

/* Word `lane % aux2` of the place; what it held goes to a row of its own. */
void memory_write_atomic(const struct alu_case *alu, char *text, size_t size)
{
    enum memory_place place = (enum memory_place)(alu->aux & 15);
    char letter = alu->bits == 64   ? 'd'
                  : alu->bits == 16 ? 'h'
                                    : 'w',
         r = letter == 'w' ? 'r' : letter;
    bool reduction = alu->opcode[0] == 'r', cas = strstr(alu->opcode, ".cas.") != NULL;
    put_head(text, size, false);
    put_place(text, size, place, true);
    if (place == MEMORY_SHARED || place == MEMORY_GENERIC_SHARED)
        put(text, size, "mov.u64 %%d8, in_shared; %s",
            place == MEMORY_SHARED ? "" : "cvta.shared.u64 %d8, %d8;\n");
    else
        put(text, size, "ld.param.u64 %%d8, [p0];\n");
    put(text, size,
        "bar.sync 0; rem.u32 %%r3, %%r1, %d; mul.wide.u32 %%d9, %%r3, %d;\n"
        "add.u64 %%d8, %%d8, %%d9;\n",
        alu->aux >> 4, alu->bits / 8);
    put(text, size, "ld.global.u%d %%%c10, [%%d4]; ld.global.u%d %%%c11, [%%d4+256];\n", alu->bits,
        r, alu->bits, r);
    put(text, size, "ld.global.u%d %%%c12, [%%d4+512];\n", alu->bits, r);
    put(text, size, "@%%p1 %s ", alu->opcode);
    if (!reduction)
        put(text, size, "%%%c12, ", r);
    put(text, size, "[%%d8], %%%c10", r);
    if (cas)
        put(text, size, ", %%%c11", r);
    put(text, size, "%s;\nst.global.u%d [%%d6], %%%c12;\nbar.sync 0;\n", policy_of(alu), alu->bits,
        r);
    put(text, size, "ld.param.u64 %%d10, [p3]; add.u64 %%d10, %%d10, %%d1;\n");
    const char *from =
        place == MEMORY_SHARED || place == MEMORY_GENERIC_SHARED ? ".shared" : ".global";
    put(text, size, "%s",
        place == MEMORY_SHARED || place == MEMORY_GENERIC_SHARED
            ? "mov.u64 %d11, in_shared; add.u64 %d11, %d11, %d1;\n"
            : "mov.u64 %d11, %d3;\n");
    for (int i = 0; i < 16; i++)
        put(text, size, "ld%s.u8 %%h15, [%%d11+%d]; st.global.u8 [%%d10+%d], %%h15;\n", from, i,
            1024 + i);
    put(text, size, "ret; }\n");
}

/* ---- the lists ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    int bits;
    bool is_float;
} types[] = {{"b8", 8, false},   {"u8", 8, false},   {"s8", 8, false},   {"b16", 16, false},
             {"u16", 16, false}, {"s16", 16, false}, {"b32", 32, false}, {"u32", 32, false},
             {"s32", 32, false}, {"f32", 32, true},  {"b64", 64, false}, {"u64", 64, false},
             {"s64", 64, false}, {"f64", 64, true}};

static void add(struct alu_list *list, const char *opcode, const char *letters, int bits,
                bool is_float, enum memory_place place, alu_writer *writer)
{
    for (const char *letter = letters; *letter; letter++) {
        if (bits_of(*letter) < bits || (is_float && bits_of(*letter) > bits))
            continue;
        struct alu_case *alu = alu_add(list, opcode, (char[]){*letter, '\0'}, "", NULL);
        alu->written = writer;
        alu->aux = (int)place;
    }
}

static void family(struct alu_list *list, const char *first, enum memory_place place,
                   alu_writer *writer)
{
    static const char *const vectors[] = {"", ".v2", ".v4"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int v = 0; v < 3; v++) {
            char name[64];
            if (types[i].bits << v > 128)
                continue;
            alu_opcode(name, "%s%s%s.%s", first, memory_spaces[place], vectors[v], types[i].name);
            /* Through a generic address that is no global one the way is the same. */
            if (place <= MEMORY_PARAM || (v == 1 && types[i].bits == 32))
                add(list, name, "hwd", types[i].bits, types[i].is_float, place, writer);
        }
}

/* With a cache policy. */
static void hinted(struct alu_list *list)
{
    static const char *const vectors[] = {"", ".v2", ".v4"};
    for (int v = 0; v < 3; v++) {
        char name[64];
        alu_opcode(name, "ld.global.nc.L2::cache_hint%s.u32", vectors[v]);
        add(list, name, "wd", 32, false, MEMORY_GLOBAL, memory_write_load);
        alu_opcode(name, "st.global.L2::cache_hint%s.u32", vectors[v]);
        add(list, name, "wd", 32, false, MEMORY_GLOBAL, memory_write_store);
    }
}

void alu_memory(struct alu_list *list)
{
    /* Cache hints and orders change no result. */
    static const char *const loads[] = {"ld.global.nc.v4.f32",
                                        "ld.global.cg.u32",
                                        "ld.global.cs.v2.u32",
                                        "ld.global.ca.u32",
                                        "ld.global.nc.L1::no_allocate.L2::128B.v4.u32",
                                        "ld.volatile.global.u32",
                                        "ld.relaxed.gpu.global.u32",
                                        "ld.acquire.gpu.global.u32",
                                        "ld.weak.global.u32",
                                        "ldu.global.f32"};
    static const char *const stores[] = {
        "st.global.cg.u32",          "st.global.cs.v2.u32",          "st.global.wb.v4.f32",
        "st.global.wt.u32",          "st.volatile.global.u32",       "st.relaxed.gpu.global.u32",
        "st.release.gpu.global.u32", "st.global.L1::no_allocate.u32"};
    for (int place = 0; place < MEMORY_PLACES; place++) {
        family(list, "ld", (enum memory_place)place, memory_write_load);
        if (place != MEMORY_CONST && place != MEMORY_PARAM)
            family(list, "st", (enum memory_place)place, memory_write_store);
    }
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        add(list, loads[i], "w", 32, false, MEMORY_GLOBAL, memory_write_load);
    for (size_t i = 0; i < sizeof stores / sizeof *stores; i++)
        add(list, stores[i], "w", 32, false, MEMORY_GLOBAL, memory_write_store);
    hinted(list);
}

void alu_atomic(struct alu_list *list)
{
    static const char *const with_policy[] = {"atom.global.add.L2::cache_hint.u32",
                                              "atom.global.cas.L2::cache_hint.b64",
                                              "red.global.min.L2::cache_hint.s32"};
    static const struct {
        const char *operation, *types[12];
    } operations[] = {
        {"add",
         {"u32", "s32", "u64", "f32", "f64", "noftz.f16", "noftz.f16x2", "noftz.bf16",
          "noftz.bf16x2"}},
        {"min", {"u32", "s32", "u64", "s64"}},
        {"max", {"u32", "s32", "u64", "s64"}},
        {"inc", {"u32"}},
        {"dec", {"u32"}},
        {"and", {"b32", "b64"}},
        {"or", {"b32", "b64"}},
        {"xor", {"b32", "b64"}},
        {"exch", {"b32", "b64"}},
        {"cas", {"b16", "b32", "b64"}},
    };
    static const enum memory_place places[] = {MEMORY_GENERIC, MEMORY_GLOBAL, MEMORY_SHARED,
                                               MEMORY_GENERIC_SHARED};
    static const int words[] = {1, 3, 32};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        for (int t = 0; operations[i].types[t]; t++)
            for (int p = 0; p < 4; p++)
                for (int w = 0; w < 3; w++)
                    for (int reduction = 0; reduction < 2; reduction++) {
                        char name[64];
                        if (reduction && i >= 8)
                            continue;
                        alu_opcode(name, "%s%s%s.%s.%s", reduction ? "red" : "atom",
                                   w == 2 && p == 1 ? ".relaxed.gpu" : "", memory_spaces[places[p]],
                                   operations[i].operation, operations[i].types[t]);
                        struct alu_case *alu = alu_add(list, name, "", "", NULL);
                        alu->written = memory_write_atomic;
                        alu->aux = (int)places[p] | words[w] << 4;
                    }
    for (size_t i = 0; i < sizeof with_policy / sizeof *with_policy; i++) {
        struct alu_case *alu = alu_add(list, with_policy[i], "", "", NULL);
        alu->written = memory_write_atomic;
        alu->aux = MEMORY_GLOBAL | 3 << 4;
    }
}
