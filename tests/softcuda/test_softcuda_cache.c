/* The models of L1 and L2: what is read twice, what is kept, what is written, and on what the
 * figures depend. */
#include "tests/softcuda/rig.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/traffic.h"

static const uint32_t one[3] = {1, 1, 1}, warp[3] = {32, 1, 1};
#define KB 1024

static uint64_t counted(const struct rig *rig, enum counter counter)
{
    return rig->totals.value[counter];
}

/* ---- the cache itself ----------------------------------------------------------------------- */

START_TEST(sectors_and_replacement)
{
    struct cache cache;
    uint32_t missing;
    ck_assert(cache_open(&cache, CACHE_WAYS * CACHE_LINE)); /* one set */
    ck_assert_uint_eq(cache.sets, 1);
    ck_assert_uint_eq(cache_read(&cache, 7, 3, 0, &missing), 0);
    ck_assert_uint_eq(missing, 3);
    ck_assert_uint_eq(cache_read(&cache, 7, 6, 0, &missing), 2); /* one there, one not */
    ck_assert_uint_eq(missing, 4);
    ck_assert_uint_eq(cache_read(&cache, 8, 1, 15, &missing), 0); /* with its whole line */
    ck_assert_uint_eq(missing, 15);
    ck_assert_uint_eq(cache_read(&cache, 8, 14, 0, &missing), 14);
    /* 14 more lines fill the set, and 7 was used before 8. */
    for (uint64_t line = 100; line < 114; line++)
        cache_read(&cache, line, 1, 0, &missing);
    ck_assert_uint_eq(cache_read(&cache, 7, 1, 0, &missing), 1);
    cache_read(&cache, 200, 1, 0, &missing); /* 8 goes, the least recently used one */
    ck_assert_uint_eq(cache_read(&cache, 8, 15, 0, &missing), 0);
    ck_assert_uint_eq(cache_read(&cache, 7, 1, 0, &missing), 1);
    cache_close(&cache);
}
END_TEST

START_TEST(writes_are_written_back_once)
{
    struct cache cache;
    uint32_t missing;
    ck_assert(cache_open(&cache, CACHE_WAYS * CACHE_LINE));
    ck_assert_uint_eq(cache_write(&cache, 1, 3), 0);
    ck_assert_uint_eq(cache_write(&cache, 1, 6), 2);
    ck_assert_uint_eq(cache.dirty, 3);
    ck_assert_uint_eq(cache_read(&cache, 1, 7, 0, &missing), 7);
    for (uint64_t line = 100; line < 100 + CACHE_WAYS; line++)
        cache_read(&cache, line, 1, 0, &missing);
    ck_assert_uint_eq(cache.dirty, 0);
    ck_assert_uint_eq(cache.evicted, 3);
    cache_write(&cache, 1, 15);
    cache_drop(&cache, 1, 3);
    ck_assert_uint_eq(cache_read(&cache, 1, 15, 0, &missing), 12);
    for (int i = 0; i < 70000; i++) /* more often than an epoch has numbers */
        cache_clear(&cache);
    ck_assert_uint_eq(cache_read(&cache, 1, 15, 0, &missing), 0);
    ck_assert_uint_eq(cache.evicted, 0);
    cache_close(&cache);
}
END_TEST

/* Host memory and device memory of the same low bits are different lines. */
START_TEST(windows_are_kept_apart)
{
    ck_assert_uint_ne(cache_line_of((WINDOW_GLOBAL << WINDOW_SHIFT) + 4096), cache_line_of(4096));
    ck_assert_uint_eq(cache_line_of(0x7FFFFFFFFFFF), ((uint64_t)1 << 40) - 1);
}
END_TEST

/* ---- L1 ------------------------------------------------------------------------------------- */

static void run_body(struct rig *rig, const char *body, bool portable)
{
    uint64_t memory = rig_upload(rig, NULL, 64 * KB);
    memset(rig_host(rig, memory), 0, 64 * KB);
    rig->card = card_named("rtx4090");
    rig_load_body(rig, 1, body, portable);
    ck_assert_int_eq(rig_launch(rig, NULL, one, warp, 0, 1, &memory), STATUS_OK);
}
#define OWN                                                                                        \
    "mov.u32 %r1, %tid.x; mul.wide.u32 %d1, %r1, 4; ld.param.u64 %d2, [p0];\n"                     \
    "add.u64 %d2, %d2, %d1;\n"

START_TEST(l1_of_a_cta)
{
    static const struct {
        const char *body;
        uint64_t looked_up, hit, l2_reads, l2_writes, l2_atomics, dram;
    } cases[] = {
        {"ld.global.u32 %r2, [%d2]; ld.global.u32 %r3, [%d2];", 8, 4, 4, 0, 0, 128},
        {"ld.global.nc.u32 %r2, [%d2]; ld.global.ca.u32 %r3, [%d2];", 8, 4, 4, 0, 0, 128},
        {"ld.global.cg.u32 %r2, [%d2]; ld.global.cg.u32 %r3, [%d2];", 0, 0, 8, 0, 0, 128},
        {"ld.volatile.global.u32 %r2, [%d2]; ld.relaxed.gpu.global.u32 %r3, [%d2];", 0, 0, 8, 0, 0,
         128},
        /* a store is not kept, but one to a line that is there stays */
        {"st.global.u32 [%d2], %r1; ld.global.u32 %r3, [%d2];", 4, 0, 4, 4, 0, 0},
        {"ld.global.u32 %r2, [%d2]; st.global.u32 [%d2], %r1; ld.global.u32 %r3, [%d2];", 8, 4, 4,
         4, 0, 128},
        /* an atomic makes it old */
        {"ld.global.u32 %r2, [%d2]; red.global.add.u32 [%d2], %r1; ld.global.u32 %r3, [%d2];", 8, 0,
         8, 0, 4, 128},
        {"red.global.add.u32 [%d2], %r1;", 0, 0, 0, 0, 4, 128},
        /* lines and halves that come along: one lane's sector of each */
        {"setp.eq.u32 %p1, %r1, 0; @%p1 ld.global.L2::128B.u32 %r2, [%d2];", 1, 0, 1, 0, 0, 128},
        {"setp.eq.u32 %p1, %r1, 0; @%p1 ld.global.L2::64B.u32 %r2, [%d2];", 1, 0, 1, 0, 0, 64},
        {"setp.eq.u32 %p1, %r1, 0; @%p1 ld.global.u32 %r2, [%d2];", 1, 0, 1, 0, 0, 32},
    };
    struct rig rig;
    char body[1024];
    rig_open(&rig);
    snprintf(body, sizeof body, "%s%s", OWN, cases[_i].body);
    run_body(&rig, body, false);
    ck_assert_uint_eq(counted(&rig, COUNT_L1_SECTORS), cases[_i].looked_up);
    ck_assert_uint_eq(counted(&rig, COUNT_L1_HITS), cases[_i].hit);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_READS), cases[_i].l2_reads);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_WRITES), cases[_i].l2_writes);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_ATOMICS), cases[_i].l2_atomics);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), cases[_i].dram);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_WRITE_BYTES),
                      32 * (cases[_i].l2_writes | cases[_i].l2_atomics));
    rig_close(&rig);
}
END_TEST

/* ---- L2 ------------------------------------------------------------------------------------- */

/* Each CTA reads `span` bytes from `stride` times its number on, `times` over, past L1. */
static const char stream[] =
    "ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; ld.param.u64 %d3, [p2];\n"
    "ld.param.u64 %d4, [p3];\n"
    "mov.u32 %r1, %ctaid.x; cvt.u64.u32 %d5, %r1; mad.lo.u64 %d6, %d5, %d3, %d1;\n"
    "mov.u32 %r2, %tid.x; mul.wide.u32 %d7, %r2, 16; add.u64 %d6, %d6, %d7; mov.u64 %d8, 0;\n"
    "TIME: mov.u64 %d9, 0; mov.u64 %d10, %d6;\n"
    "NEXT: ld.global.cg.v4.u32 {%r3, %r4, %r5, %r6}, [%d10];\n"
    "add.u64 %d10, %d10, 512; add.u64 %d9, %d9, 512; setp.lt.u64 %p1, %d9, %d2; @%p1 bra NEXT;\n"
    "add.u64 %d8, %d8, 1; setp.lt.u64 %p2, %d8, %d4; @%p2 bra TIME;";

static struct card small_l2(uint64_t bytes)
{
    struct card card = *card_named("rtx4090");
    card.l2_bytes = bytes;
    return card;
}

static void run_stream(struct rig *rig, const struct card *card, uint32_t n_ctas, uint64_t span,
                       uint64_t stride, uint64_t times)
{
    rig->card = card;
    uint64_t parameters[4] = {0, span, stride, times};
    /* At the same place each time: which lines share a set depends on addresses. */
    parameters[0] =
        rig->memory.count > 0 ? rig->memory.table[0]->base : rig_upload(rig, NULL, 1024 * KB);
    ck_assert_int_eq(rig_launch(rig, NULL, (uint32_t[3]){n_ctas, 1, 1}, warp, 0, 4, parameters),
                     STATUS_OK);
}

/* A stream of half of L2 is read from memory once, one of four times L2 each time again: with LRU
 * what comes next has always just gone. */
START_TEST(streams_below_and_above_l2)
{
    struct rig rig;
    struct card card = small_l2(64 * KB);
    rig_open(&rig);
    rig_load_body(&rig, 4, stream, false);
    run_stream(&rig, &card, 1, 32 * KB, 0, 3);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_READS), 3 * 32 * KB / 32);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_READ_HITS), 2 * 32 * KB / 32);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 32 * KB);
    run_stream(&rig, &card, 1, 256 * KB, 0, 3);
    ck_assert_uint_eq(counted(&rig, COUNT_L2_READ_HITS), 0);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 3 * 256 * KB);
    rig_close(&rig);
}
END_TEST

/* CTAs that are on the card together and read the same panel, larger than L2, meet in it; one after
 * another they do not. */
START_TEST(ctas_of_a_wave_share_l2)
{
    struct rig rig;
    struct card card = small_l2(64 * KB);
    rig_open(&rig);
    rig_load_body(&rig, 4, stream, false);
    rig.resident = 4;
    run_stream(&rig, &card, 8, 256 * KB, 0, 1);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 2 * 256 * KB); /* two waves */
    ck_assert_uint_eq(counted(&rig, COUNT_L2_READS), 8 * 256 * KB / 32);
    rig.resident = 1;
    run_stream(&rig, &card, 8, 256 * KB, 0, 1);
    ck_assert_uint_eq(counted(&rig, COUNT_DRAM_READ_BYTES), 8 * 256 * KB);
    rig_close(&rig);
}
END_TEST

/* All figures are the same for any number of workers, and the order of CTAs changes none but those
 * of L2. */
START_TEST(figures_do_not_depend_on_workers)
{
    struct rig rig;
    struct card card = small_l2(64 * KB);
    struct totals first;
    rig_open(&rig);
    rig_load_body(&rig, 4, stream, false);
    rig.resident = 5;
    rig.settings.n_workers = 1;
    run_stream(&rig, &card, 37, 48 * KB, 5 * KB, 2);
    first = rig.totals;
    ck_assert_uint_eq(first.value[COUNT_CTAS], 37);
    for (int workers = 2; workers <= 6; workers++) {
        rig.settings.n_workers = workers;
        run_stream(&rig, &card, 37, 48 * KB, 5 * KB, 2);
        for (int i = 0; i < COUNTERS; i++)
            ck_assert_msg(rig.totals.value[i] == first.value[i], "%d workers: %s", workers,
                          counter_names[i]);
    }
    rig.settings.shuffled = true;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        rig.settings.seed = seed;
        run_stream(&rig, &card, 37, 48 * KB, 5 * KB, 2);
        for (int i = 0; i < COUNTERS; i++)
            if (i != COUNT_L2_READ_HITS && i != COUNT_DRAM_READ_BYTES)
                ck_assert_msg(rig.totals.value[i] == first.value[i], "seed %d: %s", (int)seed,
                              counter_names[i]);
    }
    rig_close(&rig);
}
END_TEST

/* Of every fourth CTA the figures are a quarter, scaled up. */
START_TEST(samples_are_scaled)
{
    struct rig rig;
    struct card card = small_l2(64 * KB);
    struct totals all;
    rig_open(&rig);
    rig_load_body(&rig, 4, stream, false);
    run_stream(&rig, &card, 18, 2 * KB, 2 * KB, 1);
    all = rig.totals;
    rig.sample = 4; /* 0, 4, 8, 12 and 16: 5 of 18 */
    run_stream(&rig, &card, 18, 2 * KB, 2 * KB, 1);
    for (int i = 0; i < COUNTERS; i++)
        ck_assert_msg(rig.totals.value[i] == all.value[i], "%s: %d for %d", counter_names[i],
                      (int)rig.totals.value[i], (int)all.value[i]);
    ck_assert_uint_eq(all.value[COUNT_GLOBAL_LOAD_SECTORS], 18 * 2 * KB / 32);
    rig_close(&rig);
}
END_TEST

/* Logs that have grown beyond their limit are replayed early: nothing is lost. */
START_TEST(long_logs_are_replayed_early)
{
    struct traffic traffic;
    struct cache l2;
    struct cta_counters ctas[3];
    memset(ctas, 0, sizeof ctas);
    ck_assert(cache_open(&l2, 64 * KB));
    traffic_open(&traffic, &l2, 3, 2);
    traffic.logged_most = 2000;
    for (int i = 0; i < 3; i++) {
        ck_assert(traffic_begin_cta(&traffic, &ctas[i]));
        for (uint64_t line = 0; line < 1500; line++)
            traffic_log(&traffic, &ctas[i], line, 0, TRAFFIC_READ, 15);
    }
    ck_assert_int_gt(traffic.n_early, 0);
    ck_assert_int_le(traffic.logged, 2000);
    for (int i = 2; i >= 0; i--)
        ck_assert(traffic_end_cta(&traffic, &ctas[i], i));
    ck_assert_int_eq(traffic.first, 2); /* both waves are through */
    ck_assert_int_eq(traffic.n_waves, 0);
    ck_assert_int_eq(traffic.logged, 0);
    traffic_finish(&traffic);
    ck_assert_uint_eq(traffic.value[COUNT_L2_READS], 3 * 1500 * 4);
    traffic_close(&traffic);
    cache_close(&l2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("softcuda_cache");
    TCase *tests = tcase_create("caches");
    tcase_add_test(tests, sectors_and_replacement);
    tcase_add_test(tests, writes_are_written_back_once);
    tcase_add_test(tests, windows_are_kept_apart);
    tcase_add_loop_test(tests, l1_of_a_cta, 0, 11);
    tcase_add_test(tests, streams_below_and_above_l2);
    tcase_add_test(tests, ctas_of_a_wave_share_l2);
    tcase_add_test(tests, figures_do_not_depend_on_workers);
    tcase_add_test(tests, samples_are_scaled);
    tcase_add_test(tests, long_logs_are_replayed_early);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
