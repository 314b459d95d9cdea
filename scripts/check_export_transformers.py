#!/usr/bin/env python3
"""Stock transformers judge the folders that `espalier export` writes of pruned SmolLM2-135M.

    python scripts/check_export_transformers.py --work FOLDER        the --work of scripts/judge_export.py

For each pruned checkpoint that judge_export.py left in FOLDER: exported with --to padded, opened with
AutoModelForCausalLM, and with --to hf, opened with scripts/load_uneven.py (or AutoModelForCausalLM where it is uniform).
Both must give the same logits: they are compared with each other and with the log-probabilities of
Espalier, as `espalier eval --suite save_base_logits` writes them, on one chunk. Prints a Markdown table; exit code 1 above 1e-4 of the largest logit. Needs torch, transformers, safetensors, numpy.
"""

import argparse
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

from exported_models import MODEL, TEXT, espalier
from load_uneven import load

LIMIT = 1e-4  # of the largest logit
STEP = 2.5e-4  # log-probabilities in the base file are multiples of this


def base_logits(model: Path, work: Path):
    """Ids [512] of one chunk, and log-probabilities of its second half as Espalier computes them."""
    path = work / "one.kld"
    espalier("eval", model, "--suite", "save_base_logits", f"data={TEXT}", "windows=6", f"file={path}", "--out", work / "base")
    data = path.read_bytes()
    assert data[:8] == b"_logits_"
    context, vocabulary, chunks = struct.unpack("<Iii", data[8:20])
    ids = np.frombuffer(data, "<i4", context, 20)
    row = 2 * ((vocabulary + 1) // 2) + 4  # scale and minimum as floats, then 16-bit steps
    rows = context - 1 - context // 2
    stored = np.frombuffer(data, "<u2", row * rows, 20 + 4 * context * chunks).reshape(rows, row)
    scale, least = np.ascontiguousarray(stored[:, :4]).view("<f4").T
    return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(scale[:, None] * stored[:, 4:4 + vocabulary] + least[:, None])


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work.resolve()
    models = sorted(p.parent for p in work.glob("*/config.json"))
    models = [m for m in models if not m.name.startswith("exported")]
    worst = 0.0
    print("| model | opens in stock | parameters, hf | parameters, padded | hf - padded, of the largest logit "
          "| padded - Espalier, log-probability |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for model in models:
        ids, ours = base_logits(model, work)
        for form in ("hf", "padded"):
            shutil.rmtree(work / f"exported-{form}", ignore_errors=True)
            espalier("export", model, "--to", form, "--out", work / f"exported-{form}", "--tokenizer", MODEL)
        stock = json.loads((work / "exported-hf/espalier_export.json").read_text())["stock_transformers"]
        opened = transformers.AutoModelForCausalLM.from_pretrained
        hf = opened(work / "exported-hf", dtype=torch.float32).eval() if stock else load(work / "exported-hf")
        padded = opened(work / "exported-padded", dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(work / "exported-padded")
        assert tokenizer.decode(tokenizer("été 東京 x**2")["input_ids"]) == "été 東京 x**2"
        a, b = hf(ids[None]).logits[0], padded(ids[None]).logits[0]
        difference = ((a - b).abs().max() / b.abs().max()).item()
        half = torch.log_softmax(b.double(), -1)[ids.numel() // 2 : -1]
        kept = ours > ours.max(-1, keepdim=True).values - 15.9  # of rarer tokens the file has a bound
        against = (half - ours)[kept].abs().max().item()
        worst = max(worst, difference, max(0, against - STEP) / b.abs().max().item())
        count = lambda m: sum(p.numel() for p in m.parameters())
        print(f"| {model.relative_to(work)} | {'both' if stock else 'padded'} | {count(hf):,} | {count(padded):,} "
              f"| {difference:.1e} | {against:.1e} |", flush=True)
    return 1 if worst > LIMIT or not models else 0


if __name__ == "__main__":
    sys.exit(main())
