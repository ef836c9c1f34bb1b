/* What `embed` and `topics` share: reading the corpus, settling the representation, embedding. */
#ifndef MIDASHI_TOOLS_EMBED_CORPUS_H
#define MIDASHI_TOOLS_EMBED_CORPUS_H

#include "host/embedder.h"
#include "host/representation.h"
#include "loaders/corpus.h"
#include "loaders/npy.h"
#include "tools/midashi/options.h"
#include "tools/midashi/progress.h"

/* What messages call the corpus: "-" is standard input. */
const char *corpus_name(const char *path);

/* Reads the corpus as the options say and notes what was guessed and what was left out. */
enum status read_corpus(struct corpus *corpus, const char *path, const struct options *options,
                        struct meter *meter, struct err *err);

/* --precision; where it is not given, that in which train made --adapter, or nf4. STATUS_USAGE:
 * another word than nf4|bf16|f32. */
enum status settle_precision(enum precision *precision, const struct options *options,
                             struct err *err);
/* Notes what one should know of --adapter, if there is one: of which precision it is, where that
 * was not given, and that its training is not finished. */
void note_adapter(const struct options *options, enum precision precision, struct meter *meter);

/* Everything that decides what an embedding is. */
struct embedding_plan {
    struct representation representation;
    struct embedder_settings settings;
    enum npy_type type;
    int width; /* of a vector; 0: not known, see plan_given */
};

/* Reads the model's config for its depth, and what it says of pooling; checks that its weights are
 * there. STATUS_USAGE without --model. */
enum status plan_embedding(struct embedding_plan *plan, const struct options *options,
                           struct err *err);

/* For embeddings that are there already, of a model that is not told: only what happens to them
 * before clustering is settled. STATUS_USAGE: options that need the model. */
enum status plan_given(struct embedding_plan *plan, const struct options *options, struct err *err);

/* Embeds the corpus into PATH (.npy), written aside and renamed. *load_seconds: of it, until the
 * model was ready; may be NULL. */
enum status embed_to_file(const struct embedding_plan *plan, const struct options *options,
                          struct device *device, const struct corpus *corpus, const char *path,
                          struct embedding_counts *counts, double *load_seconds,
                          struct meter *meter, struct err *err);

#endif
