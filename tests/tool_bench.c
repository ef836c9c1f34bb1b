/* `midashi bench` with planted operations, for tests/cli/test_bench.sh:
 *
 *   right_fwd   RMSNorm; where this program's name ends in "slow", of a tenth more rows
 *   wrong_fwd   RMSNorm, but one value of its result is off */
#include <stdio.h>
#include <string.h>
#include "bench/operations.h"
#include "kernels/rmsnorm.h"
#include "tools/midashi/commands.h"

enum { N, D };
enum { Y, X, WEIGHT };

static bool slow;

static enum status run_right(struct trial *trial, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    TRY(bench_rmsnorm.run(trial, err));
    if (slow)
        rmsnorm_fwd_cpu(trial->device, trial_at(trial, Y), trial_at(trial, X),
                        trial_at(trial, WEIGHT), n / 10, d, 1e-5f);
    return STATUS_OK;
}

static enum status run_wrong(struct trial *trial, struct err *err)
{
    TRY(bench_rmsnorm.run(trial, err));
    float *y = trial->tensors[Y].host;
    y[trial->tensors[Y].n / 2] *= 1.001f;
    return STATUS_OK;
}

static struct bench_operation right, wrong;
const struct bench_operation *const bench_operations[] = {&right, &wrong, NULL};

int main(int argc, char **argv)
{
    const char *arguments[64];
    struct options options;
    struct err err = {0};
    size_t length = strlen(argv[0]);
    if (argc < 2 || argc > 24 || strcmp(argv[1], "bench") != 0)
        return STATUS_USAGE;
    slow = length > 4 && strcmp(argv[0] + length - 4, "slow") == 0;
    right = wrong = bench_rmsnorm;
    right.name = "right_fwd", right.run = run_right;
    wrong.name = "wrong_fwd", wrong.run = run_wrong;
    enum status status =
        options_parse(&options, &command_bench, argc - 2, argv + 2, arguments, &err);
    if (status == STATUS_OK)
        status = command_bench.run(&options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "tool_bench: %s\n", err.text);
    return status;
}
