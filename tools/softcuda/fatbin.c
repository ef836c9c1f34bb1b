/* See fatbin.h. The container's layout is not in NVIDIA's manuals; what stands here is what
 * cuobjdump shows of files that nvcc 12 and 13 wrote. All numbers are little endian.
 *
 *   header   u32 magic, u16 version, u16 bytes of the header, u64 bytes of the entries
 *   entry    u16 kind, u16 version, u32 bytes of its header, u64 bytes of its data (padded),
 *            u32 compressed bytes (0: plain), u32, u16 minor and u16 major version of the code,
 *            u32 architecture, ...; the data follow the header */
#include "tools/softcuda/fatbin.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/card.h"

#define FATBIN_MAGIC  0xBA55ED50u
#define WRAPPER_MAGIC 0x466243B1u
#define ELF_MAGIC     0x464C457Fu

#define KIND_PTX 1

#define HEADER_BYTES  16
#define LARGEST_BYTES ((uint64_t)1 << 32)
/* Of an entry's header what is read here. */
#define ENTRY_BYTES 32

static uint16_t read16(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t read32(const unsigned char *at)
{
    return read16(at) | (uint32_t)read16(at + 2) << 16;
}

static uint64_t read64(const unsigned char *at)
{
    return read32(at) | (uint64_t)read32(at + 4) << 32;
}

struct search {
    int capability;
    struct ptx_text *best;
    int best_architecture; /* 0: none yet */
    int compressed;        /* the newest that could run if it were not; 0: none */
    int oldest_too_new;    /* 0: none */
    int n_binaries;
};

static void look_at_entry(struct search *search, const unsigned char *entry,
                          const unsigned char *data, uint64_t size)
{
    int architecture = (int)(read32(entry + 28) & 0xFFFF);
    if (read16(entry) != KIND_PTX) {
        search->n_binaries++;
        return;
    }
    if (architecture > search->capability) {
        if (search->oldest_too_new == 0 || architecture < search->oldest_too_new)
            search->oldest_too_new = architecture;
        return;
    }
    if (read32(entry + 16) != 0) {
        if (architecture > search->compressed)
            search->compressed = architecture;
        return;
    }
    if (architecture <= search->best_architecture)
        return;
    search->best_architecture = architecture;
    *search->best = (struct ptx_text){(const char *)data, (size_t)size};
}

static CUresult search_fatbin(struct search *search, const unsigned char *fatbin, struct err *err)
{
    uint64_t header = read16(fatbin + 6), size = read64(fatbin + 8), at = 0;
    if (header < HEADER_BYTES || size > LARGEST_BYTES) {
        err_set(err, STATUS_BAD_DATA, "a fat binary with a broken header");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    while (at + ENTRY_BYTES <= size) {
        const unsigned char *entry = fatbin + header + at;
        uint64_t entry_header = read32(entry + 4), data = read64(entry + 8);
        if (entry_header < ENTRY_BYTES || entry_header > size - at ||
            data > size - at - entry_header) {
            err_set(err, STATUS_BAD_DATA, "a fat binary with a broken entry at byte %llu",
                    (unsigned long long)(header + at));
            return CUDA_ERROR_INVALID_IMAGE;
        }
        look_at_entry(search, entry, entry + entry_header, data);
        at += entry_header + data;
    }
    if (search->best_architecture > 0)
        return CUDA_SUCCESS;
    if (search->compressed > 0) {
        err_set(err, STATUS_BAD_DATA,
                "a fat binary whose PTX is compressed; build it with nvcc --no-compress");
    } else if (search->oldest_too_new > 0) {
        char advice[CARD_ADVICE_SIZE];
        card_advice(advice, search->oldest_too_new, search->capability);
        err_set(err, STATUS_BAD_DATA,
                "a fat binary with PTX for sm_%d and newer, and the card is sm_%d; %s",
                search->oldest_too_new, search->capability, advice);
    } else {
        err_set(err, STATUS_BAD_DATA,
                "a fat binary without PTX, which a software device needs; build it with nvcc "
                "-gencode arch=compute_80,code=compute_80 --no-compress");
    }
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

/* Whether a text could be PTX: printable from its start on. */
static int looks_like_text(const char *text)
{
    for (int i = 0; i < 16 && text[i]; i++)
        if ((text[i] < ' ' || text[i] > '~') && !strchr("\t\n\r", text[i]))
            return 0;
    return text[0] != '\0';
}

CUresult fatbin_find_ptx(struct ptx_text *ptx, const void *image, int capability, struct err *err)
{
    struct search search = {.capability = capability, .best = ptx};
    const unsigned char *bytes = image;
    if (looks_like_text(image)) {
        *ptx = (struct ptx_text){image, strlen(image)};
        return CUDA_SUCCESS;
    }
    uint32_t magic = read32(bytes);
    if (magic == WRAPPER_MAGIC) {
        memcpy(&bytes, bytes + 8, sizeof bytes);
        magic = bytes ? read32(bytes) : 0;
    }
    if (magic == FATBIN_MAGIC)
        return search_fatbin(&search, bytes, err);
    if (magic == ELF_MAGIC) {
        err_set(err, STATUS_BAD_DATA,
                "machine code of a card (a cubin); a software device needs PTX");
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    err_set(err, STATUS_BAD_DATA, "neither PTX nor a fat binary");
    return CUDA_ERROR_INVALID_IMAGE;
}

uint64_t fatbin_size(const void *image)
{
    const unsigned char *bytes = image;
    uint64_t size = read64(bytes + 8);
    if (read32(bytes) != FATBIN_MAGIC)
        return 0;
    return size > LARGEST_BYTES ? size : size + read16(bytes + 6);
}
