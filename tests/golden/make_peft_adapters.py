"""Adapters by PEFT for the tiny models of make_families.py, and what the models compute with them,
for tests/test_lora_adapter.c and tests/test_merge.c.

Made with peft 0.21.2, transformers 5.24.0, torch 2.15.0 (CPU), bitsandbytes 0.50.2, safetensors
0.8.0, NumPy 2.4:
    python3 tests/golden/make_peft_adapters.py

peft/NAME/               an adapter as PEFT saves it, with random B
peft/NAME.npy            the last hidden states (after the final norm) of four texts of 1, 5, 17 and 40
                         tokens, one text behind the other, in float32
peft/plain_nf4.npy       the same with the layers' matrices quantised to NF4 and back by bitsandbytes
peft/classifier_logits.npy   the head's three logits for each text
peft/plain_merged.safetensors, classifier_merged.safetensors
                         the weights after merge_and_unload in float32; of the second only those of
                         block 1 and the head
"""
import json
import pathlib
import shutil

import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (AutoConfig, AutoModel, AutoModelForCausalLM,
                          AutoModelForSequenceClassification)

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE / "families"
FOLDER = HERE / "peft"
LENGTHS = (1, 5, 17, 40)
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# Model, class, settings, and the type in which the adapter's tensors are kept.
ADAPTERS = {
    "plain": ("llama", "CAUSAL_LM", torch.float32, dict(r=4, lora_alpha=8, target_modules=SEVEN)),
    "rslora": ("qwen2", "CAUSAL_LM", torch.float32, dict(
        r=5, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])),
    "patterns": ("qwen3", "CAUSAL_LM", torch.float32, dict(
        r=4, lora_alpha=4, lora_dropout=0.1, target_modules=SEVEN,
        # PEFT sorts the keys when it saves, and takes the first that fits.
        rank_pattern={".*1.mlp.down_proj": 7, "^model.layers.0.self_attn.k_proj": 3, "k_proj": 9,
                      "layers.1.mlp.down_proj": 6, "o_proj|gate_proj": 5, "proj": 1},
        alpha_pattern={r"layers\.[02]\.self_attn\.q_proj": 1, "mlp.up_proj": 2.5, "q_proj": 9})),
    "patterns_rslora": ("llama", "CAUSAL_LM", torch.float16, dict(
        r=2, lora_alpha=3, use_rslora=True, target_modules=["gate_proj", "self_attn.q_proj"],
        rank_pattern={"gate_proj": 8}, alpha_pattern={"model.layers.1.mlp.gate_proj": 5})),
    "subset": ("llama", "CAUSAL_LM", torch.bfloat16, dict(
        r=3, lora_alpha=6, target_modules=r".*layers\.\d+\.(self_attn\.[qo]_proj|mlp\.up_proj)",
        exclude_modules=["layers.1.self_attn.o_proj"])),
    "layers": ("qwen2", "CAUSAL_LM", torch.float32, dict(
        r=3, lora_alpha=6, target_modules=["k_proj", "v_proj", "gate_proj"],
        layers_to_transform=[0, 2], layers_pattern="layers")),
    "layers_any": ("qwen2", "CAUSAL_LM", torch.float32, dict(
        r=3, lora_alpha=6, target_modules=["o_proj", "model.layers.0.mlp.up_proj"],
        layers_to_transform=1, exclude_modules=r".*\.2\..*")),
    "classifier": ("llama", "SEQ_CLS", torch.float32, dict(
        r=4, lora_alpha=8, target_modules="all-linear")),
    "base": ("mistral", "FEATURE_EXTRACTION", torch.float32, dict(
        r=4, lora_alpha=4, target_modules=["q_proj", "layers.1.mlp.down_proj"])),
}
CLASSES = {"CAUSAL_LM": AutoModelForCausalLM, "FEATURE_EXTRACTION": AutoModel,
           "SEQ_CLS": AutoModelForSequenceClassification}


def text(length):
    return [(7 * i * i + 13 * i + 31 * length + 5) % 256 for i in range(length)]


def base_model(family, task):
    config = AutoConfig.from_pretrained(FAMILIES / family)
    config.pad_token_id = 0
    config.num_labels = 3
    model = CLASSES[task].from_config(config, attn_implementation="eager", dtype=torch.float32)
    weights = load_file(FAMILIES / family / "model.safetensors")
    weights = {key.removeprefix("model."): value.float() for key, value in weights.items()}
    body = model if task == "FEATURE_EXTRACTION" else model.model
    body.load_state_dict(weights, strict=True)
    if task == "CAUSAL_LM" and config.tie_word_embeddings:
        model.tie_weights()
    return model.eval()


def quantise(model):
    for name, parameter in model.named_parameters():
        if "layers." in name and parameter.ndim == 2 and "lora" not in name:
            codes, state = quantize_4bit(parameter.data, quant_type="nf4", compress_statistics=True,
                                         blocksize=64)
            parameter.data = dequantize_4bit(codes, state).float()


def states(model, task):
    body = model.base_model.model
    body = body if task == "FEATURE_EXTRACTION" else body.model
    with torch.no_grad():
        return np.concatenate([body(torch.tensor([text(n)])).last_hidden_state[0].numpy()
                               for n in LENGTHS])


def make(name, seed):
    family, task, dtype, settings = ADAPTERS[name]
    torch.manual_seed(seed)
    model = get_peft_model(base_model(family, task), LoraConfig(task_type=task, **settings))
    generator = torch.Generator().manual_seed(seed)
    for key, value in model.named_parameters():
        if "lora_" in key or "score" in key:
            noise = torch.randn(value.shape, generator=generator)
            value.data.copy_((0.4 * noise).to(dtype).float())
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "README.md").unlink(missing_ok=True)
    file = FOLDER / name / "adapter_model.safetensors"
    save_file({k: v.to(dtype) for k, v in load_file(file).items()}, file)
    file.chmod(0o644)
    path = FOLDER / name / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": family}
    for key in ("target_modules", "modules_to_save", "exclude_modules"):  # sets, in any order
        if isinstance(config[key], list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2) + "\n")

    # What is compared is what PEFT makes of its own files.
    model = PeftModel.from_pretrained(base_model(family, task), FOLDER / name).float().eval()
    np.save(FOLDER / f"{name}.npy", states(model, task))
    if name == "plain":
        twin = PeftModel.from_pretrained(base_model(family, task), FOLDER / name).float().eval()
        quantise(twin)
        np.save(FOLDER / "plain_nf4.npy", states(twin, task))
    if name == "classifier":
        with torch.no_grad():
            logits = [model(torch.tensor([text(n)])).logits[0].numpy() for n in LENGTHS]
        np.save(FOLDER / "classifier_logits.npy", np.stack(logits))
    if name in ("plain", "classifier"):
        merged = {k: v.contiguous().clone() for k, v in model.merge_and_unload().state_dict().items()
                  if k != "lm_head.weight" and
                  (name == "plain" or "layers.1." in k or k.startswith("score"))}
        save_file(merged, FOLDER / f"{name}_merged.safetensors", metadata={"format": "pt"})
        (FOLDER / f"{name}_merged.safetensors").chmod(0o644)


shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir()
for seed, name in enumerate(ADAPTERS):
    make(name, seed)
    print(name, np.abs(np.load(FOLDER / f"{name}.npy")).mean(),
          len(load_file(FOLDER / name / "adapter_model.safetensors")))
