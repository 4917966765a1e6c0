"""Labelled texts about people whom no rule was written for: `python -m tests.outside.strangers DB.json.gz …`.

The people are customers of tau2-bench's shops (`{"users": {id: {"name": {"first_name", "last_name"}, "address": {…},
"dob"}}}`), each put into one of the sentences below, in the form that `tests.outside.redactor` scores.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SENTENCES = (
    "Please ship the order of {PERSON} to {STREET_ADDRESS}, {TOWN}, {STATE} {ZIP_CODE} before Friday.",
    "{PERSON} called about a missing refund and asked that we write to {STREET_ADDRESS}, {TOWN}.",
    "The customer, {PERSON}, was born on {DATE_TIME} and moved to {TOWN} last year.",
    "I spoke with {PERSON}; the parcel went to {STREET_ADDRESS}, {FLAT}, {TOWN}, {STATE} {ZIP_CODE} instead.",
    "Regards,\n{PERSON}\n{STREET_ADDRESS}, {FLAT}\n{TOWN}, {STATE} {ZIP_CODE}",
    "Complaint by {GIVEN_NAME}: the driver left the box with {SURNAME} next door.",
    "Note: {GIVEN_NAME} says the account belongs to {PERSON} of {TOWN}.",
    "{GIVEN_NAME} asked twice. {SURNAME} is the family name on the card.",
)
_BIRTHDAY = "1980-02-03"  # Where a shop knows none.


def main() -> None:
    """The command."""
    shops = [json.loads(gzip.decompress(Path(path).read_bytes())) for path in sys.argv[1:]]
    people = [each for shop in shops for each in shop["users"].values()]
    for number, person in enumerate(people):
        print(json.dumps({"id": f"s{number}", **labelled(SENTENCES[number % len(SENTENCES)], person)}))


def labelled(sentence: str, person: dict[str, Any]) -> dict[str, Any]:
    """A sentence about somebody, with the places of what is said of them."""
    text, spans = "", []
    for piece, kind in pieces(sentence):
        said = values(person)[kind] if kind else piece
        if kind:
            spans.append([len(text), len(text) + len(said), kind])
        text += said
    return {"text": text, "spans": spans}


def pieces(sentence: str) -> Iterator[tuple[str, str]]:
    """(text, "") and ("", kind) in order."""
    for piece in re.split(r"(\{\w+\})", sentence):
        yield ("", piece[1:-1]) if piece.startswith("{") else (piece, "")


def values(person: dict[str, Any]) -> dict[str, str]:
    """What may be said of somebody, by kind."""
    name, address = person["name"], person["address"]
    return {
        "PERSON": f"{name['first_name']} {name['last_name']}",
        "GIVEN_NAME": name["first_name"],
        "SURNAME": name["last_name"],
        "STREET_ADDRESS": address["address1"],
        "FLAT": address["address2"],
        "TOWN": address["city"],
        "STATE": address["state"],
        "ZIP_CODE": address["zip"],
        "DATE_TIME": person.get("dob", _BIRTHDAY),
    }


if __name__ == "__main__":
    main()
