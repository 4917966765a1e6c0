"""What if the OPA server is down, hangs, forgets, is another one or lies: each is a no in time, and it passes."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.demo.client import Answer, Client
from policies import bundles
from policies.bundles import Manifest
from policies.errors import EngineUnavailable
from policies.opa import OpaServer
from policies.rego_answers import RegoRules
from tests.world import opa
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, wait_for
from tests.world.opa import Between, Said, Server, says

ANSWER_SECONDS_MAX = 2.0
HEALTH_SECONDS_MAX = 0.5
SLOW_SECONDS = 30
QUIET = RegoRules(
    module='package lockgate\n\nimport rego.v1\n\ndecision := {"deny": [], "obligations": []}\n',
    data={},
    deny={},
    obligations={},
)
UNAVAILABLE = (503, "engine_unavailable")
ERROR = (403, "policy_error")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with opa.running() as started:
        yield started


@pytest.fixture(scope="module")
def between(server: Server, shared_ground: Ground) -> Iterator[Between]:
    """What the gateway takes for its OPA server. The gateway is started anew, and ends with the module."""
    with opa.between(server) as stands:
        shared_ground.restart(settings={"LOCKGATE_OPA_URL": stands.origin, "LOCKGATE_OPA_TOKEN": opa.TOKEN})
        yield stands
        shared_ground.kill()


@pytest.fixture
def opa_field(between: Between, field: Ground) -> Ground:
    """The ground, with a gateway whose Rego is evaluated by the server."""
    assert field.refund().status == 200
    return field


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.reason


def edited(change: Callable[[dict[str, Any]], Any]) -> opa.Misbehaviour:
    """The server's own answer, with something changed in it."""

    def misbehave(said: Said) -> Said:
        document = json.loads(said.body)
        changed = change(document)
        return Said(json.dumps(document if changed is None else changed).encode())

    return misbehave


def decided(decision: str) -> opa.Misbehaviour:
    """Another decision, as JSON text, in the place of the rules' own."""
    return lambda said: Said(
        b'{"result":{"bundle":%s,"decisions":[%s]}}'
        % (json.dumps(json.loads(said.body)["result"]["bundle"]).encode(), decision.encode())
    )


LIES: dict[str, tuple[opa.Misbehaviour, tuple[int, str]]] = {
    "connection cut": (lambda said: None, UNAVAILABLE),
    "500": (says({"code": "internal_error", "message": "x"}, 500), UNAVAILABLE),
    "500 of something else": (lambda said: Said(b"<h1>Oops</h1>", 500), UNAVAILABLE),
    "503": (says({}, 503), UNAVAILABLE),
    "unauthorised": (says({"code": "unauthorized", "message": "x"}, 401), UNAVAILABLE),
    "404": (says({"code": "not_found", "message": "x"}, 404), UNAVAILABLE),
    "HTML": (lambda said: Said(b"<html></html>", 200, {"Content-Type": "text/html"}), UNAVAILABLE),
    "truncated": (lambda said: Said(said.body[: len(said.body) // 2]), UNAVAILABLE),
    "less than announced": (lambda said: Said(said.body[:9], 200, {"Content-Length": "99"}), UNAVAILABLE),
    "nothing": (lambda said: Said(b""), UNAVAILABLE),
    "too much": (lambda said: Said(b'{"result":"' + b"x" * 100_000 + b'"}'), UNAVAILABLE),
    "empty for ever": (says({}), UNAVAILABLE),
    "another revision": (edited(lambda d: d["result"].update(bundle="sha256:" + "0" * 64)), UNAVAILABLE),
    "nobody's revision": (edited(lambda d: d["result"].pop("bundle") and None), ERROR),
    "true": (says({"result": True}), ERROR),
    "a text": (says({"result": "true"}), ERROR),
    "1": (says({"result": 1}), ERROR),
    "a list": (says([]), ERROR),
    "a bare decision": (says({"result": {"deny": [], "obligations": []}}), ERROR),
    "a warning beside": (edited(lambda d: d.update(warning={"code": "x"})), ERROR),
    "a decision id beside": (edited(lambda d: d.update(decision_id="x")), ERROR),
    "an extra member": (edited(lambda d: d["result"].update(extra=1)), ERROR),
    "a revision twice": (lambda said: Said(said.body.replace(b'{"bundle"', b'{"bundle":"x","bundle"', 1)), ERROR),
    "undefined": (edited(lambda d: d["result"].update(decisions=[])), ERROR),
    "two decisions": (edited(lambda d: d["result"]["decisions"].append(d["result"]["decisions"][0])), ERROR),
    "decision true": (decided("true"), ERROR),
    "decision text": (decided('"true"'), ERROR),
    "decision 1": (decided("1"), ERROR),
    "decision 1.5": (decided("1.5"), ERROR),
    "decision null": (decided("null"), ERROR),
    "decision {}": (decided("{}"), ERROR),
    "decision list": (decided("[]"), ERROR),
    "decision with a warning": (decided('{"deny":[],"obligations":[],"warning":[]}'), ERROR),
    "decision with a member twice": (decided('{"deny":["change-freeze"],"deny":[],"obligations":[]}'), ERROR),
    "unknown rule": (decided('{"deny":["no-such-rule"],"obligations":[]}'), ERROR),
}


def test_a_server_that_lies_is_a_no_until_it_stops(opa_field: Ground, between: Between) -> None:
    """
    C03, C04: reset, 500, HTML, half an answer, another revision, any other shape: 503 or 403, no effect, in time; the
    next call is decided as ever.
    """
    before = opa_field.oracle.effects()
    found, slow, after = {}, {}, {}

    for lie, (misbehaviour, _) in LIES.items():
        with between.misbehaving(misbehaviour):
            started = time.monotonic()
            found[lie] = opa_field.refund()
            slow[lie] = time.monotonic() - started
        after[lie] = opa_field.refund()
    effects = opa_field.oracle.effects()

    assert {lie: told(answer) for lie, answer in found.items()} == {lie: no for lie, (_, no) in LIES.items()}
    assert {lie: seconds for lie, seconds in slow.items() if seconds >= ANSWER_SECONDS_MAX} == {}
    assert {answer.status for answer in after.values()} == {200}
    assert effects - before == {answer.call: 1 for answer in after.values()}


def test_a_redirect_is_not_followed(opa_field: Ground, between: Between, server: Server) -> None:
    """
    C04: a server that sends questions elsewhere: 503, and nobody else is asked.
    """
    with opa.between(server) as elsewhere:
        there = {"Location": f"{elsewhere.origin}/v1/data/lockgate/rules/x/lockgate_answer"}
        with between.misbehaving(lambda said: Said(b"", 307, there)):
            answer = opa_field.refund()

        assert told(answer) == UNAVAILABLE
        assert elsewhere.seen == {}


def test_a_slow_server_is_a_no_for_fifty_calls_at_once(opa_field: Ground, between: Between) -> None:
    """
    C05: 30 s slow under 50 calls: all 503 in time, `/healthz` answers meanwhile, `/readyz` says no, and then all go on,
    readiness too although no call asked the server.
    """
    released, ended = threading.Event(), threading.Event()
    health: list[float] = []

    def ask_for_health() -> None:
        client = Client(opa_field.gateway().url)
        while not ended.is_set():
            started = time.monotonic()
            assert client.get("/healthz").status == 200
            health.append(time.monotonic() - started)
            time.sleep(0.05)

    watcher = threading.Thread(target=ask_for_health)
    before = opa_field.oracle.effects()

    def wait(said: Said) -> Said:
        released.wait(SLOW_SECONDS)
        return said

    with between.misbehaving(wait):
        watcher.start()
        started = time.monotonic()
        slow = rush(opa_field.gateway().url, asks(opa_field, 50))
        seconds = time.monotonic() - started
        ended.set()
        watcher.join()
        started = time.monotonic()
        not_ready = opa_field.client().get("/readyz")
        looked = time.monotonic() - started
        released.set()
    during = opa_field.oracle.effects()
    wait_for(lambda: opa_field.client().get("/readyz").status == 200, "readiness did not come back")
    fast = rush(opa_field.gateway().url, asks(opa_field, 50))

    assert {told(each) for each in slow} == {UNAVAILABLE}
    assert seconds < ANSWER_SECONDS_MAX
    assert max(health) < HEALTH_SECONDS_MAX
    assert told(not_ready) == (503, "not_ready")
    assert looked < HEALTH_SECONDS_MAX
    assert during == before
    assert {each.status for each in fast} == {200}


def test_a_server_that_is_down_and_comes_back_empty_is_given_the_bundle_once(
    opa_field: Ground, between: Between, server: Server
) -> None:
    """
    C04: killed: 503; restarted empty: the first call of many at once gives it the bundle, and all are decided.
    """
    server.kill()
    down = opa_field.refund()
    given = between.given()
    server.start()
    answers = rush(opa_field.gateway().url, asks(opa_field, 30))

    assert told(down) == UNAVAILABLE
    assert {each.status for each in answers} == {200}
    assert between.given() == given + 1


def test_a_gateway_starts_while_the_server_is_down(opa_field: Ground, between: Between, server: Server) -> None:
    """
    C04, C07: the gateway comes up without its server, refuses, and decides once the server is there.
    """
    server.kill()
    opa_field.restart(settings={"LOCKGATE_OPA_URL": between.origin, "LOCKGATE_OPA_TOKEN": opa.TOKEN})
    down = opa_field.refund()
    server.start()

    assert told(down) == UNAVAILABLE
    wait_for(lambda: opa_field.refund().status == 200, "the server was not found again")


@pytest.mark.parametrize(
    "configured",
    [
        ["services.s.url=http://127.0.0.1:9", "bundles.b.service=s", "bundles.b.resource=b.tar.gz"],
        ["decision_logs.console=true"],
        ["status.console=true"],
    ],
    ids=["remote bundles", "decision logs", "status reports"],
)
def test_a_server_that_may_reach_out_is_not_asked(opa_field: Ground, server: Server, configured: list[str]) -> None:
    """
    C14: another server in its place, with services, bundles or logs of its own: 503 until one without is there.
    """
    server.kill()
    server.start(*(part for each in configured for part in ("--set", each)))
    other = opa_field.refund()
    server.kill()
    server.start()
    good = opa_field.refund()

    assert told(other) == UNAVAILABLE
    assert good.status == 200


def test_another_token_is_a_no(opa_field: Ground, server: Server, between: Between) -> None:
    """
    C04: a server that does not know the gateway's token decides nothing, and takes nothing from it.
    """
    server.kill()
    server.start(token="of-somebody-else")
    other = opa_field.refund()
    server.kill()
    server.start()
    good = opa_field.refund()

    assert told(other) == UNAVAILABLE
    assert good.status == 200


VERSIONS = {
    "1.21.2": False,
    "1.9.9": False,
    "0.99.0": False,
    "1.21": False,
    "": False,
    "x": False,
    "1.21.3-rc.1": True,
    "1.21.3": True,
    "1.22.0": True,
    "2.0.0": True,
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_an_older_version_is_not_asked(server: Server, version: str) -> None:
    """
    C14: only versions from the first admitted one on are asked, also when they had the bundle before.
    """

    def shows(said: Said) -> Said:
        document = json.loads(said.body)
        document["result"]["labels"]["version"] = version
        return Said(json.dumps(document).encode())

    async def story(between: Between) -> bool:
        asked = OpaServer(between.origin, opa.TOKEN, deadline_seconds=5.0)
        await asked.start()
        try:
            await asked.load("b", QUIET)
            return (await asked.decide("b", b"{}")).errors == ()
        except EngineUnavailable:
            return False
        finally:
            await asked.close()

    with opa.between(server) as stands, stands.misbehaving(shows, "GET"):
        assert asyncio.run(story(stands)) is VERSIONS[version]


def test_a_server_that_was_replaced_is_examined_before_it_is_believed(server: Server) -> None:
    """
    C11, C14: a connection that ended may lead to another server; it is examined although it has the bundle.
    """
    troubles: list[str | None] = []

    async def story(between: Between) -> list[bool]:
        asked = OpaServer(between.origin, opa.TOKEN, deadline_seconds=5.0, on_change=troubles.append)
        await asked.start()
        await asked.load("b", QUIET)
        found = [await answers(asked)]
        with between.misbehaving(lambda said: None):
            found.append(await answers(asked))
        with between.misbehaving(edited(lambda d: d["result"].update(bundles={})), "GET"):
            found.append(await answers(asked))
        found.append(await answers(asked))
        await asked.close()
        return found

    with opa.between(server) as stands:
        assert asyncio.run(story(stands)) == [True, False, False, True]
    assert [each is None for each in troubles] == [False, True]


ODDITIES: dict[str, opa.Misbehaviour] = {
    "connection cut": lambda said: None,
    "a list": says([]),
    "a number": says({"result": 1}),
    "a list as a refusal": says([], 400),
    "HTML as a refusal": lambda said: Said(b"<html></html>", 404),
    "500": says({"code": "internal_error"}, 500),
    "nothing": lambda said: Said(b""),
    "a redirect": lambda said: Said(b"", 307, {"Location": "http://127.0.0.1:9/"}),
}


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_server_that_answers_oddly_to_anything_is_not_believed(server: Server, method: str) -> None:
    """
    C04: what it says of itself, or of what it was given, in any other form: unavailable, until it makes sense.
    """

    async def story(between: Between) -> dict[str, tuple[bool, bool]]:
        found = {}
        for oddity, misbehaviour in ODDITIES.items():
            asked = OpaServer(between.origin, opa.TOKEN, deadline_seconds=5.0)
            await asked.start()
            with between.misbehaving(misbehaviour, method):
                await asked.load("b", QUIET)
                during = await answers(asked)
            found[oddity] = (during, await answers(asked))
            await asked.close()
        return found

    with opa.between(server) as stands:
        assert asyncio.run(story(stands)) == dict.fromkeys(ODDITIES, (False, True))


async def answers(asked: OpaServer) -> bool:
    """Whether a question gets an answer."""
    try:
        return (await asked.decide("b", b"{}")).errors == ()
    except EngineUnavailable:
        return False


ENDLESS = RegoRules(
    module="""package lockgate

import rego.v1

decision := {"deny": deny, "obligations": []}
deny := [a | some a in data.many; some b in data.many; some c in data.many; some d in data.many; a + b + c + d == -1]
""",
    data={"many": list(range(300))},
    deny={},
    obligations={},
)


def test_a_rule_without_end_is_cut_and_others_go_on(server: Server) -> None:
    """
    C05, C14: questions to rules that do not end are unavailable within the bound, and the server is free again.
    """

    async def story() -> tuple[list[object], float, bool]:
        asked = OpaServer(server.origin, opa.TOKEN)
        await asked.start()
        await asked.load("b", QUIET)
        await asked.load("endless", ENDLESS)
        started = time.monotonic()
        endless = await asyncio.gather(*(asked.decide("endless", b"{}") for _ in range(20)), return_exceptions=True)
        seconds = time.monotonic() - started
        await asyncio.sleep(1)  # The server notices that nobody listens any more.
        found = await answers(asked)
        await asked.close()
        return list(endless), seconds, found

    endless, seconds, is_free = asyncio.run(story())

    assert {type(each) for each in endless} == {EngineUnavailable}
    assert seconds < ANSWER_SECONDS_MAX
    assert is_free


def test_a_proxy_of_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    C04: neither proxies nor credentials that the environment names lead questions elsewhere.
    """

    async def story() -> bool:
        asked = OpaServer(server.origin, opa.TOKEN)
        await asked.start()
        await asked.load("b", QUIET)
        found = await answers(asked)
        await asked.close()
        return found

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert asyncio.run(story())


def test_only_the_token_opens_the_server_and_only_below_one_place(server: Server) -> None:
    """
    C14: without the token nothing but `/health`; with it, neither the access rules nor other data can be changed.
    """
    own = {"Authorization": f"Bearer {opa.TOKEN}"}
    refused = [
        ("GET", "/v1/config", {}),
        ("POST", "/v1/data/lockgate/rules/x/lockgate_answer", {}),
        ("PUT", "/v1/policies/lockgate/rules/x", {}),
        ("PUT", "/v1/policies/lockgate/rules/x", {"Authorization": "Bearer guessed"}),
        ("GET", "/metrics", {}),
        ("GET", "/v1/policies", own),
        ("POST", "/v1/query", own),
        ("POST", "/v1/compile", own),
        ("PUT", "/v1/data/access", own),
        ("PATCH", "/v1/data", own),
        ("PUT", "/v1/policies/authz.rego", own),
        ("DELETE", "/v1/policies/authz.rego", own),
    ]

    assert {(*each[:2], server.status(*each)) for each in refused} == {(*each[:2], 401) for each in refused}
    assert server.status("GET", "/health", {}) == 200
    assert server.status("GET", "/v1/config", own) == 200


def test_a_bundle_that_the_server_decides_otherwise_is_refused(opa_field: Ground) -> None:
    """
    C06: a module that the worker and the server read differently does not pass its cases, whatever they expect.
    """
    base = bundles.base()
    rule = '\ndeny contains "odd-rule" if {\n\tinput.action == "get_queue_state"\n\tinput.action < 5\n}\n'
    data = {**base["data"], "rules": {**base["data"]["rules"]}}
    data["rules"]["deny"] = [*data["rules"]["deny"], {"id": "odd-rule", "hint": "A hint."}]
    case = {
        "name": "the worker denies it",
        "question": {"principal": "agent/a", "action": "get_queue_state", "context": {}},
        "expect": {"decision": "deny", "rules": ["odd-rule"]},
    }
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(tenant="acme", environment="dev", revision=2, created_at=now, not_after=now + timedelta(days=1))
    odd = bundles.compose(
        {**base, "rego": base["rego"] + rule, "data": data, "cases": [*base["cases"], case]}, manifest
    )
    raw = bundles.sign(odd, opa_field.world.cast.bundle_key).raw

    answer = opa_field.client().request("POST", "/v1/bundles", opa_field.person("security").token, body=raw)

    assert (answer.status, answer.reason) == (422, "bundle_refused")
    assert answer.document["stage"] == "cases"
    assert {each.get("case") for each in answer.document["findings"]} >= {"the worker denies it"}


def asks(field: Ground, count: int) -> list[Ask]:
    """So many refunds to be made at once."""
    token = field.person("finance").token
    arguments = {"order_id": "ord_1003", "amount_cents": 3}
    return [
        Ask(token=token, tool="issue_refund", arguments=arguments, reason="damaged_item", key=secrets.token_hex(16))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "http://opa.example:8181",
        "http://10.0.0.1:8181",
        "http://127.0.0.1.example:8181",
        "ftp://127.0.0.1",
        "127.0.0.1:8181",
        "http://127.0.0.1:8181/v1",
        "http://127.0.0.1:8181?x=1",
        "http://user@127.0.0.1:8181",
        "http://127.0.0.1:99999",
        "",
    ],
)
def test_an_origin_that_others_could_read_keeps_the_gateway_from_starting(origin: str) -> None:
    """
    Questions and token go in clear over loopback alone, and to nothing but an origin.
    """
    with pytest.raises(ValueError, match=r"expected|loopback|[Pp]ort"):
        OpaServer(origin, opa.TOKEN)


def test_https_and_loopback_are_origins() -> None:
    """
    The refusals above stop nothing beside them.
    """
    for origin in ("https://opa.example", "http://127.0.0.1:8181/", "http://[::1]:8181", "http://localhost:8181"):
        assert OpaServer(origin).loaded == frozenset()
