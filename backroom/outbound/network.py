"""Which addresses may be called.

Whoever may submit a job chooses what a worker calls, and a worker stands inside the private network. So jobs and
webhooks reach public addresses only, unless the operator allows a network (`BACKROOM_JOBS_ALLOWED_NETWORKS`,
`BACKROOM_WEBHOOK_ALLOWED_NETWORKS`).

A host name is resolved once, **every** address it has is checked, and the caller connects to a checked address and not
to the name: a name that changes its address between check and connection (DNS rebinding) gains nothing. Odd spellings
of an address (``2130706433``, ``0x7f.1``) need no rule of their own: what the resolver makes of them is checked.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from backroom.model.control import Unrecoverable
from backroom.settings import Network

__all__ = ["AddressRefused", "NetworkPolicy"]

Address = IPv4Address | IPv6Address

#: What is not the public IPv4 internet: IANA's registry of special-purpose addresses, multicast and reserved space.
#: Kept here because `ipaddress.is_global` differs between Python releases. The last one is public by number only: a
#: cloud answers there with a machine's metadata.
_REFUSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind carrier-grade NAT; a cloud's metadata service lives in it
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, with the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "168.63.129.16/32",  # a cloud's metadata service
    )
)
#: The part of IPv6 that is handed out to the public internet at all ...
_PUBLIC_V6 = IPv6Network("2000::/3")
#: ... and what is special inside it.
_REFUSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, with Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)


class AddressRefused(Unrecoverable):
    """What is to be called has an address that may not be reached; trying again would change nothing."""


class NetworkPolicy:
    """Public addresses, and the networks the operator allows on top."""

    def __init__(self, allowed: Iterable[Network] = (), *, setting: str = "BACKROOM_JOBS_ALLOWED_NETWORKS") -> None:
        """``setting``: where the operator allows networks, for the words of a refusal."""
        self._allowed, self._setting = tuple(allowed), setting

    def permits(self, address: Address) -> bool:
        """Whether ``address`` may be called. An IPv4 address inside an IPv6 one counts as that IPv4 address."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        if isinstance(address, IPv4Address):
            return not any(address in network for network in _REFUSED_V4)
        return address in _PUBLIC_V6 and not any(address in network for network in _REFUSED_V6)

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of ``host`` as text, in the resolver's order, each of them permitted.

        Raises `AddressRefused` if only one of them is not, `OSError` (`socket.gaierror`) if the name does not resolve.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        for text in addresses:
            if not self.permits(ip_address(text)):
                raise AddressRefused(
                    f"{host!r} is {text}, a private or special address, which may not be called from here. "
                    f"If it is meant to be called, add its network to {self._setting}."
                )
        return addresses
