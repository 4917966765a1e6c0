"""The faults of everything that a call leans on, by name: what breaks, and what a call may be told meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.connectors import ANSWER_BYTES_MAX
from gateway.storage import roles
from tests.world import broken_parts, log_sinks, rigs
from tests.world.crowd import Ask
from tests.world.lines import Line, Trouble
from tests.world.rigs import Breaks, Rig, now_ms

ANSWER_SECONDS_MAX = 2.0
RECOVERY_SECONDS_MAX = 20.0
PROOF_SECONDS_MAX = 120.0
TOOL_SECONDS_MAX = 4.5
"""A tool's own deadline of three seconds, and what recording the doubt takes."""
REACHED = (200, 504)
"""Answers to calls that reached the tool, or may have."""

Expected = frozenset[tuple[int, str]]
RUN: Expected = frozenset({(200, "")})
NO_LEDGER: Expected = frozenset({(503, "ledger_unavailable"), (503, "too_slow")})
NO_ENGINE: Expected = frozenset({(503, "engine_unavailable")})
NO_SOURCE: Expected = frozenset({(503, "source_unreachable")})
NO_FACT: Expected = frozenset({(403, "fact_missing")})
DOUBT: Expected = frozenset({(504, "in_doubt")})


def refund(rig: Rig, number: int) -> Ask:
    """A small refund: a fact of the business, budgets, a hold in flight, both engines, invariants."""
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    return Ask(token=rig.field.person("finance").token, tool="issue_refund", arguments=arguments, reason="damaged_item")


def revoke(rig: Rig, number: int) -> Ask:
    """A write that needs no fact: the tool is the first of the business that it meets."""
    token = rig.field.person("operator").token
    return Ask(token=token, tool="revoke_push_tokens", arguments={"user_id": "usr_1001"}, reason="user_request")


def either(rig: Rig, number: int) -> Ask:
    """One of the two."""
    return (refund, revoke)[number % 2](rig, number)


def publish(rig: Rig, number: int) -> Ask:
    """A write whose arguments are free text."""
    text = f"Blanket {number}"
    arguments = {"product_id": "prd_1002", "channel": "social", "title": text, "body": text}
    return Ask(token=rig.field.person("operator").token, tool="publish_listing", arguments=arguments, reason="launch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that fails, and what that means for calls."""

    name: str
    breaks: Breaks
    """A context manager: broken while it is entered."""
    expected: Expected
    ask: Callable[[Rig, int], Ask] = either
    has_no_effect: bool = True
    """Whether no call at all can have one meanwhile. Otherwise those have that are told so."""
    is_unfelt: bool = False
    """Whether calls can do without what fails."""
    is_late: bool = False
    """Whether the tool is reached and is late, or the record of what it did: its own deadline bounds those answers."""
    recovery_seconds_max: float = RECOVERY_SECONDS_MAX
    is_shown_briefly: bool = False
    """Whether it stands for its kind in the short form."""

    def seconds_max(self, status: int) -> float:
        """How long an answer may take. What never reached the tool has no reason to wait for it."""
        return TOOL_SECONDS_MAX if self.is_late and status in REACHED else ANSWER_SECONDS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Faults that one gateway is put through."""

    name: str
    faults: tuple[Fault, ...]
    has_server: bool = False
    module: str = ""
    """Another program that serves a gateway, which is given a file of the world."""

    def program(self, rig: Rig) -> tuple[str, ...]:
        """What to start."""
        if not self.module:
            return ("gateway",)
        file = broken_file(rig)
        file.write_text("")
        return (self.module, str(file))


def broken_file(rig: Rig) -> Path:
    """What `tests.world.broken_parts` looks at."""
    return rig.field.world.home / "broken"


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer in the place of every one on a line."""
    named = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def fact(**facts: object) -> bytes:
    """A fact of an order as the business would tell it now, but for its values."""
    return http(json.dumps({"at_ms": now_ms(), "facts": facts}).encode())


def the_database(rig: Rig) -> Line:
    """The line to PostgreSQL."""
    return rig.database


def the_business(rig: Rig) -> Line:
    """The line to fact source and tool."""
    return rig.business


def the_engine(rig: Rig) -> Line | None:
    """The line to the OPA server."""
    return rig.engine


def _on_line(
    what: str, choose: Callable[[Rig], Line | None], expected: Expected, *, short: Trouble, **more: Any
) -> tuple[Fault, ...]:
    return tuple(
        Fault(
            name=f"{what}: {trouble.value}",
            breaks=rigs.on(choose, trouble),
            expected=expected,
            is_shown_briefly=trouble is short,
            **more,
        )
        for trouble in Trouble
        if trouble is not Trouble.SLOW
    )


def _saying(
    what: str, choose: Callable[[Rig], Line | None], expected: Mapping[str, tuple[bytes, Expected]], **more: Any
) -> tuple[Fault, ...]:
    return tuple(
        Fault(name=f"{what}: {name}", breaks=rigs.on(choose, said), expected=allowed, **more)
        for name, (said, allowed) in expected.items()
    )


_DEEP = b"[" * 50_000 + b"]" * 50_000
_HUGE = b'{"x":"' + b"x" * 2 * ANSWER_BYTES_MAX + b'"}'
_ELSEWHERE = http(b"", "302 Found", Location="http://127.0.0.1:9/")

_SUPERUSERS_WORK: tuple[tuple[str, Breaks, bool], ...] = (
    ("may only be read", rigs.statement(
        f"alter role {roles.APP} set default_transaction_read_only = on",
        f"alter role {roles.APP} reset default_transaction_read_only",
    ), True),
    ("every connection taken", rigs.statement(
        f"alter role {roles.APP} connection limit 0", f"alter role {roles.APP} connection limit -1"
    ), True),
    ("role locked out", rigs.statement(f"alter role {roles.APP} nologin", f"alter role {roles.APP} login"), False),
    ("restarted empty", rigs.statement(
        "alter schema lockgate rename to elsewhere", "alter schema elsewhere rename to lockgate"
    ), True),
    ("entries may not be written", rigs.statement(
        f"revoke insert on lockgate.entries from {roles.APP}", f"grant insert on lockgate.entries to {roles.APP}"
    ), False),
    ("calls may not be read", rigs.statement(
        f"revoke select on lockgate.calls from {roles.APP}", f"grant select on lockgate.calls to {roles.APP}"
    ), False),
    ("heads held by another", rigs.locked("select from lockgate.heads for update"), True),
    ("heads locked", rigs.locked("lock table lockgate.heads in access exclusive mode"), False),
    ("calls locked", rigs.locked("lock table lockgate.calls in access exclusive mode"), False),
    ("entries locked", rigs.locked("lock table lockgate.entries in access exclusive mode"), False),
    ("checkpoints locked", rigs.locked("lock table lockgate.checkpoints in access exclusive mode"), False),
    ("frozen", rigs.database_frozen, False),
    ("killed and kept down", rigs.database_down, False),
)  # fmt: skip

DATABASE: tuple[Fault, ...] = (
    *_on_line("database", the_database, NO_LEDGER, short=Trouble.SILENT),
    Fault(
        name="database: a second late",
        breaks=rigs.on(the_database, Trouble.SLOW),
        expected=NO_LEDGER,
    ),
    *(
        Fault(name=f"database: {name}", breaks=breaks, expected=NO_LEDGER, is_shown_briefly=is_brief)
        for name, breaks, is_brief in _SUPERUSERS_WORK
    ),
    Fault(
        name="database: sessions ended again and again",
        breaks=rigs.sessions_ended,
        expected=RUN | NO_LEDGER | DOUBT,
        has_no_effect=False,
        is_late=True,
    ),
)

ENGINE: tuple[Fault, ...] = (
    *_on_line("OPA server", the_engine, NO_ENGINE, short=Trouble.GARBAGE),
    *_saying(
        "OPA server",
        the_engine,
        {
            "another bundle": (http(b'{"result":{"bundle":"sha256:0","decisions":[]}}'), NO_ENGINE),
            "empty for ever": (http(b"{}"), NO_ENGINE),
            "true": (http(b'{"result":true}'), NO_ENGINE),
            "500": (http(b'{"code":"internal_error"}', "500 Internal Server Error"), NO_ENGINE),
            "HTML": (http(b"<html></html>", Content_Type="text/html"), NO_ENGINE),
            "redirect": (_ELSEWHERE, NO_ENGINE),
            "huge": (http(_HUGE), NO_ENGINE),
            "deep": (http(_DEEP), NO_ENGINE),
        },
    ),
    Fault(name="OPA server: a second late", breaks=rigs.on(the_engine, Trouble.SLOW), expected=NO_ENGINE),
    Fault(name="OPA server: frozen", breaks=rigs.server_frozen, expected=NO_ENGINE, is_shown_briefly=True),
    Fault(name="OPA server: killed", breaks=rigs.server_down, expected=NO_ENGINE),
    Fault(name="OPA server: of another token", breaks=rigs.server_restarted(token="else"), expected=NO_ENGINE),
    Fault(
        name="OPA server: that reports elsewhere",
        breaks=rigs.server_restarted("--set", "decision_logs.console=true"),
        expected=NO_ENGINE,
    ),
    Fault(
        name="OPA server: restarted empty",
        breaks=rigs.server_restarted(),
        expected=RUN,
        has_no_effect=False,
        is_unfelt=True,
    ),
)

_SOURCE: tuple[Fault, ...] = (
    *_on_line("facts", the_business, NO_SOURCE, short=Trouble.HALF, ask=refund),
    *_saying(
        "facts",
        the_business,
        {
            "500": (http(b"{}", "500 Internal Server Error"), NO_SOURCE),
            "HTML": (http(b"<html></html>", Content_Type="text/html"), NO_SOURCE),
            "redirect": (_ELSEWHERE, NO_SOURCE),
            "huge": (http(_HUGE), NO_SOURCE),
            "deep": (http(_DEEP), NO_SOURCE),
            "a float": (http(b'{"at_ms":1.5,"facts":{}}'), NO_SOURCE),
            "a member twice": (http(b'{"at_ms":1,"at_ms":2,"facts":{}}'), NO_SOURCE),
            "a list": (http(b"[]"), NO_SOURCE),
            "gone": (http(b"{}", "404 Not Found"), NO_FACT),
            "without a time": (http(b'{"facts":{"paid_cents":100,"refunded_cents":0}}'), NO_FACT),
            "of another type": (fact(paid_cents="100", refunded_cents=0), NO_FACT),
            "incomplete": (fact(paid_cents=100), NO_FACT),
        },
        ask=refund,
    ),
    Fault(name="facts: half a day old", breaks=rigs.business("stale", seconds=43_200), ask=refund,
          expected=frozenset({(403, "fact_stale")})),
    Fault(name="facts: slow", breaks=rigs.business("hang_before"), ask=refund, expected=NO_SOURCE),
    Fault(name="facts: frozen", breaks=rigs.business_frozen, ask=refund, expected=NO_SOURCE),
)  # fmt: skip

_TOOL: tuple[Fault, ...] = tuple(
    Fault(
        name=f"tool: {trouble.value}",
        breaks=rigs.on(the_business, trouble),
        ask=revoke,
        expected=frozenset({(503, "tool_unreachable")}) if trouble is Trouble.REFUSED else DOUBT,
        has_no_effect=trouble not in (Trouble.DRIPPING, Trouble.HALF, Trouble.CUT),  # The request goes through.
        is_late=trouble in (Trouble.SILENT, Trouble.DRIPPING),
        is_shown_briefly=trouble is Trouble.REFUSED,
    )
    for trouble in Trouble
    if trouble is not Trouble.SLOW
)

_LATE = Fault(
    name="facts and tool: a second late",
    breaks=rigs.on(the_business, Trouble.SLOW),
    expected=RUN | NO_SOURCE | DOUBT,
    has_no_effect=False,
    is_late=True,
)

_WORKER: tuple[Fault, ...] = (
    Fault(name="Rego worker: frozen", breaks=rigs.workers_frozen, expected=NO_ENGINE),
    Fault(
        name="Rego worker: killed again and again",
        breaks=rigs.workers_killed,
        expected=RUN | NO_ENGINE,
        has_no_effect=False,
    ),
)


def _broken(part: str) -> Breaks:
    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        broken_file(rig).write_text(part)
        yield
        broken_file(rig).write_text("")

    return done


@contextmanager
def _contradicted(rig: Rig) -> Iterator[None]:
    """Every check says violated where the engines allow: the bundle decides nothing more, and a newer one does."""
    with _broken(broken_parts.CHECKS)(rig):
        yield
    rigs.newer_bundle(rig, revision=3)


_OWN: tuple[Fault, ...] = (
    Fault(
        name="redactor: raises",
        breaks=_broken(broken_parts.REDACTOR),
        ask=publish,
        expected=frozenset({(503, "redaction_failed")}),
    ),
    *(
        Fault(name=name, breaks=breaks, expected=RUN, has_no_effect=False, is_unfelt=True)
        for name, breaks in (
            ("log lines: nobody reads", rigs.logs_to(log_sinks.BLOCKED)),
            ("log lines: disk full", rigs.logs_to(log_sinks.FULL)),
            ("checkpoint files: no place for them", rigs.checkpoints_without_a_place),
            ("issuers' keys: half written", rigs.half_written("dev/cast/issuer.jwks")),
            ("log key: half written", rigs.half_written("keys/log.key")),
            ("solvers: killed while they prove a bundle", rigs.solvers_killed),
        )
    ),
    Fault(
        name="issuers' files: gone for over a minute",
        breaks=rigs.issuers_gone,
        expected=frozenset({(503, "issuers_unreadable")}),
    ),
    Fault(
        name="checks: contradict the engines",
        breaks=_contradicted,
        ask=refund,
        # The first one finds it out, and puts the bundle in quarantine.
        expected=frozenset({(403, "invariant_violated"), (503, "policy_expired")}),
    ),
    Fault(
        name="certificate: missing",
        breaks=rigs.unproved,
        expected=frozenset({(403, "invariant_unproven")}),
        recovery_seconds_max=PROOF_SECONDS_MAX,
    ),
)

GROUPS: tuple[Group, ...] = (
    Group(name="database", faults=DATABASE),
    Group(name="OPA server", faults=ENGINE, has_server=True),
    Group(name="business and worker", faults=(*_SOURCE, *_TOOL, _LATE, *_WORKER)),
    Group(name="own parts", faults=_OWN, module="tests.world.broken_parts"),
)
