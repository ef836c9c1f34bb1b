"""Do PEFT and transformers compute the same with what midashi wrote? By hand, from the root:

    build/tests/tool_adapter MODEL ADAPTER 5 rslora [LABEL...]
    build/midashi tokenize --model MODEL TEXTS.txt > IDS.txt
    build/midashi embed TEXTS.txt --model MODEL --adapter ADAPTER --precision f32 --pool last --output E.npy
    build/midashi merge MODEL ADAPTER --output MERGED
    python tests/golden/check_adapter.py MODEL ADAPTER MERGED IDS.txt E.npy

Loads the adapter with PEFT on the model in float32, and the merged folder with transformers alone.
Prints the largest relative errors: of the last tokens' hidden states (midashi against PEFT), and of
the logits (merged against PEFT; for tokens, or for classes where there are labels). Exits 1 where one
is above 1e-4, or PEFT finds a key missing or unexpected. MODEL in safetensors, in F32.

An adapter of midashi's own training takes the place of tool_adapter's: `build/midashi train CORPUS
--model MODEL --output ADAPTER --device cuda`, without a GPU under
MIDASHI_CUDA_DRIVER=build/softcuda/libcuda.so.1. docs/numerics.md, Training on a GPU, has the figures.
"""
import json
import pathlib
import sys
import warnings

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification


def relative(got, want):
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def main(base, adapter, merged, ids_path, embeddings_path):
    labels = pathlib.Path(adapter, "labels.json")
    labels = json.loads(labels.read_text()) if labels.exists() else []
    kind = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    more = {"num_labels": len(labels)} if labels else {}
    warnings.filterwarnings("error", message=".*(missing|unexpected).*key")
    model = kind.from_pretrained(base, dtype=torch.float32, **more)
    if labels:  # a file may keep tied embeddings as lm_head alone, which this class does not look for
        tokens = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model.model.load_state_dict(tokens.model.state_dict())
    model = PeftModel.from_pretrained(model, adapter).eval()
    plain = kind.from_pretrained(merged, dtype=torch.float32).eval()
    if labels:
        assert [plain.config.id2label[i] for i in range(len(labels))] == labels
    embeddings = np.load(embeddings_path)
    lines = open(ids_path).read().splitlines()
    assert len(lines) == len(embeddings)
    states = logits = without = 0
    for line, got in zip(lines, embeddings):
        ids = torch.tensor([[int(i) for i in line.split()]])
        with torch.no_grad():
            want = model(ids, output_hidden_states=True)
            twin = plain(ids)
            with model.disable_adapter():
                base_logits = model(ids).logits
        hidden = want.hidden_states[-1][0, -1].numpy()
        states = max(states, relative(got, hidden))
        logits = max(logits, relative(twin.logits.numpy(), want.logits.numpy()))
        without = max(without, relative(base_logits.numpy(), want.logits.numpy()))
    print(f"{len(lines)} texts: hidden states within {states:.1e}, merged logits within {logits:.1e} "
          f"(without the adapter {without:.1e})")
    return 0 if states <= 1e-4 and logits <= 1e-4 < without else 1


sys.exit(main(*sys.argv[1:6]))
