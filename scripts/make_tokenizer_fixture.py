#!/usr/bin/env python3
"""Expected ids of tokenizers, from PyPI `tokenizers` and `sentencepiece`, for tests/io/tokenizer_conformance_test.cpp.

  make_tokenizer_fixture.py small --corpus TEXT --gguf MODEL
      rewrites tests/io/fixtures/tokenizer/: one small tokenizer for each family, trained on TEXT, random strings, and the
      ids that each tokenizer and the one in MODEL (SmolLM2) give them. What is saved.json there is not made here: it is
      what Tokenizer::Save writes, and `saved` checks it.
  make_tokenizer_fixture.py full [--gguf MODEL]... [--tokenizer FOLDER]... [--strings 20000] FILE...
      writes build/tokenizer-conformance/cases.jsonl: the ids of every FILE as one text, of every document of a .jsonl, and
      of random strings, for every MODEL and FOLDER and for the small tokenizers. The test compares them when the file is
      there.
  make_tokenizer_fixture.py saved FOLDER --gguf MODEL
      checks that `tokenizers` and `transformers` load what Tokenizer::Save wrote to FOLDER and give the ids of MODEL.

MODEL: a SmolLM2 file, or one whose tokenizer.ggml.model is "llama", where the sentencepiece library says what is right.
Needs: tokenizers, sentencepiece, protobuf, gguf; saved also transformers.
"""
import argparse
import json
import pathlib
import random
import sys

import gguf
import sentencepiece_tokenizers as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/io/fixtures/tokenizer"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
SEED = 20240607


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


FAMILIES = {
    "gpt-2": dict(pre=lambda: byte_level(True)),
    "smollm2": dict(pre=lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(True)])),
    "llama-3": dict(pre=lambda: pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)])),
    "qwen2": dict(pre=lambda: pre_tokenizers.Sequence([split(QWEN2), byte_level(False)]), nfc=True),
}

# Every flag once; the decomposed one tells whether contents are normalized.
ADDED = [
    AddedToken("<|endoftext|>", special=True, normalized=False),
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("<|end|><|end|>", special=False, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("[R]", special=False, normalized=False, rstrip=True),
    AddedToken("cat", special=False, normalized=True, single_word=True),
    AddedToken("Cafe\u0301 au lait", special=False, normalized=True),
    AddedToken("\u00fcber", special=False, normalized=False, lstrip=True, rstrip=True, single_word=True),
]

PARTS = [a.content for a in ADDED] + [
    " ", " ", " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u180e", "\u2003", "\u3000", "\u200b", "\x85",
    "'s", "'S", "'\u017f", "'ll", "'LL", "'re", "n't", "I'm", "'d", "\u2019s", "the", " the", " and", " wiki", "pedia",
    "Hello", "1", "23", "456", "78901", "3.14", "\u0663\u0664", "\u2167", "\u00bd", "\u216b", "e\u0301", "\u00e9", "a\u0323\u0307",
    "\u1100\u1161\u11a8", "\uac01", "\u212b", "\u0344", "\u0958", "\ufb01", "\U0001f469\u200d\U0001f4bb", "\U0001f1e9\U0001f1ea", "\U0001f600",
    "\u4e2d\u6587", "\u3053\u3093", "\u0440\u0443\u0441", "\u05e9\u05dc", "\u0639\u0631\u0628", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\x00", "\x7f", "\ufeff",
    "\ufffd", "\U0002ebf0", "\U00010d4a", "\U00010d40", "\U0001e4f0", "\ua7cb", "\u1c89", "\U00011de0", "\U00016ff4",
    "\u0301\u1dfa", "\u08ca\u0316", "\U00011935\U00011930", "\U000105d2\u0307", "!", "...", "---", "(", "#", "$5", "%", "_", "__init__", "<|", "|>", "<|endof", "https://a.b/c?d=e&f", "=\n", " =\n",
]


def random_string(rng, count, parts=PARTS):
    out = []
    for _ in range(rng.randint(1, count)):
        kind = rng.random()
        if kind < 0.7:
            out.append(rng.choice(parts))
        elif kind < 0.85:
            out.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyz ETAOIN") for _ in range(rng.randint(1, 8))))
        elif kind < 0.95:
            out.append(chr(rng.choice([rng.randint(0x80, 0x24ff), rng.randint(0x2500, 0xd7ff), rng.randint(0xe000, 0xffff)])))
        else:
            out.append(chr(rng.randint(0x10000, 0x10ffff)))
    return "".join(out)


def train(name, corpus):
    family = FAMILIES[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = family["pre"]()
    tokenizer.decoder = decoders.ByteLevel()
    if family.get("nfc"):
        tokenizer.normalizer = normalizers.NFC()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if name == "smollm2":  # as in the real one, rare bytes have no token: they are dropped
        alphabet = [c for c in alphabet if c not in "\u00f3\u00f4\u00ef"]
    text = [line for line in corpus if name != "smollm2" or line.isascii()]
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False, limit_alphabet=256)
    tokenizer.train_from_iterator(text, trainer)
    saved = json.loads(tokenizer.to_str())
    if name == "llama-3":  # tokens that no merge makes: only ignore_merges finds them
        saved["model"]["ignore_merges"] = True
        saved["model"]["merges"] = [m for i, m in enumerate(saved["model"]["merges"]) if i % 5 != 4]
    if name == "gpt-2":  # both spellings of merges are in use
        saved["model"]["merges"] = [" ".join(m) for m in saved["model"]["merges"]]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    for token in ADDED:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    saved["added_tokens"] = json.loads(tokenizer.to_str())["added_tokens"]
    return json.dumps(saved, ensure_ascii=False, separators=(",", ":")) + "\n"


def from_gguf(path):
    """The tokenizer in the metadata of a GGUF file, built anew."""
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields["tokenizer.ggml." + key].contents()
    if value("model") == "llama":
        return spm.Oracle(fields)
    if (value("model"), value("pre")) != ("gpt2", "smollm"):
        sys.exit(f"{path}: expected a SmolLM2 tokenizer, found {value('model')}/{value('pre')}")
    tokens, types = value("tokens"), value("token_type")
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in value("merges")]))
    tokenizer.pre_tokenizer = FAMILIES["smollm2"]["pre"]()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k == 4])
    return tokenizer


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def small_sentencepiece(corpus, write):
    rng = random.Random(SEED + 3)
    texts = spm.TRICKY + [random_string(rng, 12, PARTS + spm.PARTS) for _ in range(120)]
    write(FIXTURES / "sentencepiece-texts.json", texts)
    for name in spm.TOKENIZERS:
        (FIXTURES / name).mkdir(exist_ok=True)
        (FIXTURES / name / "tokenizer.json").write_text(spm.train(name, corpus, ADDED), encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(FIXTURES / name / "tokenizer.json"))
        rows = [ids_of(tokenizer, t) for t in texts]
        write(FIXTURES / name / "ids.json", rows)
        # Also ids in no sensible order: halves of characters, prefixes in the middle.
        rows += [[rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(0, 9))] for _ in range(60)]
        write(FIXTURES / name / "decoded.json", [[ids, tokenizer.decode(ids, skip_special_tokens=False)] for ids in rows])
    for name in spm.MODELS:
        (FIXTURES / name).mkdir(exist_ok=True)
        model = spm.train_model(name, corpus)
        spm.write_gguf(FIXTURES / name / "model.gguf", model)
        oracle = from_gguf(FIXTURES / name / "model.gguf")
        oracle.check(model, texts)
        write(FIXTURES / name / "ids.json", [ids_of(oracle, t) for t in texts])


def small(args):
    corpus = [line for line in pathlib.Path(args.corpus).read_text(encoding="utf-8").split("\n") if line.strip()][:4000]
    rng = random.Random(SEED)
    texts = ["", " ", "Hello world", "a" * 70 + " " * 70] + [random_string(rng, 12) for _ in range(150)]
    FIXTURES.mkdir(parents=True, exist_ok=True)
    write = lambda path, value: path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")
    write(FIXTURES / "texts.json", texts)
    for name in FAMILIES:
        (FIXTURES / name).mkdir(exist_ok=True)
        (FIXTURES / name / "tokenizer.json").write_text(train(name, corpus), encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(FIXTURES / name / "tokenizer.json"))
        write(FIXTURES / name / "ids.json", [ids_of(tokenizer, t) for t in texts])
    tokenizer = from_gguf(args.gguf[0])
    write(FIXTURES / "smollm2-135m.ids.json", [ids_of(tokenizer, t) for t in texts])
    small_sentencepiece(corpus, write)


def full(args):
    tokenizers = {path: from_gguf(path) for path in args.gguf}
    tokenizers |= {path: Tokenizer.from_file(path + "/tokenizer.json") for path in args.tokenizer}
    for name in [*FAMILIES, *spm.TOKENIZERS]:
        path = FIXTURES / name / "tokenizer.json"
        tokenizers[str(path.relative_to(ROOT))] = Tokenizer.from_file(str(path))
    for name in spm.MODELS:
        path = FIXTURES / name / "model.gguf"
        tokenizers[str(path.relative_to(ROOT))] = from_gguf(path)
    texts = []
    for file in map(pathlib.Path, args.files):
        whole = file.read_bytes().decode("utf-8", errors="replace")
        texts += [json.loads(line)["text"] for line in whole.split("\n") if line] if file.suffix == ".jsonl" else [whole]
        if file.suffix == ".jsonl":
            texts.append(" ".join(texts))
    rng = random.Random(SEED + 1)
    texts += [random_string(rng, 30, PARTS + spm.PARTS) for _ in range(args.strings)]
    out = ROOT / "build/tokenizer-conformance/cases.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for path, tokenizer in tokenizers.items():
            for text in texts:
                file.write(json.dumps({"tokenizer": path, "text": text, "ids": ids_of(tokenizer, text)}) + "\n")
    print(f"{out}: {len(texts)} texts, {sum(map(len, texts))} characters, {len(tokenizers)} tokenizers")


def saved(args):
    from transformers import AutoTokenizer

    expected = from_gguf(args.gguf[0])
    plain = Tokenizer.from_file(str(pathlib.Path(args.folder) / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(args.folder)
    rng = random.Random(SEED + 2)
    for _ in range(args.strings):
        text = random_string(rng, 30, PARTS + spm.PARTS)
        want = ids_of(expected, text)
        for name, got in (("tokenizers", ids_of(plain, text)), ("transformers", auto(text, add_special_tokens=False)["input_ids"])):
            if got != want:
                sys.exit(f"{name}: {text!r}: {got}, expected {want}")
    print("equal on", args.strings, "strings;", "bos", auto.bos_token, "eos", auto.eos_token, "unk", auto.unk_token, "pad",
          auto.pad_token, "size", len(auto), "with special tokens", auto("Hi")["input_ids"])
    if auto.chat_template:
        print(auto.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    one = modes.add_parser("small")
    one.add_argument("--corpus", required=True)
    two = modes.add_parser("full")
    two.add_argument("files", nargs="*")
    two.add_argument("--tokenizer", action="append", default=[])
    three = modes.add_parser("saved")
    three.add_argument("folder")
    for mode in (one, two, three):
        mode.add_argument("--gguf", required=mode is not two, action="append", default=[])
        mode.add_argument("--strings", type=int, default=20000)
    args = parser.parse_args()
    {"small": small, "full": full, "saved": saved}[args.mode](args)


if __name__ == "__main__":
    main()
