from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest

from backroom.outbound import AddressRefused, NetworkPolicy

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "::ffff:1.1.1.1",
]
SPECIAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # the old IPv4-compatible form
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",  # NAT64
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert NetworkPolicy().permits(ip_address(address))


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_are_refused(address: str) -> None:
    assert not NetworkPolicy().permits(ip_address(address))


def test_an_allowed_network_is_permitted_and_nothing_beside_it() -> None:
    policy = NetworkPolicy([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])
    assert policy.permits(ip_address("10.1.2.3"))
    assert policy.permits(ip_address("::ffff:10.1.2.3"))
    assert policy.permits(ip_address("fd00::1"))
    assert not policy.permits(ip_address("10.2.0.1"))
    assert not policy.permits(ip_address("fe80::1"))
    assert not policy.permits(ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "::1", "0.0.0.0"],
)
def test_this_machine_is_refused_however_it_is_spelt(host: str) -> None:
    with pytest.raises(AddressRefused, match="BACKROOM_JOBS_ALLOWED_NETWORKS"):
        NetworkPolicy().resolve(host, 80)


def test_a_name_with_one_special_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        NetworkPolicy().resolve("both.example", 80)


def test_permitted_addresses_come_in_the_order_of_the_resolver_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ("2606:4700::2", "1.1.1.1", "1.1.1.1")
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert NetworkPolicy().resolve("name.example", 80) == ["2606:4700::2", "1.1.1.1"]
