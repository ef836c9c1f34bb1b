/* See fuzz.h. */
#define _GNU_SOURCE
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "host/base/utf8.h"

/* One file in memory, and links to it in a folder of its own: some readers go by the name. */
#define LINKS 4
static int descriptor = -1;
static char folder[64];
static char links[LINKS][128];

static void remove_links(void)
{
    for (int i = 0; i < LINKS; i++)
        unlink(links[i]);
    rmdir(folder);
}

static void open_file(void)
{
    descriptor = memfd_create("fuzz", 0);
    REQUIRE(descriptor >= 0);
    snprintf(folder, sizeof folder, "/tmp/midashi-fuzz-XXXXXX");
    REQUIRE(mkdtemp(folder));
    atexit(remove_links);
}

const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
    if (descriptor < 0)
        open_file();
    REQUIRE(ftruncate(descriptor, 0) == 0);
    REQUIRE(pwrite(descriptor, data, size, 0) == (ssize_t)size);
    char path[sizeof links[0]], target[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int i = 0;
    while (i < LINKS && links[i][0] && strcmp(links[i], path) != 0)
        i++;
    REQUIRE(i < LINKS);
    if (!links[i][0]) {
        snprintf(target, sizeof target, "/proc/self/fd/%d", descriptor);
        REQUIRE(symlink(target, path) == 0);
        memcpy(links[i], path, sizeof path);
    }
    return links[i];
}

void fuzz_check_error(enum status status, const struct err *err, const char *path)
{
    size_t length = strlen(err->text);
    REQUIRE(status != STATUS_OK && err->status == status);
    REQUIRE(strstr(err->text, path) && !strpbrk(err->text, "\r\n"));
    REQUIRE(utf8_valid_length(err->text, length) == length);
}
