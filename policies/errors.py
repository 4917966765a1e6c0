"""Faults of this package. A refusal is an answer and not here; these say that we could not find out, or must not try.

Exception
├─ PolicyFault          a bundle, or a text in it, that must not be used
└─ EngineUnavailable    an engine that is down, slow or full: nothing was decided
"""

from __future__ import annotations


class PolicyFault(ValueError):
    """The text is not a set of rules that can be named, sliced and believed. The message is for its author."""


class EngineUnavailable(Exception):
    """No answer can be had now. Nothing is permitted meanwhile, and asking again later is right."""

    reason = "engine_unavailable"
