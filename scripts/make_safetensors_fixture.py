#!/usr/bin/env python3
"""Writes tests/io/fixtures/reference*.safetensors and tiny_llama/ with the reference implementations.

Made with safetensors 0.8.0, transformers 5.23 and torch 2.13. The tests compare the writer of src/io/safetensors_writer.cpp
byte for byte with the first, and open the second, whose every tensor holds 0, 1, 2, ... in its own order.
Needs: pip install safetensors torch transformers
"""
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests/io/fixtures"


def reference():
    """Every dtype; names that need escaping, non-ASCII, empty; scalars and empty tensors; names out of order."""
    dtypes = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    dtypes += [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    tensors = {f"{chr(ord('z') - i)}.{dtype}": torch.tensor([[0, 1, 1]]).to(dtype) for i, dtype in enumerate(dtypes)}
    tensors['quote " backslash \\ newline \n control \x01 delete \x7f slash / é 語'] = torch.arange(5, dtype=torch.float32)
    tensors[""] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(3, 0, dtype=torch.float16)
    tensors["Upper"] = torch.full((2, 1, 2), -1.5)
    # One key only: the reference writes several in random order.
    save_file(tensors, FIXTURES / "reference.safetensors", metadata={"form\tat": 'pt "é"'})
    save_file({}, FIXTURES / "reference_empty.safetensors")


def tiny_llama():
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape))
    model.save_pretrained(FIXTURES / "tiny_llama", max_shard_size="3KB")
    (FIXTURES / "tiny_llama/generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    FIXTURES.mkdir(parents=True, exist_ok=True)
    reference()
    tiny_llama()
