"""What every training recipe promises; a new recipe is tested by being in METHODS."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import os
from pathlib import Path

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.batch import Batch
from dycon_engine.errors import InputError
from dycon_engine.methods import METHODS, build_method
from dycon_engine.methods.base import Method
from dycon_engine.methods.teaching import LateConfig, TeacherMethod
from dycon_engine.networks import NetworkBuilder
from dycon_engine.schedules import Progress, ema_decay
from dycon_engine.settings import schema
from Testing.engine.methods.tiny import optimizer_of, take_step, tiny_batch, tiny_method, trace
from Testing.engine.methods.two_processes import train_rank

GOLDEN = Path(__file__).parent / "golden"
SUPERVISED_TERMS = ("cross_entropy", "dice")
HALF = Progress(5, 10)
every_method = pytest.mark.parametrize("name", sorted(METHODS))
with_teacher = pytest.mark.parametrize(
    "name", sorted(name for name, kind in METHODS.items() if issubclass(kind, TeacherMethod))
)
late = pytest.mark.parametrize(
    "name", sorted(name for name, kind in METHODS.items() if issubclass(kind.Config, LateConfig))
)


@every_method
@pytest.mark.parametrize("classes", [2, 3])
def test_terms_are_finite_scalars_and_the_batch_is_untouched(name: str, classes: int) -> None:
    method, batch = tiny_method(name, classes=classes), tiny_batch(classes=classes)
    before = copy.deepcopy(batch)
    terms = method(batch, HALF)
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    assert all(torch.isfinite(torch.as_tensor(v)) for v in method.diagnostics.values())
    assert not any(torch.as_tensor(v).requires_grad for v in method.diagnostics.values())
    for field in dataclasses.fields(Batch):
        assert torch.equal(getattr(batch, field.name), getattr(before, field.name))


@every_method
def test_a_step_leaves_no_tensor_behind(name: str) -> None:
    method = tiny_method(name)
    optimizer = optimizer_of(method)

    def tensors_after_a_step(seed: int) -> int:
        take_step(method, optimizer, tiny_batch(seed=seed), HALF)
        gc.collect()
        return sum(type(each) is torch.Tensor for each in gc.get_objects())

    first, second, third = map(tensors_after_a_step, range(3))
    assert second == third, f"{third - second} more tensors a step; after the first {first}"


@every_method
def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one(name: str) -> None:
    method = tiny_method(name)
    torch.stack(list(method(tiny_batch(), HALF).values())).sum().backward()
    for path, parameter in method.named_parameters():
        assert parameter.requires_grad == ("teacher" not in path), path
        if parameter.requires_grad:
            assert parameter.grad is not None, path
            assert torch.isfinite(parameter.grad).all(), path
        else:
            assert parameter.grad is None, path


@every_method
@pytest.mark.parametrize(
    "network",
    [
        NetworkConfig(name="unet3d", filters=(4, 8, 8)),
        NetworkConfig(name="unet3d", filters=(4, 8), stem=2),
        NetworkConfig(name="vnet", filters=(4, 8, 8), norm="batch", dropout=0.5),
    ],
    ids=["unet3d", "laptop", "vnet"],
)
def test_real_networks_train(name: str, network: NetworkConfig) -> None:
    method = build_method(name, {}, NetworkBuilder(network, channels=1, classes=2))
    losses = take_step(method, optimizer_of(method), tiny_batch(), HALF)
    assert losses["cross_entropy"] > 0.0
    with torch.no_grad():
        assert method.predictor()(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


@every_method
def test_one_batch_is_learned(name: str) -> None:
    method, batch = tiny_method(name), tiny_batch()
    optimizer = optimizer_of(method)
    history = [take_step(method, optimizer, batch, Progress(k, 40)) for k in range(40)]
    assert history[-1]["dice"] < 0.5 * history[0]["dice"]
    method.predictor().eval()
    with torch.no_grad():
        label = method.predictor()(batch.image).argmax(1)
    both = ((label == 1) & (batch.label == 1)).sum()
    assert 2 * both / ((label == 1).sum() + (batch.label == 1).sum()) > 0.8


@every_method
def test_resuming_equals_never_stopping_bit_for_bit(name: str) -> None:
    def run(method: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            take_step(method, optimizer, tiny_batch(seed=step), Progress(step, 6))

    straight = tiny_method(name)
    optimizer = optimizer_of(straight)
    run(straight, optimizer, range(3))
    saved = copy.deepcopy((straight.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    run(straight, optimizer, range(3, 6))

    resumed = tiny_method(name, seed=99)
    other = optimizer_of(resumed)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    run(resumed, other, range(3, 6))
    for path, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[path]), path


@every_method
def test_predictor_and_student_give_logits_of_the_patch(name: str) -> None:
    method = tiny_method(name, classes=3).eval()
    image = torch.randn(1, 1, 8, 12, 16)
    with torch.no_grad():
        for view in (method.predictor(), method.student()):
            logits = view(image)
            assert logits.shape == (1, 3, 8, 12, 16)
            assert torch.equal(logits, view(image))


@every_method
def test_bfloat16_autocast_stays_finite_and_near_single_precision(name: str) -> None:
    exact = tiny_method(name)(tiny_batch(), HALF)
    method = tiny_method(name)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(tiny_batch(), HALF)
    torch.stack(list(terms.values())).sum().backward()
    for term, value in terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[term], rtol=0.1, atol=0.02)
    for parameter in method.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@with_teacher
def test_teacher_follows_the_ema_formula_buffers_included(name: str) -> None:
    method = tiny_method(name, ema_decay=0.7)
    optimizer = optimizer_of(method)
    teacher, student = method.pair.teacher.module, method.pair.student
    expected = {k: v.clone() for k, v in teacher.state_dict().items()}
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in expected.items())
    for step in range(4):
        take_step(method, optimizer, tiny_batch(seed=step), Progress(step, 4))
        a = min(1 - 1 / (step + 1), 0.7)
        assert ema_decay(step, 0.7) == a
        for path, new in student.state_dict().items():
            if new.is_floating_point():
                expected[path] = a * expected[path] + (1 - a) * new
            else:
                expected[path] = new.clone()
        for path, value in teacher.state_dict().items():
            torch.testing.assert_close(value, expected[path], msg=path)
    assert int(next(v for k, v in expected.items() if k.endswith("num_batches_tracked"))) > 0


@with_teacher
def test_teacher_never_trains_and_uses_its_own_buffers(name: str) -> None:
    method = tiny_method(name)
    method.train()
    before = copy.deepcopy(method.pair.teacher.state_dict())
    method(tiny_batch(), HALF)
    assert not any(part.training for part in method.pair.teacher.modules())
    for path, value in method.pair.teacher.state_dict().items():
        assert torch.equal(value, before[path]), path


@late
def test_before_its_start_a_recipe_is_supervised_training(name: str) -> None:
    """The same terms and weights as `supervised`, whatever the unlabeled patches hold."""
    method, plain = tiny_method(name, start=0.5), tiny_method("supervised")
    optimizers = optimizer_of(method), optimizer_of(plain)
    for step in range(3):
        batch, progress = tiny_batch(seed=step), Progress(step, 6)
        broken = Batch(batch.image, batch.label, torch.full_like(batch.unlabeled, torch.nan))
        torch.manual_seed(step)
        ours = take_step(method, optimizers[0], broken, progress)
        torch.manual_seed(step)
        assert ours == take_step(plain, optimizers[1], batch, progress)
    for path, value in plain.network.state_dict().items():
        own = method.student().network.state_dict()[path]
        assert torch.equal(value, own), path
    terms = method(tiny_batch(seed=3), HALF)
    assert "consistency" in terms
    assert terms["consistency"] > 0.0


@late
def test_before_its_start_the_teacher_stays_close(name: str) -> None:
    """A slow teacher would still remember the first steps when its answers begin to count."""
    method = tiny_method(name, start=0.5, ema_decay=0.9999)
    student, teacher = method.pair.student, method.pair.teacher.module
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    before = next(teacher.parameters()).clone()
    method.after_step(Progress(4999, 10_000))
    moved = next(teacher.parameters()) - before
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=1e-6)
    before = next(teacher.parameters()).clone()
    method.after_step(Progress(10_000, 10_000))
    assert (next(teacher.parameters()) - before).abs().max() < 2e-4


@late
@pytest.mark.parametrize("setting", ["strong_geometry", "mixing"])
def test_a_changed_view_trains(name: str, setting: str) -> None:
    method = tiny_method(name, **{setting: 1.0})
    terms = method(tiny_batch(), HALF)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert terms["consistency"] != tiny_method(name)(tiny_batch(), HALF)["consistency"]


@late
def test_a_mixture_learns_the_label_of_the_labeled_patch(name: str) -> None:
    """Other labels, same images: the terms of unlabeled patches change where they are mixed."""
    batch = tiny_batch()
    other = Batch(batch.image, 1 - batch.label, batch.unlabeled)
    for mixing, same in ((0.0, True), (1.0, False)):
        found = []
        for each in (batch, other):
            torch.manual_seed(0)
            found.append(tiny_method(name, mixing=mixing)(each, HALF)["consistency"])
        assert bool(found[0] == found[1]) == same


@with_teacher
def test_predict_with_chooses_the_view(name: str) -> None:
    for choice in ("teacher", "student"):
        method = tiny_method(name, predict_with=choice)
        take_step(method, optimizer_of(method), tiny_batch(), Progress(3, 4))
        chosen = method.pair.teacher.module if choice == "teacher" else method.pair.student
        assert next(method.predictor().parameters()) is next(chosen.parameters())
        assert next(method.student().parameters()) is next(method.pair.student.parameters())


@every_method
def test_the_number_of_unlabeled_patches_changes_no_supervised_term(name: str) -> None:
    batch = tiny_batch(unlabeled=4)
    values = []
    for count in (1, 4):
        method = tiny_method(name)
        terms = method(Batch(batch.image, batch.label, batch.unlabeled[:count]), HALF)
        values.append({term: terms[term].item() for term in SUPERVISED_TERMS})
    assert values[0] == values[1]


@every_method
def test_without_unlabeled_patches_it_works_or_refuses_clearly(name: str) -> None:
    method, batch = tiny_method(name), tiny_batch(unlabeled=0)
    if name == "supervised":
        assert set(method(batch, HALF)) == set(SUPERVISED_TERMS)
        return
    with pytest.raises(InputError, match=r"no unlabeled patches.*training\.unlabeled_batch"):
        method(batch, HALF)


def test_two_processes_stay_identical(tmp_path: Path) -> None:
    names = sorted(METHODS)
    torch.multiprocessing.spawn(train_rank, args=(names, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    for name in names:
        for path, value in first[name].items():
            assert torch.equal(value, second[name][path]), f"{name} {path}"


@every_method
def test_golden_loss_trace(name: str) -> None:
    """Rewrite with DYCON_UPDATE_GOLDEN=1 after a change that is meant to change the losses."""
    path, actual = GOLDEN / f"{name}.json", trace(name)
    if os.environ.get("DYCON_UPDATE_GOLDEN"):
        path.write_text(json.dumps(actual, indent=1) + "\n")
    expected = json.loads(path.read_text())
    assert len(actual) == len(expected)
    for step, (now, then) in enumerate(zip(actual, expected, strict=True)):
        assert now == pytest.approx(then, rel=2e-3, abs=1e-6), f"step {step}"


@every_method
def test_settings_document_themselves(name: str) -> None:
    for entry in schema(METHODS[name].Config):
        assert entry["help"].endswith("."), entry["name"]
        assert entry["type"] != "table", entry["name"]


def test_a_method_without_supervision_is_refused_in_a_sentence(monkeypatch) -> None:
    class Bare(METHODS["supervised"]):
        def __init__(self, build_network, config):
            Method.__init__(self, build_network, config)
            self.network = build_network()

    monkeypatch.setitem(METHODS, "bare", Bare)
    with pytest.raises(InputError, match="method 'bare': Bare has no `supervision`; at the end of"):
        tiny_method("bare")


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'dycon'"):
        tiny_method("dycom")
    with pytest.raises(InputError, match=r"method: .*did you mean 'ema_decay'"):
        tiny_method("mean_teacher", ema_deccay=0.9)
