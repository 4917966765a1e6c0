"""The API obeys its own OpenAPI document: what fits it and what does not is answered as it says, never with 5xx."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.world import surface
from tests.world.stories import Story

EXAMPLES = 30  # Of each operation and mode: about a thousand requests.


def document(story: Story) -> dict[str, Any]:
    """The document as the running gateway serves it."""
    answer = story.client.get("/openapi.json", story.person("auditor").token)
    assert answer.status == 200
    return answer.document


API = schemathesis.openapi.from_dict(surface.assembled().openapi())
OPERATIONS = {each.ok().label: each.ok() for each in API.get_all_operations()}

TAKES_NOTHING = {"GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/keys"}
TRIED = [
    (label, mode)
    for label in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or label not in TAKES_NOTHING
]


def token(story: Story, path: str) -> str:
    """Somebody who comes as far as possible on a route without being able to switch anything off for other tests."""
    if path in {"/v1/bundles", "/v1/tools"}:
        return story.person("security").token
    if path.endswith(("approvals", "rejections")):
        return story.person("finance").token
    if path == "/v1/calls":
        return story.world.cast.agent("acme", 1).token
    # The system's log is the shortest to export again and again.
    return story.person("auditor", 1, "system" if path.endswith("export") else "acme").token


@pytest.mark.parametrize(("label", "mode"), TRIED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_every_operation_answers_as_the_document_says(
    story: Story, label: str, mode: GenerationMode, data: st.DataObject
) -> None:
    """
    J12: no 5xx, no undocumented status, no body outside its schema, for requests that fit and requests that do not.
    """
    attempt(story, label, mode, data)


def attempt(story: Story, label: str, mode: GenerationMode, data: st.DataObject) -> None:
    """Make one request of an operation and check its answer against the document. Raises what is wrong with it."""
    case = data.draw(OPERATIONS[label].as_strategy(generation_mode=mode))
    headers = {"Authorization": f"Bearer {token(story, case.path)}"}

    response = case.call(base_url=str(story.client._http.base_url), headers=headers, timeout=20)

    case.validate_response(
        response,
        checks=(not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance),
    )


def test_the_served_document_describes_the_router(story: Story) -> None:
    """
    A11: what is served is the document tried above, names exactly the routes that there are, and which want no token.
    """
    served_document = document(story)
    paths = served_document["paths"]

    assert served_document == surface.assembled().openapi()

    served = sorted({(method.upper(), path) for path, item in paths.items() for method in item})
    open_ones = {path for path, item in paths.items() for each in item.values() if each.get("security") == []}
    assert served == surface.routes()
    assert open_ones == surface.PUBLIC


def test_the_schema_of_a_call_admits_what_the_gateway_takes(story: Story) -> None:
    """
    J06: a request that the gateway runs fits the document, and one that it refuses as unfit does not.
    """
    body = document(story)["paths"]["/v1/calls"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = validator_for(body)
    good = {"tool": "get_order", "arguments": {"order_id": "ord_1001"}}
    refund = {"tool": "issue_refund", "arguments": {"order_id": "ord_1001", "amount_cents": 1}}

    assert validator.is_valid(good)
    assert validator.is_valid({**refund, "reason_code": "damaged_item", "edits": "call_" + "0" * 32})
    assert not validator.is_valid(refund)
    assert not validator.is_valid({**good, "tenant": "globex"})
    assert not validator.is_valid({"tool": "get_order", "arguments": {"order_id": 1}})


def test_every_path_parameter_is_described(story: Story) -> None:
    """
    J12: the document is whole: each parameter of a path template is declared, each mutating route says what it takes.
    """
    for path, item in document(story)["paths"].items():
        for method, operation in item.items():
            declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in declared)
            assert path.count("{") == len(declared), path
            assert method == "get" or "requestBody" in operation or path.endswith("cancel"), path
