/* How rotary position embeddings are scaled: read by the loaders, obeyed by kernels/rope. */
#ifndef MIDASHI_BASE_ROPE_CONFIG_H
#define MIDASHI_BASE_ROPE_CONFIG_H

enum rope_scaling {
    ROPE_DEFAULT,
    ROPE_LINEAR,  /* positions divided by factor */
    ROPE_LLAMA3,  /* low frequencies divided by factor, smoothly (Llama 3.1) */
    ROPE_DIVIDED, /* frequency i divided by divisors[i] (a GGUF's rope_freqs.weight: what its
                     converter makes of llama3) */
};

#define ROPE_DIVISORS_LARGEST 256

struct rope_config {
    enum rope_scaling scaling;
    double theta; /* base, 10000 where the file is silent */
    double factor;
    double low_frequency_factor, high_frequency_factor; /* llama3 only */
    int original_max_positions;                         /* llama3 only */
    float divisors[ROPE_DIVISORS_LARGEST]; /* divided only: head_dim / 2 of them, > 0 */
};

#endif
