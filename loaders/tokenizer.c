/* Tokenizers: opening by the kind of file, what the readers share, and the small questions. See
 * tokenizer.h and, for the map of the files, tokenizer_internal.h. */
#include "loaders/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/file.h"
#include "host/base/utf8.h"
#include "loaders/gguf.h"
#include "loaders/model_files.h"
#include "loaders/model_refusals.h"

#define SPACE_MARK "\xE2\x96\x81" /* U+2581, SentencePiece's visible space */

/* ---- what the readers share ----------------------------------------------------------------- */

enum status added_add(struct tokenizer *tokenizer, struct added_tokens *added,
                      const struct added_token *token, struct err *err)
{
    if (added->count == added->capacity) {
        int capacity = 2 * added->capacity + 64;
        struct added_token *grown = arena_alloc(&tokenizer->arena, (size_t)capacity, sizeof *grown);
        if (!grown)
            return err_no_memory(err, "added tokens", (size_t)capacity * sizeof *grown);
        if (added->count > 0)
            memcpy(grown, added->tokens, (size_t)added->count * sizeof *grown);
        added->tokens = grown;
        added->capacity = capacity;
    }
    added->tokens[added->count++] = *token;
    return STATUS_OK;
}

static int compare_added(const void *a, const void *b)
{
    const struct added_token *left = a, *right = b;
    int byte = (unsigned char)left->text[0] - (unsigned char)right->text[0];
    return byte ? byte : (left->length < right->length) - (left->length > right->length);
}

static void added_sort(struct added_tokens *added)
{
    if (added->count > 0)
        qsort(added->tokens, (size_t)added->count, sizeof *added->tokens, compare_added);
    int at = 0;
    for (int byte = 0; byte <= 256; byte++) {
        while (at < added->count && (unsigned char)added->tokens[at].text[0] < byte)
            at++;
        added->first[byte] = at;
    }
}

enum status tokenizer_add_normaliser(struct tokenizer *tokenizer, enum normaliser_kind kind,
                                     const char *from, size_t from_length, const char *to,
                                     size_t to_length, struct err *err)
{
    if (tokenizer->n_normalisers == NORMALISERS_LARGEST)
        return err_set(err, STATUS_BAD_DATA, "normalizer: more than %d steps", NORMALISERS_LARGEST);
    char *own_from = arena_text(&tokenizer->arena, from, from_length);
    char *own_to = arena_text(&tokenizer->arena, to, to_length);
    if (!own_from || !own_to)
        return err_no_memory(err, "a normalizer", from_length + to_length);
    tokenizer->normalisers[tokenizer->n_normalisers++] = (struct normaliser){
        .kind = kind,
        .from = own_from,
        .to = own_to,
        .from_length = from_length,
        .to_length = to_length,
    };
    return STATUS_OK;
}

static enum status check_steps(const struct tokenizer *tokenizer, struct err *err)
{
    return tokenizer->n_steps < STEPS_LARGEST
               ? STATUS_OK
               : err_set(err, STATUS_BAD_DATA, "pre_tokenizer: more than %d steps", STEPS_LARGEST);
}

/* PCRE2 counts attempts, so that a bad pattern cannot run for ever. A run of blanks costs the usual
 * patterns an attempt for each blank (without the JIT), so this is 64 MB of blanks in one text. */
#define MATCH_ATTEMPTS ((uint32_t)1 << 26)

enum status tokenizer_add_split(struct tokenizer *tokenizer, const char *pattern, size_t length,
                                bool literal, enum split_behaviour behaviour, bool invert,
                                struct err *err)
{
    TRY(check_steps(tokenizer, err));
    struct step *step = &tokenizer->steps[tokenizer->n_steps];
    if (!tokenizer->pattern_memory)
        tokenizer->pattern_memory = pattern_memory();
    if (tokenizer->pattern_memory && !tokenizer->match_limits) {
        tokenizer->match_limits = pcre2_match_context_create(tokenizer->pattern_memory);
        if (tokenizer->match_limits)
            pcre2_set_match_limit(tokenizer->match_limits, MATCH_ATTEMPTS);
    }
    if (!tokenizer->match_limits)
        return err_no_memory(err, "a split pattern", length);
    TRY(pattern_compile(&step->pattern, tokenizer->pattern_memory, pattern, length, literal, err));
    step->kind = STEP_SPLIT;
    step->behaviour = behaviour;
    step->invert = invert;
    tokenizer->n_steps++;
    return STATUS_OK;
}

enum status tokenizer_add_spaces(struct tokenizer *tokenizer, const char *space, size_t length,
                                 enum prepend_scheme prepend, struct err *err)
{
    TRY(check_steps(tokenizer, err));
    struct step *step = &tokenizer->steps[tokenizer->n_steps];
    char *own = arena_text(&tokenizer->arena, space, length);
    if (!own)
        return err_no_memory(err, "a pre-tokenizer", length);
    *step = (struct step){
        .kind = STEP_SPACES, .prepend = prepend, .space = own, .space_length = length};
    tokenizer->n_steps++;
    return STATUS_OK;
}

/* GPT-2's bytes_to_unicode: printable Latin-1 stands for itself, the other bytes, in order, for the
 * characters from U+0100 on. */
static void fill_byte_texts(struct tokenizer *tokenizer)
{
    int32_t next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        char text[4];
        int length = utf8_encode(itself ? byte : next++, text);
        tokenizer->byte_texts[byte].length = (uint8_t)length;
        memcpy(tokenizer->byte_texts[byte].text, text, 2);
    }
}

static void fill_symbols(struct tokenizer *tokenizer)
{
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    for (int byte = 0; byte < 256; byte++) {
        const struct byte_text *mapped = &tokenizer->byte_texts[byte];
        char name[8];
        int length = snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        tokenizer->byte_ids[byte] =
            tokenizer->byte_level ? vocabulary_find_symbol(vocabulary, mapped->text, mapped->length)
                                  : vocabulary_find(vocabulary, name, (size_t)length);
    }
    for (int32_t id = 0; id < vocabulary->count; id++) {
        const struct piece *piece = &vocabulary->pieces[id];
        if (piece->length > tokenizer->longest_piece)
            tokenizer->longest_piece = piece->length;
        int32_t c;
        if (!tokenizer->character_ids ||
            (piece->kind != PIECE_NORMAL && piece->kind != PIECE_CHARACTER) || piece->length > 3 ||
            utf8_decode(piece->text, piece->length, &c) != (int)piece->length || c < 0 ||
            piece->length == 0)
            continue;
        tokenizer->character_ids[c] = id;
    }
}

/* text with every mapped character turned back into its byte, into out (which has room for length
 * bytes). Returns the length; 0 where some character stands for no byte. */
static size_t unmap_bytes(const int16_t *byte_of, const char *text, size_t length, char *out)
{
    size_t n = 0;
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(text + at, length - at, &c);
        if (c < 0 || c >= 0x144 || byte_of[c] < 0)
            return 0;
        out[n++] = (char)byte_of[c];
    }
    return n;
}

/* text with each U+2581 as a space, into out. */
static size_t unmark_spaces(const char *text, size_t length, char *out)
{
    size_t n = 0;
    for (size_t at = 0; at < length;) {
        if (length - at >= 3 && memcmp(text + at, SPACE_MARK, 3) == 0) {
            out[n++] = ' ';
            at += 3;
        } else {
            out[n++] = text[at++];
        }
    }
    return n;
}

static bool is_byte_name(const struct tokenizer *tokenizer, int32_t id, unsigned char *byte)
{
    for (int b = 0; b < 256; b++)
        if (tokenizer->byte_ids[b] == id) {
            *byte = (unsigned char)b;
            return true;
        }
    return false;
}

static enum status fill_surfaces(struct tokenizer *tokenizer, struct err *err)
{
    struct vocabulary *vocabulary = &tokenizer->vocabulary;
    int16_t byte_of[0x144];
    memset(byte_of, 0xFF, sizeof byte_of);
    for (int byte = 0; tokenizer->byte_level && byte < 256; byte++) {
        int32_t c;
        utf8_decode(tokenizer->byte_texts[byte].text, tokenizer->byte_texts[byte].length, &c);
        byte_of[c] = (int16_t)byte;
    }
    char *room = mem_alloc(tokenizer->longest_piece + 1, 1);
    if (!room)
        return err_no_memory(err, "a vocabulary", tokenizer->longest_piece);
    enum status status = STATUS_OK;
    for (int32_t id = 0; id < tokenizer->n_ids && status == STATUS_OK; id++) {
        struct piece *piece = &vocabulary->pieces[id];
        const char *text = piece->text;
        size_t length = piece->length;
        switch (piece->kind) {
        case PIECE_NORMAL:
        case PIECE_ADDED:
            if (tokenizer->byte_level && piece->kind == PIECE_NORMAL)
                length = unmap_bytes(byte_of, piece->text, piece->length, room);
            else if (!tokenizer->byte_level)
                length = unmark_spaces(piece->text, piece->length, room);
            else
                break;
            if (length == 0)
                length = piece->length; /* characters outside the alphabet: as it stands */
            else
                text = room;
            break;
        case PIECE_BYTE:
            length = is_byte_name(tokenizer, id, (unsigned char *)room);
            text = room;
            break;
        default:
            length = 0;
        }
        piece->surface_length = (uint32_t)length;
        piece->surface = piece->text;
        if (length > 0 && !(length == piece->length && memcmp(text, piece->text, length) == 0))
            piece->surface = vocabulary_text(vocabulary, &tokenizer->arena, text, length);
        if (!piece->surface)
            status = err_no_memory(err, "a vocabulary", length);
    }
    mem_free(room);
    return status;
}

enum status tokenizer_finish(struct tokenizer *tokenizer, const struct merge *merges, size_t n,
                             struct err *err)
{
    if (tokenizer->byte_level) {
        fill_byte_texts(tokenizer);
    } else {
        size_t bytes = 0x10000 * sizeof *tokenizer->character_ids;
        tokenizer->character_ids = arena_alloc(&tokenizer->arena, bytes, 1);
        if (!tokenizer->character_ids)
            return err_no_memory(err, "a vocabulary", bytes);
        memset(tokenizer->character_ids, 0xFF, bytes);
    }
    fill_symbols(tokenizer);
    TRY(fill_surfaces(tokenizer, err));
    int32_t fallback[257];
    int n_fallback = 0;
    for (int byte = 0; byte < 256 && tokenizer->byte_fallback; byte++)
        if (tokenizer->byte_ids[byte] >= 0)
            fallback[n_fallback++] = tokenizer->byte_ids[byte];
    if (tokenizer->unknown >= 0)
        fallback[n_fallback++] = tokenizer->unknown;
    if (!merges_build(&tokenizer->merges, &tokenizer->arena, &tokenizer->vocabulary, merges, n,
                      fallback, n_fallback))
        return err_no_memory(err, "the merges of a vocabulary", n * sizeof *merges);
    added_sort(&tokenizer->added);
    added_sort(&tokenizer->added_normalised);
    return STATUS_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status new_tokenizer(struct tokenizer **out, struct err *err)
{
    *out = mem_alloc_zero(1, sizeof **out);
    if (!*out)
        return err_no_memory(err, "a tokenizer", sizeof **out);
    (*out)->bos = (*out)->eos = (*out)->unknown = -1;
    return STATUS_OK;
}

/* GGUF starts with its magic, JSON with a brace; SentencePiece's protobuf starts with the first
 * piece's tag, a line feed. */
static bool looks_like_json(const char *data, size_t size)
{
    size_t at = 0;
    while (at < size && strchr(" \t\r\n", data[at]) && data[at])
        at++;
    return at < size && data[at] == '{';
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

enum status tokenizer_open_memory(struct tokenizer **out, const char *data, size_t size,
                                  const char *name, struct err *err)
{
    struct tokenizer *tokenizer;
    *out = NULL;
    TRY(new_tokenizer(&tokenizer, err));
    bool json =
        ends_with(name, ".json") || (!ends_with(name, ".model") && looks_like_json(data, size));
    enum status status = json ? tokenizer_read_json(tokenizer, data, size, name, err)
                              : tokenizer_read_spm(tokenizer, data, size, name, err);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return STATUS_OK;
}

static enum status open_gguf(struct tokenizer **out, const char *path, struct err *err)
{
    struct tokenizer *tokenizer;
    struct gguf *gguf;
    TRY(new_tokenizer(&tokenizer, err));
    enum status status = gguf_open(&gguf, path, err);
    if (status == STATUS_OK)
        status = tokenizer_read_gguf(tokenizer, gguf, err);
    gguf_close(gguf);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return STATUS_OK;
}

/* tokenizer_config.json in the folder of `path`, where it is there. */
static enum status read_config_beside(struct tokenizer *tokenizer, const char *path,
                                      struct arena *scratch, struct err *err)
{
    const char *folder, *config;
    struct stat info;
    TRY(model_files_folder(scratch, path, &folder, err));
    TRY(model_files_join(scratch, folder, "tokenizer_config.json", &config, err));
    if (stat(config, &info) != 0)
        return STATUS_OK;
    struct file_map map;
    TRY(file_map(&map, config, err));
    enum status status =
        tokenizer_read_config(tokenizer, (const char *)map.data, map.size, config, err);
    return file_map_finish(&map, config, status, err);
}

static enum status open_file(struct tokenizer **out, const char *path, struct arena *scratch,
                             struct err *err)
{
    struct file_map map;
    TRY(file_map(&map, path, err));
    if (map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0) {
        file_unmap(&map);
        return open_gguf(out, path, err);
    }
    struct tokenizer *tokenizer = NULL;
    enum status status = model_refuse_pointer(path, map.data, map.size, err);
    if (status == STATUS_OK)
        status = tokenizer_open_memory(&tokenizer, (const char *)map.data, map.size, path, err);
    status = file_map_finish(&map, path, status, err);
    if (status == STATUS_OK)
        status = read_config_beside(tokenizer, path, scratch, err);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return STATUS_OK;
}

enum status tokenizer_open(struct tokenizer **out, const char *path, struct err *err)
{
    struct arena scratch = {0};
    const char *file;
    *out = NULL;
    enum status status = model_files_tokenizer(&scratch, path, &file, err);
    if (status == STATUS_OK)
        status = open_file(out, file, &scratch, err);
    arena_free(&scratch);
    return status;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    for (int i = 0; i < tokenizer->n_steps; i++)
        pcre2_code_free(tokenizer->steps[i].pattern);
    pcre2_match_context_free(tokenizer->match_limits);
    pcre2_general_context_free(tokenizer->pattern_memory);
    arena_free(&tokenizer->arena);
    mem_free(tokenizer);
}

void tokens_free(struct tokens *tokens)
{
    mem_free(tokens->ids);
    *tokens = (struct tokens){0};
}

enum status tokens_append(struct tokens *tokens, const int32_t *ids, size_t count, struct err *err)
{
    if (count > tokens->capacity - tokens->count) {
        size_t capacity = 2 * tokens->capacity + count + 64;
        int32_t *grown = mem_resize(tokens->ids, capacity, sizeof *grown);
        if (!grown)
            return err_no_memory(err, "a text's tokens", capacity * sizeof *grown);
        tokens->ids = grown;
        tokens->capacity = capacity;
    }
    if (count > 0)
        memcpy(tokens->ids + tokens->count, ids, count * sizeof *ids);
    tokens->count += count;
    return STATUS_OK;
}

/* ---- small questions ------------------------------------------------------------------------ */

void tokenizer_specials(const struct tokenizer *tokenizer, int *before, int *behind)
{
    *before = tokenizer->n_before;
    *behind = tokenizer->n_behind;
}

size_t tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, const char **bytes)
{
    *bytes = "";
    if (id < 0 || id >= tokenizer->n_ids)
        return 0;
    *bytes = tokenizer->vocabulary.pieces[id].surface;
    return tokenizer->vocabulary.pieces[id].surface_length;
}

int tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
    return tokenizer->n_ids;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->eos;
}

const char *tokenizer_kind(const struct tokenizer *tokenizer)
{
    return tokenizer->byte_level ? "byte-level BPE" : "SentencePiece-style BPE";
}
