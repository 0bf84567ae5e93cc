"""The report: one HTML file that needs no network and runs nothing but its own scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cada.files import write_text
from cada.judging.known import agreement
from cada.reporting.diagnose import diagnose
from cada.reporting.figures import curves, tradeoff
from cada.reporting.headline import headline
from cada.reporting.load import RunData, load_run
from cada.reporting.page import render_page
from cada.reporting.tables import comparison
from cada.reporting.transcripts import by_hazard


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder, whole or not at all, and return its path.

    Raises:
        CadaError: the folder is no finished run, or the file cannot be written.
    """
    target = folder / "report.html"
    write_text(target, render(load_run(folder)))
    return target


def render(run: RunData) -> str:
    """The report as HTML."""
    table, diagnoses = comparison(run.rows), diagnose(run)
    picture, panels = tradeoff(table), curves(run.metrics)
    figures = {panel.id: panel.figure for panel in panels}
    if picture is not None:
        figures["tradeoff"] = picture
    return render_page(
        "report.html.j2",
        figures,
        folder=run.folder.resolve().name,
        model=run.config.get("model", "unknown model"),
        headline=headline(run, table, diagnoses),
        table=table,
        diagnoses=diagnoses,
        has_picture=picture is not None,
        panels=panels,
        hazards=by_hazard(run),
        facts=_facts(run),
        recipe=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=96),
        environment=_flat(run.environment),
    )


def _facts(run: RunData) -> list[tuple[str, str]]:
    """What the training took, in a few lines."""
    steps = sum(int(p.get("steps") or 0) for p in run.phases)
    seconds = [
        (m.get("seconds_rollout") or 0) + (m.get("seconds_update") or 0) for m in run.metrics
    ]
    judges = sorted({str(r.get("judge")) for r in run.rows if r["benchmark"] != "canary"})
    skipped = sum(int(m.get("skipped") or 0) for m in run.metrics)
    rollouts = sum(int(m.get("rollouts") or 0) for m in run.metrics)
    return [
        ("model", str(run.config.get("model"))),
        ("casebook", str(run.config.get("casebook"))),
        ("seed", str(run.config.get("seed"))),
        ("phases", ", ".join(f"{p.get('name')} ({p.get('steps')} steps)" for p in run.phases)),
        (
            "training",
            f"{len(run.metrics)} of {steps} steps, {skipped} skipped, {rollouts} rollouts",
        ),
        ("training time", f"{sum(seconds) / 60:.1f} min"),
        ("judge", "; ".join(f"{name} {agreement(name) or ''}".strip() for name in judges)),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names with their values."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", "–" if value is None else str(value)))
    return found
