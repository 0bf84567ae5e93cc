"""The benchmarks by name, from a folder or from where their authors publish them.

In a folder each lies where `Benchmark.file` says, so that one folder holds them all. Downloads go
through `datasets`, which keeps them. A file with another checksum than the published one is used,
with a warning: its figures compare with nobody's.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.requests.embedded import load_embedded
from cada.requests.sources import load_requests
from cada.requests.types import Request

log = logging.getLogger(__name__)

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Benchmark:
    """A published set of requests, all harmful or all harmless.

    `file` is its place in a folder of benchmarks, `address` where it is published, `sha256` the
    published file's. `category` names the column that the authors sort it by.
    """

    name: str
    title: str
    paper: str
    harmful: bool
    file: str
    address: str
    sha256: str
    text: str
    id: str | None = None
    category: str | None = None
    where: dict[str, bool | int | str] = field(default_factory=dict)


_STRONGREJECT = "Souly et al. 2024, arXiv 2402.10260"
_JAILBREAKBENCH = "Chao et al. 2024, arXiv 2404.01318"
_XSTEST = "Röttger et al. 2024, arXiv 2308.01263"
_GITHUB = "https://raw.githubusercontent.com"
_JBB = "hf://datasets/JailbreakBench/JBB-Behaviors/data"


def _xstest(name: str, title: str, label: str) -> Benchmark:
    return Benchmark(
        name,
        title,
        _XSTEST,
        harmful=label == "unsafe",
        file="xstest/xstest_prompts.csv",
        address=f"{_GITHUB}/paul-rottger/xstest/main/xstest_prompts.csv",
        sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
        text="prompt",
        id="id",
        category="type",
        where={"label": label},
    )


BENCHMARKS = {
    each.name: each
    for each in (
        Benchmark(
            "strongreject",
            "StrongREJECT's 313 forbidden prompts",
            _STRONGREJECT,
            harmful=True,
            file="strongreject/strongreject_dataset.csv",
            address=f"{_GITHUB}/alexandrasouly/strongreject/main/strongreject_dataset/"
            "strongreject_dataset.csv",
            sha256="4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
            text="forbidden_prompt",
            category="category",
        ),
        Benchmark(
            "strongreject-small",
            "its subset of 60",
            _STRONGREJECT,
            harmful=True,
            file="strongreject/strongreject_small_dataset.csv",
            address=f"{_GITHUB}/alexandrasouly/strongreject/main/strongreject_dataset/"
            "strongreject_small_dataset.csv",
            sha256="3051340e3e89a3598d764dde497d5fcda80e258ac05cc35e6bd87228ac3d467c",
            text="forbidden_prompt",
            category="category",
        ),
        Benchmark(
            "advbench",
            "AdvBench's 520 harmful instructions",
            "Zou et al. 2023, arXiv 2307.15043",
            harmful=True,
            file="advbench/harmful_behaviors.csv",
            address=f"{_GITHUB}/llm-attacks/llm-attacks/main/data/advbench/harmful_behaviors.csv",
            sha256="6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
            text="goal",
        ),
        Benchmark(
            "jailbreakbench",
            "JailbreakBench's 100 harmful behaviours",
            _JAILBREAKBENCH,
            harmful=True,
            file="jailbreakbench/harmful-behaviors.csv",
            address=f"{_JBB}/harmful-behaviors.csv",
            sha256="4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",
            text="Goal",
            category="Category",
        ),
        Benchmark(
            "jailbreakbench-benign",
            "its 100 harmless twins",
            _JAILBREAKBENCH,
            harmful=False,
            file="jailbreakbench/benign-behaviors.csv",
            address=f"{_JBB}/benign-behaviors.csv",
            sha256="3cda234d21a991fa309bbfea4b6d9dae31ccdf8e9d452424b6a983e4fdc33468",
            text="Goal",
            category="Category",
        ),
        _xstest("xstest-safe", "XSTest's 250 safe prompts", "safe"),
        _xstest("xstest-contrast", "XSTest's 200 unsafe contrasts", "unsafe"),
    )
}

HEX_PHI = "hex-phi"
_HEX_PHI_CATEGORIES = {
    "1": "Illegal activity",
    "2": "Child abuse content",
    "3": "Hate, harass, violence",
    "4": "Malware",
    "5": "Physical harm",
    "6": "Economic harm",
    "7": "Fraud, deception",
    "8": "Adult content",
    "9": "Political campaigning",
    "10": "Privacy violation",
    "11": "Tailored financial advice",
}

NAMES = (EMBEDDED, *BENCHMARKS, HEX_PHI)


def benchmark_source(name: str, data: str | None = None) -> RequestSource:
    """The source that stands for a benchmark's name; the embedded set's is its test split."""
    if name == EMBEDDED:
        return RequestSource(embedded=True, split="test", practice=False)
    return RequestSource(benchmark=name, data=data)


def load_benchmark(name: str, data: Path | None = None) -> list[Request]:
    """The requests of a benchmark, in its own order.

    Args:
        name: one of `NAMES`.
        data: a folder of benchmarks; None takes the published file, from the cache if it is there.

    Raises:
        CadaError: an unknown name, a file that is missing or has changed its columns, no network.
    """
    if name == EMBEDDED:
        return load_embedded("test", practice=False)
    if name == HEX_PHI:
        return _hex_phi(data)
    if name not in BENCHMARKS:
        raise CadaError(
            f"there is no benchmark {name!r}",
            where="--benchmark",
            mend=f"Name one of {', '.join(NAMES)}; files of your own go with --requests",
        )
    benchmark = BENCHMARKS[name]
    path = _in_folder(benchmark, data) if data is not None else _published(benchmark)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != benchmark.sha256:
        log.warning("%s is not the published file of %s", path, name)
    source = RequestSource(
        path=str(path),
        name=name,
        harmful=benchmark.harmful,
        columns=Columns(text=benchmark.text, id=benchmark.id, category=benchmark.category),
    )
    return load_requests(source, where=benchmark.where)


def _in_folder(benchmark: Benchmark, data: Path) -> Path:
    path = data / benchmark.file
    if not path.is_file():
        raise CadaError(
            f"the benchmark {benchmark.name} is not there",
            where=str(path),
            mend=f"Put {benchmark.address} there, or leave --data out to fetch it",
        )
    return path


def _published(benchmark: Benchmark) -> Path:
    """The published file under its own name, fetched once.

    Raises:
        CadaError: it cannot be fetched.
    """
    from datasets import DownloadConfig, DownloadManager

    manager = DownloadManager(download_config=DownloadConfig(disable_tqdm=True))
    try:
        kept = Path(str(manager.download(benchmark.address)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CadaError(
            f"the benchmark {benchmark.name} cannot be fetched ({reason.rstrip('.')})",
            where=benchmark.address,
            mend=f"Check the network, or save it as FOLDER/{benchmark.file} and give --data FOLDER",
        ) from error
    named = kept.with_name(f"{kept.name}.csv") if kept.suffix != ".csv" else kept
    if not named.exists():
        named.symlink_to(kept.name)
    return named


def _hex_phi(data: Path | None) -> list[Request]:
    """HEx-PHI (Qi et al. 2024, arXiv 2310.03693): a file a category, one request a line.

    Raises:
        CadaError: it is not there; its authors give it only to those who ask.
    """
    files = sorted((data / HEX_PHI).glob("category_*.csv"), key=_number) if data else []
    if not files:
        raise CadaError(
            "HEx-PHI is gated, and its files are not here",
            where=str(data / HEX_PHI) if data else "--benchmark hex-phi",
            mend="Ask for access at hf.co/datasets/LLM-Tuning-Safety/HEx-PHI, save its "
            "category_N.csv files as FOLDER/hex-phi/ and give --data FOLDER",
        )
    requests = []
    for file in files:
        number = str(_number(file))
        for line, text in enumerate(_lines(file), start=1):
            requests.append(
                Request(
                    id=f"{HEX_PHI}/{number}/{line}",
                    text=text,
                    harmful=True,
                    hazard=None,
                    source=HEX_PHI,
                    category=_HEX_PHI_CATEGORIES.get(number, number),
                )
            )
    return requests


def _number(file: Path) -> int:
    digits = file.stem.removeprefix("category_")
    return int(digits) if digits.isdecimal() else 0


def _lines(file: Path) -> list[str]:
    """The requests of a file without a header.

    Raises:
        CadaError: it is no UTF-8 csv of one column.
    """
    import csv

    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = [row for row in csv.reader(opened, strict=True) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CadaError(
            f"is no csv that can be read ({error})", where=str(file), mend="Save it again as UTF-8"
        ) from error
    if not rows or any(len(row) != 1 for row in rows):
        raise CadaError(
            "holds something else than one request a line",
            where=str(file),
            mend="Save the published file again; it has one column and no header",
        )
    return [row[0].strip() for row in rows]
