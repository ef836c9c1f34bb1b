/* The commands of midashi; each lives in its cmd_NAME.c. */
#ifndef MIDASHI_TOOLS_COMMANDS_H
#define MIDASHI_TOOLS_COMMANDS_H

#include "tools/midashi/options.h"

#define MIDASHI_VERSION "0.1.0"

extern const struct command command_topics;
extern const struct command command_embed;
extern const struct command command_cluster;
extern const struct command command_train;
extern const struct command command_classify;
extern const struct command command_tokenize;
extern const struct command command_quantize;
extern const struct command command_merge;
extern const struct command command_info;
extern const struct command command_bench;
extern const struct command command_devices;

#endif
