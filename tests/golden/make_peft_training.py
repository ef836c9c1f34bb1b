"""What PEFT's training gives, for what holds midashi's trainer against it.

Trains a LoRA adapter of all seven matrices of all layers with peft and torch (CPU, float32, dropout
0) in five runs, and writes tests/golden/peft_training/RUN_*.npy:

    tinystories_classify     tinystories-656k, rank 8, alpha 16, a head for 4 labels
    tinystories_next_token   the same without the head; the loss is of all tokens but a text's first
    tinystories_contrastive  rank 4, alpha 8; of pairs of texts
    tiny_contrastive         the same of tests/tool_tiny_model's model, whose weights are random
    smollm2_classify         SmolLM2-135M, rank 2, alpha 4, a head for 4 labels

The base model's matrices are NF4 with double quantisation, and then float32: the values of what
`midashi quantize` writes. They are held against bitsandbytes' own quantisation, which has the same
codes throughout. Its values are the same bits in all 14 matrices of tinystories, in 11 of 21 of the
tiny model, whose others are within 1.3e-7, and in 129 of 210 of SmolLM2, whose others are within
4e-4: the mean of a matrix' scales depends on the order of the sum, and its last bit may turn a
scale's code. Embeddings, and with them the output matrix, are rounded to bfloat16, as midashi keeps
them with --precision nf4.

A run has 20 steps of 4 micro-batches of 4 texts: text j of micro-batch u of step s is text
(16 s + 4 u + j) mod 64. A step's loss is the mean over its 16 texts, or over all their predicted
tokens. AdamW, rate 1e-3 throughout, betas 0.9 and 0.999, eps 1e-8, no decay; the norm of all
gradients is clipped at 1. Micro-batches are padded on the right and masked; the script ends where
the first step's loss depends on that.

Contrastive: these texts are anchors. The positive of text i is text i ^ 1 or i ^ 32, as bits 1 and 2
of i are the same or not, so that of a micro-batch two are anchor and positive in turn: the first
two, in the next one the last two. A text's vector is the mean, over its tokens but the first, of the
states after the final norm. The loss is SimCSE's at a temperature of 0.05; a positive is no negative
of an anchor that it belongs to or is.

Parameters lie in one array: layer by layer, of each q, k, v, o, gate, up, down, of each A (rank,
columns), then B (rows, rank); the head last (midashi's struct lora_adapter has the same order).
Element i starts as float32(u * s), u = (i * 2654435761 mod 2^32) / 2^32 - 0.5, s =
2 / sqrt(columns) for A, 0.02 for B and 0.2 for the head, i being its place in the whole array.

Files (float32, or int32):
    MODEL_texts       (64, 2 + longest) int32: label, number of tokens, token ids, then -1
    RUN_tensors       (tensors, 6) int32, in the order of the array: layer (-1: the head), target
                      (0 q .. 6 down; -1), kind (0 A, 1 B, 2 head), rows, columns, and where in
                      RUN_gradient and RUN_change it begins, -1 where it is not there
    RUN_steps         (20, 2): loss, and norm of all gradients before clipping
    RUN_gradient      the first step's gradients before clipping, of the tensors that are there: all
                      of tinystories; of SmolLM2 layers 0, 14 and 29 and the head
    RUN_change        likewise what 20 steps have added to the parameters
    RUN_gradient_sketches, RUN_change_sketches
                      (tensors, 65), SmolLM2 alone, of all its tensors: the norm, then 64 sums of
                      the tensor's elements, each with a sign: sum k (0 .. 63) adds element i where
                      bit k of mix64(1, i) is set (tests/support.h), else subtracts it. For the
                      difference d of two tensors, the mean square of the differences of their sums
                      estimates |d|^2, with a deviation of 18 %.

How far rounding alone carries is what --float64 tells: it writes nothing, repeats the runs in
float64 (the rotary tables stay float32) and prints how far the float32 ones are from that, relative,
for tensors by norms and the worst of them (a run that skips the optimiser has a change of 0, and is
at 1):
                            losses    norms     gradient  change
    tinystories_classify    1.3e-7    2.4e-7    3.6e-6    1.0e-5
    tinystories_next_token  2.0e-7    4.3e-7    1.9e-6    1.9e-6
    tinystories_contrastive 4.5e-7    5.9e-7    1.4e-6    4.5e-6
    tiny_contrastive        2.6e-7    4.1e-7    1.2e-6    1.6e-6
    smollm2_classify        1.4e-6    1.9e-6    7.8e-6    6.0e-5

For a GPU, whose activations are bfloat16, --bfloat16 writes another set of files (and none of the
above): the float64 runs, and how far from them torch gets in bfloat16. That run is what
transformers' Trainer makes of bf16=True: the model's parameters are bfloat16 (the matrices NF4's
values rounded), peft keeps the adapters float32 (autocast_adapter_dtype; the head is made float32
too), and torch.autocast runs every product in bfloat16, the adapters' too, while softmax, losses,
and means and cosines of vectors are float32. Of SmolLM2 5 steps, without changes.
    RUN_exact_steps   (steps, 2): as RUN_steps, in float64
    RUN_exact_change  as RUN_change, in float64; not of SmolLM2
    RUN_bfloat16_steps
                      (steps, 2): |loss / the exact one - 1|, and of the norms
    RUN_bfloat16_tensors
                      (tensors + 1, 2): the norm of the difference by the exact one's norm, of the
                      first gradient and of the change (SmolLM2: -1), then the same of all at once
What it is (the worst of a step or tensor; all tensors at once):
                            losses    norms     gradient          change
    tinystories_classify    1.9e-3    5.3e-3    4.1e-2, 1.1e-2    4.6e-2, 3.0e-2
    tinystories_next_token  2.0e-3    7.0e-3    4.2e-2, 1.5e-2    6.5e-2, 2.5e-2
    tinystories_contrastive 5.0e-3    7.1e-3    3.3e-2, 1.8e-2    3.0e-2, 2.3e-2
    tiny_contrastive        3.6e-3    7.7e-3    3.9e-2, 1.9e-2    5.5e-2, 2.9e-2
    smollm2_classify        4.4e-3    3.5e-2    2.3e-1, 1.4e-2
Made with peft 0.21.2, torch 2.15.0 (CPU, one thread), transformers 5.24.0, bitsandbytes 0.50.2,
gguf 0.19.0, numpy 2.4.6:
    python tests/golden/make_peft_training.py [--float64 | --bfloat16] build/midashi \
        ../shared/data/models models/smollm2-135m [RUN]...
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import bitsandbytes.functional
import numpy as np
import peft
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, cross_entropy
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM,
                          LlamaForSequenceClassification)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(HERE, "peft_training")
STEPS, ACCUMULATE, BATCH, N_TEXTS, N_LABELS = 20, 4, 4, 64, 4
SKETCHES = 64
TEMPERATURE = 0.05
PAD = 0  # of no model a token of a text

# 16 texts of each label.
TEXTS = """
The dog ran to the park.
A cat sat on the soft mat and looked at a bird in the tree.
Two ducks swim.
The little bear was sleepy, so he went back to his cave and slept all day.
My rabbit likes to hop.
There was a big fish in the pond.
A fox hid behind the bush when the dog came near.
The horse is brown.
One day a mouse found a hole in the wall and made it her new home.
Birds sing.
The puppy wagged his tail.
An old owl lived in the tall tree and he could see the whole forest at night.
Sheep eat green grass.
A frog jumped into the water with a splash!
The kitten was lost and wanted her mom.
Lions are big and strong.
Mom made a cake with red berries on top.
I want some soup.
The boy ate an apple.
They had bread and cheese for lunch, and then they shared a sweet orange.
Tom likes ice cream.
Grandma put sugar in the bowl and mixed it with a spoon until it was smooth.
Eat your dinner, please.
The cookies smell good.
A big pot of rice was on the table for everyone.
She cut the bread.
We were hungry, so dad cooked eggs and we ate them all.
Yummy pie!
He drank a glass of milk before bed.
The carrots from the garden were fresh, so they made a salad with them.
Can I have more juice?
The candy was too sweet.
It was raining all day.
The sun is hot.
Snow fell on the hills and the children could not see the road any more.
A cold wind blew.
Look at the clouds, they are dark and a storm is coming soon!
The sky was blue and clear.
It is very warm today.
The rain stopped and a bright rainbow came out over the town.
Ice covered the lake.
The fog was so thick that nobody could see the house across the street.
Lightning and thunder!
After the storm, there were big puddles on the path.
The leaves fell in the wind.
Winter is cold, but spring will come and melt the snow.
A sunny morning.
The moon was bright and the night was calm and cool.
Sam threw the ball to his friend.
Let us play a game!
The girl built a tall tower with her blocks and it fell down.
He has a red toy car.
They ran a race and the boy with the blue shirt was first.
She likes to draw.
The kids went down the slide again and again until it was time to go home.
Kick the ball.
We flew a kite.
Ben and Lily hid under the bed and waited for their dad to find them.
The doll has a new dress.
Jump high!
At the park there was a swing, and all the children wanted to have a turn.
I can ride my bike.
The puzzle was hard but they did it together.
Sing and dance with me.
""".strip().splitlines()


# ---- the adapter's layout --------------------------------------------------------------------

TARGETS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def parameters_in_order(model):
    """[(layer, target, kind, parameter)] of a PEFT model."""
    found = dict(model.named_parameters())
    order = []
    for layer in range(model.config.num_hidden_layers):
        for target, name in enumerate(TARGETS):
            for kind, part in enumerate("AB"):
                full = f"base_model.model.model.layers.{layer}.{name}.lora_{part}.default.weight"
                order.append((layer, target, kind, found[full]))
    head = found.get("base_model.model.score.modules_to_save.default.weight")
    if head is not None:
        order.append((-1, -1, 2, head))
    trained = [p for p in found.values() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for *_, p in order}
    return order


def set_initial(order):
    first = 0
    for _, _, kind, parameter in order:
        i = np.arange(first, first + parameter.numel(), dtype=np.uint64)
        h = (i & np.uint64(0xFFFFFFFF)) * np.uint64(2654435761) & np.uint64(0xFFFFFFFF)
        scale = (2 / np.sqrt(float(parameter.shape[1])), 0.02, 0.2)[kind]
        values = ((h.astype(np.float64) * 2.0**-32 - 0.5) * scale).astype(np.float32)
        parameter.data.copy_(torch.from_numpy(values).reshape(parameter.shape))
        first += parameter.numel()


def mix64(seed, index):
    """splitmix64's finaliser, as in tests/support.c."""
    mask = (1 << 64) - 1
    with np.errstate(over="ignore"):
        z = np.uint64(seed * 0x9E3779B97F4A7C15 + 1 & mask) + index.astype(np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def sketches(tensors):
    """(tensors, 1 + SKETCHES): the norm, and the sums."""
    rows = []
    for tensor in tensors:
        x = tensor.double().numpy().ravel()
        bits = mix64(1, np.arange(x.size))[:, None] >> np.arange(SKETCHES, dtype=np.uint64)
        signs = (bits & np.uint64(1)).astype(np.float64) * 2 - 1
        rows.append(np.concatenate([[np.sqrt((x * x).sum())], x @ signs]))
    return np.array(rows)


# ---- the base models -------------------------------------------------------------------------


def matrices_of(folder):
    """What `midashi quantize` wrote: {name: (packed codes, float32 values by docs/formats.md)}."""
    types = {"F32": np.float32, "U8": np.uint8, "BF16": np.uint16}
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    tensors = {name: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]])
               for name, t in header.items() if name != "__metadata__"}
    values = {}
    for name in [name for name in tensors if name + ".absmax" in tensors]:
        state = json.loads(bytes(tensors[name + ".quant_state.bitsandbytes__nf4"]))
        nibbles = np.stack([tensors[name] >> 4, tensors[name] & 15], 1).ravel()
        codes = tensors[name + ".absmax"]
        scale = tensors[name + ".nested_quant_map"][codes]
        scale = scale * np.repeat(tensors[name + ".nested_absmax"], 256)[: codes.size]
        scale = scale + np.float32(state["nested_offset"])
        n = state["shape"][0] * state["shape"][1]
        value = tensors[name + ".quant_map"][nibbles[:n]] * np.repeat(scale, 64)[:n]
        values[name] = tensors[name], value.reshape(state["shape"])
    return values


def quantise(model, program, path):
    """Gives the layers' matrices NF4's values; rounds the embeddings to bfloat16. In place."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "quantize", path, "--output", folder, "--quiet", "--force"],
                       check=True)
        ours = matrices_of(folder)
    n = same = worst = 0
    for name, module in model.named_modules():
        if ".layers." in name and isinstance(module, torch.nn.Linear):
            packed, state = bitsandbytes.functional.quantize_4bit(
                module.weight.data.contiguous(), quant_type="nf4", compress_statistics=True
            )
            theirs = bitsandbytes.functional.dequantize_4bit(packed, state).numpy()
            codes, values = ours[name + ".weight"]
            assert packed.numpy().tobytes() == codes.tobytes()
            n, same = n + 1, same + (theirs.tobytes() == values.tobytes())
            worst = max(worst, np.linalg.norm(values - theirs) / np.linalg.norm(theirs))
            module.weight.data = torch.from_numpy(values)
    print(f"{path}: bitsandbytes has the same bits in {same} of {n}, others within {worst:.1e}")
    assert n == len(ours) and worst <= 1e-3
    table = model.get_input_embeddings().weight
    table.data = table.data.bfloat16().float()
    assert model.lm_head.weight.data_ptr() == table.data_ptr()
    return model


def tinystories(program, path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    # The file holds lm_head.weight only; the two are tied.
    table = load_file(os.path.join(path, "model.safetensors"))["lm_head.weight"].float()
    model.model.embed_tokens.weight.data.copy_(table)
    model.lm_head.weight = model.model.embed_tokens.weight
    return quantise(model, program, path)


def tiny(program, path):
    config = LlamaConfig.from_pretrained(path)
    return quantise(LlamaForCausalLM.from_pretrained(path, config=config, dtype=torch.float32),
                    program, path)


def smollm2(program, path):
    file = next(f for f in os.listdir(path) if f.endswith(".gguf"))
    model = AutoModelForCausalLM.from_pretrained(path, gguf_file=file, dtype=torch.float32)
    model.lm_head.weight = model.model.embed_tokens.weight
    return quantise(model, program, path)


def read_texts(program, path):
    """[(place, label, ids)], labels mixed, ids by `midashi tokenize`."""
    assert len(TEXTS) == N_TEXTS
    places = [37 * i % N_TEXTS for i in range(N_TEXTS)]
    out = subprocess.run(
        [program, "tokenize", "--model", path, "--quiet"],
        input="\n".join(TEXTS[place] for place in places) + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    ids = [[int(word) for word in line.split()] for line in out]
    assert len(ids) == N_TEXTS and all(PAD not in text for text in ids)
    return [(i, place * N_LABELS // N_TEXTS, text)
            for i, (place, text) in enumerate(zip(places, ids))]


# ---- training --------------------------------------------------------------------------------


def peft_model(base, rank, objective):
    if objective == "classify":
        model = LlamaForSequenceClassification(
            type(base.config).from_dict({**base.config.to_dict(), "num_labels": N_LABELS})
        )
        model.model = base.model
        model.config.pad_token_id = PAD
    else:
        model = base
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=[name.split(".")[1] for name in TARGETS],
        task_type="SEQ_CLS" if objective == "classify" else "CAUSAL_LM",
    )
    return peft.get_peft_model(model, config).train()


def padded(texts):
    """Ids and mask, padded on the right."""
    longest = max(len(ids) for *_, ids in texts)
    rows = torch.tensor([ids + [PAD] * (longest - len(ids)) for *_, ids in texts])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for *_, ids in texts])
    return {"input_ids": rows, "attention_mask": mask}


def vectors_of(model, texts):
    batch = padded(texts)
    states = model.get_base_model().model(**batch, use_cache=False).last_hidden_state
    if states.dtype == torch.bfloat16:
        states = states.float()
    counted = batch["attention_mask"].clone()
    counted[:, 0] = 0
    return (states * counted[:, :, None]).sum(1) / counted.sum(1, keepdim=True)


def positive_of(place):
    return place ^ (32 if (place ^ place >> 1) & 2 else 1)


def contrastive_loss(vectors, texts):
    """The sum over a micro-batch: anchors, and then their positives."""
    n = len(texts) // 2
    anchors, positives = [place for place, *_ in texts[:n]], [place for place, *_ in texts[n:]]
    excluded = torch.tensor([[i != j and positives[j] in (anchors[i], positives[i])
                              for j in range(n)] for i in range(n)])
    logits = cosine_similarity(vectors[:n, None], vectors[None, n:], dim=-1) / TEMPERATURE
    return cross_entropy(logits.masked_fill(excluded, -torch.inf), torch.arange(n), reduction="sum")


def loss_of(model, texts, objective):
    """The sum over a micro-batch."""
    if objective == "contrastive":
        return contrastive_loss(vectors_of(model, texts), texts)
    batch = padded(texts)
    logits = model(**batch, use_cache=False).logits
    if objective == "classify":
        labels = torch.tensor([label for _, label, _ in texts])
        return cross_entropy(logits, labels, reduction="sum")
    rows, mask = batch["input_ids"], batch["attention_mask"]
    following = torch.where(mask[:, 1:] == 1, rows[:, 1:], -100)
    return cross_entropy(logits[:, :-1].flatten(0, 1), following.flatten(), reduction="sum")


def loss_alone(model, texts, objective):
    """The same, each text by itself through the model."""
    if objective == "contrastive":
        return contrastive_loss(torch.cat([vectors_of(model, [text]) for text in texts]), texts)
    return sum(loss_of(model, [text], objective) for text in texts)


def micro_batches(texts, step, objective):
    units = []
    for unit in range(ACCUMULATE):
        first = (step * ACCUMULATE + unit) * BATCH
        drawn = [texts[(first + j) % N_TEXTS] for j in range(BATCH)]
        if objective == "contrastive":
            drawn += [texts[positive_of(place)] for place, *_ in drawn]
        units.append(drawn)
    return units


def count_losses(units, objective):
    if objective == "next_token":
        return sum(len(ids) - 1 for unit in units for *_, ids in unit)
    return ACCUMULATE * BATCH


def train(model, texts, objective, n_steps=STEPS, autocast=False):
    """Steps (n_steps, 2), first gradients and changes as lists of tensors, in order."""
    order = parameters_in_order(model)
    set_initial(order)
    parameters = [parameter for *_, parameter in order]
    initial = [parameter.detach().clone() for parameter in parameters]
    optimiser = torch.optim.AdamW(
        parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0
    )
    steps, gradients = [], None
    for step in range(n_steps):
        units = micro_batches(texts, step, objective)
        count = count_losses(units, objective)
        losses = []
        for unit in units:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = loss_of(model, unit, objective) / count
            loss.backward()
            losses.append(loss.item())
        if step == 0:
            gradients = [parameter.grad.clone() for parameter in parameters]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                alone = sum(loss_alone(model, unit, objective).item() for unit in units) / count
            assert autocast or abs(alone - sum(losses)) <= 1e-6 * alone, (alone, losses)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        steps.append((sum(losses), norm.item()))
    changes = [p.detach().double() - q.double() for p, q in zip(parameters, initial)]
    return np.array(steps), gradients, changes


def exact_norm(self, x):
    """LlamaRMSNorm's forward without its rounding to float32."""
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def compare(run, order, single, double):
    """Prints how far the float32 run is from the float64 one."""
    losses = np.abs(single[0] / double[0] - 1).max(0)
    print(f"{run}: losses within {losses[0]:.1e}, norms within {losses[1]:.1e}")
    for what, got, want in (("gradient", single[1], double[1]), ("change", single[2], double[2])):
        errors = [((a.double() - b).norm() / b.norm()).item() for a, b in zip(got, want)]
        everything = torch.cat([(a.double() - b).flatten() for a, b in zip(got, want)]).norm()
        everything /= torch.cat([b.flatten() for b in want]).norm()
        worst = sorted(range(len(errors)), key=lambda i: -errors[i])[:3]
        names = ", ".join(f"{errors[i]:.1e} (layer {order[i][0]}, target {order[i][1]}, "
                          f"{'AB-'[order[i][2]]})" for i in worst)
        middle = np.median(errors)
        print(f"    {what}: {everything:.1e} in all, {middle:.1e} median tensor, {names}")


def in_double(model, texts, objective, n_steps=STEPS):
    plain = LlamaRMSNorm.forward
    LlamaRMSNorm.forward = exact_norm
    result = train(model.double(), texts, objective, n_steps)
    LlamaRMSNorm.forward = plain
    return result


def in_bfloat16(base, rank, texts, objective, n_steps):
    for parameter in base.parameters():  # not .bfloat16(): the rotary frequencies stay float32
        parameter.data = parameter.data.bfloat16()
    model = peft_model(base, rank, objective)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return train(model, texts, objective, n_steps, autocast=True)


def distances(got, want):
    """Of each tensor, then of all at once: |got - want| / |want|."""
    got = [tensor.double().flatten() for tensor in got]
    want = [tensor.flatten() for tensor in want]
    pairs = list(zip(got, want)) + [(torch.cat(got), torch.cat(want))]
    return np.array([((a - b).norm() / b.norm()).item() for a, b in pairs])


# ---- files -----------------------------------------------------------------------------------


def save(name, values, dtype=np.float32):
    np.save(os.path.join(OUTPUT, name + ".npy"), np.ascontiguousarray(values, dtype))


def save_texts(name, texts):
    longest = max(len(ids) for *_, ids in texts)
    rows = [[label, len(ids)] + ids + [-1] * (longest - len(ids)) for _, label, ids in texts]
    save(name + "_texts", rows, np.int32)


def save_run(run, order, result, whole_layers):
    steps, gradients, changes = result
    place, rows, stored = 0, [], []
    for i, (layer, target, kind, parameter) in enumerate(order):
        if whole_layers is None or layer in whole_layers:
            rows.append((layer, target, kind, *parameter.shape, place))
            place += parameter.numel()
            stored.append(i)
        else:
            rows.append((layer, target, kind, *parameter.shape, -1))
    save(run + "_tensors", rows, np.int32)
    save(run + "_steps", steps)
    for name, tensors in (("gradient", gradients), ("change", changes)):
        save(f"{run}_{name}", torch.cat([tensors[i].flatten() for i in stored]).numpy())
        if whole_layers is not None:
            save(f"{run}_{name}_sketches", sketches(tensors))


def save_bfloat16(run, exact, got, with_change):
    save(run + "_exact_steps", exact[0])
    if with_change:
        save(run + "_exact_change", torch.cat([t.flatten() for t in exact[2]]).numpy())
    steps = np.abs(got[0] / exact[0] - 1)
    gradient, change = distances(got[1], exact[1]), distances(got[2], exact[2])
    save(run + "_bfloat16_steps", steps)
    save(run + "_bfloat16_tensors", np.stack([gradient, change if with_change else 0 * change - 1], 1))
    print(run, *(f"{value:.1e}" for value in steps.max(0)),
          *(f"{errors[:-1].max():.1e}, {errors[-1]:.1e}" for errors in (gradient, change)))


RUNS = {  # rank, objective, layers that are written whole (None: all)
    "tinystories_classify": (8, "classify", None),
    "tinystories_next_token": (8, "next_token", None),
    "tinystories_contrastive": (4, "contrastive", None),
    "tiny_contrastive": (4, "contrastive", None),
    "smollm2_classify": (2, "classify", (-1, 0, 14, 29)),
}


def make_run(run, make, program, path, mode):
    rank, objective, whole_layers = RUNS[run]
    texts = read_texts(program, path)
    if mode == "--bfloat16":
        n_steps = STEPS if whole_layers is None else 5
        exact = in_double(peft_model(make(program, path), rank, objective), texts, objective,
                          n_steps)
        got = in_bfloat16(make(program, path), rank, texts, objective, n_steps)
        save_bfloat16(run, exact, got, whole_layers is None)
        return
    model = peft_model(make(program, path), rank, objective)
    result = train(model, texts, objective)
    order = parameters_in_order(model)
    print(run, "losses:", *(f"{loss:.4f} ({norm:.3f})" for loss, norm in result[0]))
    if mode == "--float64":
        compare(run, order, result, in_double(model, texts, objective))
    else:
        save_texts(run.split("_")[0], texts)
        save_run(run, order, result, whole_layers)


def main(mode, program, models, smollm2_path, *runs):
    torch.set_num_threads(1)
    os.makedirs(OUTPUT, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tool = os.path.join(os.path.dirname(program), "tests", "tool_tiny_model")
        subprocess.run([tool, folder], check=True)
        makers = {
            "tinystories": (tinystories, os.path.join(models, "tinystories-656k")),
            "tiny": (tiny, folder),
            "smollm2": (smollm2, smollm2_path),
        }
        for run in runs or RUNS:
            make, path = makers[run.split("_")[0]]
            make_run(run, make, program, path, mode)


if __name__ == "__main__":
    modes = [word for word in sys.argv[1:] if word.startswith("--")]
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    assert len(modes) <= 1 and all(mode in ("--float64", "--bfloat16") for mode in modes)
    main(*(modes or [None]), *words)
