"""A certificate speaks of contracts by their digests: what was proved over other ones lets nothing into force."""

from __future__ import annotations

from tests.attacks.test_bundle_uploads import composed, govern, revision, signed
from tests.attacks.test_bundle_uploads import upload as upload_bundle
from tests.attacks.test_registered_tools import DECLARATION, register, upload
from tests.world.stories import Story

DECLARED = DECLARATION.replace('"ORIGIN"', "backoffice").replace("send_parcel", "send_letter")


def test_a_bundle_proved_over_a_former_contract_is_uploaded_again(story: Story) -> None:
    """
    A newer version of a tool may leave the schema as it was, and with it the name that certificates are kept under:
    the bundle that was proved beside the former version is `not_proved` all the same.
    """
    first = upload(story, DECLARED)
    assert register(story, str(first.document["digest"])).document["status"] == "executed"
    raw = signed(story, composed(revision(story) + 2))
    digest = str(upload_bundle(story, raw).document["digest"])
    published = govern(story, "publish_bundle", digest)
    newer = upload(story, DECLARED.replace("version: 1", "version: 2").replace("to a customer", "to anybody"))
    registered = register(story, str(newer.document["digest"]))

    refused = govern(story, "activate_bundle", digest)
    again = upload_bundle(story, raw)
    activated = govern(story, "activate_bundle", digest)

    assert published.document["status"] == registered.document["status"] == "executed"
    assert first.document["schema"] == newer.document["schema"]
    assert (refused.document["status"], refused.document["reason"]) == ("failed", "not_proved")
    assert again.status == 201
    assert activated.document["status"] == "executed", activated.document
