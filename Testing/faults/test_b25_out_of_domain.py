"""B25: what the shipped left-atrium model has not seen raises a flag; what it has seen does not.

The CT and the brain MR are painted surrogates on the training scans' own grid, so that neither
voxel size nor field of view gives them away; no real CT or brain scan is at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.left_atrium_changes import OUTSIDE
from benchmarks.left_atrium_measuring import VALIDATION, case_names, read_scan
from benchmarks.left_atrium_surrogates import brain_like, ct_like
from dycon_engine.data.seen import Seen, scan_facts
from dycon_engine.inference.domain import domain_flags, volume_flags
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.inference.volumes import LabelVolume
from dycon_engine.package import load_package

MODELS = Path(__file__).resolve().parents[2] / "DyCONSegmentation" / "Resources" / "Models"
CASES, FOLDS = 10, 8


@pytest.fixture(scope="module")
def predictor():
    return Predictor(load_package(MODELS / "DyCONLeftAtriumLGE.dycon"))


def flags_of(predictor, image):
    """What is said of the scan; it is segmented only where the scan alone says nothing."""
    seen = predictor.package.info.seen
    found = domain_flags(scan_facts(image, predictor.prepare(image)), seen)
    return found or predictor.predict(image, Wishes(uncertainty=None)).flags


@pytest.mark.parametrize("make", [ct_like, brain_like])
def test_a_painted_ct_and_a_painted_brain_raise_a_flag_in_one_sentence(predictor, make):
    for seed in range(CASES):
        found = flags_of(predictor, make(seed))
        assert found, f"{make.__name__} {seed}"
        assert all("training scans" in flag.message for flag in found)
        assert not any("\n" in flag.message for flag in found)


def test_ten_changes_of_ten_scans_are_flagged_nine_times_of_ten(predictor, la2018):
    assert len(OUTSIDE) == 10
    names = case_names(la2018)[-CASES:]
    missed = [
        f"{change.name}, {name}"
        for name in names
        for change, scan in ((c, c(read_scan(la2018, name), name)) for c in OUTSIDE)
        if not flags_of(predictor, scan.image)
    ]
    assert len(missed) <= CASES * len(OUTSIDE) // 10, missed


def test_at_most_one_of_twenty_unchanged_scans_is_flagged(predictor, la2018):
    """Validation scans as `predict` flags them; training scans against those of the other folds."""
    names = case_names(la2018)
    training, validation = names[:-VALIDATION], names[-VALIDATION:]
    flagged = [name for name in validation if flags_of(predictor, read_scan(la2018, name).image)]
    facts, volumes = [], []
    for name in training:
        image, label, _ = read_scan(la2018, name)
        facts.append(scan_facts(image, predictor.prepare(image)))
        volumes.append(np.count_nonzero(label.array) * label.geometry.voxel_mm3 / 1000.0)
    for i, name in enumerate(training):
        kept = [k for k in range(len(training)) if k % FOLDS != i % FOLDS]
        seen = Seen.of([facts[k] for k in kept], [(volumes[k],) for k in kept])
        size = LabelVolume("left atrium", 1, volumes[i], 0.0, 0.0, None, review=False, reason="")
        if domain_flags(facts[i], seen) or volume_flags((size,), seen):
            flagged.append(name)
    assert len(flagged) <= len(names) // 20, flagged


def test_the_engine_records_all_that_the_flags_rest_on(predictor):
    seen = predictor.package.info.seen
    assert len(seen.texture) == len(seen.volumes_ml) == 1
    assert seen.turn_deg is not None
    assert seen.exemplars
