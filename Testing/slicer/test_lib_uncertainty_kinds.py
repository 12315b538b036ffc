"""The kinds of uncertainty that a panel offers for a model are those that the engine can give."""

from __future__ import annotations

import io
import struct

import pytest

from dycon_engine.config import NetworkConfig
from dycon_engine.inference.description import _kinds
from dycon_engine.inference.uncertainty import KINDS
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.composing import Composition, compose
from dycon_engine.package import load_package, save_package, weights
from DyCONLib import uncertainty_kinds
from DyCONLib.models import read_model
from DyCONLib.uncertainty_kinds import holds_partner, refused_kinds
from Testing import tiny_package

PLAIN = {"method": "supervised"}


def network(dropout=0.0):
    return NetworkConfig(filters=(4, 8), dropout=dropout)


@pytest.mark.parametrize(
    ("partner", "changes", "refused"),
    [
        (True, {"network": network(0.3)}, set()),
        (False, {"network": network(0.3)}, {"disagreement"}),
        (True, {}, {"mc-dropout"}),
        (True, {"training": PLAIN | {"mirrored_axes": "x"}}, {"mc-dropout"}),
        (True, {"training": PLAIN | {"mirrored_axes": ""}}, {"mc-dropout", "tta"}),
        (False, {"training": PLAIN}, {"disagreement", "mc-dropout", "tta"}),
        (True, {"training": PLAIN | {"mirrored_axes": "xyw"}}, {"mc-dropout", "tta"}),
    ],
)
def test_panel_and_engine_refuse_the_same_kinds(tmp_path, partner, changes, refused):
    path = tmp_path / "m.dycon"
    tiny_package.save(path, partner=partner, **changes)
    assert set(read_model(path).refused_kinds) == refused
    assert set(KINDS) - set(_kinds(load_package(path))) == refused


@pytest.mark.parametrize("kind", ["mean_of_two", "dual_scale"])
def test_a_model_made_of_several_networks_compares_those(tmp_path, kind):
    second = "unet3d" if kind == "mean_of_two" else ""
    info = tiny_package.info(composition=Composition(kind=kind, second=second))
    build = NetworkBuilder(info.network, channels=1, classes=info.classes)
    path = tmp_path / "m.dycon"
    save_package(path, info, compose(build, info.composition).state_dict())
    assert set(read_model(path).refused_kinds) == {"mc-dropout"}
    assert set(KINDS) - set(_kinds(load_package(path))) == {"mc-dropout"}


def test_what_a_model_does_not_tell_is_left_to_the_engine():
    training = {"training": {"mirrored_axes": "x"}}
    assert refused_kinds(training, has_partner=None) == {}
    assert refused_kinds(training | {"network": {}}, has_partner=True) == {}
    assert refused_kinds(training | {"composition": {"kind": "new"}}, has_partner=False) == {}
    assert uncertainty_kinds.LONGEST_HEADER == weights.LONGEST_HEADER
    for header in (b"", b"\0\0\0", struct.pack("<Q", 2**23 + 1), struct.pack("<Q", 99) + b"{}"):
        assert holds_partner(io.BytesIO(header)) is None
    assert holds_partner(io.BytesIO(struct.pack("<Q", 2) + b'{}"partner.')) is False
