"""What a run sampled, for people and for later: a parquet file a step."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cada.files import atomic_path
from cada.training.collect import Judged

# Fixed, so that a column that is empty in one step has the other steps' type.
_ROLLOUTS = pa.schema(
    {
        "step": pa.int64(),
        "request_id": pa.string(),
        "kind": pa.string(),
        "hazard": pa.string(),
        "request": pa.string(),
        "mode": pa.string(),
        "text": pa.string(),
        "outcome": pa.string(),
        "reason": pa.string(),
        "reward": pa.float64(),
        "reasoned": pa.bool_(),
        "quality": pa.float64(),
        "tokens": pa.int64(),
        "finish_reason": pa.string(),
    }
)


def write_rollouts(folder: Path, step: int, judged: Sequence[Judged]) -> None:
    """Write a step's rollouts into a run's folder, whole or not at all."""
    table = pa.Table.from_pylist([j.row(step) for j in judged], schema=_ROLLOUTS)
    with atomic_path(folder / "rollouts" / f"step-{step:05d}.parquet") as path:
        pq.write_table(table, path)
