/* Clocks within a CTA. See check_order.h; flags in memory are in check_places.c. */
#include "tools/softcuda/check_order.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/check_views.h"

/* ---- views ---------------------------------------------------------------------------------- */

void part_drop(struct part *part)
{
    if (atomic_fetch_sub(&part->references, 1) == 1)
        mem_free(part);
}

struct part *part_new(struct order *order)
{
    struct part *part =
        mem_alloc_zero(1, sizeof *part + (size_t)order->n_threads * sizeof part->stamps[0]);
    if (!part) {
        order->no_memory = true;
        return NULL;
    }
    part->references = 1;
    part->cta = order->cta;
    return part;
}

void view_clear(struct view *view)
{
    for (int i = 0; i < view->count; i++)
        part_drop(view->parts[i]);
    mem_free(view->parts);
    *view = (struct view){0};
}

const struct part *view_find(const struct view *view, uint32_t cta)
{
    int low = 0, high = view->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (view->parts[middle]->cta < cta)
            low = middle + 1;
        else
            high = middle;
    }
    return low < view->count && view->parts[low]->cta == cta ? view->parts[low] : NULL;
}

/* The later of both for each thread: one of the two where it has all, else a new part. */
static struct part *part_join(struct order *order, struct part *a, struct part *b)
{
    bool a_has_all = true, b_has_all = true;
    for (int i = 0; a != b && i < order->n_threads; i++) {
        a_has_all &= a->stamps[i] >= b->stamps[i];
        b_has_all &= b->stamps[i] >= a->stamps[i];
    }
    struct part *same = a_has_all ? a : b_has_all ? b : NULL;
    if (same) {
        atomic_fetch_add(&same->references, 1);
        return same;
    }
    struct part *part = part_new(order);
    if (!part)
        return NULL;
    part->cta = a->cta;
    for (int i = 0; i < order->n_threads; i++)
        part->stamps[i] = a->stamps[i] > b->stamps[i] ? a->stamps[i] : b->stamps[i];
    return part;
}

void view_join(struct order *order, struct view *into, const struct view *from)
{
    if (from->count == 0 || into == from)
        return;
    struct view joined = {.capacity = into->count + from->count};
    joined.parts = mem_alloc((size_t)joined.capacity, sizeof(void *));
    if (!joined.parts) {
        order->no_memory = true;
        return;
    }
    int i = 0, j = 0;
    while (i < into->count || j < from->count) {
        struct part *a = i < into->count ? into->parts[i] : NULL;
        struct part *b = j < from->count ? from->parts[j] : NULL;
        struct part *part = !b || (a && a->cta < b->cta) ? a : !a || b->cta < a->cta ? b : NULL;
        i += part == a || !part;
        j += part == b || !part;
        if (part)
            atomic_fetch_add(&part->references, 1);
        else
            part = part_join(order, a, b);
        if (part)
            joined.parts[joined.count++] = part;
    }
    view_clear(into);
    *into = joined;
}

void view_add(struct order *order, struct view *into, struct part *part)
{
    if (!part)
        return;
    struct view one = {.parts = &part, .count = 1};
    view_join(order, into, &one);
    part_drop(part);
}

static void thread_view_clear(struct thread_view *view)
{
    view_clear(&view->known);
    view_clear(&view->fenced[0]);
    view_clear(&view->fenced[1]);
}

static void thread_view_join(struct order *order, struct thread_view *into,
                             const struct thread_view *from)
{
    view_join(order, &into->known, &from->known);
    view_join(order, &into->fenced[0], &from->fenced[0]);
    view_join(order, &into->fenced[1], &from->fenced[1]);
}

struct thread_view *own_view(struct order *order, int thread)
{
    if (!order->threads)
        order->threads = mem_alloc_zero((size_t)order->n_threads, sizeof *order->threads);
    if (!order->threads) {
        order->no_memory = true;
        return NULL;
    }
    order->any_own = order->lane_wise = true;
    return &order->threads[thread];
}

/* ---- a CTA ---------------------------------------------------------------------------------- */

bool order_open(struct order *order, uint32_t cta, int n_threads)
{
    *order = (struct order){.cta = cta, .now = 1, .n_threads = n_threads};
    order->n_warps = (n_threads + WARP_LANES - 1) / WARP_LANES;
    order->warps =
        mem_alloc_zero((size_t)order->n_warps * (size_t)order->n_warps, sizeof *order->warps);
    return order->warps != NULL;
}

void order_close(struct order *order)
{
    for (int i = 0; order->threads && i < order->n_threads; i++)
        thread_view_clear(&order->threads[i]);
    for (int i = 0; i < BARRIERS; i++) {
        thread_view_clear(&order->barriers[i].threads);
        mem_free(order->barriers[i].warps);
    }
    thread_view_clear(&order->common);
    mem_free(order->threads);
    mem_free(order->warps);
    *order = (struct order){0};
}

static uint32_t *row(const struct order *order, int warp)
{
    return order->warps + (size_t)warp * (size_t)order->n_warps;
}

static bool view_covers(const struct view *view, uint32_t cta, int other, uint32_t stamp)
{
    const struct part *part = view->count > 0 ? view_find(view, cta) : NULL;
    return part && part->stamps[other] >= stamp;
}

bool order_before(const struct order *order, int thread, uint32_t cta, int other, uint32_t stamp)
{
    if (cta == order->cta && (thread == other || stamp <= order->floor ||
                              stamp <= row(order, thread / WARP_LANES)[other / WARP_LANES]))
        return true;
    return view_covers(&order->common.known, cta, other, stamp) ||
           (order->any_own && view_covers(&order->threads[thread].known, cta, other, stamp));
}

uint32_t order_knows(const struct order *order, int thread, int other)
{
    uint32_t stamp = row(order, thread / WARP_LANES)[other / WARP_LANES];
    stamp = stamp > order->floor ? stamp : order->floor;
    const struct part *own =
        order->any_own ? view_find(&order->threads[thread].known, order->cta) : NULL;
    return own && own->stamps[other] > stamp ? own->stamps[other] : stamp;
}

/* The views of these lanes, joined into *all. */
static void gather(struct order *order, int warp, uint32_t lanes, struct thread_view *all)
{
    for (uint32_t left = lanes; order->any_own && left; left &= left - 1)
        thread_view_join(order, all, &order->threads[warp * WARP_LANES + __builtin_ctz(left)]);
}

static void spread(struct order *order, int warp, uint32_t lanes, const struct thread_view *all)
{
    if (all->known.count == 0 && all->fenced[0].count == 0)
        return;
    for (uint32_t left = lanes; left; left &= left - 1) {
        struct thread_view *own = own_view(order, warp * WARP_LANES + __builtin_ctz(left));
        if (own)
            thread_view_join(order, own, all);
    }
}

/* What these lanes have done up to now. */
static struct part *done_by(struct order *order, int warp, uint32_t lanes)
{
    struct part *part = part_new(order);
    for (uint32_t left = lanes; part && left; left &= left - 1)
        part->stamps[warp * WARP_LANES + __builtin_ctz(left)] = order->now;
    return part;
}

void order_warp_sync(struct order *order, int warp, uint32_t lanes, uint32_t live)
{
    struct thread_view all = {0};
    if (lanes == live)
        row(order, warp)[warp] = order->now;
    else
        view_add(order, &all.known, done_by(order, warp, lanes));
    gather(order, warp, lanes, &all);
    spread(order, warp, lanes, &all);
    thread_view_clear(&all);
    order->now++;
}

void order_arrive(struct order *order, int warp, uint32_t lanes, uint32_t live, int number)
{
    struct barrier_view *barrier = &order->barriers[number];
    if (!barrier->warps)
        barrier->warps = mem_alloc_zero((size_t)order->n_warps, sizeof *barrier->warps);
    if (!barrier->warps) {
        order->no_memory = true;
        return;
    }
    for (int w = 0; w < order->n_warps; w++) {
        uint32_t stamp = w == warp && lanes == live ? order->now : row(order, warp)[w];
        barrier->warps[w] = stamp > barrier->warps[w] ? stamp : barrier->warps[w];
    }
    if (lanes != live)
        view_add(order, &barrier->threads.known, done_by(order, warp, lanes));
    gather(order, warp, lanes, &barrier->threads);
    order->now++;
}

void order_release_all(struct order *order)
{
    order->floor = order->now++;
    for (int t = 0; order->any_own && t < order->n_threads; t++) {
        thread_view_join(order, &order->common, &order->threads[t]);
        thread_view_clear(&order->threads[t]);
    }
    order->any_own = false;
}

void order_release(struct order *order, int number, const uint32_t *waiting, const uint32_t *live)
{
    struct barrier_view *barrier = &order->barriers[number];
    if (!barrier->warps) /* no memory, long since */
        return;
    for (int warp = 0; warp < order->n_warps; warp++) {
        if (!waiting[warp])
            continue;
        struct thread_view more = {0};
        if (waiting[warp] == live[warp]) {
            for (int w = 0; w < order->n_warps; w++)
                if (barrier->warps[w] > row(order, warp)[w])
                    row(order, warp)[w] = barrier->warps[w];
        } else { /* some lanes only: they learn it for themselves */
            struct part *part = part_new(order);
            for (int t = 0; part && t < order->n_threads; t++)
                part->stamps[t] = barrier->warps[t / WARP_LANES];
            view_add(order, &more.known, part);
        }
        thread_view_join(order, &more, &barrier->threads);
        spread(order, warp, waiting[warp], &more);
        thread_view_clear(&more);
    }
    memset(barrier->warps, 0, (size_t)order->n_warps * sizeof *barrier->warps);
    thread_view_clear(&barrier->threads);
    order->now++;
}
