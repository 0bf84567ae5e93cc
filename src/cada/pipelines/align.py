"""`cada align`: the main job, in order.

    open the run's folder → measure the model → train it → save it → measure again → report

Every stage leaves whole files behind, and none is done twice: the same command goes on where a
killed run stopped.
"""

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from cada.casebook.loader import load_casebook
from cada.casebook.schema import Casebook
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.evaluation.canary import canary_rows, load_pairs
from cada.evaluation.local import LocalTarget
from cada.evaluation.metrics import Row, tabulate
from cada.evaluation.sets import measure
from cada.files import held, write_json, write_text
from cada.judging.make import cost, make_judge
from cada.judging.verdict import check_judge
from cada.models.load import is_wide, load_policy, place, save_policy
from cada.models.parallel import join_processes
from cada.models.trained import save_prompting
from cada.pipelines.evaluate import attempts_under
from cada.pipelines.plan import check_memory, check_precision
from cada.pipelines.run_folder import check_run, open_run, write_environment
from cada.prompting.deliberation import FormatStyle
from cada.reporting.card import model_card
from cada.reporting.load import load_run
from cada.reporting.report import write_report
from cada.requests.sources import load_sets
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.vllm_engine import check_vllm
from cada.training.baseline import BaselineTrainer, check_baseline
from cada.training.draw import RequestStream, training_requests
from cada.training.placement import check_trackers
from cada.training.trainer import Trainer, replies_path

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told what goes on, for a progress bar."""

    def stage(self, text: str) -> None:
        """A new stage begins."""
        ...

    def measured(self, text: str, done: int, total: int) -> None:
        """So many answers of a set are there."""
        ...

    def within_step(self, what: str, done: int, total: int) -> None:
        """So many of the step's rollouts or updates are done."""
        ...

    def trained(self, metrics: dict[str, Any], total: int) -> None:
        """A training step is done."""
        ...


class _Silent:
    """Watches for a process that is not the main one."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def measured(self, text: str, done: int, total: int) -> None:
        """Nothing."""

    def within_step(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def trained(self, metrics: dict[str, Any], total: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Outcome:
    """Where the run's results are; `main` is false of all processes but the one that tells."""

    folder: Path
    report: Path
    main: bool = True


def align(  # noqa: PLR0912, PLR0915 - the story in order
    recipe: Recipe,
    watcher: Watcher,
    *,
    force: bool = False,
    sampled: Path | None = None,
    keep_state: bool = False,
) -> Outcome:
    """Align a model by the recipe.

    Args:
        recipe: the run.
        watcher: is told what goes on.
        force: start what by its plan cannot fit.
        sampled: where baselines find and leave what they sample of the untrained model, for runs
            that sample it alike; a run keeps it to itself when None.
        keep_state: leave the finished run's checkpoints in its folder.

    Raises:
        CadaError: bad input, a folder that holds another run or is in use, or a full disk.
    """
    processes = join_processes(recipe.device)
    if not processes.main:
        watcher = _Silent()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    casebook = load_casebook(recipe.casebook)
    train = training_requests(recipe, casebook)
    sets = load_sets(recipe.requests.evaluate, casebook)
    measured = [request for requests in sets.values() for request in requests]
    style = FormatStyle(recipe.prompting.style)
    attempts = {
        name: attempts_under(recipe.evaluation.attacks, requests, style, "evaluation.attacks")
        for name, requests in sets.items()
    }
    if recipe.evaluation.canary:
        load_pairs(recipe.evaluation.canary)
    for request in [*train, *measured]:
        _check_hazard(request, casebook, recipe.prompting.cases)
    RequestStream(train, recipe.seed).check(recipe.stages)
    check_baseline(recipe)
    check_trackers(recipe.training.trackers)
    check_judge(recipe.judge.kind, recipe.judge.harm_only, [*_judged(recipe, train), *measured])
    folder = check_run(recipe)
    report = folder / "report.html"
    if processes.from_main(report.exists()):
        log.info("%s is finished", folder)
        return Outcome(folder, report, processes.main)
    check_precision(recipe)
    if recipe.rollout.engine == "vllm":
        check_vllm(recipe.rollout.vllm)
    if not force:
        check_memory(recipe)
    watcher.stage(f"loading {recipe.model}")
    # Full fine-tuning keeps float32 weights: bfloat16 would round the paper's small steps away.
    wide = recipe.lora is None or is_wide(recipe.dtype, place(recipe.device))
    policy = load_policy(
        recipe.model,
        lora=recipe.lora,
        device=recipe.device,
        dtype=torch.float32 if wide else torch.bfloat16,
        seed=recipe.seed,
        phases=len(recipe.stages),
    )
    if processes.main:
        open_run(recipe)
    processes.wait()
    # The main process alone writes; the others only train.
    with held(folder) if processes.main else nullcontext():
        check_run(recipe)
        if processes.from_main(report.exists()):
            return Outcome(folder, report, processes.main)
        if processes.main:
            write_environment(folder, recipe, torch.get_num_threads(), processes.count)
        judge = make_judge(recipe.judge, replies_path(folder), recipe.device)
        prompter = Prompter(casebook, recipe.prompting, policy.tokenizer, policy.system_role)

        target = LocalTarget(policy, prompter)
        canary, tokens = recipe.evaluation.canary, recipe.training.tokens_per_microbatch

        def rows(label: str) -> list[Row]:
            if not processes.main:
                return []
            answers = measure(
                target,
                judge,
                attempts,
                [str(mode) for mode in recipe.evaluation.modes],
                recipe.evaluation.max_tokens,
                folder / f"answers-{label}.jsonl",
                label,
                watcher.measured,
            )
            table = tabulate(answers, label, judge.name)
            return table + canary_rows(policy, prompter, canary, label, tokens)

        watcher.stage("measuring the model before training")
        before = rows("before")
        processes.wait()
        watcher.stage("training")
        parts = (recipe, policy, prompter, judge, train, folder, watcher.within_step)
        trainer = Trainer(*parts) if recipe.baseline is None else BaselineTrainer(*parts, sampled)
        progress = trainer.train(watcher.trained)
        watcher.stage("saving the model")
        save_policy(policy, folder / "model", merge=recipe.merge_lora)
        if processes.main:
            save_prompting(folder / "model", recipe.prompting)
        watcher.stage("measuring the model after training")
        after = trainer.alone(partial(rows, "after"))
        if processes.main:
            write_json(
                folder / "evaluation.json",
                {
                    "stopped": progress.stopped,
                    "judge": cost(judge),
                    "rows": [r.as_dict() for r in before + after],
                },
            )
            write_text(folder / "model" / "README.md", model_card(load_run(folder)))
            write_report(folder)
            if not keep_state:
                trainer.clear_state()
        processes.wait()
        return Outcome(folder, report, processes.main)


def _judged(recipe: Recipe, train: list[Request]) -> list[Request]:
    """The requests whose rollouts are judged: a share of 0 leaves a kind out of training."""
    shares = [phase.shares.model_dump() for phase in recipe.stages]
    return [r for r in train if any(s[r.kind] for s in shares)]


def _check_hazard(request: Request, casebook: Casebook, cases: int) -> None:
    """See that the casebook has the request's hazard, with cases enough for a pack.

    Raises:
        CadaError: it has not.
    """
    known = {h.id: len(h.cases) for h in casebook.hazards}
    if request.hazard is not None and known.get(request.hazard, 0) < cases:
        there = known.get(request.hazard)
        what = f"has {there} cases" if there else "is not there"
        raise CadaError(
            f"hazard {request.hazard!r} of request {request.id!r} {what}, and a pack takes {cases}",
            where=f"casebook {casebook.name!r}",
            mend="Add it to the casebook, use other request sources, or set prompting.cases",
        )
