/* See suggest.h. */
#include "tools/midashi/suggest.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LONGEST       31 /* bytes of a name */
#define LEAST_LETTERS 3  /* that a beginning must have: --k is not --keep-single */

/* Levenshtein's distance. n, m <= LONGEST. */
static int edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    int row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 0; i < n; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (size_t j = 0; j < m; j++) {
            int changed = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            int best = row[j] < row[j + 1] ? row[j] : row[j + 1];
            row[j + 1] = changed < best + 1 ? changed : best + 1;
        }
    }
    return row[m];
}

int suggest_distance(const char *given, const char *name)
{
    size_t n = strcspn(given, "="), m = strlen(name);
    if (n > LONGEST || m > LONGEST)
        return INT_MAX;
    size_t dashes = strspn(given, "-");
    size_t letters = n > dashes ? n - dashes : 0;
    size_t shorter = n < m ? n : m;
    if (letters >= LEAST_LETTERS && memcmp(given, name, shorter) == 0)
        return 0;
    int distance = edit_distance(given, n, name, m);
    int most = letters / 3 > 1 ? (int)(letters / 3) : 1;
    return letters > 0 && distance <= most ? distance : INT_MAX;
}

const char *suggest_option(const char *given)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {
        {"--lr", "--learning-rate"},
        {"--epochs", "--steps"},
        {"--num-epochs", "--steps"},
        {"--max-steps", "--steps"},
        {"--warmup-steps", "--warm-up"},
        {"--lora-rank", "--rank"},
        {"--lora-r", "--rank"},
        {"--lora-alpha", "--alpha"},
        {"--lora-dropout", "--dropout"},
        {"--gradient-accumulation-steps", "--accumulate"},
        {"--max-grad-norm", "--clip"},
        {"--eval-steps", "--evaluate-every"},
        {"--save-steps", "--checkpoint-every"},
        {"--max-length", "--max-tokens"},
        {"-k", "--topics"},
        {"--k", "--topics"},
        {"--clusters", "--topics"},
        {"--n-clusters", "--topics"},
        {"--num-clusters", "--topics"},
        {"--n-init", "--restarts"},
        {"--random-state", "--seed"},
    };
    size_t length = strcspn(given, "=");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *theirs = names[i].theirs;
        bool same = strlen(theirs) == length;
        for (size_t j = 0; same && j < length; j++) /* --max_steps too */
            same = theirs[j] == (given[j] == '_' ? '-' : given[j]);
        if (same)
            return names[i].ours;
    }
    return NULL;
}
