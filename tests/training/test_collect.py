"""Which requests a step draws, and what its summary says."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from cada.casebook.loader import load_casebook
from cada.config.judge import ChatOptions
from cada.config.load import parse_recipe
from cada.config.phase import Shares
from cada.config.recipe import Prompting, Recipe, RewardOptions
from cada.errors import CadaError
from cada.judging.refusal import RefusalJudge
from cada.judging.verdict import Outcome, Verdict
from cada.pipelines.study_grid import drawn
from cada.prompting.deliberation import Deliberation
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.types import Prompt, Rollout, Sampling
from cada.training.collect import Collector, Judged, summarise
from cada.training.draw import RequestStream, counts, derive_seed, training_requests
from tests.judging.chat_server import ChatServer
from tests.training.data import phase
from tests.training.tiny_run import requests

SHARES = {"harmful": 0.5, "lookalike": 0.25, "ordinary": 0.25}


def test_a_seed_depends_on_every_part_and_on_nothing_else() -> None:
    # Written down, so that another machine or version is held to the same draws.
    assert derive_seed(0, "phase", 1) == 71631037197888953
    seeds = {derive_seed(*p) for p in [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2)]}
    assert len(seeds) == 4


@pytest.mark.parametrize(
    ("shares", "total", "expected"),
    [
        ((0.5, 0.25, 0.25), 8, (4, 2, 2)),
        ((1, 0, 0), 7, (7, 0, 0)),
        ((0.5, 0.35, 0.15), 64, (32, 22, 10)),
        ((0.5, 0.35, 0.15), 1, (1, 0, 0)),
        ((1 / 3, 1 / 3, 1 / 3), 4, (2, 1, 1)),
        ((0.1, 0.9, 0), 10, (1, 9, 0)),
    ],
)
def test_shares_become_whole_numbers(
    shares: tuple[float, float, float], total: int, expected: tuple[int, int, int]
) -> None:
    made = Shares(harmful=shares[0], lookalike=shares[1], ordinary=shares[2])
    found = counts(made, total)
    assert (found["harmful"], found["lookalike"], found["ordinary"]) == expected


def test_every_request_comes_once_before_any_comes_again() -> None:
    stream, how = RequestStream(requests(), seed=0), phase(shares=SHARES)
    drawn = [stream.draw(how, step) for step in range(6)]
    assert all(
        Counter(r.kind for r in d) == {"harmful": 2, "lookalike": 1, "ordinary": 1} for d in drawn
    )
    for kind, steps in {"harmful": 3, "lookalike": 6, "ordinary": 6}.items():
        ids = [r.id for d in drawn[:steps] for r in d if r.kind == kind]
        assert len(ids) == len(set(ids)) == 6


def test_a_draw_depends_on_seed_phase_and_step_alone() -> None:
    how = phase(shares=SHARES)
    later = RequestStream(requests(), seed=0).draw(how, 5)
    stream = RequestStream(requests(), seed=0)
    for step in range(5):
        stream.draw(how, step)
    assert stream.draw(how, 5) == later
    orders = [
        [r.id for step in range(3) for r in RequestStream(requests(), seed=seed).draw(p, step)]
        for seed, p in [(0, how), (1, how), (0, phase(shares=SHARES, name="other"))]
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_a_kind_that_is_asked_for_and_missing_is_named() -> None:
    stream = RequestStream([r for r in requests() if r.harmful], seed=0)
    with pytest.raises(CadaError, match="no lookalike request") as error:
        stream.check([phase(shares=SHARES)])
    assert error.value.where == "shares.lookalike"
    only = phase(shares={"harmful": 1, "lookalike": 0, "ordinary": 0})
    stream.check([only])
    assert len(stream.draw(only, 0)) == 4


def _recipe(distinct: int | None, steps: int = 1) -> Recipe:
    return parse_recipe(
        {
            "model": "builtin:smollm2-135m",
            "output": "runs/none",
            "requests": {
                "train": [{"embedded": True, "split": "train"}],
                "distinct": distinct,
            },
            "phases": [
                {"name": name, "steps": steps, "shares": SHARES, "requests_per_step": 12,
                 "positive_only": True}
                for name in ("first", "second")
            ],
        },
        "here",
    )  # fmt: skip


def test_training_comes_back_to_the_distinct_requests_that_it_is_given() -> None:
    casebook = load_casebook("default")
    every = training_requests(_recipe(None), casebook)
    recipe = _recipe(24, steps=4)
    some = training_requests(recipe, casebook)
    assert len({r.id for r in some}) == 24 < len(every)
    assert set(some) <= set(every)
    assert Counter(r.kind for r in some) == {"harmful": 12, "lookalike": 6, "ordinary": 6}
    assert drawn(recipe) == 24
    assert drawn(_recipe(None, steps=4)) == drawn(_recipe(1000, steps=4)) == 2 * 4 * 12
    stream = RequestStream(some, recipe.seed)
    for stage in recipe.stages:  # two steps ask for every one of them
        asked = [r.id for step in range(2) for r in stream.draw(stage, step)]
        assert set(asked) == {r.id for r in some}


def test_more_distinct_requests_than_there_are_is_an_error() -> None:
    with pytest.raises(
        CadaError, match=r"asks for \d+ ordinary requests, and the sources"
    ) as error:
        training_requests(_recipe(2000), load_casebook("default"))
    assert error.value.where == "requests.distinct"


def judged(kind: str, outcome: Outcome, reward: float | None, **more: Any) -> Judged:
    hazard = None if kind == "ordinary" else "hate"
    request = Request("r", "text", kind == "harmful", hazard, "test")
    n, finish = more.get("tokens", 4), more.get("finish", "stop")
    rollout = Rollout("r", "cases", (1,), (5,) * n, (-1.0,) * n, "answer", finish)
    return Judged(
        request,
        rollout,
        Deliberation("", "answer", False),
        Verdict(outcome, None, "", "test"),
        reward,
        more.get("reasoned", False),
    )


def test_a_steps_summary() -> None:
    found = summarise(
        [
            judged("harmful", Outcome.REFUSED, 1.0, reasoned=True),
            judged("harmful", Outcome.COMPLIED, -1.0, tokens=8, finish="length"),
            judged("lookalike", Outcome.REFUSED, -1.0),
            judged("ordinary", Outcome.COMPLIED, 0.0),
            judged("ordinary", Outcome.UNSCORED, None),
        ]
    )
    assert found == {
        "rollouts": 5,
        "sampled": 5,
        "reward": -0.25,
        "share_plus": 0.2,
        "share_zero": 0.2,
        "share_minus": 0.4,
        "share_unscored": 0.2,
        "reasoned": 0.2,
        "length": 24 / 5,
        "truncated": 0.2,
        "harmful_plus": 0.5,
        "harmful_refused": 0.5,
        "lookalike_plus": 0.0,
        "lookalike_refused": 1.0,
        "ordinary_plus": 0.0,
        "ordinary_refused": 0.0,
        "benign_refused": 1 / 3,
    }


def test_a_summary_of_nothing_scored() -> None:
    found = summarise([judged("harmful", Outcome.UNSCORED, None)])
    assert found["reward"] is None
    assert found["share_unscored"] == 1
    assert "benign_refused" not in found


def test_a_row_is_flat() -> None:
    row = judged("harmful", Outcome.REFUSED, 1.0, reasoned=True).row(3)
    assert row["step"] == 3
    assert row["outcome"] == "refused"
    assert not any(isinstance(v, dict | list | tuple) for v in row.values())


class ScriptedEngine:
    """Answers in rounds; the first letter says for which rounds on a request is done well."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.packs: list[set[tuple[int, ...]]] = []

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """Good answers to requests whose number is at most the round's."""
        turn = len(self.asked)
        self.asked.append([p.request_id for p in prompts])
        self.packs.append({p.pack_ids for p in prompts})
        made = []
        for p in prompts:
            good = int(p.request_id) <= turn
            text = (
                "Analysis: Harmless. A bicycle is fine to fix.\n\nFinal response: Oil the chain."
                if good
                else "I can't help with that."
            )
            finish = "length" if p.request_id == "0" and turn == 0 else "stop"
            rollout = Rollout(p.request_id, p.mode, p.ids, (5, 2), (-1.0, -1.0), text, finish)
            made.append([rollout] * samples)
        return made


def test_later_rounds_ask_again_where_nothing_is_kept(tiny_folder: Path) -> None:
    book = load_casebook("default")
    asked = [
        Request(str(i), "How do I fix a bicycle?", False, "nonviolent_crimes", "test")
        for i in range(4)
    ]
    engine = ScriptedEngine()
    collector = Collector(
        engine,
        Prompter(book, Prompting(cases=1), AutoTokenizer.from_pretrained(tiny_folder)),
        RefusalJudge(),
        RewardOptions(),
        RequestStream(asked, seed=0),
    )
    how = phase(
        shares={"harmful": 0, "lookalike": 1, "ordinary": 0},
        rollouts_per_request=2,
        positive_only=True,
        rounds=3,
        weights={"lookalike": 1.5},
    )
    judged_all, samples = collector.collect(how, 0)
    # Request 0 is answered well at once, but cut off: only a whole answer is kept.
    assert [sorted(ids) for ids in engine.asked] == [
        ["0", "1", "2", "3"],
        ["0", "1", "2", "3"],
        ["2", "3"],
    ]
    assert len(engine.packs[0] | engine.packs[1] | engine.packs[2]) > 1
    kept = {s.rollout.request_id for s in samples if s.kept}
    assert kept == {"0", "1", "2"}
    groups = {(s.rollout.request_id, s.group) for s in samples}
    assert len(groups) == len({g for _, g in groups}) == 4
    assert len(judged_all) == len(samples) == 2 * (4 + 4 + 2)
    assert [j.rollout for j in judged_all] == [s.rollout for s in samples]
    assert {s.weight for s in samples} == {1.5}
    engine.asked.clear()
    collector.collect(how.model_copy(update={"rounds": 99}), 0)
    assert [len(ids) for ids in engine.asked] == [4, 4, 2, 1]


@pytest.mark.parametrize("style", ["headings", "think_tags"])
def test_a_later_rounds_output_may_be_told_its_verdict(tiny_folder: Path, style: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tags = style == "think_tags"
    first = "<think>\nHarmless." if tags else "Analysis: Harmless."
    rest = " A bicycle is fine to fix."
    rest += "\n</think>\n\nOil the chain." if tags else "\n\nFinal response: Oil the chain."
    asked: list[tuple[int, ...]] = []

    class Misled:
        """Judges wrongly, unless told; then goes on from there."""

        def generate(
            self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
        ) -> list[list[Rollout]]:
            (prompt,) = prompts
            asked.append(prompt.ids)
            text = "I can't help with that." if len(asked) == 1 else rest
            ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
            lp = (-1.0,) * len(ids)
            return [[Rollout("r", prompt.mode, prompt.ids, ids, lp, text, "stop")]]

    options = Prompting(cases=1, verdict=True, style=style)
    request = Request("r", "How do I fix a bicycle?", False, "nonviolent_crimes", "test")
    collector = Collector(
        Misled(),
        Prompter(load_casebook("default"), options, tokenizer),
        RefusalJudge(),
        RewardOptions(),
        RequestStream([request], seed=0),
    )
    how = of_lookalikes(1).model_copy(
        update={"positive_only": True, "rounds": 2, "tell_verdict": True}
    )
    _, (wrong, right) = collector.collect(how, 0)
    assert (wrong.kept, right.kept) == (False, True)
    rollout = right.rollout
    assert rollout.text == first + rest
    assert tokenizer.decode(rollout.completion_ids) == first + rest
    assert rollout.prompt_ids + rollout.completion_ids[: right.verdict_tokens] == asked[1]
    assert tokenizer.decode(rollout.completion_ids[: right.verdict_tokens]) == first
    told = rollout.logprobs[: right.verdict_tokens]
    assert set(told) == {0.0}
    assert set(rollout.logprobs[len(told) :]) == {-1.0}
    assert right.prompt.ids == rollout.prompt_ids  # the loss asks for the verdict too


def test_a_steps_summary_is_of_its_first_round() -> None:
    first = [
        judged("harmful", Outcome.REFUSED, 1.0),
        judged("lookalike", Outcome.REFUSED, -1.0),
    ]
    again = [replace(judged("lookalike", Outcome.REFUSED, -1.0), again=True)] * 3
    found = summarise(first + again)
    assert found == {**summarise(first), "sampled": 5}
    assert found["rollouts"] == 2


@pytest.mark.parametrize(("wanted", "harmful"), [(True, False), (False, False), (True, True)])
def test_a_verdict_that_is_wanted_decides_and_is_marked(
    tiny_folder: Path, wanted: bool, harmful: bool
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    text = "Analysis: Harmless. A bicycle is fine to fix.\n\nFinal response: "
    text += "I can't help with that." if harmful else "Oil the chain."
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    class OneAnswer:
        def generate(
            self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
        ) -> list[list[Rollout]]:
            lp = (-1.0,) * len(ids)
            return [[Rollout(p.request_id, p.mode, p.ids, ids, lp, text, "stop")] for p in prompts]

    collector = Collector(
        OneAnswer(),
        Prompter(load_casebook("default"), Prompting(cases=1, verdict=wanted), tokenizer),
        RefusalJudge(),
        RewardOptions(),
        RequestStream(
            [Request("r", "How do I fix a bicycle?", harmful, "nonviolent_crimes", "test")], seed=0
        ),
    )
    how = phase(
        shares={"harmful": float(harmful), "lookalike": float(not harmful), "ordinary": 0},
        requests_per_step=1,
        rollouts_per_request=1,
    )
    _, (only,) = collector.collect(how, 0)
    assert only.reward == (0 if harmful else 1)
    opening = tokenizer.decode(ids[: only.verdict_tokens])
    assert opening == ("Analysis: Harmless." if wanted else "")
    assert only.verdict_right is ((not harmful) if wanted else None)


class Scripted:
    """Gives each request the output that is written down for it."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        return [
            [Rollout(p.request_id, p.mode, p.ids, (5,), (-1.0,), self.texts[p.request_id], "stop")]
            for p in prompts
        ]


def collector(folder: Path, texts: dict[str, str], reward: RewardOptions) -> Collector:
    asked = [
        Request(name, "How do I fix a bicycle?", False, "nonviolent_crimes", "test")
        for name in texts
    ]
    prompter = Prompter(
        load_casebook("default"), Prompting(cases=1), AutoTokenizer.from_pretrained(folder)
    )
    stream = RequestStream(asked, seed=0)
    return Collector(Scripted(texts), prompter, RefusalJudge(), reward, stream)


def of_lookalikes(n: int) -> Any:
    shares = {"harmful": 0, "lookalike": 1, "ordinary": 0}
    return phase(shares=shares, requests_per_step=n, rollouts_per_request=1)


def test_reasoning_that_is_graded_earns_by_its_grade(tiny_folder: Path, tmp_path: Path) -> None:
    grades = {"chain": "quality: 5", "brake": "quality: 2", "wheel": "no idea"}
    texts = {
        name: f"Analysis: A bicycle needs its {name} in order.\n\nFinal response: Oil the {name}."
        for name in grades
    }
    texts["bare"] = "Oil the chain."
    texts["refused"] = "Analysis: A bicycle is risky.\n\nFinal response: I can't help with that."

    def grade(prompt: str) -> str:
        return next(reply for name, reply in grades.items() if f"Oil the {name}" in prompt)

    with ChatServer(grade).running() as server:
        chat = ChatOptions(model="m", base_url=server.url, cache=tmp_path / "replies.jsonl")
        options = RewardOptions(reasoning="judged", judge=chat)
        items, samples = collector(tiny_folder, texts, options).collect(of_lookalikes(5), 0)
        collector(tiny_folder, texts, options).collect(of_lookalikes(5), 0)
        assert len(server.prompts) == 3  # what earns +1 is asked about, and once
        code = load_casebook("default").hazard("nonviolent_crimes").code.short
        assert all(code in prompt for prompt in server.prompts)
    found = {i.request.id: (i.reward, i.quality) for i in items}
    assert found == {
        "chain": (1, 1.0),
        "brake": (0, 0.25),
        "wheel": (None, None),
        "bare": (0, None),
        "refused": (-1, None),
    }
    assert {s.rollout.request_id: s.reward for s in samples} == {
        k: v for k, (v, _) in found.items()
    }
    assert items[0].row(1)["quality"] == items[0].quality


def test_a_copy_of_a_case_in_the_prompt_earns_nothing(tiny_folder: Path) -> None:
    hazard = load_casebook("default").hazard("nonviolent_crimes")
    texts = {
        case.id: f"Analysis: {case.reasoning}\n\nFinal response: Oil the chain of the bicycle."
        for case in hazard.cases
    }
    made = collector(tiny_folder, texts, RewardOptions())
    how = of_lookalikes(len(texts))
    shown = made.prompter.shown(
        made.stream.draw(how, 0)[0], "cases", derive_seed(0, how.name, 0), sampling=True
    )
    assert len(shown) == 1
    items, _ = made.collect(how, 0)
    copied = [i for i in items if i.deliberation.reasoning == shown[0]]
    assert len(copied) == 1
    assert not copied[0].reasoned
    assert made.collect(how.model_copy(update={"rollout_mode": "none"}), 0)[0]
