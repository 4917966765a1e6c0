"""What if the gateway is told to end while it is busy: what it took it finishes, and nothing else was begun."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from functools import partial

import httpx2

from deploy.demo.client import Answer, Client
from tests.world.ground import Ground, wait_for

CLIENTS = 8
EXIT_SECONDS_MAX = 30


class Crowd:
    """Clients that refund until nobody listens any more, and what each key was told."""

    def __init__(self, field: Ground) -> None:
        self._field = field
        self._url = field.gateway().url
        self.told: dict[str, Answer | None] = {}
        """None: the connection broke, so the client cannot know."""
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        client = Client(self._url)
        answer: Answer | None = Answer(0, {}, {})
        while answer is not None:
            key = secrets.token_hex(16)
            try:
                answer = refund(self._field, key, client)
            except httpx2.TransportError:
                answer = None
            self.told[key] = answer


def refund(field: Ground, key: str, client: Client) -> Answer:
    """A refund of two cents."""
    arguments = {"order_id": "ord_1003", "amount_cents": 2}
    return client.call(field.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def test_a_gateway_that_is_told_to_end_finishes_what_it_took(field: Ground) -> None:
    """
    F19: SIGTERM under load: nobody new is let in, whoever was is answered as ever, the process ends by itself with
    status 0 and leaves no call open; each key then has its one effect.
    """
    # One call is certainly under way: the business takes its time over it.
    gateway, slow = field.gateway(), secrets.token_hex(16)
    field.fault("revoke_push_tokens", "hang_after", seconds=2)
    operator = field.person("operator").token
    told: list[Answer] = []
    under_way = threading.Thread(
        target=lambda: told.append(
            Client(gateway.url).call(
                operator, "revoke_push_tokens", {"user_id": "usr_1001"}, reason="user_request", key=slow
            )
        )
    )
    under_way.start()
    crowd = Crowd(field)
    wait_for(lambda: sum(answer is not None for answer in crowd.told.values()) > CLIENTS, "no load")
    time.sleep(0.2)

    status = gateway.stop()
    crowd.join()
    under_way.join()
    left_open = field.oracle.open_calls("acme")
    finals = {key: field.finally_answered(partial(refund, field, key)) for key in crowd.told}
    effects = field.oracle.effects()

    assert status == 0
    assert left_open == 0
    assert [(answer.status, answer.document["status"]) for answer in told] == [(200, "executed")]
    assert {answer.status for answer in crowd.told.values() if answer is not None} <= {200, 503}
    assert {(answer.status, answer.document["status"]) for answer in finals.values()} == {(200, "executed")}
    assert {effects[answer.call] for answer in (*finals.values(), *told)} == {1}


def test_readiness_drops_before_anybody_is_turned_away(field: Ground) -> None:
    """
    F19: told to end, a gateway is not ready at once and says so, and goes on answering whoever comes meanwhile; whoever
    balances load has this time to look elsewhere. Then it ends by itself.
    """
    gateway = field.restart(settings={"LOCKGATE_DRAIN_SECONDS": "3"})
    client, key = Client(gateway.url), secrets.token_hex(16)
    before = client.get("/readyz")

    gateway.process.send_signal(signal.SIGTERM)
    wait_for(lambda: client.get("/readyz").status == 503, "still ready", seconds=1)
    not_ready = client.get("/readyz")
    answer = refund(field, key, Client(gateway.url))
    has_ended = gateway.died(EXIT_SECONDS_MAX)

    assert (before.status, not_ready.status, not_ready.reason) == (200, 503, "not_ready")
    assert "Retry-After" in not_ready.headers or "retry-after" in not_ready.headers
    assert answer.status == 200
    assert has_ended
    assert gateway.process.returncode == 0


def test_a_second_signal_does_not_wait_for_the_balance_of_load(field: Ground) -> None:
    """
    F19: told twice, it takes nobody new, and still finishes what it took.
    """
    gateway = field.restart(settings={"LOCKGATE_DRAIN_SECONDS": "60"})

    gateway.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    status = gateway.stop()

    assert status == 0
