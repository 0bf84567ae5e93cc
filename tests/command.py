"""The `cada` command in this process: the same entry and exit codes, without the imports."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from cada.cli.main import run


def here(
    *arguments: object, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """What a process of its own would give; `cwd` is where it would stand."""
    told, complained = io.StringIO(), io.StringIO()
    argv = ["cada", *map(str, arguments)]
    code = 0
    with (
        patch.object(sys, "argv", argv),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        patch.dict(os.environ, {"COLUMNS": "200"}),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(complained),
    ):
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(argv, code, told.getvalue(), complained.getvalue())
