"""The process that evaluates Rego. Run by `policies.rego`, alone and isolated; it imports nothing else of ours.

regopy prints parse errors with the input, can be made to crash, and is not safe under threads: so it lives here, with
its output closed, one question after the other; whoever started it watches its memory and its time. Frames in both
directions are a length, a kind and a body. Each request is answered by one frame, in order:

    L slot {module, data}   build a bundle under that number        -> O, or F when it does not build
    Q slot term             evaluate the entry point over the term  -> O and the output as text, or F
    D slot                  forget the bundle                       -> O

An F carries nothing: what went wrong may quote the question.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import regopy

ENTRYPOINT = "lockgate/decision"
HEADER = struct.Struct(">IcI")  # length of the body, kind, slot
_ANSWERS_HELD_MAX = 8  # Answers leave together where many wait, but none waits for more than eight.

_SECONDS_MAX = 10  # Whoever asks gives up long before; this ends a worker that outlived its parent in a long rule.

_Slots = dict[int, tuple[regopy.Interpreter, regopy.Bundle]]


def main(descriptor: int) -> None:
    """Answer until the other side closes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    slots: _Slots = {}
    buffer = bytearray()
    with socket.socket(fileno=descriptor) as channel:
        while received := channel.recv(1 << 18):
            buffer.extend(received)
            held: list[bytes] = []
            for kind, slot, body in _whole(buffer):
                held.append(_answer(slots, kind, slot, body))
                if len(held) == _ANSWERS_HELD_MAX:
                    channel.sendall(b"".join(held))
                    held.clear()
            channel.sendall(b"".join(held))


def _whole(buffer: bytearray) -> Iterator[tuple[bytes, int, bytes]]:
    while len(buffer) >= HEADER.size:
        length, kind, slot = HEADER.unpack_from(buffer)
        end = HEADER.size + length
        if len(buffer) < end:
            return
        body = bytes(buffer[HEADER.size : end])
        del buffer[:end]
        yield kind, slot, body


def _answer(slots: _Slots, kind: bytes, slot: int, body: bytes) -> bytes:
    text = b""
    signal.alarm(_SECONDS_MAX)  # Its default action ends the process, also in the middle of the library.
    # The library raises its own error, and ValueError or MemoryError for what it cannot take.
    with contextlib.suppress(regopy.RegoError, ValueError, TypeError, MemoryError, KeyError, UnicodeError):
        if kind == b"Q":
            interpreter, bundle = slots[slot]
            # A term, not `Input`: `Input` lets a string forge members of the answer (notes on the core, 5).
            interpreter.set_input_term(body.decode())
            output = interpreter.query_bundle_entrypoint(bundle, ENTRYPOINT)
            if output.ok():
                text = str(output).encode()
        elif kind == b"L":
            slots[slot] = _build(json.loads(body))
            text = b"built"
        elif kind == b"D":
            slots.pop(slot, None)
            text = b"dropped"
    signal.alarm(0)
    return HEADER.pack(len(text), b"O" if text else b"F", slot) + text


def _build(source: dict[str, Any]) -> tuple[regopy.Interpreter, regopy.Bundle]:
    builder = regopy.Interpreter()
    builder.add_module("deny.rego", source["module"])
    builder.add_data_json(json.dumps(source["data"], ensure_ascii=False))
    bundle = builder.build(None, [ENTRYPOINT])
    if not bundle.ok():
        raise ValueError("bundle: does not build")
    return regopy.Interpreter(), bundle


if __name__ == "__main__":
    main(int(sys.argv[1]))
