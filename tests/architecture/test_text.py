"""Nothing in the repository depends on, or tells of, the machine that it was written on."""

from __future__ import annotations

import re

from tests.architecture.tree import name, tracked

BINARY = {".png", ".gz", ".ico", ".woff2"}
# Written in pieces, so that this file does not hold what it looks for.
MACHINE = ("/wo" + "rk/", "/ro" + "ot/", "bash" + "_jobs")
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "proxy" + ".golang.org", "registry" + ".npm")


def test_no_machine_path_and_no_index_host_stands_in_a_file() -> None:
    """
    No absolute path of somebody's home, no package index.
    """
    pattern = re.compile("|".join(re.escape(each) for each in (*MACHINE, *HOSTS)))

    found = []
    for path in tracked():
        if path.suffix in BINARY:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{name(path)}:{number} {match.group()}")
    assert found == []


def test_no_text_holds_invisible_characters() -> None:
    """
    Bidi controls and zero-width characters make a reviewer see another program than the machine.
    """
    pattern = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")

    found = [
        name(path)
        for path in tracked()
        if path.suffix not in BINARY and pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_private_key_is_in_the_repository() -> None:
    """
    Keys are made at run time; vectors hold seeds of all-equal bytes at most.
    """
    marker = "-----BEGIN " + "PRIVATE KEY"

    assert [name(p) for p in tracked() if p.suffix not in BINARY and marker in p.read_text(encoding="utf-8")] == []
