"""The capability canary: does the model still speak and know as well as before?

Per-token loss on the answers of ordinary question-answer pairs, after the bare question. It rises
when training damages the model; a safe model that has grown stupid is no success.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from cada.errors import CadaError
from cada.evaluation.metrics import Row, row_of
from cada.models.load import Policy
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.types import Rollout
from cada.stats import mean_normal
from cada.training.samples import Sample, microbatches
from cada.training.update import completion_stats

EMBEDDED = "embedded"


@dataclass(frozen=True)
class CanaryLoss:
    """Mean loss in nats per answer token, of each pair. `opening` is its first token's loss:
    a model that has learnt to reason first no longer opens with the answer."""

    per_pair: tuple[float, ...]
    opening: tuple[float, ...]


def load_pairs(source: str) -> list[tuple[str, str]]:
    """Question-answer pairs: `embedded`, or a jsonl file with `question` and `answer`.

    Raises:
        CadaError: no such file, a line that is no JSON or lacks a field, or no pair at all.
    """
    if source == EMBEDDED:
        text = (files("cada.evaluation") / "canary.jsonl").read_text(encoding="utf-8")
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CadaError(
                f"the canary pairs cannot be read ({error})",
                where=source,
                mend="Give a UTF-8 jsonl file with question and answer, or `embedded`",
            ) from error
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            pairs.append((str(row["question"]), str(row["answer"])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise CadaError(
                "the line is no JSON object with `question` and `answer`",
                where=f"{source}, line {number}",
                mend="Write one such object a line",
            ) from error
    if not pairs:
        raise CadaError("there is no question-answer pair", where=source, mend="Add some lines")
    return pairs


@torch.no_grad()
def canary_loss(
    policy: Policy, prompter: Prompter, pairs: list[tuple[str, str]], tokens: int
) -> CanaryLoss:
    """Loss of every answer (its stop token included), `tokens` a forward pass."""
    stop = policy.end_of_turn
    samples = []
    for index, (question, reply) in enumerate(pairs):
        request = Request(f"canary-{index}", question, False, None, "canary")
        prompt = prompter.prompt(request, "none", 0)
        ids = policy.tokenizer(reply, add_special_tokens=False)["input_ids"]
        completion = (*ids, stop)
        zeros = (0.0,) * len(completion)
        rollout = Rollout(request.id, "none", prompt.ids, completion, zeros, reply, "stop")
        samples.append(Sample(index, prompt, rollout, None))
    mean: dict[int, float] = {}
    first: dict[int, float] = {}
    for batch in microbatches(samples, tokens):
        losses = -completion_stats(policy, batch, 1.0).logprob
        at = 0
        for sample in batch:
            each = losses[at : at + len(sample.rollout.completion_ids)]
            mean[sample.group], first[sample.group] = float(each.mean()), float(each[0])
            at += len(each)
    order = range(len(samples))
    return CanaryLoss(tuple(mean[i] for i in order), tuple(first[i] for i in order))


def canary_rows(
    policy: Policy, prompter: Prompter, source: str | None, label: str, tokens: int = 2048
) -> list[Row]:
    """The canary's rows of `evaluation.json`; none without a source of pairs."""
    if source is None:
        return []
    losses = canary_loss(policy, prompter, load_pairs(source), tokens)
    found = {"canary_loss": losses.per_pair, "canary_opening": losses.opening}
    return [
        row_of(label, "canary", "none", metric, mean_normal(list(values)), 0, "loss")
        for metric, values in found.items()
    ]
