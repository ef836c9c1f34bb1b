/* "Did you mean ...?" for misspelled options and commands. */
#ifndef MIDASHI_TOOLS_SUGGEST_H
#define MIDASHI_TOOLS_SUGGEST_H

/* How far `given` is from `name`: 0 where one begins with the other and three letters agree, else
 * Levenshtein's distance in bytes; INT_MAX where that is more than a third of the letters given (a
 * letter at least), too far to be a slip. The dashes of options are no letters, and what follows a
 * '=' in `given` is not looked at. */
int suggest_distance(const char *given, const char *name);

/* What an option that other programs for training have is called here; NULL: not known. */
const char *suggest_option(const char *given);

#endif
