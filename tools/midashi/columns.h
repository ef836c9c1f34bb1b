/* How wide things are on a terminal. */
#ifndef MIDASHI_TOOLS_COLUMNS_H
#define MIDASHI_TOOLS_COLUMNS_H

/* Columns of the terminal behind a descriptor, 80 where it does not tell; 0: it is no terminal. */
int terminal_columns(int descriptor);

/* Columns that a text takes: two for a character that Unicode's East Asian Width calls wide or
 * full-width (UAX 11), none for one that joins the character before it, else one. text: valid
 * UTF-8 without control characters. */
int text_columns(const char *text);

#endif
