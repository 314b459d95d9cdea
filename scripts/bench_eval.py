#!/usr/bin/env python3
"""Tokens a second of perplexity on 2,048-token windows, all logits scored, float32, side by side in one run.

    OMP_WAIT_POLICY=passive python scripts/bench_eval.py [--rounds 2] [--windows 2] [--llama-perplexity PROGRAM --gguf F32.gguf]

Interleaves espalier, transformers + torch, and stock llama-perplexity; then measures what torch's float32 matmul allows for
the same multiply-adds. Each runs in a process of its own, or threads of one that spin (OMP_WAIT_POLICY=active) would slow the next. Loading is not
counted. Needs torch, transformers, gguf. Use it on an idle machine, with
OMP_WAIT_POLICY active and passive.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from parity_perplexity import gptq_ids
from transformers import AutoTokenizer
from transformers_oracle import MODEL, ROOT, TEXT, load_model

WINDOW = 2048


def espalier(windows):
    with tempfile.TemporaryDirectory() as out:
        run = subprocess.run([ROOT / "build/release/espalier", "eval", MODEL, f"data={TEXT}", f"windows={windows}", "--out", out],
                             check=True, capture_output=True, text=True, cwd=ROOT)
    seconds = re.findall(r"100 %, ([\d.]+) s", run.stderr)[-1]
    return windows * WINDOW / float(seconds)


@torch.inference_mode()
def transformers(model, ids, windows):
    start = time.perf_counter()
    for i in range(windows):
        batch = ids[None, i * WINDOW : (i + 1) * WINDOW]
        logits = model(batch, use_cache=False).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, batch[0, 1:]).item()
    return windows * WINDOW / (time.perf_counter() - start)


def llama(program, gguf, windows):
    run = subprocess.run([program, "-m", gguf, "-f", TEXT, "-c", str(WINDOW), "-b", str(WINDOW), "--chunks", str(windows), "-t", "2"],
                         check=True, capture_output=True, text=True)
    return WINDOW / float(re.search(r"perplexity: ([\d.]+) seconds per pass", run.stdout + run.stderr).group(1))


def matmul_gflops():
    a, b = torch.rand(2048, 576), torch.rand(1536, 576)
    torch.nn.functional.linear(a, b)
    start = time.perf_counter()
    for _ in range(50):
        torch.nn.functional.linear(a, b)
    return 50 * 2 * 2048 * 576 * 1536 / (time.perf_counter() - start) / 1e9


def torch_side(windows):
    """Rates of transformers and of matmul, measured in a child process."""
    run = subprocess.run([sys.executable, __file__, "--torch-side", str(windows)], check=True, capture_output=True, text=True)
    return map(float, run.stdout.split())


def print_torch_side(windows):
    torch.set_num_threads(2)
    ids = gptq_ids(AutoTokenizer.from_pretrained(str(MODEL.parent), gguf_file=MODEL.name))
    print(transformers(load_model(MODEL), ids, windows), matmul_gflops())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--llama-perplexity")
    parser.add_argument("--gguf")
    parser.add_argument("--torch-side", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch_side:
        return print_torch_side(arguments.torch_side)
    rates = {"espalier": [], "transformers": [], "llama.cpp": []}
    gflops = []
    for _ in range(arguments.rounds):
        rates["espalier"].append(espalier(arguments.windows))
        rate, products = torch_side(arguments.windows)
        rates["transformers"].append(rate)
        if arguments.llama_perplexity:
            rates["llama.cpp"].append(llama(arguments.llama_perplexity, arguments.gguf, arguments.windows))
        gflops.append(products)
        print({k: [round(x, 1) for x in v] for k, v in rates.items()}, [round(g) for g in gflops], flush=True)
    own = statistics.median(rates["espalier"])
    for name, values in rates.items():
        if values:
            print(f"{name}: {statistics.median(values):.1f} tokens/s, espalier x{own / statistics.median(values):.2f}")
    print(f"torch float32 matmul: {statistics.median(gflops):.0f} GFLOP/s")


if __name__ == "__main__":
    main()
