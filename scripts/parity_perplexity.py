#!/usr/bin/env python3
"""Holds each perplexity preset of `espalier eval` against its original on SmolLM2-135M.

    python scripts/parity_perplexity.py [--preset NAME] [--llama-perplexity PROGRAM --gguf F32.gguf]

gptq-2048   the loop of GPTQ's opt.py / llama.py over transformers' model
strided     the loop of Hugging Face's guide "Perplexity of fixed-length models"
lm-eval     lm-evaluation-harness itself: HFLM.loglikelihood_rolling and the task's process_results
llama.cpp   stock llama-perplexity on an F32 GGUF of the same weights (scripts/dequantize_gguf.py writes it)

Needs torch, transformers, gguf, and for lm-eval also lm-eval and accelerate. Prints a Markdown table; exit code 1 when a
relative difference exceeds 1e-3.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer

from transformers_oracle import MODEL, ROOT, TEXT, load_model

# (preset, options of espalier, how much of the text)
RUNS = {
    "gptq-2048": ["windows=4"],
    "strided": ["window=1024", "stride=512", "windows=8"],
    "lm-eval": ["windows=3"],
    "llama.cpp": ["windows=16"],
}
LIMIT = 1e-3


def ours(preset):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [ROOT / "build/release/espalier", "eval", MODEL, f"preset={preset}", f"data={TEXT}", "label=wt2", *RUNS[preset],
             "--out", out], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        (path,) = Path(out).glob("*.json")
        return {m["name"]: m["value"] for m in json.loads(path.read_text())["metrics"]}


def option(preset, name):
    return int(next(o for o in RUNS[preset] if o.startswith(name + "=")).split("=")[1])


def gptq_ids(tokenizer):
    """Rows of wikitext-2-raw-v1, joined by two newlines; a blank row is the empty string."""
    with open(TEXT, encoding="utf-8", newline="") as file:
        rows = file.read().split("\n")[:-1]
    return torch.tensor(tokenizer("\n\n".join("" if r.strip() == "" else r + "\n" for r in rows))["input_ids"])


@torch.inference_mode()
def gptq(model, tokenizer):
    ids, window, nlls = gptq_ids(tokenizer), 2048, []
    for i in range(option("gptq-2048", "windows")):
        batch = ids[None, i * window : (i + 1) * window]
        logits = model(batch).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.size(-1)), batch[:, 1:].reshape(-1))
        nlls.append(loss.float() * window)
    return {"perplexity": torch.exp(torch.stack(nlls).sum() / (len(nlls) * window)).item()}


@torch.inference_mode()
def strided(model, tokenizer):
    ids, window, stride = gptq_ids(tokenizer), option("strided", "window"), option("strided", "stride")
    total, count, previous = 0.0, 0, 0
    for i, begin in enumerate(range(0, len(ids), stride)):
        if i == option("strided", "windows"):
            break
        end = min(begin + window, len(ids))
        batch = ids[None, begin:end]
        target = batch.clone()
        target[:, : -(end - previous)] = -100
        loss = model(batch, labels=target).loss
        scored = (target != -100).sum().item() - 1  # the model shifts labels by one
        scored += 1 if begin > 0 else 0  # of later windows the first scored label has a prediction too
        total, count, previous = total + loss.item() * scored, count + scored, end
    return {"perplexity": torch.exp(torch.tensor(total / count)).item()}


def lm_eval(model, tokenizer):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer

    pages, page = [], []
    with open(TEXT, encoding="utf-8", newline="") as file:
        for line in file.read().split("\n"):
            reduced = line.replace("= = =", "===").replace("= =", "==").strip()
            if reduced.startswith("= ") and reduced.endswith(" ="):
                if "\n".join(page).strip():
                    pages.append("\n".join(page))
                page = []
            page.append(line)
    pages = [{"page": p} for p in pages[: option("lm-eval", "windows")]]
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=2048)
    requests = [Instance("loglikelihood_rolling", p, (wikitext_detokenizer(p),), i) for i, p in enumerate(pages)]
    scored = [process_results(p, (r,)) for p, r in zip(pages, lm.loglikelihood_rolling(requests))]

    def mean(name):
        return sum(s[name][0] for s in scored) / sum(s[name][1] for s in scored)

    figures = {name: torch.exp(torch.tensor(-mean(name), dtype=torch.double)).item()
               for name in ("word_perplexity", "byte_perplexity")}
    return figures | {"bits_per_byte": -mean("bits_per_byte") / torch.log(torch.tensor(2.0, dtype=torch.double)).item()}


def llama_cpp(program, gguf):
    chunks = option("llama.cpp", "windows")
    found = subprocess.run([program, "-m", gguf, "-f", TEXT, "-c", "512", "--chunks", str(chunks)], check=True,
                           capture_output=True, text=True)
    value, error = re.search(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", found.stdout + found.stderr).groups()
    return {"perplexity": float(value), "perplexity_plus_minus": float(error)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(RUNS), action="append")
    parser.add_argument("--llama-perplexity")
    parser.add_argument("--gguf")
    arguments = parser.parse_args()
    presets = arguments.preset or [p for p in RUNS if p != "llama.cpp" or arguments.llama_perplexity]
    model = tokenizer = None
    if any(p != "llama.cpp" for p in presets):
        model, tokenizer = load_model(MODEL), AutoTokenizer.from_pretrained(str(MODEL.parent), gguf_file=MODEL.name)
    print("| preset | options | figure | original | espalier | relative difference |\n| --- | --- | --- | ---: | ---: | ---: |")
    worst = 0.0
    for preset in presets:
        expected = {"gptq-2048": lambda: gptq(model, tokenizer), "strided": lambda: strided(model, tokenizer),
                    "lm-eval": lambda: lm_eval(model, tokenizer),
                    "llama.cpp": lambda: llama_cpp(arguments.llama_perplexity, arguments.gguf)}[preset]()
        found = ours(preset)
        for name, value in expected.items():
            difference = abs(found[name] - value) / value
            if name != "perplexity_plus_minus":  # printed with 5 digits after the point, compared by eye
                worst = max(worst, difference)
            print(f"| {preset} | {' '.join(RUNS[preset])} | {name} | {value:.6g} | {found[name]:.6g} | {difference:.1e} |",
                  flush=True)
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
