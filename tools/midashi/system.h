/* What the machine says of itself. */
#ifndef MIDASHI_TOOLS_SYSTEM_H
#define MIDASHI_TOOLS_SYSTEM_H

#include <stddef.h>

/* The processor's name as the system gives it, "unknown processor" where it does not. */
void processor_name(char *text, size_t size);
size_t physical_memory(void); /* bytes, 0 where the system does not tell */

#endif
