"""The folder of a run: one recipe, one run."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from cada.config.load import dump_recipe
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.files import write_json, write_text

_PACKAGES = ("cada-align", "torch", "transformers", "accelerate", "peft", "datasets", "gguf", "trl")

# Where a server is changes nothing that a run does.
_SERVER = tuple(
    f"rollout.vllm.{name}"
    for name in ("base_url", "model", "weights", "concurrency", "retries", "timeout")
)


def check_run(recipe: Recipe) -> Path:
    """The run's folder, seen to be free or to hold the same run; nothing is written.

    Raises:
        CadaError: the folder holds another run, or files that are no run.
    """
    folder = Path(recipe.output)
    config = folder / "config.yaml"
    if config.exists():
        found = _differences(read_config(config), yaml.safe_load(dump_recipe(recipe)))
        differing = [name for name in found if name not in _SERVER]
        if differing:
            shown = ", ".join(differing[:3]) + (" …" if len(differing) > 3 else "")
            raise CadaError(
                f"the folder holds another run (it differs in {shown})",
                where=str(folder),
                mend="Choose another place with output=FOLDER, or remove the folder",
            )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CadaError(
            "the output exists and is no run of cada",
            where=str(folder),
            mend="Choose another place with output=FOLDER",
        )
    return folder


def open_run(recipe: Recipe) -> None:
    """Make the run's folder by writing its resolved recipe."""
    config = Path(recipe.output) / "config.yaml"
    if not config.exists():
        write_text(config, dump_recipe(recipe))


def write_environment(folder: Path, recipe: Recipe, threads: int, processes: int = 1) -> None:
    """Record versions, commit, seeds, hardware and the number of processes."""
    write_json(
        folder / "environment.json",
        {
            "python": sys.version.split()[0],
            "packages": versions(),
            "git_commit": source_commit(),
            "seed": recipe.seed,
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "threads": threads,
            "processes": processes,
        },
    )


def versions() -> dict[str, str | None]:
    """The versions of the packages that a run's figures depend on; None for one that is missing."""
    return {name: _version(name) for name in _PACKAGES}


def read_config(config: Path) -> Any:
    """A folder's resolved settings.

    Raises:
        CadaError: they cannot be read.
    """
    try:
        return yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CadaError(
            "the folder's config.yaml cannot be read, so that nothing tells what it holds",
            where=str(config),
            mend="Choose another place, or remove the folder",
        ) from error


def _differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Dotted names of the values in which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        names = [*a, *(k for k in b if k not in a)]
        return [d for k in names for d in _differences(a.get(k), b.get(k), f"{path}{k}.")]
    return [] if a == b else [path.rstrip(".") or "its content"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def source_commit() -> str | None:
    """The commit of the source tree that cada runs from, when it is one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None
