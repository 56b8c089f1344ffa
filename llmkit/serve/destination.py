"""Where an address leads: looked up first, so that nothing goes to a machine of the learner's own network unasked.

Whoever sends then connects to the very address that was looked at (``Client(..., ip=)``): a name that means another
machine a moment later changes nothing.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Literal
from urllib.parse import urlsplit

from llmkit.serve.client import base_address
from llmkit.serve.socket_errors import SocketError

Reach = Literal["public", "private", "link_local", "this_machine"]

_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where an address leads now.

    Args:
        address: as requests begin with it. host: the name in it. ip: the machine's address.
        reach: ``public``; ``private`` (another machine of the own network, or no network's), ``link_local``,
            ``this_machine``.
    """

    address: str
    host: str
    ip: str
    reach: Reach


def look_up(address: str) -> Destination:
    """Look up where an address leads. Of several machines the one that is least public counts.

    Raises:
        SocketError: ``address_empty``, ``address_scheme``, ``address_bad``; ``address_unresolved``.
    """
    base = base_address(address)
    parts = urlsplit(base)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SocketError("address_unresolved", host=host) from None
    ips = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not ips:
        raise SocketError("address_unresolved", host=host)
    ip = max(ips, key=lambda one: _ORDER.index(reach(one)))
    return Destination(address=base, host=host, ip=ip, reach=reach(ip))


def reach(ip: str) -> Reach:
    """How far away an address is.

    >>> [reach(ip) for ip in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0")]
    ['public', 'private', 'link_local', 'this_machine', 'this_machine']
    """
    found = _unwrapped(ip_address(ip))
    if found.is_loopback or found.is_unspecified:
        return "this_machine"
    if found.is_link_local:
        return "link_local"
    return "public" if found.is_global and not found.is_multicast else "private"


_ORDER: tuple[Reach, ...] = ("public", "private", "link_local", "this_machine")


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address only carries."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
