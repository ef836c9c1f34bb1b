/* Fences, and what strong accesses tell through memory. See check_order.h. */
#include "host/base/memory.h"
#include "tools/softcuda/check_views.h"

/* A word that fenced accesses have been published at. */
struct place {
    struct place *next; /* in its slot of the table */
    const void *key;
    struct view device;
    struct view block; /* for threads of block_cta only */
    uint32_t block_cta;
};

void order_fence(struct order *order, int warp, uint32_t lanes, bool device)
{
    for (uint32_t left = lanes; left; left &= left - 1) {
        int thread = warp * WARP_LANES + __builtin_ctz(left);
        struct thread_view *own = own_view(order, thread);
        struct part *done = part_new(order);
        if (!own || !done)
            return;
        for (int t = 0; t < order->n_threads; t++)
            done->stamps[t] = order_knows(order, thread, t);
        done->stamps[thread] = order->now;
        for (int scope = 0; scope <= device; scope++) {
            struct view *fenced = &own->fenced[scope];
            view_join(order, fenced, &own->known);
            view_join(order, fenced, &order->common.known);
            atomic_fetch_add(&done->references, 1);
            view_add(order, fenced, done);
        }
        part_drop(done);
    }
    order->now++;
}

/* ---- places --------------------------------------------------------------------------------- */

static size_t slot_of(const struct places *places, const void *key)
{
    uint64_t z = (uint64_t)(uintptr_t)key / 2 * 0x9E3779B97F4A7C15u;
    return (size_t)(z >> 32) & (size_t)(places->capacity - 1);
}

static struct place *find(const struct places *places, const void *key)
{
    if (places->capacity == 0)
        return NULL;
    struct place *place = places->table[slot_of(places, key)];
    while (place && place->key != key)
        place = place->next;
    return place;
}

static bool grow(struct places *places)
{
    struct places larger = {.capacity = places->capacity ? 2 * places->capacity : 64};
    larger.table = mem_alloc_zero((size_t)larger.capacity, sizeof *larger.table);
    if (!larger.table)
        return false;
    for (int i = 0; i < places->capacity; i++)
        for (struct place *place = places->table[i], *next; place; place = next) {
            next = place->next;
            struct place **slot = &larger.table[slot_of(&larger, place->key)];
            place->next = *slot;
            *slot = place;
        }
    mem_free(places->table);
    places->table = larger.table;
    places->capacity = larger.capacity;
    return true;
}

static struct place *find_or_add(struct places *places, const void *key)
{
    struct place *place = find(places, key);
    if (place)
        return place;
    if (places->count >= places->capacity && !grow(places))
        return NULL;
    place = mem_alloc_zero(1, sizeof *place);
    if (!place)
        return NULL;
    struct place **slot = &places->table[slot_of(places, key)];
    *place = (struct place){.key = key, .next = *slot};
    *slot = place;
    places->count++;
    return place;
}

void order_publish(struct order *order, struct places *places, int thread, const void *key,
                   bool modifies)
{
    const struct thread_view *own = order->any_own ? &order->threads[thread] : NULL;
    bool any = order->common.fenced[0].count > 0 || (own && own->fenced[0].count > 0);
    if (!any && atomic_load(&places->count) == 0)
        return;
    pthread_mutex_lock(&places->lock);
    struct place *place = any ? find_or_add(places, key) : find(places, key);
    if (place && !modifies)
        view_clear(&place->device);
    if (place && (!modifies || place->block_cta != order->cta)) {
        view_clear(&place->block);
        place->block_cta = order->cta;
    }
    if (place) {
        view_join(order, &place->block, &order->common.fenced[0]);
        view_join(order, &place->device, &order->common.fenced[1]);
    }
    if (place && own) {
        view_join(order, &place->block, &own->fenced[0]);
        view_join(order, &place->device, &own->fenced[1]);
    }
    if (any && !place)
        order->no_memory = true;
    pthread_mutex_unlock(&places->lock);
}

void order_acquire(struct order *order, struct places *places, int thread, const void *key)
{
    if (atomic_load(&places->count) == 0)
        return;
    pthread_mutex_lock(&places->lock);
    const struct place *place = find(places, key);
    if (place && (place->device.count > 0 || place->block.count > 0)) {
        struct thread_view *own = own_view(order, thread);
        if (own)
            view_join(order, &own->known, &place->device);
        if (own && place->block_cta == order->cta)
            view_join(order, &own->known, &place->block);
    }
    pthread_mutex_unlock(&places->lock);
}

void places_close(struct places *places)
{
    for (int i = 0; i < places->capacity; i++)
        for (struct place *place = places->table[i], *next; place; place = next) {
            next = place->next;
            view_clear(&place->device);
            view_clear(&place->block);
            mem_free(place);
        }
    mem_free(places->table);
    places->table = NULL;
    places->count = places->capacity = 0;
}
