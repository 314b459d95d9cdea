#!/usr/bin/env python3
"""Stock programs judge what `espalier export` writes of pruned SmolLM2-135M.

    python scripts/judge_export.py --llama FOLDER [--work FOLDER] [--case NAME ...] [--type f32 ...]

FOLDER holds llama-perplexity of stock llama.cpp: scripts/build_llama_cpp builds it and prints the folder. Needs numpy,
safetensors and gguf. Each case is pruned as the starter recipe does, with half of its calibration, exported, and measured twice on
the same chunks of WikiText-2: by llama-perplexity and by `espalier eval` with preset llama.cpp on the checkpoint that was exported. Some cases also lose whole sublayers in the first, a middle and the last
layer, which leave constants behind. The unpruned model is held against a base file of `espalier eval --suite
save_base_logits` with llama-perplexity --kl-divergence.

Prints a Markdown table. Exit code 1 when an F32 perplexity differs by more than 1e-3, relative, or the unpruned F32
model's KL is 1e-5 or more.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file, save_file

from exported_models import MODEL, TEXT, espalier, parser_of, pruned, work_folder

CHUNKS = 6  # espalier eval wants 1024 scored predictions
PERPLEXITY_LIMIT, KL_LIMIT = 1e-3, 1e-5

# Name: share of the block parameters, attention and FFN sublayers that go besides.
CASES = {
    "dense": (0, [], []),
    "20 %": (0.2, [], []),
    "30 %": (0.3, [], []),
    "50 %": (0.5, [], []),
    "20 %, sublayers gone in the middle": (0.2, [13, 20], [9, 20]),
    "30 %, gone in first, middle and last": (0.3, [0, 14, 29], [0, 15, 29]),
    "50 %, attention gone in first, FFN in last": (0.5, [0], [29]),
    "blocks 12 and 29 gone (uniform)": (0, [12, 29], [12, 29]),
}


def remove_sublayers(folder: Path, attention, ffn, target: Path):
    """A copy of the checkpoint without these sublayers. Each leaves a constant, as a compensation would."""
    target.mkdir(parents=True)
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    layers = config.setdefault("per_layer_config", {})
    random = np.random.default_rng(1)
    for kind, skipped, part, output in (("attention", attention, "self_attn", "self_attn.o_proj"),
                                        ("mlp", ffn, "mlp", "mlp.down_proj")):
        for layer in skipped:
            for name in [n for n in tensors if n.startswith(f"model.layers.{layer}.{part}.")]:
                del tensors[name]
            if set(attention) != set(ffn):  # blocks that vanish whole leave nothing
                tensors[f"model.layers.{layer}.{output}.bias"] = random.normal(0, 0.02, config["hidden_size"]).astype(np.float32)
            entry = layers.setdefault(f"{layer:02}", {})
            entry.setdefault("skip", []).append(kind)
            for key in ("num_attention_heads", "num_key_value_heads") if kind == "attention" else ("intermediate_size",):
                entry.pop(key, None)
    (target / "config.json").write_text(json.dumps(config))
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (target / name).write_bytes((folder / name).read_bytes())


def checkpoint(case: str, work: Path) -> Path:
    share, attention, ffn = CASES[case]
    name = re.sub(r"\W+", "-", case)
    if share > 0:
        folder = pruned(share, work)
    elif attention or ffn:
        folder = work / "dense-hf"
        espalier("export", MODEL, "--to", "hf", "--out", folder)
    else:
        return MODEL
    if not attention and not ffn:
        return folder
    target = work / name
    if not target.exists():
        remove_sublayers(folder, attention, ffn, target)
    return target


def stock_perplexity(program: Path, gguf: Path):
    done = subprocess.run([program, "-m", gguf, "-f", TEXT, "-c", "512", "--chunks", str(CHUNKS), "-fa", "off", "-ctk", "f32", "-ctv", "f32"],
                          capture_output=True, text=True)
    found = re.search(r"Final estimate: PPL = ([\d.]+)", done.stdout + done.stderr)
    if not found:
        sys.exit(f"llama-perplexity {gguf}:\n{(done.stdout + done.stderr)[-2000:]}")
    return float(found[1])


def our_perplexity(model: Path, work: Path):
    with tempfile.TemporaryDirectory(dir=work) as out:
        espalier("eval", model, "preset=llama.cpp", f"data={TEXT}", f"windows={CHUNKS}", "--out", out)
        (path,) = Path(out).glob("*.json")
        return next(m["value"] for m in json.loads(path.read_text())["metrics"] if m["name"] == "perplexity")


def stock_kl(program: Path, gguf: Path, base: Path):
    done = subprocess.run([program, "-m", gguf, "--kl-divergence-base", base, "--kl-divergence", "-c", "512", "--chunks",
                           str(CHUNKS), "-fa", "off", "-ctk", "f32", "-ctv", "f32"], capture_output=True, text=True)
    found = re.search(r"Mean\s+KLD:\s+(-?[\d.]+)", done.stdout)
    if not found:
        sys.exit(f"llama-perplexity --kl-divergence:\n{(done.stdout + done.stderr)[-2000:]}")
    return float(found[1])


def tensors_of(path: Path):
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


def differences_from_llama_quantize(program: Path, plain: Path, kind: str, ours: Path):
    """Tensors whose type or bytes are not those that llama-quantize --pure makes of the F32 file."""
    theirs = ours.with_suffix(".stock.gguf")
    output = ["--output-tensor-type", "q8_0", "--token-embedding-type", "q8_0"] if kind == "q4_0" else []
    subprocess.run([program, "--pure", *output, plain, theirs, kind], check=True, capture_output=True)
    stock, found = tensors_of(theirs), tensors_of(ours)
    theirs.unlink()
    return [name for name in stock.keys() | found.keys() if stock.get(name) != found.get(name)], len(stock)


def judge_quantiser(llama: Path, work: Path, case: str):
    """q8_0, q4_0, f16 and bf16 of one pruned model against llama-quantize."""
    model, plain = checkpoint(case, work), work / "plain.gguf"
    espalier("export", model, "--to", "gguf", "--type", "f32", "--out", plain, "--tokenizer", MODEL)
    bad = False
    for kind in ("f16", "bf16", "q8_0", "q4_0"):
        ours = work / f"ours.{kind}.gguf"
        espalier("export", model, "--to", "gguf", "--type", kind, "--out", ours, "--tokenizer", MODEL)
        differing, count = differences_from_llama_quantize(llama / "llama-quantize", plain, kind, ours)
        ours.unlink()
        bad |= bool(differing)
        print(f"llama-quantize --pure {kind} of '{case}': {count - len(differing)} of {count} tensors have the same type and bytes"
              + (f"; not {differing[:3]}" if differing else ""), flush=True)
    plain.unlink()
    return bad


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--type", action="append")
    parser.add_argument("--quantiser", metavar="CASE", help="hold our quantised tensors of this case against llama-quantize's")
    arguments = parser.parse_args()
    work = work_folder(arguments.work)
    if arguments.quantiser:
        return 1 if judge_quantiser(arguments.llama, work, arguments.quantiser) else 0
    bad = False
    print("| model | architecture | type | file MB | llama-perplexity | espalier eval | relative difference |\n"
          "| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for case in arguments.case or CASES:
        model = checkpoint(case, work)
        ours = our_perplexity(model, work)
        for kind in arguments.type or ["f32"]:
            file = work / f"{re.sub(r'[^a-zA-Z0-9]+', '-', case)}.{kind}.gguf"
            said = espalier("export", model, "--to", "gguf", "--type", kind, "--out", file, "--tokenizer", MODEL)
            stock = stock_perplexity(arguments.llama / "llama-perplexity", file)
            difference = abs(stock - ours) / ours
            bad |= kind == "f32" and difference > PERPLEXITY_LIMIT
            print(f"| {case} | {said.split()[1]} | {kind} | {file.stat().st_size / 1e6:.1f} | {stock:.4f} | {ours:.4f} "
                  f"| {difference:.1e} |", flush=True)
            if case == "dense":
                base = work / "dense.kld"
                espalier("eval", MODEL, "--suite", "save_base_logits", f"data={TEXT}", f"windows={CHUNKS}", f"file={base}",
                         "--out", work / "base")
                kl = stock_kl(arguments.llama / "llama-perplexity", file, base)
                bad |= kind == "f32" and kl >= KL_LIMIT
                print(f"| dense, mean KL against our base file | | {kind} | | {kl:.7f} | | |", flush=True)
            file.unlink()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
