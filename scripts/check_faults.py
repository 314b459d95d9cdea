#!/usr/bin/env python3
"""What a run does when the machine fails it: kills, interrupts, full and read-only disks, no memory, a wrong clock.

    python3 scripts/check_faults.py [--kills 100] [--only kills,interrupts,disk,readonly,two,memory,clock] [--seed 0]
                                    [--command PROGRAM]

Runs the starter recipe, made small, first undisturbed; every disturbed run must end with the same bytes once it is
called again. Needs root for the checks of disks (small file systems in memory are mounted); without, they are left out.
Prints one line a check, ends with 1 when one failed. About 15 minutes on two idle cores.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["data.calibration.sequences=4", "data.calibration.length=256", "analyze.tokens=512", "heal.tokens=2048",
         "heal.length=128", "heal.batch=4", "heal.validation_windows=2", "heal.validations=2", "heal.save_seconds=0",
         "evaluate=[{suite: perplexity, preset: gptq-2048, data: eval/data/wikitext-2/wiki.test.raw, label: wikitext-2, "
         "windows: 1}, {suite: speed, length: 64, repeats: 1}]"]
# Goes back an hour at every question, in all clocks that tell the time of day.
BACKWARDS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static long asked = 0;
int clock_gettime(clockid_t id, struct timespec* t) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, t);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec -= 3600 * ++asked;
  return code;
}
time_t time(time_t* out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
"""


def finish(process):
    out, err = process.communicate()
    return process.returncode, out, err


def fingerprint(run):
    """Hashes of all that does not depend on time: weights, plan, losses."""
    found = {}
    for pattern in ("plan.json", "pruned/*", "healed/*", "calibrate/*.safetensors", "evaluate/*/*.safetensors"):
        for file in sorted(run.glob(pattern)):
            found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def leftovers(folder):
    return [str(path) for path in folder.rglob("*") if ".tmp-" in path.name or ".old-" in path.name]


class Checks:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.folder = Path(tempfile.mkdtemp(prefix="espalier-faults-"))
        self.failed = []

    def start(self, runs, name, prefix=(), environment=None):
        command = [self.options.command, "run", "recipes/smollm2-135m/starter.yaml", f"runs={runs}", f"name={name}", *SMALL]
        return subprocess.Popen([*prefix, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=environment or os.environ)

    def say(self, name, good, text):
        print(f"{'fine' if good else 'FAILED'}  {name}: {text}", flush=True)
        if not good:
            self.failed.append(name)

    def undisturbed(self):
        begin = time.monotonic()
        code, _, err = finish(self.start(self.folder, "whole"))
        if code != 0:
            sys.exit(f"the undisturbed run ended with {code}: {err[-400:]}")
        self.seconds = time.monotonic() - begin
        self.expected = fingerprint(self.folder / "whole")
        stages = json.loads((self.folder / "whole/manifest.json").read_text())["stages"]
        self.longest = max(stage["seconds"] for stage in stages.values())
        print(f"undisturbed: {self.seconds:.0f} s, longest stage {self.longest:.0f} s, {len(self.expected)} files")

    def same(self, run):
        return fingerprint(run) == self.expected and not leftovers(run)

    def complete(self, name, text, before=""):
        """Calls the disturbed run again; all must be as undisturbed."""
        code, _, err = finish(self.start(self.folder, name))
        good = code == 0 and self.same(self.folder / name)
        self.say(text, good, before + ("; then the same bytes" if good else f"; then code {code}, {err[-300:]}"))
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def kills(self):
        killed, rounds, wrong = 0, 0, 0
        where = {}
        while killed < self.options.kills:
            process = self.start(self.folder, "killed")
            try:
                process.wait(self.random.uniform(0, 3 + self.longest))
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            _, _, err = finish(process)
            if process.returncode == 0:
                rounds += 1
                wrong += not self.same(self.folder / "killed")
                shutil.rmtree(self.folder / "killed")
            elif process.returncode != -signal.SIGKILL:
                self.say("kills", False, f"code {process.returncode}: {err[-300:]}")
                return
            else:
                manifest = self.folder / "killed/manifest.json"
                stages = len(json.loads(manifest.read_text())["stages"]) if manifest.exists() else 0
                where[stages] = where.get(stages, 0) + 1
        spread = ", ".join(f"{count} after {stages}" for stages, count in sorted(where.items()))
        self.say("kills", wrong == 0, f"{killed} times SIGKILL ({spread} finished stages), {rounds} whole runs on the way, "
                                      f"{wrong} with other bytes")
        self.complete("killed", "kills, the last run", f"{killed} kills")

    def interrupts(self):
        slowest, codes = 0, set()
        for _ in range(self.options.interrupts):
            process = self.start(self.folder, "interrupted")
            try:
                process.wait(self.random.uniform(0.5, 3 + self.longest))
                finish(process)
                shutil.rmtree(self.folder / "interrupted")
                continue
            except subprocess.TimeoutExpired:
                pass
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            code, _, err = finish(process)
            slowest = max(slowest, time.monotonic() - begin)
            codes.add(code)
            if code != -signal.SIGINT and "the same command goes on from there" not in err:  # before main: says nothing
                self.say("interrupts", False, f"said {err[-200:]}")
        self.say("interrupts", slowest < 2 and codes <= {130, -signal.SIGINT}, f"slowest end {slowest:.2f} s after SIGINT, codes {codes}")
        self.complete("interrupted", "interrupts, the last run", f"{self.options.interrupts} interrupts")

    def mounted(self, size, more=""):
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}{more}", "tmpfs", str(disk)],
                              capture_output=True)
        return disk if done.returncode == 0 else None

    def disk(self):
        """A file system that grows a little after every failure, and more when the same stage fails again."""
        limit, step, finished = 64 << 10, 64 << 10, -1
        disk = self.mounted(limit)
        if disk is None:
            print("left out  disk: no right to mount a file system")
            return
        hit = {}
        while True:
            code, _, err = finish(self.start(disk, "full"))
            if code == 0:
                break
            manifest = disk / "full/manifest.json"
            stages = len(json.loads(manifest.read_text())["stages"]) if manifest.exists() else 0
            lines = [line for line in err.splitlines() if line.startswith("espalier: ")]
            if code != 2 or "No space left on device" not in err or len(lines) != 1 or leftovers(disk):
                self.say("disk", False, f"{limit} bytes: code {code}: {err[-300:]} {leftovers(disk)}")
                break
            hit[stages] = hit.get(stages, 0) + 1
            step = step * 16 if stages == finished else 64 << 10
            finished = stages
            limit += step
            subprocess.run(["mount", "-o", f"remount,size={limit}", str(disk)], check=True)
        same = fingerprint(disk / "full") == self.expected
        subprocess.run(["umount", str(disk)], check=True)
        spread = ", ".join(f"{count} after {stages}" for stages, count in sorted(hit.items()))
        self.say("disk", same and "disk" not in self.failed,
                 f"{sum(hit.values())} times full ({spread} finished stages): one line, nothing left over, then the same bytes")

    def readonly(self):
        disk = self.mounted("64m", ",ro")
        if disk is None:
            print("left out  readonly: no right to mount a file system")
            return
        code, _, err = finish(self.start(disk, "none"))
        subprocess.run(["umount", str(disk)], check=True)
        self.say("readonly", code == 2 and err.count("\n") == 1 and "Read-only" in err, err.strip())

    def two(self):
        first = self.start(self.folder, "two")
        while not (self.folder / "two/manifest.json").exists():
            time.sleep(0.05)
        code, _, err = finish(self.start(self.folder, "two"))
        first_code, _, _ = finish(first)
        good = code == 2 and "another run (process" in err and first_code == 0 and self.same(self.folder / "two")
        self.say("two runs in one folder", good, err.strip().splitlines()[-1])
        shutil.rmtree(self.folder / "two")

    def memory(self):
        told = []
        for megabytes in (300, 700, 1000, 1400, 1800, 2200, 3000):
            code, _, err = finish(self.start(self.folder, "small", prefix=["prlimit", f"--data={megabytes << 20}"]))
            last = err.strip().splitlines()[-1] if err.strip() else ""
            told.append(f"{megabytes} MB: {'passes' if code == 0 else last.removeprefix('espalier: ')}")
            if code == 0:
                break
            if code != 2 or "out of memory" not in last or "lower" not in last:
                self.say("memory", False, f"{megabytes} MB: code {code}: {err[-300:]}")
        self.say("memory", "memory" not in self.failed, "; ".join(told))
        self.complete("small", "memory, the last run", "after every limit")

    def clock(self):
        source, library = self.folder / "back.c", self.folder / "back.so"
        source.write_text(BACKWARDS)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        code, _, err = finish(self.start(self.folder, "clock", environment={**os.environ, "LD_PRELOAD": str(library)}))
        self.say("clock", code == 0 and self.same(self.folder / "clock"),
                 f"an hour back at every question: code {code}{'' if code == 0 else ': ' + err[-300:]}, the same bytes")
        shutil.rmtree(self.folder / "clock", ignore_errors=True)


def main():
    names = ["kills", "interrupts", "disk", "readonly", "two", "memory", "clock"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--interrupts", type=int, default=10)
    parser.add_argument("--only", default=",".join(names))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default=str(ROOT / "build/release/espalier"), help="default: that of the release build")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    checks = Checks(options)
    try:
        checks.undisturbed()
        for name in options.only.split(","):
            if name not in names:
                sys.exit(f"unknown check {name}; there are {', '.join(names)}")
            getattr(checks, name)()
    finally:
        subprocess.run(["umount", "-q", str(checks.folder / "disk")], capture_output=True)
        shutil.rmtree(checks.folder, ignore_errors=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
