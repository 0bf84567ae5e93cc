"""The CADA trainer: REINFORCE in phases (METHOD; departures below).

    for each phase, for each step:
        draw requests, sample completions under the phase's prompt mode     (collect)
        reward them and centre the rewards                                  (advantage)
        minus E[A log π] plus β KL, in the phase's loss context             (objective, update)
        write a line of metrics, watch for trouble, save a checkpoint

Departures from the paper, which trains in one phase on harmful requests: phases, benign requests
with a reward of their own, the KL taken exactly over the vocabulary, and a guard that rolls back.
Everything random depends only on (seed, phase, step), so that a killed run goes on bit by bit.
"""

import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

import torch

from cada.config.phase import Phase
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.files import append_json_line, read_json_lines, write_text
from cada.judging.verdict import Judge
from cada.models.adapters import trained_weights
from cada.models.load import Policy, is_wide
from cada.models.parallel import Processes
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.remembering import RememberingEngine
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Engine, OutsideEngine, Rollout
from cada.rollout.vllm_engine import make_vllm_engine
from cada.training.advantage import (
    centre,
    credit_verdicts,
    groups_without_signal,
    only_positive,
)
from cada.training.averaging import add_to_mean, end_with_mean
from cada.training.balance import errors, running_error, side_weights, weigh
from cada.training.checkpoint import Checkpoints, Progress
from cada.training.collect import Collector, Judged, summarise
from cada.training.draw import RequestStream, derive_seed
from cada.training.guard import inspect
from cada.training.mismatch import check_mismatch, corrected, sampler_mismatch, spread
from cada.training.placement import Placement
from cada.training.references import Reference, References
from cada.training.rollout_files import write_rollouts
from cada.training.samples import Sample
from cada.training.update import UpdateResult, update

log = logging.getLogger(__name__)
StepHook = Callable[[dict[str, Any], int], None]
T = TypeVar("T")
WithinStepHook = Callable[[str, int, int], None]

# A chat model's replies, for a judge or a grader that asks one: a resumed run pays for none twice.
REPLIES = "judge-replies.jsonl"


class Trainer:
    """Trains a policy in a run's folder, going on from its newest checkpoint."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        prompter: Prompter,
        judge: Judge,
        requests: list[Request],
        folder: Path,
        within_step: WithinStepHook | None = None,
    ) -> None:
        self.recipe = recipe
        self.policy = policy
        self.folder = folder
        self.options = recipe.training
        self.within_step = within_step
        self.phases = recipe.phases
        if recipe.rollout.engine == "vllm":
            self.phases = [corrected(p, recipe.rollout.vllm) for p in recipe.phases]
        self.total = sum(p.steps for p in self.phases)
        self.placement = Placement(
            policy,
            folder,
            half=recipe.lora is None and not is_wide(recipe.dtype, policy.device),
            per_phase=recipe.lora is not None and recipe.lora.per_phase,
            trackers=self.options.trackers,
        )
        self.processes, self.accelerator = self.placement.processes, self.placement.accelerator
        self.checkpoints = Checkpoints(folder / "checkpoints", self.options.keep_checkpoints)
        self.references = References(policy, recipe.phases, self.checkpoints.folder)
        if self.placement.sharded:
            self.references.shard(self.placement.half)
            self.placement.shard()
        parameters = trained_weights(policy.model).values()
        adam = torch.optim.AdamW(
            parameters, lr=0.0, weight_decay=self.options.weight_decay, fused=True
        )
        self.optimiser = self.accelerator.prepare_optimizer(adam)
        # Samples from a copy of the policy, as it was after so many updates.
        self.outside: OutsideEngine | None = None
        self._handed: int | None = None
        engine = self._make_engine()
        # Of many processes each keeps its own.
        kept = self.checkpoints.folder / "sampled"
        if self.processes.count > 1:
            kept /= f"{self.processes.rank}-of-{self.processes.count}"
        self.sampler = RememberingEngine(engine, kept)
        self.collector = Collector(
            self.sampler,
            prompter,
            judge,
            recipe.reward,
            RequestStream(requests, recipe.seed),
            replies_path(folder),
            recipe.training.row_seeds,
        )
        self.metrics_path = folder / "metrics.jsonl"
        self.progress = Progress()

    def train(self, on_step: StepHook | None = None) -> Progress:
        """Run every step that is left; returns where the run stands.

        Raises:
            CadaError: a checkpoint is damaged, the disk is full, or a kind of request is missing.
        """
        self.collector.stream.check(self.recipe.phases)
        self._resume()
        if self.options.trackers:
            self.accelerator.init_trackers("cada", config={"recipe": self.recipe.model_dump_json()})
        while self.progress.step < self.total and self.progress.stopped is None:
            phase, step = self._place(self.progress.step)
            metrics = self._step(phase, step)
            self.accelerator.log(_numbers(metrics), step=metrics["step"])
            if on_step:
                on_step(metrics, self.total)
        # end_training would also take the processes apart, which still have to save and measure.
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return self.progress

    def _make_engine(self) -> Engine:
        told = partial(self._within, "rollouts")
        options = self.recipe.rollout
        if options.engine == "transformers":
            return make_engine(self.policy, self.options.rows_per_batch, told)
        folder = self.checkpoints.folder / "vllm"
        self.outside = make_vllm_engine(self.policy, options.vllm, folder, told)
        return self.outside

    def _within(self, what: str, done: int, total: int) -> None:
        """Tell how far a part of the step is."""
        if self.within_step:
            self.within_step(what, done, total)

    def _place(self, done: int) -> tuple[Phase, int]:
        for phase in self.phases:
            if done < phase.steps:
                return phase, done
            done -= phase.steps
        raise ValueError("no step is left")

    def _step(self, phase: Phase, step: int) -> dict[str, Any]:
        self.placement.enter(self.phases.index(phase))
        if step == 0:
            self.progress.phase_updates = 0
            self.progress.missed = self.progress.over_refused = None
            # another loss has gradients of another size, which the old moments would scale away
            self.optimiser.state.clear()
        reference = self.references.of(phase, step)
        started = time.perf_counter()
        handed = self._hand_over()
        judged, samples = self.alone(partial(self.collector.collect, phase, step))
        handed |= self._check_sampler(phase, [s.rollout for s in samples])
        sampled = time.perf_counter()
        metrics: dict[str, Any] = {
            "step": self.progress.step + 1,
            "phase": phase.name,
            "phase_step": step + 1,
            **summarise(judged),
            "groups_without_signal": groups_without_signal(samples),
            "kept": sum(s.kept for s in samples),
            **handed,
        }
        if phase.balance:
            sides = self._sides(phase, metrics)
            samples = weigh(samples, [j.request.harmful for j in judged], sides)
            metrics |= {"harmful_weight": sides[0], "benign_weight": sides[1]}
        self._write_rollouts(judged)
        results, skipped = self._updates(phase, step, samples, reference)
        if step == phase.steps - 1 and end_with_mean(self.optimiser):
            self._handed = None
        metrics |= _merge(results)
        metrics |= {
            "updates": len(results),
            "skipped": skipped,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds_rollout": round(sampled - started, 3),
            "seconds_update": round(time.perf_counter() - sampled, 3),
        }
        tokens = sum(len(j.rollout.completion_ids) for j in judged)
        metrics["tokens_per_second"] = round(tokens / (time.perf_counter() - started), 1)
        self.progress.step += 1
        self.progress.skipped += skipped
        self._watch(metrics)
        return metrics

    def _sides(self, phase: Phase, metrics: dict[str, Any]) -> tuple[float, float]:
        """What harmful and harmless requests count, from the error rates up to this step."""
        now, progress = errors(metrics), self.progress
        progress.missed = running_error(progress.missed, now[0])
        progress.over_refused = running_error(progress.over_refused, now[1])
        return side_weights(progress.missed, progress.over_refused, phase.balance)

    def _hand_over(self) -> dict[str, Any]:
        """Give a sampler that has a copy of the policy the policy as it is."""
        if self.outside is None or self._handed == self.progress.updates:
            return {}
        started = time.perf_counter()
        self.outside.take_weights()
        self._handed = self.progress.updates
        return {"seconds_weights": round(time.perf_counter() - started, 3)}

    def _check_sampler(self, phase: Phase, rollouts: list[Rollout]) -> dict[str, Any]:
        """Measure a sampler of its own; what one sampled that is too far off is forgotten.

        Under a top_p below 1 the two give other log-probabilities, and nothing is measured.

        Raises:
            CadaError: it is too far off.
        """
        if self.outside is None or phase.top_p < 1:
            return {}
        options = self.recipe.rollout.vllm
        found = self.alone(
            partial(
                sampler_mismatch,
                self.policy,
                spread(rollouts, options.check_rollouts),
                phase.temperature,
                self.options.tokens_per_microbatch,
                self.accelerator.autocast,
            )
        )
        found = self.processes.from_main(found)
        try:
            check_mismatch(found, options)
        except CadaError:
            self.sampler.forget()
            raise
        return {"sampler_mismatch": found.mean, "sampler_mismatch_max": found.largest}

    def alone(self, call: Callable[[], T]) -> T:
        """What a call gives that needs no other process (see `Placement.alone`)."""
        return self.placement.alone(call)

    def _updates(
        self, phase: Phase, step: int, samples: list[Sample], reference: Reference | None
    ) -> tuple[list[UpdateResult], int]:
        """Every update of a step; a batch without signal is skipped and counted."""
        if phase.positive_only:
            useful = only_positive(samples, phase.keep_per_request)
        else:
            scored = [s for s in samples if s.reward is not None]
            credit = credit_verdicts if phase.verdict_credit == "verdict" else centre
            useful = credit(scored, phase.advantage)
        if not any(s.advantage or s.verdict_advantage for s in useful):
            return [], 1
        results = []
        size = phase.minibatch or len(useful)
        per_epoch = -(-len(useful) // size)
        seed = derive_seed(self.recipe.seed, phase.name, step, "order")
        generator = torch.Generator().manual_seed(seed)
        for _ in range(phase.epochs):
            order = torch.randperm(len(useful), generator=generator).tolist()
            for index in range(per_epoch):
                batch = [useful[i] for i in order[index::per_epoch]]
                self._set_learning_rate(phase, per_epoch)
                result = update(
                    self.policy,
                    self.optimiser,
                    self.accelerator,
                    batch,
                    phase,
                    reference,
                    tokens=self.options.tokens_per_microbatch,
                    max_grad_norm=self.options.max_grad_norm,
                    recompute=self.options.activation_checkpointing,
                    root=self.placement.root,
                )
                results.append(result)
                self._within("updates", len(results), phase.epochs * per_epoch)
                self.progress.updates += 1
                self.progress.phase_updates += 1
                total = self._length(phase, per_epoch)
                last = self.progress.phase_updates > (1 - phase.average) * total
                if phase.average and last:  # a phase may be longer than estimated
                    add_to_mean(self.optimiser)
        return results, 0

    @staticmethod
    def _length(phase: Phase, per_epoch: int) -> int:
        """The phase's updates, as estimated from this step."""
        return phase.steps * phase.epochs * per_epoch

    def _set_learning_rate(self, phase: Phase, per_epoch: int) -> None:
        """Warm-up, then the schedule over the phase."""
        done = self.progress.phase_updates
        total = max(self._length(phase, per_epoch), done + 1)
        share = done / total
        factor = {
            "constant": 1.0,
            "linear": 1 - share,
            "cosine": 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * share)))),
        }[phase.schedule]
        warm = phase.warmup * total
        if done < warm:
            factor *= (done + 1) / (warm + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = phase.learning_rate * factor

    def _resume(self) -> None:
        """Make the initial reference, then go on from the newest checkpoint, if there is one."""
        self.references.make_initial()
        self.checkpoints.sweep()
        latest = self.checkpoints.latest()
        if latest is None:
            self._trim_metrics(0)
            self.progress.good = "step-00000"
            self.checkpoints.save(self.policy.model, self.optimiser, self.progress)
            return
        self.progress = self.checkpoints.load(latest, self.policy.model, self.optimiser)
        if self.progress.step:  # adapters that have been trained act, also where no step is left
            phase, _ = self._place(self.progress.step - 1)
            self.placement.enter(self.phases.index(phase))
        self._trim_metrics(self.progress.step)
        log.info("going on from step %d of %d", self.progress.step, self.total)

    def _trim_metrics(self, step: int) -> None:
        """Drop lines of steps that a kill cut off before their checkpoint; they run again."""
        if not self.processes.main or not self.metrics_path.exists():
            return
        lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        kept = len(read_json_lines(self.metrics_path, keep=lambda row: row["step"] <= step))
        write_text(self.metrics_path, "".join(line + "\n" for line in lines[:kept]))

    def _watch(self, metrics: dict[str, Any]) -> None:
        """Write the step's line and a checkpoint, or roll back when patience has run out.

        The line comes first: a kill between the two drops it, and the step runs again. The
        step's rollouts measure the policy before the step's updates: a step without trouble
        vouches for the checkpoint before it.
        """
        finding = inspect(metrics, self.options.guard)
        self.progress.trouble = self.progress.trouble + 1 if finding else 0
        if finding is None:
            before = self.checkpoints.latest()
            self.progress.good = before.name if before else None
        elif finding.fatal or self.progress.trouble >= self.options.guard.patience:
            self._roll_back(finding.reason, metrics)
            return
        self._write_line(metrics)
        last = self.progress.step == self.total
        if last or self.progress.step % self.options.checkpoint_every == 0:
            self.checkpoints.save(self.policy.model, self.optimiser, self.progress)
            self.sampler.forget()

    def _write_line(self, metrics: dict[str, Any]) -> None:
        if self.processes.main:
            append_json_line(self.metrics_path, metrics)

    def _roll_back(self, reason: str, metrics: dict[str, Any]) -> None:
        """Put the last good weights back and end the training."""
        stopped_at = self.progress.step
        path = self.checkpoints.folder / str(self.progress.good)
        self.checkpoints.load(path, self.policy.model, self.optimiser)
        self.progress.stopped = f"step {stopped_at}: {reason}; rolled back to {path.name}"
        log.warning("stopped at %s", self.progress.stopped)
        metrics["stopped"] = self.progress.stopped
        self._write_line(metrics)
        self.checkpoints.save(self.policy.model, self.optimiser, self.progress)

    def _write_rollouts(self, judged: list[Judged]) -> None:
        if self.processes.main:
            write_rollouts(self.folder, self.progress.step + 1, judged)

    def clear_state(self) -> None:
        """Remove the checkpoints of a run that has ended; `model/` holds its weights."""
        shutil.rmtree(self.checkpoints.folder, ignore_errors=True)


def replies_path(folder: Path) -> Path:
    """Where this process keeps a chat model's replies: two never write one file."""
    rank = Processes().rank
    return folder / REPLIES if rank == 0 else folder / f"judge-replies-{rank}.jsonl"


def _merge(results: list[UpdateResult]) -> dict[str, Any]:
    """A step's updates as one: means weighted by tokens; the largest gradient norm."""
    if not results:
        return {"loss": None, "grad_norm": None, "entropy": None, "kl": None, "update_tokens": 0}
    tokens = sum(r.tokens for r in results)
    kls = [(r.kl, r.tokens) for r in results if r.kl is not None]
    return {
        "loss": sum(r.loss for r in results) / len(results),
        "grad_norm": max((r.grad_norm for r in results), key=lambda n: n if isfinite(n) else inf),
        "entropy": sum(r.entropy * r.tokens for r in results) / tokens,
        "kl": sum(k * t for k, t in kls) / tokens if kls else None,
        "update_tokens": tokens,
    }


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if isinstance(v, int | float) and k != "step"}
