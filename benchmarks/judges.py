"""How good and how fast the offline judges are, on labelled data.

    python benchmarks/judges.py --data ../shared/data
    python benchmarks/judges.py --data ../shared/data --more mistralguard.csv

Each model is left out in turn of what the refusal judge learns, with the prompts that it is tested
on; `--more` takes files of labelled answers of further models to XSTest's prompts.
Prints one line a figure. Answers a second are counted in processor time of one core, with the
loading of the vectors left out.
"""

import hashlib
import random
import re
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from cada.evaluation.canary import load_pairs
from cada.judging import manner, meaning, relevance, signs
from cada.judging.agreement import check
from cada.judging.labels import Labelled, read_labelled
from cada.judging.refusal import RefusalJudge
from cada.judging.verdict import Outcome
from cada.stats import wilson

Pairs = list[tuple[str, str]]
SHUFFLES = 5
LETTERS = re.compile(r"[^\W\d_]+")


def main(
    data: Annotated[Path, typer.Option(help="The folder of benchmark data.")],
    more: Annotated[list[Path] | None, typer.Option(help="Answers of a further model.")] = None,
) -> None:
    """Measure the judges."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    answers = read_labelled(data / "xstest/xstest_v2_completions_human.csv")
    speed(answers)
    agree(answers)
    leave_out(data, more or [])
    unrelated(answers)
    compare(data)


def agree(answers: list[Labelled]) -> None:
    """XSTest: any refusal against full compliance, three ways, and each model apart."""
    found = check(RefusalJudge(), answers)
    rate, figures = found.accuracy(), found.as_dict()
    show("XSTest, any refusal or full compliance", f"{rate.value:.3f}", f"n = {rate.n}")
    for side in ("full_compliance", "any_refusal"):
        show(f"  F1 {side}", f"{figures['per_class'][side]['f1']:.3f}")
    show("  three-way macro-F1", f"{figures['three_way']:.3f}")
    for name, part in figures["by_model"].items():
        show(f"  {name}", f"{part['accuracy']:.3f}", f"three-way {part['three_way']:.3f}")
    unread = check(RefusalJudge(), [a for a in answers if was_left_unread(str(a.row["prompt_id"]))])
    rate, figures = unread.accuracy(), unread.as_dict()
    note = f"n = {rate.n}, three-way {figures['three_way']:.3f}"
    show("  prompts that were not read", f"{rate.value:.3f}", note)


def leave_out(data: Path, more: list[Path]) -> None:
    """Each model left out of the fit with a fifth of the prompts at a time."""
    import fit_refusal

    for name, (rules, both) in fit_refusal.left_out(fit_refusal.read_all(data, more)).items():
        sides = both.as_dict()["per_class"]
        f1 = " and ".join(f"{sides[s]['f1'] or 0:.3f}" for s in ("full_compliance", "any_refusal"))
        note = f"F1 {f1}, three-way {both.three_way() or 0:.3f}, n = {len(both.rows)}"
        by_rules = f"rules alone {rules.accuracy().value:.3f}"
        show(f"left out: {name}", f"{both.accuracy().value:.3f}", f"{note}; {by_rules}")


def was_left_unread(prompt: str) -> bool:
    """Whether a prompt is of the fifth whose answers nobody read who wrote the rules."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 5 == 0


def unrelated(answers: list[Labelled]) -> None:
    """Answers moved to another prompt, garbled ones, and true ones that must stay."""
    groups: dict[str, Pairs] = {"own question-answer pairs": load_pairs("embedded")}
    for answer in answers:
        if answer.label == {Outcome.COMPLIED} and answer.model:
            groups.setdefault(answer.model, []).append((answer.request, answer.response))
    garbles: dict[str, Callable[[random.Random, str], str]] = {
        "words shuffled": lambda chance, text: " ".join(shuffled(chance, text.split())),
        "letters shuffled": lambda chance, text: LETTERS.sub(
            lambda word: "".join(shuffled(chance, list(word[0]))), text
        ),
        "letters at random": lambda chance, text: LETTERS.sub(
            lambda word: "".join(chance.choice(string.ascii_lowercase) for _ in word[0]), text
        ),
        "one sentence over and over": lambda chance, text: f"{text.split('.')[0][:80]}. " * 8,
    }
    for name, pairs in groups.items():
        show(f"called unrelated, {name}", share(pairs), f"true answers, n = {len(pairs)}")
        moved = [pair for seed in range(SHUFFLES) for pair in elsewhere(pairs, seed)]
        show("  moved to another prompt", share(moved), f"{SHUFFLES} shuffles")
        chance = random.Random(0)
        for kind, garble in garbles.items():
            show(f"  {kind}", share([(q, garble(chance, a)) for q, a in pairs]))


def speed(answers: list[Labelled]) -> None:
    """Answers a second on one core, to requests not met before, by a judge that has read as many
    others: the median of five passes and their range."""
    prompts = sorted({str(a.row["prompt_id"]) for a in answers})
    first = set(prompts[::2])
    warm, timed = (
        [(a.request, a.response) for a in answers if (str(a.row["prompt_id"]) in first) is side]
        for side in (True, False)
    )
    of_requests = (signs._known, manner._asked, meaning._met, relevance._wanted)
    found = []
    for _ in range(5):
        for remembered in (*of_requests, manner._kinds, meaning._of_word):
            remembered.cache_clear()
        judge = RefusalJudge()
        judge.judge_all(warm)
        started = time.process_time()
        judge.judge_all(timed)
        found.append(len(timed) / (time.process_time() - started))
    show("answers a second", f"{median(found):.0f}", f"{min(found):.0f} to {max(found):.0f}")


def compare(data: Path) -> None:
    """Harm and hazards, five folds each."""
    import fit_harm
    import fit_hazards

    shares = fit_harm.five_folds(data)
    mean = sum(shares) / len(shares)
    low, high = wilson(round(mean * 300), 300).low, wilson(round(mean * 300), 300).high
    show("JailbreakBench, five folds by goal", f"{mean:.3f}", f"{low:.3f} to {high:.3f}, n = 300")
    labelled = fit_hazards.read_hazard_labels(data / "beavertails/requests.csv")
    kept = [pair for pair in labelled if 1 <= pair[1] <= 12]
    own = fit_hazards.own_hazard_texts()
    show("BeaverTails hazards", fit_hazards.five_folds(own, kept, range(1, 13)))
    show("  with safe and other", fit_hazards.five_folds(own, labelled, range(14)))


def shuffled(chance: random.Random, items: list[str]) -> list[str]:
    """The items in another order."""
    return chance.sample(items, len(items))


def elsewhere(pairs: Pairs, seed: int) -> Pairs:
    """Each request with the answer to another one."""
    order, chance = list(range(len(pairs))), random.Random(seed)
    while any(place == number for place, number in enumerate(order)):
        chance.shuffle(order)
    return [(pairs[here][0], pairs[there][1]) for here, there in enumerate(order)]


def share(pairs: Pairs) -> str:
    """How many are called unrelated."""
    verdicts = RefusalJudge().judge_all(pairs)
    return f"{sum(v.outcome is Outcome.UNRELATED for v in verdicts) / len(verdicts):.3f}"


def show(name: str, value: str, note: str = "") -> None:
    """One figure."""
    typer.echo(f"{name:<42} {value}  {note}".rstrip())


if __name__ == "__main__":
    typer.run(main)
