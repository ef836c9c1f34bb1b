/* Ctrl-C and its kin. The one place with process-wide state, since signals are process-wide.
 *
 * The first SIGINT or SIGTERM only sets a flag: long loops ask interrupt_check and return
 * STATUS_INTERRUPTED, so that everything is released in order. A second one removes the temporary
 * files and ends at once. SIGPIPE and SIGHUP (a closed terminal; not under nohup) remove them too
 * and end quietly. */
#ifndef MIDASHI_BASE_INTERRUPT_H
#define MIDASHI_BASE_INTERRUPT_H

#include "host/base/status.h"

/* For the program's main(); a library user who does not call it keeps its own handlers. */
void interrupt_install(void);

/* STATUS_INTERRUPTED, text "interrupted", once a signal has come; else STATUS_OK. */
enum status interrupt_check(struct err *err);

#endif
