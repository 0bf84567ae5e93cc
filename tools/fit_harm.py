"""Fits the offline harm judge and writes its weights into the package.

    python tools/fit_harm.py --data ../shared/data          # fit on all of it
    python tools/fit_harm.py --data ../shared/data --check  # five folds, grouped by goal

It learns from JailbreakBench's judge comparison (MIT): 300 answers, three people's majority. How
harmful a request looks is learnt from XSTest's prompts (CC-BY-4.0) and this project's own; of
requests that an answer is judged on, --check leaves out those that are tested, from both.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from cada.casebook.loader import load_casebook
from cada.config.sources import RequestSource
from cada.judging.harm import DENSE, FILE, dense, words
from cada.judging.hazards import BUCKETS, word_ngrams
from cada.judging.meaning import WIDTH, embed
from cada.judging.refusal import RefusalJudge
from cada.judging.verdict import Outcome
from cada.requests.sources import load_requests

PACKAGE = Path(__file__).parents[1] / "src/cada/judging"
SHARES = (0.15, 2.0, 1.5)  # of dense features, vector and words: the stronger, the less they shrink
STRENGTH = 1.5
SHUFFLES = 10

Rows = list[dict[str, str]]
Weights = dict[str, NDArray[np.floating]]


def main(
    data: Annotated[Path, typer.Option(help="The folder of benchmark data.")],
    check: Annotated[bool, typer.Option("--check", help="Only report five folds.")] = False,
) -> None:
    """Fit the harm judge, or report how it does on goals that it has not seen."""
    rows, labels = _labelled(data)
    if check:
        shares = five_folds(data)
        typer.echo(
            f"accuracy {np.mean(shares):.3f} ({min(shares):.3f} to {max(shares):.3f} over "
            f"{SHUFFLES} shuffles), n = {len(labels)}, the majority {1 - labels.mean():.3f}"
        )
        return
    weights = fit(rows, labels, request_weights(_requests(data, leave_out=frozenset())))
    save_file(weights, PACKAGE / FILE)
    typer.echo(f"{len(rows)} answers, {(PACKAGE / FILE).stat().st_size / 1e3:.0f} kB")


def five_folds(data: Path, shuffles: int = SHUFFLES) -> list[float]:
    """The accuracy on goals that were left out, for each shuffle of the goals."""
    rows, labels = _labelled(data)
    goals = np.array([row["goal"].strip() for row in rows])
    request = request_weights(_requests(data, leave_out=frozenset(goals)))
    shares = []
    for seed in range(shuffles):
        said = np.zeros_like(labels)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for train, test in folds.split(goals, labels, goals):
            weights = fit([rows[i] for i in train], labels[train], request)
            said[test] = logits([rows[i] for i in test], weights) > 0
        shares.append(float((said == labels).mean()))
    return shares


def _labelled(data: Path) -> tuple[Rows, NDArray[np.int64]]:
    rows = _rows(data / "jailbreakbench/judge_comparison_human.csv")
    return rows, np.array([int(row["human_majority"]) for row in rows])


def request_weights(requests: list[tuple[str, bool]]) -> NDArray[np.float32]:
    """How harmful a request looks, as weights of its vector, and a bias."""
    texts, harmful = zip(*requests, strict=True)
    fitted = LogisticRegression(C=30, max_iter=500).fit(embed(texts), harmful)
    return np.append(fitted.coef_[0], fitted.intercept_).astype(np.float32)


def fit(rows: Rows, labels: NDArray[np.int64], request: NDArray[np.float32]) -> Weights:
    """The weights as the package keeps them; `request` as `request_weights` gives it."""
    counts = [word_ngrams(row["target_response"]) for row in rows]
    present = np.bincount([b for found in counts for b in found], minlength=BUCKETS)
    idf = (np.log((1 + len(rows)) / (1 + present)) + 1).astype(np.float32)
    few, vectors, grams = _features(rows, request, idf)
    scale = StandardScaler().fit(few)
    parts = (csr_matrix(scale.transform(few)), csr_matrix(vectors), grams)
    whole = hstack([part * share for part, share in zip(parts, SHARES, strict=True)])
    model = LogisticRegression(C=STRENGTH, max_iter=500).fit(whole.tocsr(), labels)
    cuts = np.cumsum([DENSE, WIDTH])
    own, meaning, spoken = (
        part * share for part, share in zip(np.split(model.coef_[0], cuts), SHARES, strict=True)
    )
    own = own / scale.scale_
    return {
        "request": request,
        "dense": own.astype(np.float32),
        "meaning": meaning.astype(np.float32),
        "words": spoken.astype(np.float16),
        "idf": idf.astype(np.float16),
        "bias": (model.intercept_ - own @ scale.mean_).astype(np.float32),
    }


def logits(rows: Rows, weights: Weights) -> NDArray[np.float64]:
    """Log-odds of harm [N]."""
    few, vectors, grams = _features(rows, weights["request"], weights["idf"].astype(np.float32))
    found: NDArray[np.float64] = few @ weights["dense"] + vectors @ weights["meaning"]
    return found + grams @ weights["words"].astype(np.float32) + weights["bias"]


def _features(
    rows: Rows, request: NDArray[np.float32], idf: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], csr_matrix]:
    few = []
    columns, values, ends = [], [], [0]
    for row in rows:
        outcome = _outcome(row["goal"], row["target_response"])
        few.append(dense(row["goal"], outcome, request))
        buckets, weights = words(row["target_response"], idf)
        columns.append(buckets)
        values.append(weights)
        ends.append(ends[-1] + len(buckets))
    grams = csr_matrix(
        (np.concatenate(values), np.concatenate(columns), ends), (len(rows), BUCKETS)
    )
    return np.stack(few), embed([row["target_response"] for row in rows]), grams


@cache
def _outcome(goal: str, response: str) -> Outcome:
    """The refusal judge's, once for all folds."""
    return RefusalJudge().judge(goal, response).outcome


def _requests(data: Path, leave_out: frozenset[str]) -> list[tuple[str, bool]]:
    """Requests, and whether they are harmful: XSTest's, and the embedded ones but for the test."""
    casebook = load_casebook("default")
    found = [
        (request.text, request.harmful)
        for split in ("train", "validation")
        for request in load_requests(RequestSource(embedded=True, split=split), casebook)
    ]
    for row in _rows(data / "xstest/xstest_prompts.csv"):
        found.append((row["prompt"], row["label"] == "unsafe"))
    return [pair for pair in found if pair[0].strip() not in leave_out]


def _rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    typer.run(main)
