/* Byte-pair encoding: the table of pieces, the table of merges, and merging. See
 * tokenizer_internal.h.
 *
 * The table of merges serves both kinds of tokenizer: pairs of ids give a rank and the id of the
 * joined piece, so that no text is touched while a word is merged. */
#include "loaders/tokenizer_internal.h"

#include <string.h>

/* ---- growing bytes -------------------------------------------------------------------------- */

bool bytes_add(struct bytes *bytes, const char *data, size_t length)
{
    if (length > BYTES_LARGEST - bytes->length)
        return false;
    size_t need = bytes->length + length;
    if (need > bytes->capacity) {
        size_t capacity = need + need / 2 + 64;
        char *grown = mem_resize(bytes->data, capacity, 1);
        if (!grown)
            return false;
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (length > 0)
        memcpy(bytes->data + bytes->length, data, length);
    bytes->length = need;
    return true;
}

/* ---- vocabulary ----------------------------------------------------------------------------- */

static uint64_t load_word(const char *text, size_t length)
{
    uint64_t word = 0;
    memcpy(&word, text, length < sizeof word ? length : sizeof word);
    return word;
}

/* Eight bytes at a time, multiplied and folded; the length is mixed in for texts that end in 0
 * bytes. */
static uint32_t text_hash(const char *text, size_t length)
{
    uint64_t hash = length * 0x9E3779B97F4A7C15u;
    for (;; text += 8, length -= 8) {
        hash = (hash ^ load_word(text, length)) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
        if (length <= 8)
            break;
    }
    hash *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(hash >> 32);
}

static void slot_insert(struct vocabulary *vocabulary, uint32_t hash, int32_t id)
{
    uint32_t at = hash & vocabulary->mask;
    while (vocabulary->slots[at].id >= 0)
        at = (at + 1) & vocabulary->mask;
    vocabulary->slots[at] = (struct vocabulary_slot){.hash = hash, .id = id};
}

/* Outgrown tables stay in the arena: they double, so together they take no more than the last. */
bool vocabulary_reserve(struct vocabulary *vocabulary, struct arena *arena, int32_t n_ids)
{
    if (n_ids > vocabulary->capacity) {
        struct piece *pieces = arena_alloc(arena, (size_t)n_ids, sizeof *pieces);
        if (!pieces)
            return false;
        if (vocabulary->count > 0)
            memcpy(pieces, vocabulary->pieces, (size_t)vocabulary->count * sizeof *pieces);
        vocabulary->pieces = pieces;
        vocabulary->capacity = n_ids;
    }
    uint32_t n_slots = vocabulary->slots ? vocabulary->mask + 1 : 0;
    if (n_slots / 2 >= (uint32_t)n_ids)
        return true;
    if (n_slots == 0)
        n_slots = 64;
    while (n_slots / 2 < (uint32_t)n_ids)
        n_slots *= 2;
    struct vocabulary_slot *old = vocabulary->slots;
    uint32_t n_old = old ? vocabulary->mask + 1 : 0;
    vocabulary->slots = arena_alloc(arena, n_slots, sizeof *vocabulary->slots);
    if (!vocabulary->slots) {
        vocabulary->slots = old;
        return false;
    }
    vocabulary->mask = n_slots - 1;
    for (uint32_t i = 0; i < n_slots; i++)
        vocabulary->slots[i].id = -1;
    for (uint32_t i = 0; i < n_old; i++)
        if (old[i].id >= 0)
            slot_insert(vocabulary, old[i].hash, old[i].id);
    return true;
}

#define POOL_BLOCK ((size_t)1 << 16)

char *vocabulary_text(struct vocabulary *vocabulary, struct arena *arena, const char *text,
                      size_t length)
{
    if (length > vocabulary->pool_left) {
        size_t block = length > POOL_BLOCK / 4 ? length : POOL_BLOCK;
        char *fresh = arena_alloc(arena, block, 1);
        if (!fresh)
            return NULL;
        if (block == length) { /* a block of its own; the shared one goes on */
            memcpy(fresh, text, length);
            return fresh;
        }
        vocabulary->pool = fresh;
        vocabulary->pool_left = block;
    }
    char *copy = vocabulary->pool;
    if (length > 0)
        memcpy(copy, text, length);
    vocabulary->pool += length;
    vocabulary->pool_left -= length;
    return copy ? copy : arena_alloc(arena, 1, 1);
}

static int32_t find_hashed(const struct vocabulary *vocabulary, uint32_t hash, const char *text,
                           size_t length)
{
    if (!vocabulary->slots)
        return -1;
    for (uint32_t at = hash & vocabulary->mask;; at = (at + 1) & vocabulary->mask) {
        struct vocabulary_slot slot = vocabulary->slots[at];
        if (slot.id < 0)
            return -1;
        if (slot.hash != hash)
            continue;
        const struct piece *piece = &vocabulary->pieces[slot.id];
        if (piece->length == length && memcmp(piece->text, text, length) == 0)
            return slot.id;
    }
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length)
{
    return find_hashed(vocabulary, text_hash(text, length), text, length);
}

int32_t vocabulary_find_symbol(const struct vocabulary *vocabulary, const char *text, size_t length)
{
    int32_t id = vocabulary_find(vocabulary, text, length);
    if (id < 0)
        return -1;
    enum piece_kind kind = vocabulary->pieces[id].kind;
    return kind == PIECE_NORMAL || kind == PIECE_CHARACTER ? id : -1;
}

bool vocabulary_add(struct vocabulary *vocabulary, struct arena *arena, int32_t id,
                    const char *text, size_t length, enum piece_kind kind, int32_t *taken)
{
    uint32_t hash = text_hash(text, length);
    *taken = find_hashed(vocabulary, hash, text, length);
    if (*taken >= 0)
        return true;
    int32_t need = id >= vocabulary->count ? id + 1 : vocabulary->count;
    if (need > vocabulary->capacity || !vocabulary->slots) {
        int32_t grown = need < VOCABULARY_LARGEST / 2 ? 2 * need : need;
        if (!vocabulary_reserve(vocabulary, arena, grown))
            return false;
    }
    char *copy = vocabulary_text(vocabulary, arena, text, length);
    if (!copy)
        return false;
    for (int32_t i = vocabulary->count; i < need; i++)
        vocabulary->pieces[i] = (struct piece){.text = "", .surface = "", .kind = PIECE_ABSENT};
    vocabulary->count = need;
    vocabulary->pieces[id] =
        (struct piece){.text = copy, .surface = "", .length = (uint32_t)length, .kind = kind};
    slot_insert(vocabulary, hash, id);
    return true;
}

/* ---- the table of merges -------------------------------------------------------------------- */

#define PAIR_EMPTY UINT64_MAX

static inline uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The slot of the pair, or the empty one where it would go. */
static inline struct merge_slot *pair_slot(const struct merges *merges, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right);
    for (uint64_t at = pair_hash(left, right) & merges->mask;; at = (at + 1) & merges->mask) {
        struct merge_slot *slot = &merges->slots[at];
        if (slot->pair == pair || slot->pair == PAIR_EMPTY)
            return slot;
    }
}

static inline uint32_t pair_rank(const struct merges *merges, int32_t left, int32_t right,
                                 int32_t *result)
{
    const struct merge_slot *slot = pair_slot(merges, left, right);
    if (slot->pair == PAIR_EMPTY)
        return RANK_NONE;
    *result = slot->result;
    return slot->rank;
}

/* The piece of the last (or first) character of a piece: the symbol that stands at that end before
 * any merge. -1 where that character has none, and the piece therefore is never reached. */
static int32_t end_symbol(const struct vocabulary *vocabulary, const struct piece *piece, bool last)
{
    const char *text = piece->text;
    size_t length = piece->length;
    if (length == 0)
        return -1;
    size_t start = 0, n = 1;
    if (last) {
        start = length - 1;
        while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
            start--;
        n = length - start;
    } else {
        while (n < length && ((unsigned char)text[n] & 0xC0) == 0x80)
            n++;
    }
    return vocabulary_find(vocabulary, text + start, n);
}

/* Whether a piece ends (or starts) with the text of a token that stands for something else, such as
 * "<0x0A>": its end then need not be a character. */
static bool ends_in_fallback(const struct vocabulary *vocabulary, const struct piece *piece,
                             bool last, const int32_t *fallback, int n_fallback)
{
    for (int i = 0; i < n_fallback; i++) {
        const struct piece *other = &vocabulary->pieces[fallback[i]];
        if (other->length == 0 || other->length > piece->length)
            continue;
        const char *end = last ? piece->text + piece->length - other->length : piece->text;
        if (memcmp(end, other->text, other->length) == 0)
            return true;
    }
    return false;
}

/* Byte tokens all look like "<0xXX>": most pieces are done with after one comparison. */
static bool may_end_in_fallback(const struct piece *piece, bool last, bool only_bytes)
{
    return !only_bytes || piece->text[last ? piece->length - 1 : 0] == (last ? '>' : '<');
}

static bool build_crossings(struct merges *merges, struct arena *arena,
                            const struct vocabulary *vocabulary, const struct merge *list, size_t n,
                            const int32_t *fallback, int n_fallback)
{
    bool only_bytes = true;
    for (int i = 0; i < n_fallback; i++) {
        const struct piece *piece = &vocabulary->pieces[fallback[i]];
        only_bytes = only_bytes && piece->length > 0 && piece->text[0] == '<' &&
                     piece->text[piece->length - 1] == '>';
    }
    uint64_t *crossings = arena_alloc(arena, CROSSING_BITS / 64, sizeof *crossings);
    if (!crossings)
        return false;
    memset(crossings, 0, CROSSING_BITS / 8);
    for (size_t i = 0; i < n; i++) {
        const struct piece *left = &vocabulary->pieces[list[i].left];
        const struct piece *right = &vocabulary->pieces[list[i].right];
        if (left->length == 0 || right->length == 0)
            continue;
        if ((may_end_in_fallback(left, true, only_bytes) &&
             ends_in_fallback(vocabulary, left, true, fallback, n_fallback)) ||
            (may_end_in_fallback(right, false, only_bytes) &&
             ends_in_fallback(vocabulary, right, false, fallback, n_fallback)))
            return true; /* rare, and not worth a finer answer: leave every pair open */
        uint32_t bit = (uint32_t)pair_hash(end_symbol(vocabulary, left, true),
                                           end_symbol(vocabulary, right, false)) &
                       (CROSSING_BITS - 1);
        crossings[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    merges->crossings = crossings;
    return true;
}

bool merges_build(struct merges *merges, struct arena *arena, const struct vocabulary *vocabulary,
                  const struct merge *list, size_t n, const int32_t *fallback, int n_fallback)
{
    uint64_t n_slots = 64;
    while (n_slots / 2 < n)
        n_slots *= 2;
    merges->slots = arena_alloc(arena, n_slots, sizeof *merges->slots);
    if (!merges->slots)
        return false;
    merges->mask = n_slots - 1;
    memset(merges->slots, 0xFF, n_slots * sizeof *merges->slots); /* PAIR_EMPTY */
    for (size_t i = 0; i < n; i++)
        *pair_slot(merges, list[i].left, list[i].right) =
            (struct merge_slot){.pair = pair_of(list[i].left, list[i].right),
                                .rank = list[i].rank,
                                .result = list[i].result};
    return build_crossings(merges, arena, vocabulary, list, n, fallback, n_fallback);
}

/* ---- merging -------------------------------------------------------------------------------- */

/* Below this many symbols looking for the smallest rank each time beats a heap. */
#define SHORT_RUN 48

static size_t merge_short(const struct merges *merges, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_RUN]; /* of the pair (i, i + 1) */
    int32_t results[SHORT_RUN];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = pair_rank(merges, ids[i], ids[i + 1], &results[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == RANK_NONE)
            break;
        ids[best] = results[best];
        n--;
        for (size_t i = best + 1; i < n; i++)
            ids[i] = ids[i + 1];
        for (size_t i = best; i + 1 < n; i++) {
            ranks[i] = ranks[i + 1];
            results[i] = results[i + 1];
        }
        if (best > 0)
            ranks[best - 1] = pair_rank(merges, ids[best - 1], ids[best], &results[best - 1]);
        if (best + 1 < n)
            ranks[best] = pair_rank(merges, ids[best], ids[best + 1], &results[best]);
    }
    return n;
}

/* A binary heap of rank << 32 | position: the smallest rank first, then the leftmost. */
static void heap_sift_down(uint64_t *heap, size_t n, size_t at)
{
    uint64_t value = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= value)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

static void heap_push(uint64_t *heap, size_t n, uint64_t value)
{
    size_t at = n;
    while (at > 0 && heap[(at - 1) / 2] > value) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = value;
}

/* The symbols form a list: a merge keeps the left one's place and takes the right one out. An entry
 * of the heap is stale when the rank at its place has changed since. */
struct long_run {
    int32_t *ids;
    uint32_t *next, *previous; /* next is n at the end */
    uint32_t *ranks;           /* of the symbol with the one behind it; RANK_NONE also when gone */
    int32_t *results;
    uint64_t *heap;
    size_t n, n_heap;
};

static void long_run_rank(const struct merges *merges, struct long_run *run, uint32_t at)
{
    uint32_t right = run->next[at];
    run->ranks[at] = right < run->n
                         ? pair_rank(merges, run->ids[at], run->ids[right], &run->results[at])
                         : RANK_NONE;
}

static void long_run_push(struct long_run *run, uint32_t at)
{
    if (run->ranks[at] != RANK_NONE)
        heap_push(run->heap, run->n_heap++, (uint64_t)run->ranks[at] << 32 | at);
}

static size_t merge_long(const struct merges *merges, int32_t *ids, size_t n,
                         struct merge_scratch *scratch)
{
    /* Each merge takes an entry off and puts at most two in: never more than 2 n. */
    size_t need = n * (2 * sizeof(uint64_t) + 4 * sizeof(uint32_t));
    if (need > scratch->capacity) {
        mem_free(scratch->memory);
        scratch->capacity = 0;
        scratch->memory = mem_alloc(need, 1);
        if (!scratch->memory)
            return SIZE_MAX;
        scratch->capacity = need;
    }
    struct long_run run = {.ids = ids, .n = n, .heap = scratch->memory};
    run.next = (uint32_t *)(run.heap + 2 * n);
    run.previous = run.next + n;
    run.ranks = run.previous + n;
    run.results = (int32_t *)(run.ranks + n);
    for (uint32_t i = 0; i < n; i++) {
        run.next[i] = i + 1;
        run.previous[i] = i - 1; /* of the first: never looked at */
    }
    for (uint32_t i = 0; i < n; i++) {
        long_run_rank(merges, &run, i);
        if (run.ranks[i] != RANK_NONE)
            run.heap[run.n_heap++] = (uint64_t)run.ranks[i] << 32 | i;
    }
    for (size_t i = run.n_heap / 2; i-- > 0;)
        heap_sift_down(run.heap, run.n_heap, i);
    while (run.n_heap > 0) {
        uint64_t top = run.heap[0];
        run.heap[0] = run.heap[--run.n_heap];
        if (run.n_heap > 0)
            heap_sift_down(run.heap, run.n_heap, 0);
        uint32_t at = (uint32_t)top;
        if (run.ranks[at] != (uint32_t)(top >> 32))
            continue;
        uint32_t gone = run.next[at];
        ids[at] = run.results[at];
        run.next[at] = run.next[gone];
        if (run.next[gone] < n)
            run.previous[run.next[gone]] = at;
        run.ranks[gone] = RANK_NONE;
        long_run_rank(merges, &run, at);
        long_run_push(&run, at);
        if (at > 0) {
            long_run_rank(merges, &run, run.previous[at]);
            long_run_push(&run, run.previous[at]);
        }
    }
    size_t left = 0;
    for (uint32_t i = 0; i < n; i = run.next[i])
        ids[left++] = ids[i];
    return left;
}

size_t merges_apply(const struct merges *merges, int32_t *ids, size_t n,
                    struct merge_scratch *scratch)
{
    if (n <= SHORT_RUN)
        return n < 2 ? n : merge_short(merges, ids, n);
    return merge_long(merges, ids, n, scratch);
}
