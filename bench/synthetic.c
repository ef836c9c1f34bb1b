/* See synthetic.h. */
#include "bench/synthetic.h"

#include <stdio.h>
#include <string.h>
#include "host/base/philox.h"

#define STREAM_TEXTS 0x7E075u
#define STREAM_ROWS  0x40735u

#define THEMES 16
#define WORDS  12 /* of a theme */
#define LENGTH 9  /* words of a text */
#define OTHERS 3  /* of them from any theme */

static const char *const words[THEMES][WORDS] = {
    {"ship", "sea", "sail", "wave", "port", "wind", "deck", "boat", "tide", "coast", "crew",
     "island"},
    {"bread", "soup", "salt", "oven", "rice", "meat", "cook", "cake", "milk", "taste", "lunch",
     "dish"},
    {"game", "team", "ball", "goal", "win", "score", "race", "coach", "match", "run", "field",
     "player"},
    {"bank", "money", "loan", "market", "trade", "price", "tax", "stock", "cost", "fund", "debt",
     "sale"},
    {"song", "band", "music", "note", "drum", "voice", "tune", "stage", "dance", "piano", "record",
     "sound"},
    {"court", "law", "judge", "trial", "case", "rule", "right", "crime", "police", "jury", "claim",
     "guilty"},
    {"tree", "leaf", "forest", "river", "bird", "root", "seed", "grass", "flower", "hill", "lake",
     "garden"},
    {"code", "data", "screen", "file", "disk", "network", "program", "key", "server", "test",
     "error", "model"},
    {"school", "teacher", "book", "class", "lesson", "student", "exam", "paper", "read", "write",
     "learn", "pen"},
    {"doctor", "nurse", "pain", "heart", "blood", "drug", "health", "patient", "bone", "fever",
     "care", "sleep"},
    {"train", "road", "car", "wheel", "bus", "bridge", "street", "driver", "fuel", "speed", "stop",
     "travel"},
    {"rain", "snow", "storm", "cloud", "sun", "cold", "heat", "sky", "spring", "winter", "summer",
     "ice"},
    {"house", "door", "wall", "roof", "window", "floor", "room", "stone", "brick", "build", "paint",
     "home"},
    {"star", "moon", "planet", "space", "light", "orbit", "sky", "rocket", "earth", "dark", "night",
     "mission"},
    {"army", "war", "peace", "king", "battle", "soldier", "sword", "castle", "flag", "queen",
     "empire", "march"},
    {"dog", "cat", "horse", "sheep", "farm", "cow", "fish", "wolf", "bear", "mouse", "goat",
     "animal"},
};

static uint64_t draw(uint64_t seed, size_t text, int place, uint64_t below)
{
    return (uint64_t)(philox_uniform(seed, (uint32_t)place, STREAM_TEXTS, text) * (double)below);
}

#define TEXT_LARGEST 96 /* bytes: the longest word has 8 */

static size_t write_text(char *to, size_t i, uint64_t seed)
{
    size_t used = 0;
    uint64_t theme = draw(seed, i, LENGTH, THEMES);
    for (int place = 0; place < LENGTH; place++) {
        uint64_t word = draw(seed, i, place, WORDS * THEMES);
        uint64_t from = place < LENGTH - OTHERS ? theme : word / WORDS;
        used += (size_t)snprintf(to + used, TEXT_LARGEST - used, "%s%c", words[from][word % WORDS],
                                 place < LENGTH - 1 ? ' ' : '\n');
    }
    return used;
}

enum status synthetic_corpus(struct corpus *corpus, size_t n, uint64_t seed, struct err *err)
{
    struct text_source source = {.bytes = mem_resize(NULL, n + 1, TEXT_LARGEST)};
    if (!source.bytes)
        return err_no_memory(err, "synthetic texts", (n + 1) * TEXT_LARGEST);
    for (size_t i = 0; i < n; i++)
        source.size += write_text(source.bytes + source.size, i, seed);
    source.bytes[source.size] = 0;
    return corpus_parse(corpus, "synthetic texts", &source,
                        &(struct corpus_settings){.format = CORPUS_TXT}, err);
}

void synthetic_rows(float *x, int n, int d, int k, uint64_t seed)
{
    for (int i = 0; i < n; i++) {
        uint64_t centre = (uint64_t)i % (uint64_t)k;
        for (int j = 0; j < d; j++) {
            uint64_t place = (uint64_t)i * (uint64_t)d + (uint64_t)j;
            double at = philox_uniform(seed, 0, STREAM_ROWS, centre * (uint64_t)d + (uint64_t)j);
            double off = philox_uniform(seed, 1, STREAM_ROWS, place) - 0.5;
            x[place] = (float)(at + 0.2 * off);
        }
    }
}
