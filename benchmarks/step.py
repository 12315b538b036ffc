"""A whole DyCON training step against one in the manner of the released code, alternating.

    python benchmarks/step.py [--steps 7] [--patch 48 64 64] [--compile] [--bf16] [--threads 1]

Counted: student and teacher forward, every loss, backward, clipping, optimizer, EMA, and on the
other side the HD95 it computes in every step. Not counted: loading. Both sides have the same
architecture, weights, patches (2 labeled + 2 unlabeled) and settings. CPU seconds of the process;
on CUDA wall seconds after a synchronisation. Ours is bf16 on CUDA, on the CPU with --bf16 (where
the mathematics are no longer equal); theirs is float32. Peak memory above what the process held
before its first step. Each side is a process of its own; they step in turn. Goals: CPU >= 1.6x
(V-Net), >= 1.3x (3D U-Net), with --compile >= 2x and >= 1.6x, CUDA >= 3x; memory <= 0.6x.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.official_step import OfficialStep
from benchmarks.peak import peak_mib, reset_peak
from dycon_engine.config import NetworkConfig
from dycon_engine.data.batch import Batch
from dycon_engine.methods import build_method
from dycon_engine.methods.dycon import DyconConfig
from dycon_engine.networks.base import Network
from dycon_engine.networks.build import build_network
from dycon_engine.schedules import Progress
from dycon_engine.training.allocator import allocator_environment

FILTERS = (16, 32, 64, 128, 256)
NETWORKS = {
    "vnet": NetworkConfig(
        name="vnet", filters=FILTERS, norm="batch", upsampling="transposed", dropout=0.0
    ),
    "unet3d": NetworkConfig(
        name="unet3d", filters=FILTERS, norm="instance", upsampling="trilinear", dropout=0.0
    ),
}
SETTINGS = {  # the released ones, equal on both sides
    "strong_intensity": 0.0,
    "teacher_noise": 0.1,
    "rampup": 0.0,
    "beta_max": 0.5,
    "beta_min": 0.5,
    "entropy_coefficient": None,
    "detach_weights": False,
    "hidden_features": 512,
    "embedding_features": 256,
}
GOALS = {"vnet": 1.6, "unet3d": 1.3}
FOOTER = """
official: contiguous tensors, PyTorch's layers, a softmax per loss, N x N FeCL, teacher on all
patches with batch statistics, unfused SGD, EMA in a loop, HD95 of the labeled patches every step
(by medpy; 'without HD95' leaves its seconds out of the ratio), the system's allocator as it is.
ours: the method and networks of dycon_engine, fused SGD, its allocator settings; no HD95."""
Step = Callable[[Batch], float]


def make_network(name: str) -> Network:
    torch.manual_seed(0)
    return build_network(NETWORKS[name], channels=1, classes=2)


def our_step(name: str, options: argparse.Namespace) -> Step:
    method = build_method("dycon", SETTINGS, lambda: make_network(name)).to(options.device)
    if options.compile:
        for module in method.modules():
            if isinstance(module, Network):
                module.compile()
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    done = 0

    def step(batch: Batch) -> float:
        nonlocal done
        progress = Progress(done, 1000)
        half = options.bf16 or batch.image.is_cuda
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=half):
            terms = method(batch, progress)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        method.after_step(progress)
        done += 1
        return float(loss.detach())

    return step


def official_step(name: str, options: argparse.Namespace) -> Step:
    config = DyconConfig(**SETTINGS)
    network = make_network(name)
    step = OfficialStep.build(network, config, teacher_graph=options.teacher_graph)
    step.student.to(options.device)
    step.teacher.to(options.device)
    return step


SIDES = {"official": official_step, "ours": our_step}


def make_batch(options: argparse.Namespace) -> Batch:
    """Smooth blobs on noise, so that HD95 and the cell labels have something to do."""
    torch.manual_seed(1)
    coarse = torch.randn(4, 1, 4, 4, 4)
    blobs = nn.functional.interpolate(coarse, size=tuple(options.patch), mode="trilinear")
    label = (blobs[:, 0] > 0.5).long()
    image = label[:, None].float() * 2 + torch.randn(4, 1, *options.patch) * 0.3
    return Batch(image[:2], label[:2], image[2:]).to(torch.device(options.device))


def seconds_of(step: Step, batch: Batch) -> float:
    if batch.image.is_cuda:
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(batch)
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    step(batch)
    return time.process_time() - start


def serve(name: str, side: str, options: argparse.Namespace) -> None:
    """Child process: do one step per line of input and print its seconds and the peak so far."""
    step, batch = SIDES[side](name, options), make_batch(options)
    on_cuda = batch.image.is_cuda
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    reset_peak()
    before = torch.cuda.memory_allocated() / 2**20 if on_cuda else peak_mib()
    for _ in sys.stdin:
        seconds = seconds_of(step, batch)
        after = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else peak_mib()
        print(
            json.dumps([seconds, getattr(step, "watch_seconds", 0.0), after - before]), flush=True
        )


class Side:
    """One side in a process of its own, with its own allocator and peak."""

    def __init__(self, name: str, side: str) -> None:
        command = [sys.executable, __file__, *sys.argv[1:], "--serve", name, side]
        added = allocator_environment() if side == "ours" else {}  # as `dycon train` does
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | added,
        )

    def step(self) -> tuple[float, float, float]:
        """Return the seconds of a step, those of its HD95, and the peak in MiB."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        seconds, watch, peak = json.loads(self.process.stdout.readline())
        return seconds, watch, peak

    def end(self) -> None:
        """Let the process end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, options: argparse.Namespace) -> None:
    sides = {side: Side(name, side) for side in SIDES}
    for side in sides.values():
        for _ in range(options.warmup):
            side.step()  # warm up, compile
    seen = [[side.step() for side in sides.values()] for _ in range(options.steps)]
    for side in sides.values():
        side.end()
    official, ours = zip(*seen, strict=True)
    ratio = statistics.median(a[0] / b[0] for a, b in seen)
    unwatched = statistics.median((a[0] - a[1]) / b[0] for a, b in seen)
    peaks = official[-1][2], ours[-1][2]
    print(
        f"{name:<8}{statistics.median(a[0] for a in official):>12.2f} s"
        f"{statistics.median(b[0] for b in ours):>10.2f} s{ratio:>10.2f}x{unwatched:>14.2f}x"
        f"{peaks[0]:>12.0f} MiB{peaks[1]:>8.0f} MiB{peaks[1] / peaks[0]:>9.2f}x",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--patch", type=int, nargs=3, default=[48, 64, 64], help="z y x")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile our networks")
    parser.add_argument("--bf16", action="store_true", help="ours in bf16 on the CPU, too")
    parser.add_argument(
        "--teacher-graph", action="store_true", help="the other side records the teacher's graph"
    )
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        serve(*options.serve, options)
        return
    size = "x".join(map(str, options.patch))
    print(f"DyCON step, 2 + 2 patches of {size}, {options.device}, median of {options.steps} pairs")
    print(
        f"{'':<8}{'official':>14}{'ours':>12}{'faster':>11}{'without HD95':>15}"
        f"{'peak':>16}{'':>12}{'memory':>10}"
    )
    for name in options.networks:
        compare(name, options)
    print(FOOTER)


if __name__ == "__main__":
    main()
