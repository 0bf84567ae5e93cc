"""Baselines, trained by TRL: supervised fine-tuning and DPO on the model's own outputs.

    draw requests, sample under the baseline's prompt mode, judge      (collect, once)
    choose what is learnt                                              (baseline_data)
    TRL's SFTTrainer or DPOTrainer, on the bare request                (trl_trainers)

What was sampled is kept and sampled once; TRL's own checkpoints take a killed training on.
"""

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cada.config.baseline import Baseline
from cada.config.phase import Phase, RolloutMode
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.files import append_json_line, read_json_lines, write_json, write_text
from cada.judging.make import ask_chat
from cada.judging.rubric import ReasoningJudge
from cada.judging.verdict import Judge
from cada.models.load import Policy, is_wide
from cada.models.parallel import many_asked
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.remembering import RememberingEngine
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Prompt
from cada.training.baseline_data import (
    Example,
    Output,
    Pair,
    counted,
    examples,
    pairs,
    passes,
    refusals,
)
from cada.training.checkpoint import Progress
from cada.training.collect import Collector, summarise
from cada.training.draw import RequestStream, derive_seed
from cada.training.rollout_files import write_rollouts
from cada.training.trainer import StepHook, WithinStepHook, replies_path

log = logging.getLogger(__name__)
T = TypeVar("T")
Learnt = list[Example | Pair]


def check_baseline(recipe: Recipe) -> None:
    """See that a baseline can be trained here; of a recipe with phases, nothing.

    Raises:
        CadaError: TRL is missing or another version, or several processes were launched.
    """
    if recipe.baseline is None:
        return
    if many_asked():
        raise CadaError(
            "a baseline trains in one process",
            where="baseline",
            mend="Run it without a launcher",
        )
    from importlib.util import find_spec

    if find_spec("trl") is None:
        raise CadaError(
            "baselines are trained by TRL, which is not installed",
            where="baseline",
            mend="Run: pip install 'cada-align[baselines]'",
        )


class BaselineTrainer:
    """Trains a policy in a run's folder, as `training.trainer.Trainer` does for phases."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        prompter: Prompter,
        judge: Judge,
        requests: list[Request],
        folder: Path,
        within_step: WithinStepHook | None = None,
        sampled: Path | None = None,
    ) -> None:
        """`sampled` keeps what the untrained policy gave, for other runs too; None in this run's.

        Whoever shares that folder shares the policy and how it is sampled (its batches' size).
        """
        assert recipe.baseline is not None
        self.recipe = recipe
        self.baseline: Baseline = recipe.baseline
        self.phase: Phase = recipe.stages[0]
        self.policy = policy
        self.prompter = prompter
        self.folder = folder
        self.within_step = within_step
        self.state = folder / "checkpoints"
        engine = make_engine(
            policy, recipe.training.rows_per_batch, partial(self._within, "rollouts")
        )
        self.stream = RequestStream(requests, recipe.seed)
        self.collector = Collector(
            RememberingEngine(engine, sampled or self.state / "sampled"),
            prompter,
            judge,
            recipe.reward,
            self.stream,
            replies_path(folder),
            recipe.training.row_seeds,
        )
        self.metrics_path = folder / "metrics.jsonl"

    def train(self, on_step: StepHook | None = None) -> Progress:
        """Sample, choose, train; goes on where a killed run stopped.

        Raises:
            CadaError: nothing to learn from was found, the loss is no number, or the disk is full.
        """
        from cada.training.trl_trainers import fit

        self.stream.check([self.phase])
        started = time.perf_counter()
        data, metrics = self.collect()
        seconds = time.perf_counter() - started
        updates = self.updates(len(data))
        total = updates + 1
        first = {
            **metrics,
            "step": 1,
            "phase": self.phase.name,
            "seconds_rollout": round(seconds, 3),
            "seconds_update": 0.0,
        }
        if not self.metrics_path.exists():
            append_json_line(self.metrics_path, first)
        if on_step:
            on_step(first, total)

        def told(update: int, line: dict[str, Any]) -> None:
            self._keep_lines(update)
            full = {"step": update + 1, "phase": self.phase.name, "seconds_rollout": 0.0, **line}
            append_json_line(self.metrics_path, full)
            if on_step:
                on_step(full, total)

        fit(
            self.baseline,
            self.recipe.training,
            self.policy,
            data,
            self.state / "trl",
            seed=self.recipe.seed,
            half=self.recipe.lora is None and not is_wide(self.recipe.dtype, self.policy.device),
            told=told,
        )
        return Progress(step=total, updates=updates)

    def updates(self, learnt: int) -> int:
        """Updates over that many examples or pairs."""
        return self.baseline.epochs * math.ceil(learnt / self.baseline.batch)

    def collect(self) -> tuple[Learnt, dict[str, Any]]:
        """What is learnt, and the summary of what was sampled for it.

        Raises:
            CadaError: nothing is left to learn from.
        """
        # One draw for all kinds of baseline: they then share what is sampled.
        alike = self.phase.model_copy(update={"name": "baseline"})
        drawn = dict(enumerate(self.stream.draw(alike, 0)))
        asked = {
            number: request
            for number, request in drawn.items()
            if self.baseline.samples_harmful or not request.harmful
        }
        outputs = self._graded(self._sampled(self.phase, asked)) if asked else []
        sampled = list(outputs)
        data: Learnt
        if self.baseline.kind == "dpo":
            rejected = outputs
            if self.baseline.rejected_mode is not None:
                able = {o.sample.group for o in outputs if o.sample.kept}
                again = {number: r for number, r in drawn.items() if number in able}
                mode = RolloutMode(self.baseline.rejected_mode)
                other = self.phase.model_copy(update={"rollout_mode": mode})
                rejected = self._sampled(other, again) if again else []
                sampled += rejected
            paired = pairs(self.baseline, outputs, rejected)
            data, numbers = [pair for _, pair in paired], [number for number, _ in paired]
            dropped = sum(o.whole and o.judged.reward not in (1, -1) for o in sampled)
        else:
            chosen = examples(self.baseline, self._answers_alone(outputs))
            data, numbers = [example for _, example in chosen], [number for number, _ in chosen]
            dropped = sum(o.whole and not passes(self.baseline, o) for o in outputs)
            if not self.baseline.samples_harmful:
                fixed = self._refusals(drawn)
                data = [*fixed, *data]
                numbers = [*(n for n, r in drawn.items() if r.harmful), *numbers]
        counts = counted(drawn, sampled, numbers, dropped)
        write_rollouts(self.folder, 1, [o.judged for o in sampled])
        write_json(self.folder / "baseline.json", counts.as_dict())
        if not data:
            raise CadaError(
                f"of {counts.outputs} outputs to {counts.requests} requests none is left to learn "
                "from",
                where="baseline",
                mend="Raise baseline.rollouts_per_request or max_tokens, or choose a weaker filter",
            )
        summary = summarise([o.judged for o in outputs]) if outputs else _nothing()
        told = {"sampled": len(sampled), "kept": counts.learnt, "without": counts.without}
        return data, summary | told

    def alone(self, call: Callable[[], T]) -> T:
        """What a call gives; there is one process."""
        return call()

    def clear_state(self) -> None:
        """Remove the checkpoints and the kept rollouts of a run that has ended."""
        shutil.rmtree(self.state, ignore_errors=True)

    def _sampled(self, phase: Phase, requests: dict[int, Request]) -> list[Output]:
        seed = derive_seed(self.recipe.seed, "baseline", str(phase.rollout_mode))
        found = self.collector.sample(phase, requests, seed)
        return [Output(judged, sample) for judged, sample in found]

    def _graded(self, outputs: list[Output]) -> list[Output]:
        """The outputs with a chat model's grade of those that reason, where the filter asks."""
        if self.baseline.judge is None:
            return outputs
        judge = ReasoningJudge(ask_chat(self.baseline.judge, replies_path(self.folder)))
        at = [
            number
            for number, o in enumerate(outputs)
            if o.whole and o.judged.request.harmful and o.judged.deliberation.complete
        ]
        asked = [outputs[number].judged for number in at]
        grades = judge.grade_all(
            [
                (
                    j.request.text,
                    self.prompter.code(j.request, j.rollout.mode),
                    j.deliberation.reasoning,
                    j.deliberation.response,
                )
                for j in asked
            ]
        )
        graded = list(outputs)
        for number, grade in zip(at, grades, strict=True):
            graded[number] = replace(outputs[number], grade=grade.value)
        return graded

    def _answers_alone(self, outputs: list[Output]) -> list[Output]:
        """Beside direct refusals, harmless requests are answered directly too."""
        if self.baseline.samples_harmful:
            return outputs
        made = []
        for o in outputs:
            ids = self._ids(o.judged.deliberation.response)
            rollout = replace(o.judged.rollout, completion_ids=ids)
            made.append(replace(o, judged=replace(o.judged, rollout=rollout)))
        return made

    def _refusals(self, drawn: dict[int, Request]) -> list[Example]:
        bare: dict[int, Prompt] = {
            number: self.prompter.prompt(request, "none", 0) for number, request in drawn.items()
        }
        return refusals(self.baseline, drawn, bare, self._ids(self.baseline.refusal))

    def _ids(self, text: str) -> tuple[int, ...]:
        ids = self.policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self.policy.end_of_turn)

    def _within(self, what: str, done: int, total: int) -> None:
        if self.within_step:
            self.within_step(what, done, total)

    def _keep_lines(self, count: int) -> None:
        """Drop metrics of updates that a kill cut off before their checkpoint; they run again."""
        if not self.metrics_path.exists():
            return
        kept = read_json_lines(self.metrics_path, keep=lambda row: row["step"] <= count)
        lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        if len(kept) < len([line for line in lines if line]):
            write_text(self.metrics_path, "".join(line + "\n" for line in lines[: len(kept)]))


def _nothing() -> dict[str, Any]:
    """The summary of a baseline that samples nothing."""
    return {"rollouts": 0, "reward": None}
