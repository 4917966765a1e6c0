"""Made-up people. Mail domains are reserved for examples; telephone numbers lie in ranges set aside for fiction."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from random import Random

_FIRST_NAMES = """
Amara Anders Aisha Beatriz Bogdan Camille Chidi Dagny Daniel Elif Emeka Farah Felix Giulia Hana Henrik Ines Ivan
Jasmin Joaquín Kamila Kofi Leila Lukas Mabel Marek Mei Mirela Nadia Noor Olena Oscar Paloma Pieter Priya Quentin
Rania Ravi Rosa Sanna Santiago Sofía Tarek Thandiwe Tomás Ulrike Valentina Viktor Wanda Wei Xenia Yara Yusuf Zoë
"""
_LAST_NAMES = """
Abara Almeida Andersson Bakker Banerjee Bauer Bianchi Castellanos Chen Cohen Costa Dubois Eriksen Farouk Fischer
García Haddad Hakimi Hoffmann Ibarra Ivanova Jansen Kamau Kaplan Kowalczyk Larsen Lindqvist Mbeki Moreau Nakamura
Novák Nwosu Okafor Olsen Park Petrov Quispe Rahman Reyes Rossi Saito Schneider Silva Singh Sørensen Tanaka
Thompson Ueda Varga Vermeulen Walsh Weiss Yilmaz Zhang Zielińska
"""
FIRST_NAMES = tuple(_FIRST_NAMES.split())
LAST_NAMES = tuple(_LAST_NAMES.split())
STREETS = (
    "Alder Lane",
    "Bridge Street",
    "Cedar Road",
    "Dock Street",
    "Elm Court",
    "Foundry Row",
    "Garden Terrace",
    "Harbour View",
    "Ivy Close",
    "Juniper Way",
    "Kiln Yard",
    "Linden Avenue",
    "Mill Lane",
    "Orchard Street",
    "Quarry Road",
    "Weaver's Passage",
)
DOMAINS = ("example.com", "example.net", "example.org")


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """Where somebody lives: postal form of a city, and a range of telephone numbers that nobody has."""

    code: str
    cities: tuple[str, ...]
    phone: str
    """Each `#` is a random digit."""


COUNTRIES = (
    Country(code="US", cities=("Portland, OR 97205", "Madison, WI 53703", "Tucson, AZ 85701"), phone="+1 202 555 01##"),
    Country(code="GB", cities=("Leeds LS1 4DY", "Bristol BS1 5TR", "Dundee DD1 3HN"), phone="+44 7700 900###"),
    Country(code="DE", cities=("20095 Hamburg", "04109 Leipzig", "10119 Berlin"), phone="+49 30 23125 ###"),
    Country(code="FR", cities=("69001 Lyon", "44000 Nantes", "75011 Paris"), phone="+33 1 99 00 ## ##"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Personal data of a made-up person."""

    name: str
    email: str
    phone: str
    address: str
    country: str


def invent(random: Random, *, number: int) -> Contact:
    """A person; `number` keeps mail addresses apart where names repeat."""
    first, last = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
    country = random.choice(COUNTRIES)
    return Contact(
        name=f"{first} {last}",
        email=f"{_plain(first)}.{_plain(last)}{number}@{random.choice(DOMAINS)}",
        phone=fill_digits(random, country.phone),
        address=f"{random.randrange(1, 180)} {random.choice(STREETS)}, {random.choice(country.cities)}, {country.code}",
        country=country.code,
    )


def fill_digits(random: Random, pattern: str) -> str:
    """Replace each `#` by a digit."""
    return "".join(str(random.randrange(10)) if character == "#" else character for character in pattern)


def _plain(name: str) -> str:
    """Letters a to z only, as most mail systems want them."""
    decomposed = unicodedata.normalize("NFD", name.replace("ø", "o").replace("Ø", "O").replace("ł", "l"))
    return "".join(letter for letter in decomposed if letter.isascii() and letter.isalpha()).lower()
