"""How long a command takes to open, against `import torch`: medians of alternating child processes.

    python benchmarks/startup.py [--runs 7]

Goal: `import dycon_engine` and `--help` under 0.3x the time of `import torch`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ("import torch", [sys.executable, "-c", "import torch"])
OURS = (
    ("import dycon_engine", [sys.executable, "-c", "import dycon_engine"]),
    ("dycon --help", [sys.executable, "-m", "dycon_engine", "--help"]),
    ("train --help", [sys.executable, "-m", "dycon_engine.train", "--help"]),
    ("predict --help", [sys.executable, "-m", "dycon_engine.predict", "--help"]),
    (
        "panel imports",
        [sys.executable, "-c", "import dycon_engine.config, dycon_engine.jobs.client"],
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    commands = (REFERENCE, *OURS)
    seconds: dict[str, list[float]] = {name: [] for name, _ in commands}
    for _ in range(runs + 1):
        for name, argv in commands:
            start = time.perf_counter()
            subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    reference = statistics.median(seconds[REFERENCE[0]][1:])
    print(f"{'command':<24}{'median of ' + str(runs):>14}{'ratio to import torch':>24}")
    for name, _ in commands:
        median = statistics.median(seconds[name][1:])
        print(f"{name:<24}{median:>12.2f} s{median / reference:>23.2f}x")


if __name__ == "__main__":
    main()
