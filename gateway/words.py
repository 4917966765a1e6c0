"""Which words are words, and which are names of people: lists that come with two small packages of others.

`lemminflect` (MIT) carries the words of English with their forms, proper names written with a capital; `probablepeople`
(MIT) carries the given names and surnames of a census. Their lists are read, none of their code is run or imported.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Misconfigured

_INSTALL = "pip install --no-deps --require-hashes -r requirements/names.txt"
# Closed classes of words, which a list of forms leaves out, and what opens letters and sentences.
_FUNCTION = """
    a about above across after again against ago all almost alone along already also although always am among an and
    another any anybody anyone anything are around as at away be because been before behind being below beside besides
    between both but by can cannot could did do does doing done down during each either else enough even ever every
    everybody everyone everything except few for from further had has have having he hello hence her here hers herself
    hey hi him himself his how however i if in including indeed inside instead into is it its itself just last least
    less many may me might mine more most much must my myself near neither never next no nobody none nor not nothing now
    of off often ok okay on once one only onto or other others otherwise ought our ours ourselves out outside over own
    per perhaps please quite rather re regarding same several shall she should since so some somebody someone something
    sometimes soon still such than thank thanks that the their theirs them themselves then there therefore these they
    thing this those though through throughout thus to together too toward towards two three four five six seven eight
    nine ten twelve twenty hundred thousand million under unless unlike until unto up upon us versus very via was we
    were what whatever when whenever where whereas wherever whether which while who whoever whole whom whose why will
    with within without would yes yet you your yours yourself yourselves
    mr mrs ms miss dr prof sir madam dear etc vs
    january february march april june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday
    internet web online email website app login logout username password wifi api url
    http json pdf faq id ids tv cv
"""
_KEY = re.compile(r'^\s+"([^"\n]+)":', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Words:
    """What a word can be; all in small letters."""

    ordinary: frozenset[str]
    """Words of the language in all their forms."""
    function: frozenset[str]
    """Of them those that hold sentences together, and are no part of a name beside it."""
    given: frozenset[str]
    """Names that parents give."""
    names: frozenset[str]
    """Given names and surnames."""


def load() -> Words:
    """Read the lists. Raises `Misconfigured` where a package is missing or has another form."""
    function = frozenset(_FUNCTION.split())
    try:
        return Words(ordinary=function | _ordinary(), function=function, given=_given(), names=_names())
    except (OSError, ValueError, EOFError) as error:
        raise Misconfigured(f"LOCKGATE_NAME_DETECTOR: a word list is missing or cannot be read: {_INSTALL}") from error


def _ordinary() -> frozenset[str]:
    """Every form of every lemma that is written small: `Michael` and `German` are there with a capital."""
    forms = gzip.decompress(_inside("lemminflect", "resources/infl_lu.csv.gz").read_bytes()).decode("utf-8")
    found = set()
    for line in forms.splitlines():
        lemma, _, *rest = line.split(",")
        if lemma[:1].islower():
            found.add(lemma)
            found.update(form for each in rest for form in each.split("/") if form)
    return frozenset(found)


def _given() -> frozenset[str]:
    return _keys("gender.py")


def _names() -> frozenset[str]:
    return _keys("ratios.py") | _given()


def _keys(file: str) -> frozenset[str]:
    """The keys of the dictionary that a module consists of, without running the module."""
    found = _KEY.findall(_inside("probablepeople", file).read_text(encoding="utf-8"))
    if not found:
        raise ValueError("no such list")
    return frozenset(name.lower() for name in found)


def _inside(package: str, path: str) -> Path:
    """A file of an installed package, which is not imported: that would run its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise OSError("not installed")
    return Path(spec.submodule_search_locations[0]) / path
