"""Rollouts that outlive a killed step."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from cada.files import atomic_path
from cada.rollout.types import Engine, EngineLostError, Prompt, Rollout, Sampling

log = logging.getLogger(__name__)

_COLUMNS = pa.schema(
    {
        "place": pa.int64(),
        "completion_ids": pa.list_(pa.int64()),
        "logprobs": pa.list_(pa.float64()),
        "text": pa.string(),
        "finish_reason": pa.string(),
    }
)
_CALL = b"cada.call"


class RememberingEngine:
    """Keeps what each call sampled in a file, until told to forget.

    A step that a kill cut off after its sampling then goes on with the same rollouts, and one whose
    engine was lost goes on with the prompts that are left. Calls are told apart by their seed, so
    one seed must stand for one state of the policy.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, sampled now or before.

        Raises:
            EngineLostError: the engine was lost; what it still gave is kept.
        """
        path = self.folder / f"{seed}.parquet"
        call = _call(prompts, samples, sampling)
        had = _read(path, call, prompts)
        if had:
            log.info("going on with %d prompts sampled before", len(had))
        left = [place for place in range(len(prompts)) if place not in had]
        if left or not prompts:
            # The rest of a call must not draw again what its beginning drew.
            own = Random(f"{seed}/{len(had)}").getrandbits(56) if had else seed
            try:
                made = self.engine.generate([prompts[i] for i in left], samples, sampling, own)
            except EngineLostError as error:
                had |= {left[i]: group for i, group in error.had.items()}
                _write(path, call, had)
                raise
            had |= dict(zip(left, made, strict=True))
            _write(path, call, had)
        return [had[place] for place in range(len(prompts))]

    def forget(self) -> None:
        """Remove every kept call."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, call: bytes, had: Mapping[int, list[Rollout]]) -> None:
    rows = [
        {"place": place, **{c: getattr(r, c) for c in _COLUMNS.names[1:]}}
        for place, group in sorted(had.items())
        for r in group
    ]
    table = pa.Table.from_pylist(rows, schema=_COLUMNS.with_metadata({_CALL: call}))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _read(path: Path, call: bytes, prompts: list[Prompt]) -> dict[int, list[Rollout]]:
    """The kept prompts' rollouts; none if it is another call, or its file is damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return {}
    if (table.schema.metadata or {}).get(_CALL) != call or table.schema.names != _COLUMNS.names:
        return {}
    had: dict[int, list[Rollout]] = {}
    for row in table.to_pylist():
        prompt = prompts[row["place"]]
        had.setdefault(row["place"], []).append(
            Rollout(
                prompt.request_id,
                prompt.mode,
                prompt.ids,
                tuple(row["completion_ids"]),
                tuple(row["logprobs"]),
                row["text"],
                row["finish_reason"],
            )
        )
    return had


def _call(prompts: list[Prompt], samples: int, sampling: Sampling) -> bytes:
    """What a call asked for, as a digest."""
    own = [p.seed for p in prompts if p.seed is not None]
    prompted = [[p.request_id, p.mode, p.ids] for p in prompts]
    asked = [prompted, samples, asdict(sampling), *([own] if own else [])]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest().encode()
