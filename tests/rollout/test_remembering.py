"""Calls of an engine that are kept in files."""

from dataclasses import replace
from pathlib import Path

import pytest

from cada.rollout.remembering import RememberingEngine
from cada.rollout.types import Prompt, Rollout, Sampling

PROMPTS = [Prompt("a", "none", (1,), (2, 3)), Prompt("b", "none", (1,), (4,))]
HOW = Sampling(4, 0.4)


class Counting:
    """Answers with the number of the call."""

    def __init__(self) -> None:
        self.calls = 0

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        self.calls += 1
        lp = (-0.1 * self.calls, -1 / 3)
        made = Rollout("", "none", (), (self.calls, 2), lp, f"call é {self.calls}", "stop")
        return [
            [replace(made, request_id=p.request_id, prompt_ids=p.ids) for _ in range(samples)]
            for p in prompts
        ]


@pytest.fixture
def engine(tmp_path: Path) -> RememberingEngine:
    return RememberingEngine(Counting(), tmp_path / "kept")


def call_of(groups: list[list[Rollout]]) -> int:
    assert [[r.request_id for r in g] for g in groups] == [["a", "a"], ["b", "b"]]
    return groups[0][0].completion_ids[0]


def test_the_same_call_gives_the_same_rollouts(engine: RememberingEngine) -> None:
    first = engine.generate(PROMPTS, 2, HOW, 7)
    again = RememberingEngine(Counting(), engine.folder)
    assert again.generate(PROMPTS, 2, HOW, 7) == first
    assert again.engine.calls == 0  # type: ignore[attr-defined]


def test_another_call_is_sampled(engine: RememberingEngine) -> None:
    other = [replace(PROMPTS[0], request_ids=(2,)), PROMPTS[1]]
    assert call_of(engine.generate(PROMPTS, 2, HOW, 7)) == 1
    assert call_of(engine.generate(PROMPTS, 2, HOW, 8)) == 2
    assert call_of(engine.generate(other, 2, HOW, 7)) == 3
    assert call_of(engine.generate(other, 2, replace(HOW, temperature=1.0), 7)) == 4


def test_a_damaged_file_is_sampled_again(engine: RememberingEngine) -> None:
    engine.generate(PROMPTS, 2, HOW, 7)
    (file,) = engine.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert call_of(engine.generate(PROMPTS, 2, HOW, 7)) == 2
    assert call_of(engine.generate(PROMPTS, 2, HOW, 7)) == 2


def test_what_is_forgotten_is_sampled_again(engine: RememberingEngine) -> None:
    engine.generate(PROMPTS, 2, HOW, 7)
    engine.forget()
    assert not engine.folder.exists()
    assert call_of(engine.generate(PROMPTS, 2, HOW, 7)) == 2
