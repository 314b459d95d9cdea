#!/usr/bin/env python3
"""What pruned SmolLM2-135M gains in stock llama.cpp: bytes and tokens a second, by llama-bench.

    python scripts/bench_export.py --llama FOLDER [--work FOLDER] [--share 0.2 ...] [--type f16 ...] [--repetitions 5]

FOLDER holds llama-bench: scripts/build_llama_cpp builds it and prints the folder. Every share is cut twice: as the budget falls
out, and with FFN widths that are multiples of 32, which block formats need for ffn_down. Prints a Markdown table; "x" is relative to
the dense model of the same type in the same call. 256 prompt tokens, 64 generated, flash attention, all cores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from exported_models import MODEL, espalier, parser_of, pruned, work_folder


def speeds(program: Path, file: Path, repetitions: int):
    # As a user starts it: threads that sleep while they wait (work_folder) generate a quarter as fast.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([program, "-m", file, "-p", "256", "-n", "64", "-fa", "1", "-r", str(repetitions), "-o", "json"],
                          capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"llama-bench {file}:\n{done.stderr[-2000:]}")
    rows = json.loads(done.stdout)
    return {"prompt" if row["n_prompt"] else "generated": row["avg_ts"] for row in rows}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--share", type=float, action="append")
    parser.add_argument("--type", action="append")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    work = work_folder(arguments.work)
    models = [("dense", MODEL)]
    for share in arguments.share or [0.2, 0.3, 0.5]:
        models += [(f"{share:.0%}", pruned(share, work)), (f"{share:.0%}, widths of 32", pruned(share, work, 32))]
    print("| removed of the blocks | type | file MB | x | prompt tokens/s | x | generated tokens/s | x |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind in arguments.type or ["f16", "q8_0", "q4_0"]:
        dense = None
        for name, model in models:
            file = work / "bench.gguf"
            espalier("export", model, "--to", "gguf", "--type", kind, "--out", file, "--tokenizer", MODEL)
            found = speeds(arguments.llama / "llama-bench", file, arguments.repetitions)
            row = (file.stat().st_size / 1e6, found["prompt"], found["generated"])
            dense = dense or row
            cells = " | ".join(f"{value:.1f} | {value / base:.2f}" for value, base in zip(row, dense))
            print(f"| {name} | {kind} | {cells} |", flush=True)
            file.unlink()


if __name__ == "__main__":
    main()
