"""Read the models to compare from the folders of `cada evaluate` and `cada align`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cada.errors import CadaError
from cada.evaluation.answers import Answer, read_answers
from cada.reporting.load import LABELS, read_evaluation, read_settings

# Settings that change what is measured, by their dotted names in the two kinds of config.yaml.
_SETTINGS = {
    "longest answer": ("max_tokens", "evaluation.max_tokens"),
    "casebook": ("casebook", "casebook"),
    "cases in the prompt": ("prompting.cases", "prompting.cases"),
    "marks of the analysis": ("prompting.style", "prompting.style"),
}


@dataclass(frozen=True)
class Measured:
    """One model's answers. `name` tells it apart; `judge` gave every verdict."""

    name: str
    model: str
    folder: Path
    answers: tuple[Answer, ...]
    judge: str
    settings: dict[str, str]


def load_models(runs: Sequence[str]) -> list[Measured]:
    """The models of all runs, in their order; an aligned one is two, before and after.

    A run is `FOLDER` or `NAME=FOLDER`. Without a name it is called as the end of its path that
    tells it apart.

    Raises:
        CadaError: a folder is no finished run, fewer than two models, or two of one name.
    """
    named = [_split(run) for run in runs]
    short = _short_names([folder for _, folder in named])
    models = []
    for (name, folder), own in zip(named, short, strict=True):
        models += _load(name or own, folder, alone=len(named) == 1 and not name)
    names = [m.name for m in models]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise CadaError(
            f"two models are called '{twice}'", where="RUN", mend="Name them: NAME=FOLDER"
        )
    if len(models) < 2:
        raise CadaError(
            "one model has nothing to be compared with",
            where=str(models[0].folder),
            mend="Give a second run, or the folder of `cada align`, which holds two models",
        )
    return models


def _split(run: str) -> tuple[str, Path]:
    name, separator, folder = run.partition("=")
    if separator and name and folder and not Path(run).exists():
        return name, Path(folder)
    return "", Path(run)


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many before it as tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _load(name: str, folder: Path, alone: bool) -> list[Measured]:
    files = {"": "answers.jsonl"} | {label: f"answers-{label}.jsonl" for label in LABELS}
    there = {label: folder / file for label, file in files.items() if (folder / file).is_file()}
    missing = next(
        (f for f in ("config.yaml", "evaluation.json") if not (folder / f).is_file()), None
    )
    if missing or not there:
        what = f"there is no {missing}" if missing else "there are no answers"
        raise CadaError(
            f"the folder is no finished run: {what}",
            where=str(folder),
            mend="Give the --out folder of a `cada evaluate`, or the output of a `cada align`",
        )
    settings = read_settings(folder / "config.yaml")
    rows = read_evaluation(folder / "evaluation.json")["rows"]
    models = []
    for label, path in there.items():
        answers = _latest(read_answers(path))
        if not answers:
            raise CadaError("there is no answer in the file", where=str(path), mend="Measure again")
        sets = {a.benchmark for a in answers}
        own = [r for r in rows if r["benchmark"] in sets and label in ("", r["model"])]
        judges = {str(r.get("judge")) for r in own} or {a.judge for a in answers}
        models.append(
            Measured(
                name=label if alone and label else f"{name} {label}".strip(),
                model=str(settings.get("model", "unknown model")),
                folder=folder,
                answers=answers,
                judge=", ".join(sorted(judges)),
                settings=_comparable(settings),
            )
        )
    return models


def _latest(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Each answer once: one that could not be had stands before the one that was had later."""
    found = {}
    for a in answers:
        key = (a.benchmark, a.attack, a.mode, a.request_id, a.sent, a.prefill)
        found[key] = a
    return tuple(found.values())


def _comparable(settings: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, places in _SETTINGS.items():
        values = [_value(settings, place) for place in places]
        if known := [v for v in values if v is not None]:
            found[name] = str(known[0])
    return found


def _value(settings: Any, place: str) -> Any:
    for part in place.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings
