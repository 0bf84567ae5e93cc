"""Measure a target on several sets, attacks and modes, going on where a killed run stopped."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from cada.attacks.types import Attempt
from cada.errors import CadaError
from cada.evaluation.answers import Answer, judged, read_answers
from cada.evaluation.targets import Output, Target, TargetLostError
from cada.files import append_json_line, drop_partial_line
from cada.judging.verdict import Judge
from cada.rollout.types import Sampling

# Answers are written in pieces of this size; a killed run loses at most one piece.
_PIECE = 128

Progress = Callable[[str, int, int], None]


def measure(
    target: Target,
    judge: Judge,
    sets: dict[str, list[Attempt]],
    modes: Sequence[str],
    max_tokens: int,
    answers_file: Path,
    label: str,
    progress: Progress | None = None,
) -> list[Answer]:
    """Greedy answers (temperature 0, the paper's) to every attempt under every mode, judged.

    Answers go to `answers_file`, one JSON line each; those that are there already, to the same
    text, are kept and not made again. An answer that could not be had is asked for again.

    Args:
        target: the model under test.
        judge: judges the final responses.
        sets: each benchmark's attempts under its name, of one attack or several.
        modes: prompt modes.
        max_tokens: longest answer.
        answers_file: where the answers are kept.
        label: the model, in `progress`.
        progress: is told what is measured, how many answers there are, and of how many.

    Raises:
        CadaError: the target was lost on the way; what it had answered is in `answers_file`.
    """
    drop_partial_line(answers_file)
    known = [a for a in read_answers(answers_file) if a.finish_reason != "error"]
    done = {_key(a): a for a in known}
    sampling = Sampling(max_tokens, temperature=0.0)
    answers: list[Answer] = []
    for name, attempts in sets.items():
        for attack, mode in [(a, m) for a in _attacks(attempts) for m in modes]:
            own = [attempt for attempt in attempts if attempt.attack == attack]
            keys = [(name, attack, mode, a.request.id, a.text, a.prefill) for a in own]
            left = [a for a, key in zip(own, keys, strict=True) if key not in done]
            text = f"{label}: {name}, mode {mode}" + ("" if attack == "none" else f", {attack}")
            for at in range(0, len(left), _PIECE):
                piece = left[at : at + _PIECE]
                outputs, lost = _ask(target, piece, mode, sampling)
                asked = [piece[i] for i in outputs]
                given = list(outputs.values())
                for a in judged(given, target.style, judge, asked, name, mode):
                    append_json_line(answers_file, asdict(a))
                    done[_key(a)] = a
                if lost:
                    raise _told(lost, len(done))
                if progress:
                    progress(text, len(own) - len(left) + min(at + _PIECE, len(left)), len(own))
            answers += [done[key] for key in keys]
    return answers


def _ask(
    target: Target, attempts: Sequence[Attempt], mode: str, sampling: Sampling
) -> tuple[dict[int, Output], TargetLostError | None]:
    """The outputs by the attempt's place, and how the target was lost if it was."""
    try:
        return dict(enumerate(target.answer(attempts, mode, sampling))), None
    except TargetLostError as lost:
        return lost.outputs, lost


def _told(lost: TargetLostError, kept: int) -> CadaError:
    """The loss, with how far the measurement came."""
    if not kept:
        return lost
    return CadaError(
        f"{lost.what}, after {kept} answers, which are kept",
        where=lost.where,
        mend=f"{lost.mend}; with --out, the same command then goes on from there",
    )


def _key(a: Answer) -> tuple[str, str, str, str, str, str]:
    return a.benchmark, a.attack, a.mode, a.request_id, a.sent, a.prefill


def _attacks(attempts: Sequence[Attempt]) -> list[str]:
    return list(dict.fromkeys(attempt.attack for attempt in attempts))
