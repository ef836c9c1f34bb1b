/* Linear scan over live intervals (Poletto and Sarkar 1999), in the order of the instructions, the
 * liveness by the usual backward iteration over blocks. See places.h.
 *
 * A lane has its own copy of each register and its own way through the code, so that the analysis
 * is that of one thread: a write leaves the other lanes' values alone. A write under a guard ends
 * no life, since lanes that it holds back keep the value before. */
#include "tools/softcuda/places.h"

#include <stdlib.h>
#include <string.h>

/* The three kinds of places. */
enum width {
    WIDTH_PREDICATE,
    WIDTH_WORD, /* 4 bytes a lane */
    WIDTH_WIDE, /* 8 bytes a lane */
    WIDTHS,
};

struct value {
    enum width width;
    int32_t place; /* before */
    int32_t new_place;
    int begin, end; /* instructions, both included; begin > end: never used */
    int last_write; /* -1: none */
    bool own;       /* no other shares its place */
};

struct block {
    int first, last;
    int behind;             /* the block that it falls into; -1: none */
    const int32_t *targets; /* instructions that it may branch to */
    int n_targets;
    uint64_t *live_in, *live_out, *used, *defined; /* bits by value */
};

struct sharing {
    struct program *program;
    struct arena *arena;
    struct value *values;
    int n_values;
    int *value_of_place;     /* by place / 128 of the register file: index, -1 */
    int *value_of_predicate; /* by index */
    struct block *blocks;
    int n_blocks, words;
    int *block_of; /* by instruction, where it starts a block */
};

/* ---- values --------------------------------------------------------------------------------- */

static int value_at(const struct sharing *sharing, int32_t place, bool predicate)
{
    if (place < 0)
        return -1;
    return predicate ? sharing->value_of_predicate[place]
                     : sharing->value_of_place[place / (WARP_LANES * 4)];
}

/* Calls visit for each register that the instruction reads, and each that it writes. */
typedef void visit_value(struct sharing *sharing, int value, bool write, int at);

static bool keeps_frame_offsets(const struct instruction *instruction)
{
    return instruction->n_sources == 0 && instruction->n_destinations == 0;
}

static void visit_instruction(struct sharing *sharing, int at, visit_value *visit)
{
    const struct instruction *instruction = &sharing->program->instructions[at];
    if (instruction->guard >= 0)
        visit(sharing, value_at(sharing, instruction->guard, true), false, at);
    if (keeps_frame_offsets(instruction))
        return;
    for (int i = 0; i < instruction->n_sources; i++) {
        int value =
            value_at(sharing, instruction->sources[i], instruction->predicate_sources >> i & 1);
        if (value >= 0)
            visit(sharing, value, false, at);
    }
    for (int i = 0; i < instruction->n_destinations; i++) {
        int value = value_at(sharing, instruction->destinations[i],
                             instruction->predicate_destinations >> i & 1);
        if (value >= 0)
            visit(sharing, value, true, at);
    }
}

static void note_width(struct sharing *sharing, int32_t place, bool predicate, bool wide)
{
    int *index = predicate ? &sharing->value_of_predicate[place]
                           : &sharing->value_of_place[place / (WARP_LANES * 4)];
    if (place < 0 || *index >= 0 || *index == -2)
        return;
    *index = sharing->n_values;
    sharing->values[sharing->n_values++] = (struct value){
        .width = predicate ? WIDTH_PREDICATE
                 : wide    ? WIDTH_WIDE
                           : WIDTH_WORD,
        .place = place,
        .begin = INT32_MAX,
        .end = -1,
        .last_write = -1,
    };
}

static void find_values(struct sharing *sharing)
{
    struct program *program = sharing->program;
    for (int i = 0; i < program->n_fills; i++) /* not to be moved */
        sharing->value_of_place[program->fills[i].place / (WARP_LANES * 4)] = -2;
    for (int i = 0; i < program->n_registers; i++)
        note_width(sharing, program->registers[i].place, program->registers[i].predicate,
                   program->registers[i].wide);
}

/* ---- liveness ------------------------------------------------------------------------------- */

static bool get_bit(const uint64_t *bits, int i)
{
    return bits[i / 64] >> i % 64 & 1;
}
static void set_bit(uint64_t *bits, int i)
{
    bits[i / 64] |= (uint64_t)1 << i % 64;
}

static void note_block_use(struct sharing *sharing, int value, bool write, int at)
{
    const struct instruction *instruction = &sharing->program->instructions[at];
    struct block *block = &sharing->blocks[sharing->block_of[at]];
    if (!write && !get_bit(block->defined, value))
        set_bit(block->used, value);
    if (write && instruction->guard >= 0 && !get_bit(block->defined, value))
        set_bit(block->used, value); /* the lanes held back keep it */
    if (write && instruction->guard < 0)
        set_bit(block->defined, value);
}

static bool cut_blocks(struct sharing *sharing)
{
    struct program *program = sharing->program;
    int n = 0;
    for (int i = 0; i < program->n_instructions; i++) {
        n += program->instructions[i].block_start;
        sharing->block_of[i] = n - 1;
    }
    sharing->n_blocks = n;
    sharing->words = (sharing->n_values + 63) / 64 + 1;
    sharing->blocks = arena_alloc(sharing->arena, (size_t)n, sizeof *sharing->blocks);
    uint64_t *bits =
        arena_alloc(sharing->arena, 4 * (size_t)n * (size_t)sharing->words, sizeof *bits);
    if (!sharing->blocks || !bits)
        return false;
    memset(bits, 0, 4 * (size_t)n * (size_t)sharing->words * sizeof *bits);
    for (int b = 0; b < n; b++) {
        struct block *block = &sharing->blocks[b];
        *block = (struct block){.behind = -1};
        block->live_in = bits, bits += sharing->words;
        block->live_out = bits, bits += sharing->words;
        block->used = bits, bits += sharing->words;
        block->defined = bits, bits += sharing->words;
    }
    for (int i = 0; i < program->n_instructions; i++) {
        struct block *block = &sharing->blocks[sharing->block_of[i]];
        const struct instruction *instruction = &program->instructions[i];
        if (instruction->block_start)
            block->first = i;
        block->last = i;
        visit_instruction(sharing, i, note_block_use);
        /* Exits end a life as well; to take them for falling through is only cautious. */
        block->targets = branch_targets(instruction, &block->n_targets);
        bool jumps = block->n_targets > 0 && instruction->guard < 0;
        block->behind = jumps || i + 1 == program->n_instructions ? -1 : sharing->block_of[i + 1];
    }
    return true;
}

static void iterate(struct sharing *sharing)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int b = sharing->n_blocks - 1; b >= 0; b--) {
            struct block *block = &sharing->blocks[b];
            for (int w = 0; w < sharing->words; w++) {
                uint64_t out = block->behind < 0 ? 0 : sharing->blocks[block->behind].live_in[w];
                for (int i = 0; i < block->n_targets; i++)
                    out |= sharing->blocks[sharing->block_of[block->targets[i]]].live_in[w];
                uint64_t in = block->used[w] | (out & ~block->defined[w]);
                changed |= in != block->live_in[w] || out != block->live_out[w];
                block->live_in[w] = in;
                block->live_out[w] = out;
            }
        }
    }
}

static void stretch(struct value *value, int at)
{
    value->begin = at < value->begin ? at : value->begin;
    value->end = at > value->end ? at : value->end;
}

static void note_interval(struct sharing *sharing, int value, bool write, int at)
{
    stretch(&sharing->values[value], at);
    if (write)
        sharing->values[value].last_write = at;
}

static void find_intervals(struct sharing *sharing)
{
    for (int i = 0; i < sharing->program->n_instructions; i++)
        visit_instruction(sharing, i, note_interval);
    for (int b = 0; b < sharing->n_blocks; b++) {
        const struct block *block = &sharing->blocks[b];
        for (int v = 0; v < sharing->n_values; v++) {
            if (get_bit(block->live_in, v))
                stretch(&sharing->values[v], block->first);
            if (get_bit(block->live_out, v))
                stretch(&sharing->values[v], block->last);
        }
    }
    for (int v = 0; v < sharing->n_values; v++)
        sharing->values[v].own = get_bit(sharing->blocks[0].live_in, v);
}

/* ---- places --------------------------------------------------------------------------------- */

static int by_begin(const void *a, const void *b)
{
    const struct value *left = *(struct value *const *)a, *right = *(struct value *const *)b;
    return left->begin != right->begin
               ? (left->begin > right->begin) - (left->begin < right->begin)
               : (left->place > right->place) - (left->place < right->place);
}

struct slot {
    enum width width;
    int32_t place;
    int free_from; /* the first instruction at which another value may begin */
};

/* A value may begin where another ends: an instruction reads its sources before it writes. Two that
 * begin at one instruction are both its results, and have different slots. */
static bool assign(struct sharing *sharing, size_t *bytes, int *n_predicates)
{
    size_t n = (size_t)sharing->n_values;
    struct value **sorted = arena_alloc(sharing->arena, n, sizeof(struct value *));
    struct slot *slots = arena_alloc(sharing->arena, n, sizeof *slots);
    int n_slots = 0;
    if (!sorted || !slots)
        return false;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &sharing->values[i];
    qsort(sorted, n, sizeof *sorted, by_begin);
    for (size_t i = 0; i < n; i++) {
        struct value *value = sorted[i];
        struct slot *slot = NULL;
        for (int s = 0; s < n_slots && !slot && !value->own; s++)
            if (slots[s].width == value->width && slots[s].free_from <= value->begin)
                slot = &slots[s];
        if (!slot) {
            slot = &slots[n_slots++];
            slot->width = value->width;
            slot->place = value->width == WIDTH_PREDICATE ? (*n_predicates)++ : (int32_t)*bytes;
            if (value->width != WIDTH_PREDICATE)
                *bytes += (size_t)WARP_LANES * (value->width == WIDTH_WIDE ? 8 : 4);
        }
        /* A result that nobody reads is written all the same: the instruction's others are to lie
         * elsewhere. */
        bool dead = value->last_write == value->end;
        slot->free_from = value->own ? INT32_MAX : value->end + dead;
        value->new_place = slot->place;
    }
    return true;
}

static void renumber(struct sharing *sharing, int32_t *place, bool predicate)
{
    int value = value_at(sharing, *place, predicate);
    if (value >= 0)
        *place = sharing->values[value].new_place;
}

/* Fills go to the front, one behind the other. */
static int32_t move_fill(struct sharing *sharing, struct fill *fill, size_t *bytes)
{
    int32_t place = (int32_t)*bytes;
    sharing->value_of_place[fill->place / (WARP_LANES * 4)] = -3 - place / (WARP_LANES * 4);
    fill->place = place;
    *bytes += (size_t)WARP_LANES * (fill->wide ? 8 : 4);
    return place;
}

static void rewrite(struct sharing *sharing)
{
    struct program *program = sharing->program;
    for (int i = 0; i < program->n_instructions; i++) {
        struct instruction *instruction = &program->instructions[i];
        if (instruction->guard >= 0)
            renumber(sharing, &instruction->guard, true);
        if (keeps_frame_offsets(instruction))
            continue;
        for (int j = 0; j < instruction->n_sources; j++) {
            bool predicate = instruction->predicate_sources >> j & 1;
            int32_t *place = &instruction->sources[j];
            int moved =
                predicate || *place < 0 ? 0 : sharing->value_of_place[*place / (WARP_LANES * 4)];
            if (moved <= -3)
                *place = (-3 - moved) * WARP_LANES * 4;
            else
                renumber(sharing, place, predicate);
        }
        for (int j = 0; j < instruction->n_destinations; j++)
            renumber(sharing, &instruction->destinations[j],
                     instruction->predicate_destinations >> j & 1);
    }
}

static bool share(struct sharing *sharing)
{
    struct program *program = sharing->program;
    size_t n_places = program->register_bytes / (WARP_LANES * 4) + 1, bytes = 0;
    int n_predicates = 0;
    sharing->values =
        arena_alloc(sharing->arena, (size_t)program->n_registers + 1, sizeof *sharing->values);
    sharing->value_of_place = arena_alloc(sharing->arena, n_places, sizeof(int));
    sharing->value_of_predicate =
        arena_alloc(sharing->arena, (size_t)program->n_predicates + 1, sizeof(int));
    sharing->block_of = arena_alloc(sharing->arena, (size_t)program->n_instructions, sizeof(int));
    if (!sharing->values || !sharing->value_of_place || !sharing->value_of_predicate ||
        !sharing->block_of)
        return false;
    memset(sharing->value_of_place, -1, n_places * sizeof(int));
    memset(sharing->value_of_predicate, -1, ((size_t)program->n_predicates + 1) * sizeof(int));
    find_values(sharing);
    if (!cut_blocks(sharing))
        return false;
    iterate(sharing);
    find_intervals(sharing);
    for (int i = 0; i < program->n_fills; i++)
        move_fill(sharing, &program->fills[i], &bytes);
    if (!assign(sharing, &bytes, &n_predicates))
        return false;
    rewrite(sharing);
    program->register_bytes = bytes;
    program->n_predicates = n_predicates;
    return true;
}

enum status places_share(struct program *program, struct err *err)
{
    struct arena arena = {0};
    bool good = share(&(struct sharing){.program = program, .arena = &arena});
    arena_free(&arena);
    return good ? STATUS_OK : err_no_memory(err, "a program's registers", program->register_bytes);
}
