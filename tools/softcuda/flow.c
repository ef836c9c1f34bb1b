/* Blocks and their order. See flow.h. */
#include "tools/softcuda/flow.h"

#include <string.h>
#include "tools/softcuda/forms.h"

struct block {
    int first, last;        /* instructions */
    int behind;             /* the block that it falls into; -1: none */
    const int32_t *targets; /* instructions that it may branch to */
    int n_targets;
    int number; /* depth-first; 0: not seen, PLACED: done */
    int place;
};
#define PLACED INT32_MAX

/* A visit that waits for the one of a successor. */
struct frame {
    int block, next; /* which successor comes next */
    int head;        /* the lowest number that it reaches */
    bool loop;       /* it is the head of a component, or within one */
    bool component;  /* the second walk: the component without its head */
};

struct order {
    const struct program *program;
    struct block *blocks;
    int n_blocks;
    int *stack, n_stack;
    struct frame *frames;
    int n_frames;
    int last_number, next_place;
};

static bool is_exit(const struct instruction *instruction)
{
    return strcmp(instruction->form->opcode, "exit") == 0;
}

static void mark_starts(struct program *program)
{
    struct instruction *instructions = program->instructions;
    instructions[0].block_start = true;
    for (int i = 0; i < program->n_instructions; i++) {
        int n;
        const int32_t *targets = branch_targets(&instructions[i], &n);
        for (int t = 0; t < n; t++)
            instructions[targets[t]].block_start = true;
        if ((n > 0 || is_exit(&instructions[i])) && i + 1 < program->n_instructions)
            instructions[i + 1].block_start = true;
    }
}

/* instruction->order is the number of its block for now. */
static void cut(struct order *order, struct program *program)
{
    for (int i = 0; i < program->n_instructions; i++) {
        if (program->instructions[i].block_start)
            order->blocks[order->n_blocks++] = (struct block){.first = i};
        program->instructions[i].order = order->n_blocks - 1;
        order->blocks[order->n_blocks - 1].last = i;
    }
    for (int b = 0; b < order->n_blocks; b++) {
        struct block *block = &order->blocks[b];
        const struct instruction *last = &program->instructions[block->last];
        block->targets = branch_targets(last, &block->n_targets);
        bool leaves = last->guard < 0 && (block->n_targets > 0 || is_exit(last));
        block->behind = !leaves && b + 1 < order->n_blocks ? b + 1 : -1;
    }
}

static void enter(struct order *order, int block)
{
    order->blocks[block].number = ++order->last_number;
    order->stack[order->n_stack++] = block;
    order->frames[order->n_frames++] = (struct frame){.block = block, .head = order->last_number};
}

/* The last place that is free goes to it: what is placed later stands before. */
static void place(struct order *order, int block)
{
    order->blocks[block].number = PLACED;
    order->blocks[block].place = order->next_place--;
}

/* All successors have been seen: a head's component is taken apart and walked again without it.
 * true: the frame has still work to do. */
static bool close_frame(struct order *order, struct frame *frame)
{
    if (frame->component) {
        place(order, frame->block);
        return false;
    }
    if (frame->head != order->blocks[frame->block].number)
        return false;
    int member = order->stack[--order->n_stack];
    while (member != frame->block) {
        order->blocks[member].number = 0;
        member = order->stack[--order->n_stack];
    }
    if (!frame->loop) {
        place(order, frame->block);
        return false;
    }
    order->blocks[frame->block].number = PLACED;
    frame->component = true;
    frame->next = 0;
    return true;
}

static void reach(struct frame *frame, int head)
{
    if (!frame->component && head <= frame->head) {
        frame->head = head;
        frame->loop = true;
    }
}

/* Of its successors the first is the block behind it; -1: none. */
static int successor(const struct order *order, int block, int number)
{
    const struct block *from = &order->blocks[block];
    return number == 0 ? from->behind
                       : order->program->instructions[from->targets[number - 1]].order;
}

static void walk(struct order *order, int root)
{
    enter(order, root);
    while (order->n_frames > 0) {
        struct frame *frame = &order->frames[order->n_frames - 1];
        if (frame->next <= order->blocks[frame->block].n_targets) {
            int next = successor(order, frame->block, frame->next++);
            if (next >= 0 && order->blocks[next].number == 0)
                enter(order, next);
            else if (next >= 0)
                reach(frame, order->blocks[next].number);
        } else if (!close_frame(order, frame)) {
            int head = frame->head;
            order->n_frames--;
            if (order->n_frames > 0)
                reach(&order->frames[order->n_frames - 1], head);
        }
    }
}

enum status flow_order(struct program *program, struct arena *arena, struct err *err)
{
    struct arena_mark mark = arena_mark(arena);
    mark_starts(program);
    size_t n = 0;
    for (int i = 0; i < program->n_instructions; i++)
        n += program->instructions[i].block_start;
    struct order order = {
        .program = program,
        .blocks = arena_alloc(arena, n, sizeof *order.blocks),
        .stack = arena_alloc(arena, n, sizeof *order.stack),
        .frames = arena_alloc(arena, n + 1, sizeof *order.frames),
    };
    if (!order.blocks || !order.stack || !order.frames)
        return err_no_memory(err, "a program's blocks", n * sizeof *order.blocks);
    cut(&order, program);
    order.next_place = order.n_blocks - 1;
    walk(&order, 0);
    for (int b = 0; b < order.n_blocks; b++) /* what nothing leads to */
        if (order.blocks[b].number != PLACED)
            walk(&order, b);
    for (int i = 0; i < program->n_instructions; i++)
        program->instructions[i].order = order.blocks[program->instructions[i].order].place;
    arena_reset(arena, mark);
    return STATUS_OK;
}
