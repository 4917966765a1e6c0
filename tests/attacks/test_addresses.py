"""Addresses that lead elsewhere: in settings, and at the moment of the connection. The listener hears nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from gateway.connectors import HttpConnector
from gateway.errors import Unavailable
from gateway.lookups import resolve
from gateway.origins import is_origin
from tests.world import sink as sinks
from tests.world.sink import Sink
from tool_registry.contracts import Connector

TAKEN = [
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "http://localhost:9000",
    "https://backoffice.internal",
    "https://10.1.2.3:8443",
    "https://[2001:db8::1]:8443",
    "https://a-b.example.com:443",
]
REFUSED = [
    "http://169.254.169.254",
    "http://[fe80::1]",
    "http://[fd00:ec2::254%25eth0]",
    "http://0.0.0.0:80",
    "http://[::]:80",
    "http://0:80",
    "http://224.0.0.1",
    "http://255.255.255.255",
    "http://240.0.0.1",
    "http://[ff02::1]",
    "http://[::ffff:127.0.0.1]:80",
    "http://[::ffff:a9fe:a9fe]",
    "http://[2002:7f00:1::]",
    "http://[0:0:0:0:0:0:0:1]:80",
    "http://2130706433:80",
    "http://0x7f000001:80",
    "http://0x7f.1:80",
    "http://0177.0.0.1:80",
    "http://127.1:80",
    "http://127.0.0.01:80",
    "http://a.b.0x10",
    "http://127.0.0.1.:80",
    "http://backoffice.internal.:80",
    "http://user@backoffice:80",
    "http://user:word@backoffice:80",
    "http://backoffice:80@evil.example",
    "http://backoffice:80/",
    "http://backoffice:80/path",
    "http://backoffice:80?q",
    "http://backoffice:80#f",
    "http://backoffice\\@evil.example",
    "http://backoffice:0",
    "http://backoffice:65536",
    "http://backoffice:080",
    "http://backoffice:",
    "http://:80",
    "http://",
    "HTTP://backoffice",
    "http://Backoffice",
    "http://b\u0430ckoffice",
    "http://xn--bckoffice-53a",
    "http://back_office",
    "http://-backoffice",
    "http://back..office",
    "http://" + "a" * 64,
    "http://" + "a." * 150 + "b",
    " http://backoffice",
    "http://backoffice\n",
    "http://backoffice\x00",
    "//backoffice",
    "backoffice",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70",
    "ftp://127.0.0.1",
    "unix:/var/run/docker.sock",
    "",
]


@pytest.mark.parametrize("origin", TAKEN)
def test_an_origin_in_its_plain_form_is_taken(origin: str) -> None:
    """
    Names, private and public addresses, and this machine where it is called by its own name.
    """
    assert is_origin(origin)


@pytest.mark.parametrize("origin", REFUSED, ids=lambda origin: repr(origin)[:40])
def test_an_origin_has_one_spelling_and_leads_somewhere(origin: str) -> None:
    """
    J09: addresses in other notations, in disguise, of the link or of nobody, and origins with more than an origin in
    them are none; settings with such a one keep the gateway from starting.
    """
    assert not is_origin(origin)


ASTRAY = [
    ["127.0.0.1"],
    ["::1"],
    ["0.0.0.0"],
    ["::"],
    ["169.254.169.254"],
    ["fe80::1"],
    ["::ffff:127.0.0.1"],
    ["::ffff:169.254.169.254"],
    ["224.0.0.1"],
    ["255.255.255.255"],
    ["192.0.2.1", "127.0.0.1"],
    ["nonsense"],
    [],
]


@pytest.mark.parametrize("addresses", ASTRAY, ids=str)
def test_a_name_does_not_lead_to_this_machine(addresses: list[str]) -> None:
    """
    J09: a name that is resolved to loopback, the link, no machine or a disguised address is not connected to, not even
    where another of its addresses would do.
    """
    with sinks.listening() as listener:
        asked = _ask(listener, "tool.example", [addresses])

    assert asked == (["source_unreachable"], 1)
    assert listener.received == []


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """
    J09: a name is resolved once for each connection, which goes where was looked: first elsewhere, then here, is
    refused the second time (DNS rebinding).
    """
    with sinks.listening() as listener:
        reasons, resolutions = _ask(listener, "tool.example", [["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]])

    assert reasons == ["source_unreachable"] * 3
    assert resolutions == 3
    assert listener.received == []


def test_localhost_is_this_machine_and_no_other() -> None:
    """
    J09: the name of this machine leads nowhere else, whatever a resolver says.
    """
    with sinks.listening() as listener:
        there, _ = _ask(listener, "localhost", [["192.0.2.7"]])
        listener.answer = {"at_ms": 1, "facts": {}}
        here, _ = _ask(listener, "localhost", [["127.0.0.1"]])

    assert (there, here) == (["source_unreachable"], [""])
    assert len(listener.received) == 1


def test_the_machines_resolver_answers_with_addresses() -> None:
    """
    What the gateway uses where no test puts anything in its place.
    """
    assert set(asyncio.run(resolve("localhost"))) & {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        asyncio.run(resolve("nowhere.invalid"))


def _ask(listener: Sink, host: str, answers: Sequence[list[str]]) -> tuple[list[str], int]:
    """For a fact at the listener's port of that name, once for each answer of its resolver: reasons, resolutions."""
    rest = iter(answers)
    resolutions = 0

    async def resolver(name: str) -> list[str]:
        nonlocal resolutions
        assert name == host
        resolutions += 1
        return next(rest)

    async def ask() -> list[str]:
        port = listener.origin.rpartition(":")[2]
        connector = HttpConnector({"tool": f"http://{host}:{port}"}, (), resolve=resolver)
        described = Connector(kind="http", origin="tool", method="GET", path="/operations/any")
        reasons = []
        for _ in answers:
            try:
                await connector.fact("acme", described, "GET", "/facts/any", {})
                reasons.append("")
            except Unavailable as fault:
                reasons.append(fault.reason)
        await connector.close()
        return reasons

    return asyncio.run(ask()), resolutions
