#!/usr/bin/env python3
"""Opens a folder whose blocks differ in size (`per_layer_config` in config.json) with the stock modules of transformers.

    from load_uneven import load
    model = load("runs/NAME/export/pruned-hf")          # a LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM ...

    python scripts/load_uneven.py FOLDER [TEXT]         # generates a few tokens

What it does: builds the class named in config.json layer by layer, each from a copy of the configuration with that layer's
sizes, and puts a constant (zero, or what a compensation left) in the place of a sublayer that is gone. Needs torch and
transformers. Refuses what stock modules cannot hold: heads that are not spread evenly over the groups, ragged heads.
"""

import copy
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

SIZES = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


class GoneAttention(torch.nn.Module):
    """Stands for an attention that was removed: a constant, and no weights."""

    def __init__(self, bias):
        super().__init__()
        self.register_buffer("bias", bias)

    def forward(self, hidden_states, **_):
        return self.bias.expand_as(hidden_states), None


class GoneMlp(torch.nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.register_buffer("bias", bias)

    def forward(self, hidden_states):
        return self.bias.expand_as(hidden_states)


def read_tensors(folder: Path):
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    return {name: tensor for shard in shards for name, tensor in load_file(folder / shard).items()}


def set_biases(layer, tensors, prefix):
    """Only the biases that the file has: flags of the configuration speak for all layers alike."""
    for name, module in layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            bias = tensors.get(f"{prefix}{name}.bias")
            module.bias = None if bias is None else torch.nn.Parameter(bias.clone())


def load(folder, dtype=torch.float32):
    folder = Path(folder)
    raw = json.loads((folder / "config.json").read_text())
    overrides = {int(layer): entry for layer, entry in raw.pop("per_layer_config", {}).items()}
    config = getattr(transformers, raw["architectures"][0]).config_class(**{k: v for k, v in raw.items() if k != "architectures"})
    config._attn_implementation = "sdpa"
    model = getattr(transformers, raw["architectures"][0])(config).to(dtype)
    tensors = {name: tensor.to(dtype) for name, tensor in read_tensors(folder).items()}
    zero = torch.zeros(config.hidden_size, dtype=dtype)
    for number, layer in enumerate(model.model.layers):
        entry, prefix = overrides.get(number, {}), f"model.layers.{number}."
        if {"kv_of_head", "value_channels", "qk_dims"} & entry.keys():
            sys.exit(f"{folder}/config.json: layer {number} has uneven or ragged heads; export it with --to padded")
        sizes = {key: value for key, value in entry.items() if key in SIZES}
        skip = entry.get("skip", [])
        if sizes:
            own = copy.deepcopy(config)
            for key, value in sizes.items():
                setattr(own, key, value)
            own._attn_implementation = config._attn_implementation
            model.model.layers[number] = layer = type(layer)(own, number).to(dtype)
        if "attention" in skip:
            layer.self_attn = GoneAttention(tensors.pop(prefix + "self_attn.o_proj.bias", zero))
        if "mlp" in skip:
            layer.mlp = GoneMlp(tensors.pop(prefix + "mlp.down_proj.bias", zero))
        set_biases(layer, tensors, prefix)
    found = model.load_state_dict(tensors, strict=False)
    gone = ("_proj.bias", "layernorm.weight", "self_attn.bias", "mlp.bias", "lm_head.weight")
    missing = [name for name in found.missing_keys if not name.endswith(gone)]
    if missing or found.unexpected_keys:
        sys.exit(f"{folder}: missing {missing}, unexpected {found.unexpected_keys}")
    model.tie_weights()
    return model.eval()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    ids = tokenizer(sys.argv[2] if len(sys.argv) > 2 else "The capital of France is", return_tensors="pt")
    print(tokenizer.decode(load(sys.argv[1]).generate(**ids, max_new_tokens=24, do_sample=False)[0]))
