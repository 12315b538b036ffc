"""The form of a method: its few main settings, from what the engine says of its methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dycon_engine.config import RECIPES

PREFERRED = "dycon"
SUPERVISED = "supervised"
TITLES = {
    "dycon": "DyCON (recommended)",
    "dec_seg": "DEC-Seg",
    "dual_network": "Dual network",
    "mean_teacher": "Mean Teacher",
    "supervised": "Supervised only (labeled scans)",
    "ua_mt": "UA-MT",
    "ug_mcl": "UG-MCL",
}
ABOUT = {
    "dycon": "Learns from your labeled scans, and from the unlabeled ones, most of all where it is "
    "already sure.",
    "dec_seg": "Sees every scan in full and in half resolution; on unlabeled scans both have to "
    "find the same.",
    "dual_network": "Two different networks learn side by side, on unlabeled scans from each "
    "other.",
    "mean_teacher": "Learns from labeled scans; on unlabeled ones it has to find the same as an "
    "average of its own earlier states.",
    "supervised": "Learns from the labeled scans alone; what the other methods are compared with.",
    "ua_mt": "As Mean Teacher, but only where that average is sure.",
    "ug_mcl": "Learns the structure and how far its surface is; on unlabeled scans the two have to "
    "fit where it is sure.",
}
PROFILES = {
    "laptop": "Laptop (no GPU needed)",
    "gpu": "GPU",
    "paper": "As in the papers (V-Net; GPU, long)",
}
NAMES = {  # where the setting's own name does not read well
    "consistency_weight": "Weight of consistency",
    "contrast_weight": "Weight of contrast",
    "cross_weight": "Weight of task agreement",
    "dice_weight": "Weight of Dice",
    "distance_weight": "Weight of distance",
    "fecl_scope": "Contrast (FeCL) sees",
    "generative_weight": "Weight of image drawing",
    "mixing": "Mixing of patches",
    "passes": "Teacher's passes",
    "pseudo_label_weight": "Weight of pseudo-labels",
    "rampup": "Ramp-up",
}
LOCKED = "oracle"  # reads the labels of unlabeled scans; the engine refuses it unless unlocked
_KINDS = {"number": "number", "integer": "integer", "true or false": "flag"}


@dataclass(frozen=True)
class Field:
    """One setting in the form.

    Attributes:
        name: As the engine calls it.
        kind: number, integer, flag, choice or text.
        default: What holds where the person says nothing.
        help: One sentence.
        unit: "" where there is none.
        low: Smallest value, None = no limit.
        high: Largest value.
        choices: Of a choice.
    """

    name: str
    kind: str
    default: Any
    help: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return the name as people read it."""
        return NAMES.get(self.name, self.name.replace("_", " ").capitalize())


@dataclass(frozen=True)
class MethodForm:
    """One method.

    Attributes:
        name: As the engine calls it.
        title: For the list.
        about: Its first line.
        fields: Its main settings.
    """

    name: str
    title: str
    about: str
    fields: tuple[Field, ...]

    def under(self, profile: str) -> MethodForm:
        """Return the form with the values that a profile brings for this method as defaults."""
        recipe = RECIPES.get(profile, {}).get(self.name, {})
        fields = (replace(one, default=recipe.get(one.name, one.default)) for one in self.fields)
        return replace(self, fields=tuple(fields))

    @property
    def needs_unlabeled(self) -> bool:
        """Return whether it learns from unlabeled scans."""
        return self.name != SUPERVISED


def methods(description: Mapping[str, Any]) -> tuple[MethodForm, ...]:
    """Return the methods that the engine describes, the preferred one first.

    Args:
        description: Of `describe --methods --json`, its part `methods`.
    """
    names = sorted(description, key=lambda name: (name != PREFERRED, title_of(name).lower()))
    return tuple(_method(name, description[name]) for name in names)


def chosen_settings(form: MethodForm, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults, as `method.name` -> value."""
    return {
        f"method.{field.name}": values[field.name]
        for field in form.fields
        if field.name in values and values[field.name] != field.default
    }


def title_of(method: str) -> str:
    """Return what a method is called in the panel."""
    return TITLES.get(method, method.replace("_", " "))


def _method(name: str, table: Mapping[str, Any]) -> MethodForm:
    fields = tuple(_field(entry) for entry in table.get("settings", ()) if entry.get("main"))
    about = ABOUT.get(name) or str(table.get("about", ""))
    return MethodForm(name, title_of(name), about, fields)


def _field(entry: Mapping[str, Any]) -> Field:
    kind = str(entry["type"]).replace(" or none", "").replace("none or ", "")
    return Field(
        name=str(entry["name"]),
        kind="choice" if entry.get("choices") else _KINDS.get(kind, "text"),
        default=entry.get("default"),
        help=str(entry.get("help", "")),
        unit=str(entry.get("unit", "")),
        low=entry.get("low"),
        high=entry.get("high"),
        choices=tuple(choice for choice in entry.get("choices") or () if choice != LOCKED),
    )
