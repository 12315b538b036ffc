"""What a model is and what was measured with it, in a few lines of HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from DyCONLib.evidence import Evidence
from DyCONLib.models import Model
from DyCONSegmentationLib.texts import RESEARCH

MOST_LIMITS = 5  # the worst ones; all of them are on the model's page
HOMEPAGE = "https://github.com/SlicerDyCON/SlicerDyCON"
_PAGE = re.compile(r"docs/[\w./-]+\.md")  # of our own repository
_WORDS = re.compile(r"[\W_\d]+")


def card_html(model: Model) -> str:
    """Return what a model is and how good it was, in few lines of HTML."""
    names = ", ".join(segment.name for segment in model.segments)
    what = f"<b>{html.escape(names)}</b>{html.escape(_scans_text(model))}"
    purpose = model.notice.replace(RESEARCH, "").strip()  # what it says beyond that
    lines = [f"<b>{html.escape(purpose)}</b>"] if purpose else []
    return "<br>".join([*lines, what, *_training_lines(model), _calibration_line(model)])


def _scans_text(model: Model) -> str:
    """Return the kind of scans a model takes; a single channel's name says more: LGE MR, not MR."""
    if not model.modality:
        return ""
    name = model.channels[0].name
    words = (word.upper() for word in _WORDS.split(name))
    named = any(word.startswith(model.modality) for word in words)
    return f" in {name if named and len(model.channels) == 1 else model.modality}"


def _calibration_line(model: Model) -> str:
    if model.ece is None:
        return "Not calibrated: take the uncertainty as relative only"
    trust = model.evidence.trust
    where = f", within {trust.band_mm:g} mm of the edge" if trust is not None else ""
    error = trust.ece_near if trust is not None else model.ece
    points = f"{100 * error:.1f} percentage points"
    return f"Calibrated: on average a probability is {points} off{where}"


def _training_lines(model: Model) -> Iterator[str]:
    if model.labeled_cases is not None:
        more = f" and {model.unlabeled_cases} unlabeled" if model.unlabeled_cases else ""
        yield f"Trained on {model.labeled_cases} labeled{more} scans"
    if model.dice is not None:
        count = f" on {model.validation_cases} held-out scans" if model.validation_cases else ""
        yield f"Dice {model.dice:.3f}{count}"
    else:
        yield "Dice not measured"


def evidence_title(model: Model) -> str:
    """Return the header of what was measured; '' where the model says nothing of it."""
    evidence = model.evidence
    counts = (
        (len(evidence.caveats), "caveat"),
        (len(evidence.limits), "known limit"),
    )
    parts = [f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count]
    if parts:
        return f"Evidence: {', '.join(parts)}"
    return "Evidence" if evidence.dice or evidence.trust else ""


def evidence_html(model: Model) -> str:
    """Return caveats, figures, limits and citations in HTML, all of it as the model says it."""
    evidence = model.evidence
    limits = list(evidence.limits[:MOST_LIMITS])
    if len(evidence.limits) > MOST_LIMITS:
        limits.append(f"{len(evidence.limits) - MOST_LIMITS} more: see the model's page")
    parts = (
        ("Keep in mind", evidence.caveats),
        ("Measured", tuple(_measured(evidence))),
        ("Known limits", limits),
        ("Data and method", evidence.citations),
    )
    return "<br><br>".join(
        "<br>".join(
            [f"<b>{title}</b>", *(f"&bull; {html.escape(each, quote=False)}" for each in lines)]
        )
        for title, lines in parts
        if lines
    )


def _measured(evidence: Evidence) -> Iterator[str]:
    if evidence.dice:
        count = len(evidence.dice)
        spread = f"Dice {min(evidence.dice):.3f} to {max(evidence.dice):.3f}"
        yield f"{count} held-out scan{'s' * (count > 1)}: {spread}"
    if evidence.hd95_mm:
        far = f"{min(evidence.hd95_mm):.1f} to {max(evidence.hd95_mm):.1f} mm"
        yield f"95 % of the edge lies within {far} of the expert's edge"
    if evidence.trust is not None:
        trust = evidence.trust
        yield (
            f"The {100 * trust.captured_in:.0f} % most uncertain voxels hold "
            f"{100 * trust.errors_captured:.0f} % of the wrong ones"
        )


def page_address(model: Model) -> str:
    """Return where the model's page is; '' where the model names none that can be opened."""
    page = model.evidence.page
    if _PAGE.fullmatch(page) and ".." not in page:
        return f"{HOMEPAGE}/blob/main/{page}"
    return page if page.startswith("https://") else ""
