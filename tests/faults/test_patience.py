"""What if several things are slow, one after the other: what a call waits for has one bound in all."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Unavailable
from gateway.patience import LEAST_SECONDS, Patience


def test_waits_one_after_the_other_share_one_bound() -> None:
    """
    G08: the third of three waits is cut where the bound of all is reached, and says so.
    """

    async def story() -> float:
        patience, loop = Patience(0.3), asyncio.get_running_loop()
        started = loop.time()
        for seconds in (0.1, 0.1):
            async with patience:
                await asyncio.sleep(seconds)
        with pytest.raises(Unavailable, match="too_slow"):
            async with patience:
                await asyncio.sleep(30)
        return loop.time() - started

    assert 0.25 < asyncio.run(story()) < 2


def test_what_is_not_waited_for_with_patience_costs_none() -> None:
    """
    A client that sends its body slowly, and a tool that takes its time, leave the call its patience.
    """

    async def story() -> tuple[float, float]:
        patience = Patience(0.5)
        await asyncio.sleep(0.6)
        async with patience:
            await asyncio.sleep(0)
        before = patience.left
        async with patience:
            await asyncio.sleep(0.4)
        return before, patience.left

    before, after = asyncio.run(story())

    assert before > LEAST_SECONDS
    assert after == LEAST_SECONDS


def test_a_fault_within_stays_what_it_is() -> None:
    """
    What is raised while there is time left is not taken for slowness, nor is a client that leaves.
    """

    async def leaves() -> None:
        async with Patience():
            await asyncio.sleep(30)

    async def story() -> None:
        with pytest.raises(KeyError):
            async with Patience():
                raise KeyError
        task = asyncio.create_task(leaves())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
