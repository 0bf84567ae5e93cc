"""The judge that a recipe or a command names."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cada.config.judge import ChatOptions, JudgeOptions
from cada.judging.cascade import Cascade
from cada.judging.chat import ChatModel
from cada.judging.harm import HarmJudge
from cada.judging.refusal import RefusalJudge
from cada.judging.rubric import RefusalRubricJudge, StrongRejectJudge
from cada.judging.verdict import Judge


def make_judge(
    options: JudgeOptions, replies: Path | None = None, device: str | None = None
) -> Judge:
    """Make the judge; a chat model is first asked when there is something to judge.

    Args:
        options: which judge, and how.
        replies: where a chat model's replies are kept, unless the options say; the user's cache
            when None.
        device: of a classifier.

    Raises:
        CadaError: a classifier cannot be loaded.
    """
    if options.kind == "refusal":
        return RefusalJudge()
    if options.kind == "harm":
        return HarmJudge()
    second = _second(options, replies, device)
    return second if options.sure is None else Cascade(RefusalJudge(), second, options.sure)


def ask_chat(
    options: ChatOptions, replies: Path | None = None, ask_again: bool = False
) -> ChatModel:
    """A chat model that keeps its replies; in `replies`, a run's own file, its failures too.

    With `ask_again` what failed in that file is asked again.
    """
    cache = options.cache or replies or _cache() / "replies.jsonl"
    ledger = replies is not None and options.cache is None
    return ChatModel(options.model_copy(update={"cache": cache}), ledger, ask_again)


def cost(judge: Judge) -> dict[str, Any] | None:
    """What a judge sent on and spent so far; None of one that asks nobody."""
    told: dict[str, Any] = {}
    if isinstance(judge, Cascade):
        told["share_sent"] = judge.share_sent
        judge = judge.second
    if isinstance(judge, StrongRejectJudge | RefusalRubricJudge):
        told |= asdict(judge.chat.usage)
    return {"judge": judge.name, **told} if told else None


def _second(options: JudgeOptions, replies: Path | None, device: str | None) -> Judge:
    chat = options.chat
    if chat is None:
        from cada.judging.classifiers import ClassifierJudge

        return ClassifierJudge(options.kind, options.model, options.template, device)
    kind = StrongRejectJudge if options.kind == "strongreject" else RefusalRubricJudge
    return kind(ask_chat(chat, replies))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cada"
