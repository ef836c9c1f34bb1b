/* A whole model end to end: stories260K must write, greedily, the text that llama2.c writes. */
#include "tests/stories_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/llama.h"
#include "kernels/matmul.h"
#include "loaders/tokenizer.h"
#include "tests/support.h"

/* ---- greedy writing ------------------------------------------------------------------------- */

#define N_STEPS 200

struct last_state {
    const struct llama *llama;
    struct device *device;
    float *state; /* (D) */
};

static enum status keep_last(void *context, int layer, const void *hidden, int n_tokens,
                             struct err *err)
{
    struct last_state *last = context;
    int d = last->llama->config.hidden_size;
    if (layer < last->llama->config.n_layers)
        return STATUS_OK;
    const float *row = (const float *)hidden + (size_t)(n_tokens - 1) * (size_t)d;
    return llama_final_norm(last->llama, last->device, last->state, row, 1, err);
}

static int best_token(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

START_TEST(stories260k_writes_its_golden_text)
{
    const char *golden_path = shared_data("models/stories260K/golden_t0_n200.txt");
    const char *folder = stories_model();
    if (!folder || !golden_path)
        SKIP("needs models/stories260K of the shared data");
    struct err err = {0};
    struct device device;
    struct model_config config;
    struct weights *weights;
    struct tokenizer *tokenizer;
    struct llama llama;
    test_device(0, &device);
    ck_assert_msg(model_config_read(&config, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(weights_open(&weights, folder, &config, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(tokenizer_open(&tokenizer, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(llama_load(&llama, &device, weights, &config, PRECISION_F32, config.n_layers, 256,
                             256, NULL, NULL, &err) == STATUS_OK,
                  "%s", err.text);

    int32_t tokens[N_STEPS + 1] = {1}, positions[N_STEPS]; /* BOS */
    char text[8 * N_STEPS] = "";
    size_t length = 0;
    float *state = guarded_floats((size_t)config.hidden_size);
    float *logits = guarded_floats((size_t)config.vocab_size);
    struct last_state last = {&llama, &device, state};
    for (int n = 1; n <= N_STEPS; n++) {
        int32_t cu_seqlens[2] = {0, n};
        struct llama_batch batch = {tokens, positions, cu_seqlens, 1, n};
        positions[n - 1] = n - 1;
        ck_assert_int_eq(
            llama_forward(&llama, &device, &batch, config.n_layers, keep_last, &last, &err),
            STATUS_OK);
        ck_assert_int_eq(matmul_fwd(&device, logits, state, &llama.embedding, 1, false, &err),
                         STATUS_OK);
        tokens[n] = best_token(logits, config.vocab_size);
        if (tokens[n] == 1)
            break;
        const char *bytes;
        size_t size = tokenizer_bytes(tokenizer, tokens[n], &bytes);
        if (n == 1 && size > 0 && bytes[0] == ' ')
            bytes++, size--; /* the space that SentencePiece puts before a text */
        memcpy(text + length, bytes, size);
        length += size;
    }
    struct file_map want;
    ck_assert_int_eq(file_map(&want, golden_path, &err), STATUS_OK);
    size_t want_length = want.size;
    while (want_length > 0 && want.data[want_length - 1] == '\n')
        want_length--;
    ck_assert_msg(length == want_length && memcmp(text, want.data, length) == 0,
                  "got:\n%.*s\nwant:\n%.*s", (int)length, text, (int)want_length,
                  (const char *)want.data);
    file_unmap(&want);
    check_guarded(state, (size_t)config.hidden_size);
    check_guarded(logits, (size_t)config.vocab_size);
    llama_free(&llama);
    tokenizer_close(tokenizer);
    weights_close(weights);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stories");
    TCase *tests = tcase_create("stories");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, stories260k_writes_its_golden_text);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
