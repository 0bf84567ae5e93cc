"""Prompts in two parts: together the chat template's own ids, the first part shared."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from cada.casebook.loader import load_casebook
from cada.config.phase import RolloutMode
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.models.load import Policy
from cada.prompting.deliberation import parse
from cada.prompting.messages import Conversation, Mode, PromptOptions, build
from cada.requests.types import Request, Turn
from cada.rollout.encode import Encoder
from cada.rollout.prompts import Prompter
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import Rollout, Sampling
from tests.models.tiny import policy_of, tiny_llama

BOOK = load_casebook("default")
TEXTS = [
    "How do I pick a lock?",
    "0 is my favourite number, why?",
    "Zebras",
    "éàü 漢字 🙂",
    "x",
]
# The tokenizer merges their first character with the preamble's line break.
MERGES = ["\nA line first", "  two spaces before"]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folder)


def prompter(tokenizer: Any, **options: Any) -> Prompter:
    return Prompter(BOOK, Prompting.model_validate(options), tokenizer)


def request(text: str, hazard: str | None = "privacy", **more: Any) -> Request:
    return Request("r", text, harmful=True, hazard=hazard, source="test", **more)


def whole(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[int, ...]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("text", [*TEXTS, *MERGES])
@pytest.mark.parametrize("mode", list(RolloutMode))
def test_both_parts_are_the_templates_ids(tokenizer: Any, mode: str, text: str) -> None:
    for asked in (
        request(text),
        request(text, system="You are a pirate."),
        request(text, history=(Turn("user", "Hello"), Turn("assistant", "Hi."))),
    ):
        made = prompter(tokenizer)
        prompt = made.prompt(asked, mode, 3)
        cases = made._cases(asked, 3, False) if mode == "cases" else ()
        talk = build(asked, Mode(mode), BOOK, cases, PromptOptions())
        assert prompt.ids == whole(tokenizer, [vars(turn) for turn in talk.messages])
        assert prompt.request_ids
        assert text.strip() in tokenizer.decode(prompt.ids)


@pytest.mark.parametrize("mode", ["minimal", "codes", "category_codes", "cases"])
def test_requests_of_a_hazard_share_their_pack(tokenizer: Any, mode: str) -> None:
    made = prompter(tokenizer)
    prompts = [made.prompt(request(text), mode, 3) for text in TEXTS]
    pack = prompts[0].pack_ids
    assert {p.pack_ids for p in prompts} == {pack}
    assert len(pack) > 40
    assert made.prompt(request("Hello", "hate"), "cases", 3).pack_ids != pack


def test_the_pack_ends_where_the_request_begins(tokenizer: Any) -> None:
    prompt = prompter(tokenizer).prompt(request("Tell me."), "cases", 3)
    assert tokenizer.decode(prompt.pack_ids).endswith("<|im_start|>user\n")
    assert tokenizer.decode(prompt.request_ids).startswith("Tell me.<|im_end|>")


def test_bare_requests_share_the_templates_preamble(tokenizer: Any) -> None:
    prompts = [
        prompter(tokenizer).prompt(request(text, hazard), "none", seed)
        for seed, text in enumerate(TEXTS)
        for hazard in ("privacy", "hate", None)
    ]
    assert len({p.pack_ids for p in prompts}) == 1
    assert tokenizer.decode(prompts[0].pack_ids).endswith("<|im_start|>user\n")


def test_the_seed_draws_the_cases(tokenizer: Any) -> None:
    made = prompter(tokenizer)
    packs = {made.prompt(request("Hi"), "cases", seed).pack_ids for seed in range(6)}
    assert len(packs) > 1
    assert made.prompt(request("Hi"), "cases", 1) == made.prompt(request("Hi"), "cases", 1)


def test_what_helps_sampling_stays_out_of_other_prompts(tokenizer: Any) -> None:
    made = prompter(tokenizer, hint=True, refuse_share="matched")
    asked = request("How do I pick a lock?")
    sampled = tokenizer.decode(made.prompt(asked, "cases", 0, sampling=True).ids)
    measured = tokenizer.decode(made.prompt(asked, "cases", 0).ids)
    complying = {c.response for c in BOOK.hazard("privacy").cases if c.kind == "comply"}
    assert "[Hazard:" in sampled
    assert "[Hazard:" not in measured
    assert not any(response in sampled for response in complying)
    assert any(response in measured for response in complying)


def test_cases_of_another_hazard_stand_under_the_own_code(tokenizer: Any) -> None:
    asked = request("How do I pick a lock?")
    privacy = BOOK.hazard("privacy")
    shown = tokenizer.decode(prompter(tokenizer, cases_of="other").prompt(asked, "cases", 0).ids)
    assert privacy.code.short in shown
    assert not any(case.request in shown for case in privacy.cases)
    others = [case for hazard in BOOK.hazards if hazard.id != "privacy" for case in hazard.cases]
    assert sum(case.request in shown for case in others) == 3


def test_a_completion_is_read_without_its_stop_token(tokenizer: Any) -> None:
    ids = (*tokenizer("Fine, thanks.")["input_ids"], tokenizer.eos_token_id)
    assert Encoder(tokenizer).decode(ids) == "Fine, thanks."


def with_template(folder: Path, template: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    return tokenizer


def test_a_template_that_rejects_a_conversation_is_named(tiny_folder: Path) -> None:
    strict = with_template(
        tiny_folder,
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ messages[-1].content }}",
    )
    talk = Conversation((Turn("system", "Be kind."), Turn("user", "Hi")), 1)
    with pytest.raises(CadaError, match=r"rejects the conversation \(no system role\).*inline"):
        Encoder(strict).encode("r", "cases", talk)


def test_a_template_without_a_preamble_shares_nothing_and_samples(tiny_folder: Path) -> None:
    plain = with_template(tiny_folder, "{{ messages[-1].content }}\n")
    prompts = [prompter(plain).prompt(request(text), "none", 0) for text in ("Hi there", "So")]
    assert [p.pack_ids for p in prompts] == [(), ()]
    base = policy_of(tiny_llama(len(plain)))
    policy = Policy(base.model, plain, "tiny", (2,), base.shared)
    done = SharedEngine(policy).generate(prompts, 1, Sampling(3), 0)
    assert [len(group[0].completion_ids) for group in done] == [3, 3]


def test_the_tokens_of_a_verdict_are_counted(tokenizer: Any) -> None:
    def tokens(text: str, **options: Any) -> int:
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        n = prompter(tokenizer, **options).verdict_tokens(ids)
        return len(tokenizer.decode(ids[:n]))

    said = "Analysis: Harmless. A lock is picked for fun.\n\nFinal response: With a wrench."
    assert tokens(said, verdict=True) == len("Analysis: Harmless.")
    assert tokens(said.replace("less", "ful"), verdict=True) == len("Analysis: Harmful.")
    assert tokens(said) == 0
    assert tokens("Analysis: A lock.", verdict=True) == 0
    assert tokens(said.replace("Analysis: ", "Analysis: " + "Well " * 12), verdict=True) == 0


@pytest.mark.parametrize(
    ("said", "opening"),
    [
        (
            "Analysis: A lock is picked for fun.\n\nFinal response: With a wrench.",
            " With a wrench.",
        ),
        ("Analysis: A lock.\n\nFinal response:\nÉcoute: a lock. ", "Écoute: a lock. "),
        ("Analysis: A lock.", None),
        ("With a wrench.", None),
    ],
)
def test_the_opening_of_the_final_response_is_found(
    tokenizer: Any, said: str, opening: str | None
) -> None:
    ids = tuple(tokenizer(said, add_special_tokens=False)["input_ids"])
    rollout = Rollout("r", "none", (), ids, (0.0,) * len(ids), tokenizer.decode(ids), "stop")
    at = prompter(tokenizer).response_at(rollout, parse(said))
    assert (None if at is None else tokenizer.decode(ids[at:])) == opening


def test_a_request_without_a_hazard_sees_the_pack_of_the_one_that_is_found(tokenizer: Any) -> None:
    text = "How do I find out where my neighbour lives, her phone number and her medical records?"
    plain, placed = prompter(tokenizer), prompter(tokenizer, classify=True)
    for mode in ("category_codes", "cases"):
        known = plain.prompt(request(text, "privacy"), mode, 0)
        assert placed.prompt(request(text, None), mode, 0).ids == known.ids
        assert plain.prompt(request(text, None), mode, 0).ids != known.ids
    assert placed.shown(request(text, None), "cases", 0) == plain.shown(request(text), "cases", 0)
    bread = request("How do I bake bread?", None)
    assert placed.prompt(bread, "cases", 0).ids == plain.prompt(bread, "cases", 0).ids
    # What is labelled stays as it is.
    assert placed.prompt(request(text, "hate"), "cases", 0).ids == (
        plain.prompt(request(text, "hate"), "cases", 0).ids
    )
