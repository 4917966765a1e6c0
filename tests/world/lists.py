"""The word lists of the optional name detector: tests that need them say so."""

from __future__ import annotations

import os

import pytest

from gateway import words
from gateway.errors import Misconfigured
from gateway.words import Words


def installed() -> Words:
    """The lists. Without them: a named skip, and a failure in continuous integration."""
    try:
        return words.load()
    except Misconfigured:
        if os.environ.get("CI"):
            pytest.fail("no word lists here: run `make names`")
        pytest.skip("no word lists here: `make names` installs them")
