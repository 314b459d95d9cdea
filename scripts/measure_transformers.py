#!/usr/bin/env python3
"""Evaluation throughput and perplexity of transformers: the figures Espalier's own are held against.

    python scripts/measure_transformers.py --threads 2

Scores non-overlapping windows of the WikiText-2 test file taken as one text (no BOS; the first token of each window is
not scored) in float32 with scaled-dot-product attention, and prints the tokens per second over all windows after one
warm-up, the slowest and fastest window, and the perplexity. Four windows of 2048 tokens give 24.3395.
Set OMP_WAIT_POLICY as for Espalier when the two are compared: the default keeps waiting threads spinning. Needs torch,
transformers, gguf and accelerate.
"""

import argparse
import time
from pathlib import Path

import torch
import transformers
from transformers_oracle import MODEL, TEXT, encode_text, load_model, perplexity, window_nll


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a window")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    ids = encode_text(args.model, args.text)
    windows = [ids[i * args.tokens : (i + 1) * args.tokens] for i in range(args.windows)]
    model = load_model(args.model)
    window_nll(model, windows[0])

    seconds, nll = [], []
    for window in windows:
        begin = time.perf_counter()
        nll.append(window_nll(model, window))
        seconds.append(time.perf_counter() - begin)

    rates = [args.tokens / s for s in seconds]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {args.threads} threads, float32, sdpa")
    print(f"ids: {len(ids)}, first five: {' '.join(map(str, ids[:5].tolist()))}")
    rate = args.windows * args.tokens / sum(seconds)
    print(f"tokens/s: {rate:.1f} (window by window {min(rates):.1f} to {max(rates):.1f})")
    print(f"perplexity: {perplexity(torch.cat(nll)):.4f} ({args.windows} windows of {args.tokens} tokens)")


if __name__ == "__main__":
    main()
