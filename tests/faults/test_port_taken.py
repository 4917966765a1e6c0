"""What if somebody else listens on the port that a gateway was given."""

from __future__ import annotations

import socket

import pytest

from deploy.demo.world import PortTaken
from tests.world.ground import Ground


def test_a_taken_port_is_told_from_other_failures(field: Ground) -> None:
    """
    Whoever starts a gateway on a port that is taken learns just that, and can choose another, as `make dev` does.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]

        with pytest.raises(PortTaken) as failed:
            field.world.gateway(port=taken)

    assert "Traceback" not in str(failed.value)
