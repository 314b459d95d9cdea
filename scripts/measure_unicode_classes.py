#!/usr/bin/env python3
"""Which characters PyPI `tokenizers` classes differently from Unicode 14, the version of PCRE2 10.42 and of Python 3.11.

Prints the ranges behind src/io/unicode_classes.cpp: letters and numbers of patterns, numbers of Digits, white space, and
marks that NFC treats differently. Needs Python 3.11 and tokenizers.
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BLOCK = 4096


def ranges(members):
    out = []
    for c in sorted(members):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return " ".join(f"{a:X}-{b:X}" for a, b in out) or "none"


def matched(pattern):
    removed = pre_tokenizers.Split(Regex(pattern), "removed")
    out = set()
    for i in range(0, len(CODE_POINTS), BLOCK):
        block = CODE_POINTS[i:i + BLOCK]
        kept = {ord(c) for piece, _ in removed.pre_tokenize_str("".join(map(chr, block))) for c in piece}
        out.update(c for c in block if c not in kept)
    return out


def digits():
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {c for c in CODE_POINTS if len(digits.pre_tokenize_str("a" + chr(c) + "a")) == 3}


def category(letter):
    return {c for c in CODE_POINTS if unicodedata.category(chr(c))[0] == letter}


def marks_out_of_order():
    nfc = normalizers.NFC().normalize_str
    bad = set()
    for c in CODE_POINTS:
        if unicodedata.combining(chr(c)):
            for mark in "\u0301\u0316\u05b0\u3099":
                for text in ("a" + mark + chr(c), "a" + chr(c) + mark):
                    if nfc(text) != unicodedata.normalize("NFC", text):
                        bad.add(c)
    return bad


print("Unicode of Python:", unicodedata.unidata_version)
for name, got, expected in (("\\p{L}", matched(r"\p{L}"), category("L")), ("\\p{N}", matched(r"\p{N}"), category("N")),
                            ("Digits", digits(), category("N"))):
    print(f"{name}: {len(got - expected)} more: {ranges(got - expected)}; {len(expected - got)} fewer: {ranges(expected - got)}")
print("\\s:", ranges(matched(r"\s")))
marks = marks_out_of_order()
print(f"NFC leaves {len(marks)} marks where they are: {ranges(marks)}")
