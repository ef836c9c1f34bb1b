/* adapter_config.json: PEFT's rules of which modules are meant, and what is refused by name. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/adapter_config.h"
#include "loaders/json.h"

#define KIND "\"peft_type\":\"LORA\","
#define Q    "\"target_modules\":[\"q_proj\"]"

static const char *write_config(const char *members)
{
    char json[4096];
    snprintf(json, sizeof json, "{%s}", members);
    return write_file(temporary_folder(), ADAPTER_CONFIG_FILE, json, strlen(json));
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* rank 0: not a target. What PEFT 0.21.2 makes of these is what tests/golden/peft holds for whole
 * adapters; here are the corners. */
static const struct {
    const char *members, *module;
    int rank;
    double scale;
} rules[] = {
    {KIND Q, "model.layers.0.self_attn.q_proj", 8, 1}, /* PEFT's defaults */
    {KIND Q, "model.layers.0.self_attn.k_proj", 0, 0},
    {KIND Q ",\"r\":4,\"lora_alpha\":6", "layers.11.self_attn.q_proj", 4, 1.5},
    {KIND Q ",\"r\":4,\"lora_alpha\":6.5,\"use_rslora\":true", "layers.0.self_attn.q_proj", 4,
     3.25},
    /* An end of a name begins behind a dot. */
    {KIND "\"target_modules\":[\"proj\"]", "model.layers.0.self_attn.q_proj", 0, 0},
    {KIND "\"target_modules\":[\"self_attn.q_proj\"]", "model.layers.0.self_attn.q_proj", 8, 1},
    {KIND "\"target_modules\":[\"q_proj\"]", "q_proj", 8, 1},
    /* A pattern fits the whole name. */
    {KIND "\"target_modules\":\"q_proj\"", "model.layers.0.self_attn.q_proj", 0, 0},
    {KIND "\"target_modules\":\"k|.*q_proj\"", "model.layers.0.self_attn.q_proj", 8, 1},
    {KIND "\"target_modules\":\".*(?P<p>q|v)_proj\"", "model.layers.0.self_attn.v_proj", 8, 1},
    {KIND "\"target_modules\":\"ALL-linear\"", "model.layers.0.mlp.up_proj", 8, 1},
    /* exclude_modules comes first. */
    {KIND "\"target_modules\":\"all-linear\",\"exclude_modules\":[\"up_proj\"]",
     "model.layers.0.mlp.up_proj", 0, 0},
    {KIND Q ",\"exclude_modules\":\".*\\\\.1\\\\..*\"", "model.layers.1.self_attn.q_proj", 0, 0},
    {KIND Q ",\"exclude_modules\":\".*\\\\.1\\\\..*\"", "model.layers.11.self_attn.q_proj", 8, 1},
    {KIND Q ",\"exclude_modules\":[]", "model.layers.1.self_attn.q_proj", 8, 1},
    /* layers_to_transform: a number, a list, all where it is empty; names in full are not asked. */
    {KIND Q ",\"layers_to_transform\":1", "model.layers.1.self_attn.q_proj", 8, 1},
    {KIND Q ",\"layers_to_transform\":1", "model.layers.11.self_attn.q_proj", 0, 0},
    {KIND Q ",\"layers_to_transform\":[0,11]", "model.layers.11.self_attn.q_proj", 8, 1},
    {KIND Q ",\"layers_to_transform\":[]", "model.layers.3.self_attn.q_proj", 8, 1},
    {KIND Q ",\"layers_to_transform\":[1],\"layers_pattern\":[\"h\",\"layers\"]",
     "model.layers.1.self_attn.q_proj", 8, 1},
    {KIND Q ",\"layers_to_transform\":[1],\"layers_pattern\":\"h\"",
     "model.layers.1.self_attn.q_proj", 0, 0},
    {KIND "\"target_modules\":[\"model.layers.0.self_attn.q_proj\"],\"layers_to_transform\":[1]",
     "model.layers.0.self_attn.q_proj", 8, 1},
    /* Without layers_pattern a number is looked for behind two dots: none in a base model's name.
     */
    {KIND Q ",\"layers_to_transform\":[1]", "layers.1.self_attn.q_proj", 0, 0},
    /* Patterns: a whole end of the name, the first in the file's order. */
    {KIND Q ",\"rank_pattern\":{\"proj\":2,\"q_proj\":3,\".*q_proj\":4}",
     "model.layers.0.self_attn.q_proj", 3, 8.0 / 3},
    {KIND Q ",\"rank_pattern\":{\"^layers.0.self_attn.q_proj\":2}",
     "model.layers.0.self_attn.q_proj", 8, 1},
    {KIND Q ",\"rank_pattern\":{\"^model.layers.0.self_attn.q_proj\":2}",
     "model.layers.0.self_attn.q_proj", 2, 4},
    {KIND Q ",\"rank_pattern\":{\"k_proj|q_proj\":2},\"alpha_pattern\":{\"self_attn.q_proj\":3}",
     "model.layers.0.self_attn.q_proj", 2, 1.5},
    {KIND Q
     ",\"use_rslora\":true,\"rank_pattern\":{\"q_proj\":16},\"alpha_pattern\":{\"q_proj\":2}",
     "model.layers.0.self_attn.q_proj", 16, 0.5},
};

START_TEST(config_means_what_peft_means)
{
    struct adapter_config config;
    struct err err;
    int rank;
    float scale;
    ck_assert_msg(adapter_config_read(&config, write_config(rules[_i].members), &err) == STATUS_OK,
                  "%s", err.text);
    ck_assert_msg(adapter_config_module(&config, rules[_i].module, &rank, &scale, &err) ==
                      STATUS_OK,
                  "%s", err.text);
    ck_assert_msg(rank == rules[_i].rank && scale == (float)rules[_i].scale, "%s: %s: %d, %g",
                  rules[_i].members, rules[_i].module, rank, (double)scale);
    adapter_config_free(&config);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------- */

static const struct {
    const char *members, *part;
} refusals[] = {
    {Q, "peft_type: missing; this is not PEFT's"},
    {"\"peft_type\":\"IA3\"," Q, "peft_type: IA3 is not supported, only LORA"},
    {"\"peft_type\":5," Q, "peft_type: not a string"},
    {KIND Q ",\"use_dora\":true",
     "use_dora: DoRA is not supported, only plain LoRA; merge it there (merge_and_unload)"},
    {KIND Q ",\"bias\":\"all\"", "bias: all is not supported, only none; merge it there"},
    {KIND Q ",\"fan_in_fan_out\":true", "fan_in_fan_out: weights stored as (in, out)"},
    {KIND Q ",\"lora_bias\":true", "lora_bias: a bias of the adapter's own"},
    {KIND Q ",\"trainable_token_indices\":[1]", "trainable_token_indices: trained tokens"},
    {KIND Q ",\"megatron_config\":{\"a\":1}", "megatron_config: Megatron's parallel layers"},
    {KIND Q ",\"layer_replication\":[[0,2]]", "layer_replication: replicated layers"},
    {KIND Q ",\"target_parameters\":[\"a\"]", "target_parameters: adapters of parameters"},
    {KIND Q ",\"use_qalora\":true", "use_qalora: QALoRA"},
    {KIND Q ",\"use_bdlora\":{\"a\":1}", "use_bdlora: BD-LoRA"},
    {KIND Q ",\"arrow_config\":{\"a\":1}", "arrow_config: Arrow"},
    {KIND Q ",\"kasa_config\":{\"a\":1}", "kasa_config: KaSA"},
    {KIND Q ",\"monteclora_config\":{\"a\":1}", "monteclora_config: MonteCLoRA"},
    {KIND Q ",\"alora_invocation_tokens\":[1]", "alora_invocation_tokens: activated LoRA"},
    {KIND Q ",\"init_lora_weights\":\"pissa_niter_4\"",
     "init_lora_weights: pissa_niter_4 changes the base model's weights"},
    {KIND Q ",\"init_lora_weights\":\"olora\"", "init_lora_weights: olora changes the base"},
    {KIND Q ",\"init_lora_weights\":\"corda\"", "init_lora_weights: corda changes the base"},
    {KIND Q ",\"init_lora_weights\":\"loftq\"", "init_lora_weights: loftq changes the base"},
    {KIND Q ",\"init_lora_weights\":\"lora_ga\"", "init_lora_weights: lora_ga changes the base"},
    {KIND Q ",\"init_lora_weights\":7", "init_lora_weights: not true, false or a name"},
    {KIND Q ",\"use_next_years_lora\":true", "use_next_years_lora: not known here; set it to null"},
    {KIND Q ",\"r\":0", "r: a rank of 0 is not within 1 and 65536"},
    {KIND Q ",\"r\":-4", "r: a rank of -4 is not"},
    {KIND Q ",\"r\":65537", "r: a rank of 65537 is not"},
    {KIND Q ",\"r\":4.5", "r: not a whole number"},
    {KIND Q ",\"lora_alpha\":\"8\"", "lora_alpha: not a number"},
    {KIND Q ",\"lora_alpha\":1e300",
     "lora_alpha: 1e+300 for m.layers.0.self_attn.q_proj is too large"},
    {KIND Q ",\"lora_dropout\":1.5", "lora_dropout: 1.5 is not within 0 and 1"},
    {KIND Q ",\"use_rslora\":1", "use_rslora: not true or false"},
    {KIND Q ",\"task_type\":\"TOKEN_CLS\"", "task_type: TOKEN_CLS is not supported, only SEQ_CLS"},
    {KIND Q ",\"modules_to_save\":[\"score\",\"embed_tokens\"]",
     "modules_to_save: embed_tokens, trained whole, is not supported"},
    {KIND Q ",\"modules_to_save\":\"score\"", "modules_to_save: not a list of names"},
    {KIND Q ",\"modules_to_save\":[1]", "modules_to_save: not a list of names"},
    {KIND "\"r\":4", "target_modules: missing"},
    {KIND "\"target_modules\":[]", "target_modules: missing"},
    {KIND "\"target_modules\":\"\"", "target_modules: missing"},
    {KIND "\"target_modules\":[1]", "target_modules: not a list of names, or a pattern"},
    {KIND "\"target_modules\":{}", "target_modules: not a list of names, or a pattern"},
    {KIND "\"target_modules\":[\"q_proj\",\"lm_head\"]", "an adapter of lm_head is not supported"},
    {KIND "\"target_modules\":[\"model.embed_tokens\"]", "an adapter of embed_tokens is not"},
    {KIND "\"target_modules\":\"(q\"", "target_modules: (q is no regular expression: "},
    {KIND Q ",\"exclude_modules\":\"*\"", "exclude_modules: * is no regular expression: "},
    {KIND Q ",\"layers_to_transform\":\"1\"", "layers_to_transform: not a list of whole numbers"},
    {KIND Q ",\"layers_to_transform\":[1.5]", "layers_to_transform: not a list of whole numbers"},
    {KIND "\"target_modules\":\"q\",\"layers_to_transform\":[1]",
     "layers_to_transform: not beside"},
    {KIND Q ",\"layers_to_transform\":[1],\"layers_pattern\":3", "layers_pattern: not a name"},
    {KIND Q ",\"layers_to_transform\":[1],\"layers_pattern\":\"a)(\"", "layers_pattern: a)( is no"},
    {KIND Q ",\"rank_pattern\":[1]", "rank_pattern: not an object"},
    {KIND Q ",\"rank_pattern\":{\"q_proj\":\"4\"}", "rank_pattern: the value of q_proj is no"},
    {KIND Q ",\"rank_pattern\":{\"q_proj\":0}", "rank_pattern: the rank 0 of q_proj is not within"},
    {KIND Q ",\"rank_pattern\":{\"q_proj\":2.5}", "rank_pattern: the rank 2.5 of q_proj is no"},
    {KIND Q ",\"rank_pattern\":{\"q_proj\":1e99}", "rank_pattern: the rank 1e+99 of q_proj"},
    {KIND Q ",\"rank_pattern\":{\"(\":4}", "rank_pattern: ( is no regular expression: "},
    {KIND Q ",\"alpha_pattern\":{\"q_proj\":1e308}",
     "lora_alpha: 1e+308 for m.layers.0.self_attn.q_proj is too"},
    /* Patterns that would not end. */
    {KIND Q ",\"rank_pattern\":{\"((.+)+)+[^a-z]\":4}",
     "the pattern ((.+)+)+[^a-z]: PCRE2 gives up: "},
};

static enum status read_and_ask(const char *path, struct err *err)
{
    struct adapter_config config;
    int rank;
    float scale;
    TRY(adapter_config_read(&config, path, err));
    enum status status =
        adapter_config_module(&config, "m.layers.0.self_attn.q_proj", &rank, &scale, err);
    adapter_config_free(&config);
    return status;
}

START_TEST(config_refuses_by_name)
{
    struct err err;
    const char *path = write_config(refusals[_i].members);
    check_error(read_and_ask(path, &err), &err, STATUS_BAD_DATA, refusals[_i].part,
                refusals[_i].members);
    check_error(err.status, &err, STATUS_BAD_DATA, path, refusals[_i].members);
}
END_TEST

START_TEST(config_takes_what_changes_nothing)
{
    static const char *const members[] = {
        KIND Q ",\"init_lora_weights\":\"gaussian\",\"eva_config\":{\"rho\":2}",
        KIND Q ",\"init_lora_weights\":false,\"loftq_config\":{\"loftq_bits\":4}",
        KIND Q ",\"use_dora\":false,\"lora_bias\":null,\"layer_replication\":[],\"new\":\"\"",
        KIND Q ",\"task_type\":null,\"megatron_core\":\"megatron.core\",\"qalora_group_size\":16",
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct err err = {0};
        ck_assert_msg(read_and_ask(write_config(members[i]), &err) == STATUS_OK, "%s: %s",
                      members[i], err.text);
    }
}
END_TEST

START_TEST(config_tells_a_head)
{
    static const struct {
        const char *members;
        bool classifies;
    } cases[] = {
        {KIND Q, false},
        {KIND Q ",\"task_type\":\"SEQ_CLS\"", true},
        {KIND Q ",\"modules_to_save\":[\"classifier\"]", false},
        {KIND Q ",\"modules_to_save\":[\"score\"],\"task_type\":\"CAUSAL_LM\"", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapter_config config;
        struct err err;
        ck_assert_int_eq(adapter_config_read(&config, write_config(cases[i].members), &err),
                         STATUS_OK);
        ck_assert_msg(config.classifies == cases[i].classifies, "%s", cases[i].members);
        adapter_config_free(&config);
    }
}
END_TEST

/* Each beginning of a file is an error, the whole is none. */
START_TEST(config_that_is_cut_is_an_error)
{
    char text[8192];
    const char *path = golden("peft/patterns/adapter_config.json");
    FILE *file = fopen(path, "rb");
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    char folder[512];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    while (text[size - 1] == '\n')
        size--;
    for (size_t n = 0; n < size; n++) {
        struct err err;
        enum status status = read_and_ask(write_file(folder, "a.json", text, n), &err);
        check_error(status, &err, STATUS_BAD_DATA, "a.json: line ", "a cut file");
    }
}
END_TEST

START_TEST(config_that_is_made_reads_the_same)
{
    static const char *const targets[] = {"q_proj", "down_proj", NULL};
    const struct adapter_settings settings = {.rank = 7,
                                              .alpha = 3.5,
                                              .dropout = 0.1,
                                              .rslora = true,
                                              .task = ADAPTER_CLASSIFIES,
                                              .targets = targets,
                                              .base_model = "acme/tiny"};
    struct adapter_config config;
    struct err err;
    int rank;
    float scale;
    ck_assert_msg(adapter_config_make(&config, &settings, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(config.rank, 7);
    ck_assert(config.alpha == 3.5 && config.dropout == 0.1 && config.rslora && config.classifies);
    ck_assert_str_eq(json_string_value(json_object_get(config.json, "base_model_name_or_path")),
                     "acme/tiny");
    ck_assert_str_eq(json_string_value(json_object_get(config.json, "task_type")), "SEQ_CLS");
    ck_assert_int_eq(
        adapter_config_module(&config, "model.layers.3.mlp.down_proj", &rank, &scale, &err),
        STATUS_OK);
    ck_assert(rank == 7 && scale == (float)(3.5 / sqrt(7)));
    ck_assert_int_eq(
        adapter_config_module(&config, "model.layers.3.mlp.up_proj", &rank, &scale, &err),
        STATUS_OK);
    ck_assert_int_eq(rank, 0);
    adapter_config_free(&config);
}
END_TEST

static enum status ask_without_memory(void *context, struct err *err)
{
    return read_and_ask(context, err);
}

START_TEST(config_without_memory)
{
    const char *path = golden("peft/patterns/adapter_config.json");
    ck_assert_int_gt(check_lack_of_memory(ask_without_memory, (void *)path, path), 20);
}
END_TEST

int main(void)
{
    json_use_memory();
    Suite *suite = suite_create("adapter_config");
    TCase *tests = tcase_create("adapter_config");
    tcase_add_loop_test(tests, config_means_what_peft_means, 0, sizeof rules / sizeof *rules);
    tcase_add_loop_test(tests, config_refuses_by_name, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(tests, config_takes_what_changes_nothing);
    tcase_add_test(tests, config_tells_a_head);
    tcase_add_test(tests, config_that_is_cut_is_an_error);
    tcase_add_test(tests, config_that_is_made_reads_the_same);
    tcase_add_test(tests, config_without_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
