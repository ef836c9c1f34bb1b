/* Signals. See interrupt.h. */
#include "host/base/interrupt.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "host/base/file.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    if (interrupted) {
        out_files_remove_all();
        _exit(STATUS_INTERRUPTED);
    }
    interrupted = 1;
}

/* The default action, after the temporary files are gone: the shell sees death by the signal. */
static void on_hang_up(int signal_number)
{
    out_files_remove_all();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void interrupt_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_hang_up;
    action.sa_flags = SA_NODEFER; /* so that the raise in the handler arrives */
    sigaction(SIGPIPE, &action, NULL);
    struct sigaction inherited;
    if (sigaction(SIGHUP, NULL, &inherited) == 0 && inherited.sa_handler != SIG_IGN) /* nohup */
        sigaction(SIGHUP, &action, NULL);
    /* A file-size limit reaches us as a failed write, with its own message. */
    signal(SIGXFSZ, SIG_IGN);
}

enum status interrupt_check(struct err *err)
{
    return interrupted ? err_set(err, STATUS_INTERRUPTED, "interrupted") : STATUS_OK;
}
