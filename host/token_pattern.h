/* scikit-learn's default token pattern, (?u)\b\w\w+\b: the runs of two word characters or more.
 *
 * Word characters are those of Python's re: letters (general category L), characters with a numeric
 * value, and the underscore. Marks are none of them, so the pattern splits Indic words at their
 * vowel signs, as scikit-learn does. */
#ifndef MIDASHI_HOST_TOKEN_PATTERN_H
#define MIDASHI_HOST_TOKEN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/status.h"

/* True for \w. */
bool token_pattern_is_word(int32_t code_point);

/* Calls word(context, w, length, err) for each token in order; w points into text. text: UTF-8; a
 * byte that is not ends a token. A status that `word` returns ends the walk and is passed on. */
enum status token_pattern_split(const char *text, size_t length,
                                enum status (*word)(void *context, const char *w, size_t w_length,
                                                    struct err *err),
                                void *context, struct err *err);

#endif
