/* See pages.h. */
#define _GNU_SOURCE
#include "tools/softcuda/pages.h"

#include <sys/mman.h>

#define LARGE ((uint64_t)1 << 21)

void *pages_map(uint64_t count, size_t size)
{
    void *pages = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    if (count * size >= LARGE)
        madvise(pages, count * size, MADV_HUGEPAGE);
    return pages;
}

void pages_unmap(void *pages, uint64_t count, size_t size)
{
    if (pages)
        munmap(pages, count * size);
}
