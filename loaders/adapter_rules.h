/* Which modules an adapter changes: target_modules and what narrows it, rank_pattern and
 * alpha_pattern. Nothing outside loaders/adapter_config.c needs it. */
#ifndef MIDASHI_LOADERS_ADAPTER_RULES_H
#define MIDASHI_LOADERS_ADAPTER_RULES_H

#include <stdbool.h>
#include "host/base/memory.h"
#include "loaders/json_members.h"

struct adapter_rules;

/* Compiles the rules of a file whose JSON outlives them. The struct is in the arena. On failure
 * *out may still have to be closed. Errors as adapter_config_read's. */
enum status adapter_rules_open(struct adapter_rules **out, const struct json_members *file,
                               struct arena *arena);
void adapter_rules_close(struct adapter_rules *rules); /* NULL is allowed */
const char *adapter_rules_path(const struct adapter_rules *rules);

/* PEFT's check_target_module_exists. */
enum status adapter_rules_target(const struct adapter_rules *rules, const char *module,
                                 bool *targeted, struct err *err);
/* Replaces *rank and *alpha where a pattern fits: the first one that does, in the file's order. */
enum status adapter_rules_override(const struct adapter_rules *rules, const char *module, int *rank,
                                   double *alpha, struct err *err);

#endif
