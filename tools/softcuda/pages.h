/* Large tables of zeros, of which often only a part is touched. */
#ifndef SOFTCUDA_PAGES_H
#define SOFTCUDA_PAGES_H

#include <stddef.h>
#include <stdint.h>

/* count elements of `size` bytes, zeroed, real only where they are touched; from 2 MiB on in huge
 * pages. NULL: no memory. To be given to pages_unmap with the same count and size; NULL is nothing
 * to it. */
void *pages_map(uint64_t count, size_t size);
void pages_unmap(void *pages, uint64_t count, size_t size);

#endif
