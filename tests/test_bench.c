/* The benchmark harness: its statistics, its shapes, and that every operation has a row which is
 * right on every device, and would be found wrong. */
#include "tests/support.h"

#include <ctype.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/operations.h"
#include "bench/pipeline.h"
#include "bench/run.h"
#include "bench/statistics.h"
#include "bench/synthetic.h"
#include "bench/trial.h"
#include "host/base/cuda_device.h"
#include "host/cuda_upload.h"
#include "tests/model_writer.h"

/* ---- statistics ----------------------------------------------------------------------------- */

START_TEST(medians_are_medians)
{
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {7};
    ck_assert(median_of(odd, 3) == 2);
    ck_assert(median_of(even, 4) == 2.5);
    ck_assert(median_of(one, 1) == 7);
}
END_TEST

/* Of n values the order statistics next to n/2 -+ 1.96 sqrt(n)/2 bound the median: the bootstrap
 * must find about those. */
START_TEST(intervals_hold_the_median)
{
    double values[401], scratch[401], interval[2], again[2];
    for (int i = 0; i < 401; i++)
        values[i] = i;
    median_interval(interval, values, 401, scratch);
    median_interval(again, values, 401, scratch);
    ck_assert_mem_eq(interval, again, sizeof interval);
    ck_assert(fabs(interval[0] - (200 - 19.6)) < 4);
    ck_assert(fabs(interval[1] - (200 + 19.6)) < 4);
    double same[5] = {2, 2, 2, 2, 2};
    median_interval(interval, same, 5, scratch);
    ck_assert(interval[0] == 2 && interval[1] == 2);
}
END_TEST

START_TEST(exponents_are_fitted)
{
    double x[4] = {1, 10, 100, 1000}, y[4];
    for (int i = 0; i < 4; i++)
        y[i] = 0.25 * pow(x[i], 1.5);
    ck_assert(fabs(fitted_exponent(x, y, 4) - 1.5) < 1e-12);
}
END_TEST

/* ---- shapes --------------------------------------------------------------------------------- */

START_TEST(shapes_are_parsed)
{
    struct named_shape shape;
    struct err err;
    int64_t size[SHAPE_DIMENSIONS];
    const char *const mnk[SHAPE_DIMENSIONS] = {"m", "n", "k"};
    ck_assert_int_eq(shape_parse(&shape, "k=3,m=1,n=2", &err), STATUS_OK);
    ck_assert(shape_order(size, &shape, mnk));
    ck_assert(size[0] == 1 && size[1] == 2 && size[2] == 3);
    const char *const nd[SHAPE_DIMENSIONS] = {"n", "d"};
    ck_assert(!shape_order(size, &shape, nd));
    ck_assert_int_eq(shape_parse(&shape, "m=1,m=2,n=2,k=3", &err), STATUS_OK);
    ck_assert(!shape_order(size, &shape, mnk));
    static const char *const bad[] = {"",
                                      "m",
                                      "m=",
                                      "m=0",
                                      "m=-1",
                                      "m=1,",
                                      "m=1x",
                                      "=3",
                                      "m=1n",
                                      "m= 1",
                                      "m=99999999999999999999",
                                      ",",
                                      "m=2.5",
                                      "m==2",
                                      "a=1,b",
                                      "m=2147483648",
                                      "a=1,b=1,c=1,d=1,e=1,f=1,g=1",
                                      "a_very_long_name_it_is=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_error(shape_parse(&shape, bad[i], &err), &err, STATUS_USAGE, "--shape", bad[i]);
}
END_TEST

static enum status rows_of(const struct bench_choice *choice, int *n, struct err *err)
{
    struct arena arena = {0};
    struct bench_row *rows;
    enum status status = bench_rows(&rows, n, bench_operations, choice, &arena, err);
    arena_free(&arena);
    return status;
}

START_TEST(rows_are_chosen)
{
    struct err err;
    struct named_shape shape;
    int small, full, all, n;
    ck_assert_int_eq(rows_of(&(struct bench_choice){.pattern = "", .set = "smollm2"}, &small, &err),
                     STATUS_OK);
    ck_assert_int_eq(
        rows_of(&(struct bench_choice){.pattern = "", .set = "smollm2", .full = true}, &full, &err),
        STATUS_OK);
    ck_assert_int_eq(rows_of(&(struct bench_choice){.pattern = "", .set = "all"}, &all, &err),
                     STATUS_OK);
    ck_assert(full > 2 * small && all > 2 * small);
    ck_assert_int_eq(
        rows_of(&(struct bench_choice){.pattern = "nf4_matmul_fwd nf4 m=256 n=4096 k=4096",
                                       .set = "all"},
                &n, &err),
        STATUS_OK);
    ck_assert_int_eq(n, 1); /* Llama 2 and 3 share it */
    check_error(rows_of(&(struct bench_choice){.pattern = "nothing", .set = "all"}, &n, &err), &err,
                STATUS_USAGE, "no row has \"nothing\"", "pattern");
    check_error(rows_of(&(struct bench_choice){.pattern = "", .set = "gpt"}, &n, &err), &err,
                STATUS_USAGE, "--set gpt", "set");
    ck_assert_int_eq(shape_parse(&shape, "m=704,n=4096,k=4096", &err), STATUS_OK);
    ck_assert_int_eq(rows_of(&(struct bench_choice){.pattern = "", .shape = &shape}, &n, &err),
                     STATUS_OK);
    ck_assert_int_eq(n, 6); /* NF4, float32, bfloat16; forwards and backwards */
    ck_assert_int_eq(shape_parse(&shape, "m=1,n=65536,k=65536", &err), STATUS_OK);
    check_error(rows_of(&(struct bench_choice){.pattern = "", .shape = &shape}, &n, &err), &err,
                STATUS_USAGE, "below 2^31", "too large");
    ck_assert_int_eq(shape_parse(&shape, "texts=65536,length=65536,d=1", &err), STATUS_OK);
    check_error(rows_of(&(struct bench_choice){.pattern = "", .shape = &shape}, &n, &err), &err,
                STATUS_USAGE, "texts times length", "too many tokens");
    ck_assert_int_eq(shape_parse(&shape, "n=1,heads=4194304,dim=512", &err), STATUS_OK);
    check_error(rows_of(&(struct bench_choice){.pattern = "", .shape = &shape}, &n, &err), &err,
                STATUS_USAGE, "n times heads and heads times dim", "too many heads");
    ck_assert_int_eq(shape_parse(&shape, "q=1", &err), STATUS_OK);
    check_error(rows_of(&(struct bench_choice){.pattern = "", .shape = &shape}, &n, &err), &err,
                STATUS_USAGE, "rmsnorm_fwd (n,d)", "dimensions");
}
END_TEST

/* ---- rows ----------------------------------------------------------------------------------- */

static bool has_row(const char *name)
{
    for (int i = 0; bench_operations[i]; i++)
        if (strcmp(bench_operations[i]->name, name) == 0)
            return true;
    return false;
}

static bool is_operation(const char *name)
{
    size_t length = strlen(name);
    return strstr(name, "_bwd") ? !strstr(name, "_cuda")
                                : length > 4 && strcmp(name + length - 4, "_fwd") == 0;
}

/* The contracts in kernels/ name the operations: "enum status NAME_fwd(struct device", NAME_bwd and
 * NAME_bwd_input. */
START_TEST(every_operation_has_a_row)
{
    glob_t headers;
    int n = 0;
    ck_assert_int_eq(glob("kernels/*.h", 0, NULL, &headers), 0);
    for (size_t i = 0; i < headers.gl_pathc; i++) {
        FILE *file = fopen(headers.gl_pathv[i], "r");
        char line[256], name[64];
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "enum status %63[a-z0-9_](struct device", name) == 1 &&
                is_operation(name)) {
                ck_assert_msg(has_row(name), "%s has no row in bench/operations.h", name);
                n++;
            }
        fclose(file);
    }
    globfree(&headers);
    ck_assert_int_ge(n, 17);
}
END_TEST

/* Small and odd sizes of an operation: 1, 2, ... in turn, or larger ones. */
static bool some_size(int64_t *size, const struct bench_operation *operation, int which)
{
    static const int64_t sizes[][SHAPE_DIMENSIONS] = {
        {1, 1, 1, 1, 1, 1},   {3, 5, 7, 1, 2, 1},   {17, 33, 70, 11, 10, 1},
        {2, 40, 6, 3, 64, 1}, {9, 40, 6, 3, 64, 1},
    };
    if (which == sizeof sizes / sizeof *sizes)
        return false;
    memcpy(size, sizes[which], sizeof *sizes);
    for (int i = 0; i < SHAPE_DIMENSIONS && operation->dimensions[i]; i++)
        if (strcmp(operation->dimensions[i], "dim") == 0 && size[i] % 2)
            size[i]++;
    return true;
}

START_TEST(rows_are_right_on_every_device)
{
    const struct bench_operation *operation = bench_operations[_i];
    struct device device;
    int64_t size[SHAPE_DIMENSIONS];
    if (operation->not_cpu)
        return;
    for (int i = 0; test_device(i, &device); i++) {
        for (int which = 0; some_size(size, operation, which); which++) {
            struct trial trial;
            struct verdict verdict;
            struct err err;
            if (operation->refuse && operation->refuse(size))
                continue;
            ck_assert_msg(trial_open(&trial, operation, size, &device, &err) == STATUS_OK, "%s",
                          err.text);
            for (int again = 0; again < 2; again++) { /* what is updated starts anew */
                ck_assert_int_eq(trial_verify(&trial, &verdict, &err), STATUS_OK);
                ck_assert_msg(verdict.worst <= 1 && verdict.n > 0,
                              "%s %s, %s, size %d: %g times what is allowed", operation->name,
                              operation->dtype, test_device_name(&device), which, verdict.worst);
            }
            ck_assert(trial.bytes_read > 0 && trial.bytes_written > 0);
            trial_close(&trial);
        }
        device_close(&device);
    }
}
END_TEST

static const struct bench_operation *spoiled_operation;
static int spoiled_output;  /* which of its outputs, from 0 */
static double spoiled_part; /* where in it: 0 the first element, 1 the last */

static bool is_output(const struct tensor *tensor)
{
    return tensor->role == TENSOR_WRITTEN || tensor->role == TENSOR_UPDATED;
}

/* Off by 2 %, or by one. */
static void spoil(struct tensor *tensor)
{
    size_t i = (size_t)(spoiled_part * (double)(tensor->n - 1));
    if (tensor->type == TENSOR_U8)
        ((uint8_t *)tensor->host)[i] ^= 1;
    else if (tensor->type == TENSOR_I32)
        ((int32_t *)tensor->host)[i]++;
    else if (tensor->type == TENSOR_I64)
        ((int64_t *)tensor->host)[i]++;
    else if (tensor->type == TENSOR_F64)
        ((double *)tensor->host)[i] *= 1.02;
    else
        ((float *)tensor->host)[i] = ((float *)tensor->host)[i] * 1.02f + 0.02f;
}

static enum status run_spoiled(struct trial *trial, struct err *err)
{
    int output = 0;
    TRY(spoiled_operation->run(trial, err));
    for (int i = 0; i < trial->n_tensors; i++)
        if (is_output(&trial->tensors[i]) && output++ == spoiled_output)
            spoil(&trial->tensors[i]);
    return STATUS_OK;
}

static int count_outputs(const struct bench_operation *operation, const int64_t *size,
                         struct device *device)
{
    struct trial trial;
    struct err err;
    int n = 0;
    ck_assert_int_eq(trial_open(&trial, operation, size, device, &err), STATUS_OK);
    for (int i = 0; i < trial.n_tensors; i++)
        n += is_output(&trial.tensors[i]);
    trial_close(&trial);
    return n;
}

/* One element of any output, wherever it lies. */
START_TEST(wrong_rows_are_found)
{
    struct bench_place place;
    struct err err;
    struct bench_result result;
    spoiled_operation = bench_operations[_i];
    struct bench_operation spoiled = *spoiled_operation;
    struct bench_row row = {.operation = &spoiled};
    spoiled.run = run_spoiled;
    if (spoiled.not_cpu)
        return;
    some_size(row.size, spoiled_operation, 4);
    ck_assert_int_eq(bench_place_open(&place, "cpu", 1, &err), STATUS_OK);
    int n_outputs = count_outputs(spoiled_operation, row.size, &place.device);
    ck_assert_int_ge(n_outputs, 1);
    for (spoiled_output = 0; spoiled_output < n_outputs; spoiled_output++)
        for (spoiled_part = 0; spoiled_part <= 1; spoiled_part += 0.25) {
            ck_assert_int_eq(bench_run_row(&result, &row, &place, 0.001, &err), STATUS_OK);
            ck_assert_msg(!result.verified && result.worst_error > 1, "%s %s, output %d at %g: %g",
                          spoiled.name, spoiled.dtype, spoiled_output, spoiled_part,
                          result.worst_error);
            ck_assert_int_eq(result.measurement.n_runs, 0);
        }
    bench_place_close(&place);
}
END_TEST

/* The values of the product that it leaves out: a tile of 6 x 16 in its midst. */
static enum status run_without_a_tile(struct trial *trial, struct err *err)
{
    int64_t m = trial->size[0], n = trial->size[1];
    TRY(bench_nf4_matmul.run(trial, err));
    for (int64_t i = m / 2; i < m / 2 + 6; i++)
        for (int64_t j = n / 2; j < n / 2 + 16; j++)
            ((float *)trial->tensors[0].host)[i * n + j] = spoiled_part > 0 ? NAN : 0;
    return STATUS_OK;
}

/* So large a product is not compared whole. */
START_TEST(a_tile_that_a_large_product_lacks_is_found)
{
    struct bench_place place;
    struct err err;
    struct bench_result result;
    struct bench_operation lacking = bench_nf4_matmul;
    struct bench_row row = {.operation = &lacking, .size = {256, 1536, 576}};
    ck_assert_int_eq(bench_place_open(&place, "cpu", 1, &err), STATUS_OK);
    lacking.run = run_without_a_tile;
    for (spoiled_part = 0; spoiled_part <= 1; spoiled_part++) {
        ck_assert_int_eq(bench_run_row(&result, &row, &place, 0.001, &err), STATUS_OK);
        ck_assert(!result.verified);
    }
    bench_place_close(&place);
}
END_TEST

START_TEST(rows_are_measured)
{
    struct bench_place place;
    struct err err;
    struct bench_result result;
    struct bench_row row = {.operation = &bench_nf4_matmul, .size = {64, 128, 256}};
    ck_assert_int_eq(bench_place_open(&place, "cpu", 1, &err), STATUS_OK);
    ck_assert_int_eq(bench_place_measure(&place, &err), STATUS_OK);
    ck_assert(place.cpu.arithmetic > 0 && place.cpu.read > 0 && place.cpu.copy > 0);
    ck_assert_int_eq(bench_run_row(&result, &row, &place, 0.05, &err), STATUS_OK);
    bench_place_close(&place);
    const struct measurement *m = &result.measurement;
    ck_assert(result.verified);
    ck_assert(result.operations == 2.0 * 64 * 128 * 256);
    /* x, y in float32; codes, a byte of absmax for 64, a float for 256 of those */
    ck_assert(result.bytes == 4.0 * 64 * (128 + 256) + 128 * 256 / 2 + 512 + 2 * 4);
    ck_assert_int_ge(m->n_runs, 9);
    ck_assert(0 < m->best && m->best <= m->interval[0] && m->interval[0] <= m->seconds &&
              m->seconds <= m->interval[1]);
    ck_assert(m->processor_seconds > 0 && m->bound_seconds > 0 && m->share_of_bound > 0);
    ck_assert_int_eq(m->bound, BOUND_ARITHMETIC);
}
END_TEST

/* So little is done by one of three threads, and the bound must not be the waking of the others. */
START_TEST(little_work_is_bounded_by_one_thread)
{
    struct bench_place place;
    struct err err;
    struct bench_result result;
    struct bench_row row = {.operation = &bench_rmsnorm, .size = {1, 576}};
    ck_assert_int_eq(bench_place_open(&place, "cpu", 3, &err), STATUS_OK);
    ck_assert_int_eq(bench_run_row(&result, &row, &place, 0.05, &err), STATUS_OK);
    bench_place_close(&place);
    ck_assert(result.verified && result.measurement.bound == BOUND_MEMORY);
    ck_assert_msg(result.measurement.share_of_bound < 3, "%g", result.measurement.share_of_bound);
}
END_TEST

/* Its bound writes where it reads, as it does: a copy would be slower. */
START_TEST(what_is_updated_is_bounded_in_place)
{
    struct device device;
    struct trial trial;
    struct traffic traffic;
    struct err err;
    int64_t size[SHAPE_DIMENSIONS] = {16, 64};
    for (int i = 0; test_device(i, &device); i++) {
        ck_assert_int_eq(trial_open(&trial, &bench_residual_add, size, &device, &err), STATUS_OK);
        ck_assert(trial.bytes_read == 2 * 4096 && trial.bytes_written == 4096);
        ck_assert(trial.bytes_updated == 4096);
        trial_close(&trial);
        ck_assert_int_eq(traffic_open(&traffic, 4096, 0, 4096 * 3, &err), STATUS_OK);
        ck_assert(measure_traffic(&device, &traffic, threads_size(device.threads)) > 0);
        /* Every byte was touched: 4096 * 3 bytes are shared out by one or three workers. */
        for (int j = 0; j < 4096 * 3; j++)
            ck_assert_int_eq((uint8_t)traffic.in_place[j], j % 4 == 3 ? 0x81 : 1);
        traffic_close(&traffic);
        device_close(&device);
    }
}
END_TEST

/* false: this build has no kernels. */
static bool open_softcuda(struct bench_place *place)
{
    char driver[4096];
    struct err err;
    if (!cuda_has_kernels())
        return false;
    snprintf(driver, sizeof driver, "%s/softcuda/libcuda.so.1", build_folder());
    setenv("MIDASHI_CUDA_DRIVER", driver, 1);
    setenv("SOFTCUDA_CHECK", "all", 1);
    ck_assert_msg(bench_place_open(place, "cuda", 1, &err) == STATUS_OK, "%s", err.text);
    ck_assert(place->software);
    ck_assert_str_eq(place->name, "cuda:0");
    return true;
}

/* On softcuda: counted, and timed as on a GPU, though the times mean nothing. */
START_TEST(rows_run_on_a_gpu)
{
    struct bench_place place;
    struct err err;
    if (!open_softcuda(&place))
        SKIP("this build has no CUDA kernels");
    ck_assert_msg(cuda_measure_limits(&place.cuda, &place.device, &err) == STATUS_OK, "%s",
                  err.text);
    ck_assert(place.cuda.tensor > 0 && place.cuda.copy > 0 && place.cuda.launch_seconds > 0);
    for (int i = 0; bench_operations[i]; i++) {
        struct bench_row row = {.operation = bench_operations[i]};
        struct bench_result result;
        struct trial trial;
        struct measurement measurement;
        struct verdict verdict;
        if (!bench_place_has(&place, row.operation))
            continue;
        some_size(row.size, row.operation, 2);
        if (row.operation->refuse && row.operation->refuse(row.size))
            some_size(row.size, row.operation, 3);
        ck_assert_msg(bench_run_row(&result, &row, &place, 0, &err) == STATUS_OK, "%s", err.text);
        ck_assert_msg(result.verified, "%s: %g", row.operation->name, result.worst_error);
        const json_t *kernels = json_object_get(result.report, "kernels");
        ck_assert_int_ge(json_array_size(kernels), 1);
        for (size_t kernel = 0; kernel < json_array_size(kernels); kernel++)
            ck_assert_int_eq(
                json_integer_value(json_object_get(json_array_get(kernels, kernel), "launches")),
                1);
        json_decref(result.report);
        ck_assert_int_eq(trial_open(&trial, row.operation, row.size, &place.device, &err),
                         STATUS_OK);
        ck_assert_msg(cuda_measure_trial(&measurement, &trial, &place.cuda, 0, &err) == STATUS_OK,
                      "%s", err.text);
        ck_assert_int_eq(measurement.n_runs, 9);
        ck_assert(measurement.best > 0 && measurement.share_of_bound > 0);
        /* Both turns' operands are right. */
        for (int turn = 0; turn < 2; turn++) {
            ck_assert_int_eq(trial_verify(&trial, &verdict, &err), STATUS_OK);
            ck_assert(verdict.worst <= 1);
        }
        trial_close(&trial);
    }
    bench_place_close(&place);
}
END_TEST

static enum status verify_spoiled(struct trial *trial, struct verdict *verdict, struct err *err)
{
    spoil(&trial->tensors[0]);
    return spoiled_operation->verify(trial, verdict, err);
}

/* At widths of tiles and others, with parts that are not equal: right, and wrong without the
 * adapters' term or with one element of another value. */
START_TEST(products_with_adapters_are_verified)
{
    static const struct {
        const struct bench_operation *with, *without;
    } pairs[] = {{&bench_nf4_matmul_lora, &bench_nf4_matmul},
                 {&bench_matmul_lora, &bench_matmul_bf16}};
    static const int64_t sizes[][SHAPE_DIMENSIONS] = {
        {9, 96, 128, 2, 20}, {33, 130, 192, 3, 32}, {3, 5, 7, 1, 2}};
    struct bench_place place;
    struct err err;
    if (!open_softcuda(&place))
        SKIP("this build has no CUDA kernels");
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        struct bench_operation operation = *pairs[i % 2].with;
        spoiled_operation = pairs[i % 2].with;
        for (int way = 0; way < 7; way++) {
            struct trial trial;
            struct verdict verdict;
            operation.run = (way == 1 ? pairs[i % 2].without : spoiled_operation)->run;
            operation.verify = way < 2 ? spoiled_operation->verify : verify_spoiled;
            spoiled_part = 0.25 * (way - 2);
            ck_assert_int_eq(trial_open(&trial, &operation, sizes[i / 2], &place.device, &err),
                             STATUS_OK);
            ck_assert_int_eq(trial_verify(&trial, &verdict, &err), STATUS_OK);
            ck_assert_msg((verdict.worst <= 1) == (way == 0), "%s, size %zu, way %d: %g",
                          operation.name, i / 2, way, verdict.worst);
            trial_close(&trial);
        }
    }
    bench_place_close(&place);
}
END_TEST

/* On softcuda: what is where, and how much memory it takes. The times mean nothing. */
START_TEST(the_pipeline_runs_on_a_gpu)
{
    static const char *const names[] = {"load",  "tokenise", "embed",
                                        "words", "kmeans",   "after_embedding"};
    struct bench_place place;
    struct err err;
    struct corpus corpus;
    struct stage stages[STAGES_LARGEST];
    int n_stages = 0;
    const char *model = temporary_folder();
    if (!open_softcuda(&place))
        SKIP("this build has no CUDA kernels");
    write_random_model(model, &tiny_shape);
    ck_assert_int_eq(synthetic_corpus(&corpus, 30, 0, &err), STATUS_OK);
    struct pipeline_settings settings = {
        .model_path = model,
        .embedder = {.prompt = "{text}", .n_layers = tiny_shape.n_layers, .batch_tokens = 512},
        .request = {POOLING_LAST, tiny_shape.n_layers},
        .topics = {.kmeans = {.k = 2, .restarts = 1, .max_iterations = 10}, .n_words = 3},
        .end = PIPELINE_TO_TOPICS,
    };
    ck_assert_msg(pipeline_run(stages, &n_stages, &place.device, &corpus, &settings, NULL, &err) ==
                      STATUS_OK,
                  "%s", err.text);
    ck_assert_int_eq(n_stages, 6);
    for (int i = 0; i < n_stages; i++) {
        ck_assert_str_eq(stages[i].name, names[i]);
        ck_assert(stages[i].seconds > 0 && stages[i].items > 0);
    }
    /* The model with what loading takes, and the vectors of a batch; then nothing. */
    ck_assert_uint_gt(stages[0].gpu_peak_bytes, 4 * CUDA_UPLOAD_BYTES);
    ck_assert_uint_eq(stages[1].gpu_peak_bytes, stages[0].gpu_peak_bytes);
    ck_assert_uint_ge(stages[2].gpu_peak_bytes,
                      stages[0].gpu_peak_bytes + 512 * (size_t)tiny_shape.hidden * sizeof(float));
    for (int i = 3; i < n_stages; i++)
        ck_assert_uint_eq(stages[i].gpu_peak_bytes, 0);
    settings.end = PIPELINE_TO_EMBED;
    ck_assert_int_eq(pipeline_run(stages, &n_stages, &place.device, &corpus, &settings, NULL, &err),
                     STATUS_OK);
    ck_assert_int_eq(n_stages, 3);
    settings.end = PIPELINE_TO_TOKENISE;
    ck_assert_int_eq(pipeline_run(stages, &n_stages, &place.device, &corpus, &settings, NULL, &err),
                     STATUS_OK);
    ck_assert_int_eq(n_stages, 2);
    corpus_free(&corpus);
    bench_place_close(&place);
}
END_TEST

START_TEST(verdicts_are_strict)
{
    struct verdict verdict = {0, 0};
    verdict_value(&verdict, 1, 1, 0);
    ck_assert(verdict.worst == 0 && verdict.n == 1);
    verdict_value(&verdict, 1.5, 1, 1);
    ck_assert(verdict.worst == 0.5);
    verdict_value(&verdict, 2, 1, 0);
    ck_assert(verdict.worst == INFINITY);
    verdict = (struct verdict){0, 0};
    verdict_value(&verdict, NAN, 1, 1);
    ck_assert(verdict.worst == INFINITY);
    verdict_value(&verdict, 1, 1, 1);
    ck_assert(verdict.worst == INFINITY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench");
    TCase *tests = tcase_create("bench");
    int n = 0;
    while (bench_operations[n])
        n++;
    tcase_add_test(tests, medians_are_medians);
    tcase_add_test(tests, intervals_hold_the_median);
    tcase_add_test(tests, exponents_are_fitted);
    tcase_add_test(tests, shapes_are_parsed);
    tcase_add_test(tests, rows_are_chosen);
    tcase_add_test(tests, every_operation_has_a_row);
    tcase_add_loop_test(tests, rows_are_right_on_every_device, 0, n);
    tcase_add_loop_test(tests, wrong_rows_are_found, 0, n);
    tcase_add_test(tests, a_tile_that_a_large_product_lacks_is_found);
    tcase_add_test(tests, rows_are_measured);
    tcase_add_test(tests, little_work_is_bounded_by_one_thread);
    tcase_add_test(tests, what_is_updated_is_bounded_in_place);
    tcase_set_timeout(tests, 60); /* large kernels, under all checks, on a busy machine */
    tcase_add_test(tests, rows_run_on_a_gpu);
    tcase_add_test(tests, products_with_adapters_are_verified);
    tcase_add_test(tests, the_pipeline_runs_on_a_gpu);
    tcase_add_test(tests, verdicts_are_strict);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
