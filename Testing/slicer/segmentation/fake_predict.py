"""A stand-in for `predict` that behaves in one chosen way; run as `dycon_engine.faked`.

It takes the same command line and uses the engine's own reporter, readers and writers, but no
network: what is brighter than `BRIGHT` is the structure, and uncertainty grows with intensity.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import numpy as np

from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DyconError
from dycon_engine.jobs.events import CaseDone
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.predict import parser
from Testing.slicer.segmentation.contents import report_text

BRIGHT = 100
VALUE = 3  # of the tiny package's structure


def start(way: str, folder: Path, **environment: str):
    """Return what starts this file in place of the engine; `folder` is an empty one."""
    from DyCONLib.runner import Job

    folder.mkdir(exist_ok=True)
    main = "from Testing.slicer.segmentation.fake_predict import main\n\nmain()\n"
    (folder / "faked.py").write_text(main)
    code = f"""
        import sys
        sys.path.append({str(Path(__file__).resolve().parents[3])!r})
        import dycon_engine
        dycon_engine.__path__.append({str(folder)!r})
    """
    (folder / "sitecustomize.py").write_text(textwrap.dedent(code))
    inherited = os.environ | {"PYTHONPATH": str(folder), "FAKE_WAY": way} | environment
    return lambda arguments, run_dir: Job.start(
        "faked", arguments, run_dir=run_dir, environment=inherited
    )


def segmented(options, reporter: Reporter, *, say: bool = True) -> None:
    """Write everything that was asked for one scan."""
    if say:
        reporter.stage("segmenting", 4)
    image = read_image(options.input[0])
    array, geometry = image.array[0], image.geometry
    if options.uncertainty:
        unsure = np.clip(array / array.max(), 0, 1).astype(np.float32)
        write_scalar(options.uncertainty, unsure, geometry, overwrite=False)
    if options.probabilities:
        likely = np.stack([1 - unsure, unsure])
        write_scalar(options.probabilities, likely, geometry, overwrite=False)
    said = {name.lower(): json.loads(os.environ.get(name, "[]")) for name in ("REGIONS", "FLAGS")}
    if "VOLUMES" in os.environ:
        said["volumes"] = json.loads(os.environ["VOLUMES"])
    options.report.write_text(report_text(**said))
    if options.report_html:
        options.report_html.write_text("<html>the page</html>")
    labels = np.where(array > BRIGHT, VALUE, 0).astype(np.uint8)
    write_label(options.output, labels, geometry, overwrite=False)
    if say:
        reporter.advance(4)
        reporter.emit(CaseDone(case=options.output.stem))


def good(options, reporter):
    segmented(options, reporter)


def fallback(options, reporter):
    """Compute elsewhere than asked, and say so."""
    reporter.warn("device", "CUDA does not work here (no kernel image); the CPU is used")
    reporter.warn("spacing", "this is about the scan")
    segmented(options, reporter)


def many(options, reporter):
    """Segment a list; cases of FAIL fail, at those of KILL the process is killed."""
    from dycon_engine.inference.inputs import Targets, find_inputs, targets
    from dycon_engine.inference.progress import CaseProgress

    wrong, deadly = (os.environ.get(name, "").split(",") for name in ("FAIL", "KILL"))
    asked = Targets(options.output, options.uncertainty, None, None, options.report)
    cases = find_inputs(options.input, 1)
    failed = []
    for number, case in enumerate(cases, start=1):
        where = targets(case, asked, many=True)
        progress = CaseProgress(reporter, number, len(cases))
        progress.begin("segmenting", 1)
        progress.done()
        reporter.check_cancelled()
        if case.name in deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if case.name in wrong:
            failed.append(case.name)
            error = f"'{case.images[0]}': is cut short; copy it again"
            reporter.emit(CaseDone(case=case.name, error=error))
            continue
        for path in where.all():
            path.parent.mkdir(parents=True, exist_ok=True)
        one = argparse.Namespace(input=case.images, output=where.labels, probabilities=None)
        one.uncertainty, one.report, one.report_html = where.uncertainty, where.report, None
        segmented(one, reporter, say=False)
        named = {name: path.name for name, path in where._asdict().items() if path}
        reporter.emit(CaseDone(case=case.name, outputs=named))
        while os.environ.get("GATE") and not Path(os.environ["GATE"]).exists():
            reporter.check_cancelled()
            time.sleep(0.01)
    if failed:
        raise DyconError(f"{len(failed)} of {len(cases)} cases failed: {', '.join(failed)}")


def gated(options, reporter):
    """Be slow: wait until the test has looked around."""
    reporter.stage("segmenting", 4)
    while not Path(os.environ["GATE"]).exists():
        reporter.check_cancelled()
        time.sleep(0.01)
    segmented(options, reporter)


def late(options, reporter):
    """Have everything written when the person cancels, as bad luck has it."""
    segmented(options, reporter)
    while not reporter.cancelled():
        time.sleep(0.01)


def deaf(options, reporter):
    """Hear neither the cancel file nor a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.stage("segmenting", 4)
    time.sleep(600)


def killed(options, reporter):
    reporter.stage("segmenting", 4)
    os.kill(os.getpid(), signal.SIGKILL)


def failed(options, reporter):
    raise DyconError(f"'{options.input[0]}': needs 9 GiB, 2 GiB are free; close other programs")


def silent(options, reporter):
    """End with exit code 1 and no word."""
    os._exit(1)


def garbage(options, reporter):
    for path in (options.output, options.uncertainty, options.report):
        path.write_bytes(b"\x00garbage" * 1000)


def unwritten(options, reporter):
    """Say it is done, having written nothing."""


def other_grid(options, reporter):
    segmented(options, reporter)
    geometry = read_image(options.input[0]).geometry
    moved = geometry.affine.copy()
    moved[:3, 3] += 1.0
    options.output.unlink()
    labels = np.ones(geometry.size_zyx, np.uint8)
    write_label(options.output, labels, Geometry(geometry.size_zyx, moved), overwrite=True)


def other_values(options, reporter):
    segmented(options, reporter)
    geometry = read_image(options.input[0]).geometry
    write_label(options.output, np.full(geometry.size_zyx, 77, np.uint8), geometry, overwrite=True)


def no_map(options, reporter):
    segmented(options, reporter)
    options.uncertainty.unlink()


def no_report(options, reporter):
    segmented(options, reporter)
    options.report.write_text('{"schema_version": 2}')


WAYS = {
    way.__name__: way
    for way in (
        deaf,
        failed,
        fallback,
        garbage,
        gated,
        good,
        killed,
        late,
        many,
        no_map,
        no_report,
        other_grid,
        other_values,
        silent,
        unwritten,
    )
}


def main() -> None:
    """Do as FAKE_WAY says."""
    options = parser().parse_args()

    def job(reporter: Reporter) -> dict[str, object]:
        WAYS[os.environ["FAKE_WAY"]](options, reporter)
        return {"cases": 1}

    sys.exit(run_job("predict", job, run_dir=options.run_dir))
