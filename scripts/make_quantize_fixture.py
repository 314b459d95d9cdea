#!/usr/bin/env python3
"""Writes tests/io/fixtures/quantize.safetensors: values and the blocks that gguf-py's reference quantiser makes of them.

"values" (F32) are 40 blocks of 32: normal ones of several sizes, zeros, ties between two levels, one outlier, values whose
scale is subnormal as a half. "<type>.blocks" (U8) are gguf.quants.quantize of them. Made with gguf 0.19 and numpy 2.
Needs: pip install gguf numpy safetensors
"""
import pathlib

import gguf
import numpy
from safetensors.numpy import save_file

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "tests/io/fixtures/quantize.safetensors"


def values():
    random = numpy.random.default_rng(2)
    blocks = random.normal(size=(40, 32)) * numpy.exp(random.normal(size=(40, 1)) * 2)
    blocks[0] = 0
    blocks[1] = numpy.arange(32) / 2 - 8  # ties under both types
    blocks[2] = -(numpy.arange(32) / 2 - 8)
    blocks[3] = 1e-3
    blocks[3, 17] = -300
    blocks[4] *= 1e-6
    blocks[5] = numpy.arange(32) - 127.0 / 2
    return blocks.astype(numpy.float32)


if __name__ == "__main__":
    data = values()
    tensors = {"values": data.reshape(-1)}
    for name in ("F16", "BF16", "Q8_0", "Q4_0"):
        tensors[name + ".blocks"] = gguf.quants.quantize(data, gguf.GGMLQuantizationType[name]).view(numpy.uint8).reshape(-1)
    save_file(tensors, FIXTURE)
