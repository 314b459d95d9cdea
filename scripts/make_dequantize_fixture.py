#!/usr/bin/env python3
"""Writes tests/io/fixtures/dequantize.safetensors: blocks of every GGUF type and what gguf-py makes of them.

"<type>.blocks" (U8) are random bytes with half-precision scales that are finite; the first block of each type has the
largest scales, the second subnormal ones, the third negative zero. "<type>.values" (F32) are gguf.quants.dequantize of
them. With --model FILE it prints the figures of that GGUF file that tests/io/smol_checkpoint_test.cpp expects.
Made with gguf 0.19 and numpy 2. Needs: pip install gguf numpy safetensors
"""
import argparse
import hashlib
import pathlib

import gguf
import numpy
from safetensors.numpy import save_file

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "tests/io/fixtures/dequantize.safetensors"
# type: byte offsets of the half-precision scales in a block, blocks in the fixture
TYPES = {"F32": ([], 64), "F16": ([], 64), "BF16": ([], 64), "Q4_0": ([0], 12), "Q4_1": ([0, 2], 12), "Q5_0": ([0], 12),
         "Q5_1": ([0, 2], 12), "Q8_0": ([0], 12), "Q4_K": ([0, 2], 5), "Q5_K": ([0, 2], 5), "Q6_K": ([208], 5)}


def fixture():
    random = numpy.random.default_rng(1)
    tensors = {}
    for name, (scales, blocks) in TYPES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        data = random.integers(0, 256, (blocks, size), dtype=numpy.uint8)
        if not scales:  # values themselves: finite and of both signs
            plain = random.normal(size=(blocks, elements)).astype(numpy.float32)
            data = (plain.view(numpy.uint8) if name == "F32" else gguf.quants.quantize(plain, kind).view(numpy.uint8)).reshape(blocks, size)
        for offset in scales:
            values = random.normal(size=blocks).astype(numpy.float16)
            values[:3] = [65504, 6e-8, -0.0]
            data[:, offset:offset + 2] = values.view(numpy.uint8).reshape(blocks, 2)
        tensors[name + ".blocks"] = data.reshape(-1)
        tensors[name + ".values"] = gguf.quants.dequantize(data, kind).astype(numpy.float32).reshape(-1)
    save_file(tensors, FIXTURE)


def print_model(path):
    reader = gguf.GGUFReader(path)
    digest = hashlib.sha256()
    elements = 0
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.name):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        digest.update(values.tobytes())
        elements += values.size
    print("tensors", len(reader.tensors), "elements", elements, "stored bytes", sum(int(t.n_bytes) for t in reader.tensors))
    print("sha256 of all tensors as float32, in name order", digest.hexdigest())
    for key, field in reader.fields.items():
        value = field.contents()
        print(key, f"{len(value)} entries, from {value[:3]} to {value[-1:]}" if isinstance(value, list) else repr(value))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    model = parser.parse_args().model
    print_model(model) if model else fixture()
