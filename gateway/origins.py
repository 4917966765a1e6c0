"""Where outgoing connections may lead: origins in one form, and addresses looked at when the connection is made.

An origin is `http://` or `https://`, a host and perhaps a port, in one spelling: no user, path or query, no address in
hexadecimal, octal or one number, no final dot, no name outside ASCII. The addresses of a host name are looked at for
each connection, which goes to the very address that was looked at, so that a name cannot mean one machine when it is
checked and another when it is used (DNS rebinding). A name never leads to this machine, to its link (where clouds keep
their metadata), or to no machine at all; what is on this machine is named by its address or as `localhost`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import httpcore2
import httpx2

from gateway.lookups import LookUps

Address = IPv4Address | IPv6Address

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOCAL = "localhost"


def is_origin(text: str) -> bool:
    """Whether the text is an origin that settings may name."""
    if not _ORIGIN.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if port is not None and port > 65535:
        return False
    address = _address(host)
    if address is not None:
        return str(address) == host and _leads_somewhere(address)
    labels = host.split(".")
    # A last label of digits makes resolvers read an address, in whatever notation they know (RFC 3696 §2).
    return all(map(_LABEL.fullmatch, labels)) and not re.match(r"[0-9]|xn--", labels[-1]) and "xn--" not in host


class Backend(httpcore2.AnyIOBackend):
    """Makes connections, to addresses that were looked at."""

    def __init__(self, look_ups: LookUps) -> None:
        self._look_ups = look_ups

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """As the library does, to the first address that answers. Raises `ConnectError` for one that leads astray."""
        fault: Exception = httpcore2.ConnectError("the name has no address")
        addresses = await self._addresses(host)
        for address in addresses:
            try:
                stream = await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                fault = error
            else:
                self._look_ups.keep(host, addresses)
                return stream
        self._look_ups.forget(host)
        raise fault

    async def _addresses(self, host: str) -> Sequence[str]:
        literal = _address(host)
        if literal is not None:
            return [str(literal)]
        try:
            found = await self._look_ups.find(host)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the name cannot be resolved") from error
        # One that leads astray spoils them all: whoever answers for the name is not to be believed.
        if not all(_may_be_meant(host, _address(each)) for each in found):
            raise httpcore2.ConnectError("the name leads to an address that it must not")
        return found


class Transport(httpx2.AsyncHTTPTransport):
    """The library's, with connections made by `Backend`."""

    def __init__(self, limits: httpx2.Limits, look_ups: LookUps) -> None:
        super().__init__(trust_env=False, limits=limits)
        # The library has no argument for it, and makes no connection before the first request.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=Backend(look_ups),
        )


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _leads_somewhere(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo):
        return False  # An address of the other kind in disguise.
    return not (
        address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or (address.is_reserved and not address.is_loopback)
    )


def _may_be_meant(host: str, address: Address | None) -> bool:
    if address is None or not _leads_somewhere(address):
        return False
    return address.is_loopback == (host == _LOCAL)
