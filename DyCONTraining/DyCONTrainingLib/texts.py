"""What the panel says, as pure functions: counts, states, sentences."""

from __future__ import annotations

from collections.abc import Sequence

from DyCONLib.install import INSTALLING, hindrance
from DyCONTrainingLib.advice import Mood
from DyCONTrainingLib.cases import FromFile, FromScene, Row, Table, counts
from DyCONTrainingLib.draft import Finding, Level
from DyCONTrainingLib.run_card import RunCard, Standing

RED, YELLOW, GREEN, GRAY, BLUE = (
    (204, 51, 51),
    (230, 159, 0),
    (0, 158, 115),
    (128, 128, 128),
    (0, 114, 178),
)
MOODS = {Mood.GOOD: GREEN, Mood.CALM: GRAY, Mood.WATCH: YELLOW, Mood.BAD: RED}
LEVELS = {Level.PROBLEM: RED, Level.WARNING: YELLOW}
STANDINGS = {
    Standing.QUEUED: GRAY,
    Standing.STARTING: BLUE,
    Standing.RUNNING: BLUE,
    Standing.FINISHED: GREEN,
    Standing.CANCELLED: GRAY,
    Standing.FAILED: RED,
    Standing.DEAD: RED,
    Standing.UNREADABLE: RED,
}
ROLES = {"labeled": GREEN, "unlabeled": GRAY, "validation": BLUE, "test": BLUE}


def where_text(row: Row) -> str:
    """Return where a case is and what it is called in the data set."""
    channels = f", {len(row.images)} channels" if len(row.images) > 1 else ""
    if row.alias:
        return f"{row.title}\nin the data set as {row.alias}{channels}"
    place = {FromScene: "loaded", FromFile: "in a folder"}.get(type(row.images[0]), "")
    return f"{row.title}\n{place}{channels}; not in the data set yet"


def case_text(row: Row) -> str:
    """Return what a case is called, and how many scans it has where there are several."""
    return f"{row.title} ({len(row.images)} channels)" if len(row.images) > 1 else row.title


def check_text(findings: Sequence[Finding], *, checked: bool) -> str:
    """Return in a word what was found about a case; problems before what is good to know."""
    if any(finding.level is Level.PROBLEM for finding in findings):
        return "solve"
    if findings:
        return "look"
    return "ok" if checked else "..."


def segments_text(row: Row) -> str:
    """Return whether there is a segmentation, short."""
    return "-" if row.label is None else "yes"


def counts_text(table: Table) -> str:
    """Return how many cases have which role."""
    new = sum(not row.is_saved for row in table)
    text = counts(table)
    return f"{text}; {new} not saved yet" if new else text


def finding_text(finding: Finding) -> str:
    """Return the sentence of a finding after the word that its cases carry in the table."""
    return f"{check_text([finding], checked=True).capitalize()}: {finding.text}"


def findings_text(findings: list[Finding], *, checked: bool) -> str:
    """Return how much was found."""
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    rest = len(findings) - problems
    parts = []
    if problems:
        parts.append(f"{problems} problem{'s' if problems > 1 else ''} to solve")
    if rest:
        parts.append(f"{rest} thing{'s' if rest > 1 else ''} to know")
    text = ", ".join(parts)
    return f"{text}:" if checked or not text else f"{text} (still checking):"


def step_text(card: RunCard) -> str:
    """Return how far a run is, e.g. `400 / 1500`."""
    return f"{card.step} / {card.total}" if card.total else "-"


def dice_text(dice: float | None) -> str:
    """Return a Dice, or a dash where there is none."""
    return "-" if dice is None else f"{dice:.3f}"


def run_tip(card: RunCard) -> str:
    """Return what a run is, for its tooltip."""
    if card.request is None:
        return card.sentence or card.name
    request = card.request
    changed = [f"{name} = {value}" for name, value in sorted(request.settings.items())]
    lines = [f"{request.method}, profile {request.profile}, {request.steps} steps"]
    lines += ["from a model" if request.start else "from scratch", *changed]
    if request.compare_with:
        lines.append(f"to compare with '{request.compare_with}'")
    return "\n".join([*lines, card.sentence] if card.sentence else lines)


def setup_text(missing: list[str], *, installing: bool) -> str:
    """Return what is missing for the engine, and whether it is being installed."""
    if installing:
        return INSTALLING
    if hindrance():
        return f"Training is not possible here: {hindrance()}."
    return (
        "Training needs Python packages that are not installed yet: " + ", ".join(missing) + ". "
        "They go into the Python of 3D Slicer; nothing is downloaded before you agree."
    )


def bar_style(color: tuple[int, int, int]) -> str:
    """Return the style of a sentence with a colored bar at its left, readable on dark and light."""
    red, green, blue = color
    left = f"border-left: 4px solid rgb({red}, {green}, {blue})"
    return f"QLabel {{ border: 0px; {left}; padding-left: 6px; }}"
