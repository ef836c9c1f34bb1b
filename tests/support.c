/* See support.h. */
#define _GNU_SOURCE
#include "tests/support.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/memory.h"
#include "loaders/corpus.h"
#include "loaders/json.h"

/* ---- running and skipping ------------------------------------------------------------------- */

static char folder_of_run[64];

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat, (void)type, (void)walk;
    return remove(path);
}

int run_suite(Suite *suite)
{
    snprintf(folder_of_run, sizeof folder_of_run, "/tmp/midashi-test-XXXXXX");
    if (!mkdtemp(folder_of_run)) {
        perror("mkdtemp");
        return 1;
    }
    json_use_memory();
    SRunner *runner = srunner_create(suite);
    if (getenv("MIDASHI_TAP"))
        srunner_set_tap(runner, getenv("MIDASHI_TAP"));
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    nftw(folder_of_run, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return failed != 0;
}

/* On standard output, where tools/check.sh counts the lines. */
void skip_report(const char *test, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = strlen(test); /* Check calls the function of test NAME NAME_fn */
    if (length > 3 && strcmp(test + length - 3, "_fn") == 0)
        length -= 3;
    printf("skipped: %.*s: ", (int)length, test);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

/* ---- devices -------------------------------------------------------------------------------- */

bool test_device(int i, struct device *device)
{
    static const struct {
        const char *isa;
        int threads;
    } cases[] = {{"portable", 1}, {"avx2", 1}, {"avx2", 3}};
    if (i >= (int)(sizeof cases / sizeof *cases))
        return false;
    if (strcmp(cases[i].isa, "avx2") == 0 && !cpu_has(CPU_AVX2))
        return false;
    setenv("MIDASHI_CPU", cases[i].isa, 1);
    struct err err;
    if (device_open(device, "cpu", cases[i].threads, &err) != STATUS_OK)
        ck_abort_msg("%s", err.text);
    return true;
}

const char *test_device_name(const struct device *device)
{
    return cpu_isa_name(device->isa);
}

/* ---- inputs --------------------------------------------------------------------------------- */

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
uint64_t mix64(uint64_t seed, uint64_t index)
{
    uint64_t z = seed * 0x9E3779B97F4A7C15u + index + 1;
    z *= 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void fill_uniform(float *x, size_t n, uint64_t seed, float low, float high)
{
    for (size_t i = 0; i < n; i++)
        x[i] = low + (high - low) * (float)((double)(mix64(seed, i) >> 11) * 0x1p-53);
}

void fill_normal(float *x, size_t n, uint64_t seed, float deviation)
{
    for (size_t i = 0; i < n; i++) {
        double u = ((double)(mix64(seed, 2 * i) >> 11) + 0.5) * 0x1p-53;
        double v = (double)(mix64(seed, 2 * i + 1) >> 11) * 0x1p-53;
        x[i] = deviation * (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
    }
}

void fill_wide(float *x, size_t n, uint64_t seed)
{
    fill_normal(x, n, seed, 1.0f);
    for (size_t i = 0; i < n; i++)
        x[i] = ldexpf(x[i], (int)(mix64(seed, i) % 61) - 30);
}

/* ---- buffers and comparison ----------------------------------------------------------------- */

#define CANARIES 64
#define CANARY   0xA5C3F00Du

void *test_alloc(size_t bytes)
{
    void *pointer = malloc(bytes + 1);
    ck_assert_ptr_nonnull(pointer);
    return pointer;
}

float *test_floats(size_t n)
{
    return test_alloc(n * sizeof(float));
}

float *guarded_floats(size_t n)
{
    uint32_t *raw = aligned_alloc(64, (n * 4 + 2 * CANARIES * 4 + 63) / 64 * 64);
    ck_assert_ptr_nonnull(raw);
    for (size_t i = 0; i < CANARIES; i++)
        raw[i] = raw[CANARIES + n + i] = CANARY;
    float *x = (float *)raw + CANARIES;
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
    return x;
}

void check_guarded(float *x, size_t n)
{
    uint32_t *raw = (uint32_t *)x - CANARIES;
    for (size_t i = 0; i < CANARIES; i++) {
        ck_assert_msg(raw[i] == CANARY, "written %zu floats before the buffer", CANARIES - i);
        ck_assert_msg(raw[CANARIES + n + i] == CANARY, "written %zu floats behind the buffer", i);
    }
    free(raw);
}

double *to_doubles(const float *x, size_t n)
{
    double *y = malloc(n * sizeof *y + 1);
    ck_assert_ptr_nonnull(y);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

double relative_distance(const float *got, const float *want, size_t n)
{
    double squares = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = (double)got[i] - (double)want[i];
        squares += difference * difference;
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(squares / norm);
}

void check_close(const float *got, const double *want, size_t n, double absolute, double relative,
                 const char *what, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, what);
    vsnprintf(name, sizeof name, what, arguments);
    va_end(arguments);
    double square_error = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs(got[i] - want[i]);
        /* Not ck_assert_msg: Check writes a mark to a file each time. */
        if (!(error <= absolute + relative * fabs(want[i])))
            ck_abort_msg("%s: element %zu: got %.9g, want %.9g, error %.3g", name, i,
                         (double)got[i], want[i], error);
        square_error += error * error;
        square += want[i] * want[i];
    }
    ck_assert_msg(square_error <= relative * relative * square + (double)n * absolute * absolute,
                  "%s: normalised mean square error %.3g", name, square_error / square);
}

void check_error(enum status got, const struct err *err, enum status want, const char *part,
                 const char *what)
{
    ck_assert_msg(got == want, "%s: status %d, not %d: %s", what, (int)got, (int)want,
                  got == STATUS_OK ? "" : err->text);
    ck_assert_int_eq(err->status, want);
    ck_assert_msg(strstr(err->text, part) != NULL, "%s: '%s' is not in '%s'", what, part,
                  err->text);
    ck_assert_ptr_null(strpbrk(err->text, "\r\n"));
}

/* ---- lack of memory ------------------------------------------------------------------------- */

#define SINGLY 200

long check_lack_of_memory(memory_path *path, void *context, const char *what)
{
    for (long n = 1;; n += n < SINGLY ? 1 : 1 + n / 64) {
        struct err err = {0};
        char name[256];
        snprintf(name, sizeof name, "%s, allocation %ld", what, n);
        mem_fail_at(n);
        enum status status = path(context, &err);
        if (mem_fail_at(0)) {
            check_error(status, &err, STATUS_RESOURCE, "not enough memory", name);
            continue;
        }
        ck_assert_msg(status == STATUS_OK, "%s: %s", name, err.text);
        return n - 1;
    }
}

static enum status read_corpus(void *path, struct err *err)
{
    struct corpus corpus;
    enum status status = corpus_read(&corpus, path, &(struct corpus_settings){0}, err);
    corpus_free(&corpus);
    return status;
}

long check_corpus_lacks_memory(const char *path, const char *what)
{
    return check_lack_of_memory(read_corpus, (void *)(uintptr_t)path, what);
}

/* ---- files ---------------------------------------------------------------------------------- */

static char *rotating_path(void)
{
    static char paths[8][4096];
    static int next;
    return paths[next++ % 8];
}

const char *shared_data(const char *relative)
{
    const char *root = getenv("MIDASHI_SHARED_DATA");
    char *path = rotating_path();
    snprintf(path, 4096, "%s/%s", root ? root : "../shared/data", relative);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *golden(const char *relative)
{
    char *path = rotating_path();
    snprintf(path, 4096, "tests/golden/%s", relative);
    ck_assert_msg(access(path, R_OK) == 0, "%s: %s (tests run from the project's root)", path,
                  strerror(errno));
    return path;
}

const char *local_model(const char *name)
{
    char *path = rotating_path();
    snprintf(path, 4096, "models/%s", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *temporary_folder(void)
{
    char *path = rotating_path();
    snprintf(path, 4096, "%s/XXXXXX", folder_of_run);
    ck_assert_msg(mkdtemp(path) != NULL, "%s: %s", path, strerror(errno));
    return path;
}

const char *write_file(const char *folder, const char *name, const void *bytes, size_t n)
{
    char *path = rotating_path();
    snprintf(path, 4096, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

const char *build_folder(void)
{
    const char *folder = getenv("MIDASHI_BUILD");
    return folder && *folder ? folder : "build";
}
