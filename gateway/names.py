"""Names and addresses in free text: words that are no words, and what stands around them (optional, English).

A capital letter on a word that English does not have is taken for a name: of a person, a place or a firm. Words that
are both (`Rose`, `Mark`) count where they stand like a name. Around a name stand house numbers, streets, postcodes,
`Ltd` and `and Sons`; dates, ages and postcodes have shapes and words before them. It is one pass over the text, with
look-backs of a few characters and look-ups in sets. It hides too much rather than too little, and misses names that are
written small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

from gateway import disguises
from gateway.clock import Clock
from gateway.findings import Finding
from gateway.words import Words

LOOKING_SECONDS_MAX = 0.25
"""Of each second, for all texts together. Beyond, texts are refused as any that cannot be redacted: 503, come back."""

_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
_MONTH += r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
_YEAR = r"(?:1[89]|20)\d\d"
_DAY = r"[0-3]?\d(?:st|nd|rd|th)?"
SHAPES = (
    (
        "date",
        re2.compile(
            rf"(?i)\b{_MONTH} {_DAY}(?:,? {_YEAR})?\b|\b{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?\b|\b{_MONTH},? {_YEAR}\b"
            r"|\b\d{4}[./-]\d{1,2}[./-]\d{1,2}(?:[T ]\d\d?:\d\d(?::\d\d)?)?\b"
            r"|\b[0-3]?\d[./-][0-3]?\d[./-](?:\d{4}|\d\d)\b"
        ),
    ),
    (
        "date",
        re2.compile(
            r"(?i)\b(?:in|during|since|of|by|from|until|till|before|after|around|circa|early|late|mid|year|and|to|born)"
            rf"[ -]({_YEAR})\b"
        ),
    ),
    (
        "age",
        re2.compile(
            r"(?i)\b(?:aged?|age of|age is|turned|turning|turns|(?:he|she|who) (?:is|was)|i am|i was|i'm|he's|she's)"
            r"(?: just| only| about| now)?[ :]*(1[01]\d|\d{1,2})"
            r"(?:\s*(?:years?|yrs?)[ -]old)?(?:\s*(?:y/?o|yo))?(?:[.,;!?)\s]|$)"
            r"|\b(1[01]\d|\d{1,2})[ -]*(?:years?|yrs?|y)[ /-]*(?:old|o\b|of age)"
        ),
    ),
    (
        "address",
        re2.compile(
            r"(?i)\b(?:zip|zip code|zipcode|postcode|postal code|post code|plz|code postal)(?: is| was|:|=|,| of)*\s+"
            r"([A-Z]{0,2}-?\d[A-Z0-9]{0,5}(?:[ -][A-Z0-9]{2,4})?)\b"
        ),
    ),
    (
        "address",
        re2.compile(
            r"\b(?:[A-Z]{3,5} [A-Z][a-z]+|PSC \d+|Unit \d+)(?:,? Box \d+)?,?\s+(?:APO|FPO|DPO),? A[AEP]"
            r" \d{5}(?:-\d{4})?\b|(?i)\bP\.? ?O\.? ?Box \d+\b"
        ),
    ),
    (
        "name",
        re2.compile(
            r"\b(?:(?i:my (?:first |last |full |sur)?name is)\s+([^\W\d_]+(?:[ '-][A-Z][^\W\d_]+){0,3})"
            r"|(?i:name(?: is|:|\?)|named|called)\s+([A-Z][^\W\d_]+(?:[ '-][A-Z][^\W\d_]+){0,3}))"
        ),
    ),
    (
        "name",
        re2.compile(
            r"\b(?:United (?:States(?: of America)?|Kingdom|Arab Emirates)|Holy See|Isle of Man|Ivory Coast|Turkey"
            r"|China|Chad|Jordan|Guinea|Polish)\b"
        ),
    ),
)
"""Where a pattern has a group, that is what is found; what stands around it says why."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STREETS = _words(
    """
    street st avenue ave road rd lane ln drive dr court ct place pl square sq boulevard blvd way terrace circle
    highway hwy parkway alley path trail row walk close crescent gardens grove hill mews quay rise view bridge station
    mall plaza straße strasse weg platz allee gasse straat laan plein gatan gata vägen rue via viale piazza corso
    calle avenida paseo plaza rua ulica aleja caddesi sokak
    """
)
_TITLES = frozenset(
    {"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "lady", "lord", "madam", "señor", "herr", "frau", "mme"}
)
_FIRM_WORDS = _words(
    """
    group ltd limited inc llc llp plc corp gmbh ag kg holding holdings bros sons partners
    """
)
_UNITS = _words(
    """
    apt apartment suite ste unit flat box floor room no nr app
    """
)
_PARTICLES = _words(
    """
    van von der den de di da del della dello degli la le les du des dos das do ter ten te zu zum aan bin al el y e i
    och und et en sur pan pani tp ul os rue avenue boulevard chemin calle via viale ulica plaza paseo camino piazza
    vicolo
    """
)
_APOSTROPHES = ("'", "’")  # noqa: RUF001 - the one that typesetters use
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # noqa: RUF001 - the apostrophe that typesetters use
_CASED = re.compile(r"(?:Ma?c|O['’]|D['’]|d['’]|De|Di|Van|La|Le)?[A-ZÀ-ÖØ-ÞĀ-ſ][^\W\d_A-ZÀ-ÖØ-Þ]*")  # noqa: RUF001
_JOINING = re.compile(
    r"[ \n]?[,&/-]?"
    r"(?: (?:and|&|of|of the|de|de la|del|della|di|da|dos|van|van der|von|zu|la|le|bin|el|y|e|et|und|en|och|i|ve))?"
    r"[ \n]{0,2}"
)
_HOUSE = re.compile(
    r"(?:\b(?:(?:No\.? ?)?\d{1,6}[A-Za-z]?(?:[-/]\d{1,4})?|(?:Flat|Studio|Unit|Apt\.?|Suite) \d{1,4}[A-Za-z]?)"
    r",?\s{1,2})$"
)
_FIRMS = (
    r"Inc|Ltd|Limited|Co|Corp|LLC|LLP|PLC|(?:GmbH|AG)(?: & Co\.? (?:KGaA|KG|OHG))?|KGaA|KG|OHG|GbR|e\. ?V|eG|Stiftung"
    r"|S\.?p\.?A|SPA|S\.?r\.?l|SRL|SNC|S\.?A\.?S?|SARL|EURL|S\.?L\.?(?:U|L)?|AB|HB|KB|B\.?V|N\.?V|VOF|CV"
    r"|Sp\. ?z ?o\. ?o|A\.?Ş|Ltd\. ?Şti|Group|Holding|and (?:Sons|Partners|Co)"
    r"|et Fils|e figli|y asociados|& (?:Sons|Co|Zonen)"
)
_AFTER = re.compile(
    r"(?:['’]s\b)?\)?(?:\.[^\W\d_]{1,5}(?:\. ?[^\W\d_]{1,3}\b)*\.?|\.(?=\s[a-z]|,|\n)|,?\s{1,2}(?:"  # noqa: RUF001
    r"(?:Apt|Suite|Ste|Unit|Flat|Box|Floor|Room|Apartment|App|No|Nr|#)\.?\s?#?\d{1,6}[A-Za-z]?\b"  # a door
    r"|[A-Z]{2}\.?,?\s\d{5}(?:-\d{4})?\b|\d{5}(?:-\d{4})?\b|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}\b|\d{4}\s?[A-Z]{2}\b"
    r"|\d{1,4}[-/]\d{1,4}\b|\d{1,4}[A-Za-z]?(?=,)|n?\.? ?\d{1,4}[A-Za-z]?\b|\([A-Z]{2}\)|[IVX]{1,4}\b"
    r"|[^\W\d_]{1,4}\.[^\W\d_]{1,5}(?:\.[^\W\d_]{1,4})*\.?"  # B.Sc., s.r.l.
    rf"|(?:St|Str|Ave|Rd|Blvd|Jr|Sr|PhD|MD|MBA|{_FIRMS})(?:\b\.?|(?<=\.))))"
)
_BEFORE_POSTCODE = re.compile(r"(?:\b(?:[A-Z]{1,2}-)?(?:\d{4,5}|\d{3} \d\d|\d\d-\d{3}|\d{4} ?[A-Z]{2}),? )$")
_OF = re.compile(
    r"(?:\b(?:(?:Democratic|People's|Federated|Islamic|United) )*"
    r"(?:Republic|Kingdom|States?|City|University|Bank|Isle|County) of (?:the )?)$"
)
_LOOK_BACK = 40
_STARTS = re.compile(r"(?:^|[.!?:;•\n][\s\"'“”‘(\[*-]*|[\"“(\[])$")  # noqa: RUF001
_ABBREVIATED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Apt|No|Nr|Ste|[A-Z])\.\s*$")


@dataclass(frozen=True, slots=True)
class _Word:
    """One word of the text and what it can be."""

    start: int
    end: int
    small: str
    """In small letters, without a possessive ending."""
    is_capital: bool
    """Written as names are: one capital, then small letters; or two such with a hyphen."""
    is_unknown: bool
    """No word of the language, in any of its parts."""
    is_first: bool
    """Where a sentence begins every word has a capital."""


class _Line:
    """The words of a text, each looked at when it is asked for: most are small, and nobody asks for them."""

    def __init__(self, text: str, look: Callable[[str, re.Match[str]], _Word]) -> None:
        self._text = text
        self._look = look
        self._matches = list(_WORD.finditer(text))
        self._seen: dict[int, _Word] = {}

    def __len__(self) -> int:
        return len(self._matches)

    def __getitem__(self, place: int) -> _Word:
        if place not in self._seen:
            self._seen[place] = self._look(self._text, self._matches[place])
        return self._seen[place]

    def is_upper(self, place: int) -> bool:
        """Whether a word may be a name at all: it begins with a capital, or with `d'` before one."""
        start = self._matches[place].start()
        return self._text[start].isupper() or self._text[start + 1 : start + 2] in _APOSTROPHES


class TooBusy(Exception):
    """The looking of this second is used up; nobody knows what the text holds."""


class Names:
    """Finds what leads to a person and has no shape of its own."""

    def __init__(self, words: Words, clock: Clock) -> None:
        self._words = words
        self._clock = clock
        self._second = 0
        self._spent = 0.0
        """Seconds of looking within `_second`."""

    def find(self, text: str) -> list[Finding]:
        """
        Names, places, firms, addresses, dates, ages and postcodes, in no order; they may overlap.

        As it stands, and as it reads undisguised; what is packed is not opened. Raises `TooBusy`: this happens on the
        event loop, which must stay free for everybody else.
        """
        started = self._clock.monotonic()
        if int(started) != self._second:
            self._second, self._spent = int(started), 0.0
        if self._spent >= LOOKING_SECONDS_MAX:
            raise TooBusy
        try:
            found = list(self._look(text))
            plain = disguises.plain(text)
            if plain is not None:
                for each in self._look(plain.text):
                    start, end = plain.written(each.start, each.end)
                    found.append(Finding(start, end, each.kind, each.said))
            return found
        finally:
            self._spent += self._clock.monotonic() - started

    def _look(self, text: str) -> Iterator[Finding]:
        for kind, pattern in SHAPES:
            for match in pattern.finditer(text):
                group = next((number for number in range(1, pattern.groups + 1) if match.group(number)), 0)
                yield _finding(text, match.start(group), match.end(group), kind)
        if text.islower():
            return
        for start, end in _joined(text, self._spans(text, _Line(text, self._word))):
            yield _finding(text, start, end, "name")

    def _word(self, text: str, match: re.Match[str]) -> _Word:
        word, start = match.group(), match.start()
        if word[-2:] in ("'s", "’s"):  # noqa: RUF001
            word = word[:-2]
        parts = [part for part in re.split(r"[-’']", word) if part]  # noqa: RUF001
        is_capital = word[0].isupper() and all(map(_CASED.fullmatch, re.split("-", word)))
        is_capital = is_capital or bool(re.fullmatch(r"[dl]['’][A-Z].*", word))  # noqa: RUF001
        is_unknown = len(word) > 1 and word.lower() not in self._words.ordinary and not self._is_known(parts)
        # All in capitals is an abbreviation, unless somebody has that name.
        is_capital = is_capital or (
            is_unknown and word.isupper() and len(word) > 3 and word.lower() in self._words.names
        )
        before = text[max(0, start - _LOOK_BACK) : start]
        return _Word(
            start=start,
            end=start + len(word),
            small=word.lower(),
            is_capital=is_capital,
            is_unknown=is_unknown,
            is_first=bool(_STARTS.search(before)) and not _ABBREVIATED.search(before),
        )

    def _is_known(self, parts: list[str]) -> bool:
        return all(part.lower() in self._words.ordinary or len(part) == 1 for part in parts)

    def _spans(self, text: str, words: _Line) -> Iterator[tuple[int, int]]:
        """From where to where each name goes, with the words beside it that are written like one."""
        at = 0
        while at < len(words):
            if not words.is_upper(at) or not self._is_name(text, words, at):
                at += 1
                continue
            first = last = at
            while first and self._belongs(text, words, first - 1, first, is_before=True):
                first -= 1
            while last + 1 < len(words) and self._belongs(text, words, last, last + 1, is_before=False):
                last += 1
            yield _with_numbers(text, words[first].start, words[last].end)
            at = last + 1

    def _is_name(self, text: str, words: _Line, at: int) -> bool:
        word = words[at]
        if not word.is_capital or _is_code(text, word):
            return False
        before = words[at - 1] if at and _gap(text, words[at - 1], word) in (" ", ". ") else None
        after = words[at + 1] if at + 1 < len(words) and _gap(text, word, words[at + 1]) == " " else None
        if word.small in _TITLES:
            return False
        if word.is_unknown or (before is not None and before.small in _TITLES):
            return True
        if _HOUSE.search(text[max(0, word.start - _LOOK_BACK) : word.start]) and after is not None and after.is_capital:
            return word.small in self._words.names or after.small in _STREETS
        if word.small not in self._words.names or word.small in self._words.function:
            return False
        is_followed = after is not None and after.is_capital and after.small in self._words.names
        if word.small in self._words.given and (is_followed or text[word.end : word.end + 2] in ("'s", "’s")):  # noqa: RUF001
            return True
        is_last = before is not None and before.is_capital and not before.is_first
        if (word.small in self._words.given and is_last) or (after is not None and after.small in _FIRM_WORDS):
            return True
        if word.is_first and text[word.end : word.end + 2] == ", " and at + 1 < len(words):
            return words[at + 1].is_capital and words[at + 1].small in self._words.given
        if word.is_first or (after is not None and after.is_capital):
            return False
        # A capital in the middle of a sentence, alone.
        return before is None or not before.is_capital or before.is_first

    def _belongs(self, text: str, words: _Line, left: int, right: int, *, is_before: bool) -> bool:
        """Whether two neighbours are parts of one name, one of them being known as a part."""
        word = words[left] if is_before else words[right]
        gap = _gap(text, words[left], words[right])
        is_initial = gap == "." and words[left].end - words[left].start == 1
        if not (gap in (" ", ". ", "\n ") or is_initial) or _is_code(text, word):
            return False
        if word.small in _UNITS:
            return False
        if not word.is_capital:
            return self._is_small_part(text, words, right, is_before=is_before)
        if word.is_first and (is_before or word.small in self._words.function):
            return word.small in _TITLES or (word.small in self._words.names and word.small not in self._words.function)
        return True

    def _is_small_part(self, text: str, words: _Line, right: int, *, is_before: bool) -> bool:
        """Names of other languages have small parts, before a name or within it: `calle`, `van der`, `phố`."""
        word = words[right - 1] if is_before else words[right]
        is_foreign = word.small in _PARTICLES or (word.is_unknown and not text[word.start].isupper())
        if is_before or not is_foreign:
            return is_foreign
        after = words[right + 1] if right + 1 < len(words) else None
        return after is not None and after.is_capital and _gap(text, word, after) == " "


def _finding(text: str, start: int, end: int, kind: str) -> Finding:
    return Finding(start, end, kind, text[start:end])


def _gap(text: str, left: _Word, right: _Word) -> str:
    return text[left.end : right.start]


def _is_code(text: str, word: _Word) -> bool:
    """A part of a path, an address of the web or a name of a program."""
    around = text[word.start - 1 : word.start] + text[word.end : word.end + 1]
    return any(each in "_/\\@=<>{}#$" or each.isdigit() for each in around)


def _with_numbers(text: str, start: int, end: int) -> tuple[int, int]:
    """With the house number or postcode before it, and what may follow: flat, state, postcode, form of a firm."""
    for _ in range(2):  # A flat, and the house that it is in.
        before = text[max(0, start - _LOOK_BACK) : start]
        house = _OF.search(before) or _HOUSE.search(before) or _BEFORE_POSTCODE.search(before)
        start -= len(house.group()) if house else 0
    while match := _AFTER.match(text, end):
        if match.end() == end:
            break
        end = match.end()
    return start, end


def _joined(text: str, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Names with a comma, `and` or `de` between them are one: a firm of three partners, or a street and its town."""
    held: tuple[int, int] | None = None
    for start, end in spans:
        if held is not None and (start <= held[1] or _JOINING.fullmatch(text, held[1], start)):
            held = held[0], max(end, held[1])
            continue
        if held is not None:
            yield held
        held = start, end
    if held is not None:
        yield held
