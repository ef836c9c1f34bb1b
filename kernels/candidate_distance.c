#include "kernels/candidate_distance.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "kernels/cpu.h"

#ifndef AHEAD
#define AHEAD 1024
#endif
#ifndef SIDE2
#define SIDE2 6
#endif
#define LANES       8
#define MOST_TRIALS 12  /* of a tile: 12 sums, 2 pieces of x, a piece of c and a difference */
#ifndef PIECE
#define PIECE       5120
#endif
#ifndef BLOCK
#define BLOCK 16
#endif
#define CHUNK       64

struct block {
    float partial[BLOCK * CHUNK + LANES][LANES];
    float sums[BLOCK * CHUNK + LANES];
    float packed[PIECE + 16 * CHUNK];
};

#if CPU_X86
struct tile {
    const float *x, *c;
    size_t d;
    int rows, columns, stride, ahead;
    bool first;
};
typedef void tile_function(float (*partial)[LANES], const struct tile *tile);

TARGET_AVX2
static inline __attribute__((always_inline)) void
tile_avx2(float (*p)[LANES], const struct tile *tile, int trials)
{
    size_t d = tile->d;
    int columns = tile->columns, ahead = tile->ahead;
    bool first = tile->first;
    const float *x0 = tile->x;
    for (int r = 0; r < tile->rows; r ++, x0 += d, p += tile->stride) {
        __m256 sum[MOST_TRIALS];
        const float *c = tile->c, *x = x0, *end = x + columns / 16 * 16;
        UNROLL
        for (int t = 0; t < trials; t++)
            sum[t] = first ? _mm256_setzero_ps() : _mm256_load_ps(p[t]);
        for (; x < end; x += 2 * LANES, c += trials * 2 * LANES) {
            _mm_prefetch((const char *)(x + ahead), _MM_HINT_T0);
            __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(x + 8);
            UNROLL
            for (int t = 0; t < trials; t++) {
                __m256 u = _mm256_sub_ps(a, _mm256_load_ps(c + t * LANES));
                sum[t] = _mm256_fmadd_ps(u, u, sum[t]);
            }
            UNROLL
            for (int t = 0; t < trials; t++) {
                __m256 u = _mm256_sub_ps(b, _mm256_load_ps(c + (t + trials) * LANES));
                sum[t] = _mm256_fmadd_ps(u, u, sum[t]);
            }
        }
        for (int left = columns % 16; left > 0; left -= LANES, x += LANES, c += trials * LANES) {
            __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lane);
            __m256 a = _mm256_maskload_ps(x, there);
            UNROLL
            for (int t = 0; t < trials; t++) {
                __m256 u = _mm256_sub_ps(a, _mm256_load_ps(c + t * LANES));
                sum[t] = _mm256_fmadd_ps(u, u, sum[t]);
            }
        }
        UNROLL
        for (int t = 0; t < trials; t++)
            _mm256_store_ps(p[t], sum[t]);
    }
}

#define AVX2_TILE(trials)                                                                          \
    TARGET_AVX2                                                                                    \
    static void tile_avx2_##trials(float (*p)[LANES], const struct tile *tile)                     \
    {                                                                                              \
        tile_avx2(p, tile, trials);                                                                \
    }
AVX2_TILE(1)
AVX2_TILE(2)
AVX2_TILE(3)
AVX2_TILE(4)
AVX2_TILE(5)
AVX2_TILE(6)
AVX2_TILE(7)
AVX2_TILE(8)
AVX2_TILE(9)
AVX2_TILE(10)
AVX2_TILE(11)
AVX2_TILE(12)
static tile_function *const tiles[] = {tile_avx2_1, tile_avx2_2, tile_avx2_3, tile_avx2_4, tile_avx2_5, tile_avx2_6,tile_avx2_7,tile_avx2_8,tile_avx2_9,tile_avx2_10,tile_avx2_11,tile_avx2_12};

static void pack(float *packed, const float *c, size_t d, int trials, int columns)
{
    for (int j = 0; j < columns; j += LANES)
        for (int t = 0; t < trials; t++, packed += LANES)
            for (int l = 0; l < LANES; l++)
                packed[l] = j + l < columns ? c[(size_t)t * d + j + l] : 0;
}

TARGET_AVX2
static void finish_avx2(float *out, float (*partial)[LANES], int n)
{
    for (int i = 0; i < n; i += LANES) {
        __m256 four[4], two[2];
        UNROLL
        for (int q = 0; q < 4; q++) {
            __m256 a = _mm256_load_ps(partial[i + q]), b = _mm256_load_ps(partial[i + 4 + q]);
            four[q] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),
                                    _mm256_permute2f128_ps(a, b, 0x31));
        }
        UNROLL
        for (int q = 0; q < 2; q++) {
            __m256d a = _mm256_castps_pd(four[2 * q]), b = _mm256_castps_pd(four[2 * q + 1]);
            two[q] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                                   _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
        }
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_shuffle_ps(two[0], two[1], 0x88),
                                                _mm256_shuffle_ps(two[0], two[1], 0xDD)));
    }
}
#endif

struct job {
    float *out;
    const float *x, *c;
    int n, t, d, rows_per_task;
    struct device *device;
};

static void task_run(void *context, int task, int worker)
{
    const struct job *job = context;
    struct block *block = device_scratch(job->device, worker);
    size_t d = (size_t)job->d;
    int first = task * job->rows_per_task, last = job->n - first < job->rows_per_task ? job->n : first + job->rows_per_task;
    int t = job->t, groups = (t + MOST_TRIALS - 1) / MOST_TRIALS;
    int pieces = (job->d * t + PIECE - 1) / PIECE;
    int piece = ((job->d + pieces - 1) / pieces + 15) / 16 * 16;
    for (int i = first; i < last; i += BLOCK) {
        int rows = last - i < BLOCK ? last - i : BLOCK;
        for (int j = 0; j < job->d; j += piece) {
            int columns = job->d - j < piece ? job->d - j : piece;
            float *packed = block->packed;
            for (int g = 0, at = 0; g < groups; g++) {
                int size = t / groups + (g < t % groups);
                if (pieces > 1 || i == first)
                    pack(packed, job->c + (size_t)at * d + j, d, size, columns);
                struct tile tile = {job->x + (size_t)i * d + j, packed, d, rows, columns, t, pieces > 1 ? job->d : AHEAD, j == 0};
                tiles[size - 1](block->partial + at, &tile);
                at += size;
                packed += (columns + 7) / 8 * 8 * size;
            }
        }
        int n = rows * t;
        finish_avx2(block->sums, block->partial, n);
#ifndef NOOUT
        memcpy(job->out + (size_t)i * t, block->sums, n * sizeof(float));
#endif
    }
}

void candidate_distance_fwd_cpu(struct device *device, float *out, const float *x, const float *c,
                                int n, int t, int d)
{
    struct job job = {out, x, c, n, t, d, 1 + 32768 / d, device};
    job.rows_per_task = (job.rows_per_task + BLOCK - 1) / BLOCK * BLOCK;
    threads_run(device->threads, (n + job.rows_per_task - 1) / job.rows_per_task, task_run, &job);
}

enum status candidate_distance_fwd(struct device *device, float *out, const float *x,
                                   const float *c, int n, int t, int d, struct err *err)
{
    candidate_distance_fwd_cpu(device, out, x, c, n, t, d);
    (void)err;
    return 0;
}
