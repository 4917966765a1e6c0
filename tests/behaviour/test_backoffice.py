"""The business that is governed: it does each thing once, says what it did, and can be asked again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.demo.backoffice import seeds
from deploy.demo.backoffice.facts import SOURCES, count_claims
from deploy.demo.backoffice.launch import Backoffice
from deploy.demo.backoffice.operations import OPERATIONS
from deploy.demo.backoffice.seeds.shop import BANNED_CLAIMS
from deploy.demo.backoffice.views import VIEWS
from gateway.storage.cluster import Cluster
from tests.world.backoffice import DEADLINE_MS, Client, Grounds, journal_ids, new_effect, new_grounds
from tool_registry.contracts import Contract, Effect, FactSource
from tool_registry.registry import load_catalogue
from tool_registry.shapes import compile_shape


@pytest.fixture
def grounds(cluster: Cluster, tmp_path: Path) -> Grounds:
    """Nothing running yet."""
    return new_grounds(cluster, tmp_path)


@pytest.fixture(scope="module")
def shop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backoffice]:
    """One back office for the tests that leave it as it is, each with rows of its own."""
    with new_grounds(cluster, tmp_path_factory.mktemp("backoffice")).start(faults=True) as running:
        yield running


@pytest.fixture
def acme(shop: Backoffice) -> Client:
    return Client(shop)


@pytest.fixture
def globex(shop: Backoffice) -> Client:
    return Client(shop, "globex")


# --- the catalogue is the contract -----------------------------------------------------------------------------------

CATALOGUE = [each for each in load_catalogue().contracts.values() if each.connector.kind == "http"]
OPERATED = [each for each in CATALOGUE if each.effect is not Effect.READ]
VIEWED = [each for each in CATALOGUE if each.effect is Effect.READ]

# Arguments that succeed on the first day, of acme; no other test uses these rows.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "apply_friction": {"target": "usr_1002", "friction_type": "captcha", "expires_at": "2099-01-01T00:00:00Z"},
    "ban_user": {"user_id": "usr_1003", "duration_days": 30},
    "change_price": {"product_id": "prd_1001", "price_cents": 33_000},
    "issue_refund": {"order_id": "ord_1002", "amount_cents": 1_250},
    "lift_friction": {"target": "usr_1002"},
    "pay_supplier": {"invoice_id": "inv_1001", "amount_cents": 100},
    "publish_listing": {"product_id": "prd_1002", "channel": "social", "title": "Warm", "body": "To 0 °C."},
    "release_payout": {"creator_id": "crt_1001", "amount_cents": 100},
    "remove_content": {"content_id": "cnt_1001"},
    "reorder_stock": {"sku": "sku_1001", "quantity": 2, "supplier_id": "sup_1001"},
    "resolve_appeal": {"appeal_id": "apl_1001", "resolution": "overturn"},
    "revoke_push_tokens": {"user_id": "usr_1004"},
    "scale_ad_set": {"ad_set_id": "ads_1001", "daily_budget_cents": 21_000},
    "throttle_endpoint": {"service": "checkout", "route": "create_order", "limit_per_second": 250},
    "toggle_feature_flag": {"flag_key": "new_checkout", "value": True, "rollout_percent": 30},
    "unpublish_listing": {"product_id": "prd_1002", "channel": "social"},
    "get_content_360": {"content_id": "cnt_1002"},
    "get_dashboard_snapshot": {"dashboard_id": "revenue"},
    "get_order": {"order_id": "ord_1003"},
    "get_queue_state": {"queue": "moderation"},
    "get_user_360": {"user_id": "usr_1005"},
}
FIRST = {"lift_friction": "apply_friction", "unpublish_listing": "publish_listing"}


def fact_sources() -> list[tuple[Contract, FactSource]]:
    return [(tool, source) for tool in CATALOGUE for source in tool.facts if source.source == "http"]


def test_business_offers_what_the_catalogue_declares() -> None:
    """
    Operations, views and fact groups are those of the catalogue, neither more nor fewer.
    """
    assert set(OPERATIONS) == {tool.name for tool in OPERATED}
    assert set(VIEWS) == {tool.name for tool in VIEWED}
    assert {*SOURCES, "copy"} == {source.name for _, source in fact_sources()}
    assert set(EXAMPLES) == {tool.name for tool in CATALOGUE}


@pytest.mark.parametrize("tool", OPERATED, ids=lambda tool: tool.name)
def test_operation_answers_in_the_declared_shape(acme: Client, tool: Contract) -> None:
    """
    Every write of the catalogue succeeds with a result of exactly its shape, and its status query repeats that.
    """
    if tool.name in FIRST:
        assert acme.run(FIRST[tool.name], EXAMPLES[FIRST[tool.name]]).status_code == 200
    effect = new_effect()

    answer = acme.run(tool.name, EXAMPLES[tool.name], effect=effect, reason_code=tool.reason_codes[0])

    assert answer.status_code == 200, answer.text
    assert tool.connector.path == f"/operations/{tool.name}"
    compile_shape(tool.arguments).check(dict(EXAMPLES[tool.name]))
    compile_shape(tool.result).check(answer.json())
    assert tool.status_path is not None
    status = acme.get(tool.status_path.replace("{effect_id}", effect))
    assert status.json() == {"state": "applied", "result": answer.json()}
    assert journal_ids(acme.shop.journal)[effect] == 1


@pytest.mark.parametrize(
    ("tool", "source"), fact_sources(), ids=[f"{tool.name}-{source.name}" for tool, source in fact_sources()]
)
@pytest.mark.parametrize("tenant", list(seeds.TENANTS))
def test_fact_source_answers_in_the_declared_shape(
    shop: Backoffice, tenant: str, tool: Contract, source: FactSource
) -> None:
    """
    Every fact source of the catalogue answers the declared members and a time stamp of now, for each tenant.
    """
    client = Client(shop, tenant)
    arguments = {
        name: value.replace("_1", "_2") if isinstance(value, str) and tenant == "globex" else value
        for name, value in EXAMPLES[tool.name].items()
    }
    before_ms = int(time.time() * 1000)

    if source.method == "POST":
        answer = client.post(source.path, {"arguments": arguments})
    else:
        answer = client.get(source.path.format_map(arguments))

    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"at_ms", "facts"}
    compile_shape(source.fields).check(answer.json()["facts"])
    assert before_ms - 1 <= answer.json()["at_ms"] <= int(time.time() * 1000)


@pytest.mark.parametrize("tool", VIEWED, ids=lambda tool: tool.name)
def test_view_answers_in_the_declared_shape(acme: Client, tool: Contract) -> None:
    """
    Every read of the catalogue answers a result of exactly its shape.
    """
    (argument,) = EXAMPLES[tool.name].items()

    answer = acme.get(f"{tool.connector.path}?{argument[0]}={argument[1]}")

    assert answer.status_code == 200, answer.text
    compile_shape(tool.result).check(answer.json())


@pytest.mark.parametrize("tenant", list(seeds.TENANTS))
def test_every_seeded_row_can_be_viewed(shop: Backoffice, tenant: str) -> None:
    """
    Whichever row a person or an agent picks, the view fits its contract: no seeded value is out of bounds.
    """
    client = Client(shop, tenant)
    names = {"order_id": "orders", "user_id": "users", "content_id": "content", "queue": "queues"}
    names["dashboard_id"] = "dashboards"

    for tool in VIEWED:
        shape = compile_shape(tool.result)
        (argument,) = (each.name for each in tool.arguments)
        for row in client.rows(names[argument])[:300]:
            answer = client.get(f"{tool.connector.path}?{argument}={row['id']}")
            shape.check(answer.json())


# --- once ------------------------------------------------------------------------------------------------------------


def test_repeated_effect_id_gets_the_first_answer(acme: Client) -> None:
    """
    The same request again, also with a higher fence or a passed deadline, gives the same bytes and no second refund.
    """
    order, effect = acme.order(10), new_effect()
    first = acme.refund(order["id"], 7, effect=effect)

    again = [acme.refund(order["id"], 7, effect=effect, fence=fence, deadline_ms=ms) for fence, ms in [(1, 9), (2, -9)]]

    assert [answer.content for answer in again] == [first.content] * 2
    assert [row["amount_cents"] for row in acme.rows("refunds", effect_id=effect)] == [7]
    assert journal_ids(acme.shop.journal)[effect] == 1


def test_parallel_requests_of_one_effect_id_have_one_effect(acme: Client) -> None:
    """
    100 identical requests at once: one refund, one journal line, 100 equal answers.
    """
    order, effect = acme.order(11), new_effect()

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: acme.refund(order["id"], 3, effect=effect).content, range(100)))

    assert len(set(answers)) == 1
    assert acme.order(11)["refunded_cents"] == order["refunded_cents"] + 3
    assert journal_ids(acme.shop.journal)[effect] == 1


def test_parallel_refunds_never_exceed_what_was_paid(acme: Client) -> None:
    """
    64 refunds of a tenth of one order each: ten succeed, the rest are refused, and the order is refunded whole.
    """
    order = acme.order(7)
    assert (order["paid_cents"], order["refunded_cents"]) == (1_250, 0)

    with ThreadPoolExecutor(16) as pool:
        answers = Counter(pool.map(lambda _: acme.refund(order["id"], 125).status_code, range(64)))

    assert answers == {200: 10, 409: 54}
    assert acme.order(7)["refunded_cents"] == 1_250
    assert len(acme.rows("refunds", order_id=order["id"])) == 10


def test_effect_id_stands_for_one_request(acme: Client, globex: Client) -> None:
    """
    Another amount, tool, reason or tenant under a known effect id is refused and changes nothing.
    """
    effect = new_effect()
    acme.refund("ord_1005", 10, effect=effect)

    others = [
        acme.refund("ord_1005", 11, effect=effect),
        acme.refund("ord_1005", 10, effect=effect, reason_code="other"),
        acme.run("remove_content", {"content_id": "cnt_1003"}, effect=effect),
        globex.refund("ord_2005", 10, effect=effect),
    ]

    assert {(answer.status_code, answer.json()["reason"]) for answer in others} == {(422, "effect_id_reused")}
    assert acme.order(4)["refunded_cents"] == 10
    assert globex.get(f"/operations/{effect}").json() == {"state": "not_applied"}


def test_effect_and_rows_are_one(acme: Client) -> None:
    """
    A stock order changes cash, stock and the order book together, each under the effect's id.
    """
    (cash,), (stock,) = acme.rows("cash"), acme.rows("stock", sku="sku_1006")
    effect = new_effect()

    answer = acme.run("reorder_stock", {"sku": "sku_1006", "quantity": 5, "supplier_id": "sup_1001"}, effect=effect)

    cost = answer.json()["cost_cents"]
    assert acme.rows("cash")[0]["balance_cents"] == cash["balance_cents"] - cost
    assert acme.rows("stock", sku="sku_1006")[0]["incoming"] == stock["incoming"] + 5
    assert acme.rows("cash_movements", effect_id=effect)[0]["amount_cents"] == -cost
    assert acme.rows("purchase_orders", effect_id=effect)[0]["id"] == answer.json()["purchase_order_id"]


# --- no --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "reason"),
    [
        ("issue_refund", {"order_id": "ord_1006", "amount_cents": 5_001}, 409, "refund_above_paid"),
        ("issue_refund", {"order_id": "ord_9999", "amount_cents": 1}, 422, "unknown_order"),
        ("issue_refund", {"order_id": "ord_2001", "amount_cents": 1}, 422, "unknown_order"),
        ("issue_refund", {"order_id": "ord_1006", "amount_cents": 0}, 422, "amount_not_positive"),
        ("issue_refund", {"order_id": "ord_1006", "amount_cents": True}, 422, "malformed_arguments"),
        ("issue_refund", {"order_id": "ord_1006", "amount_cents": "1"}, 422, "malformed_arguments"),
        ("issue_refund", {"order_id": "ord_1006"}, 422, "malformed_arguments"),
        ("issue_refund", {"order_id": "ord_1006", "amount_cents": 1, "x": 1}, 422, "malformed_arguments"),
        ("pay_supplier", {"invoice_id": "inv_1004", "amount_cents": 1}, 409, "payment_above_open"),
        ("release_payout", {"creator_id": "crt_1002", "amount_cents": 10_000_000}, 409, "payout_above_eligible"),
        ("reorder_stock", {"sku": "sku_1001", "quantity": 1, "supplier_id": "sup_1004"}, 409, "not_offered"),
        ("reorder_stock", {"sku": "sku_1001", "quantity": 1, "supplier_id": "sup_1002"}, 409, "quantity_below_minimum"),
        ("reorder_stock", {"sku": "sku_1001", "quantity": 100_000, "supplier_id": "sup_1001"}, 409, "cash_short"),
        ("lift_friction", {"target": "usr_1009"}, 409, "no_friction"),
        ("ban_user", {"user_id": "usr_2001", "duration_days": 1}, 422, "unknown_user"),
        (
            "throttle_endpoint",
            {"service": "search", "route": "query", "limit_per_second": 0},
            422,
            "limit_out_of_range",
        ),
        ("toggle_feature_flag", {"flag_key": "nope", "value": True, "rollout_percent": 1}, 422, "unknown_flag"),
        ("drop_tables", {}, 404, "unknown_tool"),
    ],
)
def test_impossible_operation_is_refused(
    acme: Client, tool: str, arguments: Mapping[str, Any], status: int, reason: str
) -> None:
    """
    What cannot be done is refused with its reason, leaves no journal line, and stays refused under its effect id.
    """
    effect = new_effect()

    answers = [acme.run(tool, arguments, effect=effect) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [status] * 2
    assert [answer.json() for answer in answers] == [{"refused": True, "reason": reason}] * 2
    assert journal_ids(acme.shop.journal)[effect] == 0


def test_refusal_is_remembered(acme: Client) -> None:
    """
    The status query of a refused effect says so, and why.
    """
    effect = new_effect()
    acme.refund("ord_1006", 5_001, effect=effect)

    status = acme.get(f"/operations/{effect}")

    assert status.json() == {"state": "refused", "reason": "refund_above_paid"}


def test_lower_fence_and_past_deadline_change_nothing(acme: Client) -> None:
    """
    Both are refused, neither settles the effect id: a later attempt under a higher fence succeeds.
    """
    effect = new_effect()

    late = acme.refund("ord_1006", 1, effect=effect, fence=2, deadline_ms=-1)
    stale = acme.refund("ord_1006", 1, effect=effect, fence=1)
    good = acme.refund("ord_1006", 1, effect=effect, fence=2)

    assert (late.status_code, late.json()["reason"]) == (409, "deadline_past")
    assert (stale.status_code, stale.json()["reason"]) == (409, "fence_stale")
    assert good.status_code == 200
    assert journal_ids(acme.shop.journal)[effect] == 1


def test_status_query_with_a_fence_makes_not_applied_final(acme: Client) -> None:
    """
    After a sweeper has asked under its own fence, the request that was still on its way is refused.
    """
    effect = new_effect()

    status = acme.get(f"/operations/{effect}", Lockgate_Fence="2")
    delayed = acme.refund("ord_1006", 1, effect=effect, fence=1)

    assert status.json() == {"state": "not_applied"}
    assert (delayed.status_code, delayed.json()["reason"]) == (409, "fence_stale")


@pytest.mark.parametrize("path", ["/facts/order/ord_2001", "/views/get_order?order_id=ord_2001", "/facts/order/x/y"])
def test_other_tenants_rows_do_not_exist(acme: Client, path: str) -> None:
    """
    Another tenant's id is answered as one that nobody has.
    """
    answer = acme.get(path)

    assert answer.status_code == 404
    assert answer.json()["refused"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"arguments": {}}',
        b'{"arguments": {}, "reason_code": "x", "more": 1}',
        b'{"arguments": {"amount_cents": 1, "amount_cents": 2}, "reason_code": "x"}',
        b'{"arguments": {"amount_cents": 1.0}, "reason_code": "x"}',
        b'{"arguments": {"amount_cents": 9007199254740992}, "reason_code": "x"}',
        b'{"arguments": {"order_id": "\\ud800"}, "reason_code": "x"}',
        b'{"arguments": {"order_id": "\\u0000"}, "reason_code": "x"}',
        b'{"arguments": {"order_id": "\xff"}, "reason_code": "x"}',
        b'{"arguments": ' + b"[" * 5_000 + b"]" * 5_000 + b', "reason_code": "x"}',
    ],
)
def test_malformed_body_is_refused(acme: Client, body: bytes) -> None:
    """
    Bytes that are not exactly one plain request are refused, never guessed at.
    """
    headers = {"Lockgate-Tenant": "acme", "Idempotency-Key": new_effect(), "Lockgate-Fence": "1"}
    headers["Lockgate-Deadline"] = str(int(time.time() * 1000) + DEADLINE_MS)

    answer = acme.http.post(f"{acme.shop.url}/operations/issue_refund", content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (400, {"refused": True, "reason": "malformed_body"})


@pytest.mark.parametrize("missing", ["Lockgate-Tenant", "Idempotency-Key", "Lockgate-Fence", "Lockgate-Deadline"])
def test_missing_header_is_refused(acme: Client, missing: str) -> None:
    """
    Without a tenant, an effect id, a fence or a deadline nothing is done.
    """
    headers = {"Lockgate-Tenant": "acme", "Idempotency-Key": new_effect(), "Lockgate-Fence": "1"}
    headers["Lockgate-Deadline"] = str(int(time.time() * 1000) + DEADLINE_MS)
    del headers[missing]
    body = {"arguments": {"order_id": "ord_1006", "amount_cents": 1}, "reason_code": "test"}

    answer = acme.http.post(f"{acme.shop.url}/operations/issue_refund", json=body, headers=headers)

    assert (answer.status_code, answer.json()["refused"]) == (400, True)


def test_foreign_host_name_is_refused(acme: Client) -> None:
    """
    A page that was led to the loopback interface by its own name server gets nothing.
    """
    answer = acme.get("/facts/order/ord_1001", Host="shop.example.com")

    assert answer.status_code == 400


# --- faults on demand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hang_after", "reset_after", "half_answer", "garbage_200", "error_500_after"])
def test_fault_comes_after_the_effect(acme: Client, mode: str) -> None:
    """
    The answer is late, cut, garbage or an error; the effect exists once, and the next request is answered as usual.
    """
    order, effect = acme.order(12), new_effect()
    acme.post("/faults", {"tool": "issue_refund", "mode": mode, "seconds": 1})

    started = time.monotonic()
    answer = None
    with contextlib.suppress(httpx2.HTTPError):
        answer = acme.refund(order["id"], 2, effect=effect)
    seconds = time.monotonic() - started

    match mode:
        case "hang_after":
            assert answer is not None
            assert answer.status_code == 200
            assert seconds >= 1
        case "reset_after" | "half_answer":
            assert answer is None
        case "garbage_200":
            assert answer is not None
            with pytest.raises(ValueError, match="delimiter"):
                answer.json()
        case "error_500_after":
            assert answer is not None
            assert answer.status_code == 500
    assert acme.get(f"/operations/{effect}").json()["state"] == "applied"
    assert acme.refund(order["id"], 2, effect=effect).status_code == 200
    assert acme.order(12)["refunded_cents"] == order["refunded_cents"] + 2
    assert journal_ids(acme.shop.journal)[effect] == 1


def test_fault_before_the_effect_lets_the_deadline_pass(acme: Client) -> None:
    """
    A request that was held up until after its deadline is refused and has no effect.
    """
    acme.post("/faults", {"tool": "issue_refund", "mode": "hang_before", "seconds": 1})

    answer = acme.refund("ord_1014", 1, deadline_ms=500)

    assert (answer.status_code, answer.json()["reason"]) == (409, "deadline_past")


def test_stale_facts_on_demand(acme: Client) -> None:
    """
    A fact's time stamp can be put into the past, once.
    """
    acme.post("/faults", {"tool": "facts/order", "mode": "stale", "seconds": 60})

    stale, fresh = (acme.get("/facts/order/ord_1001").json()["at_ms"] for _ in range(2))

    assert fresh - stale >= 60_000


def test_faults_are_off_unless_asked_for(grounds: Grounds) -> None:
    """
    Without the option there is no route that switches faults on.
    """
    with grounds.start() as running:
        answer = Client(running).post("/faults", {"tool": "issue_refund", "mode": "error_500_after"})

    assert answer.status_code == 404


# --- the first day ---------------------------------------------------------------------------------------------------


def test_seed_is_the_same_every_time() -> None:
    """
    Two seeds of one tenant at one instant are equal; the two tenants differ, and share no id of their own.
    """
    now = datetime(2026, 11, 20, tzinfo=UTC)

    first, again = (seeds.compose("acme", 1001, now).tables for _ in range(2))
    other = seeds.compose("globex", 2001, now).tables

    assert first == again
    for table in ("users", "orders", "products", "invoices", "creators", "ad_sets", "appeals", "content"):
        assert not {row["id"] for row in first[table]} & {row["id"] for row in other[table]}


@pytest.mark.parametrize(("tenant", "first_number"), seeds.TENANTS.items())
def test_seed_has_an_example_of_everything(tenant: str, first_number: int) -> None:
    """
    Orders on both sides of each refund cap, ad sets on both sides of the margin floor, runways on the right side.
    """
    tables = seeds.compose(tenant, first_number, datetime(2026, 11, 20, tzinfo=UTC)).tables
    paid = [order["paid_cents"] - order["refunded_cents"] for order in tables["orders"]]

    assert len(paid) >= 200
    assert min(sum(amount > cap for amount in paid) for cap in (5_000, 50_000, 100_000)) >= 5
    assert sum(0 < amount <= 5_000 for amount in paid) >= 5
    assert {each["margin_bp"] >= 1_500 for each in tables["ad_sets"]} == {True, False}
    assert {each["preflight_passed"] for each in tables["products"]} == {True, False}
    assert all(cash["balance_cents"] // cash["daily_burn_cents"] >= 45 for cash in tables["cash"])
    assert len({appeal["first_decider"] for appeal in tables["appeals"]}) == 2


def test_seeded_people_cannot_be_reached() -> None:
    """
    Mail domains are reserved for examples, telephone numbers set aside for fiction, and mail addresses are unique.
    """
    now = datetime(2026, 11, 20, tzinfo=UTC)
    people = [
        user for tenant, number in seeds.TENANTS.items() for user in seeds.compose(tenant, number, now).tables["users"]
    ]

    assert all(user["email"].split("@")[1] in ("example.com", "example.net", "example.org") for user in people)
    fictitious = ("+1 202 555 01", "+44 7700 900", "+49 30 23125 ", "+33 1 99 00 ")
    assert all(user["phone"].startswith(fictitious) for user in people)
    assert len({(user["tenant"], user["email"]) for user in people}) == len(people)


@pytest.mark.parametrize(
    ("copy", "claims"),
    [
        ("A warm jacket that dries quickly", 0),
        ("It cures everything", 1),
        ("Secures and obscures", 0),
        ("A MIRACLE, clinically\n  PROVEN and risk free", 3),
        ("never\u2011breaks", 1),
        ("mir\u200bacle", 1),
        ("100% safe!", 1),
    ],
)
def test_banned_claims_are_found_however_written(copy: str, claims: int) -> None:
    """
    Capitals, line breaks, hyphens and invisible characters hide no claim; parts of other words are none.
    """
    assert count_claims(copy, BANNED_CLAIMS) == claims
