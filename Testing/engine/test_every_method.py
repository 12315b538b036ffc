"""Every method from scans to a segmentation: train, package, describe, predict, go on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dycon_engine import describe, predict
from dycon_engine.data.formats.readers import read_image
from dycon_engine.methods import METHODS
from dycon_engine.networks.composing import Composition
from dycon_engine.package import load_package
from Testing.engine.training import small_run

COMPOSED = {
    "dec_seg": Composition(kind="dual_scale", cross_level=True, fusion=True),
    "dual_network": Composition(kind="mean_of_two", second="resunet3d"),
}
NETWORKS = {
    "unet3d": ("network.filters=[4, 8]",),
    "laptop": ("network.filters=[4, 8]", "network.stem=2", "network.norm=instance"),
    "vnet": ("network.name=vnet", "network.filters=[4, 8]"),
}
STEPS = ("training.steps=2", "data.validation=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_run.write_scans(tmp_path_factory.mktemp("scans") / "data", labels=3)


@pytest.fixture(scope="module")
def packages(data, tmp_path_factory):
    """Train each method and network once; return the last package of a pair."""
    folder, done = tmp_path_factory.mktemp("runs"), {}

    def get(name: str, network: str):
        if (name, network) not in done:
            run_dir = folder / f"{name}-{network}"
            settings = (*STEPS, f"method.name={name}", *NETWORKS[network])
            assert small_run.run(data, run_dir, *settings) == 0
            done[name, network] = run_dir / "package" / "last.dycon"
        return done[name, network]

    return get


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_package_predicts_what_the_method_predicted(packages, name, network):
    package = load_package(packages(name, network))
    assert package.info.training["method"] == name
    assert package.info.composition == COMPOSED.get(name, Composition())
    checkpoint = small_run.newest(packages(name, network).parent.parent)
    weights = checkpoint["trainer"]["method"]
    for path, value in package.predictor.state_dict().items():
        lead = "pair.teacher.module."
        options = [path, f"network.{path}", f"{lead}{path}", f"{lead}network.{path}"]
        stored = next(option for option in reversed(options) if option in weights)
        assert torch.equal(value, weights[stored])


@pytest.mark.parametrize("kind", ["entropy", "disagreement"])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"supervised"}))
def test_predict_gives_labels_and_uncertainty(packages, data, tmp_path, name, kind):
    scan, target = data / "images" / "scan4.nii.gz", tmp_path / "labels.nii.gz"
    chosen = ("--uncertainty", str(tmp_path / "map.nii.gz"), "--uncertainty-kind", kind)
    model = packages(name, "laptop")
    arguments = ["--package", str(model), "--device", "cpu", "--input", str(scan)]
    assert predict.main([*arguments, "--output", str(target), *chosen]) == 0
    values = read_image(tmp_path / "map.nii.gz").array
    assert np.isfinite(values).all()
    assert values.min() >= 0.0
    assert 0.0 < values.max() <= 1.0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_describe_tells_what_the_package_is(packages, capsys, name):
    assert describe.main(["--package", str(packages(name, "unet3d")), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)["package"]
    assert content["training"]["method"] == name
    assert content["has_disagreement"] == (name != "supervised")
    if name in COMPOSED:
        assert content["composition"]["kind"] == COMPOSED[name].kind
    else:
        assert "composition" not in content


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_a_composed_package_is_a_starting_point_of_its_own_method_only(
    packages, data, tmp_path, capsys, name
):
    package = packages(name, "unet3d")
    same = (*STEPS, f"method.name={name}", *NETWORKS["unet3d"])
    assert small_run.run(data, tmp_path / "same", *same, package=package) == 0
    other = (*STEPS, "method.name=mean_teacher", *NETWORKS["unet3d"])
    assert small_run.run(data, tmp_path / "other", *other, package=package) == 2
    assert COMPOSED[name].kind in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dec_seg", "dual_network", "ug_mcl"])
def test_a_killed_run_goes_on_bit_for_bit(data, tmp_path, name, monkeypatch):
    settings = (f"method.name={name}", "training.steps=4", "training.save_every=2")
    assert small_run.run(data, tmp_path / "whole", *settings) == 0
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 2)
        assert small_run.run(data, run_dir, *settings) == 3
    assert small_run.run(data, run_dir, *settings, resume=True) == 0
    assert small_run.fingerprint(run_dir) == small_run.fingerprint(tmp_path / "whole")
