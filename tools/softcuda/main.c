/* softcuda: runs a program on a software CUDA device.
 *
 * It only sets the environment and becomes the program, so that output, exit code, signals and the
 * terminal are the program's own. Everything else is libcuda.so.1's, which lies beside this
 * command. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/softcuda/card.h"
#include "tools/softcuda/report.h"
#include "tools/softcuda/settings.h"

static const char help[] =
    "softcuda: a CUDA device in software, for programs that use the CUDA driver API.\n"
    "\n"
    "  softcuda run [options] [--] PROGRAM [ARGUMENTS]   run a program on it\n"
    "  softcuda cards                                    the cards that it can stand for\n"
    "  softcuda report FILE.json                         a table of what a run counted\n"
    "\n"
    "Options of run:\n"
    "  --card NAME        rtx3080, rtx4090 or h100 (rtx4090)\n"
    "  --check LIST       all, none, or some of memory,init,race,sync,leak (none);\n"
    "                     a mistake of a kernel ends the program with code 99\n"
    "  --report FILE      write what the kernels cost to FILE, as JSON\n"
    "  --sample N         count on every N-th block only (1)\n"
    "  --order ORDER      fixed or shuffled: blocks, warps and streams (fixed)\n"
    "  --seed N           of what is shuffled (0)\n"
    "  --mma MODEL        ieee or truncating: how tensor cores sum (ieee)\n"
    "  --async TIME       late or early: when cp.async copies land (late)\n"
    "  --workers N        threads that run blocks; 0 is one a processor (0)\n"
    "  --fail-alloc N     the N-th device or pinned allocation fails (0: none)\n"
    "  --resources FILE   registers of the kernels, from ptxas (those of midashi's)\n"
    "\n"
    "PROGRAM loads libcuda.so.1 by dlopen or is linked to it. Its modules must hold\n"
    "PTX that is not compressed (nvcc --no-compress).\n"
    "\n"
    "Exit code: the program's; 99 after reports of a checker; 2 for wrong usage;\n"
    "66 or 71 where the report could not be written; 127 where there is no such\n"
    "program, 126 where it cannot be run.\n";

static int fail(int code, const char *format, const char *what)
{
    fprintf(stderr, "softcuda: ");
    fprintf(stderr, format, what);
    fprintf(stderr, "\n");
    return code;
}

/* ---- cards, report -------------------------------------------------------------------------- */

static int print_cards(void)
{
    int n;
    const struct card *cards = card_list(&n);
    printf("%-8s %-18s %-6s %4s %8s %9s %8s %10s\n", "name", "card", "sm", "SMs", "MHz", "memory",
           "L2", "bf16");
    for (int i = 0; i < n; i++) {
        const struct card *card = &cards[i];
        printf("%-8s %-18s sm_%d%d %5d %8d %6.0f GB %5.0f MB %4.0f TFLOP/s\n", card->name,
               card->title, card->major, card->minor, card->n_sms, card->clock_mhz,
               (double)(card->memory_bytes >> 30), (double)(card->l2_bytes >> 20),
               card->bf16 / 1e12);
    }
    return 0;
}

static int print_report(const char *path)
{
    struct err err;
    enum status status = report_print(path, stdout, &err);
    if (status == STATUS_OK && fflush(stdout))
        status = err_set(&err, STATUS_RESOURCE, "standard output: %s", strerror(errno));
    return status == STATUS_OK ? 0 : fail((int)status, "%s", err.text);
}

/* ---- run ------------------------------------------------------------------------------------ */

static const struct {
    const char *option, *name; /* SOFTCUDA_NAME */
} options[] = {
    {"--card", "CARD"},
    {"--check", "CHECK"},
    {"--report", "REPORT"},
    {"--sample", "SAMPLE"},
    {"--order", "ORDER"},
    {"--seed", "SEED"},
    {"--mma", "MMA"},
    {"--async", "ASYNC"},
    {"--workers", "WORKERS"},
    {"--fail-alloc", "FAIL_ALLOC"},
    {"--resources", "RESOURCES"},
};

/* Sets SOFTCUDA_NAME, after a look at the value. The exit code, or 0. */
static int set_option(const char *option, const char *name, const char *value)
{
    struct settings settings = {0};
    struct err err;
    char variable[32], path[PATH_MAX];
    enum status status = settings_set(&settings, name, value, &err);
    if (status == STATUS_OK && settings.report)
        status = report_can_be_written(value, &err);
    if (status != STATUS_OK) {
        err_prefix(&err, "%s", option);
        return fail((int)status, "%s", err.text);
    }
    /* The program may change its folder. */
    if (strcmp(name, "RESOURCES") == 0 && realpath(value, path))
        value = path;
    char *report = NULL;
    if (strcmp(name, "REPORT") == 0 && value[0] != '/' && getcwd(path, sizeof path) &&
        asprintf(&report, "%s/%s", path, value) >= 0)
        value = report;
    snprintf(variable, sizeof variable, "SOFTCUDA_%s", name);
    bool good = setenv(variable, value, 1) == 0;
    free(report);
    return good ? 0 : fail(STATUS_RESOURCE, "%s: no memory", option);
}

/* The folder of this command, where libcuda.so.1 lies too. */
static bool own_folder(char *folder, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", folder, size - 1);
    if (n < 0)
        return false;
    folder[n] = '\0';
    *strrchr(folder, '/') = '\0';
    return true;
}

static bool set_library(void)
{
    char folder[PATH_MAX], *library = NULL, *search = NULL;
    const char *old = getenv("LD_LIBRARY_PATH");
    if (!own_folder(folder, sizeof folder))
        return fail(1, "%s: the folder of this command is not known", "/proc/self/exe") == 0;
    bool good = asprintf(&library, "%s/libcuda.so.1", folder) >= 0 &&
                asprintf(&search, "%s%s%s", folder, old && *old ? ":" : "", old ? old : "") >= 0;
    if (good && access(library, R_OK) != 0) {
        /* Installed: bin/softcuda and lib/softcuda/libcuda.so.1. */
        free(library);
        free(search);
        library = search = NULL;
        good = asprintf(&library, "%s/../lib/softcuda/libcuda.so.1", folder) >= 0 &&
               asprintf(&search, "%s/../lib/softcuda%s%s", folder, old && *old ? ":" : "",
                        old ? old : "") >= 0;
    }
    if (good && access(library, R_OK) != 0) {
        fail(1, "%s: no such file; it belongs beside this command", library);
        good = false;
    } else if (good) {
        good = setenv("MIDASHI_CUDA_DRIVER", library, 1) == 0 &&
               setenv("LD_LIBRARY_PATH", search, 1) == 0;
    }
    free(library);
    free(search);
    return good;
}

/* Of midashi's own kernels, where the build has left it. */
static bool set_resources(void)
{
    char folder[PATH_MAX], *file = NULL;
    if (getenv("SOFTCUDA_RESOURCES") || !own_folder(folder, sizeof folder))
        return true;
    bool good = asprintf(&file, "%s/../ptx/resources.json", folder) >= 0 &&
                (access(file, R_OK) != 0 || setenv("SOFTCUDA_RESOURCES", file, 1) == 0);
    free(file);
    return good;
}

/* argv: from the first option on. */
static int run(char **argv)
{
    for (; *argv && (*argv)[0] == '-' && (*argv)[1]; argv++) {
        if (strcmp(*argv, "--") == 0) {
            argv++;
            break;
        }
        size_t length = strcspn(*argv, "="), i = 0;
        while (
            i < sizeof options / sizeof *options &&
            (strlen(options[i].option) != length || memcmp(options[i].option, *argv, length) != 0))
            i++;
        if (i == sizeof options / sizeof *options)
            return fail(2, "%s: no such option; see softcuda --help", *argv);
        const char *value = (*argv)[length] == '=' ? *argv + length + 1 : *++argv;
        /* "--report -- PROGRAM": nobody means a file of that name. */
        if (!value || (value == *argv && strncmp(value, "--", 2) == 0))
            return fail(2, "%s: a value is missing", options[i].option);
        int code = set_option(options[i].option, options[i].name, value);
        if (code)
            return code;
    }
    if (!*argv)
        return fail(2, "%s: name a program; see softcuda --help", "run");
    if (!set_library() || !set_resources())
        return 1;
    execvp(*argv, argv);
    return errno == ENOENT ? fail(127, "%s: no such program", *argv)
                           : fail(126, "%s: it cannot be run", *argv);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 ||
        strcmp(command, "help") == 0) {
        fputs(help, stdout);
        return fflush(stdout) ? 71 : 0;
    }
    if (strcmp(command, "run") == 0) {
        if (argv[2] && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            fputs(help, stdout);
            return fflush(stdout) ? 71 : 0;
        }
        return run(argv + 2);
    }
    if (strcmp(command, "cards") == 0 && argc == 2)
        return print_cards();
    if (strcmp(command, "report") == 0 && argc == 3)
        return print_report(argv[2]);
    if (strcmp(command, "report") == 0)
        return fail(2, "%s: name one file that run --report wrote", command);
    if (strcmp(command, "cards") == 0)
        return fail(2, "%s: it takes no argument", command);
    if (*command)
        return fail(2, "%s: no such command; see softcuda --help", command);
    fputs(help, stderr);
    return 2;
}
