"""B18: nothing listens, connects or looks up a name; and everything works without a network."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from Testing import whole_job

HOOK = """
import socket, sys
def watch(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg",
                 "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        sys.stderr.write(f"NETWORK {event} {arguments}\\n")
sys.addaudithook(watch)
def listen(self, *arguments):
    sys.stderr.write("NETWORK socket.listen\\n")
socket.socket.listen = listen
"""


def lines(tmp_path) -> list[list[str]]:
    """Every command, in the order of a whole job."""
    data, run = tmp_path / "data", tmp_path / "run"
    package = str(run / "package" / "last.dycon")
    out = str(tmp_path / "out")
    evaluate = ["--prediction", out, "--reference", str(data / "labels")]
    return [
        whole_job.train_line(data, run),
        ["predict", "--package", package, "--input", str(data / "images"), "--output", out,
         "--report", str(tmp_path / "reports"), "--device", "cpu"],
        ["evaluate", *evaluate, "--output", str(tmp_path / "report")],
        ["rank", "--package", package, "--data", str(data), "--output", str(tmp_path / "r.csv")],
        ["describe", "--package", package, "--data", str(data), "--machine", "--methods"],
    ]  # fmt: skip


def write(tmp_path) -> None:
    whole_job.write_data(tmp_path / "data", ["a", "b", "c", "d"], labeled=3)


def test_the_hook_sees_a_connection():
    code = HOOK + "\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    assert "NETWORK socket.connect" in whole_job.run([], code=code).stderr


def test_no_command_touches_the_network(tmp_path):
    write(tmp_path)
    result = whole_job.run(lines(tmp_path), code=HOOK)
    assert result.returncode == 0, result.stderr
    assert "NETWORK" not in result.stderr
    assert result.stdout.count('"event": "finished"') == 4  # describe has no events


@pytest.mark.slow
def test_every_command_works_without_a_network(tmp_path):
    alone = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("unshare --net is not permitted here")
    write(tmp_path)
    result = whole_job.run(lines(tmp_path), before=alone)
    assert result.returncode == 0, result.stderr
