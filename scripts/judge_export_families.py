#!/usr/bin/env python3
"""Stock llama.cpp judges GGUF exports of tiny random models of every family and shape that `espalier export` carries.

    python scripts/judge_export_families.py --llama FOLDER           (needs numpy and safetensors)

Like scripts/judge_export.py, for what SmolLM2 is not: Qwen2 with biases and turned rows, Qwen3 as openelm and padded, groups of
several sizes, sublayers gone anywhere, blocks that vanish. The models are random, so their perplexity is near the exponential of
a large loss; it is the same one or it is not. Key and value cache are float32, so that nothing but order of summation differs.
Prints a Markdown table; exit code 1 above 1e-4, relative.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
ESPALIER = ROOT / "build/release/espalier"
MODEL = ROOT / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = ROOT / "eval/data/wikitext-2/wiki.test.raw"
CHUNKS, LIMIT = 6, 1e-4
C, D, V = 64, 16, 49152

# Query heads, key/value groups, FFN width of each block; 0: the sublayer is gone.
UNEVEN = [(4, 2, 96), (6, 3, 0), (0, 0, 64), (2, 1, 32), (0, 0, 0), (6, 2, 40), (4, 4, 96)]
EVEN = [(4, 2, 96)] * 3
CASES = {
    "llama, uneven": ("llama", UNEVEN, {"constants": True}),
    "llama, no attention first, no FFN last": ("llama", [(0, 0, 64), *UNEVEN[1:], (4, 2, 0)], {"constants": True}),
    "llama, no attention then nothing last": ("llama", [*UNEVEN, (0, 0, 64), (0, 0, 0)], {"constants": True}),
    "llama, uniform with biases": ("llama", EVEN, {"constants": True}),
    "qwen2, uneven with constants": ("qwen2", UNEVEN, {"constants": True, "qkv_bias": True}),
    "qwen2, uniform": ("qwen2", EVEN, {"qkv_bias": True}),
    "qwen3, tied, uneven": ("qwen3", [(0, 0, 64), *UNEVEN], {}),
    "qwen3, own head, uneven": ("qwen3", UNEVEN, {"tied": False}),
}
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def attention_tensors(random, prefix, family, heads, groups, qkv_bias):
    tensors = {}
    for name, rows in (("q", heads * D), ("k", groups * D), ("v", groups * D)):
        tensors[f"{prefix}{name}_proj.weight"] = random(rows, C, gain=2)
        if qkv_bias:
            tensors[f"{prefix}{name}_proj.bias"] = random(rows, gain=3)
        if family == "qwen3" and name != "v":
            tensors[f"{prefix}{name}_norm.weight"] = 1 + random(D)
    return tensors | {f"{prefix}o_proj.weight": random(C, heads * D)}


def make(folder: Path, family, blocks, constants=False, qkv_bias=False, tied=True):
    generator = np.random.default_rng(1)

    def random(*shape, gain=1.0):
        return (generator.normal(size=shape) * gain / np.sqrt(shape[-1])).astype(np.float32)

    tensors = {"model.embed_tokens.weight": random(V, C, gain=2), "model.norm.weight": 1 + random(C)}
    if not tied:
        tensors["lm_head.weight"] = random(V, C, gain=2)
    most, layers = [max(sizes) for sizes in zip(*blocks)], {}
    for number, (heads, groups, width) in enumerate(blocks):
        prefix, entry, skip = f"model.layers.{number}.", {}, []
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = 1 + random(C)
        if heads:
            tensors |= attention_tensors(random, prefix + "self_attn.", family, heads, groups, qkv_bias)
            entry |= {"num_attention_heads": heads, "num_key_value_heads": groups}
        else:
            skip.append("attention")
        if width:
            tensors |= {f"{prefix}mlp.{name}_proj.weight": random(width, C, gain=2) for name in ("gate", "up")}
            tensors[f"{prefix}mlp.down_proj.weight"] = random(C, width)
            entry["intermediate_size"] = width
        else:
            skip.append("mlp")
        if constants:
            tensors |= {f"{prefix}self_attn.o_proj.bias": random(C), f"{prefix}mlp.down_proj.bias": random(C)}
        layers[str(number)] = entry | ({"skip": skip} if skip else {})
    config = {"architectures": [ARCHITECTURES[family]], "model_type": family, "hidden_size": C, "head_dim": D, "vocab_size": V,
              "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "tie_word_embeddings": tied,
              "num_hidden_layers": len(blocks), "num_attention_heads": most[0], "num_key_value_heads": most[1],
              "intermediate_size": most[2], "rope_theta": 10000.0, "dtype": "float32", "per_layer_config": layers}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{(done.stdout + done.stderr)[-1500:]}")
    return done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, required=True)
    llama = parser.parse_args().llama
    worst = 0.0
    print("| model | architecture | llama-perplexity | espalier eval | relative difference |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        for number, (case, (family, blocks, options)) in enumerate(CASES.items()):
            folder = Path(temporary) / str(number)
            make(folder, family, blocks, **options)
            gguf, copy, out = folder / "a.gguf", folder / "with-tokenizer", folder / "out"
            said = run(ESPALIER, "export", folder, "--to", "gguf", "--type", "f32", "--out", gguf, "--tokenizer", MODEL, "-q")
            run(ESPALIER, "convert", folder, copy, "--tokenizer", MODEL, "-q")
            stock = float(re.search(r"Final estimate: PPL = ([\d.]+)", run(
                llama / "llama-perplexity", "-m", gguf, "-f", TEXT, "-c", 512, "--chunks", CHUNKS, "-fa", "off", "-ctk", "f32",
                "-ctv", "f32"))[1])
            run(ESPALIER, "eval", copy, "preset=llama.cpp", f"windows={CHUNKS}", f"data={TEXT}", "--out", out, "-q")
            (path,) = out.glob("*.json")
            ours = next(m["value"] for m in json.loads(path.read_text())["metrics"] if m["name"] == "perplexity")
            worst = max(worst, abs(stock - ours) / ours)
            print(f"| {case} | {said.split()[1]} | {stock:.4f} | {ours:.4f} | {abs(stock - ours) / ours:.1e} |", flush=True)
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
