"""Writes tests/golden/rope.txt: rotary frequencies, tables and turned vectors by transformers.

For each case a line `case SCALING THETA FACTOR LOW HIGH ORIGINAL HEAD_DIM N_POSITIONS`, a line
`frequencies` with head_dim/2 numbers, and for each position three lines: `position P`, then
`cos` and `sin` (head_dim/2 numbers each) and `turned` (head_dim numbers): the vector
x[j] = (37 j mod 101) / 50 - 1 turned by apply_rotary_pos_emb. All in float32, nine digits.

Made with transformers 5.23.0 and torch 2.15.0. From the project's root:

    python tests/golden/make_rope.py
"""

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
CASES = [
    # scaling, theta, parameters, head_dim, positions
    ("default", 10000.0, {}, 64, [0, 1, 2, 43, 511, 2047]),
    ("default", 100000.0, {}, 48, [1, 8191]),
    ("linear", 10000.0, {"factor": 4.0}, 16, [0, 1, 7, 4095]),
    ("llama3", 500000.0, LLAMA3, 128, [0, 1, 110, 8191, 8192, 20000]),
    ("llama3", 500000.0, dict(LLAMA3, factor=32.0), 64, [1, 8193, 65535]),
]


def line(name, values):
    return name + "".join(" %.9g" % v for v in values.flatten().tolist()) + "\n"


with open("tests/golden/rope.txt", "w") as out:
    for scaling, theta, parameters, head_dim, positions in CASES:
        rope = {"rope_type": scaling, "rope_theta": theta, **parameters}
        config = LlamaConfig(hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim,
                             max_position_embeddings=131072, rope_parameters=rope)
        embedding = LlamaRotaryEmbedding(config)
        out.write("case %s %g %g %g %g %d %d %d\n" % (
            scaling, theta, parameters.get("factor", 1), parameters.get("low_freq_factor", 1),
            parameters.get("high_freq_factor", 1),
            parameters.get("original_max_position_embeddings", 1), head_dim, len(positions)))
        out.write(line("frequencies", embedding.inv_freq))
        x = (torch.arange(head_dim) * 37 % 101).float() / 50 - 1
        for p in positions:
            cos, sin = embedding(x.view(1, 1, -1), torch.tensor([[p]]))
            turned, _ = apply_rotary_pos_emb(x.view(1, 1, 1, -1), x.view(1, 1, 1, -1), cos, sin)
            out.write("position %d\n" % p)
            out.write(line("cos", cos[0, 0, :head_dim // 2]))
            out.write(line("sin", sin[0, 0, :head_dim // 2]))
            out.write(line("turned", turned))
