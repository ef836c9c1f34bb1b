/* The texts and matrices of tests/golden/cluster/tfidf*.txt, for the tests that build on them. */
#ifndef MIDASHI_TESTS_GOLDEN_TFIDF_H
#define MIDASHI_TESTS_GOLDEN_TFIDF_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/tfidf.h"
#include "host/token_pattern.h"
#include "tests/support.h"

static inline enum status golden_add_word(void *builder, const char *w, size_t length,
                                          struct err *err)
{
    return tfidf_add_word(builder, w, length, err);
}

/* The words of every line, by the default token pattern, up to the first failure. */
static inline enum status golden_add_texts(struct tfidf_builder *builder, struct err *err)
{
    FILE *file = fopen(golden("cluster/tfidf_texts.txt"), "rb");
    ck_assert_ptr_nonnull(file);
    char *line = NULL;
    size_t capacity = 0;
    enum status status = STATUS_OK;
    for (ssize_t length; status == STATUS_OK && (length = getline(&line, &capacity, file)) >= 0;) {
        length -= length > 0 && line[length - 1] == '\n';
        status = token_pattern_split(line, (size_t)length, golden_add_word, builder, err);
        if (status == STATUS_OK)
            status = tfidf_end_text(builder, err);
    }
    free(line);
    fclose(file);
    return status;
}

#endif
