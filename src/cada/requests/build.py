"""Build a training set as the paper did: harmful requests, even over the hazards, held-out clean.

The paper (Data) takes the prompts of BeaverTails' 30k_train rows whose response is unsafe, lets an
LLM label each 0 to 13 at temperature 0, keeps labels 1 to 12, and draws up to 50 a hazard and 500
in all. Departures: duplicates and what overlaps a test set are dropped first, and repetition is
asked for by name and counted.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cada.casebook.schema import Casebook
from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.files import atomic_path
from cada.requests.decontaminate import Decontamination, Drop, decontaminate
from cada.requests.hazards import SAFE, HazardLabels
from cada.requests.sampling import sample
from cada.requests.sources import load_requests, load_texts, source_name
from cada.requests.types import Request

Classifier = Callable[[Sequence[str]], Sequence[object]]
"""Texts → one hazard label each: an id, a name or a number from 0 (safe) to 13 (other)."""

BEAVERTAILS = RequestSource(
    hub="PKU-Alignment/BeaverTails",
    split="30k_train",
    name="beavertails",
    columns=Columns(text="prompt"),
    harmful=True,
)
BEAVERTAILS_WHERE: Mapping[str, bool | int | str] = {"is_safe": False}
"""The rows whose response people marked unsafe; the label says nothing of the prompt itself."""


@dataclass(frozen=True)
class BuildOptions:
    """How the set is drawn; the defaults are the paper's, but for `threshold`.

    `total` requests, at most `cap` a hazard; `repeat` fills up with copies where the unique ones
    run out, as the paper's sets did; `threshold` is the similarity from which two requests count
    as one. `harmless` takes the rows labelled so in place of the harmful ones.
    """

    total: int = 500
    cap: int = 50
    seed: int = 0
    threshold: float = 0.6
    repeat: bool = False
    harmless: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What a build took, dropped and wrote.

    `labelled` counts the rows by what became of their label: `hazard`, `harmless` (label 0), or
    `no_hazard` (13, empty or unknown). `available` and `written_by_hazard` count by hazard id.
    """

    source: str
    options: BuildOptions
    rows: int
    labelled: dict[str, int]
    dropped: dict[str, int]
    overlaps: dict[str, int]
    available: dict[str, int]
    written: int
    unique: int
    written_by_hazard: dict[str, int]
    drops: list[Drop]


def build(
    source: RequestSource,
    out: Path,
    options: BuildOptions | None = None,
    *,
    tests: Sequence[RequestSource] = (),
    classify: Classifier | None = None,
    casebook: Casebook | None = None,
    where: Mapping[str, bool | int | str] | None = None,
    force: bool = False,
) -> BuildReport:
    """Write a request set to `out` (jsonl) and its report beside it (`.report.json`).

    Rows come labelled by their hazard column or constant, or are labelled by `classify`, which
    sees each text once. Without `options.repeat` fewer than `total` may be written: the report
    says so.

    Raises:
        CadaError: a source is bad, `out` exists and `force` is not set, there is no label, or
            nothing is left to write.
    """
    options = options or BuildOptions()
    report_path = _check_target(out, options, force)
    loaded = load_requests(source, casebook, where)
    candidates, repeats = loaded, list[Drop]()
    if classify is not None:
        unique = decontaminate(loaded, threshold=1.0)
        candidates, repeats = _classified(unique.kept, classify, casebook), unique.dropped
    harmful = [r for r in candidates if r.harmful and r.hazard is not None]
    labelled = {
        "hazard": len(harmful),
        "harmless": sum(not r.harmful for r in candidates),
        "no_hazard": sum(r.harmful and r.hazard is None for r in candidates),
    }
    wanted = [r for r in candidates if not r.harmful] if options.harmless else harmful
    if not wanted:
        raise _no_labels(source, options)
    named = {_test_name(test): load_texts(test) for test in tests}
    clean = decontaminate(wanted, named, options.threshold)
    chosen = _draw(clean.kept, options)
    drops = repeats + clean.dropped
    report = BuildReport(
        source=source_name(source),
        options=options,
        rows=len(loaded),
        labelled=labelled,
        dropped=Decontamination(clean.kept, drops).counts,
        overlaps=dict(Counter(d.of for d in drops if d.reason == "test_overlap")),
        available=_by_hazard(clean.kept),
        written=len(chosen),
        unique=len({request.text for request in chosen}),
        written_by_hazard=_by_hazard(chosen),
        drops=drops,
    )
    _write(out, report_path, chosen, report)
    return report


def report_json(report: BuildReport, drops: bool = True) -> dict[str, Any]:
    """The report as plain data; without `drops`, the counts alone."""
    data = asdict(report)
    if not drops:
        del data["drops"]
    return data


def request_json(request: Request) -> dict[str, Any]:
    """A request as one line of a jsonl file that `load_requests` reads back."""
    data = asdict(request)
    return {key: value for key, value in data.items() if value not in (None, ())}


def _check_target(out: Path, options: BuildOptions, force: bool) -> Path:
    if out.suffix != ".jsonl":
        raise CadaError(
            f"unknown suffix '{out.suffix}'",
            where=str(out),
            mend="Name an output file that ends in .jsonl",
        )
    for name, value in (("total", options.total), ("cap", options.cap)):
        if value < 1:
            raise CadaError(f"{value} is too small", where=name, mend="Set it to 1 or more")
    report_path = out.with_suffix(".report.json")
    for path in (out, report_path):
        if path.exists() and not force:
            raise CadaError(
                "is there already", where=str(path), mend="Name another file or pass --force"
            )
    return report_path


def _classified(
    requests: Sequence[Request], classify: Classifier, casebook: Casebook | None
) -> list[Request]:
    labels = classify([request.text for request in requests])
    if len(labels) != len(requests):
        raise CadaError(
            f"gave {len(labels)} labels for {len(requests)} requests",
            where="the classifier",
            mend="Return one label a text, in the same order",
        )
    known = HazardLabels(casebook)
    labelled = []
    for request, label in zip(requests, labels, strict=True):
        hazard = known.resolve(label, f"the classifier's label for {request.id}")
        labelled.append(
            replace(
                request,
                harmful=hazard != SAFE,
                hazard=hazard if hazard in known.ids else None,
            )
        )
    return labelled


def _no_labels(source: RequestSource, options: BuildOptions) -> CadaError:
    return CadaError(
        "no request is labelled harmless"
        if options.harmless
        else "no harmful request has a hazard",
        where=source.path or source_name(source),
        mend="Name the column that holds the hazards (--hazard-column), "
        "or a function that labels the requests (--classify)",
    )


def _test_name(test: RequestSource) -> str:
    return test.path or (f"embedded:{test.split}" if test.embedded else source_name(test))


def _draw(requests: Sequence[Request], options: BuildOptions) -> list[Request]:
    if not requests:
        raise CadaError(
            "every request was dropped as a duplicate or an overlap with a test set",
            where="threshold",
            mend="Raise the threshold or leave out the test set that holds them",
        )
    hazards = _by_hazard(requests)
    unique = sum(min(options.cap, number) for number in hazards.values())
    reachable = options.cap * len(hazards) if options.repeat else unique
    total = min(options.total, reachable)
    return sample(requests, total, options.seed, options.cap, options.repeat)


def _by_hazard(requests: Sequence[Request]) -> dict[str, int]:
    return dict(sorted(Counter(request.hazard or "none" for request in requests).items()))


def _write(out: Path, report_path: Path, requests: Sequence[Request], report: BuildReport) -> None:
    """Both files whole, or neither: each is written in full before the first is moved."""
    lines = [json.dumps(request_json(request), ensure_ascii=False) for request in requests]
    text = json.dumps(report_json(report), indent=2, ensure_ascii=False)
    with atomic_path(out) as whole, atomic_path(report_path) as its_report:
        whole.write_text("\n".join(lines) + "\n", encoding="utf-8")
        its_report.write_text(text + "\n", encoding="utf-8")
