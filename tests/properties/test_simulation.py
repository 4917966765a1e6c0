"""Whole gateways over the model of the ledger, in virtual time, with faults from a seed; and planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway import gathering
from gateway.approvals import ApprovalsCounted
from gateway.ledger import Act, Answer, Intend, Intended, Settle, State
from tests.simulation import gateways, model
from tests.simulation.__main__ import play
from tests.simulation.business import Business

SEEDS = [*(f"tests/{number}" for number in range(8)), "episode/0"]
WRITES = 120


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_overspent(seed: str) -> None:
    """
    F01, F02, F10, F20, I01, I04, I06, E02, M05: calls over two gateways that are killed, with storage, engine, tool and
    clocks failing: each effect has its intent, no key has two, and answers, counters and business tell one story.
    """
    report = play(seed, WRITES)

    assert report.wrong == []
    assert report.effects > 0


def test_an_episode_is_the_same_each_time() -> None:
    """
    A seed that is told can be played again: same calls, same answers, same kills.
    """
    assert play(SEEDS[0], WRITES) == play(SEEDS[0], WRITES)


def _forgets_claims(patched: pytest.MonkeyPatch) -> None:
    """A ledger that lets a key be executed again."""
    patched.setattr(model, "_may_reopen", lambda stored, row: True)


def _forgets_amounts_in_flight(patched: pytest.MonkeyPatch) -> None:
    """A ledger that sees nothing in flight."""
    patched.setattr(model.Model, "flying", lambda self, key, since_ms: 0)


def _releases_what_is_in_doubt(patched: pytest.MonkeyPatch) -> None:
    """A ledger that takes unknown for failed."""
    settle = model.Model._settle

    def hasty(self: model.Model, act: Settle) -> Answer:
        answer = settle(self, act)
        if act.state is State.IN_DOUBT:
            self._release(self.calls[act.claim], self.now_ms())
        return answer

    patched.setattr(model.Model, "_settle", hasty)


def _answers_before_it_writes(patched: pytest.MonkeyPatch) -> None:
    """A ledger that says yes to an intent and loses one in twenty."""
    commit = gateways.Books.commit

    async def eager(self: gateways.Books, act: Act) -> Any:
        if isinstance(act, Intend) and self.gateway.chance.random() < 0.05:
            return Intended(placed=model.placed(model.Entry(1, 0, act.entry)), fence=1)
        return await commit(self, act)

    patched.setattr(gateways.Books, "commit", eager)


def _believes_every_approval(patched: pytest.MonkeyPatch) -> None:
    """A gateway that does not ask who signed."""
    patched.setattr(gathering, "verify", lambda *_, **__: ApprovalsCounted(counts={"persons": 3, "finance": 3}))


def _acts_again(patched: pytest.MonkeyPatch) -> None:
    """A gateway whose connector sends everything twice."""
    execute = Business.execute

    async def twice(self: Business, dispatch: Any) -> Any:
        await execute(self, dispatch)
        return await execute(self, dispatch)

    patched.setattr(Business, "execute", twice)


MISTAKES = [
    _forgets_claims,
    _forgets_amounts_in_flight,
    _releases_what_is_in_doubt,
    _answers_before_it_writes,
    _believes_every_approval,
    _acts_again,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__.strip("_"))
def test_a_mistake_is_found(mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The simulation can fail: each of these mistakes is found by one of the episodes that are clean without it.
    """
    mistake(monkeypatch)

    assert any(play(seed, WRITES).wrong for seed in SEEDS)
