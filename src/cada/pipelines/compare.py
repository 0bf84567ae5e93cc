"""`cada compare`: read the runs → pair their answers → table, page and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cada.files import write_text
from cada.reporting.compare.load import Measured, load_models
from cada.reporting.compare.page import render
from cada.reporting.compare.table import Line, as_rows, check_comparable, table
from cada.reporting.compare.text import latex, markdown


@dataclass(frozen=True)
class Comparison:
    """The models, the table, and what a reader must know of how they were measured."""

    models: list[Measured]
    lines: list[Line]
    notes: list[str]
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for machines."""
        return {
            "models": [
                {"name": m.name, "model": m.model, "folder": str(m.folder), "n": len(m.answers)}
                for m in self.models
            ],
            "judge": self.models[0].judge,
            "notes": self.notes,
            "report": str(self.report),
            "rows": as_rows(self.models, self.lines),
        }


def compare(
    runs: Sequence[str],
    report: Path,
    markdown_file: Path | None = None,
    latex_file: Path | None = None,
) -> Comparison:
    """Compare the models of several runs and write what was asked for.

    Raises:
        CadaError: no finished run, two judges, no request in common, or a file cannot be written.
    """
    models = load_models(runs)
    notes = check_comparable(models)
    lines = table(models)
    write_text(report, render(models, lines, notes))
    if markdown_file is not None:
        write_text(markdown_file, markdown(models, lines))
    if latex_file is not None:
        write_text(latex_file, latex(models, lines))
    return Comparison(models, lines, notes, report)
