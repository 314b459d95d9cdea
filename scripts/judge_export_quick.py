#!/usr/bin/env python3
"""The quick judge of an exported GGUF file: the `xllamacpp` wheel, which needs no build.

    python scripts/judge_export_quick.py MODEL FILE.gguf [--predictions 32]

MODEL is the checkpoint that was exported. Both programs predict the first tokens of WikiText-2 (in one line: presets join lines
in their own ways), each after those before it: `espalier eval` and llama.cpp's server with F32 weights and cache. Needs xllamacpp, numpy and safetensors. Prints the largest
difference of a token's log-probability; exit code 1 when it is above 1e-3 (files with F32 weights; say --limit for others).
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import xllamacpp
from safetensors.numpy import load_file

from exported_models import TEXT, espalier

WINDOW, WINDOWS = 64, 17  # espalier eval wants 1024 predictions; only the first window's are compared


def one_line():
    return " ".join(TEXT.read_text(encoding="utf-8")[:10000].split())


def ours(model):
    with tempfile.TemporaryDirectory() as out:
        text = Path(out) / "text.txt"
        text.write_text(one_line(), encoding="utf-8")
        espalier("eval", model, "preset=strided", f"window={WINDOW}", f"stride={WINDOW - 1}", f"windows={WINDOWS}", f"data={text}", "--out", out)
        (losses,) = Path(out).glob("*.losses.safetensors")
        return next(iter(load_file(losses).values())).flatten()[: WINDOW - 1]


def serve(file):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.port = 256, 1, 0
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds to F16
    parameters.warmup = False
    return xllamacpp.Server(parameters)


def ask(server, path, question):
    request = urllib.request.Request(server.listening_address + path, json.dumps(question).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def theirs(server, predictions):
    ids = ask(server, "/tokenize", {"content": one_line()[:2000], "add_special": False})["tokens"][:WINDOW]
    found = []
    for position in range(1, predictions + 1):
        answer = ask(server, "/completion", {"prompt": ids[:position], "n_predict": 1, "n_probs": 60000, "temperature": 0,
                                             "cache_prompt": False, "samplers": []})
        candidates = answer["completion_probabilities"][0]["top_logprobs"]
        found.append(next(-c["logprob"] for c in candidates if c["id"] == ids[position]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("gguf")
    parser.add_argument("--predictions", type=int, default=32)
    parser.add_argument("--limit", type=float, default=1e-3)
    options = parser.parse_args()
    expected = ours(options.model)
    found = theirs(serve(options.gguf), options.predictions)
    worst = max(abs(a - b) for a, b in zip(expected, found))
    mean = sum(found) / len(found)
    print(f"{options.gguf}: {len(found)} log-probabilities, mean {-mean:.4f}, the largest difference {worst:.1e}")
    sys.exit(0 if worst <= options.limit else 1)


if __name__ == "__main__":
    main()
