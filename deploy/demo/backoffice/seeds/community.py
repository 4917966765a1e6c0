"""People, their sessions and tokens, what they wrote, who was banned and who appealed."""

from __future__ import annotations

from datetime import timedelta

from deploy.demo.backoffice.seeds import people
from deploy.demo.backoffice.seeds.draft import Draft, Row

USERS = 260  # More than the 200 whom one agent may slow down in an hour.
POSTS = 120
SAFETY_PEOPLE = ("per_safety_1", "per_safety_2")
"""Person ids of the tenant's safety staff, `per_<role>_<n>` as everywhere in the demonstration: who decided first."""

DEVICES = ("Pixel 9", "iPhone 17", "Firefox on Linux", "Safari on macOS", "Edge on Windows", "Galaxy Tab S10")
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")  # Reserved for documentation.

TITLES = {
    "review": ("Kept me dry for a week", "Zip broke after a month", "Better than expected", "Runs small, order one up"),
    "post": (
        "Packing list for a weekend",
        "What I changed after a year",
        "Small kitchen, big plans",
        "Repair, not replace",
    ),
    "comment": ("Re: sizing", "Re: delivery times", "Re: where to buy spare parts", "Re: is this still made"),
}
BODIES = (
    "Used it every day since spring and would buy it again. The seams hold, the colour faded a little.",
    "Arrived two days late but well packed. Support answered within the hour.",
    "You can get the same thing for a third of the price at a site I will not link here. Ask me in private.",
    "Does anybody know whether the older lid fits the new one? The manual says nothing about it.",
    "I wrote down what worked and what did not, with photographs. Questions are welcome.",
)
STATEMENTS = (
    "The photograph was of my own garden. I do not understand which rule it is said to break.",
    "My account was used by somebody else that evening; I have changed the password since.",
    "I was angry and I am sorry. Thirty days seems a lot for a first time.",
    "The link went to the maker's own instructions, not to a shop.",
)


def add(draft: Draft) -> None:
    """All of it; the rest of the seed refers to the users made here."""
    for _ in range(USERS):
        _add_user(draft)
    for user in draft.rows("users"):
        _add_devices(draft, user)
    for _ in range(POSTS):
        _add_post(draft)
    _add_bans_and_appeals(draft)


def _add_user(draft: Draft) -> None:
    contact = people.invent(draft.random, number=len(draft.rows("users")) + 1)
    draft.add(
        "users",
        id=draft.next_id("usr", "users"),
        name=contact.name,
        email=contact.email,
        phone=contact.phone,
        address=contact.address,
        country=contact.country,
        payment_token=f"tok_{draft.letters(24)}",
        banned_until=None,
        registered_at=draft.some_days_ago(900),
        closed_at=None,
    )


def _add_devices(draft: Draft, user: Row) -> None:
    # At least one of each, so that every user can serve as an example for revoking.
    for _ in range(draft.random.randrange(1, 4)):
        started_at = draft.some_days_ago(30)
        draft.add(
            "sessions",
            id=draft.next_id("ses", "sessions"),
            user_id=user["id"],
            device=draft.random.choice(DEVICES),
            ip=f"{draft.random.choice(NETWORKS)}.{draft.random.randrange(1, 255)}",
            started_at=started_at,
            last_seen_at=started_at + timedelta(minutes=draft.random.randrange(1, 30)),
            ended_at=None,
        )
    for _ in range(draft.random.randrange(1, 3)):
        draft.add(
            "push_tokens",
            id=draft.next_id("ptk", "push_tokens"),
            user_id=user["id"],
            platform=draft.random.choice(("apns", "fcm", "web")),
            token=draft.letters(40),
            revoked_at=None,
        )


def _add_post(draft: Draft) -> None:
    kind = draft.random.choice(tuple(TITLES))
    draft.add(
        "content",
        id=draft.next_id("cnt", "content"),
        author_id=draft.random.choice(draft.rows("users"))["id"],
        kind=kind,
        title=draft.random.choice(TITLES[kind]),
        body=draft.random.choice(BODIES),
        views=draft.random.randrange(3, 40_000),
        reports=draft.random.choice((0, 0, 0, 1, 2, 7, 19)),
        created_at=draft.some_days_ago(60),
        removed_at=None,
        removed_reason=None,
    )


def _add_bans_and_appeals(draft: Draft) -> None:
    # The first dozen of everything stay as they are, for examples.
    for user in draft.random.sample(draft.rows("users")[12:], 8):
        days = draft.random.choice((7, 14, 30, 90))
        starts_at = draft.ago(days=draft.random.randrange(1, 6))
        ends_at = starts_at + timedelta(days=days)
        user.update(banned_until=ends_at)
        ban = draft.add(
            "bans",
            id=draft.next_id("ban", "bans"),
            user_id=user["id"],
            duration_days=days,
            reason_code=draft.random.choice(("spam", "harassment", "fraud")),
            starts_at=starts_at,
            ends_at=ends_at,
            lifted_at=None,
        )
        _add_appeal(draft, user_id=user["id"], ban_id=ban["id"], content_id=None)
    for content in draft.random.sample(draft.rows("content")[12:], 4):
        content.update(removed_at=draft.ago(days=2), removed_reason=draft.random.choice(("spam", "copyright")))
        _add_appeal(draft, user_id=content["author_id"], ban_id=None, content_id=content["id"])


def _add_appeal(draft: Draft, *, user_id: str, ban_id: str | None, content_id: str | None) -> None:
    draft.add(
        "appeals",
        id=draft.next_id("apl", "appeals"),
        user_id=user_id,
        ban_id=ban_id,
        content_id=content_id,
        statement=draft.random.choice(STATEMENTS),
        first_decider=SAFETY_PEOPLE[len(draft.rows("appeals")) % len(SAFETY_PEOPLE)],
        opened_at=draft.ago(minutes=draft.random.randrange(10, 1_400)),
        resolution=None,
        resolved_at=None,
    )
