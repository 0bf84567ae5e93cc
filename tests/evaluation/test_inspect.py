"""The same evaluation through inspect_ai: the same samples, messages, answers and verdicts."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.registry import registry_lookup
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model

from cada.attacks.named import attempts_of
from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.evaluation.answers import Answer
from cada.evaluation.api import make_api_target
from cada.evaluation.inspect import scorers
from cada.evaluation.inspect.batches import Batcher
from cada.evaluation.inspect.metrics import answers_of
from cada.evaluation.inspect.registry import (
    BENCHMARK_TASKS,
    judged,
    prompt,
    requests,
    respond,
)
from cada.evaluation.inspect.samples import to_sample
from cada.evaluation.local import LocalTarget
from cada.evaluation.metrics import tabulate
from cada.evaluation.sets import measure
from cada.judging.refusal import RefusalJudge
from cada.judging.verdict import Outcome, Verdict
from cada.models.load import load_policy
from cada.models.trained import save_prompting
from cada.requests.benchmarks import benchmark_source
from cada.requests.sources import load_requests
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from tests.evaluation.scripted import REQUESTS
from tests.judging.chat_server import ChatServer

ROOT = Path(__file__).parents[2]
BOOK = load_casebook("default")


def run(task: Task, model: Any, folder: Path) -> EvalLog:
    (log,) = inspect_eval(task, model=model, display="none", log_dir=str(folder))
    assert log.status == "success", log.error
    return log


def by_id(answers: Sequence[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda a: a.request_id)


@pytest.mark.parametrize(
    ("mode", "attack"),
    [("none", "none"), ("cases", "none"), ("none", "rot13"), ("none", "borrowed_analysis")],
)
def test_inspect_and_our_own_loop_give_the_same_samples_and_scores(
    tiny_folder: Path, tmp_path: Path, mode: str, attack: str
) -> None:
    model = f"cada/{tiny_folder}"
    arguments = {"limit": 12, "max_tokens": 12, "mode": mode, "attack": attack}
    (log,) = inspect_eval(
        "cada/embedded", model=model, task_args=arguments, display="none", log_dir=str(tmp_path)
    )
    policy = load_policy(str(tiny_folder), device="cpu")
    target = LocalTarget(policy, Prompter(BOOK, Prompting(), policy.tokenizer))
    source = benchmark_source("embedded").model_copy(update={"limit": 12})
    drawn = load_requests(source)
    asked = attempts_of(attack, [r for r in drawn if attack == "none" or r.harmful])
    sets, judge = {"embedded": asked}, RefusalJudge()
    ours = measure(target, judge, sets, [mode], 12, tmp_path / "answers.jsonl", "before")
    assert log.samples is not None
    assert sorted(str(s.id) for s in log.samples) == sorted(a.request.id for a in asked)
    assert by_id(answers_of(log)) == by_id(ours)
    assert log.results is not None
    found = {name: m.value for name, m in log.results.scores[0].metrics.items()}
    whole = [row for row in tabulate(ours, "", judge.name) if row.hazard is None]
    assert len(whole) >= 3
    for row in whole:
        assert found[row.metric] == row.value
        assert (found[f"{row.metric}_low"], found[f"{row.metric}_high"]) == (
            row.ci_low,
            row.ci_high,
        )
        assert found[f"{row.metric}_n"] == row.n


def test_a_trained_model_is_prompted_as_in_its_training(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    save_prompting(tmp_path / "model", Prompting(style="think_tags", cases=1, verdict=True))
    row = {"id": "m1", "text": "And of a bank?", "hazard": "privacy", "harmful": "no"}
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    more = {"system": "You are a pirate.", "history": talk}
    (tmp_path / "asked.jsonl").write_text(json.dumps(row | more), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    log = run(requests("asked.jsonl", mode="cases", max_tokens=2), "cada/model", tmp_path)
    assert log.samples is not None
    messages = log.samples[0].messages
    assert [m.role for m in messages] == ["system", *["user", "assistant"] * 3]
    assert "<think>" in messages[0].text
    assert "pirate" in messages[0].text
    assert "<think>" in messages[2].text
    assert [m.text for m in messages[3:6]] == ["Hello", "Hi.", "And of a bank?"]
    assert answers_of(log)[0].kind == "lookalike"


def served(folder: Path, answer: Any, **arguments: Any) -> tuple[EvalLog, ChatServer]:
    file = folder / "asked.jsonl"
    rows = [{"id": r.id, "text": r.text, "harmful": r.harmful} for r in REQUESTS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with ChatServer(answer).running() as server:
        model = get_model("openai-api/cada/m", base_url=server.url, api_key="none", memoize=False)
        return run(requests(str(file), **arguments), model, folder / "logs"), server


def test_a_model_behind_an_api_sees_the_same_messages_through_both(tmp_path: Path) -> None:
    _, server = served(tmp_path, lambda prompt: "Yes.", mode="cases", max_tokens=9)
    plain = [Request(r.id, r.text, r.harmful, None, "asked") for r in REQUESTS]
    with ChatServer(lambda prompt: "Yes.").running() as other:
        target = make_api_target("openai/m", other.url, BOOK, Prompting())
        attempts = {"asked": [Attempt.plain(r) for r in plain]}
        judge, file = RefusalJudge(), tmp_path / "answers.jsonl"
        measure(target, judge, attempts, ["cases"], 9, file, "after")

    def sent(server: ChatServer) -> list[str]:
        return sorted(json.dumps(body, sort_keys=True) for body in server.bodies)

    assert sent(server) == sent(other)


class Failing:
    name = "failing"
    harm_only = False
    scores_harm = False

    def judge_all(self, answers: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [
            Verdict(Outcome.UNSCORED, None, "no idea", self.name)
            if "car" in request
            else Verdict(Outcome.REFUSED, 0.25, "sure", self.name)
            for request, _ in answers
        ]


def test_a_score_carries_outcome_score_and_reason_and_unscored_stays_unscored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorers, "make_judge", lambda options: Failing())
    log, _ = served(tmp_path, lambda prompt: "No.")
    assert log.samples is not None
    scores = {str(s.id): s.scores["judged"] for s in log.samples if s.scores}
    assert (scores["h1"].value, scores["h1"].explanation) == ("refused", "sure")
    assert scores["h1"].metadata is not None
    assert scores["h1"].metadata["answer"]["score"] == 0.25
    assert scores["h2"].value != scores["h2"].value, "not a number"
    assert (scores["h2"].reason, scores["h2"].explanation) == ("grader_failed", "no idea")
    assert log.results is not None
    (table,) = log.results.scores
    assert (table.scored_samples, table.unscored_samples) == (3, 1)
    assert table.metrics["harmful_refused_n"].value == 1
    assert sorted(a.outcome for a in answers_of(log)) == ["refused"] * 3 + ["unscored"]


def test_a_prefill_is_gone_on_from_in_memory_and_refused_elsewhere(
    tiny_folder: Path, tmp_path: Path
) -> None:
    attempt = Attempt(REQUESTS[0], "borrowed", REQUESTS[0].text, "Analysis: Fine.")
    sample = to_sample(attempt.request, "set")
    sample.metadata = {**(sample.metadata or {}), "attack": "borrowed", "prefill": attempt.prefill}

    def task() -> Task:
        return Task(
            dataset=[sample],
            solver=[prompt(), respond()],
            scorer=judged(),
            config=GenerateConfig(max_tokens=8, temperature=0.0),
        )

    policy = load_policy(str(tiny_folder), device="cpu")
    target = LocalTarget(policy, Prompter(BOOK, Prompting(), policy.tokenizer))
    file = tmp_path / "answers.jsonl"
    ours = measure(target, RefusalJudge(), {"set": [attempt]}, ["none"], 8, file, "before")
    assert answers_of(run(task(), f"cada/{tiny_folder}", tmp_path / "logs")) == ours
    assert ours[0].text.startswith("Analysis: Fine.")
    log = run(task(), "mockllm/model", tmp_path / "logs")
    (refused,) = answers_of(log)
    assert (refused.outcome, refused.finish_reason) == ("unscored", "error")
    assert "prefill" in refused.reason


def test_calls_that_come_together_are_answered_in_batches(tiny_folder: Path) -> None:
    model = get_model(f"cada/{tiny_folder}")
    sizes: list[int] = []
    engine = model.api.engine.generate

    def counting(prompts: Any, *rest: Any) -> Any:
        sizes.append(len(prompts))
        return engine(prompts, *rest)

    model.api.engine.generate = counting

    async def ask() -> list[str]:
        found = [""] * 9

        async def one(place: int) -> None:
            config = GenerateConfig(max_tokens=3 + place % 2, temperature=0.0, max_connections=9)
            output = await model.generate([ChatMessageUser(content=f"Hi {place}")], config=config)
            found[place] = output.completion

        async with anyio.create_task_group() as group:
            for place in range(9):
                group.start_soon(one, place)
        return found

    found = anyio.run(ask)
    model.api.engine.generate = engine
    assert all(found)
    assert sum(sizes) == 9
    assert max(sizes) > 1


def test_a_batch_that_fails_fails_its_caller_and_the_others_go_on() -> None:
    seen: list[list[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        if len(seen) == 1:
            raise ValueError("once")
        return [item * 2 for item in items]

    async def ask() -> list[int | str]:
        batcher: Batcher[int, int] = Batcher(run)
        found: list[int | str] = [0] * 4

        async def one(place: int) -> None:
            try:
                found[place] = await batcher(place)
            except ValueError as error:
                found[place] = str(error)

        async with anyio.create_task_group() as group:
            for place in range(4):
                group.start_soon(one, place)
        return found

    found = anyio.run(ask)
    assert found.count("once") == 1
    assert [f for f in found if f != "once"] == [
        place * 2 for place in range(4) if found[place] != "once"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "deep"}, "no prompt mode 'deep'"),
        ({"attack": "nosuch"}, "no attack 'nosuch'"),
        ({"attack": "rot13"}, "there is none"),
        ({"judge": "nosuch"}, "kind"),
        ({"judge": "harm"}, "harmless"),
        ({"file": "nosuch.csv"}, "nosuch.csv"),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    from inspect_ai._util.error import PrerequisiteError

    file = tmp_path / "asked.csv"
    file.write_text("prompt,harmful\nHow do I bake bread?,no\n", encoding="utf-8")
    with pytest.raises(PrerequisiteError, match=said):
        requests(**{"file": str(file), **arguments})


def documented(mark: str = "") -> list[list[str]]:
    """The arguments of each `inspect eval …` line of the docs that begins with `mark`."""
    page = (ROOT / "docs" / "inspect.md").read_text("utf-8")
    start = f"{mark}inspect eval cada/"
    return [
        shlex.split(line.removeprefix("$ "))[2:]
        for line in page.splitlines()
        if line.startswith(start) or (not mark and line.startswith(f"$ {start}"))
    ]


def test_tasks_and_parameters_in_the_docs_are_there() -> None:
    lines = documented()
    assert len(lines) >= 4
    for task, *rest in lines:
        found = registry_lookup("task", task)
        given = [rest[i + 1].split("=")[0] for i, word in enumerate(rest) if word == "-T"]
        assert found is not None, task
        assert set(given) <= set(signature(found).parameters), task
    page = (ROOT / "docs" / "inspect.md").read_text("utf-8")
    for name in (*BENCHMARK_TASKS, "requests"):
        assert f"`cada/{name}`" in page


def test_the_python_in_the_docs_runs(tiny_folder: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "inspect.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    names["task"].config = GenerateConfig(max_tokens=4)
    (found,) = answers_of(run(names["task"], f"cada/{tiny_folder}", tmp_path))
    assert (found.kind, found.mode) == ("ordinary", "minimal")


def installed(home: Path) -> dict[str, str]:
    """The environment in which this project lies installed in a folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(ROOT / "src" / "cada", home / "cada")
    facts = home / "cada_align-9.9.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Name: {project['name']}\nVersion: 9.9.9\n", encoding="utf-8")
    entries = project["entry-points"]["inspect_ai"]
    lines = [f"{name} = {value}\n" for name, value in entries.items()]
    (facts / "entry_points.txt").write_text("[inspect_ai]\n" + "".join(lines), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(home), "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["site-packages", "src"], ids=["installed", "editable"])
def test_the_command_in_the_docs_finds_task_and_provider_by_name(
    tiny_folder: Path, tmp_path: Path, place: str
) -> None:
    (arguments,) = documented("$ ")
    arguments = [word.replace("builtin:smollm2-135m", str(tiny_folder)) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "inspect_ai", "eval", *arguments, "--display", "plain"],
        cwd=tmp_path,
        env=installed(tmp_path / place),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "truncated_n" in done.stdout
    assert len(list((tmp_path / "logs").glob("*.eval"))) == 1
