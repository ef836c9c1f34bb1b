/* Training steps on a tiny model: that they learn, and that no bit depends on memory, passes or
 * threads. Right numbers are test_training_peft's matter. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/estimate.h"
#include "tests/model_writer.h"
#include "tests/training.h"

static const enum objective_kind all_objectives[] = {OBJECTIVE_CLASSIFY, OBJECTIVE_NEXT_TOKEN,
                                                     OBJECTIVE_CONTRASTIVE};

/* The adapter after options->steps steps; the caller frees it. NULL: no such device. */
static float *train(const struct training_options *options, int64_t *n, double *validation_loss)
{
    struct training t;
    struct trainer_report report;
    struct err err;
    if (!training_open(&t, options))
        return NULL;
    for (int step = 0; step < options->steps; step++)
        ck_assert_msg(training_step(&t.trainer, &report, &err) == STATUS_OK, "%s", err.text);
    if (validation_loss) {
        ck_assert_msg(trainer_evaluate(&t.trainer, &report, &err) == STATUS_OK, "%s", err.text);
        *validation_loss = report.loss;
    }
    *n = t.adapter.n_parameters;
    float *parameters = malloc((size_t)*n * sizeof *parameters);
    memcpy(parameters, t.adapter.parameters, (size_t)*n * sizeof *parameters);
    training_close(&t);
    return parameters;
}

static void check_same(const struct training_options *a, const struct training_options *b,
                       const char *what)
{
    int64_t n, m;
    double loss_a, loss_b;
    float *one = train(a, &n, &loss_a), *other = train(b, &m, &loss_b);
    if (one && other) {
        ck_assert_int_eq(n, m);
        if (memcmp(one, other, (size_t)n * sizeof *one) != 0)
            ck_abort_msg("%s, %s: other bytes", objective_name(a->objective), what);
        ck_assert_msg(memcmp(&loss_a, &loss_b, sizeof loss_a) == 0, "%s: the validation", what);
    }
    free(one);
    free(other);
}

START_TEST(memory_changes_no_bit)
{
    const char *model = tiny_model();
    for (size_t i = 0; i < 3; i++) {
        struct training_options whole = training_defaults(model), other;
        whole.objective = all_objectives[i];
        other = whole;
        other.kept_layers = 0;
        check_same(&whole, &other, "no layer kept");
        other.kept_layers = 1;
        check_same(&whole, &other, "one layer kept");
    }
}
END_TEST

START_TEST(passes_change_no_bit)
{
    const char *model = tiny_model();
    for (size_t i = 0; i < 3; i++) {
        struct training_options whole = training_defaults(model), other;
        whole.objective = all_objectives[i];
        whole.accumulate = 5;
        other = whole;
        other.pass_tokens = 2 * 3 * 20; /* a unit of contrastive pairs, and not two */
        check_same(&whole, &other, "a unit a pass");
    }
}
END_TEST

START_TEST(threads_change_no_bit)
{
    const char *model = tiny_model();
    for (size_t i = 0; i < 3; i++) {
        struct training_options one = training_defaults(model), three;
        one.objective = all_objectives[i];
        one.device = 1; /* AVX2 with one thread, and with three */
        three = one;
        three.device = 2;
        check_same(&one, &three, "three threads");
    }
}
END_TEST

/* Mean losses of the first and the last five of 40 steps; false: no such device. */
static bool learn(const struct training_options *options, double *first, double *last)
{
    struct training t;
    struct trainer_report report;
    struct err err;
    *first = *last = 0;
    if (!training_open(&t, options))
        return false;
    for (int step = 0; step < options->steps; step++) {
        ck_assert_msg(training_step(&t.trainer, &report, &err) == STATUS_OK, "%s", err.text);
        *first += step < 5 ? report.loss / 5 : 0;
        *last += step >= options->steps - 5 ? report.loss / 5 : 0;
    }
    training_close(&t);
    return true;
}

START_TEST(training_learns)
{
    const char *model = tiny_model();
    for (int device = 0; device < 3; device += 2)
        for (size_t i = 0; i < 3; i++) {
            struct training_options options = training_defaults(model);
            double first, last;
            options.objective = all_objectives[i];
            options.device = device;
            options.precision = i == 1 ? PRECISION_BF16 : PRECISION_NF4;
            options.batch = 8;
            options.near = 4; /* contrastive: texts of a label stand 4 apart */
            options.steps = 40;
            if (learn(&options, &first, &last))
                ck_assert_msg(last < 0.7 * first, "%s: %g, then %g",
                              objective_name(options.objective), first, last);
        }
}
END_TEST

START_TEST(near_rows_are_positives)
{
    struct training_options options = training_defaults(tiny_model());
    int64_t n;
    double loss;
    options.objective = OBJECTIVE_CONTRASTIVE;
    options.near = 4; /* texts of a label stand 4 apart */
    options.dropout = 0;
    free(train(&options, &n, &loss));
    ck_assert(isfinite(loss) && loss > 0);
}
END_TEST

/* Two units of three pairs each, a row an anchor. Positive j is no negative of anchor i where it is
 * the anchor's own text, or within 3 rows of it in the anchor's group. */
START_TEST(near_rows_are_no_negatives)
{
    static const struct {
        size_t row;
        int group;
    } rows[] = {{10, 0}, {11, 0}, {13, 0}, {14, 0}, {15, 1}, {16, -1}, {17, -1}};
    static const int units[] = {0, 1, 2, 1, 0, 3, 4, 5, 6, 4, 6, 3};
    static const char excluded[2][3][4] = {
        {".#.", "#.#", "##."}, /* 10: 11 10 14; 11: 11 10 14; 13: 11 10 14 */
        {"...", "...", ".#."}, /* 15: 15 17 14; 16: 15 17 14; 17: 15 17 14 */
    };
    enum { N_ROWS = sizeof rows / sizeof *rows, PAIRS = 3 };
    struct train_text texts[N_ROWS];
    int32_t tokens[] = {1, 2};
    for (int i = 0; i < N_ROWS; i++)
        texts[i] = (struct train_text){
            .n_tokens = 2, .label = rows[i].group, .row = rows[i].row, .mean_end = 2};
    const struct train_data data = {.texts = texts, .tokens = tokens, .n_texts = N_ROWS};
    const struct objective_settings settings = {
        .kind = OBJECTIVE_CONTRASTIVE,
        .n_tokens = 2 * 4 * PAIRS,
        .n_texts = 4 * PAIRS,
        .largest_unit = 2 * PAIRS,
        .near = 3,
    };
    struct train_numbers numbers = {0};
    struct objective_batch batch;
    void *block = malloc(train_numbers_carve(&numbers, &settings, NULL));
    train_numbers_carve(&numbers, &settings, block);
    ck_assert_int_eq(train_batch_fill(&batch, &numbers, &settings, &data, units, 2 * PAIRS, 2), 2);
    for (int unit = 0; unit < 2; unit++)
        for (int i = 0; i < PAIRS; i++)
            for (int j = 0; j < PAIRS; j++)
                ck_assert_msg(batch.excluded[(unit * PAIRS + i) * PAIRS + j] ==
                                  (excluded[unit][i][j] == '#'),
                              "unit %d, anchor %d, positive %d", unit, i, j);
    free(block);
}
END_TEST

/* What has no group is near to nothing: pairs are those of dropout. */
START_TEST(texts_without_a_group_are_no_group)
{
    float *adapters[2];
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct training_options options = training_defaults(tiny_model());
        struct training t;
        struct trainer_report report;
        struct err err;
        options.objective = OBJECTIVE_CONTRASTIVE;
        options.near = i == 0 ? 0 : TRAINING_TEXTS;
        ck_assert(training_open(&t, &options));
        for (int j = 0; j < t.data.n_texts; j++)
            t.data.texts[j].label = -1;
        for (int step = 0; step < 3; step++)
            ck_assert(training_step(&t.trainer, &report, &err) == STATUS_OK);
        n = t.adapter.n_parameters;
        adapters[i] = malloc((size_t)n * sizeof(float));
        memcpy(adapters[i], t.adapter.parameters, (size_t)n * sizeof(float));
        training_close(&t);
    }
    ck_assert_mem_eq(adapters[0], adapters[1], (size_t)n * sizeof(float));
    free(adapters[0]);
    free(adapters[1]);
}
END_TEST

/* A loss that is not finite stops the run, names step and rows, and leaves the adapter alone. */
START_TEST(a_loss_that_is_not_finite_is_told)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    struct trainer_report report;
    struct err err;
    ck_assert(training_open(&t, &options));
    size_t bytes = (size_t)t.adapter.n_parameters * sizeof(float);
    ck_assert(training_step(&t.trainer, &report, &err) == STATUS_OK);
    t.adapter.head[0] = NAN;
    float *before = malloc(bytes);
    memcpy(before, t.adapter.parameters, bytes);
    check_error(training_step(&t.trainer, &report, &err), &err, STATUS_FAILED,
                "step 2: the loss is not a number (texts of rows ", "a NaN in the head");
    ck_assert(strstr(err.text, "--learning-rate"));
    ck_assert_mem_eq(before, t.adapter.parameters, bytes);
    ck_assert_int_eq(t.trainer.step, 1);
    free(before);
    training_close(&t);
}
END_TEST

START_TEST(rates_are_those_of_transformers)
{
    struct trainer_settings s = {.steps = 10, .warm_up = 2, .learning_rate = 1};
    static const double linear[] = {0, 0.5, 1, 0.875, 0.75};
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq_tol(trainer_learning_rate(&s, i), linear[i], 1e-15);
    ck_assert_double_eq_tol(trainer_learning_rate(&s, 9), 0.125, 1e-15);
    s.schedule = SCHEDULE_COSINE;
    ck_assert_double_eq_tol(trainer_learning_rate(&s, 6), 0.5, 1e-15);
    s.schedule = SCHEDULE_CONSTANT;
    ck_assert(trainer_learning_rate(&s, 9) == 1);
}
END_TEST

/* ---- the split ------------------------------------------------------------------------------ */

START_TEST(the_split_is_stratified)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    int of_label[4] = {0}, seen[TRAINING_TEXTS] = {0};
    ck_assert(training_open(&t, &options));
    ck_assert_int_eq(t.data.n_validation, TRAINING_TEXTS / 4);
    for (int i = 0; i < t.data.n_validation; i++) {
        of_label[t.data.texts[t.data.validation[i]].label]++;
        seen[t.data.validation[i]]++;
    }
    for (int label = 0; label < 4; label++)
        ck_assert_int_eq(of_label[label], TRAINING_TEXTS / 16);
    for (int i = 0; i < t.data.n_training; i++)
        seen[t.data.training[i]]++;
    for (int i = 0; i < TRAINING_TEXTS; i++)
        ck_assert_int_eq(seen[i], 1);
    training_close(&t);
}
END_TEST

#define GROUPS    4
#define RUN_TEXTS 100 /* of each group */

/* Texts of groups, one group behind the other or in turns; every tenth has none. */
static void grouped_texts(struct train_data *data, bool in_turns)
{
    *data = (struct train_data){.n_texts = GROUPS * RUN_TEXTS};
    data->texts = mem_alloc_zero((size_t)data->n_texts, sizeof *data->texts);
    for (int i = 0; i < data->n_texts; i++) {
        data->texts[i].row = (size_t)i;
        data->texts[i].label = i % 10 == 9 ? -1 : in_turns ? i % GROUPS : i / RUN_TEXTS;
    }
}

/* Of the texts of the same group before a text, the last one; -1: none. */
static int before(const struct train_data *data, int text)
{
    int label = data->texts[text].label, i = text - 1;
    while (i >= 0 && (label < 0 || data->texts[i].label != label))
        i--;
    return i;
}

/* Held-out texts stand together: where one does not follow another of its group, a run begins. */
START_TEST(runs_of_a_group_are_held_out_together)
{
    for (int turns = 0; turns < 2; turns++) {
        struct train_data data[3]; /* the last with another seed */
        struct err err;
        for (int i = 0; i < 3; i++) {
            grouped_texts(&data[i], turns);
            ck_assert(train_data_split_runs(&data[i], GROUPS, 12, 0.2, (uint64_t)i / 2, &err) ==
                      STATUS_OK);
            bool held_out[GROUPS * RUN_TEXTS] = {false};
            int runs = 0, single = 0;
            ck_assert_int_eq(data[i].n_validation, 80);
            ck_assert_int_eq(data[i].n_training, 320);
            for (int j = 0; j < 80; j++)
                held_out[data[i].validation[j]] = true;
            for (int j = 0; j < 320; j++)
                ck_assert(!held_out[data[i].training[j]]);
            for (int j = 0; j < 80; j++) {
                int text = data[i].validation[j], last = before(&data[i], text);
                single += data[i].texts[text].label < 0;
                runs += data[i].texts[text].label >= 0 && (last < 0 || !held_out[last]);
            }
            /* Runs of 11 or 12; one is cut. */
            ck_assert_int_le(runs, (80 - single) / 11 + 1);
            ck_assert_int_lt(single, 40);
        }
        ck_assert_mem_eq(data[0].validation, data[1].validation, 80 * sizeof(int));
        ck_assert_mem_ne(data[0].validation, data[2].validation, 80 * sizeof(int));
        for (int i = 0; i < 3; i++)
            train_data_free(&data[i]);
    }
}
END_TEST

/* Whatever there is, one text stays in training. */
START_TEST(runs_of_few_texts_are_split_too)
{
    struct train_data data;
    struct err err;
    for (int n = 1; n <= 4; n++) {
        grouped_texts(&data, false);
        data.n_texts = n;
        ck_assert(train_data_split_runs(&data, GROUPS, 1 << 30, 0.99, 0, &err) == STATUS_OK);
        ck_assert_int_eq(data.n_training, 1);
        ck_assert_int_eq(data.n_validation, n - 1);
        train_data_free(&data);
    }
}
END_TEST

START_TEST(each_epoch_draws_every_text_once)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    ck_assert(training_open(&t, &options));
    int n = t.data.n_training, first[TRAINING_TEXTS], moved = 0;
    for (int epoch = 0; epoch < 3; epoch++) {
        int seen[TRAINING_TEXTS] = {0};
        for (int i = 0; i < n; i++) {
            int text = train_data_draw(&t.data, (int64_t)epoch * n + i);
            ck_assert_int_eq(seen[text]++, 0);
            if (epoch == 0)
                first[i] = text;
            else
                moved += first[i] != text;
        }
    }
    ck_assert_int_gt(moved, n);
    ck_assert_int_eq(train_data_draw(&t.data, 0), first[0]); /* from anywhere, as resuming does */
    training_close(&t);
}
END_TEST

/* ---- evaluation ----------------------------------------------------------------------------- */

/* Dropout is training's alone. (A contrastive evaluation needs it, since it tells the two copies of
 * a text apart.) */
START_TEST(an_evaluation_drops_nothing)
{
    for (size_t i = 0; i < 2; i++) {
        double losses[2];
        for (int drops = 0; drops < 2; drops++) {
            struct training_options options = training_defaults(tiny_model());
            struct training t;
            struct trainer_report report;
            struct err err;
            options.objective = all_objectives[i];
            options.dropout = drops * 0.5;
            ck_assert(training_open(&t, &options));
            fill_uniform(t.adapter.parameters, (size_t)t.adapter.n_parameters, 1, -0.3f, 0.3f);
            ck_assert_msg(trainer_evaluate(&t.trainer, &report, &err) == STATUS_OK, "%s", err.text);
            losses[drops] = report.loss;
            training_close(&t);
        }
        ck_assert(losses[0] == losses[1]);
    }
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

/* The plan against what the arenas hand out, for the tiny model and every objective. */
START_TEST(the_plan_is_what_is_taken)
{
    const char *model = tiny_model();
    for (size_t i = 0; i < 3; i++) {
        size_t all = 0; /* each plan has one layer less than the one before */
        for (int kept = tiny_shape.n_layers; kept >= 0; kept--) {
            struct training_options options = training_defaults(model);
            struct training t;
            options.objective = all_objectives[i];
            options.kept_layers = kept;
            ck_assert(training_open(&t, &options));
            struct train_plan plan;
            struct err err;
            struct train_plan_request request = {
                .config = &t.embedder.config,
                .adapter = &t.adapter,
                .objective = options.objective,
                .batch = options.batch,
                .accumulate = options.accumulate,
                .longest = t.embedder.max_tokens,
                .dropout = true,
                .weight_bytes = t.embedder.llama.weight_bytes,
                .budget = all > 0 ? all - 1 : 0,
            };
            ck_assert(train_plan_make(&plan, &request, &err) == STATUS_OK);
            ck_assert_int_eq(plan.kept_layers, kept);
            all = plan.total;
            size_t taken = t.embedder.llama.arena.total + t.trainer.arena.total +
                           t.trainer.train.arena.total + t.trainer.objective.arena.total +
                           2 * (size_t)t.adapter.n_parameters * sizeof(float); /* own, best */
            double apart = fabs((double)all - (double)taken) / (double)taken;
            ck_assert_msg(apart <= 0.05, "%s, %d layers kept: planned %zu, taken %zu",
                          objective_name(options.objective), kept, all, taken);
            training_close(&t);
        }
    }
}
END_TEST

START_TEST(less_memory_keeps_fewer_layers)
{
    struct training_options options = training_defaults(tiny_model());
    struct training t;
    struct train_plan plan;
    struct err err;
    ck_assert(training_open(&t, &options));
    struct train_plan_request request = {
        .config = &t.embedder.config,
        .adapter = &t.adapter,
        .batch = options.batch,
        .accumulate = options.accumulate,
        .longest = t.embedder.max_tokens,
        .dropout = true,
    };
    ck_assert(train_plan_make(&plan, &request, &err) == STATUS_OK);
    ck_assert_int_eq(plan.kept_layers, tiny_shape.n_layers);
    size_t least = plan.total - plan.kept;
    request.budget = plan.total - 1;
    ck_assert(train_plan_make(&plan, &request, &err) == STATUS_OK);
    ck_assert_int_eq(plan.kept_layers, tiny_shape.n_layers - 1);
    ck_assert(plan.total <= request.budget);
    request.budget = least;
    check_error(train_plan_make(&plan, &request, &err), &err, STATUS_RESOURCE,
                " more than is allowed; lower --batch", "no room for a layer's input");
    training_close(&t);
}
END_TEST

/* Llama-2-7B at the report's settings on a GPU: a step's 16 titles of up to 110 tokens, rank 32,
 * nine labels. Planned, not run: whether it takes what is planned, tests/test_cuda_training sees.
 */
START_TEST(seven_billion_fit_a_card_of_10_gb)
{
    const struct model_config config = {
        .n_layers = 32,
        .hidden_size = 4096,
        .intermediate_size = 11008,
        .n_heads = 32,
        .n_kv_heads = 32,
        .head_dim = 128,
        .vocab_size = 32000,
        .max_positions = 4096,
        .rms_norm_eps = 1e-5f,
    };
    static const char *const labels[9] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    struct lora_adapter adapter;
    struct train_plan plan;
    struct err err;
    ck_assert(lora_adapter_create(&adapter, &config,
                                  &(struct lora_settings){.rank = 32,
                                                          .alpha = 32,
                                                          .dropout = 0.1,
                                                          .task = ADAPTER_CLASSIFIES,
                                                          .n_labels = 9,
                                                          .labels = labels},
                                  0, &err) == STATUS_OK);
    struct train_plan_request request = {
        .config = &config,
        .adapter = &adapter,
        .objective = OBJECTIVE_CLASSIFY,
        .batch = 4,
        .accumulate = 4,
        .longest = 110,
        .dropout = true,
        .gpu = true,
        .precision = PRECISION_NF4,
    };
    /* A step of 1,760 tokens at most: long passes where all layers are kept; then short ones. */
    static const struct {
        size_t budget;
        int pass_tokens;
        bool all;
    } cases[] = {{9500000000, 1024, true},
                 {8500000000, 896, true},
                 {8000000000, 768, true},
                 {7500000000, 512, true},
                 {6500000000, 512, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.budget = cases[i].budget;
        ck_assert_msg(train_plan_make(&plan, &request, &err) == STATUS_OK, "%s", err.text);
        ck_assert(plan.total <= request.budget);
        printf("Llama-2-7B: %.2f GB: model %.2f, adapter %.2f, kept %.2f (%d of %d), shared %.2f, "
               "losses %.3f, %d tokens a pass\n",
               (double)plan.total / 1e9, (double)plan.weights / 1e9, (double)plan.adapter / 1e9,
               (double)plan.kept / 1e9, plan.kept_layers, plan.n_layers, (double)plan.shared / 1e9,
               (double)plan.losses / 1e9, plan.pass_tokens);
        ck_assert_int_eq(plan.pass_tokens, cases[i].pass_tokens);
        ck_assert_int_eq(plan.kept_layers == plan.n_layers, cases[i].all);
        /* With the working copies, of which the head has none. */
        ck_assert((double)plan.adapter > 19.9 * (double)adapter.n_parameters);
    }
    lora_adapter_free(&adapter);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("training");
    TCase *tcase = tcase_create("training");
    tcase_add_test(tcase, memory_changes_no_bit);
    tcase_add_test(tcase, passes_change_no_bit);
    tcase_add_test(tcase, threads_change_no_bit);
    tcase_add_test(tcase, training_learns);
    tcase_add_test(tcase, near_rows_are_positives);
    tcase_add_test(tcase, near_rows_are_no_negatives);
    tcase_add_test(tcase, texts_without_a_group_are_no_group);
    tcase_add_test(tcase, a_loss_that_is_not_finite_is_told);
    tcase_add_test(tcase, rates_are_those_of_transformers);
    tcase_add_test(tcase, the_split_is_stratified);
    tcase_add_test(tcase, runs_of_a_group_are_held_out_together);
    tcase_add_test(tcase, runs_of_few_texts_are_split_too);
    tcase_add_test(tcase, each_epoch_draws_every_text_once);
    tcase_add_test(tcase, an_evaluation_drops_nothing);
    tcase_add_test(tcase, the_plan_is_what_is_taken);
    tcase_add_test(tcase, less_memory_keeps_fewer_layers);
    tcase_add_test(tcase, seven_billion_fit_a_card_of_10_gb);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
