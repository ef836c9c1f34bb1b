/* See settings.h. */
#define _GNU_SOURCE
#include "tools/softcuda/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/softcuda/faults.h"

static enum status wrong(struct err *err, const char *value, const char *use)
{
    return err_set(err, STATUS_USAGE, "%s: use %s", value, use);
}

static enum status read_number(const char *value, uint64_t least, uint64_t most, uint64_t *number,
                               struct err *err)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno || parsed < least || parsed > most)
        return err_set(err, STATUS_USAGE, "%s: use a whole number from %llu to %llu", value,
                       (unsigned long long)least, (unsigned long long)most);
    *number = parsed;
    return STATUS_OK;
}

/* *second: the value is the second of the two. */
static enum status read_choice(const char *value, const char *a, const char *b, bool *second,
                               struct err *err)
{
    char use[64];
    *second = strcmp(value, b) == 0;
    if (*second || strcmp(value, a) == 0)
        return STATUS_OK;
    snprintf(use, sizeof use, "%s or %s", a, b);
    return wrong(err, value, use);
}

static enum status read_checks(const char *value, unsigned *checks, struct err *err)
{
    static const struct {
        const char *name;
        unsigned checks;
    } names[] = {
        {"all", CHECK_ALL},   {"none", 0},          {"memory", CHECK_MEMORY}, {"init", CHECK_INIT},
        {"race", CHECK_RACE}, {"sync", CHECK_SYNC}, {"leak", CHECK_LEAK},
    };
    *checks = 0;
    for (const char *at = value;;) {
        size_t length = strcspn(at, ","), i = 0;
        while (i < sizeof names / sizeof *names &&
               (strlen(names[i].name) != length || memcmp(names[i].name, at, length) != 0))
            i++;
        if (i == sizeof names / sizeof *names)
            return wrong(err, value,
                         "all, none, or some of memory,init,race,sync,leak with commas between");
        *checks |= names[i].checks;
        if (at[length] == '\0')
            return STATUS_OK;
        at += length + 1;
    }
}

static enum status read_card(const char *value, const struct card **card, struct err *err)
{
    char use[128] = "";
    int n;
    const struct card *cards = card_list(&n);
    *card = card_named(value);
    if (*card)
        return STATUS_OK;
    for (int i = 0; i < n; i++)
        snprintf(use + strlen(use), sizeof use - strlen(use), "%s%s",
                 i == 0       ? ""
                 : i == n - 1 ? " or "
                              : ", ",
                 cards[i].name);
    return wrong(err, value, use);
}

enum status settings_set(struct settings *settings, const char *name, const char *value,
                         struct err *err)
{
    uint64_t number = 0;
    bool second = false;
    if (strcmp(name, "CARD") == 0) {
        return read_card(value, &settings->card, err);
    } else if (strcmp(name, "SEED") == 0) {
        return read_number(value, 0, UINT64_MAX, &settings->machine.seed, err);
    } else if (strcmp(name, "ORDER") == 0) {
        return read_choice(value, "fixed", "shuffled", &settings->machine.shuffled, err);
    } else if (strcmp(name, "MMA") == 0) {
        TRY(read_choice(value, "ieee", "truncating", &second, err));
        settings->machine.mma = second ? MMA_TRUNCATING : MMA_IEEE;
    } else if (strcmp(name, "ASYNC") == 0) {
        TRY(read_choice(value, "late", "early", &second, err));
        settings->machine.async = second ? ASYNC_EARLY : ASYNC_LATE;
    } else if (strcmp(name, "CHECK") == 0) {
        return read_checks(value, &settings->checks, err);
    } else if (strcmp(name, "REPORT") == 0) {
        settings->report = value;
    } else if (strcmp(name, "RESOURCES") == 0) {
        settings->resources = value;
    } else if (strcmp(name, "SAMPLE") == 0) {
        TRY(read_number(value, 1, 1000000000, &number, err));
        settings->sample = (int)number;
    } else if (strcmp(name, "FAIL_ALLOC") == 0) {
        TRY(read_number(value, 0, 1000000000, &number, err));
        settings->fail_alloc = (long)number;
    } else if (strcmp(name, "WORKERS") == 0) {
        TRY(read_number(value, 0, 1024, &number, err));
        settings->machine.n_workers = (int)number;
    }
    return STATUS_OK;
}

static const char *const names[] = {"CARD",    "SEED",      "ORDER",     "MMA",
                                    "ASYNC",   "CHECK",     "REPORT",    "SAMPLE",
                                    "WORKERS", "RESOURCES", "FAIL_ALLOC"};

/* A slip in a name would go unseen: nothing would be checked, and nothing found. */
static enum status refuse_others(struct err *err)
{
    static const char prefix[] = "SOFTCUDA_";
    for (char **at = environ; *at; at++) {
        const char *name = *at + strlen(prefix);
        size_t i = 0;
        if (strncmp(*at, prefix, strlen(prefix)) != 0)
            continue;
        while (i < sizeof names / sizeof *names &&
               (strncmp(name, names[i], strlen(names[i])) != 0 || name[strlen(names[i])] != '='))
            i++;
        if (i == sizeof names / sizeof *names)
            return err_set(err, STATUS_USAGE, "%.*s: no such setting; unset it, or see %s",
                           (int)strcspn(*at, "="), *at, "softcuda --help");
    }
    return STATUS_OK;
}

enum status settings_read(struct settings *settings, struct err *err)
{
    TRY(refuse_others(err));
    *settings = (struct settings){.card = card_named("rtx4090"), .sample = 1};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char variable[32];
        snprintf(variable, sizeof variable, "SOFTCUDA_%s", names[i]);
        const char *value = getenv(variable);
        if (value && *value && settings_set(settings, names[i], value, err) != STATUS_OK)
            return err_prefix(err, "%s", variable);
    }
    return STATUS_OK;
}
