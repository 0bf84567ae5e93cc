"""The plan of a run, for people: memory, tokens and time, and what to change."""

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cada.planning.plan import Plan


def as_dict(plan: Plan) -> dict[str, Any]:
    """The plan for machines: bytes, tokens, operations and seconds."""
    memory = plan.memory
    return {
        "model": plan.model,
        "device": plan.device,
        "precision": plan.precision,
        "shared_prefixes": plan.shared,
        "memory": {
            "parts": [asdict(p) for p in memory.parts],
            "peak": memory.peak,
            "free": memory.free,
            "fits": memory.fits,
        },
        "stages": [asdict(s) for s in plan.stages],
        "rates": asdict(plan.rates) if plan.rates else None,
        "operations": sum(s.operations for s in plan.stages),
        "seconds": plan.seconds,
        "assumptions": plan.assumptions,
        "advice": plan.advice,
    }


def show(plan: Plan, console: Console) -> None:
    """Print the plan."""
    console.print(_memory(plan))
    console.print(_work(plan))
    total = sum(s.trained + s.prefilled for s in plan.stages)
    alone = sum(s.trained_unshared + s.prefilled_unshared for s in plan.stages)
    lines = [
        f"Sharing prefixes computes {total:,} tokens of prompts and updates instead of {alone:,} "
        f"({alone / max(total, 1):.1f} times fewer).",
        f"Time in all: about {clock(plan.seconds)}.",
        *(f"Assumed: {text}." for text in plan.assumptions),
    ]
    verdict = "It fits." if plan.memory.fits else "It does not fit. What to change:"
    for line in [*lines, verdict, *plan.advice]:
        console.print(line, highlight=False, markup=False)


def clock(seconds: float | None) -> str:
    """A duration in the unit that fits."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _memory(plan: Plan) -> Table:
    table = Table(
        title=f"{plan.model} on {plan.device}, {plan.precision}",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("memory")
    table.add_column("held")
    table.add_column("MB", justify="right")
    words = {
        "always": "always",
        "update": "in an update",
        "loss": "at its loss",
        "backward": "or in its layers",
        "sampling": "while sampling",
    }
    for part in plan.memory.parts:
        table.add_row(part.name, words[part.when], f"{part.bytes / 1e6:,.0f}")
    table.add_section()
    table.add_row("peak", "", f"{plan.memory.peak / 1e6:,.0f}")
    table.add_row("free on this machine", "", f"{plan.memory.free / 1e6:,.0f}")
    return table


def _work(plan: Plan) -> Table:
    """A column a phase: there are more figures than phases, mostly."""
    table = Table(box=box.SIMPLE)
    table.add_column("tokens and time")
    for stage in plan.stages:
        table.add_column(stage.name, justify="right")
    rows: list[tuple[str, list[str]]] = [
        ("steps", [f"{s.steps:,}" for s in plan.stages]),
        ("rollouts", [f"{s.rollouts:,}" for s in plan.stages]),
        ("prompt tokens read", [f"{s.prefilled:,}" for s in plan.stages]),
        ("  without sharing", [f"{s.prefilled_unshared:,}" for s in plan.stages]),
        ("tokens sampled", [f"{s.sampled:,}" for s in plan.stages]),
        ("updates", [f"{s.updates:,}" for s in plan.stages]),
        ("tokens trained", [f"{s.trained:,}" for s in plan.stages]),
        ("  without sharing", [f"{s.trained_unshared:,}" for s in plan.stages]),
        ("TFLOP", [f"{s.operations / 1e12:,.1f}" for s in plan.stages]),
        ("time", [clock(s.seconds) for s in plan.stages]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
