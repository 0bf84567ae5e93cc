"""A folder for one measurement: what it measures stands in its config.yaml."""

from pathlib import Path
from typing import Any

import yaml

from cada.errors import CadaError
from cada.files import write_text
from cada.pipelines.run_folder import read_config


def claim(out: Path, plain: dict[str, Any], what: str) -> None:
    """Make `out` the folder of this measurement, or see that it is.

    Args:
        out: the folder.
        plain: what tells two measurements apart, as plain data.
        what: what it is called, with its article.

    Raises:
        CadaError: it holds another one, or something else.
    """
    config = out / "config.yaml"
    if config.exists():
        there = read_config(config)
        if there == plain:
            return
        held = there if isinstance(there, dict) else {}
        differing = [name for name in {**plain, **held} if held.get(name) != plain.get(name)]
        raise CadaError(
            f"the folder holds another measurement (it differs in {', '.join(differing[:3])})",
            where=str(out),
            mend="Choose another --out",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CadaError(
            f"the output exists and is not {what}", where=str(out), mend="Choose another --out"
        )
    write_text(config, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
