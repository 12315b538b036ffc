r"""Runs an engine job whose arguments came in the environment: `-m DyCONLib.launched MODULE`.

On Windows, PythonSlicer of Slicer before 5.12 takes its command line for UTF-8, which it is not: a
path with a letter beyond ASCII, as below C:\Users of many people, would not arrive as it is.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Mapping, Sequence

VARIABLE = "DYCON_ARGUMENTS"


def as_launched(
    argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return command line and environment of a child such that its arguments arrive anywhere.

    Args:
        argv: Interpreter, -m, module, its arguments; any other program is left as it is.
        environment: Of the child.
    """
    if os.name != "nt" or argv[1:2] != ("-m",) or all(word.isascii() for word in argv[2:]):
        return argv, environment
    words = json.dumps(argv[3:])  # in ASCII
    return (*argv[:2], "DyCONLib.launched", argv[2]), {**environment, VARIABLE: words}


def main() -> None:
    """Run the module named on the command line."""
    module = sys.argv[1]
    sys.argv[:] = [module, *json.loads(os.environ.pop(VARIABLE))]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
