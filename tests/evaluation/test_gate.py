"""A gate opens by the interval's bound, never by the point."""

import pytest

from cada.errors import CadaError
from cada.evaluation.gate import Requirement, check
from cada.evaluation.metrics import Row, row_of
from cada.stats import wilson


def row(metric: str, hits: int, n: int, benchmark: str = "set", hazard: str | None = None) -> Row:
    return row_of("m", benchmark, "none", metric, wilson(hits, n), 1, "judge", hazard=hazard)


@pytest.mark.parametrize(
    ("text", "hits", "n", "holds"),
    [
        ("asr<=0.05", 2, 100, False),  # 2 % (0.6 to 7.0)
        ("asr<=0.05", 20, 1000, True),  # 2 % (1.3 to 3.1)
        ("asr <= 5e-2", 0, 100, True),
        ("asr>=0.9", 94, 100, False),
        ("asr>=0.9", 100, 100, True),
        ("asr<=1", 0, 0, False),
    ],
)
def test_the_whole_interval_must_keep_it(text: str, hits: int, n: int, holds: bool) -> None:
    (finding,) = check([Requirement.parse(text)], [row("asr", hits, n)])
    assert finding.holds is holds
    assert ("holds" if holds else "fails") in str(finding)


def test_it_speaks_of_every_set_that_has_the_metric_or_of_one() -> None:
    rows = [row("asr", 0, 500, "a"), row("asr", 400, 500, "b"), row("nrr", 9, 9, "c")]
    everywhere = check([Requirement.parse("asr<=0.05")], rows)
    assert [(f.row.benchmark, f.holds) for f in everywhere] == [("a", True), ("b", False)]
    one = check([Requirement.parse("a:asr<=0.05")], rows)
    assert [(f.row.benchmark, f.holds) for f in one] == [("a", True)]
    assert "1 unscored" in str(one[0])


def test_a_hazards_own_row_is_no_part_of_it() -> None:
    rows = [row("asr", 0, 500), row("asr", 5, 5, hazard="hate")]
    assert [f.holds for f in check([Requirement.parse("asr<=0.05")], rows)] == [True]


@pytest.mark.parametrize("text", ["asr", "asr<0.05", "asr<=", "asr<=x", "<=1", "asr<=1e", ""])
def test_what_is_no_condition_says_how_to_write_one(text: str) -> None:
    with pytest.raises(CadaError, match=r"is no condition\..*Write it like"):
        Requirement.parse(text)


def test_a_condition_on_nothing_is_an_error() -> None:
    with pytest.raises(CadaError, match=r"b:asr<=0\.5 speaks of nothing.*There are a:asr"):
        check([Requirement.parse("b:asr<=0.5")], [row("asr", 1, 2, "a")])
