"""From rewards to advantages (METHOD: REINFORCE with centred rewards)."""

from collections import defaultdict
from dataclasses import replace
from typing import Literal

from cada.training.samples import Sample

Centre = Literal["batch", "group", "leave_one_out", "reward"]


def centre(samples: list[Sample], how: Centre) -> list[Sample]:
    """Give every sample its advantage.

    `batch` subtracts the mean over all scored samples of the step, harmful and benign together;
    `group` the mean over the request's own samples; `leave_one_out` the mean over the request's
    other samples (RLOO, Ahmadian et al. 2024); `reward` nothing. An unscored sample gets 0 and
    takes no part in any mean.
    """
    scored = [s.reward for s in samples if s.reward is not None]
    groups: dict[int, list[float]] = defaultdict(list)
    for s in samples:
        if s.reward is not None:
            groups[s.group].append(s.reward)
    done = []
    for s in samples:
        if s.reward is None:
            done.append(s.with_advantage(0.0))
            continue
        own = groups[s.group]
        baseline = 0.0
        if how == "batch":
            baseline = sum(scored) / len(scored)
        elif how == "group":
            baseline = sum(own) / len(own)
        elif how == "leave_one_out" and len(own) > 1:
            baseline = (sum(own) - s.reward) / (len(own) - 1)
        elif how == "leave_one_out":
            baseline = s.reward
        done.append(s.with_advantage(s.reward - baseline))
    return done


def credit_verdicts(samples: list[Sample], how: Centre) -> list[Sample]:
    """Advantages of two decisions: the verdict's tokens learn whether it is right, and what follows
    is centred as `how` says over the samples without a wrong one.

    A verdict earns +1 if right and −1 if wrong, minus the mean over the step: with the output's own
    reward, a right one before a botched answer would be unlearnt. What follows a wrong verdict gets
    0: rewarded as the request deserves, it would learn to contradict its verdict. Samples without a
    verdict have no advantage of their own for it. Both advantages are times the sample's weight.
    """
    heeded = iter(centre([s for s in samples if s.verdict_right is not False], how))
    told = [1.0 if s.verdict_right else -1.0 for s in samples if s.verdict_right is not None]
    mean = sum(told) / len(told) if told else 0.0
    done = []
    for s in samples:
        if s.verdict_right is None:
            done.append(next(heeded))
        elif s.verdict_right:
            done.append(replace(next(heeded), verdict_advantage=(1 - mean) * s.weight))
        else:
            done.append(replace(s.with_advantage(0.0), verdict_advantage=(-1 - mean) * s.weight))
    return done


def only_positive(samples: list[Sample], keep_per_request: int | None) -> list[Sample]:
    """The samples to distil, each with advantage 1: the first few of each request."""
    kept: dict[int, int] = defaultdict(int)
    done = []
    for s in samples:
        if s.kept and (keep_per_request is None or kept[s.group] < keep_per_request):
            kept[s.group] += 1
            done.append(s.with_advantage(1.0))
    return done


def groups_without_signal(samples: list[Sample]) -> float:
    """Share of requests whose scored rollouts all earned the same reward."""
    groups: dict[int, set[float]] = defaultdict(set)
    for s in samples:
        groups[s.group]
        if s.reward is not None:
            groups[s.group].add(s.reward)
    return sum(len(v) < 2 for v in groups.values()) / len(groups) if groups else 0.0
