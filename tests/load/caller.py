"""The load: `python -m tests.load.caller`, a process of its own that costs as little as possible.

It reads one JSON order per line and answers each with one line: `clients` connections kept alive, each sending its next
request when it has read the whole answer to its last. Requests are bytes made beforehand but for order id and key.
Any answer but 200 is counted, and the first of them is shown.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from itertools import count
from typing import Any

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_numbers = count()
_run = secrets.token_hex(6).encode()


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: list[bytes], orders: int, waited: list[float], faults: list[bytes]) -> None:
        self._requests = requests
        self._orders = orders
        self._waited = waited
        self._faults = faults
        self._turn = 0
        self._received = b""
        self._due = 0
        self._began = 0.0
        self.end = 0.0
        self.done = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def start(self, end: float) -> None:
        """Send one request after the other until `end`."""
        self.end = end
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received = data if not self._received else self._received + data
        if not self._due:
            head = self._received.find(_HEAD_END)
            if head < 0:
                return
            at = self._received.find(_LENGTH) + len(_LENGTH)
            self._due = head + 4 + int(self._received[at : self._received.index(b"\r", at)])
        if len(self._received) < self._due:
            return
        now = time.perf_counter()
        if self._received.startswith(b"HTTP/1.1 200"):
            self._waited.append(now - self._began)
        else:
            self._faults.append(self._received)
        self._received, self._due = b"", 0
        if now < self.end:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._faults.append(b"connection lost")
            self.done.set_result(None)

    def _send(self) -> None:
        number = next(_numbers)
        request = self._requests[self._turn]
        self._turn = (self._turn + 1) % len(self._requests)
        self._began = time.perf_counter()
        self._transport.write(request % (_run, number, number % self._orders))


def requests_of(order: dict[str, Any], client: int) -> list[bytes]:
    """The requests that a client sends in turn: one for each tenant that it speaks for."""
    tokens, clients = order["tokens"][: order["tenants"]], order["clients"]
    agent, tenant = divmod(client, len(tokens))
    mine = [each[0] for each in tokens[tenant::clients]] if clients < len(tokens) else [tokens[tenant][agent]]
    body = b'{"tool":"issue_refund","arguments":{"order_id":"ord_%08d","amount_cents":1},"reason_code":"damaged_item"}'
    length = len(body % 0)
    head = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
    start = head.format(order["path"], length).encode()
    key = b"\r\nIdempotency-Key: %s%010d"
    return [start + b"Authorization: Bearer " + token.encode() + key + _HEAD_END + body for token in mine]


async def run(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    loop = asyncio.get_running_loop()
    waited: list[float] = []
    faults: list[bytes] = []
    clients = []
    for number in range(order["clients"]):
        requests = requests_of(order, number)
        _, client = await loop.create_connection(
            lambda requests=requests: Client(requests, order["orders"], waited, faults),  # type: ignore[misc]
            "127.0.0.1",
            order["port"],
        )
        clients.append(client)
    began, used = time.perf_counter(), time.process_time()
    for client in clients:
        client.start(began + order["seconds"])
    await asyncio.gather(*(client.done for client in clients))
    elapsed, used = time.perf_counter() - began, time.process_time() - used
    waited.sort()
    return {
        "calls": len(waited),
        "faults": len(faults),
        "first_fault": faults[0][-600:].decode(errors="replace") if faults else "",
        "seconds": elapsed,
        "own_cpu": used,
        "p50": waited[len(waited) // 2] if waited else 0,
        "p99": waited[len(waited) * 99 // 100] if waited else 0,
    }


def main() -> None:
    """Orders in, results out, until the input ends."""
    for line in sys.stdin:
        print(json.dumps(uvloop.run(run(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
