/* See resources.h. */
#include "tools/softcuda/resources.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "host/base/file.h"
#include "loaders/json.h"

#define GUESS             64
#define REGISTERS         65536 /* of an SM */
#define LARGEST_REGISTERS 255
#define REGISTER_STEP     8 /* ptxas gives registers by eights */

/* Read once at the start, never changed. */
static json_t *table;

enum status resources_open(const char *path, struct err *err)
{
    struct file_map map;
    json_error_t error;
    if (!path)
        return STATUS_OK;
    TRY(file_map(&map, path, err));
    enum status status = json_parse(&table, (const char *)map.data, map.size, 0, &error, path, err);
    if (status == STATUS_BAD_DATA)
        err_set(err, status, "%s: line %d: %s", path, error.line, error.text);
    if (status == STATUS_OK && !json_is_object(table))
        status = err_set(err, STATUS_BAD_DATA, "%s: an object of kernels is expected", path);
    return file_map_finish(&map, path, status, err);
}

static int guess(const struct program *program)
{
    int threads = program->required_threads[0] > 0
                      ? program->required_threads[0] * program->required_threads[1] *
                            program->required_threads[2]
                      : program->max_threads[0] * program->max_threads[1] * program->max_threads[2];
    if (threads == 0)
        return GUESS;
    int share = REGISTERS / (threads * (program->min_blocks ? program->min_blocks : 1)) /
                REGISTER_STEP * REGISTER_STEP;
    int most = program->min_blocks ? LARGEST_REGISTERS : GUESS;
    return share < 16 ? 16 : share < most ? share : most;
}

static int integer(const json_t *entry, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(entry, name));
    return value < 0 || value > 1 << 30 ? 0 : (int)value;
}

struct resources resources_of(const struct program *program, int architecture)
{
    const json_t *kernel = table ? json_object_get(table, program->name) : NULL, *entry = NULL;
    for (; kernel && !entry && architecture >= 50; architecture--) {
        char name[16];
        snprintf(name, sizeof name, "sm_%d", architecture);
        entry = json_object_get(kernel, name);
    }
    if (integer(entry, "registers") < 1)
        return (struct resources){.registers = guess(program)};
    return (struct resources){
        .registers = integer(entry, "registers"),
        .spill_stores = integer(entry, "spill_stores"),
        .spill_loads = integer(entry, "spill_loads"),
        .stack = integer(entry, "stack"),
        .shared = integer(entry, "shared"),
        .constant = integer(entry, "constant"),
        .known = true,
    };
}
