"""Small tokenizers of SentencePiece's kind for make_tokenizer_fixture.py, and the sentencepiece library as their oracle.

TOKENIZERS are tokenizer.json files with the settings of Llama-2 (Prepend and Replace), of newer Mistral (Metaspace,
prepend_scheme first, no split) and of Gemma 3 (Replace, Split that never splits, no prefix), and one, "metaspace", with what
these leave out. MODELS are sentencepiece models with the training settings of Llama-2 and Gemma, written as GGUF metadata as
llama.cpp's converter does: spaces of user-defined tokens are spaces, those of other tokens U+2581.

Oracle builds a sentencepiece model from GGUF metadata and encodes what lies between the special tokens, each part by itself,
which is what llama.cpp does (llama_vocab::impl::tokenize, LLAMA_VOCAB_TYPE_SPM).
"""
import io
import json
import re
from types import SimpleNamespace

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # the same numbers in GGUF and sentencepiece

replaces = lambda: normalizers.Replace(" ", SPACE)
joins = lambda: [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
strips = lambda: decoders.Sequence(joins() + [decoders.Strip(" ", 1, 0)])
metaspace = pre_tokenizers.Metaspace

LLAMA = ["<unk>", "<s>", "</s>"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>"]
TOKENIZERS = {
    "llama-2": dict(specials=LLAMA, bos="<s>", normalizer=lambda: normalizers.Sequence([normalizers.Prepend(SPACE), replaces()]),
                    decoder=strips),
    "mistral": dict(specials=LLAMA, bos="<s>", pre=lambda: metaspace(prepend_scheme="first", split=False), decoder=strips),
    "gemma-3": dict(specials=GEMMA, bos="<bos>", normalizer=replaces, pre=lambda: pre_tokenizers.Split(" ", "merged_with_previous"),
                    decoder=lambda: decoders.Sequence(joins()), added=["\n\n", "\n\n\n", SPACE * 2, SPACE * 3, "<start_of_turn>"]),
    # Bytes without tokens, so that there are unknown characters, which are not fused; merges left out, so that only
    # ignore_merges finds some tokens.
    "metaspace": dict(specials=LLAMA, pre=lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(False), metaspace()]),
                      decoder=lambda: decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]),
                      missing=BYTES[0xE4:0xEA], fuse_unk=False, ignore_merges=True),
}

COMMON = dict(model_type="bpe", byte_fallback=True, split_digits=True, normalization_rule_name="identity",
              remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=0.998, vocab_size=640,
              num_threads=1, minloglevel=2)
MODELS = {
    "llama-2-gguf": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1, add_dummy_prefix=True),
    "gemma-3-gguf": dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece="<bos>", eos_piece="<eos>", add_dummy_prefix=False,
                         control_symbols=["<start_of_turn>", "<end_of_turn>"],
                         user_defined_symbols=["\n", "\n\n", "\n\n\n", SPACE * 2, SPACE * 3, SPACE * 4, "<table>", "[multimodal]"]),
}

PARTS = ["<s>", "</s>", "<unk>", "<bos>", "<start_of_turn>", "<table>", SPACE, SPACE * 3, "     ", "\n\n\n\n", "\t\t", "<0x0A>", "<0x",
         "aaaaaaaa", "-----", "======", "ababab", "\u2019", "\u201c", "\u2013"]
TRICKY = ["", " ", "  ", "   ", " a", "a ", "  two  spaces  ", "\ttab\tand\t\ttabs", "\n", "\nline\n\nlines\r\n", " \n \n", "😀", "a😀b 👩‍💻!",
          "日本語と中文", "Привет, мир", "ไทย", "שלום", "é\u0301", "\u00a0", "\u3000", "\x00", "<s>", "<s>Hello</s>", "a<s>b <s> c",
          "<s> a", "<bos><start_of_turn>user\nHi<end_of_turn>\n", SPACE, "a" + SPACE + "b", SPACE + " " + SPACE, "<0x0A><0x41>",
          "The quick brown fox, 1234567890.", "a" * 100, " " * 100, "word" * 30, "\U0010ffff\ufffe"]


def train(name, corpus, added):
    """A tokenizer.json, trained on `corpus` (lines) with one learned vocabulary for all of them."""
    family = TOKENIZERS[name]
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = metaspace()
    learned.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, limit_alphabet=90, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    kept = [token for token in BYTES if token not in family.get("missing", [])]
    tokens = family["specials"] + kept + sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(m) for m in model["merges"]]
    if family.get("ignore_merges"):
        merges = [m for i, m in enumerate(merges) if i % 5 != 4]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>", byte_fallback=True,
                                     fuse_unk=family.get("fuse_unk", True), ignore_merges=family.get("ignore_merges", False)))
    for key, part in (("normalizer", "normalizer"), ("pre_tokenizer", "pre"), ("decoder", "decoder")):
        if part in family:
            setattr(tokenizer, key, family[part]())
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in family["specials"]])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in family.get("added", [])])
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if bos := family.get("bos"):
        tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B",
                                                                 [(bos, tokenizer.token_to_id(bos))])
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n"


def train_model(name, corpus):
    """A serialized sentencepiece model."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=out, **COMMON, **MODELS[name])
    return out.getvalue()


def write_gguf(path, serialized):
    """The model's metadata as llama.cpp's converter writes it (conversion, _create_vocab_sentencepiece)."""
    model = sentencepiece_model_pb2.ModelProto.FromString(serialized)
    spec = model.trainer_spec
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece.replace(SPACE, " ") if p.type == USER_DEFINED else p.piece for p in model.pieces])
    writer.add_token_scores([p.score for p in model.pieces])
    writer.add_token_types([p.type for p in model.pieces])
    writer.add_bos_token_id(spec.bos_id)
    writer.add_eos_token_id(spec.eos_id)
    writer.add_unk_token_id(spec.unk_id)
    if spec.pad_id >= 0:
        writer.add_pad_token_id(spec.pad_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


class Oracle:
    """Encodes as the sentencepiece library does, from GGUF metadata; stands in for a tokenizers.Tokenizer."""

    def __init__(self, fields):
        value = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
        model = sentencepiece_model_pb2.ModelProto()
        model.trainer_spec.model_type = 2
        model.trainer_spec.byte_fallback = True
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.add_dummy_prefix = value("add_space_prefix") is not False
        model.normalizer_spec.remove_extra_whitespaces = False
        self.special = {}
        unknown = value("unknown_token_id") or 0
        for id, (token, score, kind) in enumerate(zip(value("tokens"), value("scores"), value("token_type"))):
            if kind in (UNKNOWN, CONTROL, USER_DEFINED):
                self.special[token] = id
            kind = CONTROL if kind == UNKNOWN else kind  # the library wants exactly one
            model.pieces.add(piece=token, score=score, type=UNKNOWN if id == unknown else kind)
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        self.pattern = re.compile("|".join(map(re.escape, sorted(self.special, key=len, reverse=True))))

    def check(self, serialized, texts):
        """The model that the file was made of gives the same ids, where a text has no marks and no special tokens."""
        processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
        plain = [t for t in texts if SPACE not in t and not any(token in t for token in self.special if token.strip())]
        assert len(plain) > 50 and all(processor.encode(t) == self.encode(t).ids for t in plain)

    def encode(self, text, add_special_tokens=False):
        ids, at = [], 0
        for match in self.pattern.finditer(text):
            ids += self.processor.encode(text[at:match.start()]) + [self.special[match.group()]]
            at = match.end()
        return SimpleNamespace(ids=ids + self.processor.encode(text[at:]))
