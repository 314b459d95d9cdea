#!/usr/bin/env python3
"""Writes the oracles of the model's forward pass under tests/model/fixtures/, made by transformers alone.

    python scripts/make_parity_dump.py              the tiny checkpoints and their taps
    python scripts/make_parity_dump.py --smollm2    and the figures of SmolLM2-135M (needs models/, a minute)

Made with torch 2.13.0 and transformers 5.23.0 (plus gguf and accelerate for --smollm2). Weights come from a fixed seed
and everything runs on one thread, so the same versions write the same bytes.

tiny-llama/          config.json, model.safetensors, taps.safetensors: tied embeddings, no biases. `taps` holds
                     input_ids [2, 12] int64 and float32 "block<l>.<site>", "final_norm" and "logits"; q and k are
                     taken after RoPE as [B, heads, T, D], v is [B, G, T, D], attn_probs [B, H, T, T], head_out is
                     what o_proj reads, ffn_hidden what down_proj reads.
tiny-llama-untied/   the same for an untied head, biases everywhere and Llama-3 RoPE scaling, with factors that take every
                     branch of its formula and change the logits; `taps` holds input_ids and logits only.
smollm2-logits.safetensors
                     for the first 256 ids of the WikiText-2 test file: input_ids [256]; logits [5, V/4] at `positions`
                     for the vocabulary entries `logit_index`; argmax, logsumexp [256]; nll [255] of ids 1..255; and of
                     the residual stream after each block its largest magnitude: residual_max, residual_position,
                     residual_channel [30].

make_family_fixtures.py makes the fixtures of the other families with the functions of this file.
"""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "model" / "fixtures"
IDS = (2, 12)  # B, T of the tiny dumps
AGREEMENT = 1e-6  # the taps, put together by hand, against the model's own logits

TINY = dict(
    vocab_size=64,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    hidden_act="silu",
    initializer_range=0.2,
    bos_token_id=1,
    eos_token_id=2,
    dtype="float32",
)
PLAIN_ROPE = dict(rope_type="default", rope_theta=10000.0)
# Wavelengths of head_dim 8 at theta 500000 are 6, 167, 4443 and 118000 positions. These factors leave wavelengths under
# 64/4 = 16 as they are, divide those over 64/0.1 = 640 by 8 and blend the one between: every branch of the formula.
LLAMA3_ROPE = dict(
    rope_type="llama3",
    rope_theta=500000.0,
    factor=8.0,
    low_freq_factor=0.1,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)


def fail(message: str):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def make_model(seed: int, model_class, **changes):
    """`changes` are keys of the config beside TINY; None drops a key that the family does not have."""
    torch.manual_seed(seed)
    settings = {key: value for key, value in {**TINY, **changes}.items() if value is not None}
    model = model_class(model_class.config_class(**settings))
    with torch.no_grad():
        # The initialisation leaves norms at 1 (or 0, where the model adds 1) and biases at 0, where a wrong norm or a
        # forgotten bias would not show.
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
            elif name.endswith(".bias"):
                weight.copy_(0.3 * torch.randn_like(weight))
            elif name.endswith(".sinks"):
                weight.copy_(torch.randn_like(weight))
    # Eager attention is the plain formula, and the only one that gives probabilities.
    model.set_attn_implementation("eager")
    return model.eval()


@contextmanager
def replaced(owner, name: str, value):
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def recording_attention(model, taps: dict):
    """Keeps what eager attention sees: q [B,H,T,D] and k [B,G,T,D] after RoPE, v [B,G,T,D], probabilities [B,H,T,T];
    and what it gives: sdpa_out [B,T,H*D]."""
    family = sys.modules[type(model).__module__]  # transformers' modeling_<family>
    original = family.eager_attention_forward

    def record(module, query, key, value, *args, **kwargs):
        output, probabilities = original(module, query, key, value, *args, **kwargs)
        block = f"block{module.layer_idx}"
        taps[f"{block}.q"], taps[f"{block}.k"], taps[f"{block}.v"] = query, key, value
        taps[f"{block}.attn_probs"], taps[f"{block}.sdpa_out"] = probabilities, output.flatten(2)
        return output, probabilities

    return replaced(family, "eager_attention_forward", record)


def norms_of(layer):
    """Of a decoder layer: the norm after attention, the one before the FFN and the one after it; None where absent."""
    after_ffn = getattr(layer, "post_feedforward_layernorm", None)
    if after_ffn is None:  # as in Llama, whose "post_attention_layernorm" is the FFN's pre-norm
        return None, layer.post_attention_layernorm, None
    return layer.post_attention_layernorm, getattr(layer, "pre_feedforward_layernorm", None), after_ffn


def hook_sites(model, taps: dict, gate_score=None):
    """Forward hooks for every site that is the input or output of a module. `gate_score` makes the gate's scores from
    an attention module and the output of its q_proj."""

    def keep_input(name):
        return lambda module, args: taps.__setitem__(name, args[0])

    def keep_output(name):
        return lambda module, args, output: taps.__setitem__(name, output[0] if isinstance(output, tuple) else output)

    def keep_gate(name, attention):
        return lambda module, args, output: taps.__setitem__(name, gate_score(attention, output))

    handles = [model.model.norm.register_forward_hook(keep_output("final_norm"))]
    for index, layer in enumerate(model.model.layers):
        block = f"block{index}."
        after_attention, before_ffn, after_ffn = norms_of(layer)
        inputs = {
            "block_input": layer,
            "attn_norm": layer.self_attn.q_proj,
            "head_out": layer.self_attn.o_proj,
            "attn_residual": before_ffn or layer.mlp,
            "ffn_norm": layer.mlp,
            "ffn_hidden": layer.mlp.down_proj,
        }
        outputs = {
            "attn_out": after_attention or layer.self_attn.o_proj,
            "ffn_out": after_ffn or layer.mlp.down_proj,
            "block_output": layer,
        }
        handles += [m.register_forward_pre_hook(keep_input(block + site)) for site, m in inputs.items()]
        handles += [m.register_forward_hook(keep_output(block + site)) for site, m in outputs.items()]
        if gate_score:
            keep = keep_gate(block + "gate_score", layer.self_attn)
            handles.append(layer.self_attn.q_proj.register_forward_hook(keep))
    return handles


@torch.inference_mode()
def run_with_taps(model, ids: torch.Tensor, gate_score=None) -> dict:
    taps = {}
    handles = hook_sites(model, taps, gate_score)
    with recording_attention(model, taps):
        taps["logits"] = model(ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return {name: value.detach().clone().contiguous() for name, value in taps.items()}


def expect_same(what: str, a: torch.Tensor, b: torch.Tensor):
    difference = (a - b).abs().max().item()
    if difference > AGREEMENT * max(1.0, b.abs().max().item()):
        fail(f"{what} differs by {difference:.3g}; the taps do not describe this model")


def normed(norm, x: torch.Tensor) -> torch.Tensor:
    return x if norm is None else norm(x)


def check_block(layer, tap: dict):
    """The taps of one block, joined by the formulas that connect them."""
    after_attention, before_ffn, after_ffn = norms_of(layer)
    v = tap["v"].repeat_interleave(tap["q"].shape[1] // tap["v"].shape[1], dim=1)  # [B, H, T, D]
    attended = tap["attn_probs"].matmul(v).transpose(1, 2)  # [B, T, H, D]
    expect_same("sdpa_out", attended.flatten(2), tap["sdpa_out"])
    if "gate_score" in tap:
        attended = attended * tap["gate_score"].reshape(*attended.shape[:3], -1)
    expect_same("head_out", attended.flatten(2), tap["head_out"])
    expect_same("attn_norm", normed(getattr(layer, "input_layernorm", None), tap["block_input"]), tap["attn_norm"])
    expect_same("attn_out", normed(after_attention, layer.self_attn.o_proj(tap["head_out"])), tap["attn_out"])
    expect_same("attn_residual", tap["block_input"] + tap["attn_out"], tap["attn_residual"])
    expect_same("ffn_norm", normed(before_ffn, tap["attn_residual"]), tap["ffn_norm"])
    expect_same("ffn_out", normed(after_ffn, layer.mlp.down_proj(tap["ffn_hidden"])), tap["ffn_out"])
    expect_same("block_output", tap["attn_residual"] + tap["ffn_out"], tap["block_output"])


@torch.inference_mode()
def check_taps(model, taps: dict):
    """The taps, joined, must give the model's logits without the hooks."""
    own = model(taps["input_ids"], use_cache=False).logits
    for index, layer in enumerate(model.model.layers):
        block = {name.split(".")[1]: value for name, value in taps.items() if name.startswith(f"block{index}.")}
        check_block(layer, block)
        if index:
            expect_same("block_input", taps[f"block{index - 1}.block_output"], block["block_input"])
    expect_same("final_norm", model.model.norm(block["block_output"]), taps["final_norm"])
    expect_same("logits", model.lm_head(taps["final_norm"]), own)
    expect_same("recorded logits", taps["logits"], own)


def write_tiny(
    folder: Path, seed: int, all_taps: bool, model_class=LlamaForCausalLM, alters=(), gate_score=None, ids=IDS, **change
):
    """`alters` are changes to the model that stand for what a reader might overlook, `ids` a shape, `gate_score` is for
    hook_sites, `change` for make_model. Returns the model and its taps."""
    model = make_model(seed, model_class, **change)
    ids = torch.randint(0, TINY["vocab_size"], ids, generator=torch.Generator().manual_seed(seed + 1))
    taps = {"input_ids": ids, **run_with_taps(model, ids, gate_score)}
    check_taps(model, taps)
    for alter in alters:
        check_matters(model, taps, alter)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if not gate_score:  # then it is head_out
        taps = {name: value for name, value in taps.items() if not name.endswith(".sdpa_out")}
    kept = taps if all_taps else {name: taps[name] for name in ("input_ids", "logits")}
    save_file(kept, folder / "taps.safetensors", metadata=origin())
    check_reload(folder, model_class, ids, taps["logits"])
    scale = taps[f"block{len(model.model.layers) - 1}.block_output"].abs().mean().item()
    print(f"{folder.name}: {len(kept)} tensors, mean |last block_output| {scale:.2f}, {folder_bytes(folder)} bytes")
    return model, taps


def rebuilt(model, changes: dict):
    """The same weights under a config with other settings."""
    other = type(model)(type(model.config)(**{**model.config.to_diff_dict(), **changes}))
    other.load_state_dict(model.state_dict())
    other.set_attn_implementation("eager")
    return other.eval()


@torch.inference_mode()
def check_matters(model, taps: dict, change):
    """A reader that overlooks something must not pass by chance: `change` (of the config, or made by a function to a
    copy of the model) must alter the logits."""
    other = rebuilt(model, {} if callable(change) else change)
    if callable(change):
        change(other)
    difference = (other(taps["input_ids"], use_cache=False).logits - taps["logits"]).abs().max().item()
    what = change.__name__ if callable(change) else change
    print(f"with {what} the logits would differ by {difference:.3f}")
    if difference < 0.01:
        fail(f"{what} has no visible effect on this fixture")


@torch.inference_mode()
def check_reload(folder: Path, model_class, ids: torch.Tensor, logits: torch.Tensor):
    """What was written must be the model that was run."""
    again = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if not torch.equal(again(ids, use_cache=False).logits, logits):
        fail(f"{folder} read back gives other logits")


def origin() -> dict:
    # One key: safetensors writes several in random order, and the same run should give the same bytes.
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return {"made_by": f"scripts/{Path(sys.argv[0]).name} with {versions}"}


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@torch.inference_mode()
def write_smollm2(path: Path, model_path: Path, text: Path):
    from transformers_oracle import encode_text, load_model, perplexity, window_nll

    ids = encode_text(model_path, text)
    model = load_model(model_path)
    measured = perplexity(torch.cat([window_nll(model, ids[i * 2048 : (i + 1) * 2048]) for i in range(4)]))
    if len(ids) != 303415 or abs(measured - 24.3395) > 1e-3:
        fail(f"{len(ids)} ids, perplexity {measured:.4f}; expected 303415 and 24.3395")

    ids = ids[:256].contiguous()
    streams = {}
    handles = hook_sites(model, streams)
    logits = model(ids[None], use_cache=False).logits[0]  # [T, V]
    for handle in handles:
        handle.remove()

    positions = torch.tensor([0, 1, 7, 63, 255])
    index = torch.arange(0, logits.shape[1], 4)
    streams = torch.stack([streams[f"block{block}.block_output"][0] for block in range(len(model.model.layers))])
    largest, where = streams.abs().flatten(1).max(dim=1)  # [L]
    channels = streams.shape[2]
    logsumexp = torch.logsumexp(logits.double(), dim=1)
    tensors = {
        "input_ids": ids,
        "positions": positions,
        "logit_index": index.int(),
        "logits": logits[positions][:, index].contiguous(),
        "argmax": logits.argmax(dim=1),
        "logsumexp": logsumexp.float(),
        "nll": (logsumexp[:-1] - logits[:-1].gather(1, ids[1:, None])[:, 0].double()).float(),
        "residual_max": largest,
        "residual_position": where // channels,
        "residual_channel": where % channels,
    }
    save_file(tensors, path, metadata=origin())
    print(f"{path.name}: perplexity {measured:.4f}, {path.stat().st_size} bytes")
    for name in ("residual_max", "residual_position", "residual_channel"):
        print(name, [round(value, 1) for value in load_file(path)[name].tolist()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", action="store_true", help="also write smollm2-logits.safetensors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    FIXTURES.mkdir(parents=True, exist_ok=True)

    write_tiny(FIXTURES / "tiny-llama", 20, True, tie_word_embeddings=True, rope_parameters=PLAIN_ROPE)
    write_tiny(
        FIXTURES / "tiny-llama-untied",
        30,
        False,
        tie_word_embeddings=False,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters=LLAMA3_ROPE,
        alters=[dict(rope_parameters=dict(rope_type="default", rope_theta=LLAMA3_ROPE["rope_theta"]))],
    )
    if args.smollm2:
        from transformers_oracle import MODEL, TEXT

        write_smollm2(FIXTURES / "smollm2-logits.safetensors", MODEL, TEXT)


if __name__ == "__main__":
    main()
