"""Progress on the terminal: bars where there is one, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

# A part of a step with fewer rollouts or updates ends soon enough to say nothing in between.
_LONG = 100


class ConsoleWatcher:
    """Shows stages, answers measured and training steps with reward, KL and time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not self.live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}
        self._started = time.monotonic()
        self._first_step: tuple[int, float] | None = None

    def __enter__(self) -> "ConsoleWatcher":
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def stage(self, text: str) -> None:
        """A new stage begins."""
        for task in self._tasks.values():
            self.bars.remove_task(task)
        self._tasks.clear()
        self._told.clear()
        self._line(text)
        if text == "training":
            self._first_step = None

    def measured(self, text: str, done: int, total: int) -> None:
        """So many answers of a set are there."""
        self._show("measure", text, done, total)

    def within_step(self, what: str, done: int, total: int) -> None:
        """So many of the step's rollouts or updates are done."""
        self._show(what, f"  {what}", done, total)
        self._tell_quarters(what, done, total)

    def trained(self, metrics: dict[str, Any], total: int) -> None:
        """A training step is done: its reward, KL and the time left at this pace."""
        step = int(metrics["step"])
        now = time.monotonic()
        seconds = float(metrics["seconds_rollout"] + metrics["seconds_update"])
        left = (total - step) * seconds
        if self._first_step is not None:
            first, at = self._first_step
            left = (total - step) * (now - at) / (step - first)
        else:
            self._first_step = (step, now)
        note = _summary(metrics)
        self._show("train", f"step {metrics['phase']}", step, total, note)
        if not self.live or metrics.get("stopped"):
            text = f"step {step}/{total} {metrics['phase']}: {note}, {left / 60:.0f} min left"
            self.console.print(text, highlight=False, soft_wrap=True)
        if metrics.get("stopped"):
            self.console.print(f"[yellow]stopped at {metrics['stopped']}[/]", soft_wrap=True)

    def _tell_quarters(self, what: str, done: int, total: int) -> None:
        """Without bars, a line at each quarter of a long part of a step."""
        quarter = 4 * done // total
        if quarter < self._told.get(what, 0):  # another round, or the next step
            self._told[what] = 0
        if not self.live and total >= _LONG and self._told.get(what, 0) < quarter < 4:
            self._line(f"  {what} {done}/{total}")
        self._told[what] = quarter

    def _line(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self.console.print(f"[dim]{minutes:3d}:{seconds:02d}[/] {text}", highlight=False)

    def _show(self, key: str, text: str, done: int, total: int, note: str = "") -> None:
        if key not in self._tasks:
            self._tasks[key] = self.bars.add_task(text, total=total, note=note)
        self.bars.update(self._tasks[key], description=text, completed=done, total=total, note=note)


def _summary(metrics: dict[str, Any]) -> str:
    parts = [f"+1 {metrics['share_plus']:.0%}"] if "share_plus" in metrics else []
    if metrics.get("loss") is not None and not parts:
        parts.append(f"loss {metrics['loss']:.3f}")
    if metrics.get("reward") is not None:
        parts.append(f"reward {metrics['reward']:+.2f}")
    if metrics.get("kl") is not None:
        parts.append(f"KL {metrics['kl']:.3f}")
    return ", ".join(parts)
