/* What the parts of the tokenizer share; nothing outside loaders/tokenizer*.c and bpe.c needs it.
 *
 *   tokenizer.c            opening by kind of file, closing, the small questions
 *   tokenizer_json.c       tokenizer.json          |
 *   tokenizer_json_steps.c   its steps             | each fills a struct tokenizer
 *   tokenizer_json_config.c  tokenizer_config.json |
 *   tokenizer_spm.c        SentencePiece's .model  |
 *   tokenizer_gguf.c       the vocabulary of GGUF  |
 *   tokenizer_encode.c     a text through the steps to ids
 *   tokenizer_normalise.c  NFC, prepended and replaced characters
 *   tokenizer_split.c      split patterns: translation to PCRE2, matching
 *   bpe.c                  the vocabulary's and the merges' tables, and merging itself
 *
 * Every kind of file comes down to one pipeline: added tokens are cut out of the text, the rest is
 * normalised, added tokens that want normalised text are cut out, the split steps make words of the
 * rest, and each word's characters (or bytes) are merged, the lowest rank first. A SentencePiece
 * model fits it too: its scores become ranks, and pairs that have the same score the same rank. */
#ifndef MIDASHI_LOADERS_TOKENIZER_INTERNAL_H
#define MIDASHI_LOADERS_TOKENIZER_INTERNAL_H

#include "host/base/memory.h"
#include "loaders/pattern_memory.h"
#include "loaders/tokenizer.h"

/* ---- vocabulary and merges (bpe.c) ---------------------------------------------------------- */

enum piece_kind {
    PIECE_ABSENT,    /* an id that no token has */
    PIECE_NORMAL,    /* reached by merging */
    PIECE_CONTROL,   /* put round texts, never found in them */
    PIECE_UNKNOWN,   /* stands for what the vocabulary lacks */
    PIECE_BYTE,      /* <0x00> to <0xFF> */
    PIECE_ADDED,     /* matched as a whole, before any merging */
    PIECE_CHARACTER, /* no token: a character without a piece of its own that merges start from */
};

struct piece {
    const char *text;    /* as the file has it; hashed */
    const char *surface; /* as a text has it */
    uint32_t length, surface_length;
    enum piece_kind kind;
};

struct vocabulary_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
};

/* Pieces by id and by text. The table is open-addressed with linear probing, at most half full. */
struct vocabulary {
    struct piece *pieces; /* (count) */
    int32_t count, capacity;
    struct vocabulary_slot *slots; /* (mask + 1) */
    uint32_t mask, n_used;
    char *pool; /* where the next text goes: short texts share blocks of the arena */
    size_t pool_left;
};

/* What a piece is in SentencePiece's files, and, with the same numbers, in GGUF's
 * tokenizer.ggml.token_type. */
enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6,
};

#define VOCABULARY_LARGEST (1 << 24) /* ids stay below */

/* Room for n_ids ids and as many texts. false: no memory. Later growth is allowed. */
bool vocabulary_reserve(struct vocabulary *vocabulary, struct arena *arena, int32_t n_ids);
/* Puts a copy of text at id; ids that were skipped are PIECE_ABSENT. *taken: the id that has this
 * text already, or -1; where it is not -1 nothing changes. false: no memory. */
bool vocabulary_add(struct vocabulary *vocabulary, struct arena *arena, int32_t id,
                    const char *text, size_t length, enum piece_kind kind, int32_t *taken);
/* -1 where there is none of that text. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length);
/* The same, where merging can start from it: a token that merging reaches, or PIECE_CHARACTER. */
int32_t vocabulary_find_symbol(const struct vocabulary *vocabulary, const char *text,
                               size_t length);
/* A copy of short-lived bytes in the shared pool; NULL: no memory. */
char *vocabulary_text(struct vocabulary *vocabulary, struct arena *arena, const char *text,
                      size_t length);

struct merge {
    int32_t left, right, result;
    uint32_t rank; /* lower first; equal ranks: further left first */
};
#define RANK_NONE UINT32_MAX

struct merge_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank;
    int32_t result;
};

/* Pairs of symbols that merge, open-addressed, at most half full; and a set (by hash, so a little
 * too large) of the pairs of *first* symbols across which any merge can reach. Where two neighbours
 * are not in that set, no token spans them: a text is cut there, and merging works on short runs
 * however long the text is. */
struct merges {
    struct merge_slot *slots; /* (mask + 1) */
    uint64_t mask;
    uint64_t *crossings; /* (CROSSING_BITS / 64) bits; NULL: every pair may be crossed */
};
#define CROSSING_BITS ((uint32_t)1 << 19)

/* Builds the table from list (n). A pair given twice keeps the later rank. The first symbols of a
 * piece are its characters, or the pieces of `fallback` (n_fallback ids: byte tokens, the unknown
 * token) that stand for what has no piece. false: no memory. */
bool merges_build(struct merges *merges, struct arena *arena, const struct vocabulary *vocabulary,
                  const struct merge *list, size_t n, const int32_t *fallback, int n_fallback);

static inline uint64_t pair_hash(int32_t left, int32_t right)
{
    uint64_t z = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (z ^ z >> 32) * 0xD6E8FEB86659FD93u >> 20;
}

/* May any merge reach across these two neighbouring first symbols? */
static inline bool merges_cross(const struct merges *merges, int32_t left, int32_t right)
{
    if (!merges->crossings)
        return true;
    uint32_t bit = (uint32_t)pair_hash(left, right) & (CROSSING_BITS - 1);
    return merges->crossings[bit / 64] >> bit % 64 & 1;
}

/* Working memory of merging, for one call at a time; zeroed is ready. */
struct merge_scratch {
    void *memory;
    size_t capacity;
};

/* Merges symbols ids[0..n) in place until no pair is left; returns how many remain. n < 2^31.
 * Long runs take a heap, so the time is n log n. Returns SIZE_MAX where there is no memory. */
size_t merges_apply(const struct merges *merges, int32_t *ids, size_t n,
                    struct merge_scratch *scratch);

/* ---- growing bytes -------------------------------------------------------------------------- */

struct bytes {
    char *data;
    size_t length, capacity;
};
/* false: no memory, or more than BYTES_LARGEST: a text that normalising blew up beyond reason. */
bool bytes_add(struct bytes *bytes, const char *data, size_t length);
#define BYTES_LARGEST ((size_t)1 << 31)

/* ---- normalising (tokenizer_normalise.c) ---------------------------------------------------- */

enum normaliser_kind {
    NORMALISE_NFC,
    NORMALISE_PREPEND,  /* `to` before a text that is not empty */
    NORMALISE_REPLACE,  /* each `from` by `to` */
    NORMALISE_COLLAPSE, /* spaces at both ends go, runs become one (SentencePiece's
                           remove_extra_whitespaces); where `from` is set, it goes from the end too
                         */
};

struct normaliser {
    enum normaliser_kind kind;
    const char *from, *to;
    size_t from_length, to_length;
};

/* Runs text through n normalisers. *out points to text itself or into buffers (2). */
enum status normalise(const struct normaliser *normalisers, int n, const char *text, size_t length,
                      struct bytes *buffers, const char **out, size_t *out_length, struct err *err);

/* ---- splitting (tokenizer_split.c) ---------------------------------------------------------- */

/* How the originals cut a text at matches (tokenizers' SplitDelimiterBehavior). */
enum split_behaviour {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_CONTIGUOUS,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
};

enum prepend_scheme {
    PREPEND_NEVER,
    PREPEND_ALWAYS,
    PREPEND_FIRST, /* only where the whole text starts */
};

enum step_kind {
    STEP_SPLIT,
    STEP_SPACES, /* each space becomes `space`, and `space` is prepended where it is not there */
};

struct step {
    enum step_kind kind;
    pcre2_code *pattern; /* STEP_SPLIT; owned */
    enum split_behaviour behaviour;
    bool invert;                 /* what does not match is the delimiter */
    enum prepend_scheme prepend; /* STEP_SPACES */
    const char *space;
    size_t space_length;
};

/* GPT-2's pattern, which ByteLevel pre-tokenisers use too. */
extern const char *const pattern_gpt2;

/* Compiles a pattern as Oniguruma reads it (what the originals use). A construct that PCRE2 reads
 * otherwise is translated, or refused: STATUS_BAD_DATA names it. literal: no pattern, plain text.
 */
enum status pattern_compile(pcre2_code **out, pcre2_general_context *memory, const char *pattern,
                            size_t length, bool literal, struct err *err);
/* The next match at or behind `from`; *start = *end = length where there is none. An error where
 * PCRE2 gives up (its limits), never a wrong answer. */
enum status pattern_find(const pcre2_code *pattern, const char *text, size_t length, size_t from,
                         pcre2_match_data *match, pcre2_match_context *limits, size_t *start,
                         size_t *end, struct err *err);

/* ---- the tokenizer -------------------------------------------------------------------------- */

struct added_token {
    const char *text;
    size_t length;
    int32_t id;
    bool special;                 /* found, so that nothing inside matches, but left as text */
    bool strip_left, strip_right; /* takes the white space beside it along */
};

/* Added tokens by their first byte, longest first. */
struct added_tokens {
    struct added_token *tokens; /* (count), sorted by first byte, then by length, longest first */
    int count, capacity;
    int first[257]; /* tokens that start with byte b: first[b] .. first[b + 1] */
};

#define STEPS_LARGEST       16
#define NORMALISERS_LARGEST 16
#define SPECIALS_LARGEST    16

/* A byte as GPT-2's vocabularies write it: a printable character of one or two UTF-8 bytes. */
struct byte_text {
    char text[2];
    uint8_t length;
};

struct tokenizer {
    struct arena arena;
    struct vocabulary vocabulary;
    struct merges merges;
    int32_t n_ids; /* pieces behind are PIECE_CHARACTER */

    size_t longest_piece; /* bytes */

    bool byte_level;                  /* symbols are bytes, else characters */
    struct byte_text byte_texts[256]; /* where byte_level */
    int32_t byte_ids[256];  /* the pieces of the bytes (of <0xXX> where not byte_level); -1: none */
    int32_t *character_ids; /* (65536): the pieces of one character; NULL where byte_level */
    bool byte_fallback;     /* characters without a piece become bytes */
    bool ignore_merges;     /* a word that is a piece is that piece, whatever the merges say */
    int32_t unknown;        /* -1: what has no piece is dropped */
    bool fuse_unknown;      /* one unknown token for a run */

    struct added_tokens added, added_normalised;
    struct normaliser normalisers[NORMALISERS_LARGEST];
    int n_normalisers;
    struct step steps[STEPS_LARGEST];
    int n_steps;
    pcre2_general_context *pattern_memory;
    pcre2_match_context *match_limits;

    int32_t before[SPECIALS_LARGEST], behind[SPECIALS_LARGEST];
    int n_before, n_behind;
    int32_t bos, eos;
};

/* Fill a zeroed tokenizer (bos, eos and unknown are -1) from a file's bytes. On failure the caller
 * frees. name is the file, for messages. */
enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *data, size_t size,
                                const char *name, struct err *err);
enum status tokenizer_read_spm(struct tokenizer *tokenizer, const char *data, size_t size,
                               const char *name, struct err *err);

struct gguf;
enum status tokenizer_read_gguf(struct tokenizer *tokenizer, const struct gguf *gguf,
                                struct err *err);
/* tokenizer_config.json beside a tokenizer: bos_token, eos_token, add_bos_token, add_eos_token. */
enum status tokenizer_read_config(struct tokenizer *tokenizer, const char *data, size_t size,
                                  const char *name, struct err *err);

/* Shared by the readers. */
enum status added_add(struct tokenizer *tokenizer, struct added_tokens *added,
                      const struct added_token *token, struct err *err);
enum status tokenizer_add_normaliser(struct tokenizer *tokenizer, enum normaliser_kind kind,
                                     const char *from, size_t from_length, const char *to,
                                     size_t to_length, struct err *err);
enum status tokenizer_add_split(struct tokenizer *tokenizer, const char *pattern, size_t length,
                                bool literal, enum split_behaviour behaviour, bool invert,
                                struct err *err);
enum status tokenizer_add_spaces(struct tokenizer *tokenizer, const char *space, size_t length,
                                 enum prepend_scheme prepend, struct err *err);
/* The merges of a vocabulary that has scores, one for each id (n_ids): a pair merges where the
 * joined text is a piece, the highest score first. Then tokenizer_finish. name: the file. */
enum status tokenizer_finish_scored(struct tokenizer *tokenizer, const float *scores,
                                    const char *name, struct err *err);
/* Takes over the merges, and fills what follows from the pieces: byte_ids, character_ids, surfaces.
 * Call it last. */
enum status tokenizer_finish(struct tokenizer *tokenizer, const struct merge *merges, size_t n,
                             struct err *err);

#endif
