"""A sample of the published Cedar cases; `make corpus` runs all of them."""

from __future__ import annotations

import pytest

from tests.load import corpus

EVERY = 40


@pytest.mark.skipif(not corpus.ARCHIVE.exists(), reason="the archive of cases is not part of the repository")
def test_sample_of_the_corpus_agrees_in_every_meaning() -> None:
    """
    Engine, closures and solver give the published answers; what is encoded is above the aims.
    """
    cases = list(corpus.read(corpus.ARCHIVE))[::EVERY]

    tally = corpus.Tally()
    for case in cases:
        tally.add(corpus.judge(case))
    report = corpus.document(tally, seconds=0.0, cases=len(cases))

    assert report["disagreeing"] == []
    assert report["reached"]


def test_case_with_a_wrong_expectation_is_a_disagreement() -> None:
    """
    The runner sees a wrong decision, a wrong policy and a missing error, in every way of answering.
    """
    request = {
        "description": "one",
        "principal": {"type": "A", "id": "a"},
        "action": {"type": "Action", "id": "look"},
        "resource": {"type": "A", "id": "a"},
        "context": {},
        "decision": "allow",
        "reason": ["policy0"],
        "errors": [],
    }
    schema = "entity A; action look appliesTo { principal: A, resource: A };"
    wrong = [{**request, "decision": "deny"}, {**request, "reason": ["policy1"]}, {**request, "errors": ["policy0"]}]
    policies = "permit (principal, action, resource); permit (principal, action, resource) when { principal in [1] };"
    good = {**request, "errors": ["policy1"]}
    for changed, differing in [(good, 0), *((each, 3) for each in wrong)]:
        case = corpus.Case("case", {"shouldValidate": False, "requests": [changed]}, policies, schema, "[]")

        assert len(corpus.judge(case).disagreeing) == differing
