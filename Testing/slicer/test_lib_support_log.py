"""What is copied into a bug report names nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycon_engine.jobs.events import CaseDone, Failed, Started, Warned
from DyCONLib.support_log import support_log, without_names

SECRETS = [
    ("case 'Doe^Jane': label is 96x96x64", ["Doe", "Jane"], "label is 96x96x64"),
    ("case 'O'Brien': too small; exclude it", ["Brien"], "too small; exclude it"),
    ('File "/home/anna/My Scans/x.py", line 3, in f', ["anna", "Scans"], "line 3"),
    ("nothing at /home/anna/scan", ["anna", "scan"], "nothing at"),
    (r"nothing at C:\Users\anna\scan.dcm now", ["anna", "Users"], "now"),
    ("cannot read jane_doe.nii.gz (cut short)", ["jane"], "cut short"),
    ("host (on 'ward-7') works", ["ward"], "works"),
]


@pytest.mark.parametrize(("line", "secrets", "kept"), SECRETS)
def test_names_and_paths_are_left_out_and_the_reason_stays(line, secrets, kept):
    text = without_names(line)
    assert kept in text
    assert not [secret for secret in secrets if secret.casefold() in text.casefold()]


def test_names_of_cases_and_files_are_left_out_wherever_they_stand():
    events = [
        Started(job="predict", engine="0.1.0", device="cpu"),
        Warned(topic="memory", message="slab by slab"),
        CaseDone(case="Jane Doe", error="Jane Doe is cut short"),
        Failed(message="2 of 9 cases failed: jane doe, Smith-4711; see above", exit_code=2),
    ]
    stderr = "DyCON: Smith-4711 refused\nDyCON: plain\n"
    text = support_log(events, stderr, [Path("/data/ward 9/Smith-4711.nii.gz"), "--overwrite"])
    for secret in ("jane", "doe", "smith", "4711", "ward"):
        assert secret not in text.casefold()
    for kept in (
        "started predict, engine 0.1.0, device cpu",
        "slab by slab",
        "failed (2)",
        "plain",
    ):
        assert kept in text
