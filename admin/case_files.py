"""Cases added to a folder's `cases.json`: what is there stays as it is written, one new case a line at the end.

A question that some case asks already, with the same decision, is not added again; so adding twice is adding once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from admin import writing
from admin.errors import CommandError, Found
from policies.case_form import CASES_MAX, read_cases
from policies.errors import PolicyFault
from proofs import canonical
from proofs.errors import EvidenceError

FILE = writing.DOCUMENTS["cases"]


def add(folder: Path, cases: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """
    Add those cases of a bundle's form that are new, and return their names.

    Raises `CommandError` where the file cannot be read or written, or would hold too many; it is then as it was.
    """
    path = folder / FILE
    text, known = _read(path)
    asked = {_asks(case) for case in known}
    names = {str(case["name"]) for case in known}
    added: list[Mapping[str, Any]] = []
    for case in cases:
        if _asks(case) not in asked:
            added.append({**case, "name": _free(str(case["name"]), names)})
            asked.add(_asks(case))
            names.add(str(added[-1]["name"]))
    if len(known) + len(added) > CASES_MAX:
        raise _bad(f"`{path}` would hold more than {CASES_MAX} cases", "take out cases that others make needless")
    if added:
        lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in added)
        before = text.rstrip().removesuffix("]").rstrip() + (",\n" if known else "\n")
        _write(path, f"{before}{lines}\n]\n")
    return tuple(str(case["name"]) for case in added)


def is_case(case: Mapping[str, Any]) -> bool:
    """
    Whether a case has the form that a bundle's cases have.

    Rules may name a principal, or compare with a text, that no gateway would ever let through; a solver then finds a
    question that no case can ask.
    """
    try:
        read_cases(canonical.parse(json.dumps([dict(case)], ensure_ascii=False).encode()))
    except (PolicyFault, EvidenceError, UnicodeEncodeError):
        return False
    return True


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    content = writing.content(path, "the folder of a bundle holds its cases")
    try:
        known: Any = canonical.parse(content)
    except EvidenceError as error:
        raise _bad(f"`{path}` cannot be read: {error}", "JSON in UTF-8 is expected") from error
    if not isinstance(known, list) or not all(isinstance(case, dict) and "name" in case for case in known):
        raise _bad(f"`{path}` is no list of cases", "docs/policies.md shows one")
    return content.decode("utf-8"), known


def _write(path: Path, text: str) -> None:
    # Whole or not at all: whoever reads it meanwhile reads the former file.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _bad(f"`{path}` cannot be written", "give yourself the right to write into the folder") from error


def _asks(case: Mapping[str, Any]) -> str:
    return json.dumps([case.get("question"), case["expect"]["decision"]], sort_keys=True)


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


def _bad(sentence: str, next_step: str) -> CommandError:
    return CommandError(sentence, next_step, code=Found.BAD_INPUT)
