"""What a run says where there is no terminal."""

from io import StringIO

from rich.console import Console

from cada.cli.watch import ConsoleWatcher


def said(*calls: tuple[str, int, int], terminal: bool = False) -> list[str]:
    out = StringIO()
    watcher = ConsoleWatcher(Console(file=out, force_terminal=terminal, width=80))
    for call in calls:
        watcher.within_step(*call)
    return [line.split(maxsplit=1)[1].strip() for line in out.getvalue().splitlines()]


def test_a_long_part_of_a_step_is_told_at_each_quarter() -> None:
    round_ = [("rollouts", done, 400) for done in range(40, 401, 40)]
    quarters = ["rollouts 120/400", "rollouts 200/400", "rollouts 320/400"]
    assert said(*round_) == quarters
    assert said(*round_, *round_) == 2 * quarters
    assert said(*round_, ("updates", 30, 120)) == [*quarters, "updates 30/120"]


def test_a_short_part_is_not_nor_is_anything_where_there_are_bars() -> None:
    assert said(*[("rollouts", done, 64) for done in range(1, 65)]) == []
    assert said(*[("rollouts", done, 400) for done in range(40, 401, 40)], terminal=True) == []
