/* Where a model lies that is called by its name. The disk is all that is looked at, never a
 * network.
 */
#ifndef MIDASHI_LOADERS_MODEL_FIND_H
#define MIDASHI_LOADERS_MODEL_FIND_H

#include "host/base/memory.h"
#include "host/base/status.h"

/* name: a path, which comes first; else NAME or ORG/NAME, as on the Hugging Face hub, looked for in
 * models/ORG/NAME and models/NAME (of the folder that the program runs in: where
 * tools/fetch-model.sh puts them), then in the cache of huggingface_hub. ORG/NAME@REVISION, a
 * branch, tag or commit, is looked for in the cache alone.
 *
 * The cache is HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else hub in HF_HOME, else huggingface/hub
 * in XDG_CACHE_HOME, else ~/.cache/huggingface/hub. There models--ORG--NAME/refs/REVISION (main)
 * holds a commit, and snapshots/COMMIT its files, which are links. Without that reference the
 * newest snapshot with a config.json or a .gguf is taken. A path to models--ORG--NAME works too.
 *
 * *path is in the arena. STATUS_MISSING: nowhere; the text says where it was looked for, and how to
 * fetch it. STATUS_RESOURCE: the path cannot be looked at (a loop of links, no permission). */
enum status model_find(struct arena *arena, const char *name, const char **path, struct err *err);

#endif
