/* SentencePiece's .model: a protobuf (sentencepiece_model.proto), read from its wire format. Only
 * the fields that decide about ids are looked at; only models of type BPE are taken.
 *
 * Also here: merges from scores, which the vocabulary inside a GGUF has too. SentencePiece joins
 * the two neighbours whose joined text is the piece of the highest score, the leftmost of equals.
 * Every way to cut a piece in two pieces is listed beforehand as a merge, so that joining needs no
 * text; the rank is the score's place among all scores. */
#include "loaders/tokenizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/utf8.h"

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* ---- merges from scores --------------------------------------------------------------------- */

/* SentencePiece's own limit is 16 characters, Llama's longest pieces are 16 spaces. Cutting a piece
 * everywhere is quadratic in its length. */
#define PIECE_LONGEST 512

struct scored {
    float score;
    int32_t id;
};

static int compare_scored(const void *a, const void *b)
{
    const struct scored *left = a, *right = b;
    return left->score < right->score ? 1 : left->score > right->score ? -1 : 0;
}

struct merge_list {
    struct merge *merges;
    size_t count, capacity;
};

static bool merge_list_add(struct merge_list *list, struct merge merge)
{
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 1024;
        struct merge *grown = mem_resize(list->merges, capacity, sizeof *grown);
        if (!grown)
            return false;
        list->merges = grown;
        list->capacity = capacity;
    }
    list->merges[list->count++] = merge;
    return true;
}

/* What half of a piece is: a piece that merging reaches, or a single character (which stands in the
 * text by itself, whether it has a piece or not). -1: neither. false: no memory. */
static bool find_half(struct tokenizer *t, const char *text, size_t length, bool single,
                      int32_t *half)
{
    struct vocabulary *vocabulary = &t->vocabulary;
    *half = vocabulary_find(vocabulary, text, length);
    if (*half >= 0) {
        enum piece_kind kind = vocabulary->pieces[*half].kind;
        if (kind != PIECE_NORMAL && kind != PIECE_CHARACTER)
            *half = -1;
        return true;
    }
    if (!single)
        return true;
    *half = vocabulary->count;
    int32_t taken;
    return vocabulary_add(vocabulary, &t->arena, *half, text, length, PIECE_CHARACTER, &taken);
}

static size_t character_length(const char *text, size_t length)
{
    size_t n = 1;
    while (n < length && ((unsigned char)text[n] & 0xC0) == 0x80)
        n++;
    return n;
}

/* All the ways to make piece `id` of two halves. */
static bool cut_piece(struct tokenizer *t, int32_t id, uint32_t rank, struct merge_list *list)
{
    struct piece piece = t->vocabulary.pieces[id]; /* the array may move */
    size_t first = character_length(piece.text, piece.length);
    for (size_t at = first; at < piece.length;) {
        size_t next = at + character_length(piece.text + at, piece.length - at);
        int32_t left, right;
        if (!find_half(t, piece.text, at, at == first, &left) ||
            !find_half(t, piece.text + at, piece.length - at, next == piece.length, &right))
            return false;
        if (left >= 0 && right >= 0 && !merge_list_add(list, (struct merge){left, right, id, rank}))
            return false;
        at = next;
    }
    return true;
}

static enum status list_merges(struct tokenizer *t, const float *scores, struct scored *order,
                               struct merge_list *list, const char *name, struct err *err)
{
    size_t n = 0;
    for (int32_t id = 0; id < t->n_ids; id++) {
        const struct piece *piece = &t->vocabulary.pieces[id];
        if (piece->kind != PIECE_NORMAL)
            continue;
        if (piece->length > PIECE_LONGEST)
            return err_set(err, STATUS_BAD_DATA, "%s: piece %d: %u bytes, at most %d are supported",
                           name, (int)id, (unsigned)piece->length, PIECE_LONGEST);
        if (isnan(scores[id]))
            return err_set(err, STATUS_BAD_DATA,
                           "%s: piece %d: its score is no number; fetch the file again", name,
                           (int)id);
        order[n++] = (struct scored){scores[id], id};
    }
    qsort(order, n, sizeof *order, compare_scored);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score != order[i - 1].score)
            rank++;
        if (!cut_piece(t, order[i].id, rank, list))
            return err_no_memory(err, "the merges of a vocabulary", list->count);
    }
    return STATUS_OK;
}

enum status tokenizer_finish_scored(struct tokenizer *tokenizer, const float *scores,
                                    const char *name, struct err *err)
{
    struct merge_list list = {0};
    struct scored *order = mem_alloc((size_t)tokenizer->n_ids, sizeof *order);
    enum status status = order ? list_merges(tokenizer, scores, order, &list, name, err)
                               : err_no_memory(err, "a vocabulary", (size_t)tokenizer->n_ids);
    if (status == STATUS_OK)
        status = tokenizer_finish(tokenizer, list.merges, list.count, err);
    mem_free(order);
    mem_free(list.merges);
    return status;
}

/* ---- protobuf ------------------------------------------------------------------------------- */

/* A message, or what is left of it. */
struct message {
    const unsigned char *at, *end;
    const unsigned char *file; /* for offsets in messages */
    const char *name;
    struct err *err;
};

struct field {
    int number;
    int wire;          /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;    /* wire 0, 1 and 5 */
    const char *bytes; /* wire 2 */
    size_t length;
};

static enum status damaged(const struct message *m, const char *what)
{
    return err_set(m->err, STATUS_BAD_DATA,
                   "%s: byte %zu: %s; this is no whole SentencePiece model, fetch it again",
                   m->name, (size_t)(m->at - m->file), what);
}

static bool read_varint(struct message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        unsigned char byte = *m->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(struct message *m, size_t n, uint64_t *value)
{
    if ((size_t)(m->end - m->at) < n)
        return false;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)m->at[i] << 8 * i;
    m->at += n;
    return true;
}

/* Takes the next field off a message that is not at its end. */
static enum status next_field(struct message *m, struct field *field)
{
    uint64_t tag, length;
    if (!read_varint(m, &tag) || tag >> 3 == 0 || tag >> 3 > INT32_MAX)
        return damaged(m, "a damaged field");
    *field = (struct field){.number = (int)(tag >> 3), .wire = (int)(tag & 7)};
    switch (field->wire) {
    case 0:
        return read_varint(m, &field->value) ? STATUS_OK : damaged(m, "a number that is cut");
    case 1:
        return read_fixed(m, 8, &field->value) ? STATUS_OK : damaged(m, "a number that is cut");
    case 5:
        return read_fixed(m, 4, &field->value) ? STATUS_OK : damaged(m, "a number that is cut");
    case 2:
        if (!read_varint(m, &length))
            return damaged(m, "a length that is cut");
        if (length > (uint64_t)(m->end - m->at))
            return damaged(m, "a field that is longer than what holds it");
        field->bytes = (const char *)m->at;
        field->length = (size_t)length;
        m->at += length;
        return STATUS_OK;
    default:
        return damaged(m, "a field of an unknown type");
    }
}

static struct message message_in(const struct message *outer, const struct field *field)
{
    struct message inner = *outer;
    inner.at = (const unsigned char *)field->bytes;
    inner.end = inner.at + field->length;
    return inner;
}

static enum status expect_wire(const struct message *m, const struct field *field, int wire)
{
    return field->wire == wire ? STATUS_OK : damaged(m, "a field of the wrong type");
}

/* ---- the model ------------------------------------------------------------------------------ */

/* The numbers of sentencepiece_model.proto. */
enum {
    MODEL_PIECES = 1,
    MODEL_TRAINER = 2,
    MODEL_NORMALISER = 3,
    PIECE_TEXT = 1,
    PIECE_SCORE = 2,
    PIECE_TYPE = 3,
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SPACE_AS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_PIECE = 46,
    TRAINER_EOS_PIECE = 47,
    NORMALISER_NAME = 1,
    NORMALISER_CHARSMAP = 2,
    NORMALISER_DUMMY_PREFIX = 3,
    NORMALISER_REMOVE_SPACES = 4,
    NORMALISER_ESCAPE_SPACES = 5,
};
enum {
    MODEL_TYPE_UNIGRAM = 1,
    MODEL_TYPE_BPE = 2,
    MODEL_TYPE_WORD = 3,
};

struct text {
    const char *bytes;
    size_t length;
};

/* What the file says besides the pieces, with the format's defaults. */
struct spm {
    struct tokenizer *tokenizer;
    uint64_t model_type;
    bool byte_fallback, space_as_suffix;
    struct text bos_piece, eos_piece;
    struct text normaliser_name;
    bool has_charsmap, dummy_prefix, remove_spaces, escape_spaces;
    float *scores;
    int32_t n_scores, scores_capacity;
};

static enum status read_trainer(struct message m, struct spm *spm)
{
    struct field field;
    while (m.at < m.end) {
        TRY(next_field(&m, &field));
        bool number = field.number == TRAINER_MODEL_TYPE ||
                      field.number == TRAINER_SPACE_AS_SUFFIX ||
                      field.number == TRAINER_BYTE_FALLBACK;
        bool text = field.number == TRAINER_BOS_PIECE || field.number == TRAINER_EOS_PIECE;
        if (number || text)
            TRY(expect_wire(&m, &field, number ? 0 : 2));
        struct text value = {field.bytes, field.length};
        if (field.number == TRAINER_MODEL_TYPE)
            spm->model_type = field.value;
        else if (field.number == TRAINER_SPACE_AS_SUFFIX)
            spm->space_as_suffix = field.value != 0;
        else if (field.number == TRAINER_BYTE_FALLBACK)
            spm->byte_fallback = field.value != 0;
        else if (field.number == TRAINER_BOS_PIECE)
            spm->bos_piece = value;
        else if (field.number == TRAINER_EOS_PIECE)
            spm->eos_piece = value;
    }
    return STATUS_OK;
}

static enum status read_normaliser(struct message m, struct spm *spm)
{
    struct field field;
    while (m.at < m.end) {
        TRY(next_field(&m, &field));
        if (field.number >= NORMALISER_NAME && field.number <= NORMALISER_ESCAPE_SPACES)
            TRY(expect_wire(&m, &field, field.number <= NORMALISER_CHARSMAP ? 2 : 0));
        if (field.number == NORMALISER_NAME)
            spm->normaliser_name = (struct text){field.bytes, field.length};
        else if (field.number == NORMALISER_CHARSMAP)
            spm->has_charsmap = field.length > 0;
        else if (field.number == NORMALISER_DUMMY_PREFIX)
            spm->dummy_prefix = field.value != 0;
        else if (field.number == NORMALISER_REMOVE_SPACES)
            spm->remove_spaces = field.value != 0;
        else if (field.number == NORMALISER_ESCAPE_SPACES)
            spm->escape_spaces = field.value != 0;
    }
    return STATUS_OK;
}

static enum status add_piece(const struct message *m, struct spm *spm, struct text text,
                             float score, uint64_t type)
{
    static const enum piece_kind kinds[] = {
        [TYPE_NORMAL] = PIECE_NORMAL,   [TYPE_UNKNOWN] = PIECE_UNKNOWN,
        [TYPE_CONTROL] = PIECE_CONTROL, [TYPE_USER_DEFINED] = PIECE_ADDED,
        [TYPE_BYTE] = PIECE_BYTE,
    };
    struct tokenizer *t = spm->tokenizer;
    int32_t id = t->vocabulary.count, taken;
    if (text.length == 0 || utf8_valid_length(text.bytes, text.length) < text.length)
        return damaged(m, "a piece that is empty or not UTF-8");
    if (type == TYPE_UNUSED)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: piece %d is of type UNUSED, which is not supported; use the model's "
                       "tokenizer.json",
                       m->name, (int)id);
    if (type < TYPE_NORMAL || type > TYPE_BYTE)
        return damaged(m, "a piece of an unknown type");
    if (id == VOCABULARY_LARGEST)
        return damaged(m, "more pieces than any model has");
    if (id == spm->scores_capacity) {
        int32_t capacity = 2 * spm->scores_capacity + 1024;
        float *grown = mem_resize(spm->scores, (size_t)capacity, sizeof *grown);
        if (!grown)
            return err_no_memory(m->err, "a vocabulary", (size_t)capacity * sizeof *grown);
        spm->scores = grown;
        spm->scores_capacity = capacity;
    }
    spm->scores[id] = score;
    enum piece_kind kind = kinds[type];
    if (!vocabulary_add(&t->vocabulary, &t->arena, id, text.bytes, text.length, kind, &taken))
        return err_no_memory(m->err, "a vocabulary", text.length);
    if (taken >= 0)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: piece %d is the same as piece %d; fetch the "
                       "file again",
                       m->name, (int)id, (int)taken);
    if (kind == PIECE_UNKNOWN && t->unknown >= 0)
        return damaged(m, "a second unknown piece");
    if (kind == PIECE_UNKNOWN)
        t->unknown = id;
    if (kind != PIECE_ADDED)
        return STATUS_OK;
    const struct piece *piece = &t->vocabulary.pieces[id];
    struct added_token token = {.text = piece->text, .length = piece->length, .id = id};
    return added_add(t, &t->added_normalised, &token, m->err);
}

static enum status read_piece(struct message m, struct spm *spm)
{
    struct field field;
    struct text text = {"", 0};
    float score = 0;
    uint64_t type = TYPE_NORMAL;
    while (m.at < m.end) {
        TRY(next_field(&m, &field));
        if (field.number == PIECE_TEXT) {
            TRY(expect_wire(&m, &field, 2));
            text = (struct text){field.bytes, field.length};
        } else if (field.number == PIECE_SCORE) {
            TRY(expect_wire(&m, &field, 5));
            uint32_t bits = (uint32_t)field.value;
            memcpy(&score, &bits, sizeof score);
        } else if (field.number == PIECE_TYPE) {
            TRY(expect_wire(&m, &field, 0));
            type = field.value;
        }
    }
    return add_piece(&m, spm, text, score, type);
}

static enum status read_model(struct message m, struct spm *spm)
{
    struct field field;
    while (m.at < m.end) {
        TRY(next_field(&m, &field));
        if (field.number < MODEL_PIECES || field.number > MODEL_NORMALISER)
            continue;
        TRY(expect_wire(&m, &field, 2));
        struct message inner = message_in(&m, &field);
        if (field.number == MODEL_PIECES)
            TRY(read_piece(inner, spm));
        else if (field.number == MODEL_TRAINER)
            TRY(read_trainer(inner, spm));
        else
            TRY(read_normaliser(inner, spm));
    }
    return STATUS_OK;
}

static enum status check_supported(const struct message *m, const struct spm *spm)
{
    const char *lacking = NULL;
    if (spm->model_type == MODEL_TYPE_UNIGRAM)
        lacking = "a Unigram model";
    else if (spm->model_type != MODEL_TYPE_BPE)
        lacking = spm->model_type == MODEL_TYPE_WORD ? "a word model" : "a character model";
    else if (spm->space_as_suffix)
        lacking = "white space as suffix";
    if (lacking)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: %s is not supported; SentencePiece models of type BPE are", m->name,
                       lacking);
    if (spm->has_charsmap)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: the normaliser '%.*s' is not supported; 'identity' is", m->name,
                       (int)(spm->normaliser_name.length < 64 ? spm->normaliser_name.length : 64),
                       spm->normaliser_name.bytes);
    if (spm->tokenizer->vocabulary.count == 0)
        return err_set(m->err, STATUS_BAD_DATA, "%s: no pieces; this is no SentencePiece model",
                       m->name);
    if (spm->tokenizer->unknown < 0)
        return err_set(m->err, STATUS_BAD_DATA, "%s: no unknown piece; fetch the file again",
                       m->name);
    return STATUS_OK;
}

static int32_t find_control(const struct tokenizer *t, struct text name)
{
    int32_t id = vocabulary_find(&t->vocabulary, name.bytes, name.length);
    return id >= 0 && t->vocabulary.pieces[id].kind == PIECE_CONTROL ? id : -1;
}

static enum status finish_model(const struct message *m, struct spm *spm)
{
    struct tokenizer *t = spm->tokenizer;
    TRY(check_supported(m, spm));
    t->n_ids = t->vocabulary.count;
    t->fuse_unknown = true;
    t->byte_fallback = spm->byte_fallback;
    const char *space = spm->escape_spaces ? SPACE_MARK : " ";
    size_t n = strlen(space);
    if (spm->remove_spaces)
        TRY(tokenizer_add_normaliser(t, NORMALISE_COLLAPSE, space, n, "", 0, m->err));
    if (spm->dummy_prefix)
        TRY(tokenizer_add_normaliser(t, NORMALISE_PREPEND, "", 0, space, n, m->err));
    if (spm->escape_spaces)
        TRY(tokenizer_add_normaliser(t, NORMALISE_REPLACE, " ", 1, space, n, m->err));
    t->bos = find_control(t, spm->bos_piece);
    t->eos = find_control(t, spm->eos_piece);
    if (t->bos >= 0) /* as transformers' LlamaTokenizer does, the usual owner of such a file */
        t->before[t->n_before++] = t->bos;
    TRY(tokenizer_finish_scored(t, spm->scores, m->name, m->err));
    for (int byte = 0; byte < 256 && t->byte_fallback; byte++)
        if (t->byte_ids[byte] < 0 || t->vocabulary.pieces[t->byte_ids[byte]].kind != PIECE_BYTE)
            return err_set(m->err, STATUS_BAD_DATA,
                           "%s: byte fallback without a piece for byte %d; fetch the file again",
                           m->name, byte);
    return STATUS_OK;
}

enum status tokenizer_read_spm(struct tokenizer *tokenizer, const char *data, size_t size,
                               const char *name, struct err *err)
{
    struct message whole = {
        .at = (const unsigned char *)data,
        .end = (const unsigned char *)data + size,
        .file = (const unsigned char *)data,
        .name = name,
        .err = err,
    };
    struct spm spm = {
        .tokenizer = tokenizer,
        .model_type = MODEL_TYPE_UNIGRAM,
        .bos_piece = {"<s>", 3},
        .eos_piece = {"</s>", 4},
        .normaliser_name = {"", 0},
        .dummy_prefix = true,
        .remove_spaces = true,
        .escape_spaces = true,
    };
    enum status status = read_model(whole, &spm);
    if (status == STATUS_OK)
        status = finish_model(&whole, &spm);
    mem_free(spm.scores);
    return status;
}
