/* See train_batch.h. */
#include "host/train_batch.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory --------------------------------------------------------------------------------- */

size_t train_numbers_carve(struct train_numbers *numbers, const struct objective_settings *settings,
                           void *block)
{
    size_t tokens = (size_t)settings->n_tokens, texts = (size_t)settings->n_texts;
    bool next = settings->kind == OBJECTIVE_NEXT_TOKEN;
    bool classify = settings->kind == OBJECTIVE_CLASSIFY;
    bool contrast = settings->kind == OBJECTIVE_CONTRASTIVE;
    size_t pairs = (size_t)settings->largest_unit / 2;
    size_t units = contrast ? texts / (size_t)settings->largest_unit : 0;
    const struct {
        void *pointer;
        size_t bytes;
    } arrays[] = {
        {&numbers->tokens, tokens * sizeof(int32_t)},
        {&numbers->positions, tokens * sizeof(int32_t)},
        {&numbers->next, next ? tokens * sizeof(int32_t) : 0},
        {&numbers->cu_seqlens, (texts + 1) * sizeof(int32_t)},
        {&numbers->token_units, (texts + 1) * sizeof(int32_t)},
        {&numbers->text_units, (texts + 1) * sizeof(int32_t)},
        {&numbers->labels, classify ? texts * sizeof(int32_t) : 0},
        {&numbers->mean_begin, contrast ? texts * sizeof(int32_t) : 0},
        {&numbers->mean_end, contrast ? texts * sizeof(int32_t) : 0},
        {&numbers->excluded, units * pairs * pairs},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        char *at = block && arrays[i].bytes > 0 ? (char *)block + used : NULL;
        if (block)
            memcpy(arrays[i].pointer, &at, sizeof at);
        used += (arrays[i].bytes + 63) / 64 * 64;
    }
    return used;
}

/* ---- packing -------------------------------------------------------------------------------- */

int train_batch_tokens(const struct train_data *data, const int *texts, int n)
{
    int tokens = 0;
    for (int i = 0; i < n; i++)
        tokens += data->texts[texts[i]].n_tokens;
    return tokens;
}

/* What every objective reads, and what some do. */
static void add_text(const struct train_numbers *numbers, const struct train_data *data,
                     const struct train_text *text, int at)
{
    int begin = numbers->cu_seqlens[at], n = text->n_tokens;
    const int32_t *tokens = data->tokens + text->first;
    memcpy(numbers->tokens + begin, tokens, (size_t)n * sizeof *tokens);
    for (int j = 0; j < n; j++)
        numbers->positions[begin + j] = j;
    numbers->cu_seqlens[at + 1] = begin + n;
    if (numbers->next) {
        memcpy(numbers->next + begin, tokens + 1, (size_t)(n - 1) * sizeof *tokens);
        numbers->next[begin + n - 1] = -1;
    }
    if (numbers->labels)
        numbers->labels[at] = text->label;
    if (numbers->mean_begin) {
        numbers->mean_begin[at] = begin + text->mean_begin;
        numbers->mean_end[at] = begin + text->mean_end;
    }
}

/* Of anchor i and the positive of another one, j: near rows of one group say the same, and a text
 * that was drawn twice is itself. */
static void exclude(uint8_t *excluded, const struct train_data *data, const int *unit, int pairs,
                    int near)
{
    for (int i = 0; i < pairs; i++)
        for (int j = 0; j < pairs; j++) {
            const struct train_text *anchor = &data->texts[unit[i]];
            const struct train_text *positive = &data->texts[unit[pairs + j]];
            int apart = abs((int)anchor->row - (int)positive->row);
            bool group = near > 0 && anchor->label >= 0 && anchor->label == positive->label;
            excluded[(size_t)i * (size_t)pairs + (size_t)j] =
                i != j && (apart == 0 || (group && apart <= near));
        }
}

struct objective_batch train_batch_at(const struct objective_batch *batch,
                                      const struct train_numbers *numbers)
{
    return (struct objective_batch){
        .texts = {.tokens = numbers->tokens,
                  .positions = numbers->positions,
                  .cu_seqlens = numbers->cu_seqlens,
                  .n_texts = batch->texts.n_texts,
                  .n_tokens = batch->texts.n_tokens},
        .token_units = numbers->token_units,
        .text_units = numbers->text_units,
        .n_units = batch->n_units,
        .labels = numbers->labels,
        .next = numbers->next,
        .mean_begin = numbers->mean_begin,
        .mean_end = numbers->mean_end,
        .excluded = numbers->excluded,
    };
}

int train_batch_fill(struct objective_batch *batch, const struct train_numbers *numbers,
                     const struct objective_settings *settings, const struct train_data *data,
                     const int *texts, int unit_texts, int n_units)
{
    struct objective_batch counts = {0};
    int n_texts = 0, n_tokens = 0, unit = 0, pairs = unit_texts / 2;
    numbers->cu_seqlens[0] = numbers->token_units[0] = numbers->text_units[0] = 0;
    for (; unit < n_units; unit++, texts += unit_texts) {
        n_tokens += train_batch_tokens(data, texts, unit_texts);
        if (unit > 0 && (n_tokens > settings->n_tokens || n_texts + unit_texts > settings->n_texts))
            break;
        if (numbers->excluded)
            exclude(numbers->excluded + (size_t)unit * (size_t)pairs * (size_t)pairs, data, texts,
                    pairs, settings->near);
        for (int i = 0; i < unit_texts; i++)
            add_text(numbers, data, &data->texts[texts[i]], n_texts++);
        numbers->text_units[unit + 1] = n_texts;
        numbers->token_units[unit + 1] = numbers->cu_seqlens[n_texts];
    }
    counts.texts.n_texts = n_texts;
    counts.texts.n_tokens = numbers->cu_seqlens[n_texts];
    counts.n_units = unit;
    *batch = train_batch_at(&counts, numbers);
    return unit;
}
