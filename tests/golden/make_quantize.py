"""A whole model in a GGUF, for tests/test_quantize.c: tests/golden/gguf/whole.gguf, a random Llama with
a SentencePiece-style vocabulary, an output matrix of its own and Llama 3's divisors of frequencies.

Made with gguf 0.19.0 and numpy 2.4.6: python tests/golden/make_quantize.py
"""
import os

import numpy as np
from gguf import GGUFWriter, TokenType

HIDDEN, MLP, HEADS, KV_HEADS, HEAD_DIM = 48, 80, 2, 1, 24
PIECES = ["\u2581", "a", "b", "c", "\u2581a", "ab", "\u2581ab", "bc"]

tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + PIECES
types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
types += [TokenType.NORMAL] * len(PIECES)
scores = [0.0] * 259 + [-float(i) for i in range(len(PIECES))]
n = len(tokens)

rng = np.random.default_rng(0)
writer = GGUFWriter(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf", "whole.gguf"),
                    "llama")
writer.add_context_length(64)
writer.add_embedding_length(HIDDEN)
writer.add_block_count(1)
writer.add_feed_forward_length(MLP)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_freq_base(500000.0)
writer.add_rope_dimension_count(HEAD_DIM)
writer.add_vocab_size(n)
writer.add_tokenizer_model("llama")
writer.add_token_list(tokens)
writer.add_token_scores(scores)
writer.add_token_types(types)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)


def matrix(name, rows, columns):
    values = rng.standard_normal((rows, columns)) / np.sqrt(columns)
    writer.add_tensor(name, values.astype(np.float16))


def norm(name):
    writer.add_tensor(name, (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32))


matrix("token_embd.weight", n, HIDDEN)
writer.add_tensor("rope_freqs.weight", np.linspace(1, 8, HEAD_DIM // 2).astype(np.float32))
norm("blk.0.attn_norm.weight")
matrix("blk.0.attn_q.weight", HEADS * HEAD_DIM, HIDDEN)
matrix("blk.0.attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN)
matrix("blk.0.attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN)
matrix("blk.0.attn_output.weight", HIDDEN, HEADS * HEAD_DIM)
norm("blk.0.ffn_norm.weight")
matrix("blk.0.ffn_gate.weight", MLP, HIDDEN)
matrix("blk.0.ffn_up.weight", MLP, HIDDEN)
matrix("blk.0.ffn_down.weight", HIDDEN, MLP)
norm("output_norm.weight")
matrix("output.weight", n, HIDDEN)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
