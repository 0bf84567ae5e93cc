"""Files that are either whole or absent."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cada.errors import CadaError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; move it into place when the block succeeds.

    A file or a folder may be written there. If the block raises, the temporary is removed and
    `target` is untouched. A folder that exists at `target` is replaced.

    Raises:
        CadaError: the disk is full or the place cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    inner = temporary / target.name
    try:
        yield inner
        _flush(inner)
        _move(inner, target, temporary)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder until the block ends or this process dies.

    Raises:
        CadaError: another process holds it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CadaError(
            "another process is at work in this folder",
            where=str(folder),
            mend="Wait until it ends, or choose another place",
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write_text(target: Path, text: str) -> None:
    """Write `text` (UTF-8) to `target`, whole or not at all."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON to `target`, whole or not at all."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_json_line(target: Path, value: Any) -> None:
    """Append one JSON line and flush it to the disk."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(target, error) from error


def read_json_lines(path: Path, keep: Callable[[dict[str, Any]], bool] | None = None) -> list[Any]:
    """Read a JSON-lines file; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if not line:
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if keep is None or keep(row):
            rows.append(row)
    return rows


def drop_partial_line(path: Path) -> None:
    """Cut off a last line that a kill left without its end, so that lines can be appended."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(text.rfind(b"\n") + 1)


def _flush(path: Path) -> None:
    """Force what was written to the disk, so that a crash after the rename loses nothing."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _move(source: Path, target: Path, temporary: Path) -> None:
    if source.is_dir() and target.exists():
        os.replace(target, temporary / "replaced")
    os.replace(source, target)


def _unwritable(target: Path, error: OSError) -> CadaError:
    reason = error.strerror or str(error)
    return CadaError(
        f"could not be written ({reason})",
        where=str(target),
        mend="Free some space or choose another folder; nothing was left half-written",
    )
