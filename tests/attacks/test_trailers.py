"""Trailers without end: what follows a chunked body is bounded as a head is, on public routes too."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from deploy.demo.world import Gateway
from tests.world import wire

LONG = 4 * 1024 * 1024


@pytest.mark.parametrize("trailers", [b"X-A: " + b"a" * LONG, b"X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n" * (LONG // 29)])
def test_trailers_do_not_go_on_for_ever(gateway: Gateway, trailers: bytes) -> None:
    """
    J10: a stranger's answered request that goes on with megabytes of trailers loses its connection.
    """
    parts = urlsplit(gateway.url)
    head = wire.request("GET", "/healthz", headers=[("Transfer-Encoding", "chunked")])
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), 5) as connection:
        connection.sendall(head + b"0\r\n")
        answer = connection.recv(65536)
        ended = False
        try:
            connection.sendall(trailers)
            while connection.recv(65536):
                pass
            ended = True
        except (BrokenPipeError, ConnectionResetError):
            ended = True
        except TimeoutError:
            pass

    assert answer.startswith(b"HTTP/1.1 200")
    assert ended


def test_a_few_trailers_do_no_harm(gateway: Gateway) -> None:
    """
    A chunked body with trailers is a body; no trailer is taken for a header.
    """
    headers = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]

    answer = wire.send(
        gateway.url,
        wire.request("POST", "/v1/calls", headers=headers),
        more=b"2\r\n{}\r\n0\r\nAuthorization: Bearer a.b.c\r\n\r\n",
    )

    assert (answer.status, answer.reason) == (401, "token_missing")
