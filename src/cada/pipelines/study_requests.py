"""The requests of a study's test and validation: frozen when it begins, the same for all cells."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cada.casebook.loader import load_casebook
from cada.casebook.schema import Casebook
from cada.config.sources import Columns, RequestSource
from cada.config.study import StudyRecipe, digest_of
from cada.errors import CadaError
from cada.files import write_text
from cada.reporting.study.record import SetRecord, StudyRecord
from cada.requests.sources import load_sets, source_name
from cada.requests.types import Request


class Frozen:
    """The requests in a study's folder, each set a file under `requests/`."""

    def __init__(self, study: StudyRecipe, record: StudyRecord, folder: Path) -> None:
        """The record is told the digest of each set."""
        self.study = study
        self.record = record
        self.folder = folder

    def freeze(self) -> None:
        """Keep the requests of test and validation as files, once, and see that they are those.

        Raises:
            CadaError: they have changed, or test and validation share requests.
        """
        casebook = load_casebook(self.study.untrained().casebook)
        test = self._read("test", self.study.evaluation.sets, casebook)
        if self.study.selection is None:
            return
        validation = self._read("validation", self.study.selection.sets, casebook)
        asked = {r.text for requests in test.values() for r in requests}
        both = sum(r.text in asked for requests in validation.values() for r in requests)
        if both:
            raise CadaError(
                f"{both} validation requests are in the test too",
                where="selection.sets",
                mend="Choose other requests, or another seed of their limit",
            )

    def sources(self, part: str, sources: Sequence[RequestSource]) -> list[dict[str, Any]]:
        """The frozen files as a recipe's sources."""
        return [
            {
                "path": str(self._path(part, name)),
                "name": name,
                "columns": Columns(category="category").model_dump(exclude_none=True),
            }
            for name in map(source_name, sources)
        ]

    def _read(
        self, part: str, sources: Sequence[RequestSource], casebook: Casebook
    ) -> dict[str, list[Request]]:
        """The sets of a part, from their files; written now where there are none.

        Raises:
            CadaError: a file has changed since the study began.
        """
        paths = {name: self._path(part, name) for name in map(source_name, sources)}
        if not all(path.exists() for path in paths.values()):
            for name, requests in load_sets(sources, casebook).items():
                rows = [json.dumps(_row(r), ensure_ascii=False) + "\n" for r in requests]
                write_text(paths[name], "".join(rows))
        frozen = [RequestSource.model_validate(s) for s in self.sources(part, sources)]
        sets = load_sets(frozen, casebook)
        for name, requests in sets.items():
            found = digest_of([_row(r) for r in requests])
            key = name if part == "test" else f"{part}/{name}"
            known = self.record.sets.get(key)
            if known and known.digest != found:
                raise CadaError(
                    "the frozen requests are no longer those that the study began with",
                    where=str(paths[name]),
                    mend="Put the file back, or choose another output",
                )
            kinds = {r.id: r.kind for r in requests}
            self.record.sets[key] = SetRecord.model_validate({"digest": found, "kinds": kinds})
        return sets

    def _path(self, part: str, name: str) -> Path:
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        return self.folder / "requests" / part / f"{plain}.jsonl"


def _row(r: Request) -> dict[str, Any]:
    """A frozen request."""
    return {
        "id": r.id,
        "prompt": r.text,
        "harmful": r.harmful,
        "hazard": r.hazard or "",
        "category": r.category or "",
        "system": r.system or "",
        "history": [{"role": t.role, "content": t.content} for t in r.history],
    }
