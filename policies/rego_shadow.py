"""Rego by two engines at once: both are asked each question, and what they answer differently is no answer.

For operators who would rather pay for two engines than trust one. Neither is preferred: both must be reached, both must
take a bundle, and a question is decided only by two answers that agree. A difference denies, and whoever watches is
told of the bundle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from policies.rego_answers import RegoAnswer, RegoEngine, RegoRules

DIFFERENT = RegoAnswer(errors=("engines_differ",))


class ShadowedRego:
    """Two engines in the place of one. Belongs to one event loop, as they do."""

    def __init__(self, one: RegoEngine, other: RegoEngine, on_difference: Callable[[str], Awaitable[None]]) -> None:
        """`on_difference` is awaited with the name of the bundle before the question is denied."""
        self._one = one
        self._other = other
        self._on_difference = on_difference

    @property
    def loaded(self) -> frozenset[str]:
        """The bundles that either has."""
        return self._one.loaded | self._other.loaded

    @property
    def is_answering(self) -> bool:
        """Whether both answered when they were last asked."""
        return self._one.is_answering and self._other.is_answering

    async def start(self) -> None:
        """Start both."""
        await self._one.start()
        await self._other.start()

    async def close(self) -> None:
        """End both."""
        await self._one.close()
        await self._other.close()

    async def reach(self) -> None:
        """Raise `EngineUnavailable` unless both can be asked now."""
        await self._one.reach()
        await self._other.reach()

    async def load(self, name: str, rules: RegoRules) -> None:
        """Give a bundle to both. Raises `PolicyFault` when it does not build in one of them."""
        await self._one.load(name, rules)
        await self._other.load(name, rules)

    async def drop(self, name: str) -> None:
        """Take it from both."""
        await self._one.drop(name)
        await self._other.drop(name)

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        """Send a question to both. Awaiting it raises `EngineUnavailable` when one gave no answer."""
        return self._agreed(name, self._one.ask(name, projection), self._other.ask(name, projection))

    async def _agreed(self, name: str, one: Awaitable[RegoAnswer], other: Awaitable[RegoAnswer]) -> RegoAnswer:
        found = await asyncio.gather(one, other, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        first, second = (each for each in found if isinstance(each, RegoAnswer))
        # Why an evaluation failed is each engine's own way of saying no; that only one failed is a difference.
        if first == second or (first.errors and second.errors):
            return first
        await self._on_difference(name)
        return DIFFERENT
