#!/usr/bin/env python3
"""Writes the oracles of the families beside Llama under tests/model/fixtures/, made by transformers (and gguf-py).

    python scripts/make_family_fixtures.py                 all of them
    python scripts/make_family_fixtures.py tiny-qwen2 ...  only these

Needs torch, transformers, gguf and accelerate as make_parity_dump.py does, and the tiny-llama/ that it writes. The same
versions write the same bytes. Each folder holds config.json, model.safetensors and taps.safetensors, with the taps of
make_parity_dump.py or, where it says so, input_ids and logits only. What is particular:

- attn_norm and ffn_norm are what the projections read (in OLMo 2 the residual stream itself), attn_out and ffn_out what
  is added to it (after the post-norm of Gemma 3 and OLMo 2), attn_residual the state after the first addition.
- Gated families also have sdpa_out [B, T, H*D], what the heads give before the gate, and gate_score, the sigmoid:
  [B, T, H, D] elementwise, [B, T, H] headwise. head_out is after the gate.

tiny-mistral/            one sliding window of 5 in all layers
tiny-qwen2/              biases on q, k and v
tiny-qwen2-window/       the same with windows from layer max_window_layers = 1 on; logits
tiny-qwen3/              q_norm and k_norm of head_dim 16
tiny-qwen3-gated-elementwise/, tiny-qwen3-gated-headwise/
                         layouts A and B of the fused q_proj of the authors' repository (qiuzh20/gated_attention), which transformers
                         does not have: GatedAttention below
tiny-qwen3-next/         layout C; RoPE on half of head_dim; norms that add 1; full attention and dense FFNs everywhere.
                         config-older.json says the same as official checkpoints do
tiny-qwen3-next-linear/  config.json only: three layers of linear attention and one of full attention
tiny-gemma3/             a sliding and a full layer with own thetas, attention scale 1/sqrt(20) on head_dim 16;
                         config-older.json says the same as transformers 4 did
tiny-olmo2/              post-norms only, q_norm over H*D and k_norm over G*D
tiny-sinks/              Llama with sink logits as in gpt-oss and a window of 5 in layer 1
tiny-rope-yarn/          YaRN; logits, and logits_untruncated of config-untruncated.json (older spelling, no rounding of
                         the ramp, attention_factor given)
tiny-rope-linear/        linear scaling; logits. config-older.json says the same with rope_scaling
tiny-qwen2/, tiny-qwen3/ model.gguf: the weights of the folder as llama.cpp's converter writes them (see tiny_gguf.py)
tiny-llama-gguf/         the same of tiny-llama/; logits
tiny-gemma3-gguf/        model.gguf and the folder it stands for, in the shape that converter assumes: every 6th layer
                         full, local theta 10000, scale 1/sqrt(head_dim); logits
tiny-llama3-gguf/        model.gguf of a Llama 3.1: rope_freqs.weight; logits of 64 ids
"""

import json
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    Gemma3ForCausalLM,
    LlamaForCausalLM,
    MistralForCausalLM,
    Olmo2ForCausalLM,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)
from transformers.models.gpt_oss import modeling_gpt_oss
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.qwen3 import modeling_qwen3
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from make_parity_dump import FIXTURES, PLAIN_ROPE, TINY, fail, folder_bytes, origin, replaced, write_tiny
from tiny_gguf import write_gguf

SMALL = dict(num_hidden_layers=2, hidden_size=24, intermediate_size=20)  # C / H is not head_dim
WINDOW = 5  # tokens that a query sees, itself included
NO_WINDOW = dict(sliding_window=128)
FULL, SLIDING = "full_attention", "sliding_attention"


def write_mistral(folder):
    return write_tiny(folder, 100, True, MistralForCausalLM, [NO_WINDOW], **SMALL, sliding_window=WINDOW)


def write_qwen2(folder):
    # The family knows no head_dim: it is C / H = 6.
    settings = dict(SMALL, head_dim=None, tie_word_embeddings=True, use_sliding_window=False)
    return write_tiny(folder, 110, True, Qwen2ForCausalLM, **settings)


def write_qwen2_window(folder):
    windows = dict(use_sliding_window=True, max_window_layers=1, sliding_window=WINDOW)
    all_full, none_full = dict(layer_types=[FULL, FULL]), dict(layer_types=[SLIDING, SLIDING])
    write_tiny(folder, 120, False, Qwen2ForCausalLM, [all_full, none_full], **SMALL, head_dim=None, **windows)


def write_qwen3(folder):
    return write_tiny(folder, 130, True, Qwen3ForCausalLM, **SMALL, head_dim=16)


def split_gate(projected, groups: int, width: int):
    """The output [..., rows] of a fused q_proj as queries [..., width] and gates [..., rows - width]. The rows come in
    `groups` runs, and in each the queries come first."""
    runs = projected.unflatten(-1, (groups, -1))
    query, gate = runs[..., : width // groups], runs[..., width // groups :]
    return query.flatten(-2), gate.flatten(-2)


def gate_score(attention, projected):
    heads = attention.config.num_attention_heads
    groups = getattr(attention, "gate_groups", heads)  # Qwen3-Next: a run for each head
    _, gate = split_gate(projected, groups, heads * attention.head_dim)
    score = torch.sigmoid(gate)
    return score if score.shape[-1] == heads else score.unflatten(-1, (heads, -1))


class GatedAttention(Qwen3Attention):
    """Attention of modeling_qwen3.py of the authors' repository (qiuzh20/gated_attention). (There qkv_bias goes to o_proj too.)"""

    def __init__(self, config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.heads = config.num_attention_heads
        self.gate_groups = config.num_key_value_heads
        gates = self.heads * (self.head_dim if config.elementwise_attn_output_gate else 1)
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.head_dim + gates, bias=config.qkv_bias)

    def forward(self, hidden_states, position_embeddings, attention_mask, past_key_values=None, **kwargs):
        query, gate = split_gate(self.q_proj(hidden_states), self.gate_groups, self.heads * self.head_dim)
        by_head = (*hidden_states.shape[:2], -1, self.head_dim)  # B, T, heads, D
        query = self.q_norm(query.view(by_head)).transpose(1, 2)
        key = self.k_norm(self.k_proj(hidden_states).view(by_head)).transpose(1, 2)
        value = self.v_proj(hidden_states).view(by_head).transpose(1, 2)
        query, key = modeling_qwen3.apply_rotary_pos_emb(query, key, *position_embeddings)
        attended, probabilities = modeling_qwen3.eager_attention_forward(
            self, query, key, value, attention_mask, scaling=self.scaling
        )  # [B, T, H, D]
        gated = attended * torch.sigmoid(gate).unflatten(-1, (self.heads, -1))
        return self.o_proj(gated.flatten(2)), probabilities


def read_as_layout_c(model):
    for layer in model.model.layers:
        layer.self_attn.gate_groups = layer.self_attn.heads


def check_layout(elementwise: bool):
    """split_gate against the row formulas of layouts A and B: query row j*run + r*D + c, gate row after the queries."""
    heads, groups, width = TINY["num_attention_heads"], TINY["num_key_value_heads"], TINY["head_dim"]
    share = heads // groups
    gates = width if elementwise else 1  # of one head
    run = share * (width + gates)
    query, gate = split_gate(torch.arange(groups * run), groups, heads * width)
    queries = [j * run + r * width + c for j in range(groups) for r in range(share) for c in range(width)]
    after = [j * run + share * width + r * gates + c for j in range(groups) for r in range(share) for c in range(gates)]
    if query.tolist() != queries or gate.tolist() != after:
        fail("split_gate is not the layout of gated_attention")


def write_gated(folder, seed: int, elementwise: bool):
    check_layout(elementwise)
    flags = dict(elementwise_attn_output_gate=elementwise, headwise_attn_output_gate=not elementwise)
    repo = dict(flags, use_qk_norm=True, qkv_bias=False)  # what that repository reads beside Qwen3's own keys
    with replaced(modeling_qwen3, "Qwen3Attention", GatedAttention):
        write_tiny(folder, seed, True, Qwen3ForCausalLM, [read_as_layout_c], gate_score, **SMALL, **repo)


def write_gated_elementwise(folder):
    write_gated(folder, 140, True)


def write_gated_headwise(folder):
    write_gated(folder, 150, False)


# num_experts 0 makes every FFN a Qwen3NextMLP.
NEXT = dict(TINY | SMALL, num_experts=0, rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.5))


def write_qwen3_next(folder):
    whole = dict(rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=1.0))
    settings = dict(NEXT, layer_types=[FULL, FULL])
    model, taps = write_tiny(folder, 160, True, Qwen3NextForCausalLM, [whole], gate_score, **settings)
    older = dict(rope_theta=10000.0, rope_scaling=None, partial_rotary_factor=0.5, full_attention_interval=1)
    write_older(folder, model, taps["logits"], ["rope_parameters", "layer_types"], older)


def write_qwen3_next_linear(folder):
    config = Qwen3NextConfig(**{**NEXT, "num_hidden_layers": 4}, architectures=["Qwen3NextForCausalLM"])
    config.save_pretrained(folder)
    print(f"{folder.name}: {config.layer_types}, {folder_bytes(folder)} bytes")


@torch.inference_mode()
def logits_of_config(folder, name: str, model_class):
    """Of the folder's weights under another of its config files."""
    config = model_class.config_class.from_json_file(folder / name)
    model = model_class(config)
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        fail(f"{folder / name}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.set_attn_implementation("eager")
    ids = load_file(folder / "taps.safetensors")["input_ids"]
    return model.eval()(ids, use_cache=False).logits


def write_config(path, config: dict):
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_older(folder, model, logits, dropped: list, older: dict, name: str = "config-older.json"):
    """config.json with the keys `dropped` replaced by those of an older spelling that must give the same logits."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in dropped}
    config["torch_dtype"] = config.pop("dtype")
    write_config(folder / name, {**config, **older})
    if not torch.equal(logits_of_config(folder, name, type(model)), logits):
        fail(f"{folder / name} means another model")
    print(f"{folder.name}: {name} gives the same logits")


def gemma_rope(local: float, everywhere: float) -> dict:
    return {
        FULL: dict(rope_type="default", rope_theta=everywhere),
        SLIDING: dict(rope_type="default", rope_theta=local),
    }


GEMMA = dict(hidden_act=None, tie_word_embeddings=True, sliding_window=WINDOW)


def write_gemma3(folder):
    settings = dict(SMALL, **GEMMA, head_dim=16, query_pre_attn_scalar=20, layer_types=[SLIDING, FULL])
    alters = [
        NO_WINDOW,
        dict(query_pre_attn_scalar=16),
        dict(layer_types=[FULL, FULL]),
        dict(rope_parameters=gemma_rope(500.0, 500.0)),
        dict(rope_parameters=gemma_rope(20000.0, 20000.0)),
    ]
    settings["rope_parameters"] = gemma_rope(500.0, 20000.0)
    model, taps = write_tiny(folder, 170, True, Gemma3ForCausalLM, alters, **settings)
    older = dict(rope_theta=20000.0, rope_local_base_freq=500.0, rope_scaling=None, sliding_window_pattern=2)
    older["cache_implementation"] = "hybrid"
    dropped = ["rope_parameters", "layer_types", "_sliding_window_pattern"]
    write_older(folder, model, taps["logits"], dropped, older)


def write_olmo2(folder):
    write_tiny(folder, 180, True, Olmo2ForCausalLM, **SMALL, head_dim=None)


class SinkAttention(LlamaAttention):
    def __init__(self, config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))
        self.window = config.sliding_window if config.layer_types[layer_idx] == SLIDING else None

    def forward(self, hidden_states, position_embeddings, attention_mask, **kwargs):
        if self.window:
            positions = torch.arange(hidden_states.shape[1])
            unseen = positions[:, None] - positions >= self.window
            attention_mask = attention_mask.masked_fill(unseen, torch.finfo(torch.float32).min)
        return super().forward(hidden_states, position_embeddings, attention_mask, **kwargs)


def without_sinks(model):
    for layer in model.model.layers:
        layer.self_attn.sinks.fill_(-1e9)


def write_sinks(folder):
    settings = dict(SMALL, attention_sinks=True, sliding_window=WINDOW, layer_types=[FULL, SLIDING])
    alters = [without_sinks, NO_WINDOW, dict(layer_types=[SLIDING, SLIDING])]
    eager = modeling_gpt_oss.eager_attention_forward  # concatenates module.sinks, drops them after the softmax
    with replaced(modeling_llama, "LlamaAttention", SinkAttention), replaced(
        modeling_llama, "eager_attention_forward", eager
    ):
        write_tiny(folder, 190, True, LlamaForCausalLM, alters, **settings)


# With head_dim 16 the ramp goes from pair 1.55 to pair 2.35, rounded from 1 to 3: pairs 0 and 1 keep their frequency,
# 2 is blended, those from 3 on are divided by 4. The attention factor is 0.1 ln 4 + 1 = 1.139.
YARN = dict(
    rope_type="yarn",
    rope_theta=1000.0,
    factor=4.0,
    original_max_position_embeddings=96,
    beta_fast=4.0,
    beta_slow=2.0,
)


@torch.inference_mode()
def write_yarn(folder):
    alters = [
        PLAIN_ROPE,
        dict(YARN, attention_factor=1.0),
        dict(YARN, truncate=False),
        dict(YARN, beta_fast=32.0),
        dict(YARN, beta_slow=1.0),
        dict(YARN, factor=8.0, attention_factor=1.1386),
        dict(YARN, original_max_position_embeddings=384),
    ]
    alters = [dict(rope_parameters=rope) for rope in alters]
    settings = dict(SMALL, head_dim=16, max_position_embeddings=384, rope_parameters=YARN)
    model, taps = write_tiny(folder, 200, False, LlamaForCausalLM, alters, **settings)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    older = {key: value for key, value in config.pop("rope_parameters").items() if key != "rope_theta"}
    older.update(truncate=False, attention_factor=1.25)
    name = "config-untruncated.json"
    write_config(folder / name, {**config, "rope_theta": YARN["rope_theta"], "rope_scaling": older})
    kept = {name: taps[name] for name in ("input_ids", "logits")}
    kept["logits_untruncated"] = logits_of_config(folder, name, LlamaForCausalLM)
    save_file(kept, folder / "taps.safetensors", metadata=origin())


def write_linear(folder):
    linear = dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=3.0))
    alters = [dict(rope_parameters=PLAIN_ROPE)]
    model, taps = write_tiny(folder, 210, False, LlamaForCausalLM, alters, **SMALL, **linear)
    older = dict(rope_theta=10000.0, rope_scaling=dict(type="linear", factor=3.0))
    write_older(folder, model, taps["logits"], ["rope_parameters"], older)


def write_gemma3_gguf(folder):
    """Seven layers, since the 6th is the first full one; the other sizes make up for them."""
    sizes = dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=12, intermediate_size=20)
    types = [SLIDING] * 5 + [FULL, SLIDING]
    settings = dict(sizes, **GEMMA, num_hidden_layers=7, query_pre_attn_scalar=12, layer_types=types)
    settings.update(initializer_range=0.4, rope_parameters=gemma_rope(10000.0, 1000000.0))
    alters = [NO_WINDOW, dict(layer_types=[SLIDING] * 7), dict(query_pre_attn_scalar=8)]
    alters.append(dict(rope_parameters=gemma_rope(10000.0, 10000.0)))
    model, taps = write_tiny(folder, 220, False, Gemma3ForCausalLM, alters, **settings)
    write_gguf(folder / "model.gguf", model, taps)


def write_llama3_gguf(folder):
    """Llama 3.1's own factors. Wavelengths of head_dim 16 at theta 500000 are 6, 32, 167, 861, 4443, 22913 and more
    positions: the first four stay, 4443 is blended and the others are divided by 8."""
    rope = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    rope["original_max_position_embeddings"] = 8192
    alters = [dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0))]
    settings = dict(SMALL, head_dim=16, max_position_embeddings=131072, rope_parameters=rope, ids=(1, 64))
    model, taps = write_tiny(folder, 230, False, LlamaForCausalLM, alters, **settings)
    write_gguf(folder / "model.gguf", model, taps)
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()


def write_llama_gguf(folder):
    source = FIXTURES / "tiny-llama"
    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    taps = load_file(source / "taps.safetensors")
    folder.mkdir(exist_ok=True)
    write_gguf(folder / "model.gguf", model, taps)
    kept = {name: taps[name] for name in ("input_ids", "logits")}
    save_file(kept, folder / "taps.safetensors", metadata=origin())


def with_gguf(write):
    def write_both(folder):
        model, taps = write(folder)
        write_gguf(folder / "model.gguf", model, taps)

    return write_both


WRITERS = {
    "tiny-qwen2": with_gguf(write_qwen2),
    "tiny-qwen2-window": write_qwen2_window,
    "tiny-qwen3": with_gguf(write_qwen3),
    "tiny-qwen3-gated-elementwise": write_gated_elementwise,
    "tiny-qwen3-gated-headwise": write_gated_headwise,
    "tiny-gemma3": write_gemma3,
    "tiny-olmo2": write_olmo2,
    "tiny-qwen3-next": write_qwen3_next,
    "tiny-qwen3-next-linear": write_qwen3_next_linear,
    "tiny-mistral": write_mistral,
    "tiny-sinks": write_sinks,
    "tiny-rope-yarn": write_yarn,
    "tiny-rope-linear": write_linear,
    "tiny-llama-gguf": write_llama_gguf,
    "tiny-gemma3-gguf": write_gemma3_gguf,
    "tiny-llama3-gguf": write_llama3_gguf,
}


def main():
    names = sys.argv[1:] or list(WRITERS)
    if unknown := [name for name in names if name not in WRITERS]:
        fail(f"no fixture is called {', '.join(unknown)}; there are {', '.join(WRITERS)}")
    torch.set_num_threads(1)
    for name in names:
        WRITERS[name](FIXTURES / name)


if __name__ == "__main__":
    main()
