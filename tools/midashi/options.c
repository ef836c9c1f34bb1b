/* See options.h. The table is the single source for parsing and for the help pages. */
#include "tools/midashi/options.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include "host/base/threads.h"
#include "loaders/model_find.h"
#include "tools/midashi/suggest.h"

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_FILES,   /* const char ** with its count behind: one word, and more that end in .npy */
    OPTION_INT,     /* int, low .. high */
    OPTION_COUNT,   /* int, low .. high, or COUNT_AUTO for the word "auto" */
    OPTION_SEED,    /* uint64_t, 0 .. 2^63 - 1 */
    OPTION_DECIMAL, /* double, 0 .. 1e9 */
};

static const struct option {
    const char *name, *value; /* value: how the help calls it; NULL for a flag */
    enum option_kind kind;
    size_t offset;
    int low, high;
    const char *help;
} table[] = {
    {"--device", "auto|cpu|cuda[:N]", OPTION_TEXT, offsetof(struct options, device), 0, 0,
     "where to compute (auto)"},
    {"--threads", "N", OPTION_INT, offsetof(struct options, threads), 1, THREADS_LARGEST,
     "threads (one for each processor)"},
    {"--seed", "N", OPTION_SEED, offsetof(struct options, seed), 0, 0,
     "seed of all randomness (0): the same seed gives the same bytes"},
    {"--quiet", NULL, OPTION_FLAG, offsetof(struct options, quiet), 0, 0,
     "nothing on standard error but an error's line"},
    {"--json", NULL, OPTION_FLAG, offsetof(struct options, json), 0, 0,
     "one JSON object on standard output"},
    {"--force", NULL, OPTION_FLAG, offsetof(struct options, force), 0, 0,
     "write into a folder that midashi did not make, or over what an earlier run left there"},
    {"--help", NULL, OPTION_FLAG, offsetof(struct options, help), 0, 0, "this page"},
    {"--output", "PATH", OPTION_TEXT, offsetof(struct options, output), 0, 0,
     "where to write (needed)"},
    {"--text", "COLUMN", OPTION_TEXT, offsetof(struct options, text_column), 0, 0,
     "the column or JSON key of the texts; columns also by number from 1 (text; without a header "
     "the last)"},
    {"--label", "COLUMN", OPTION_TEXT, offsetof(struct options, label_column), 0, 0,
     "the column or JSON key of the labels (label, if there is one)"},
    {"--header", NULL, OPTION_FLAG, offsetof(struct options, header), 0, 0,
     "the first line is a header (guessed from the text column's name)"},
    {"--no-header", NULL, OPTION_FLAG, offsetof(struct options, no_header), 0, 0,
     "the first line is a text"},
    {"--format", "csv|tsv|jsonl|txt", OPTION_TEXT, offsetof(struct options, format), 0, 0,
     "what the corpus is (by the ending of its name; txt for a pipe)"},
    {"--rows", "A:B", OPTION_TEXT, offsetof(struct options, rows), 0, 0,
     "these rows of the corpus only, from 1, both included; A: and :B are open (all)"},
    {"--model", "MODEL", OPTION_TEXT, offsetof(struct options, model), 0, 0,
     "a model's folder or .gguf, or its name: ORG/NAME[@REVISION], NAME (needed; in "
     "bench only for the pipeline)"},
    {"--precision", "nf4|bf16|f32", OPTION_TEXT, offsetof(struct options, precision), 0, 0,
     "how the layers' weights are kept in memory (as --adapter was trained; nf4)"},
    {"--adapter", "FOLDER", OPTION_TEXT, offsetof(struct options, adapter), 0, 0,
     "a LoRA adapter of the model, as PEFT or train writes it (none)"},
    {"--pool", "auto|last|mean|last+mean|mean-all", OPTION_TEXT, offsetof(struct options, pool), 0,
     0,
     "which tokens make a text's vector (auto: last; with another --prompt than one-word, mean; of "
     "a sentence-transformers model what it says, with its layer and normalisation; with a "
     "classifier's --adapter last, --layer -1, nothing else); given, it "
     "makes the other autos --layer -1 --normalise none --remove-components 0 --prompt none"},
    {"--layer", "auto|N", OPTION_TEXT, offsetof(struct options, layer), 0, 0,
     "0 the embeddings, N the Nth block's output, -1 the last, with the final norm (auto: -2; with "
     "another --prompt than one-word, a third of the depth)"},
    {"--normalise", "auto|none|centre|l2|centre+l2", OPTION_TEXT,
     offsetof(struct options, normalise), 0, 0,
     "what is done to the vectors before clustering (auto: centre+l2, in cluster none)"},
    {"--remove-components", "auto|D", OPTION_TEXT, offsetof(struct options, remove_components), 0,
     0,
     "remove the D first principal components (auto: 0; with another --prompt than one-word, 2)"},
    {"--prompt", "auto|none|echo|one-word|TEMPLATE", OPTION_TEXT, offsetof(struct options, prompt),
     0, 0,
     "words put round each text (auto: one-word, which asks the model to say the text in one word; "
     "for a sentence-transformers model none); a template holds {text}. none is three to five "
     "times faster, and its topics are less good"},
    {"--max-tokens", "N", OPTION_INT, offsetof(struct options, max_tokens), 1, 1 << 20,
     "cut a text with its prompt to N tokens (512, or the model's own limit if that is less)"},
    {"--batch-tokens", "N", OPTION_INT, offsetof(struct options, batch_tokens), 1, 1 << 20,
     "tokens run through the model at once (1024; on a GPU as many as its memory holds, up to "
     "16384); no result depends on it"},
    {"--type", "f32|f16", OPTION_TEXT, offsetof(struct options, type), 0, 0,
     "type of the numbers in the output (f32)"},
    {"--as-report", NULL, OPTION_FLAG, offsetof(struct options, as_report), 0, 0,
     "the choices of KAKEN 21K12017's report, its fine-tuning apart: --pool last, 20 topics, "
     "--min-df 10, words by scikit-learn's default token pattern"},
    {"--topics", "K|auto", OPTION_COUNT, offsetof(struct options, topics), 1, 1 << 20,
     "how many topics (20); auto: the number that 8,192 of the texts fall into best, by the "
     "silhouette: from 2 to the root of how many there are, at most 200, and on to 1000 while more "
     "is clearly better"},
    {"--restarts", "N", OPTION_INT, offsetof(struct options, restarts), 1, 10000,
     "k-means runs, of which the best counts (1)"},
    {"--max-iterations", "N", OPTION_INT, offsetof(struct options, max_iterations), 1, 1000000,
     "k-means iterations at most (300)"},
    {"--tolerance", "X", OPTION_DECIMAL, offsetof(struct options, tolerance), 0, 0,
     "k-means stops when the centres move less, relative to the variance (1e-4)"},
    {"--spherical", NULL, OPTION_FLAG, offsetof(struct options, spherical), 0, 0,
     "k-means by angle: rows and centres of length 1"},
    {"--words", "N", OPTION_INT, offsetof(struct options, n_words), 1, 1000, "words a topic (20)"},
    {"--min-df", "auto|N", OPTION_TEXT, offsetof(struct options, min_df), 0, 0,
     "a word counts when N texts hold it (auto: 10 from 5,000 texts on, else n/500, at least 2)"},
    {"--language", "CODE", OPTION_TEXT, offsetof(struct options, language), 0, 0,
     "language of the words, as ja or en (the script of each text decides)"},
    {"--keep-single", NULL, OPTION_FLAG, offsetof(struct options, keep_single), 0, 0,
     "keep words of one character"},
    {"--embeddings", "E.npy...", OPTION_FILES, offsetof(struct options, embeddings), 0, 0,
     "take these vectors, in order the parts of one array (the texts are embedded)"},
    {"--centres", "FILE.npy", OPTION_TEXT, offsetof(struct options, centres), 0, 0,
     "write the cluster centres too, as they are after --normalise and --remove-components (not "
     "written)"},
    {"--init", "FILE.npy", OPTION_TEXT, offsetof(struct options, init), 0, 0,
     "start from these centres, as --centres wrote them: a row a topic, whose number need not be "
     "given; there is one start then (greedy k-means++ chooses rows)"},
    {"--finetune", NULL, OPTION_FLAG, offsetof(struct options, finetune), 0, 0,
     "first train an adapter on the corpus, as `midashi train` does, into the folder's adapter/; "
     "topics then come from the texts it was trained on, and those held out are assigned to them"},
    {"--objective", "auto|classify|next-token|contrastive", OPTION_TEXT,
     offsetof(struct options, objective), 0, 0,
     "what is trained for: to tell labels apart, to continue texts, or to find a text among others "
     "(auto: classify where there are labels, else contrastive)"},
    {"--steps", "N", OPTION_INT, offsetof(struct options, steps), 1, 100000000,
     "steps of the optimiser (500)"},
    {"--batch", "N", OPTION_INT, offsetof(struct options, batch), 1, 1 << 20,
     "texts of a micro-batch (4; contrastive 16, which are compared with one another)"},
    {"--accumulate", "N", OPTION_INT, offsetof(struct options, accumulate), 1, 1 << 20,
     "micro-batches of a step (4; contrastive 1)"},
    {"--learning-rate", "X", OPTION_DECIMAL, offsetof(struct options, learning_rate), 0, 0,
     "the largest rate (5e-5)"},
    {"--schedule", "linear|cosine|constant", OPTION_TEXT, offsetof(struct options, schedule), 0, 0,
     "how the rate goes down to 0, or stays (linear)"},
    {"--warm-up", "N", OPTION_INT, offsetof(struct options, warm_up), 0, 100000000,
     "steps in which the rate first rises from 0 (0)"},
    {"--weight-decay", "X", OPTION_DECIMAL, offsetof(struct options, weight_decay), 0, 0,
     "AdamW's (0)"},
    {"--clip", "X", OPTION_DECIMAL, offsetof(struct options, clip), 0, 0,
     "largest norm of a step's gradient; 0: no limit (1)"},
    {"--rank", "N", OPTION_INT, offsetof(struct options, rank), 1, 65536,
     "rank of the adapter's matrices (32)"},
    {"--alpha", "X", OPTION_DECIMAL, offsetof(struct options, alpha), 0, 0,
     "scale of what the adapter adds: alpha / rank (32)"},
    {"--rslora", NULL, OPTION_FLAG, offsetof(struct options, rslora), 0, 0,
     "scale alpha / sqrt(rank) instead"},
    {"--dropout", "X", OPTION_DECIMAL, offsetof(struct options, dropout), 0, 0,
     "share of the adapter's inputs that is dropped in training (0.1)"},
    {"--temperature", "X", OPTION_DECIMAL, offsetof(struct options, temperature), 0, 0,
     "contrastive: cosines are divided by it (0.05)"},
    {"--group", "COLUMN", OPTION_TEXT, offsetof(struct options, group_column), 0, 0,
     "contrastive: texts of a group, as a book, whose rows are near are positives of one another; "
     "all others are negatives (a text's positive is itself, under another dropout)"},
    {"--near", "N", OPTION_INT, offsetof(struct options, near), 1, 1 << 30,
     "with --group: rows so far apart still are near (5)"},
    {"--validation", "X", OPTION_DECIMAL, offsetof(struct options, validation), 0, 0,
     "share of the texts, of each label, that is held out; with --group in runs of neighbouring "
     "rows, 4 times --near long (0.1)"},
    {"--validation-file", "CORPUS", OPTION_TEXT, offsetof(struct options, validation_file), 0, 0,
     "validate on these texts, all of them (a share of the corpus)"},
    {"--evaluate-every", "N", OPTION_INT, offsetof(struct options, evaluate_every), 1, 100000000,
     "steps between evaluations; the last step is always evaluated (100)"},
    {"--patience", "N", OPTION_INT, offsetof(struct options, patience), 0, 100000000,
     "stop after N evaluations without gain; 0: never (0)"},
    {"--checkpoint-every", "N", OPTION_INT, offsetof(struct options, checkpoint_every), 0,
     100000000, "steps between checkpoints; 0: none (100)"},
    {"--resume", NULL, OPTION_FLAG, offsetof(struct options, resume), 0, 0,
     "go on from the output folder's checkpoint, if there is one; nothing where the run is done"},
    {"--memory", "auto|SIZE", OPTION_TEXT, offsetof(struct options, memory), 0, 0,
     "what training may take, as 6G (10^9 bytes) or 6Gi (2^30); less is slower and gives the same "
     "bytes (auto: 80 % of what is free, of a GPU 95 %)"},
    {"--plan", NULL, OPTION_FLAG, offsetof(struct options, plan), 0, 0,
     "only print how much memory training would take; on a GPU CUDA itself takes up to 500 MB "
     "beside it"},
    {"--probabilities", "P.npy", OPTION_TEXT, offsetof(struct options, probabilities), 0, 0,
     "write every label's probability: a row a text, zeros for a blank one (not written)"},
    {"--set", "MODEL", OPTION_TEXT, offsetof(struct options, set), 0, 0,
     "the shapes of smollm2, llama2-7b, llama3-8b or all (smollm2)"},
    {"--shape", "m=M,n=N,...", OPTION_TEXT, offsetof(struct options, shape), 0, 0,
     "a shape by hand: the operations that have these dimensions (the set's)"},
    {"--full", NULL, OPTION_FLAG, offsetof(struct options, full), 0, 0,
     "all shapes of a set, on one thread and on all"},
    {"--seconds", "S", OPTION_DECIMAL, offsetof(struct options, seconds), 0, 0,
     "how long each row is timed (0.5)"},
    {"--corpus", "CORPUS", OPTION_TEXT, offsetof(struct options, corpus), 0, 0,
     "the texts of the pipeline's rows (1,000 synthetic ones)"},
    {"--largest", "N", OPTION_INT, offsetof(struct options, largest), 1000, 1000000,
     "bench scaling: up to N texts (30000)"},
    {"--against", "BINARY", OPTION_TEXT, offsetof(struct options, against), 0, 0,
     "bench compare: another build of midashi, in turns with this one"},
    {"--worker", NULL, OPTION_FLAG, offsetof(struct options, worker), 0, 0,
     "serve rows on standard input: what --against starts"},
    {"--csv", NULL, OPTION_FLAG, offsetof(struct options, csv), 0, 0,
     "comma-separated values on standard output"},
    {"--no-special", NULL, OPTION_FLAG, offsetof(struct options, no_special), 0, 0,
     "without BOS and its kin"},
    {"--jsonl", NULL, OPTION_FLAG, offsetof(struct options, jsonl), 0, 0,
     "each input line is a JSON string"},
};
#define N_OPTIONS (sizeof table / sizeof *table)

/* What an option says in one command, where that is not what it says in the others. */
static const struct {
    const char *command, *option, *help;
} own_help[] = {
    {"topics", "--output", "where to write (CORPUS.topics)"},
    {"topics", "--memory",
     "with --finetune: what training may take, as 6G (10^9 bytes) or 6Gi (2^30); less is slower "
     "and gives the same bytes (auto: 80 % of what is free, of a GPU 95 %)"},
    {"cluster", "--output", "the file of labels, int32 (needed)"},
    {"cluster", "--memory",
     "what clustering may take, as 6G (10^9 bytes) or 6Gi (2^30); less is slower and gives the "
     "same bytes (auto: 80 % of what is free, of a GPU 95 %)"},
    {"bench", "--output", "roofline, scaling: the picture, an .svg (needed by roofline)"},
    {"bench", "--tolerance", "compare: the share by which a row may be slower (0.05)"},
};

/* Options that several commands share, under one name in their lists. */
static const struct {
    const char *name;
    const char *members[24];
} groups[] = {
    {"@common", {"--device", "--threads", "--quiet", "--json", "--help"}},
    {"@corpus", {"--text", "--label", "--header", "--no-header", "--format", "--rows"}},
    {"@embedding",
     {"--model", "--precision", "--adapter", "--pool", "--layer", "--prompt", "--max-tokens",
      "--batch-tokens"}},
    {"@training",
     {"--objective",
      "--steps",
      "--batch",
      "--accumulate",
      "--learning-rate",
      "--schedule",
      "--warm-up",
      "--weight-decay",
      "--clip",
      "--rank",
      "--alpha",
      "--rslora",
      "--dropout",
      "--temperature",
      "--evaluate-every",
      "--patience",
      "--checkpoint-every",
      "--memory",
      "--validation",
      "--resume"}},
    {"@transform", {"--normalise", "--remove-components"}},
    {"@kmeans",
     {"--topics", "--seed", "--restarts", "--max-iterations", "--tolerance", "--spherical"}},
};
#define N_GROUPS (sizeof groups / sizeof *groups)

static const struct option *find_option(const char *name, size_t length)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

/* Calls visit for each option of the command, groups expanded, until it returns true. */
static bool each_option(const struct command *command,
                        bool (*visit)(void *context, const struct option *option), void *context)
{
    for (const char *const *name = command->options; *name; name++) {
        if (**name != '@') {
            const struct option *option = find_option(*name, strlen(*name));
            assert(option);
            if (visit(context, option))
                return true;
            continue;
        }
        for (size_t g = 0; g < N_GROUPS; g++)
            for (int m = 0; strcmp(groups[g].name, *name) == 0 && groups[g].members[m]; m++) {
                const char *member = groups[g].members[m];
                if (visit(context, find_option(member, strlen(member))))
                    return true;
            }
    }
    return false;
}

/* What the option's value may be for the command. */
static const char *value_of(const struct command *command, const struct option *option)
{
    bool device = option->offset == offsetof(struct options, device);
    return device && command->cpu_only ? "auto|cpu" : option->value;
}

/* One of what only fine-tuning reads. */
static bool is_training(const struct option *option)
{
    for (size_t g = 0; g < N_GROUPS; g++)
        for (int m = 0; strcmp(groups[g].name, "@training") == 0 && groups[g].members[m]; m++)
            if (strcmp(option->name, groups[g].members[m]) == 0)
                return true;
    return false;
}

static bool is_option(void *context, const struct option *option)
{
    return option == context;
}

/* ---- suggestions ---------------------------------------------------------------------------- */

struct nearest {
    const char *wanted, *name;
    int distance;
};

static bool keep_nearest(void *context, const struct option *option)
{
    struct nearest *nearest = context;
    int distance = suggest_distance(nearest->wanted, option->name);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->name = option->name;
    }
    return false;
}

static enum status unknown_option(const struct command *command, const char *argument,
                                  struct err *err)
{
    struct nearest nearest = {.wanted = argument, .distance = INT_MAX};
    const char *ours = suggest_option(argument);
    const struct option *same = ours ? find_option(ours, strlen(ours)) : NULL;
    each_option(command, keep_nearest, &nearest);
    if (same && each_option(command, is_option, (void *)same))
        nearest.name = same->name;
    if (nearest.name)
        return err_set(err, STATUS_USAGE, "midashi %s has no option %s; did you mean %s?",
                       command->name, argument, nearest.name);
    return err_set(err, STATUS_USAGE, "midashi %s has no option %s; see midashi %s --help",
                   command->name, argument, command->name);
}

/* ---- values --------------------------------------------------------------------------------- */

static enum status set_value(struct options *options, const struct option *option,
                             const char *value, struct err *err)
{
    void *member = (char *)options + option->offset;
    int64_t whole;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return STATUS_OK;
    case OPTION_TEXT:
        *(const char **)member = value;
        return STATUS_OK;
    case OPTION_FILES:
        options->embeddings[options->n_embeddings++] = value;
        return STATUS_OK;
    case OPTION_COUNT:
        if (strcmp(value, "auto") == 0) {
            *(int *)member = COUNT_AUTO;
            return STATUS_OK;
        }
        if (!parse_whole(value, option->low, option->high, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from %d to %d, or auto",
                           option->name, value, option->low, option->high);
        *(int *)member = (int)whole;
        return STATUS_OK;
    case OPTION_INT:
        if (!parse_whole(value, option->low, option->high, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from %d to %d",
                           option->name, value, option->low, option->high);
        *(int *)member = (int)whole;
        return STATUS_OK;
    case OPTION_SEED:
        if (!parse_whole(value, 0, INT64_MAX, &whole))
            return err_set(err, STATUS_USAGE, "%s %s: give a whole number from 0 to %lld",
                           option->name, value, (long long)INT64_MAX);
        *(uint64_t *)member = (uint64_t)whole;
        return STATUS_OK;
    case OPTION_DECIMAL:
        if (!parse_decimal(value, 0, 1e9, member))
            return err_set(err, STATUS_USAGE, "%s %s: give a number from 0 to 1e9", option->name,
                           value);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static void set_defaults(struct options *options)
{
    *options = (struct options){
        .device = "auto",
        .type = "f32",
        .restarts = 1,
        .max_iterations = 300,
        .tolerance = 1e-4,
        .n_words = 20,
        .objective = "auto",
        .schedule = "linear",
        .memory = "auto",
        .steps = 500,
        .rank = 32,
        .evaluate_every = 100,
        .checkpoint_every = 100,
        .learning_rate = 5e-5,
        .clip = 1,
        .dropout = 0.1,
        .alpha = 32,
        .temperature = -1,
        .validation = -1,
        .min_df = "auto",
        .set = "smollm2",
        .seconds = 0.5,
        .largest = 30000,
    };
}

struct kmeans_settings options_kmeans(const struct options *options)
{
    return (struct kmeans_settings){
        .k = options->topics == COUNT_AUTO ? 0 : options->topics,
        .seed = options->seed,
        .restarts = options->restarts,
        .max_iterations = options->max_iterations,
        .tolerance = options->tolerance,
        .spherical = options->spherical,
    };
}

static bool is_npy(const char *word)
{
    size_t length = strlen(word);
    return word[0] != '-' && length > 4 && strcmp(word + length - 4, ".npy") == 0;
}

static enum status check_counts(const struct options *options, const struct command *command,
                                struct err *err)
{
    if (options->n_arguments < command->least_arguments)
        return err_set(err, STATUS_USAGE, "too few arguments; usage: midashi %s %s", command->name,
                       command->usage);
    if (options->n_arguments > command->most_arguments)
        return err_set(err, STATUS_USAGE, "one argument too many, %s; usage: midashi %s %s",
                       options->arguments[command->most_arguments], command->name, command->usage);
    if (options->header && options->no_header)
        return err_set(err, STATUS_USAGE, "--header and --no-header contradict each other");
    return STATUS_OK;
}

/* value: NULL where the command line ends. A value that is empty, or an option's name that does not
 * stand behind a '=', means that the value was forgotten. */
static enum status check_value(const struct command *command, const struct option *option,
                               const char *value, bool behind_equals, struct err *err)
{
    if (!value || !*value)
        return err_set(err, STATUS_USAGE, "%s needs a value: %s", option->name,
                       value_of(command, option));
    if (!behind_equals && find_option(value, strcspn(value, "=")))
        return err_set(err, STATUS_USAGE, "%s needs a value, %s, before %s", option->name,
                       value_of(command, option), value);
    return STATUS_OK;
}

/* Once for all commands. */
static enum status find_model(struct options *options, const struct command *command,
                              struct err *err)
{
    const char *name = command->first_is_model ? options->arguments[0] : options->model, *path;
    struct arena arena = {0};
    if (!name)
        return STATUS_OK;
    enum status status = model_find(&arena, name, &path, err);
    if (status == STATUS_OK && strlen(path) >= sizeof options->model_path)
        status = err_set(err, STATUS_MISSING, "%s: the path is too long", name);
    if (status == STATUS_OK)
        strcpy(options->model_path, path);
    arena_free(&arena);
    return status;
}

enum status options_parse(struct options *options, const struct command *command, int argc,
                          char **argv, const char **arguments, struct err *err)
{
    set_defaults(options);
    if (command->defaults)
        command->defaults(options);
    options->arguments = arguments;
    options->embeddings = arguments + argc;
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (word[0] == '\0') /* "$UNSET", mostly */
            return err_set(err, STATUS_USAGE, "an argument is empty; usage: midashi %s %s",
                           command->name, command->usage);
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            arguments[options->n_arguments++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_arguments = true;
            continue;
        }
        if (strcmp(word, "-h") == 0)
            word = "--help";
        if (strcmp(word, "-o") == 0)
            word = "--output";
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct option *option = find_option(word, length);
        if (!option || !each_option(command, is_option, (void *)option))
            return unknown_option(command, word, err);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == OPTION_FLAG && value)
            return err_set(err, STATUS_USAGE, "%s takes no value", option->name);
        if (option->kind != OPTION_FLAG && !value && i + 1 < argc)
            value = argv[++i];
        if (option->kind != OPTION_FLAG)
            TRY(check_value(command, option, value, equals, err));
        TRY(set_value(options, option, value, err));
        if (is_training(option))
            options->training_option = option->name;
        for (; option->kind == OPTION_FILES && i + 1 < argc && is_npy(argv[i + 1]); i++)
            TRY(set_value(options, option, argv[i + 1], err));
    }
    options->topics_given = options->topics != 0;
    if (!options->topics_given)
        options->topics = 20;
    if (options->help)
        return STATUS_OK;
    TRY(check_counts(options, command, err));
    return find_model(options, command, err);
}

/* ---- help ----------------------------------------------------------------------------------- */

#define HELP_COLUMN 4
#define HELP_WIDTH  79 /* the least terminal */

/* Prints words of text, broken at HELP_WIDTH; an empty line begins a paragraph. */
static void print_wrapped(FILE *stream, const char *text, int indent)
{
    int column = 0;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (column == 0 || column + 1 + length > HELP_WIDTH) {
            fprintf(stream, "%s%*s", column ? "\n" : "", indent, "");
            column = indent;
        } else {
            fputc(' ', stream);
            column++;
        }
        fwrite(text, 1, (size_t)length, stream);
        column += length;
        text += length;
        if (strncmp(text, "\n\n", 2) == 0) {
            fputs("\n\n", stream);
            column = 0;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', stream);
}

struct help {
    const struct command *command;
    FILE *stream;
};

static const char *help_of(const struct command *command, const struct option *option)
{
    for (size_t i = 0; i < sizeof own_help / sizeof *own_help; i++)
        if (strcmp(own_help[i].command, command->name) == 0 &&
            strcmp(own_help[i].option, option->name) == 0)
            return own_help[i].help;
    return option->help;
}

static bool print_option(void *context, const struct option *option)
{
    const struct help *help = context;
    const char *value = value_of(help->command, option);
    fprintf(help->stream, "  %s%s%s\n", option->name, value ? " " : "", value ? value : "");
    print_wrapped(help->stream, help_of(help->command, option), 2 * HELP_COLUMN);
    return false;
}

void options_help(const struct command *command, FILE *stream)
{
    fprintf(stream, "midashi %s %s\n\n", command->name, command->usage);
    print_wrapped(stream, command->summary, 0);
    if (*command->details)
        print_wrapped(stream, command->details, 0);
    fprintf(stream, "\nOptions (defaults in brackets):\n");
    each_option(command, print_option, &(struct help){command, stream});
}
