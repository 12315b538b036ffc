"""Which state of the engine's source computed a number: the version alone rarely changes."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).parent
LAYERS = (  # what decides about weights, predictions and scores; not pages, commands, panels
    "benchmarking/running.py",
    "config.py",
    "data",
    "evaluation",
    "inference",
    "losses",
    "methods",
    "networks",
    "package",
    "schedules.py",
    "settings.py",
    "training",
)
DIGITS = 12
_QUOTES = '"""'


@functools.cache
def source_digest(engine: Path = ENGINE) -> str:
    """Return `DIGITS` hex digits of a sha256 over names and code of the `LAYERS`.

    Docstrings, lines that are a comment, blank lines and the kind of line ends are not in it. It
    is computed once in a process: of what lay there then.

    Args:
        engine: Folder of the engine.
    """
    digest = hashlib.sha256()
    for path in _files(engine):
        name = path.relative_to(engine).as_posix()
        digest.update(f"{name}\n{_code(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:DIGITS]


def _files(engine: Path) -> Iterator[Path]:
    """Yield the Python files of the `LAYERS`, always in the same order."""
    for layer in LAYERS:
        path = engine / layer
        yield from (path,) if path.suffix == ".py" else sorted(path.rglob("*.py"))


def _code(text: str) -> str:
    """Return the lines of `text` without docstrings, comment lines and blank lines."""
    lines = text.split("\n")
    for first, last in _docstrings(ast.parse(text)):
        if lines[first].lstrip().startswith(_QUOTES) and lines[last - 1].endswith(_QUOTES):
            lines[first:last] = [""] * (last - first)
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _docstrings(node: ast.AST) -> Iterator[tuple[int, int]]:
    """Yield the lines, first and past the last, of the docstrings of a module and what is in it."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())) as text, *_]:
            yield text.lineno - 1, text.end_lineno or text.lineno
    for child in node.body:
        yield from _docstrings(child)
