/* What the tests of softcuda share: a device of their own, without a driver, that runs kernels from
 * PTX text. */
#ifndef MIDASHI_TESTS_SOFTCUDA_RIG_H
#define MIDASHI_TESTS_SOFTCUDA_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/support.h"
#include "tools/softcuda/decode.h"
#include "tools/softcuda/execute.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/report.h"

#define RIG_KERNELS 64

/* A kernel's race on two workers is one of this process too: ThreadSanitizer ends the test then. */
#if defined(__SANITIZE_THREAD__)
#define RACES_ARE_FATAL true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_FATAL true
#endif
#endif
#ifndef RACES_ARE_FATAL
#define RACES_ARE_FATAL false
#endif

struct rig {
    struct arena arena;
    struct memory memory;
    bool own_places; /* programs are loaded without registers that share places */
    struct machine_settings
        settings;             /* the test's to set; zeroed: IEEE sums, late copies, fixed order */
    struct reporter reporter; /* checks: none; silent. Reports go to rig->reports */
    char *reports;            /* what has been written so far; valid until the next launch */
    size_t reports_size;
    struct ptx_module module;
    struct program programs[RIG_KERNELS];
    int n_programs;
    int resident, n_sms;         /* of the card: 16 and 4 */
    const struct card *card;     /* NULL: launches are not counted */
    int64_t sample;              /* of CTAs; 0: all */
    struct totals totals;        /* of the last launch that was counted */
    struct count_report *report; /* NULL: none; the test's own */
    struct err err;              /* of the last call */
};

void rig_open(struct rig *rig);
void rig_close(struct rig *rig);

/* Parses and decodes all kernels of the text. portable: with the portable handlers. The status,
 * whose text is in rig->err. */
enum status rig_load(struct rig *rig, const char *ptx, size_t size, bool portable);
/* A file of build/tests/ptx, which nvcc made of tests/softcuda/kernels; false where there is none
 * (the caller skips). */
bool rig_load_kernel_file(struct rig *rig, const char *name, bool portable);
/* ".version 8.0 ... .visible .entry kernel(.param .u64 p0, ... n of them) { .reg ... BODY ret; }",
 * with registers %p<32>, %h<64> (b16), %r<256> (b32), %f<64> (f32), %d<128> (b64), %e<32> (f64):
 * what a short test of instructions needs. Fails the test where it cannot be loaded. */
void rig_load_body(struct rig *rig, int n_parameters, const char *body, bool portable);

/* Device memory with a copy of bytes (NULL: left as it is), and its device address. */
uint64_t rig_upload(struct rig *rig, const void *bytes, size_t size);
/* The host's view of a device address. */
void *rig_host(struct rig *rig, uint64_t address);
void rig_free_all(struct rig *rig);

/* Launches kernel `name` (NULL: the first) with parameters of 8 bytes each: addresses and,
 * zero-extended, whole numbers. For narrower ones in between use rig_launch_raw. The outcome is in
 * rig->reporter. */
enum status rig_launch(struct rig *rig, const char *name, const uint32_t grid[3],
                       const uint32_t block[3], size_t shared, int n_parameters,
                       const uint64_t *parameters);
/* parameters: the bytes of the parameter buffer. */
enum status rig_launch_raw(struct rig *rig, const char *name, const uint32_t grid[3],
                           const uint32_t block[3], size_t shared, const void *parameters);

#endif
