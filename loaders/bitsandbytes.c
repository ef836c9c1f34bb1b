/* NF4 of bitsandbytes. See bitsandbytes.h. */
#include "loaders/bitsandbytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/json.h"

#define STATE_LARGEST 4096 /* bytes; bitsandbytes writes less than 200 */
#define NAME_LARGEST  512

#define STATE       ".quant_state.bitsandbytes__nf4"
#define STATE_FP4   ".quant_state.bitsandbytes__fp4"
#define ALTERNATIVE "use the model that it was made from, which midashi quantises while loading"

/* One matrix, while its parts are sought. */
struct matrix {
    struct weight *table;
    const struct name_index *names;
    struct weight *weight;
    int64_t n_blocks, n_nested;
    struct err *err;
};

static enum status bad(const struct matrix *m, const char *part, const char *what)
{
    return err_set(m->err, STATUS_BAD_DATA,
                   "%s: tensor %s%s: %s; the file is damaged: fetch it again", m->weight->path,
                   m->weight->name, part, what);
}

/* ---- the parts ------------------------------------------------------------------------------ */

/* NULL where there is none. A name too long for the buffer is no model's. */
static struct weight *find_part(const struct matrix *m, const char *part)
{
    char name[NAME_LARGEST];
    int length = snprintf(name, sizeof name, "%s%s", m->weight->name, part);
    if (length < 0 || length >= NAME_LARGEST)
        return NULL;
    int i = name_index_find(m->names, name, (size_t)length);
    return i < 0 ? NULL : &m->table[i];
}

/* *data of a part that must be there with `bytes` bytes of `type_name`. */
static enum status take_part(const struct matrix *m, const char *part, const char *type_name,
                             int64_t bytes, const unsigned char **data)
{
    const struct weight *weight = find_part(m, part);
    if (!weight)
        return bad(m, part, "missing");
    if (strcmp(weight->type_name, type_name) != 0 || weight->bytes != bytes)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: tensor %s%s: it has %lld bytes of %s, not %lld of %s; the file is "
                       "damaged: fetch it again",
                       m->weight->path, m->weight->name, part, (long long)weight->bytes,
                       weight->type_name, (long long)bytes, type_name);
    *data = weight->data;
    return STATUS_OK;
}

/* ---- the quant state ------------------------------------------------------------------------ */

static enum status unsupported(const struct matrix *m, const char *key, const char *value,
                               const char *supported)
{
    return err_set(m->err, STATUS_BAD_DATA,
                   "%s: tensor %s" STATE ": %s %.40s is not supported, only %s; " ALTERNATIVE,
                   m->weight->path, m->weight->name, key, value, supported);
}

static enum status expect_size(const struct matrix *m, const json_t *state, const char *key,
                               int64_t wanted)
{
    const json_t *value = json_object_get(state, key);
    char got[32], supported[32];
    if (!json_is_integer(value))
        return bad(m, STATE, "a block size is missing, or not a whole number");
    if (json_integer_value(value) == wanted)
        return STATUS_OK;
    snprintf(got, sizeof got, "%lld", (long long)json_integer_value(value));
    snprintf(supported, sizeof supported, "%lld", (long long)wanted);
    return unsupported(m, key, got, supported);
}

static enum status read_result(const struct matrix *m, const json_t *state, enum nf4_result *result)
{
    static const struct {
        const char *name;
        enum nf4_result result;
    } types[] = {{"float32", NF4_TO_F32}, {"bfloat16", NF4_TO_BF16}, {"float16", NF4_TO_F16}};
    const char *name = json_string_value(json_object_get(state, "dtype"));
    if (!name)
        return bad(m, STATE, "dtype is missing");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) {
            *result = types[i].result;
            return STATUS_OK;
        }
    return unsupported(m, "dtype", name, "float32, bfloat16 and float16");
}

/* Sets rows and columns, whose product fits the packed codes. */
static enum status read_shape(struct matrix *m, const json_t *state)
{
    const json_t *shape = json_object_get(state, "shape");
    const json_t *rows = json_array_get(shape, 0), *columns = json_array_get(shape, 1);
    if (json_array_size(shape) != 2 || !json_is_integer(rows) || !json_is_integer(columns))
        return bad(m, STATE, "shape is not two whole numbers");
    int64_t r = json_integer_value(rows), c = json_integer_value(columns), n;
    if (r < 1 || c < 1 || __builtin_mul_overflow(r, c, &n) || n / 2 + n % 2 != m->weight->bytes)
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: tensor %s: its %lld bytes are not the codes of %lld x %lld weights; "
                       "the file is damaged: fetch it again",
                       m->weight->path, m->weight->name, (long long)m->weight->bytes, (long long)r,
                       (long long)c);
    m->weight->rows = r;
    m->weight->columns = c;
    m->n_blocks = n / NF4_WEIGHT_BLOCK + (n % NF4_WEIGHT_BLOCK != 0);
    m->n_nested =
        m->n_blocks / NF4_WEIGHT_NESTED_BLOCK + (m->n_blocks % NF4_WEIGHT_NESTED_BLOCK != 0);
    return STATUS_OK;
}

static enum status read_nesting(const struct matrix *m, const json_t *state,
                                struct nf4_weight *view)
{
    const char *type = json_string_value(json_object_get(state, "nested_dtype"));
    const json_t *offset = json_object_get(state, "nested_offset");
    TRY(expect_size(m, state, "nested_blocksize", NF4_WEIGHT_NESTED_BLOCK));
    if (!type || strcmp(type, "float32") != 0)
        return unsupported(m, "nested_dtype", type ? type : "(none)", "float32");
    view->offset = (float)json_number_value(offset);
    if (!json_is_number(offset) || !(view->offset >= 0) || isinf(view->offset))
        return bad(m, STATE, "nested_offset is not a number from 0 on");
    return STATUS_OK;
}

static enum status read_state(struct matrix *m, const json_t *state, struct nf4_weight *view,
                              bool nested)
{
    const char *type = json_string_value(json_object_get(state, "quant_type"));
    if (!json_is_object(state) || !type)
        return bad(m, STATE, "it is no object with a quant_type");
    if (strcmp(type, "nf4") != 0)
        return unsupported(m, "quant_type", type, "nf4");
    TRY(expect_size(m, state, "blocksize", NF4_WEIGHT_BLOCK));
    TRY(read_result(m, state, &view->result));
    TRY(read_shape(m, state));
    return nested ? read_nesting(m, state, view) : STATUS_OK;
}

static enum status load_state(struct matrix *m, struct nf4_weight *view, bool nested)
{
    const struct weight *part = find_part(m, STATE);
    if (!part)
        return bad(m, STATE, "missing");
    if (strcmp(part->type_name, "U8") != 0 || part->bytes > STATE_LARGEST)
        return bad(m, STATE, "it is no short text in U8");
    json_error_t error;
    json_t *state;
    enum status status = json_parse(&state, (const char *)part->data, (size_t)part->bytes,
                                    JSON_REJECT_DUPLICATES, &error, m->weight->path, m->err);
    if (status == STATUS_BAD_DATA)
        return bad(m, STATE, "it is not good JSON");
    if (status == STATUS_OK)
        status = read_state(m, state, view, nested);
    json_decref(state);
    return status;
}

/* ---- joining -------------------------------------------------------------------------------- */

static const char *const parts[] = {STATE,        STATE_FP4,        ".absmax",
                                    ".quant_map", ".nested_absmax", ".nested_quant_map"};
#define N_PARTS (sizeof parts / sizeof *parts)

/* The matrix of whose parts `name` is one: its place in the table, or -1. */
static int matrix_of(const struct name_index *names, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < N_PARTS; i++) {
        size_t n = strlen(parts[i]);
        if (length > n && strcmp(name + length - n, parts[i]) == 0)
            return name_index_find(names, name, length - n);
    }
    return -1;
}

static enum status join(struct matrix *m, struct arena *arena)
{
    struct weight *weight = m->weight;
    struct nf4_weight *view = arena_alloc(arena, 1, sizeof *view);
    if (!view)
        return err_no_memory(m->err, "the table of tensors", sizeof *view);
    *view = (struct nf4_weight){.codes = weight->data};
    if (find_part(m, STATE_FP4))
        return err_set(m->err, STATUS_BAD_DATA,
                       "%s: tensor %s: quantised to FP4, which is not read; " ALTERNATIVE,
                       m->weight->path, weight->name);
    bool nested = find_part(m, ".nested_absmax") != NULL;
    TRY(load_state(m, view, nested));
    TRY(take_part(m, ".quant_map", "F32", 16 * 4, &view->quant_map));
    TRY(take_part(m, ".absmax", nested ? "U8" : "F32", m->n_blocks * (nested ? 1 : 4),
                  &view->absmax));
    if (nested) {
        TRY(take_part(m, ".nested_absmax", "F32", m->n_nested * 4, &view->nested_absmax));
        TRY(take_part(m, ".nested_quant_map", "F32", 256 * 4, &view->nested_quant_map));
    }
    weight->n_dims = 2;
    weight->type_name = "NF4";
    weight->type = NULL;
    weight->nf4 = view;
    return STATUS_OK;
}

enum status bitsandbytes_join(struct weight *table, int *count, const struct name_index *names,
                              struct arena *arena, struct err *err)
{
    for (int i = 0; i < *count; i++) {
        int at = matrix_of(names, table[i].name);
        if (at < 0 || table[at].nf4)
            continue;
        struct matrix m = {table, names, &table[at], 0, 0, err};
        TRY(join(&m, arena));
    }
    int kept = 0;
    for (int i = 0; i < *count; i++) {
        if (matrix_of(names, table[i].name) < 0)
            table[kept++] = table[i];
    }
    *count = kept;
    return STATUS_OK;
}
