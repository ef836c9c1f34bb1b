/* MeCab. See japanese.h. */
#include "loaders/japanese.h"

#include <mecab.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "host/base/memory.h"
#include "loaders/text_pieces.h"

#define PIECE_BYTES ((size_t)8192)

struct japanese {
    mecab_t *mecab;
};

/* ---- the dictionary ------------------------------------------------------------------------- */

/* Debian and Ubuntu; Fedora; then what others build by hand. The plain ipadic folders hold EUC-JP
 * on some systems: the character set is checked below. */
static const char *const dictionary_places[] = {
#ifdef MIDASHI_SYSROOT_MECAB_DICTIONARY
    MIDASHI_SYSROOT_MECAB_DICTIONARY,
#endif
    "/var/lib/mecab/dic/ipadic-utf8",
    "/usr/share/mecab/dic/ipadic-utf8",
    "/usr/lib/mecab/dic/ipadic-utf8",
    "/usr/lib64/mecab/dic/ipadic-utf8",
    "/usr/lib64/mecab/dic/ipadic",
    "/usr/lib/mecab/dic/ipadic",
    "/usr/share/mecab/dic/ipadic",
    "/var/lib/mecab/dic/ipadic",
    "/usr/lib/x86_64-linux-gnu/mecab/dic/mecab-ipadic-utf8",
    "/usr/lib/aarch64-linux-gnu/mecab/dic/mecab-ipadic-utf8",
    "/usr/local/lib/mecab/dic/ipadic-utf8",
    "/usr/local/lib/mecab/dic/ipadic",
    "/opt/homebrew/lib/mecab/dic/ipadic",
};

/* Column `index` (from 0) of a comma-separated feature; false where there is none. */
static bool feature_column(const char *feature, int index, const char **column, size_t *length)
{
    for (; index > 0; index--) {
        feature = strchr(feature, ',');
        if (!feature)
            return false;
        feature++;
    }
    *column = feature;
    *length = strcspn(feature, ",");
    return true;
}

static bool column_is(const char *feature, int index, const char *value)
{
    const char *column;
    size_t length;
    return feature_column(feature, index, &column, &length) && length == strlen(value) &&
           memcmp(column, value, length) == 0;
}

static bool is_utf8(mecab_t *mecab)
{
    for (const mecab_dictionary_info_t *info = mecab_dictionary_info(mecab); info;
         info = info->next)
        if (!info->charset ||
            (strcasecmp(info->charset, "UTF-8") != 0 && strcasecmp(info->charset, "UTF8") != 0))
            return false;
    return true;
}

/* Other dictionaries (UniDic, JUMAN) have other classes and columns: a verb tells them apart. */
static bool is_ipadic(mecab_t *mecab)
{
    static const char probe[] = "走った";
    const mecab_node_t *node = mecab_sparse_tonode2(mecab, probe, strlen(probe));
    node = node ? node->next : NULL; /* behind the node for the sentence's start */
    return node && column_is(node->feature, 0, "動詞") && column_is(node->feature, 1, "自立") &&
           column_is(node->feature, 6, "走る");
}

static const char not_opened[] = "not a dictionary that MeCab can open";

/* What is wrong with the dictionary in folder, or NULL, with *mecab open. */
static const char *try_dictionary(mecab_t **mecab, const char *folder)
{
    /* -r: no configuration file, so that a machine's or a user's settings change nothing. */
    char *arguments[] = {"mecab", "-r", "/dev/null", "-d", (char *)folder};
    if (access(folder, R_OK) != 0)
        return "no such folder";
    *mecab = mecab_new(5, arguments);
    if (!*mecab)
        return not_opened; /* MeCab keeps the reason to itself */
    if (is_utf8(*mecab) && is_ipadic(*mecab))
        return NULL;
    mecab_destroy(*mecab);
    *mecab = NULL;
    return "not IPADIC in UTF-8";
}

static enum status find_dictionary(mecab_t **mecab, struct err *err)
{
    const char *asked = getenv("MIDASHI_MECAB_DICTIONARY");
    if (asked && *asked) {
        const char *wrong = try_dictionary(mecab, asked);
        if (!wrong)
            return STATUS_OK;
        return err_set(err, STATUS_RESOURCE,
                       "%s: %s; MIDASHI_MECAB_DICTIONARY must name the folder of MeCab's IPADIC in "
                       "UTF-8, or be unset",
                       asked, wrong);
    }
    const char *refused = NULL;
    for (size_t i = 0; i < sizeof dictionary_places / sizeof *dictionary_places; i++) {
        const char *wrong = try_dictionary(mecab, dictionary_places[i]);
        if (!wrong)
            return STATUS_OK;
        if (wrong == not_opened && !refused)
            refused = dictionary_places[i];
    }
    if (refused)
        return err_set(
            err, STATUS_RESOURCE,
            "%s: MeCab cannot open this dictionary, which the Japanese texts need: there "
            "is not enough memory (it takes 50 MB), or it is damaged; then install its "
            "package again",
            refused);
    return err_set(err, STATUS_RESOURCE,
                   "the texts are Japanese, which needs MeCab's dictionary IPADIC in UTF-8, and it "
                   "is not there; install mecab-ipadic-utf8 (Debian, Ubuntu) or mecab-ipadic "
                   "(Fedora), or name its folder in MIDASHI_MECAB_DICTIONARY");
}

enum status japanese_open(struct japanese **out, struct err *err)
{
    *out = NULL;
    struct japanese *japanese = mem_alloc_zero(1, sizeof *japanese);
    if (!japanese)
        return err_no_memory(err, "MeCab", sizeof *japanese);
    enum status status = find_dictionary(&japanese->mecab, err);
    if (status != STATUS_OK) {
        mem_free(japanese);
        return status;
    }
    *out = japanese;
    return STATUS_OK;
}

void japanese_close(struct japanese *japanese)
{
    if (!japanese)
        return;
    mecab_destroy(japanese->mecab);
    mem_free(japanese);
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool is_kept(const char *feature)
{
    static const char *const left_out[] = {"数", "非自立", "接尾", "代名詞", "特殊", "接続詞的"};
    if (column_is(feature, 0, "動詞"))
        return column_is(feature, 1, "自立");
    if (!column_is(feature, 0, "名詞"))
        return false;
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (column_is(feature, 1, left_out[i]))
            return false;
    return true;
}

enum status japanese_split(struct japanese *japanese, const char *text, size_t length,
                           enum status (*word)(void *context, const char *w, size_t w_length,
                                               struct err *err),
                           void *context, struct err *err)
{
    while (length > 0) {
        size_t piece = text_piece(text, length, PIECE_BYTES);
        const mecab_node_t *node = mecab_sparse_tonode2(japanese->mecab, text, piece);
        if (!node)
            return err_set(err, STATUS_RESOURCE, "MeCab: %s", mecab_strerror(japanese->mecab));
        for (; node; node = node->next) {
            if ((node->stat != MECAB_NOR_NODE && node->stat != MECAB_UNK_NODE) ||
                !is_kept(node->feature))
                continue;
            const char *lemma;
            size_t lemma_length;
            /* Words that are not in the dictionary have no seventh column, or "*" in it. */
            if (!feature_column(node->feature, 6, &lemma, &lemma_length) ||
                (lemma_length == 1 && *lemma == '*')) {
                lemma = node->surface;
                lemma_length = node->length;
            }
            TRY(word(context, lemma, lemma_length, err));
        }
        text += piece;
        length -= piece;
    }
    return STATUS_OK;
}
