/* The folder that `midashi topics` leaves: topics.json, topics.txt, documents.csv, run.json, and
 * model/, which holds what new texts need to find their topic. docs/formats.md describes each. */
#ifndef MIDASHI_HOST_TOPICS_FILES_H
#define MIDASHI_HOST_TOPICS_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include "host/output_folder.h"
#include "host/topics.h"

/* Takes the folder, which is made where it is not there, and so is its model/. STATUS_USAGE:
 * another run is writing there; or, unless force, it holds what midashi did not write.
 * STATUS_BAD_DATA: not a folder. */
enum status topics_folder_open(struct output_folder *folder, const char *path, bool force,
                               struct err *err);
/* What nothing was written into goes. A zeroed one is allowed. */
void topics_folder_close(struct output_folder *folder);

/* Writes the files; each is old or new after a kill, run.json comes last. `run` is what run.json
 * holds and `model` what model/representation.json holds; both are borrowed. held_out: as in the
 * settings of topics_find; where it is not NULL, documents.csv has a column of that name. */
enum status topics_write(const char *folder, const struct topics *topics,
                         const struct corpus *corpus, const bool *held_out, const json_t *run,
                         const json_t *model, struct err *err);

/* A new object of topics.json's form, or NULL where there is no memory. */
json_t *topics_to_json(const struct topics *topics);

/* Writes topics.txt's form: a line of words a topic. */
void topics_print(const struct topics *topics, FILE *stream);

/* JSON to a file, written aside and renamed. */
enum status json_write(const json_t *value, const char *path, struct err *err);

#endif
