"""Our models behind the harness's interface."""

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from cada.errors import CadaError
from cada.evaluation.utility import lm as module
from cada.evaluation.utility.lm import PolicyLM, final_response
from cada.evaluation.utility.responses import Response, Responses
from cada.models.load import Policy, load_policy
from cada.prompting.deliberation import FormatStyle, render
from cada.rollout.types import Prompt, Rollout, Sampling

UNTIL = {"until": ["Question:", "</s>"], "do_sample": False, "temperature": 0.0}


class Says:
    """An engine that gives its lines in turn."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.calls: list[tuple[list[Prompt], Sampling]] = []

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """The next line for each prompt."""
        self.calls.append((prompts, sampling))
        return [[Rollout("", "", p.ids, (5,), (0.0,), self.lines.pop(0), "stop")] for p in prompts]


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return load_policy(str(tiny_folder), device="cpu")


def write(*prompts: str, task: str = "t") -> list[Instance]:
    return [
        Instance("generate_until", {}, (p, dict(UNTIL)), 0, (task, i, 1))
        for i, p in enumerate(prompts)
    ]


def choose(*pairs: tuple[str, str], task: str = "t") -> list[Instance]:
    return [Instance("loglikelihood", {}, p, i, (task, 0, 1)) for i, p in enumerate(pairs)]


def wrap(policy: Policy, engine: Says | None = None, **options: Any) -> PolicyLM:
    return PolicyLM(policy, FormatStyle.HEADINGS, 16, engine=engine, **options)


@pytest.mark.parametrize("style", FormatStyle)
def test_the_reasoning_is_stripped_before_the_stop_strings(
    policy: Policy, style: FormatStyle
) -> None:
    thought = "Question: what is 3 + 4? 3 and 4 are 12, no, 7."
    engine = Says(render(thought, "7. Question: and 1 + 1?", style))
    lm = PolicyLM(policy, style, 16, engine=engine)
    (request,) = write("What is 3 + 4?")
    assert lm.generate_until([request]) == ["7. "]
    assert thought in str(lm.generated(request.args).text)


@pytest.mark.parametrize(
    ("text", "scored"),
    [
        (" True\n", " True\n"),
        ("Analysis: 3 and 4 make", "Analysis: 3 and 4 make"),
        ("<think>a 5</think> 7", "7"),
        ("Final answer: 7", "7"),
    ],
)
def test_what_is_scored_of_an_output_without_both_parts(text: str, scored: str) -> None:
    assert final_response(text, FormatStyle.HEADINGS) == scored


def test_greedy_within_the_limit(policy: Policy) -> None:
    engine = Says("7")
    wrap(policy, engine).generate_until(write("What is 3 + 4?"))
    assert engine.calls[0][1] == Sampling(16, temperature=0.0)


def test_prompts_of_one_task_share_what_they_begin_with(policy: Policy) -> None:
    engine = Says(*"12345")
    lm = wrap(policy, engine)
    both = write("Sums. 1 + 1", "Sums. 2 + 2", "Sums. 2 + 3") + write("One", "Two", task="u")
    assert lm.generate_until(both) == list("12345")
    prompts = engine.calls[0][0]
    assert [policy.tokenizer.decode(p.ids) for p in prompts] == [r.args[0] for r in both]
    packs = [policy.tokenizer.decode(p.pack_ids) for p in prompts]
    assert packs == ["Sums. "] * 3 + [""] * 2 or packs == ["Sums."] * 3 + [""] * 2


def test_pieces_fit_into_memory(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED_TOKENS", 50)
    engine, told = Says(*"123456"), list[tuple[int, int]]()
    lm = wrap(policy, engine, progress=lambda done, total: told.append((done, total)))
    requests = write(*["a b c d e f g h"[: 2 * n + 1] for n in range(5)], "a " * 60)
    assert lm.generate_until(requests) == list("123456")
    sizes = [len(prompts) for prompts, _ in engine.calls]
    assert len(sizes) > 2
    assert sizes[-1] == 1
    assert told == [(sum(sizes[: i + 1]), 6) for i in range(len(sizes))]


def test_what_is_known_is_not_asked_again(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 2)
    file = tmp_path / "responses.jsonl"
    requests = write("a", "b", "c", "d", "e")
    with pytest.raises(IndexError):  # the third piece has no line left, as if killed there
        wrap(policy, Says(*"1234"), responses=Responses(file)).generate_until(requests)
    with file.open("a", encoding="utf-8") as handle:
        handle.write('[{"request": "cut o')
    engine = Says("5")
    assert wrap(policy, engine, responses=Responses(file)).generate_until(requests) == list("12345")
    assert len(engine.calls) == 1
    longer = PolicyLM(policy, FormatStyle.HEADINGS, 17, Responses(file), engine=Says(*"67890"))
    assert longer.generate_until(requests) == list("67890")


def test_choices_are_scored_once(policy: Policy, tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    pairs = [("A letter: ", "A"), ("A letter: ", "B"), ("Which one? ", "A"), ("", "A letter")]
    first = wrap(policy, responses=Responses(file)).loglikelihood(choose(*pairs))
    lines = file.read_text(encoding="utf-8")
    assert [len(json.loads(line)) for line in lines.splitlines()] == [len(pairs)]
    again = wrap(policy, responses=Responses(file)).loglikelihood(choose(*pairs))
    assert again == first
    assert file.read_text(encoding="utf-8") == lines


def test_the_greedy_continuation_is_known_as_such(policy: Policy) -> None:
    lm = wrap(policy)
    prompt = lm.apply_chat_template([{"role": "user", "content": "Say it."}])
    (said,) = lm.generate_until(write(prompt))
    ids = lm.tok_encode(said)
    (greedy, other) = lm._loglikelihood_tokens(
        [(("", ""), lm.tok_encode(prompt), i) for i in (ids[:4], [ids[0] + 1, *ids[1:4]])]
    )
    assert greedy[1]
    assert not other[1]
    assert greedy[0] > other[0]


def test_shared_prefixes_change_nothing(policy: Policy) -> None:
    plain = Policy(policy.model, policy.tokenizer, policy.source, policy.stop_ids, shared=False)
    assert policy.shared
    pairs = [(f"Some letters. {n}: ", letter) for n in range(3) for letter in ("A", "B C")]
    for (a, greedy_a), (b, greedy_b) in zip(
        wrap(policy).loglikelihood(choose(*pairs)),
        wrap(plain).loglikelihood(choose(*pairs)),
        strict=True,
    ):
        assert a == pytest.approx(b, abs=1e-5)
        assert greedy_a == greedy_b


def test_a_prompt_that_is_too_long_is_told(policy: Policy) -> None:
    with pytest.raises(CadaError, match="do not fit into the model's context of 2048"):
        wrap(policy, Says("x")).generate_until(write("a " * 2040))
    with pytest.raises(CadaError, match="do not fit"):
        wrap(policy).loglikelihood(choose(("a " * 2050, "A")))


def test_a_template_without_a_system_role(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    own = policy.tokenizer.chat_template
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
    monkeypatch.setattr(policy.tokenizer, "chat_template", strict + own)
    lm = wrap(policy)
    system, user = {"role": "system", "content": "About sums."}, {"role": "user", "content": "Hi"}
    assert lm.apply_chat_template([system, user]) == lm.apply_chat_template([user])
    monkeypatch.setattr(policy.tokenizer, "chat_template", "{{ raise_exception('never') }}")
    with pytest.raises(CadaError, match="rejects the conversation"):
        lm.apply_chat_template([user])


@pytest.mark.parametrize(
    "line", [4, [1], {"text": "x"}, [{"text": "x"}], [{"request": "k", "other": 1}]]
)
def test_a_file_that_holds_no_responses(tmp_path: Path, line: Any) -> None:
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(CadaError, match="holds no responses as this version writes"):
        Responses(file)


def test_responses_are_told_apart_by_their_request() -> None:
    kept = Responses()
    kept.add([(("a", {"x": 1}), Response(text="1"))])
    assert kept.get(("a", {"x": 1})) == Response(text="1")
    assert kept.get(("a", {"x": 2})) is None
