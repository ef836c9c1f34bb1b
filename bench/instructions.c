/* See instructions.h. */
#include "bench/instructions.h"

#include <unistd.h>

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/syscall.h>

int instructions_open(void)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attributes,
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .exclude_kernel = 1,
        .exclude_hv = 1,
        .inherit = 1,
    };
    return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}
#else
int instructions_open(void)
{
    return -1;
}
#endif

uint64_t instructions_read(int counter)
{
    uint64_t count = 0;
    if (counter < 0 || read(counter, &count, sizeof count) != sizeof count)
        return 0;
    return count;
}

void instructions_close(int counter)
{
    if (counter >= 0)
        close(counter);
}
