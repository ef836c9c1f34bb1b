/* See options_table.h. */
#include "tools/midashi/options_table.h"

#include <assert.h>
#include <string.h>
#include "host/base/threads.h"

static const struct option table[] = {
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
     "the column or JSON key of the texts; columns also by number from 1 (text, in any case of "
     "letters; without a header the last)"},
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
     "a model's folder or .gguf, or its name: ORG/NAME[@REVISION], NAME (needed)"},
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
    {"topics", "--model",
     "a model's folder or .gguf, or its name: ORG/NAME[@REVISION], NAME (needed, but for the "
     "--embeddings of a plain embed)"},
    {"topics", "--output", "where to write (CORPUS.topics)"},
    {"topics", "--memory",
     "with --finetune: what training may take, as 6G (10^9 bytes) or 6Gi (2^30); less is slower "
     "and gives the same bytes (auto: 80 % of what is free, of a GPU 95 %)"},
    {"cluster", "--output", "the file of labels, int32 (needed)"},
    {"cluster", "--memory",
     "what clustering may take, as 6G (10^9 bytes) or 6Gi (2^30); less is slower and gives the "
     "same bytes (auto: 80 % of what is free, of a GPU 95 %)"},
    {"classify", "--adapter", "a LoRA adapter of the model, with a head for labels (needed)"},
    {"bench", "--model",
     "a model's folder or .gguf, or its name: ORG/NAME[@REVISION], NAME: the steps of the pipeline "
     "with it (none: no steps)"},
    {"bench", "--output", "roofline, scaling: the picture, an .svg (needed by roofline)"},
    {"bench", "--tolerance", "compare: the share by which a row may be slower (0.05)"},
};

/* Options that several commands share, under one name in their lists. What begins with # there, as
 * in these, is a heading of the help page. */
#define HEADING '#'
static const struct {
    const char *name;
    const char *members[24];
} groups[] = {
    {"@common", {"#The run", "--device", "--threads", "--quiet", "--json", "--help"}},
    {"@corpus", {"#Texts", "--text", "--label", "--header", "--no-header", "--format", "--rows"}},
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
      "--temperature",
      "--memory",
      "#The adapter",
      "--rank",
      "--alpha",
      "--rslora",
      "--dropout",
      "#Validation and checkpoints",
      "--validation",
      "--evaluate-every",
      "--patience",
      "--checkpoint-every",
      "--resume"}},
    {"@transform", {"--normalise", "--remove-components"}},
    {"@kmeans",
     {"--topics", "--seed", "--restarts", "--max-iterations", "--tolerance", "--spherical"}},
};
#define N_GROUPS (sizeof groups / sizeof *groups)

const struct option *option_find(const char *name, size_t length)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

/* The members of a group, NULL at the end. */
static const char *const *members_of(const char *group)
{
    for (size_t g = 0; g < N_GROUPS; g++)
        if (strcmp(groups[g].name, group) == 0)
            return groups[g].members;
    assert(!"a group");
    return NULL;
}

struct visit {
    bool (*visit)(void *context, const struct option *option, const char *heading);
    void *context;
    const char *heading;
};

static bool visit_name(struct visit *visit, const char *name)
{
    if (*name == HEADING) {
        visit->heading = name + 1;
        return false;
    }
    const struct option *option = option_find(name, strlen(name));
    assert(option);
    return visit->visit(visit->context, option, visit->heading);
}

bool option_each(const struct command *command,
                 bool (*visit)(void *context, const struct option *option, const char *heading),
                 void *context)
{
    struct visit of_each = {visit, context, NULL};
    for (const char *const *name = command->options; *name; name++) {
        if (**name != '@') {
            if (visit_name(&of_each, *name))
                return true;
            continue;
        }
        for (const char *const *member = members_of(*name); *member; member++)
            if (visit_name(&of_each, *member))
                return true;
    }
    return false;
}

const char *option_value(const struct command *command, const struct option *option)
{
    bool device = option->offset == offsetof(struct options, device);
    return device && command->cpu_only ? "auto|cpu" : option->value;
}

const char *option_help(const struct command *command, const struct option *option)
{
    for (size_t i = 0; i < sizeof own_help / sizeof *own_help; i++)
        if (strcmp(own_help[i].command, command->name) == 0 &&
            strcmp(own_help[i].option, option->name) == 0)
            return own_help[i].help;
    return option->help;
}

bool option_is_training(const struct option *option)
{
    for (const char *const *member = members_of("@training"); *member; member++)
        if (strcmp(option->name, *member) == 0)
            return true;
    return false;
}
