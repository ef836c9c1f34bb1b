/* JSON under a lack of memory: what jansson reads then is refused, whatever it says itself. */
#include "tests/support.h"

#include <string.h>
#include "host/base/memory.h"
#include "loaders/json.h"

/* The long texts and numbers make the lexer's buffer grow in their midst. */
static const char document[] =
    "{\"architectures\": [\"LlamaForCausalLM, and a longer name to let the buffer grow twice\"],"
    " \"largest\": 123456789012345678, \"small\": 1.2345678901234567890123456789012345e-3,"
    " \"escaped \\u898b\\u51fa\\u3057 \\\\ \\\" key\": [null, true, {\"deep\": {}}]}";

static enum status parse(json_t **out, struct err *err)
{
    json_error_t error;
    enum status status = json_parse(out, document, sizeof document - 1, JSON_REJECT_DUPLICATES,
                                    &error, "a.json", err);
    ck_assert_msg(status != STATUS_BAD_DATA, "%s", error.text);
    return status;
}

static enum status parse_and_free(void *context, struct err *err)
{
    (void)context;
    json_t *root;
    enum status status = parse(&root, err);
    ck_assert((status == STATUS_OK) == (root != NULL));
    json_decref(root);
    return status;
}

START_TEST(json_is_whole_or_refused)
{
    struct err err;
    json_t *want, *root;
    ck_assert_int_ge(check_lack_of_memory(parse_and_free, NULL, "json_parse"), 20);
    ck_assert_int_eq(parse(&want, &err), STATUS_OK);
    mem_fail_once(1);
    for (long n = 2; parse(&root, &err), mem_fail_once(n); n++) {
        check_error(err.status, &err, STATUS_RESOURCE, "a.json", "one failure");
        ck_assert_ptr_null(root);
    }
    ck_assert(json_equal(root, want));
    mem_fail_once(0);
    json_decref(root);
    json_decref(want);
}
END_TEST

START_TEST(json_says_where_syntax_is_bad)
{
    json_error_t error;
    json_t *root;
    ck_assert_int_eq(json_parse(&root, "[1,\n2", 5, 0, &error, "a.json", NULL), STATUS_BAD_DATA);
    ck_assert_ptr_null(root);
    ck_assert_int_eq(error.line, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");
    tcase_add_test(tests, json_is_whole_or_refused);
    tcase_add_test(tests, json_says_where_syntax_is_bad);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
