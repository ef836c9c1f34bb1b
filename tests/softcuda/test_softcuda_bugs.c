/* The checkers point at planted bugs, and at nothing else: kernels/bugs_*.cu. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"

#define FLOATS 4096
#define WORDS  256

struct bug {
    const char *file, *kernel;
    const char *says; /* part of the report that names the marked line */
    uint32_t grid, block;
    int n;
    size_t shared;
    bool frees; /* zeros has been freed when the bug runs */
};

static const struct bug bugs[] = {
    {"bugs_shared", "no_barrier_after_store", "need a barrier", 1, 128, 0, 0, false},
    {"bugs_shared", "no_barrier_before_overwrite", "need a barrier", 1, 128, 3, 0, false},
    {"bugs_shared", "no_syncwarp", "need a __syncwarp", 1, 32, 0, 0, false},
    {"bugs_shared", "short_syncwarp_mask", "need a __syncwarp", 1, 32, 0, 0, false},
    {"bugs_shared", "warp_synchronous_tree", "need a __syncwarp", 1, 256, 0, 0, false},
    {"bugs_shared", "race_across_warps", "need a barrier", 1, 128, 0, 0, false},
    {"bugs_shared", "atomic_and_plain_read", "race", 1, 128, 0, 0, false},
    {"bugs_shared", "lanes_write_different_values", "write different values", 1, 32, 0, 0, false},
    {"bugs_shared", "neighbours_in_one_word", "need a __syncwarp", 1, 64, 0, 0, false},
    {"bugs_shared", "unwritten_shared", "never written", 1, 128, 128, 0, false},
    {"bugs_shared", "loop_bound_off_by_one", "out-of-bounds read of 4 bytes at 0x200", 1, 128, 128,
     0, false},
    {"bugs_shared", "beyond_dynamic_shared", "out-of-bounds write", 1, 128, 0, 512, false},
    {"bugs_shared", "wrong_stage", "need a barrier", 1, 128, 4, 0, false},
    {"bugs_shared", "wrong_barrier_count", "need a barrier", 1, 128, 0, 0, false},
    {"bugs_shared", "consumers_do_not_arrive", "barrier", 1, 64, 4, 0, false},
    {"bugs_shared", "rows_of_ldmatrix_outside", "out-of-bounds read of 16 bytes", 1, 32, 0, 0,
     false},
    {"bugs_shared", "misaligned_vector", "misaligned read of 16 bytes", 1, 32, 0, 0, false},
    {"bugs_shared", "flag_without_block_fence", "need a barrier", 1, 64, 0, 0, false},
    {"bugs_async", "no_wait", "has not been waited for", 1, 32, 0, 0, false},
    {"bugs_async", "no_commit", "has not been committed", 1, 32, 0, 0, false},
    {"bugs_async", "no_barrier_after_wait", "with the earlier cp.async", 1, 128, 0, 0, false},
    {"bugs_async", "wait_behind_barrier", "with the earlier cp.async", 1, 128, 0, 0, false},
    {"bugs_async", "wait_for_too_few", "has not been waited for", 1, 128, 4, 0, false},
    {"bugs_async", "copy_over_what_is_read", "race", 1, 128, 4, 0, false},
    {"bugs_async", "copy_into_wrong_stage", "race", 1, 128, 4, 0, false},
    {"bugs_async", "store_into_a_copy", "has not been waited for", 1, 32, 0, 0, false},
    {"bugs_async", "tail_left_out", "never written", 1, 128, 402, 0, false},
    {"bugs_global", "blocks_write_the_same", "nothing orders blocks", 4, 128, 0, 0, false},
    {"bugs_global", "neighbour_of_another_block", "nothing orders blocks", 2, 128, 0, 0, false},
    {"bugs_global", "warps_without_barrier", "need a barrier", 1, 128, 0, 0, false},
    {"bugs_global", "counter_read_plainly", "nothing orders blocks", 8, 32, 0, 0, false},
    {"bugs_global", "last_block_without_fence", "nothing orders blocks", 8, 32, 0, 0, false},
    {"bugs_global", "fence_before_the_data", "nothing orders blocks", 8, 32, 0, 0, false},
    {"bugs_global", "fence_of_the_block_only", "nothing orders blocks", 8, 32, 0, 0, false},
    {"bugs_global", "count_before_barrier", "nothing orders blocks", 8, 64, 0, 0, false},
    {"bugs_global", "fix_up_without_fence", "nothing orders blocks", 8, 64, 0, 0, false},
    {"bugs_global", "unwritten_global", "never written", 1, 128, 0, 0, false},
    {"bugs_global", "vector_written_in_part", "byte", 1, 32, 0, 0, false},
    {"bugs_global", "one_behind_the_tile", "out-of-bounds write of 4 bytes", 33, 128, FLOATS, 0,
     false},
    {"bugs_global", "one_before_the_tile", "out-of-bounds read of 4 bytes", 1, 128, 0, 0, false},
    {"bugs_global", "misaligned_global", "misaligned read of 16 bytes", 1, 32, 0, 0, false},
    {"bugs_global", "after_free", "which had 1024 and was freed", 1, 32, 0, 0, true},
    {"bugs_global", "null_pointer", "no allocation is near: a null pointer", 1, 32, 0, 0, false},
    {"bugs_global", "beyond_constant", "behind the end of the variable", 1, 32, 0, 0, false},
    {"bugs_global", "local_overflow", "out-of-bounds write of 4 bytes at 0x20 of local", 1, 32, 8,
     0, false},
    {"bugs_global", "unwritten_local", "never written", 1, 32, 8, 0, false},
    {"bugs_sync", "divergent_barrier", "divergent", 1, 64, 0, 0, false},
    {"bugs_sync", "return_before_barrier", "have left the kernel", 1, 128, 0, 0, false},
    {"bugs_sync", "return_before_named_barrier", "deadlock", 1, 128, 0, 0, false},
    {"bugs_sync", "counts_differ", "the same count", 1, 128, 0, 0, false},
    {"bugs_sync", "barriers_crossed", "deadlock", 1, 64, 0, 0, false},
    {"bugs_sync", "half_a_warp_shuffles", "have left the kernel", 1, 32, 0, 0, false},
    {"bugs_sync", "both_halves_shuffle_apart", "divergent", 1, 32, 0, 0, false},
    {"bugs_sync", "from_a_lane_that_is_not_there", "does not take part", 1, 32, 0, 0, false},
    {"bugs_sync", "lane_outside_its_mask", "not in its mask", 1, 32, 0, 0, false},
    {"bugs_sync", "vote_with_a_stale_mask", "divergent", 1, 32, 0, 0, false},
    {"bugs_sync", "mask_of_another_group", "not in its mask", 1, 32, 0, 0, false},
    {"bugs_sync", "waits_for_a_block_without_room", "a block must not wait", 64, 32, 0, 0, false},
    {"bugs_sync", "spins_on_shared", "deadlock", 1, 64, 0, 0, false},
    {"bugs_sync", "lock_not_given_back", "deadlock", 1, 32, 0, 0, false},
    {"bugs_sync", "waits_under_a_lock", "deadlock", 2, 32, 0, 0, false},
    {"bugs_sync", "endless_loop", "deadlock", 1, 32, 27, 0, false},
};
#define BUGS ((int)(sizeof bugs / sizeof *bugs))

/* Fixed order, and shuffled ones; copies that land late and early; portable handlers once. */
#define SETTINGS 6
static void choose_settings(struct rig *rig, int i, bool with)
{
    rig->settings.shuffled = i % 3 > 0;
    rig->settings.seed = (uint64_t)i * 7919;
    rig->settings.async = i < 3 ? ASYNC_LATE : ASYNC_EARLY;
    rig->settings.n_workers = i == 5 && !(with && RACES_ARE_FATAL) ? 2 : 1;
}

/* Lines of the source with the remark "BUG: NAME": bit l % 64 of lines[l / 64]. */
#define LINES 1024
static int marked_lines(const struct bug *bug, int *lines)
{
    char path[256], remark[128];
    struct file_map map;
    struct err err;
    snprintf(path, sizeof path, "tests/softcuda/kernels/%s.cu", bug->file);
    snprintf(remark, sizeof remark, "BUG: %s */", bug->kernel);
    ck_assert_msg(file_map(&map, path, &err) == STATUS_OK, "%s", err.text);
    char *text = strndup((const char *)map.data, map.size);
    file_unmap(&map);
    int n = 0, number = 1;
    for (char *line = text, *end; *line; line = end, number++) {
        end = strchr(line, '\n') + 1;
        end[-1] = '\0';
        if (strstr(line, remark))
            lines[n++] = number;
    }
    free(text);
    ck_assert_msg(n > 0, "%s has no remark", bug->kernel);
    return n;
}

/* Whether a report says what it must, and it or its other party is at a marked line. */
static bool points_at(const char *reports, const struct bug *bug, const int *lines, int n)
{
    char place[160];
    for (const char *at = reports; (at = strstr(at, "softcuda: error: ")); at++) {
        const char *end = strstr(at + 1, "softcuda: error: ");
        size_t length = end ? (size_t)(end - at) : strlen(at);
        char *one = strndup(at, length);
        bool good = false;
        for (int i = 0; i < n && !good; i++) {
            snprintf(place, sizeof place, "%s.cu:%d", bug->file, lines[i]);
            const char *found = strstr(one, place);
            good = found && strchr(" ,:)", found[strlen(place)]) && strstr(one, bug->says);
        }
        free(one);
        if (good)
            return true;
    }
    return false;
}

static const char *find_kernel(const struct rig *rig, const struct bug *bug, bool with)
{
    char part[128];
    snprintf(part, sizeof part, "%zu%sILb%dE", strlen(bug->kernel), bug->kernel, with);
    for (int i = 0; i < rig->n_programs; i++)
        if (strstr(rig->programs[i].name, part))
            return rig->programs[i].name;
    ck_abort_msg("no kernel %s", part);
    return NULL;
}

static void run(struct rig *rig, const struct bug *bug, bool with)
{
    float *in = malloc(FLOATS * sizeof *in);
    unsigned *zeros = calloc(WORDS, sizeof *zeros);
    fill_uniform(in, FLOATS, 1, 1.0f, 100.0f);
    const uint64_t parameters[4] = {
        rig_upload(rig, in, FLOATS * sizeof *in),
        rig_upload(rig, NULL, FLOATS * sizeof(float)),
        rig_upload(rig, zeros, WORDS * sizeof *zeros),
        (uint64_t)bug->n,
    };
    if (bug->frees && with)
        ck_assert(memory_free(&rig->memory, parameters[2]));
    free(in);
    free(zeros);
    rig->reporter.checks = CHECK_ALL;
    rig_launch(rig, find_kernel(rig, bug, with), (uint32_t[3]){bug->grid, 1, 1},
               (uint32_t[3]){bug->block, 1, 1}, bug->shared, 4, parameters);
}

START_TEST(planted_bug)
{
    const struct bug *bug = &bugs[_i];
    int lines[LINES], n = marked_lines(bug, lines);
    for (int i = 0; i < SETTINGS; i++) {
        struct rig rig;
        rig_open(&rig);
        if (!rig_load_kernel_file(&rig, bug->file, i == 1)) {
            rig_close(&rig);
            SKIP("needs nvcc");
        }
        choose_settings(&rig, i, true);
        run(&rig, bug, true);
        ck_assert_msg(points_at(rig.reports, bug, lines, n),
                      "%s, settings %d: no report '%s' at line %d:\n%s", bug->kernel, i, bug->says,
                      lines[0], rig.reports);
        ck_assert_int_gt(rig.reporter.n_reports, 0);
        rig_close(&rig);
    }
}
END_TEST

START_TEST(repaired_twin)
{
    const struct bug *bug = &bugs[_i];
    for (int i = 0; i < SETTINGS; i++) {
        struct rig rig;
        rig_open(&rig);
        if (!rig_load_kernel_file(&rig, bug->file, i == 1)) {
            rig_close(&rig);
            SKIP("needs nvcc");
        }
        choose_settings(&rig, i, false);
        run(&rig, bug, false);
        ck_assert_msg(rig.reports[0] == '\0', "%s, settings %d:\n%s", bug->kernel, i, rig.reports);
        ck_assert_int_eq(rig.reporter.n_reports, 0);
        ck_assert_int_eq(rig.reporter.outcome, OUTCOME_GOOD);
        rig_close(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_bugs");
    TCase *tests = tcase_create("planted bugs and their twins");
    tcase_set_timeout(tests, 600); /* polling blocks are slow under a sanitizer */
    tcase_add_loop_test(tests, planted_bug, 0, BUGS);
    tcase_add_loop_test(tests, repaired_twin, 0, BUGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
