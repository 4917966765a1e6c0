"""P3, of requests: whatever bytes come, the answer is a refusal with a documented reason, and the gateway goes on.

1. cases       every route with every hostile body, framing, media type, target and head of `tests/world/hostile.py`
2. mutations   good requests of every route, changed by chance, byte by byte
3. generated   requests that schemathesis makes from the OpenAPI document, fitting and not

No answer is 5xx but a 503 that says what is missing; nothing hangs; the gateway's memory stays where it was.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from deploy.demo.client import Client
from deploy.demo.dev import seed
from deploy.demo.world import ROOT, Gateway
from tests.campaigns.tallies import Part, Tally
from tests.world import surface, wire
from tests.world.ground import RATE_EXCEEDED, ground
from tests.world.hostile import Aim, Case, cases, large, mutated
from tests.world.stories import REASON, REFUND, Story
from tests.world.wire import RawAnswer

PARTS = 4
MUTATIONS_PER_PART = 1_500
GENERATED_PER_PART = 2_500
SIDE_BY_SIDE = 8
COSTED = 5
"""How often each body is sent whose cost is taken: the clock of a process ticks every ten milliseconds."""
MILLISECONDS_MAX = 100
UPLOAD_MILLISECONDS_MAX = 300
"""Of an upload just below a megabyte, which two roles may hand in. A larger one is not read."""
UPLOAD_BYTES_MAX = 2 * 1024 * 1024
UPLOADS = frozenset({"/v1/bundles", "/v1/tools"})
MEGABYTES_MORE = 64
"""How much the gateway's memory may grow while it is attacked."""
SECONDS_MAX = 30.0  # Of an explanation the solver thinks for seconds, on a machine that does other things too.
PATIENT_SECONDS = 0.5
"""For an answer to bytes of which nobody knows whether they are a whole request."""
BODY_SECONDS = "0.3"
EXPORT = "/v1/audit/export"
SHORT = frozenset({"/v1/calls", "/v1/audit/entries"})
"""The routes of the short form."""
REASONS = frozenset(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
"""Every documented reason."""


def run(part: Part) -> Iterable[Tally]:
    """One part: its share of the routes with every case, and of mutations and generated requests."""
    with ground() as field:
        gateway = field.world.gateway(settings={"LOCKGATE_BODY_SECONDS_MAX": BODY_SECONDS})
        seed(field.world.cast, gateway.url)
        story = Story(field.world, Client(gateway.url))
        aims = list(_aims(story))
        before = _megabytes(gateway)
        mine = [each for each in aims if each.path in SHORT] if part.is_short else aims[part.number % PARTS :: PARTS]
        tallies = [_cost(gateway, aims), _cases(gateway, mine)]
        part.tell("cases are tried")
        tallies.append(_mutations(gateway, aims, part.chance(), part.size(MUTATIONS_PER_PART, 150)))
        part.tell("mutations are tried")
        tallies.append(_generated(story, part.chance(), part.size(GENERATED_PER_PART, 60)))
        yield from tallies
        yield _survived(gateway, before)


def _aims(story: Story) -> Iterator[Aim]:
    """Every route, as somebody who comes as far as possible, with a good body."""
    parked = story.parked_refund()
    refund: dict[str, Any] = {
        "tool": REFUND,
        "arguments": {"order_id": "ord_9", "amount_cents": 1},
        "reason_code": REASON,
    }
    verdict = {"statement": parked.statement, "signature": "A" * 86}
    bodies: dict[str, Any] = {
        "/v1/calls": {"tool": "get_order", "arguments": {"order_id": parked.order}},
        "/v1/batches": {"calls": [{"key": "one-of-a-batch", **refund}]},
        "/v1/verdicts": {"verdicts": [{"call": parked.call, **verdict}]},
        "/v1/bundles": {"manifest": {}, "files": {}},
        "/v1/tools": {"name": "send_parcel", "version": 1},
        "approvals": verdict,
        "rejections": verdict,
        "feedback": {"text": "seen"},
    }
    known = {"{call}": parked.call, "{tool}": REFUND, "{digest}": f"sha256:{'0' * 64}", "{agent}": "agent-l1"}
    for method, path in sorted({*surface.routes(), *surface.described()}):
        role = "security" if path in UPLOADS else "auditor"
        role = "finance" if path.endswith(("approvals", "rejections", "verdicts", "calls", "batches")) else role
        body = bodies.get(path) or bodies.get(path.rsplit("/", 1)[1], {})
        filled = path
        for place, value in known.items():
            filled = filled.replace(place, value)
        yield Aim(
            method=method,
            path=filled,
            token=story.person(role).token,
            body=json.dumps(body).encode() if method == "POST" else b"",
            key="" if path == "/v1/batches" else "hostile-key",
        )


def _side_by_side(work: Callable[[Any], str | None], items: Sequence[Any]) -> tuple[str, ...]:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return tuple(sorted({told for told in pool.map(work, items) if told}))


def _cases(gateway: Gateway, aims: Sequence[Aim]) -> Tally:
    statuses: Counter[int] = Counter()
    tried = [(aim, case) for aim in aims for case in cases(aim)]

    def attempt(one: tuple[Aim, Case]) -> str | None:
        aim, case = one
        name = f"{aim.method} {re.sub('[0-9a-f]{32,}', '…', aim.path)}: {case.name}"
        answers = wire.talk(gateway.url, case.request, answers_max=1, seconds=SECONDS_MAX)
        answer = answers[0] if answers else RawAnswer(0, {}, b"")
        statuses[answer.status] += 1
        allowed = case.statuses | ({200} if aim.path in surface.PUBLIC and case.name.startswith("query") else set())
        if aim.path == EXPORT:
            allowed |= {RATE_EXCEEDED}  # A tenant has four at once, and here are eight clients.
        if answer.status not in allowed:
            return f"{name}: {answer.status} {answer.reason}"
        return _unfit(answer) and f"{name}: {_unfit(answer)}"

    failures = _side_by_side(attempt, tried)
    return Tally(
        guarantee="P3",
        tried="hostile requests: every route with every case",
        times=len(tried),
        failures=failures,
        figures={f"answered_{status or 'by_silence'}": count for status, count in sorted(statuses.items())},
    )


def _cost(gateway: Gateway, aims: Sequence[Aim]) -> Tally:
    """The gateway's processor time for one of the largest bodies that a route reads."""
    failures, worst = [], 0.0
    tried = [
        (aim, name, body[: UPLOAD_BYTES_MAX if aim.path in UPLOADS else 64 * 1024])
        for aim in aims
        if aim.path in {"/v1/calls", *UPLOADS} and aim.method == "POST"
        for name, body in large().items()
    ]
    for aim, name, body in tried:
        before = _processor_seconds(gateway)
        for _ in range(COSTED):
            wire.send(gateway.url, aim.request(body=body))
        took = (_processor_seconds(gateway) - before) / COSTED * 1000
        worst = max(worst, took)
        if took > (UPLOAD_MILLISECONDS_MAX if aim.path in UPLOADS else MILLISECONDS_MAX):
            failures.append(f"POST {aim.path}: {name} costs {took:.0f} ms")
    return Tally(
        guarantee="P3",
        tried="hostile requests: the largest bodies, by processor time",
        times=len(tried) * COSTED,
        failures=tuple(failures),
        figures={"worst_milliseconds_of_processor_for_one": worst},
    )


def _processor_seconds(gateway: Gateway) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _mutations(gateway: Gateway, aims: Sequence[Aim], chance: random.Random, times: int) -> Tally:
    statuses: Counter[int] = Counter()
    requests = [mutated(chance.choice(aims).request(), chance) for _ in range(times)]

    def attempt(number: int) -> str | None:
        for answer in wire.talk(gateway.url, requests[number], answers_max=2, seconds=PATIENT_SECONDS):
            statuses[answer.status] += 1
            if told := _unfit(answer):
                return f"mutation {number}, `{requests[number][:60]!r}`: {told}"
        return None

    failures = _side_by_side(attempt, range(times))
    return Tally(
        guarantee="P3",
        tried="hostile requests: good ones, mutated by chance",
        times=times,
        failures=failures,
        figures=_by_class(statuses),
    )


def _by_class(statuses: Counter[int]) -> dict[str, float]:
    classes: Counter[str] = Counter()
    for status, count in statuses.items():
        classes[f"answered_{status // 100}xx"] += count
    return dict(sorted(classes.items()))


def _unfit(answer: RawAnswer) -> str | None:
    """What is wrong with an answer, whatever it answers."""
    if answer.status < 400:
        return None
    if answer.headers.get("content-type") != "application/problem+json":
        return f"{answer.status} is no problem document"
    if not answer.body:
        return None  # of HEAD
    if answer.reason not in REASONS:
        return f"{answer.status} with the undocumented reason `{answer.reason}`"
    if answer.status >= 500 and (answer.status != 503 or answer.reason == "internal"):
        return f"{answer.status} {answer.reason}"
    return None


def _generated(story: Story, chance: random.Random, cases_wanted: int) -> Tally:
    """J12: by the checks of `tests/contract`, which runs fewer."""
    from tests.contract import test_openapi as contract  # noqa: PLC0415 - reads the whole document

    each, made = max(1, cases_wanted // len(contract.TRIED)), 0
    failures: list[str] = []

    def obeying(label: str, mode: Any) -> Callable[[], None]:
        @seeded(chance.randrange(2**32))
        @settings(
            max_examples=each,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def obeys(data: st.DataObject) -> None:
            nonlocal made
            made += 1
            contract.attempt(story, label, mode, data)

        return obeys

    for label, mode in contract.TRIED:
        try:
            obeying(label, mode)()
        except Exception as error:  # noqa: BLE001 - whatever check failed is told, and the next operation tried
            failures.append(f"{label}, {mode.value}: {str(error)[:300]}")
    return Tally(
        guarantee="P3",
        tried="hostile requests: made by schemathesis from the OpenAPI document",
        times=made,
        failures=tuple(failures),
    )


def _survived(gateway: Gateway, before: int) -> Tally:
    failures = []
    alive = wire.send(gateway.url, wire.request("GET", "/readyz")).status
    if gateway.process.poll() is not None or alive != 200:
        failures.append(f"the gateway is not ready any more: {alive}")
    more = _megabytes(gateway) - before
    if more > MEGABYTES_MORE:
        failures.append(f"its memory grew by {more} MB")
    return Tally(
        guarantee="P3",
        tried="hostile requests: the gateway afterwards",
        times=1,
        failures=tuple(failures),
        figures={"worst_growth_in_megabytes": more},
    )


def _megabytes(gateway: Gateway) -> int:
    """The most memory that the process ever had resident."""
    status = Path(f"/proc/{gateway.process.pid}/status")
    if sys.platform != "linux":
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) // 1024 if found else 0
