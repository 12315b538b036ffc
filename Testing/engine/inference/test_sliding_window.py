"""The sliding window equals the naive average, skips air exactly and survives lack of memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dycon_engine.config import InferenceConfig
from dycon_engine.errors import CancelledError, OutOfMemoryError
from dycon_engine.inference.blending import AIR_LOGIT, Watch, trust
from dycon_engine.inference.sliding_window import slide, slide_slabs
from dycon_engine.inference.windows import axis_starts, axis_weights, long_axis

REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "naive_sliding_window.py"


def naive_slide(*arguments, **options):
    spec = importlib.util.spec_from_file_location("naive_sliding_window", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.naive_slide(*arguments, **options)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv3d(2, 3, 3, padding=1).eval()


def volume(*size: int) -> torch.Tensor:
    return torch.randn(2, *size, generator=torch.Generator().manual_seed(1))


class Moody:
    """A network that runs out of memory at chosen calls."""

    def __init__(self, network, failing, largest=10**9):
        self.network, self.failing, self.largest, self.calls = network, failing, largest, 0

    def __call__(self, patches):  # noqa: D102
        self.calls += 1
        if self.calls in self.failing or len(patches) > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return self.network(patches)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("size", [(8, 8, 8), (9, 20, 13), (24, 16, 17)])
def test_equals_the_naive_average(network, size, overlap):
    image = volume(*size)
    options = {"patch_size": (8, 8, 8), "classes": 3}
    found = slide(network, image, config=InferenceConfig(overlap=overlap), **options)
    expected = naive_slide(network, image, overlap=overlap, **options)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_number_of_windows_per_pass_changes_nothing(network, batch):
    image, options = volume(16, 16, 16), {"patch_size": (8, 8, 8), "classes": 3}
    one = slide(network, image, config=InferenceConfig(), **options)
    many = slide(network, image, config=InferenceConfig(window_batch=batch), **options)
    assert torch.allclose(one, many, atol=1e-6)


@pytest.mark.parametrize(("size", "patch", "overlap"), [(8, 8, 0.5), (100, 16, 0.3), (17, 16, 0.9)])
def test_shares_sum_to_one_and_windows_cover_everything(size, patch, overlap):
    starts = axis_starts(size, patch, overlap)
    total = torch.zeros(size)
    for start, weight in zip(starts, axis_weights(starts, size, patch), strict=True):
        total[start : start + patch] += weight
    assert torch.allclose(total, torch.ones(size), atol=1e-6)
    assert starts[0] == 0
    assert starts[-1] == size - patch
    assert max(np.diff(starts), default=0) <= patch * (1 - overlap) + 1


@pytest.mark.parametrize("size", [(1, 20, 8), (3, 3, 3), (8, 7, 30)])
def test_a_volume_smaller_than_the_patch_is_padded_and_comes_back_in_its_size(network, size):
    result = slide(
        network, volume(*size), patch_size=(8, 8, 8), classes=3, config=InferenceConfig()
    )
    assert tuple(result.shape) == (3, *size)
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("size", [(1, 20, 8), (3, 4, 5), (8, 7, 30), (2, 9, 9)])
def test_every_voxel_of_a_padded_volume_stays_in_its_place(size):
    image = volume(*size)
    found = slide(
        lambda patches: patches, image, patch_size=(8, 8, 8), classes=2, config=InferenceConfig()
    )
    assert torch.allclose(found, image, atol=1e-5)


def test_padding_is_the_lowest_value_of_each_channel():
    seen = []

    def spy(patches):
        seen.append(patches.clone())
        return patches.new_zeros(len(patches), 2, *patches.shape[2:])

    image = torch.stack([torch.full((2, 4, 4), -3.0), torch.full((2, 4, 4), 7.0)])
    slide(spy, image, patch_size=(4, 4, 4), classes=2, config=InferenceConfig())
    assert (seen[0][0, 0] == -3.0).all()
    assert (seen[0][0, 1] == 7.0).all()


def test_windows_in_air_are_not_computed_and_are_background(network):
    image = volume(8, 8, 40)
    air = np.zeros((8, 8, 40), dtype=bool)
    air[:, :, 20:] = True
    calls = Moody(network, ())
    options = {"patch_size": (8, 8, 8), "classes": 3}
    found = slide(calls, image, config=InferenceConfig(), air=air, **options)
    starts = axis_starts(40, 8, 0.5)
    assert calls.calls == sum(start < 20 for start in starts)
    expected = naive_slide(network, image, overlap=0.5, air=air, **options)
    assert np.abs(found.numpy() - expected).max() < 1e-5
    only_air = found[:, :, :, 28:]
    assert torch.allclose(only_air[0], torch.tensor(AIR_LOGIT), atol=1e-4)
    assert (only_air[1:] == 0).all()
    full = slide(network, image, config=InferenceConfig(skip_air=False), air=air, **options)
    assert torch.allclose(found[:, :, :, :19], full[:, :, :, :19], atol=1e-5)


def test_a_volume_of_air_needs_no_network():
    def never(_):
        raise AssertionError

    result = slide(
        never,
        volume(8, 8, 16),
        patch_size=(8, 8, 8),
        classes=2,
        config=InferenceConfig(),
        air=np.ones((8, 8, 16), dtype=bool),
    )
    assert (result.argmax(0) == 0).all()


@pytest.mark.parametrize("failing", range(1, 28))
def test_lack_of_memory_at_any_window_changes_no_number(network, failing):
    image, options = volume(16, 16, 16), {"patch_size": (8, 8, 8), "classes": 3}
    expected = slide(network, image, config=InferenceConfig(), **options)
    notices: list[str] = []
    found = slide(
        Moody(network, {failing}),
        image,
        config=InferenceConfig(window_batch=2),
        watch=Watch(on_notice=notices.append),
        **options,
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert len(notices) == (failing <= 15)  # three rows of five passes


def test_windows_at_once_are_halved_until_they_fit(network):
    notices: list[str] = []
    slide(
        Moody(network, (), largest=2),
        volume(16, 16, 16),
        patch_size=(8, 8, 8),
        classes=3,
        config=InferenceConfig(window_batch=8),
        watch=Watch(on_notice=notices.append),
    )
    assert notices == [
        "out of memory with 8 windows at once; using 4",
        "out of memory with 4 windows at once; using 2",
    ]


def test_where_one_window_does_not_fit_it_is_said_in_one_line(network):
    with pytest.raises(OutOfMemoryError, match=r"one window does not fit, .* MiB available") as no:
        slide(
            Moody(network, (), largest=0),
            volume(8, 8, 8),
            patch_size=(8, 8, 8),
            classes=3,
            config=InferenceConfig(window_batch=4),
        )
    assert "\n" not in str(no.value)
    assert "(PyTorch: CUDA out of memory. Tried to allocate 9 GiB)" in str(no.value)


def test_another_runtime_error_is_not_taken_for_lack_of_memory():
    def broken(_):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        slide(broken, volume(8, 8, 8), patch_size=(8, 8, 8), classes=3, config=InferenceConfig())


def test_cancel_stops_between_windows(network):
    calls = Moody(network, ())
    with pytest.raises(CancelledError):
        slide(
            calls,
            volume(8, 8, 40),
            patch_size=(8, 8, 8),
            classes=3,
            config=InferenceConfig(),
            watch=Watch(cancelled=lambda: calls.calls == 3),
        )
    assert calls.calls == 3


def test_progress_ends_at_the_total(network):
    seen: list[tuple[int, int]] = []
    slide(
        network,
        volume(8, 8, 24),
        patch_size=(8, 8, 8),
        classes=3,
        config=InferenceConfig(),
        watch=Watch(on_window=lambda done, total: seen.append((done, total))),
    )
    assert seen == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("size", [(8, 8, 30), (9, 33, 13), (40, 9, 8), (3, 5, 20), (4, 4, 4)])
def test_slabs_come_without_gaps_and_equal_the_whole(network, size, overlap):
    image, options = volume(*size), {"patch_size": (8, 8, 8), "classes": 3}
    config = InferenceConfig(overlap=overlap)
    whole = slide(network, image, config=config, **options)
    axis, end, deepest = long_axis(size, (8, 8, 8)), 0, 0
    for slab in slide_slabs(network, image, config=config, **options):
        assert slab.axis == axis
        assert slab.rows.start == end
        end = slab.rows.stop
        deepest = max(deepest, slab.logits.untyped_storage().nbytes())
        part = whole.narrow(axis + 1, slab.rows.start, slab.rows.stop - slab.rows.start)
        assert torch.equal(slab.logits, part)
    assert end == size[axis]
    padded = [max(n, 8) for n in size]
    assert deepest == 3 * 4 * 8 * np.prod(padded) // padded[axis]


def test_several_sets_of_logits_have_their_own_background_in_air(network):
    image, air = volume(8, 8, 40), np.ones((8, 8, 40), dtype=bool)
    air[:, :, :4] = False

    def twice(patches):
        logits = network(patches)
        return torch.cat((logits, 2 * logits), dim=1)

    options = {"patch_size": (8, 8, 8), "config": InferenceConfig(), "air": air}
    both = slide(twice, image, classes=6, background=(0, 3), **options)
    one = slide(network, image, classes=3, **options)
    assert torch.allclose(both[:3], one, atol=1e-6)
    assert torch.allclose(both[3:, :, :, 20:], one[:, :, :, 20:], atol=1e-6)
    assert torch.allclose(both[3:, :, :, :4], 2 * one[:, :, :, :4], atol=1e-5)


def filled(size=(9, 24, 40)):
    """A volume of which only a box in the middle was scanned."""
    image, blank = volume(*size), np.ones(size, dtype=bool)
    blank[1:, 5:17, 11:30] = False
    image[:, torch.from_numpy(blank)] = 0.0
    return image, blank


@pytest.mark.parametrize("skip_air", [True, False])
def test_windows_stand_on_what_was_scanned(network, skip_air):
    """As on the scanned box alone; all around is background."""
    image, blank = filled()
    calls, alone = Moody(network, ()), Moody(network, ())
    options = {"patch_size": (8, 8, 8), "classes": 3, "config": InferenceConfig(skip_air=skip_air)}
    found = slide(calls, image, blank=blank, air=blank, **options)
    expected = slide(alone, image[:, 1:, 5:17, 11:30], **options)
    assert torch.allclose(found[:, 1:, 5:17, 11:30], expected, atol=1e-5)
    assert calls.calls == alone.calls
    found[:, 1:, 5:17, 11:30] = 0
    found[0, 1:, 5:17, 11:30] = AIR_LOGIT
    assert (found[0] == AIR_LOGIT).all()
    assert (found[1:] == 0).all()


def test_slabs_of_a_partly_blank_volume_come_without_gaps(network):
    image, blank = filled((9, 8, 90))
    end = 0
    for slab in slide_slabs(
        network, image, patch_size=(8, 8, 8), classes=3, config=InferenceConfig(), blank=blank
    ):
        assert (slab.axis, slab.rows.start) == (2, end)
        assert slab.logits.shape == (3, 9, 8, slab.rows.stop - end)
        end = slab.rows.stop
    assert end == 90


def test_a_box_smaller_than_the_patch_and_padding_together(network):
    image, blank = volume(3, 20, 30), np.ones((3, 20, 30), dtype=bool)
    blank[:, 17:, 2:5] = False
    found = slide(
        network, image, patch_size=(8, 8, 8), classes=3, config=InferenceConfig(), blank=blank
    )
    assert tuple(found.shape) == (3, 3, 20, 30)
    assert torch.isfinite(found).all()
    assert (found[0, :, :12] == AIR_LOGIT).all()
    assert not (found[:, ~torch.from_numpy(blank)] == AIR_LOGIT).any()


def test_a_window_counts_the_less_the_more_of_it_is_blank():
    """Each window says its own share of scanned voxels; the blend lies near the best one."""
    image, blank = torch.ones(1, 8, 8, 24), np.zeros((8, 8, 24), dtype=bool)
    blank[:, :4, 12:] = True
    image[:, torch.from_numpy(blank)] = 0.0

    def scanned(patches):
        return patches.mean((2, 3, 4), keepdim=True).expand(-1, 2, *patches.shape[2:])

    options = {"patch_size": (8, 8, 8), "classes": 2, "config": InferenceConfig()}
    plain = slide(scanned, image, **options)
    wary = slide(scanned, image, blank=blank, **options)
    between = (0, 0, 6, slice(9, 12))
    assert (wary[between] > plain[between]).all()
    assert torch.allclose(wary[0, 0, 6, :4], plain[0, 0, 6, :4])
    assert trust(blank[:, :, :8]) == 1.0
    assert trust(blank[:, :, 8:16]) == 0.75**4  # a quarter of it is blank
    assert trust(blank[:, :, 16:]) == 0.5**4
    assert 0.0 < trust(np.ones((8, 8, 8), dtype=bool)) < 1e-5


class Seen:
    """A network of one large weight that remembers its number formats."""

    def __init__(self, weight):
        self.conv = nn.Conv3d(1, 2, 1)
        nn.init.constant_(self.conv.weight, weight)
        self.dtypes = []

    def __call__(self, patches):  # noqa: D102
        logits = self.conv(patches)
        self.dtypes.append(logits.dtype)
        return logits


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_the_number_format_is_the_one_asked_for(dtype):
    network, image = Seen(1.0), torch.ones(1, 8, 8, 8)
    options = {"patch_size": (8, 8, 8), "classes": 2, "config": InferenceConfig()}
    slide(network, image, dtype=dtype, **options)
    assert network.dtypes == [dtype or torch.float32]


def test_windows_too_large_for_fp16_are_repeated_in_fp32():
    network, image, said = Seen(1e4), torch.zeros(1, 8, 8, 24), []
    image[..., 8:] = 1e4
    options = {"patch_size": (8, 8, 8), "classes": 2, "config": InferenceConfig(overlap=0.0)}
    watch = Watch(on_notice=said.append)
    found = slide(network, image, dtype=torch.float16, watch=watch, **options)
    assert network.dtypes == [torch.float16, *[torch.float16, torch.float32] * 2]
    assert torch.allclose(found[..., 8:], torch.tensor(1e8), rtol=1e-4)
    assert said == ["fp16 is not finite in a window; such ones repeated in fp32"]
