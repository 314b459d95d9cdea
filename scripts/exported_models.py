"""What the scripts share that hold exported models against stock programs: pruned SmolLM2-135M, and their arguments."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ESPALIER = ROOT / "build/release/espalier"
MODEL = ROOT / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = ROOT / "eval/data/wikitext-2/wiki.test.raw"

# Quality matters little here, but a model that still predicts something is a better judge than one that does not. The
# refit leaves biases behind, which the files must carry.
RECIPE = f"""name: model
runs: {{runs}}
model: {{{{path: {MODEL}, dtype: float32}}}}
analyze: {{{{tokens: 1024}}}}
protect: [spike_producers, super_weights]
data:
  calibration: {{{{path: {ROOT}/eval/data/c4/c4-sample.jsonl, last_document: 200, sequences: 16, length: 512}}}}
prune:
  units: [kv_group, ffn_channel]
  score: {{{{method: wifv}}}}
  budget: {{{{of: block_parameters, remove: 0.2}}}}
  allocate: {{{{method: global}}}}
  compensate: {{{{method: least_squares, ridge: 0.01}}}}
evaluate:
  - {{{{suite: perplexity, preset: llama.cpp, data: {TEXT}, windows: 1}}}}
"""


def parser_of(description: str):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    return parser


def work_folder(given):
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    work = (given or Path(tempfile.mkdtemp(prefix="espalier-export-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    return work


def espalier(*arguments):
    done = subprocess.run([ESPALIER, *map(str, arguments), "-q"], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"espalier {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def pruned(share: float, work: Path, rounding: int = 1) -> Path:
    """The folder of SmolLM2-135M without this share of the blocks, FFN widths multiples of `rounding`. One calibration
    serves all."""
    folder = work / f"share-{share}" if rounding == 1 else work / f"share-{share}-{rounding}"
    if not folder.exists():
        recipe = work / "model.yaml"
        recipe.write_text(RECIPE.format(runs=work))
        espalier("run", recipe, "--until", "prune", f"prune.budget.remove={share}", f"prune.allocate.round_ffn_to={rounding}")
        shutil.copytree(work / "model" / "pruned", folder)
    return folder
