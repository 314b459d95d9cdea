#!/usr/bin/env python3
"""Training tokens a second and peak memory on SmolLM2-135M, all weights learning, batch 4 x 512, float32: side by side.

    OMP_WAIT_POLICY=passive python scripts/bench_train.py [--rounds 2] [--steps 3] [--set heal.matmul=bfloat16 ...]

Interleaves `espalier run` (of a recipe that removes next to nothing and heals with method: full, embedding: true) and
transformers with torch.optim.AdamW(fused=True) and clipping, each in a process of its own. The first step is not counted. Espalier
computes activations again in the backward pass, its default; transformers keeps them, its default.
Memory is the largest resident set of each whole process, loading included. Needs torch, transformers, gguf, on an idle machine.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, LENGTH = 4, 512
RECIPE = """
question: how fast does it train?
runs: {folder}
name: train
threads: 2
model: {{path: {model}, dtype: float32}}
data:
  calibration: {{path: {text}, last_document: 20, sequences: 2, length: 64}}
  healing: {{path: {text}, first_document: 20, last_document: 300}}
analyze: {{tokens: 128}}
prune:
  units: [ffn_channel]
  score: {{method: magnitude}}
  budget: {{of: block_parameters, remove: 0.0001}}
  compensate: none
heal: {{method: full, embedding: true, tokens: {tokens}, batch: 4, length: 512, learning_rate: 1e-5, warmup_share: 0,
       validation_windows: 0, save_seconds: 100000}}
"""


def espalier(steps, overrides):
    from transformers_oracle import MODEL, ROOT

    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(RECIPE.format(folder=folder, model=MODEL, text=ROOT / "eval/data/c4/c4-sample.jsonl",
                                        tokens=steps * BATCH * LENGTH))
        subprocess.run([ROOT / "build/release/espalier", "run", recipe, *overrides], check=True, cwd=ROOT,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = [json.loads(line) for line in open(Path(folder) / "train/training/metrics.jsonl")]
    return [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]


def transformers(steps):
    import torch
    from transformers_oracle import MODEL, load_model

    torch.set_num_threads(2)
    model = load_model(MODEL).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (steps, BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    rates = []
    for step in range(steps):
        start = time.perf_counter()
        model(ids[step], labels=ids[step], use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rates.append(BATCH * LENGTH / (time.perf_counter() - start))
    return rates


def in_child(which, steps, overrides):
    run = subprocess.run([sys.executable, __file__, "--child", which, "--steps", str(steps), "--set", *overrides], check=True,
                         capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def child(which, steps, overrides):
    rates = espalier(steps, overrides) if which == "espalier" else transformers(steps)
    # espalier is a child of this child; transformers is this process.
    who = resource.RUSAGE_CHILDREN if which == "espalier" else resource.RUSAGE_SELF
    print(json.dumps({"rate": statistics.mean(rates[1:]), "gigabytes": resource.getrusage(who).ru_maxrss * 1024 / 1e9}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the recipe, KEY=VALUE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps: expected at least 2, the first is not counted")
    if arguments.child:
        return child(arguments.child, arguments.steps, arguments.set)
    found = {"espalier": [], "transformers": []}
    for _ in range(arguments.rounds):
        for name, runs in found.items():
            runs.append(in_child(name, arguments.steps, arguments.set))
            print(f"{name}: {runs[-1]['rate']:.0f} tokens/s, {runs[-1]['gigabytes']:.2f} GB", flush=True)
    ours, theirs = found["espalier"], found["transformers"]
    mean = lambda runs, key: statistics.mean(run[key] for run in runs)
    print(f"speed x{mean(ours, 'rate') / mean(theirs, 'rate'):.2f}, memory x{mean(ours, 'gigabytes') / mean(theirs, 'gigabytes'):.2f}"
          " of transformers")


if __name__ == "__main__":
    main()
