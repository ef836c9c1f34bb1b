/* What of an opcode varies in many ways (spaces, types, roundings, comparisons, scopes, hints) goes
 * into fields of the instruction; the rest is what the table of forms is asked for. */
#ifndef SOFTCUDA_DECODE_FIELDS_H
#define SOFTCUDA_DECODE_FIELDS_H

#include "tools/softcuda/program.h"

#define FORM_KEY_SIZE 128

/* Sets space, type, vector, strong, aux, aux2 by the opcode's parts, and key (FORM_KEY_SIZE) to the
 * opcode of the form to look up. false: a part, or a combination of parts, that is not known. */
bool decode_fields(const struct ptx_instruction *source, struct instruction *instruction,
                   char *key);

#endif
