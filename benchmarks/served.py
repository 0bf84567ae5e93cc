"""Whether a model answers the same behind an OpenAI-compatible server as in memory.

    transformers serve FOLDER --port 8123 --device cpu
    python benchmarks/served.py FOLDER --url http://127.0.0.1:8123/v1 \
        --requests ../shared/data/xstest/xstest_prompts.csv

Greedy answers to the first requests of a file, in mode `none`. Prints the share that is equal to
the letter and, of each other one, where it parts, how far the two most likely tokens are from each
other there in memory (a gap near 0 is a near-tie, which rounding decides), and whether the server
took the second of them.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.config.sources import RequestSource
from cada.evaluation.api import make_api_target
from cada.models.load import Policy, load_policy
from cada.requests.sources import load_requests
from cada.rollout.prompts import Prompter
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Rollout, Sampling
from cada.stats import wilson


def main(
    model: Annotated[str, typer.Argument(help="The folder or id that is served.")],
    url: Annotated[str, typer.Option(help="The server's address, with its /v1.")],
    requests: Annotated[Path, typer.Option(help="A file of requests.")],
    limit: Annotated[int, typer.Option(help="So many of its first requests.")] = 100,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 48,
) -> None:
    """Compare a served model with itself in memory."""
    asked = load_requests(RequestSource(path=str(requests), harmful=True))[:limit]
    book, prompting, greedy = load_casebook("default"), Prompting(), Sampling(max_tokens, 0.0)
    start = time.perf_counter()
    target = make_api_target(f"openai/{model}", url, book, prompting)
    served = target.answer([Attempt.plain(request) for request in asked], "none", greedy)
    show("served", f"{time.perf_counter() - start:.0f} s", f"n = {len(asked)}")

    policy = load_policy(model)
    prompter = Prompter(book, prompting, policy.tokenizer, policy.system_role)
    prompts = [prompter.prompt(request, "none", 0) for request in asked]
    start = time.perf_counter()
    local = [group[0] for group in make_engine(policy).generate(prompts, 1, greedy, seed=0)]
    show("in memory", f"{time.perf_counter() - start:.0f} s")

    pairs = list(zip(served, local, strict=True))
    equal = sum(output.text == rollout.text for output, rollout in pairs)
    rate = wilson(equal, len(pairs))
    show("equal answers", f"{equal} of {len(pairs)}", f"{rate.low:.3f} to {rate.high:.3f}")
    same = sum((o.tokens, o.finish_reason) == ends(r) for o, r in pairs)
    show("equal lengths and finish reasons", f"{same} of {len(pairs)}")
    for output, rollout in pairs:
        if output.text is None:
            show(f"  {rollout.request_id}", "no answer", str(output.problem))
        elif output.text != rollout.text:
            show(f"  {rollout.request_id}", *parting(policy, rollout, output.text))


def ends(rollout: Rollout) -> tuple[int, str]:
    """How long a completion is, and how it ended."""
    return len(rollout.completion_ids), rollout.finish_reason


@torch.no_grad()
def parting(policy: Policy, rollout: Rollout, other: str) -> tuple[str, str]:
    """At which token another text leaves a completion, and how near a tie that was."""
    ids = rollout.completion_ids
    decode = policy.tokenizer.decode
    at = max(n for n in range(len(ids)) if other.startswith(decode(ids[:n])))
    context = torch.tensor([[*rollout.prompt_ids, *ids[:at]]], device=policy.device)
    best = policy.model(input_ids=context).logits[0, -1].float().topk(2)
    second = other.startswith(decode([*ids[:at], int(best.indices[1])]))
    gap = float(best.values[0] - best.values[1])
    took = "the server took the second" if second else "the server took neither"
    return f"parts at token {at}", f"gap {gap:.5f}, {took}"


def show(name: str, value: str, note: str = "") -> None:
    """One figure."""
    typer.echo(f"{name:<42} {value}  {note}".rstrip())


if __name__ == "__main__":
    typer.run(main)
