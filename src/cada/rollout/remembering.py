"""Rollouts that outlive a killed step."""

import hashlib
import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cada.files import atomic_path
from cada.rollout.types import Engine, Prompt, Rollout, Sampling

log = logging.getLogger(__name__)

_COLUMNS = pa.schema(
    {
        "completion_ids": pa.list_(pa.int64()),
        "logprobs": pa.list_(pa.float64()),
        "text": pa.string(),
        "finish_reason": pa.string(),
    }
)
_CALL = b"cada.call"


class RememberingEngine:
    """Keeps what each call sampled in a file, until told to forget.

    A step that a kill cut off after its sampling then goes on with the same rollouts. Calls are
    told apart by their seed, so one seed must stand for one state of the policy.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, sampled now or before."""
        path = self.folder / f"{seed}.parquet"
        call = _call(prompts, samples, sampling)
        if (table := _read(path, call)) is not None:
            log.info("going on with %d rollouts sampled before", len(table))
            return _grouped(prompts, samples, table)
        groups = self.engine.generate(prompts, samples, sampling, seed)
        rows = [{c: getattr(r, c) for c in _COLUMNS.names} for group in groups for r in group]
        table = pa.Table.from_pylist(rows, schema=_COLUMNS.with_metadata({_CALL: call}))
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)
        return groups

    def forget(self) -> None:
        """Remove every kept call."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path, call: bytes) -> pa.Table | None:
    """The kept call; None if there is none, it is another one, or its file is damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    return table if (table.schema.metadata or {}).get(_CALL) == call else None


def _call(prompts: list[Prompt], samples: int, sampling: Sampling) -> bytes:
    """What a call asked for, as a digest."""
    own = [p.seed for p in prompts if p.seed is not None]
    prompted = [[p.request_id, p.mode, p.ids] for p in prompts]
    asked = [prompted, samples, asdict(sampling), *([own] if own else [])]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest().encode()


def _grouped(prompts: list[Prompt], samples: int, table: pa.Table) -> list[list[Rollout]]:
    rows = table.to_pylist()
    return [
        [
            Rollout(
                prompt.request_id,
                prompt.mode,
                prompt.ids,
                tuple(row["completion_ids"]),
                tuple(row["logprobs"]),
                row["text"],
                row["finish_reason"],
            )
            for row in rows[i * samples : (i + 1) * samples]
        ]
        for i, prompt in enumerate(prompts)
    ]
