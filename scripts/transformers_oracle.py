"""The SmolLM2-135M GGUF as transformers sees it: what the other oracle scripts share.

transformers dequantises the file with gguf-py, undoes the q/k row permutation of llama.cpp's converter and builds a
LlamaForCausalLM, so nothing of Espalier's own readers takes part. Needs: torch, transformers, gguf.
"""

import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = ROOT / "eval" / "data" / "wikitext-2" / "wiki.test.raw"


def load_model(gguf: Path, dtype=torch.float32, attention="sdpa"):
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=dtype, attn_implementation=attention
    )
    return model.eval()


def encode_text(gguf: Path, text: Path) -> torch.Tensor:
    """The file as one text, without BOS or EOS: ids [N] int64."""
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    # newline="": the bytes of the file, since Python would otherwise change line ends.
    with open(text, encoding="utf-8", newline="") as file:
        content = file.read()
    return torch.tensor(tokenizer.encode(content, add_special_tokens=False))


@torch.inference_mode()
def window_nll(model, ids: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood [T - 1] float64 of every token of the window but its first."""
    logits = model(ids[None], use_cache=False).logits[0, :-1]  # [T-1, V]
    return torch.nn.functional.cross_entropy(logits.float(), ids[1:], reduction="none").double()


def perplexity(nll: torch.Tensor) -> float:
    return math.exp(nll.mean().item())
