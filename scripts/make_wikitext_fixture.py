#!/usr/bin/env python3
"""Writes tests/evaluate/fixtures/wikitext.json: texts and what PyPI lm-eval's wikitext task makes of them.

    python scripts/make_wikitext_fixture.py        (needs lm-eval 0.4)
"""

import json
import pathlib
import random
import re

from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "evaluate" / "fixtures" / "wikitext.json"
PIECES = [
    "word", "Valkyria", " ", "  ", "\n", " \n ", "s '", " 's", " @-@ ", " @,@ ", " @.@ ", " : ", " ; ", " . ", " ! ", " ? ",
    " , ", "(", ")", " ( ", " ) ", "[", " ]", "{ ", "}", '"', ' " ', "'", " ' ", "= = = =", "= = =", "= =", " \u00b0 ",
    " N ", "/' 5/", "/' x/", "\u00a0", "\u2009", "\t", "\u65e5\u672c", "caf\u00e9", "1", " = Title = \n",
]


def main():
    random.seed(0)
    cases = []
    for _ in range(300):
        page = "".join(random.choice(PIECES) for _ in range(random.randint(1, 40)))
        words, size = process_results({"page": page}, (0.0,))["word_perplexity"][1], len(page.encode())
        assert words == len(re.split(r"\s+", page))
        cases.append({"page": page, "plain": wikitext_detokenizer({"page": page}), "words": words, "bytes": size})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(cases, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
