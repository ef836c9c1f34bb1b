/* A LoRA adapter of a model: low-rank changes of its layers' matrices, and perhaps a classification
 * head. PEFT's folder is its file: what is written here loads there, and the other way round.
 *
 * Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685). */
#ifndef MIDASHI_HOST_LORA_ADAPTER_H
#define MIDASHI_HOST_LORA_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/memory.h"
#include "host/base/status.h"
#include "kernels/lora.h"
#include "loaders/adapter_config.h"
#include "loaders/model_config.h"

enum lora_target {
    LORA_Q,
    LORA_K,
    LORA_V,
    LORA_O,
    LORA_GATE,
    LORA_UP,
    LORA_DOWN,
    LORA_TARGETS,
};

struct lora_adapter {
    int n_layers; /* of the model */
    int hidden_size;
    int largest_rank;
    struct lora (*layers)[LORA_TARGETS]; /* (n_layers); rank 0: left alone */
    int n_labels;                        /* of the head; 0: there is none */
    char **labels;                       /* (n_labels) their names */
    float *head;                         /* (n_labels, D), no bias; or NULL */
    /* Everything that is trained, one array: for each layer and target A (rank, columns), then B
     * (rows, rank); the head last. The pointers above point into it. */
    float *parameters;
    int64_t n_parameters;
    struct adapter_config config; /* what adapter_config.json says, and will say again */
    bool base_names;              /* of a base model (LlamaModel): names without "model." */
    struct arena arena;
};

struct lora_settings {
    int rank;
    double alpha, dropout;
    bool rslora;
    enum adapter_task task;
    int n_labels; /* of the head of ADAPTER_CLASSIFIES, >= 1; else 0 */
    const char *const *labels;
    const char *base_model; /* for adapter_config.json; NULL: not told */
};

/* A new adapter of all seven matrices of all layers, with PEFT's initial values, drawn by Philox
 * from the seed: A uniform within ±1 / sqrt(columns) (Kaiming with a = sqrt(5)), B zero, so that
 * nothing is changed yet; the head normal with deviation 0.02 (transformers' initializer_range). On
 * failure all is released. STATUS_USAGE: a rank that is not within 1 and ADAPTER_RANK_LARGEST. */
enum status lora_adapter_create(struct lora_adapter *adapter, const struct model_config *config,
                                const struct lora_settings *settings, uint64_t seed,
                                struct err *err);

/* The files of an adapter, beside ADAPTER_CONFIG_FILE. */
#define ADAPTER_WEIGHTS_FILE "adapter_model.safetensors"
#define ADAPTER_LABELS_FILE  "labels.json"

/* path: a folder with adapter_config.json and adapter_model.safetensors (F32, F16 or BF16), and
 * perhaps labels.json, without which the labels are LABEL_0, LABEL_1, .... On failure all is
 * released. Errors of adapter_config_read; STATUS_BAD_DATA too: a tensor that is missing, not
 * finite, of another shape than rank and model say, or that nobody uses; no module of the model is
 * a target; labels that do not fit the head. */
enum status lora_adapter_load(struct lora_adapter *adapter, const char *path,
                              const struct model_config *config, struct err *err);

/* Whether there is an adapter at path, before its files are read. STATUS_MISSING, STATUS_BAD_DATA:
 * what is there instead. */
enum status lora_adapter_check(const char *path, struct err *err);

/* Makes the folder where it is not there, and writes labels.json, adapter_model.safetensors (F32)
 * and adapter_config.json: aside, and renamed when all of it is on the disk. Where the folder holds
 * an adapter with the same settings and labels, a kill leaves the old one or the new one; else the
 * old adapter_config.json goes first and the new one comes last, so that no kill leaves the files
 * of two adapters together. */
enum status lora_adapter_save(const struct lora_adapter *adapter, const char *folder,
                              struct err *err);
void lora_adapter_free(struct lora_adapter *adapter); /* a zeroed one is allowed */

/* "self_attn.q_proj", ... */
const char *lora_target_name(enum lora_target target);
/* The matrix's shape in the model. */
void lora_target_shape(const struct model_config *config, enum lora_target target, int *rows,
                       int *columns);

/* ---- for lora_adapter*.c alone -------------------------------------------------------------- */

/* "base_model.model.model.layers.3.self_attn.q_proj", whose tensors have .lora_A.weight and
 * .lora_B.weight behind; what stands behind the first two words is the module's name. */
#define LORA_NAME_SIZE   128
#define LORA_NAME_PREFIX "base_model.model."
#define LORA_HEAD_NAME   LORA_NAME_PREFIX "score.weight"
void lora_module_name(const struct lora_adapter *adapter, int layer, enum lora_target target,
                      char name[LORA_NAME_SIZE]);
/* Allocates `layers`, all of rank 0, with the model's shapes. */
enum status lora_adapter_shape(struct lora_adapter *adapter, const struct model_config *config,
                               struct err *err);
/* When ranks and n_labels are there: allocates the parameters and sets all pointers into them. */
enum status lora_adapter_carve(struct lora_adapter *adapter, struct err *err);

#endif
