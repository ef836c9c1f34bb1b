/* The folder that `midashi topics` leaves: topics.json, topics.txt, documents.csv, run.json, and
 * model/, which holds what new texts need to find their topic. docs/formats.md describes each. */
#ifndef MIDASHI_HOST_TOPICS_FILES_H
#define MIDASHI_HOST_TOPICS_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include "host/topics.h"

/* Makes FOLDER and FOLDER/model where they are not there; *made: FOLDER was not. STATUS_USAGE: a
 * folder that holds anything that midashi did not write, unless force. STATUS_BAD_DATA: not a
 * folder. */
enum status topics_folder_prepare(const char *folder, bool force, bool *made, struct err *err);
/* At the end of a run that prepared it: what nothing was written into goes; FOLDER only where it
 * was made. */
void topics_folder_drop(const char *folder, bool made);

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
