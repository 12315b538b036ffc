"""The file beside a segmentation says all that the prediction knows, flags above all."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dycon_engine.data.formats.writers import write_scalar
from dycon_engine.inference.domain import Flag
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.report import Input, report
from dycon_engine.inference.result import Wishes
from dycon_engine.package import load_package
from dycon_engine.predict import main
from Testing import tiny_package

FOREIGN = (6.0, 1.5, 1.5)  # three times as thick as the training scans


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "ball.dycon"
    tiny_package.save(path)
    return path


def test_flags_regions_and_volumes_are_those_of_the_prediction(package):
    engine, wishes = Predictor(load_package(package)), Wishes()
    found = engine.predict(tiny_package.scan(1, spacing_mm=FOREIGN), wishes)
    region = found.regions[:1] or pytest.fail("an untrained network is sure of everything")
    found = dataclasses.replace(found, regions=region)
    content = json.loads(json.dumps(report(found, engine, wishes, Input(("0",), 1.0, ("slow",)))))
    assert [flag["topic"] for flag in content["flags"]] == [flag.topic for flag in found.flags]
    assert "spacing" in {flag["topic"] for flag in content["flags"]}
    assert set(content["flags"][0]) == {"topic", "message", "detail"}
    assert "training scans" in content["flags"][0]["message"]
    assert [entry["id"] for entry in content["regions"]] == [1]
    assert content["regions_found"] == region[0].out_of
    assert "out_of" not in content["regions"][0]
    assert content["regions"][0]["centroid_ras_mm"] == list(region[0].centroid_ras_mm)
    assert content["volumes"][0]["volume_ml"] == found.volumes[0].volume_ml
    assert content["mean_uncertainty"] == found.mean_uncertainty
    assert content["notices"][1:] == ["slow"]
    assert np.array_equal(content["input"]["geometry"]["affine_zyx_to_lps"], found.geometry.affine)


def test_what_to_review_are_the_flags_and_the_labels_that_say_so(package):
    engine, wishes = Predictor(load_package(package)), Wishes()
    found = engine.predict(tiny_package.scan(1), wishes)
    volume = found.volumes[0]._replace(voxels=9, review=True, reason="the boundary is unclear")
    flag = Flag("spacing", "voxel size along z is 6 mm")

    def asked(**changes):
        changed = dataclasses.replace(found, **({"flags": (), "volumes": (volume,)} | changes))
        return report(changed, engine, wishes, Input(("0",), 1.0))

    both = asked(flags=(flag,))
    assert both["review"]["needed"] is True
    assert both["review"]["reasons"] == [flag.message, "ball: the boundary is unclear"]
    assert both["empty"] is False
    sure = asked(volumes=(volume._replace(review=False, reason=""),))
    assert sure["review"] == {"needed": False, "reasons": []}
    none = asked(volumes=(volume._replace(voxels=0),), flags=(Flag("empty-result", "empty"),))
    assert none["empty"] is True
    assert none["review"]["reasons"] == ["empty"]


def test_a_flag_reaches_the_file_and_the_person(package, tmp_path, capsys):
    scan, image = tmp_path / "a.nii.gz", tiny_package.scan(1, spacing_mm=FOREIGN)
    write_scalar(scan, image.array[0], image.geometry, overwrite=False)
    arguments = ["--package", package, "--input", scan, "--device", "cpu"]
    arguments += ["--output", tmp_path / "o.nii.gz", "--report", tmp_path / "r.json"]
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    flags = json.loads((tmp_path / "r.json").read_text())["flags"]
    warned = [event for event in map(json.loads, out.splitlines()) if event["event"] == "warning"]
    assert "spacing" in {flag["topic"] for flag in flags}
    for flag in flags:
        assert (flag["topic"], f"result 'o.nii.gz': {flag['message']}") in {
            (event["topic"], event["message"]) for event in warned
        }
        assert flag["message"] in err
