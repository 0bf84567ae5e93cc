"""What every command does alike."""

import subprocess
import sys

import pytest

_WARNS = """
import sys, warnings
from cada.cli.main import run
sys.argv = ["cada", *sys.argv[1:], "casebook", "check", "default"]
try:
    run()
except SystemExit:
    pass
warnings.warn("one library will change for another", FutureWarning)
"""


@pytest.mark.parametrize(("flags", "told"), [([], False), (["--debug"], True)])
def test_what_libraries_tell_one_another_is_for_debugging(flags: list[str], told: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WARNS, *flags], capture_output=True, text=True, check=True
    )
    assert "is fine" in done.stdout
    assert ("one library will change" in done.stderr) == told
