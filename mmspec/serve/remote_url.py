"""Which URLs may be fetched and which addresses connected to.

One parser for checking and for fetching: what is checked is what is asked for. Names are judged
by their addresses alone, after resolving; no list of "internal" names could be complete.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from mmspec.core.config import FetchConfig

Address = IPv4Address | IPv6Address
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Printable ASCII without what parsers disagree about: space, quotes, backslash, angle brackets.
_PLAIN = re.compile(r"[!#-;=?-\[\]-~]{1,4096}\Z")
_NAME = re.compile(r"(?=.{4,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}\Z")
_NUMERIC_END = re.compile(r"(\A|\.)(0x[0-9a-f]*|[0-9]+)\Z")  # read as an IPv4 address by some
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # holds an IPv4 address, which is judged instead
# Global by ``ipaddress`` in some or all versions of Python, but not out there.
_KEPT_OUT: tuple[IPv4Network | IPv6Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's metadata and DNS
    IPv6Network("2001::/23"),  # Teredo, ORCHID
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)


class NotAllowedError(Exception):
    """This is not to be fetched. The message is for our log, not for clients."""


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """A URL that may be asked for: its parts, not its text, are what is used.

    Attributes:
        scheme: "https" or "http".
        host: lower case, a name with a dot or an address without brackets.
        port: of the server. target: path and query.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def follow(self, location: str, config: FetchConfig) -> RemoteUrl:
        """Where a redirect leads, checked like any other URL.

        Raises:
            NotAllowedError: it may not lead there; from https never to http.
        """
        if not _PLAIN.match(location):
            raise NotAllowedError("a redirect with odd characters")
        here = f"{self.scheme}://{self.authority}{self.target}"
        there = parse(urljoin(here, location), config)
        if (self.scheme, there.scheme) == ("https", "http"):
            raise NotAllowedError("a redirect from https to http")
        return there


def parse(url: str, config: FetchConfig) -> RemoteUrl:
    """Read a URL strictly.

    Raises:
        NotAllowedError: malformed, with a user name, or its scheme, host or port is not allowed.
    """
    if not _PLAIN.match(url):
        raise NotAllowedError("a URL with odd characters or of odd length")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError as error:
        raise NotAllowedError("a malformed URL") from error
    if parts.scheme not in config.schemes:
        raise NotAllowedError("a scheme that is not allowed")
    if "@" in parts.netloc:
        raise NotAllowedError("a URL with a user name")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    if port not in config.ports:
        raise NotAllowedError("a port that is not allowed")
    check_host(host, config.hosts)
    query = f"?{parts.query}" if parts.query else ""
    return RemoteUrl(parts.scheme, host, port, (parts.path or "/") + query)


def check_host(host: str, allowed: tuple[str, ...]) -> None:
    """Refuse hosts that are no public name or address, or not on the list, if there is one.

    Raises:
        NotAllowedError: as said.
    """
    if "%" in host:  # an address of one interface
        raise NotAllowedError("a scoped address")
    try:
        literal: Address | None = ip_address(host)
    except ValueError:
        literal = None
    if literal is None and (not _NAME.match(host) or _NUMERIC_END.search(host)):
        raise NotAllowedError("neither a full name nor an address")
    if literal is not None and not is_public(literal):
        raise NotAllowedError("an address that is not public")
    named = (entry.lower() for entry in allowed)
    if allowed and not any(
        host.endswith(entry) if entry.startswith(".") else host == entry for entry in named
    ):
        raise NotAllowedError("a host that is not on the list")


def is_public(address: Address) -> bool:
    """Whether an address is somewhere out there: nobody's inside, nobody's special use."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if address not in _GLOBAL_UNICAST:  # so neither mapped, local, link-local nor multicast
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _KEPT_OUT)
    )
