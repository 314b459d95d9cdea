#!/usr/bin/env python3
"""Reads a run's training metrics with TensorBoard's own reader and compares them with metrics.jsonl.

    python scripts/check_tensorboard.py runs/NAME/training

Needs tensorboard. Exits 1 where a value differs by more than float32 rounds.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    folder = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    read = {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    written = {(tag, line["step"]): value for line in lines for tag, value in line.items() if tag not in ("step", "wall_time")}
    wrong = [key for key in written if key not in read or abs(read[key] - written[key]) > 1e-6 * abs(written[key])]
    print(f"{len(written)} values written, {len(read)} read, {len(wrong)} differ")
    sys.exit(1 if wrong or len(read) != len(written) else 0)


if __name__ == "__main__":
    main()
