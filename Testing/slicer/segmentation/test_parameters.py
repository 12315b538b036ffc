"""The panel's choices in the parameter node: kept, followed, read back from a saved scene."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from Testing.slicer.segmentation.contents import add_volume


@pytest.fixture
def kept(slicer_scene):
    from DyCONSegmentationLib import parameters

    return parameters


def test_an_empty_node_gives_the_defaults(kept):
    node = kept.parameter_node()
    assert kept.read_parameters(node) == kept.DEFAULTS
    assert kept.parameter_node() is node


def test_every_value_is_kept_nodes_as_references(kept, slicer_scene):
    volume = add_volume(np.zeros((2, 3, 4), np.int16))
    roi = slicer_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    chosen = kept.Parameters(
        volumes=("", volume.GetID()),
        roi=roi.GetID(),
        model="la.dycon",
        device="cpu",
        uncertainty_kind="tta",
        overlap=30,
        largest_component=True,
        minimum_volume_mm3=12.5,
        keep_probabilities=True,
        show_overlay=False,
        show_legend=False,
        opacity=0.25,
        hide_below=0.35,
    )
    defaults = dataclasses.asdict(kept.DEFAULTS)
    same = [name for name, value in dataclasses.asdict(chosen).items() if value == defaults[name]]
    assert same == ["output", "result"]  # every other one would be missed if it were not kept
    node = kept.parameter_node()
    kept.write_parameters(node, chosen)
    assert kept.read_parameters(node) == chosen
    slicer_scene.RemoveNode(volume)
    assert kept.read_parameters(node).volumes == ("", "")


def test_fewer_volumes_forget_those_that_are_no_longer_chosen(kept):
    first, second = (add_volume(np.zeros((2, 3, 4), np.int16)) for _ in range(2))
    node = kept.parameter_node()
    kept.write_parameters(node, kept.Parameters(volumes=(first.GetID(), second.GetID())))
    kept.write_parameters(node, kept.Parameters(volumes=(second.GetID(),)))
    assert kept.read_parameters(node).volumes == (second.GetID(),)
    assert not node.HasNodeReferenceID("volumes1", second.GetID())


def test_one_change_is_one_event(kept):
    node, events = kept.parameter_node(), []
    node.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    kept.write_parameters(node, dataclasses.replace(kept.DEFAULTS, overlap=20, opacity=0.1))
    kept.write_parameters(node, dataclasses.replace(kept.DEFAULTS, overlap=20, opacity=0.1))
    assert len(events) == 1


@pytest.mark.parametrize(
    ("name", "text"), [("overlap", "much"), ("opacity", ""), ("show_legend", "2"), ("volumes", "x")]
)
def test_an_unusable_value_takes_its_default(kept, name, text):
    node = kept.parameter_node()
    node.SetParameter(name, text)
    assert kept.read_parameters(node) == kept.DEFAULTS


def test_the_choices_are_saved_with_the_scene(kept, slicer_scene, tmp_path):
    import slicer

    volume = add_volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), "kept scan")
    chosen = kept.Parameters(volumes=(volume.GetID(),), model="la.dycon", hide_below=0.35)
    kept.write_parameters(kept.parameter_node(), chosen)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer_scene.Clear(0)
    assert kept.read_parameters(kept.parameter_node()) == kept.DEFAULTS
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    back = kept.read_parameters(kept.parameter_node())
    assert (back.model, back.hide_below) == ("la.dycon", 0.35)
    assert slicer_scene.GetNodeByID(back.volumes[0]).GetName() == "kept scan"
