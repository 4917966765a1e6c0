"""What if one tenant asks for all that there is: it is refused, and the others are served as ever."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from deploy.demo.cast import TENANTS
from deploy.demo.client import Answer, Client
from deploy.demo.dev import seed
from deploy.demo.world import Gateway
from tests.world.crowd import Ask, rush
from tests.world.ground import SETTINGS, Ground

PLACES = 20
FOR_AGENTS = 18
HANGS_SECONDS = 2
A, B = TENANTS
USERS = {A: "usr_1001", B: "usr_2001"}


@pytest.fixture
def narrow(field: Ground) -> Iterator[Gateway]:
    """A gateway where a tenant has few places."""
    gateway = field.world.gateway(port=0, settings={**SETTINGS, "LOCKGATE_TENANT_CALLS_IN_FLIGHT_MAX": str(PLACES)})
    seed(field.world.cast, gateway.url)
    yield gateway
    gateway.stop()


def revoke(token: str, tenant: str) -> Ask:
    """A write that a person or an agent may ask for at once."""
    return Ask(token=token, tool="revoke_push_tokens", arguments={"user_id": USERS[tenant]}, reason="user_request")


def by(client: Client, ask: Ask) -> Answer:
    """One of them."""
    return client.call(ask.token, ask.tool, ask.arguments, reason=ask.reason, key=secrets.token_hex(16))


def test_a_tenant_fills_its_places_and_not_the_gateway(field: Ground, narrow: Gateway) -> None:
    """
    B06: an agent of one tenant calls a tool that hangs, far more often than there are places for the tenant: what is
    above them is 429 at once, on every route. Meanwhile the other tenant is served, and so is a person of the first.
    """
    agent, client = field.world.cast.agent(A, 2).token, Client(narrow.url)
    field.fault("revoke_push_tokens", "hang_after", count=FOR_AGENTS, seconds=HANGS_SECONDS)
    told: list[Answer] = []
    flood = threading.Thread(target=lambda: told.extend(rush(narrow.url, [revoke(agent, A) for _ in range(60)])))

    flood.start()
    time.sleep(HANGS_SECONDS / 2)
    again = client.get("/v1/tools", agent)
    person = client.get("/v1/tools", field.person("operator", tenant=A).token)
    others = [by(client, revoke(field.person("operator", tenant=B).token, B)) for _ in range(3)]
    flood.join()

    assert Counter((each.status, each.reason) for each in told) == {
        (200, ""): FOR_AGENTS,
        (429, "quota_exceeded"): 60 - FOR_AGENTS,
    }
    assert all(int(each.headers["Retry-After"]) >= 1 for each in told if each.status == 429)
    assert (again.status, person.status) == (429, 200)
    assert [each.status for each in others] == [200] * 3


def test_a_gateways_rate_is_that_of_all(field: Ground) -> None:
    """
    I07: one principal asks four gateway processes for more than its rate, one of them is killed and started again: in a
    minute exactly the rate passes, but for what the dead one had left.
    """
    rate, settings = 120, {**SETTINGS, "LOCKGATE_REQUESTS_PER_MINUTE": "120"}
    token = field.person("commerce", tenant=B).token
    gateways = [field.world.gateway(port=0, settings=settings) for _ in range(4)]
    if 60 - time.time() % 60 < 15:
        time.sleep(60 - time.time() % 60 + 0.1)

    told = [Client(each.url).get("/v1/tools", token).status for _ in range(10) for each in gateways]
    gateways[0].kill()
    gateways[0] = field.world.gateway(port=0, settings=settings)
    told += [Client(each.url).get("/v1/tools", token).status for _ in range(40) for each in gateways]
    for each in gateways:
        each.stop()

    assert Counter(told).keys() == {200, 429}
    assert rate - 8 <= told.count(200) <= rate
    assert set(told[-8:]) == {429}
