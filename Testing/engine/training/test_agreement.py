"""A method whose package would be another model than the one validated is refused at the start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.methods import METHODS, build_method
from dycon_engine.methods.dual_network import DualNetwork
from dycon_engine.methods.mean_teacher import MeanTeacher
from dycon_engine.methods.supervised import Supervised
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.composing import Composition
from dycon_engine.training.agreement import require_agreement
from Testing.engine.training import small_run

BUILD = NetworkBuilder(NetworkConfig(filters=(4, 8), norm="batch", dropout=0.2), 1, 2)
PATCH = (8, 8, 8)


class Head(nn.Module):
    """Classifies the last features by itself."""

    def __init__(self, network):
        super().__init__()
        self.network, self.head = network, nn.Conv3d(network.decoded_features, 2, 1)

    def forward(self, image):  # noqa: D102
        return self.head(self.network(image).decoded)


class Mean(nn.Module):
    """The mean of two networks that agree at the start."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, image):  # noqa: D102
        return 0.5 * (self.one(image) + self.other(image))


class Probabilities(nn.Module):
    """Normalised, which no prediction sees."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):  # noqa: D102
        return self.network(image).logits.log_softmax(1)


class OwnHead(Supervised):
    """Predicts with a head that the package does not have."""

    def __init__(self, build_network, config):
        super().__init__(build_network, config)
        self.own = Head(self.network)

    def predictor(self):  # noqa: D102
        return self.own


class MeanOfPair(MeanTeacher):
    """Predicts with student and teacher together."""

    def predictor(self):  # noqa: D102
        return Mean(self.pair.partner(), self.pair.predictor())


class Nothing(Supervised):
    """Predicts with what is no network of ours."""

    def predictor(self):  # noqa: D102
        return nn.Conv3d(1, 2, 1)


class Forgotten(DualNetwork):
    """Does not say that two networks predict."""

    def composition(self):  # noqa: D102
        return Composition()


class Bare(Supervised):
    """Gives features, not logits."""

    def predictor(self):  # noqa: D102
        return self.network


class Normalised(Supervised):
    """Gives log-probabilities."""

    def predictor(self):  # noqa: D102
        return Probabilities(self.network)


def check(kind, **settings):
    require_agreement(kind(BUILD, kind.Config(**settings)), "mine", network=BUILD, patch_size=PATCH)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OwnHead, "predicts otherwise than its package would"),
        (MeanOfPair, "predicts otherwise than its package would"),
        (Nothing, "no Network is found in predictor()"),
        (Forgotten, "other weights than composition() describes (kind single)"),
        (Bare, "predictor() gives Features for a patch, expected logits (1, 2, 4, 4, 8)"),
    ],
)
def test_a_method_that_would_ship_another_model_is_refused_in_one_line(kind, words):
    with pytest.raises(InputError) as error:
        check(kind)
    assert str(error.value).startswith("method 'mine': ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_changes_no_prediction_is_let_through():
    check(Normalised)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in sorted(METHODS)),
        ("mean_teacher", {"predict_with": "student"}),
        ("dec_seg", {"use_fusion": False, "use_cross_level": False}),
    ],
)
@pytest.mark.parametrize("stem", [1, 2])
def test_our_methods_ship_what_they_validate_and_draw_nothing(name, settings, stem):
    network = NetworkBuilder(NetworkConfig(filters=(4, 8), stem=stem), 1, 2)
    method = build_method(name, settings, network)
    before = torch.get_rng_state()
    require_agreement(method, name, network=network, patch_size=(8, 8, 16))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_refused_before_a_scan_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(METHODS, "own_head", OwnHead)
    assert small_run.run(tmp_path / "no data", tmp_path / "run", "method.name=own_head") == 2
    assert "method 'own_head': predictor() predicts otherwise" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
