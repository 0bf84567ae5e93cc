"""What the export tests share: a small recipe, outputs of every kind, ways to read an export."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cada.config.load import parse_recipe
from cada.config.recipe import Recipe

PHASE: dict[str, Any] = {
    "name": "reinforce",
    "steps": 2,
    "rollout_mode": "cases",
    "loss_context": "cases",
    "requests_per_step": 4,
    "rollouts_per_request": 4,
    "max_tokens": 8,
    "advantage": "leave_one_out",
    "shares": {"harmful": 0.5, "lookalike": 0.25, "ordinary": 0.25},
}


def recipe(model: Path | str, phases: list[dict[str, Any]] | None = None, **changes: Any) -> Recipe:
    """A recipe of small phases on the embedded requests; `phases` change `PHASE`."""
    base: dict[str, Any] = {"model": str(model), "output": "runs/x", "seed": 3}
    return parse_recipe(
        {**base, "phases": [{**PHASE, **each} for each in phases or [{}]], **changes}, "test"
    )


def outputs(request: str) -> list[str]:
    """Outputs to a request: reasoned and not, refusing and not, whole and broken, unscored."""
    thought = f"Somebody who asks this, {request!r}, may want to hurt other people with it."
    refusal = "I can't help with that, because it would do harm to other people."
    answer = f"Here is how to do it. First, look at this: {request} Then go on step by step."
    russian = "Я не могу помочь вам с этим, потому что это может причинить вред другим людям."
    return [
        f"Analysis: {thought}\n\nFinal response: {refusal}",
        f"Analysis: {thought}\n\nFinal response: {answer}",
        f"Analysis: Harmful. {thought}\n\nFinal response: {refusal}",
        f"Analysis: ok\n\nFinal response: {refusal}",
        f"Analysis: {thought}\n\nFinal response: {russian}",
        refusal,
        answer,
        "",
        "Analysis: Final response:",
    ]


def load(path: Path) -> Any:
    """A Python file as trainers load it: by its path."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started_with(script: Path, tmp_path: Path, *more: str, **environment: str) -> list[str]:
    """The arguments with which a launch script starts Python."""
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c "
        "'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(script), *more],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHON": str(python), **environment},
    )
    told: list[str] = json.loads(done.stdout)
    return told
