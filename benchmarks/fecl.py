"""FeCL in chunks against whole N x N matrices: CPU time, peak memory, and growth with N.

    python benchmarks/fecl.py [--cells 1960] [--runs 5] [--chunk 256]

Forward and backward on one thread, embeddings of 256 features, two classes, K = 5 teacher
negatives, focal and entropy weights, no gradient through the weights on our side unless said.
`whole matrices`: our formula, every N x N matrix in memory; values and gradients of it and of the
chunks are compared first. `released steps`: what the released code computes, typos mended, all
cells valid; its formula is another one, so only its cost compares. Memory is the peak resident size
above that before the first call, one child process each. Goals: >= 2.5x and >= 12x less extra
memory at 1 960 cells (one patch of 112x112x80); extra memory linear in N up to 16 000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.official_step import official_fecl, released_fecl
from benchmarks.peak import peak_mib, reset_peak
from dycon_engine.losses.fecl import FeclSettings, fecl
from dycon_engine.methods.dycon import DyconConfig

FEATURES = 256
REFERENCES = ("released steps", "whole matrices")
GROWTH = (1000, 2000, 4000, 8000, 16000)


def make_cells(count: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    label = (torch.rand(count) < 0.2).long()
    center = torch.randn(2, FEATURES)
    return {
        "embedding": torch.randn(count, FEATURES) + center[label],
        "label": label,
        "valid": torch.rand(count) < 0.9,
        "teacher_embedding": torch.randn(count, FEATURES) + center[label],
        "anchor_weight": 1 + torch.rand(count),
    }


def released(valid: Tensor, **cells: Tensor) -> Tensor:  # noqa: ARG001 - it knows no such cells
    return released_fecl(**cells, settings=DyconConfig())


def sides(chunk: int) -> dict[str, Callable[..., Tensor]]:
    ours = FeclSettings(chunk=chunk)
    attached = FeclSettings(chunk=chunk, detach_weights=False)
    return {
        "released steps": released,
        "whole matrices": lambda **cells: official_fecl(**cells, settings=DyconConfig()),
        "chunks": lambda **cells: fecl(**cells, settings=ours),
        "chunks, weights attached": lambda **cells: fecl(**cells, settings=attached),
    }


def run(loss: Callable[..., Tensor], cells: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    z = cells["embedding"].clone().requires_grad_()
    value = loss(**(cells | {"embedding": z}))
    value.backward()
    assert z.grad is not None
    return value.detach(), z.grad


def measure_memory(side: str, count: int, chunk: int) -> None:
    """Child process: print the extra MiB of one call."""
    cells, loss = make_cells(count), sides(chunk)[side]
    run(loss, make_cells(64))  # the libraries' own first-call memory
    reset_peak()
    before = peak_mib()
    run(loss, cells)
    print(json.dumps(peak_mib() - before))


def memory_mib(side: str, count: int, chunk: int) -> float:
    command = [sys.executable, __file__, "--memory", side, str(count), "--chunk", str(chunk)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(answer.stdout.splitlines()[-1]))


def compare(count: int, runs: int, chunk: int) -> None:
    cells, losses = make_cells(count), sides(chunk)
    value, gradient = run(losses["whole matrices"], cells)
    other, same = run(losses["chunks, weights attached"], cells)
    torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(same, gradient, rtol=1e-3, atol=1e-7)
    seconds: dict[str, list[float]] = {side: [] for side in losses}
    for _ in range(runs):
        for side, loss in losses.items():
            start = time.process_time()
            run(loss, cells)
            seconds[side].append(time.process_time() - start)
    memory = {side: memory_mib(side, count, chunk) for side in losses}
    print(f"FeCL, {count} cells, chunk {chunk}: forward and backward, median of {runs}")
    print(f"{'':<26}{'CPU':>9}{'extra memory':>16}   against released   against whole matrices")
    for side, taken in seconds.items():
        print(f"{side:<26}{statistics.median(taken):>7.3f} s{memory[side]:>12.1f} MiB", end="")
        for other in REFERENCES:
            pairs = zip(seconds[other], taken, strict=True)
            faster = statistics.median(a / b for a, b in pairs)
            less = memory[other] / memory[side]
            print(f"   {faster:.2f}x, {less:.1f}x less", end="")
        print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1960)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        measure_memory(options.memory[0], int(options.memory[1]), options.chunk)
        return
    compare(options.cells, options.runs, options.chunk)
    print(f"\n{'cells':>8}{'extra memory of chunks':>26}{'KiB per cell':>15}")
    for count in GROWTH:
        extra = memory_mib("chunks", count, options.chunk)
        print(f"{count:>8}{extra:>22.1f} MiB{1024 * extra / count:>15.1f}", flush=True)


if __name__ == "__main__":
    main()
