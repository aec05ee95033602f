from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.address import (
    AddressPolicy,
    UrlFault,
    allowed,
    check_url,
    classify,
    is_localhost,
    loopback_addresses,
)

PUBLIC = AddressPolicy()
LITERALS = AddressPolicy(allow_ip_literals=True)
LOOPBACK = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))

# Hosts that no policy without networks of its own may let through, as literals.
REFUSED_IPV4 = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "0.255.255.255"],  # noqa: S104
    "loopback": ["127.0.0.1", "127.0.0.0", "127.127.127.127", "127.255.255.254"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.1.1"],
    "shared": ["100.64.0.1", "100.127.255.254"],
    "link_local": ["169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.170.23"],
    "platform": ["168.63.129.16"],
    "protocol": ["192.0.0.1", "192.0.0.8", "192.0.0.170", "192.31.196.1", "192.52.193.1"],
    "documentation": ["192.0.2.1", "198.51.100.7", "203.0.113.255"],
    "benchmarking": ["198.18.0.1", "198.19.255.254"],
    "tunnel": ["192.88.99.1"],
    "multicast": ["224.0.0.1", "239.255.255.250"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
}
REFUSED_IPV6 = {
    "unspecified": ["::", "0::0"],
    "loopback": ["::1", "0000:0000:0000:0000:0000:0000:0000:0001"],
    "private": ["fc00::1", "fd00:ec2::254", "fd20:ce::254", "fec0::1"],
    "link_local": ["fe80::1", "febf::1"],
    "protocol": ["2620:4f:8000::1"],
    "documentation": ["2001:db8::1", "3fff::1"],
    "tunnel": [
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2001:0:a9fe:a9fe::1",
        "2001:10::1",
        "2001:20::1",
        "2001:2::1",
        "2001:470:1f0b:1:0:5efe:10.0.0.1",
        "2001:470:1f0b:1:200:5efe:10.0.0.1",
    ],
    "multicast": ["ff02::1", "ff0e::1"],
    "unallocated": [
        "::127.0.0.1",  # IPv4-compatible
        "::a9fe:a9fe",
        "::ffff:0:127.0.0.1",  # IPv4-translated
        "64:ff9c::1",
        "100::1",
        "100:0:0:1::1",
        "4000::1",
        "5f00::1",
    ],
}
PUBLIC_ADDRESSES = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:470:1f0b:1::5efe",
    "2607:f8b0:4005:80a::200e",
    "2a00:1450:4001::1",
]

# Every other way to write an address that some resolver or browser understands.
DISGUISED = [
    "http://127.0.1/",
    "http://127.1/",
    "http://0/",
    "http://00000000/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0x7f.1/",
    "http://0177.0.0.01/",
    "http://127.0.0.01/",
    "http://127.0x0.0.1/",
    "http://6425673729/",
    "http://127.0.0.1./",
    "http://012.0.0.1/",
    "http://192.168.1/",
    "http://0xc0a80101/",
    "http://2852039166/",
    "http://0251.0376.0251.0376/",
    "http://169.16689662/",
    "http://1.2.3.4.5/",
    "http://example.com.0x/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[fe80::1%25eth0]/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[127.0.0.1]/",
    "http://::1/",
    "http://[vF.127.0.0.1]/",
    "http://[]/",
    "http://[::1/",
    "http://127\uff0e0\uff0e0\uff0e1/",
    "http://127\u30020\u30020\u30021/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%23.example.com/",
]
# Names that mean this machine or this network.
INWARD_NAMES = [
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost../",
    "http://app.localhost/",
    "http://localhost.localdomain/",
    "http://ip6-localhost/",
    "http://broadcasthost/",
    "http://loc\u00adalhost/",
    "http://l\u043ecalhost/",
    "http://%6c%6f%63alhost/",
    "http://metadata/",
    "http://nats:8222/",
    "http://kubernetes.default.svc/",
    "http://kubernetes.default.svc.cluster.local/",
    "http://metadata.google.internal/",
    "http://gateway.docker.internal/",
    "http://intranet.corp/",
    "http://printer.home/",
    "http://router.lan/",
    "http://router.home.arpa/",
    "http://wiki.intranet/",
    "http://db.private/",
    "http://hiddenservice.onion/",
    "http://nowhere.invalid/",
    "http://service.test/",
    "http://name.alt/",
]
# Text that two parsers read differently, or that is no URL of ours at all.
MALFORMED = [
    "",
    "example.com/hook",
    "//127.0.0.1/",
    "http:127.0.0.1/",
    "http:/example.com/",
    "http:/\\127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://127.1.1.1:80#\\@127.2.2.2:80/",
    "http://example.com#@127.0.0.1/",
    "https://example.com/#top",
    "http://user:pass@example.com/",
    "http://127.0.0.1@example.com/",
    "http://example.com;@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://example.com;x/",
    "https://",
    "https:///hook",
    "https://:443/",
    "https://./",
    "https://.example.com/",
    "https://a..example.com/",
    "https://-example.com/",
    "https://example-.com/",
    "https://exa mple.com/",
    "https://ex\nample.com/",
    "https://ex\tample.com/",
    " https://example.com/",
    "https://example.com/ ",
    "https://example.com/\r\nHost: internal/",
    "https://example.com/a\x00b",
    "https://example.com/a\x7fb",
    "https://example.com/h\u00f6\u00f6k",
    "https://example.com/?q=\u2603",
    "https://exam!ple.com/",
    "https://xn--/",
    "https://xn--a/",
    "https://xn--99999999.com/",
    "https://example\u2100.com/",
    "http://evil\u2024com/",
    "https://example\u3000.com/",
    f"https://{'a' * 64}.com/",
    "https://" + "\u00fc" * 60 + ".com/",
    f"https://{'a.' * 130}com/",
    f"https://example.com/{'a' * 8200}",
]
IMITATIONS = [
    "http://xn--80ak6aa92e.com/",  # Cyrillic throughout, spells "apple"
    "http://\u0430\u0440\u0440\u04cf\u0435.com/",
    "http://ex\u0430mple.com/",  # one Cyrillic letter
    "http://g\u03bf\u03bfgle.com/",  # Greek omicrons
]
WRONG_SCHEMES = [
    "ftp://example.com/x",
    "file://localhost/etc/passwd",
    "dict://127.0.0.1:11211/stat",
    "gopher://127.0.0.1/",
    "tftp://127.0.0.1/x",
    "data:text/plain,hi",
    "jar:http://127.0.0.1!/",
    "unix:///var/run/docker.sock",
    "postgres://127.0.0.1/db",
    "view-source:http://127.0.0.1/",
    "javascript://example.com/",
]
WRONG_PORTS = [
    *("0", "1", "22", "25", "81", "444", "1024", "65536", "99999"),
    *("2375", "3306", "4222", "5432", "6379", "8222", "9200", "10250", "11211", "27017"),
    *("4_43", "+80", "-1", "80:443", "080", "\u0661\u0662", "8080x", ""),
]
# What must keep working, and what it is stored as.
GOOD = {
    "https://example.com/": "https://example.com/",
    "https://example.com": "https://example.com/",
    "HTTPS://EXAMPLE.com/Hook": "https://example.com/Hook",
    "https://example.com./hook": "https://example.com/hook",
    "https://example.com:443/": "https://example.com/",
    "http://example.com:80/": "http://example.com/",
    "http://example.com:443/": "http://example.com:443/",
    "https://example.com:8443/": "https://example.com:8443/",
    "https://example.com:8080/": "https://example.com:8080/",
    "https://example.com?a=b": "https://example.com/?a=b",
    "https://example.com/?": "https://example.com/?",
    "https://example.com//a/../b/%7e%zz?x=1&y=[2]": "https://example.com//a/../b/%7e%zz?x=1&y=[2]",
    "https://example.com/@user/{id}|": "https://example.com/@user/{id}|",
    "https://b\u00fccher.example/": "https://xn--bcher-kva.example/",
    "https://B\u00fccher.example/": "https://xn--bcher-kva.example/",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
    "https://\u0440\u043e\u0441\u0430.\u0440\u0444/": "https://xn--80a1aff.xn--p1ai/",
    "https://hooks.example.co.uk/a/b;v=1/c": "https://hooks.example.co.uk/a/b;v=1/c",
    "https://a_b.example.com/": "https://a_b.example.com/",
    "https://r3---sn-a.example.com/": "https://r3---sn-a.example.com/",
    "https://127.0.0.1.example.com/": "https://127.0.0.1.example.com/",
    "https://1and1.com/": "https://1and1.com/",
}


def spelled(ip: str) -> str:
    return f"http://[{ip}]/" if ":" in ip else f"http://{ip}/"


@pytest.mark.parametrize(
    ("reason", "ip"),
    [(r, ip) for table in (REFUSED_IPV4, REFUSED_IPV6) for r, ips in table.items() for ip in ips],
)
def test_an_address_that_is_not_public_is_refused_with_its_class(reason: str, ip: str) -> None:
    assert classify(ip_address(ip)) == reason
    assert not allowed(ip_address(ip), LITERALS)


@pytest.mark.parametrize("ip", [ip for ips in REFUSED_IPV4.values() for ip in ips])
def test_an_ipv4_address_is_classified_alike_when_mapped_into_ipv6(ip: str) -> None:
    mapped = ip_address(f"::ffff:{ip}")

    assert classify(mapped) == classify(ip_address(ip))
    assert not allowed(mapped, PUBLIC)


@pytest.mark.parametrize("ip", PUBLIC_ADDRESSES)
def test_an_address_just_outside_the_refused_networks_is_public(ip: str) -> None:
    assert classify(ip_address(ip)) is None
    assert allowed(ip_address(ip), PUBLIC)


@pytest.mark.parametrize(
    "ip", [ip for t in (REFUSED_IPV4, REFUSED_IPV6) for ips in t.values() for ip in ips]
)
def test_a_url_with_a_refused_address_is_refused_without_saying_which_class(ip: str) -> None:
    for policy in (PUBLIC, LITERALS):
        with pytest.raises(UrlFault) as fault:
            check_url(spelled(ip), policy)

        assert (fault.value.code, str(fault.value)) == ("address", "Address not allowed.")


@pytest.mark.parametrize("ip", PUBLIC_ADDRESSES)
def test_a_public_address_as_host_needs_permission(ip: str) -> None:
    with pytest.raises(UrlFault) as fault:
        check_url(spelled(ip), PUBLIC)

    assert fault.value.code == "ip_literal"
    assert check_url(spelled(ip), LITERALS).host == ip
    assert check_url(spelled(ip), LITERALS).is_literal


@pytest.mark.parametrize("policy", [PUBLIC, LITERALS, LOOPBACK], ids=["public", "lit", "loop"])
@pytest.mark.parametrize("url", [*DISGUISED, *MALFORMED, *IMITATIONS, *WRONG_SCHEMES])
def test_a_disguised_or_malformed_url_is_refused_under_every_policy(
    url: str, policy: AddressPolicy
) -> None:
    with pytest.raises(UrlFault):
        check_url(url, policy)


@pytest.mark.parametrize("url", INWARD_NAMES)
def test_a_name_that_means_this_machine_or_network_is_refused(url: str) -> None:
    with pytest.raises(UrlFault):
        check_url(url, PUBLIC)


@pytest.mark.parametrize("port", WRONG_PORTS)
def test_a_port_of_another_service_or_no_port_is_refused(port: str) -> None:
    with pytest.raises(UrlFault):
        check_url(f"http://example.com:{port}/", PUBLIC)


@pytest.mark.parametrize(("given_text", "kept_text"), GOOD.items())
def test_a_good_url_is_spelled_anew_and_stays_as_it_is_the_second_time(
    given_text: str, kept_text: str
) -> None:
    url = check_url(given_text, PUBLIC)

    assert url.text == kept_text
    assert check_url(url.text, PUBLIC) == url


def test_the_parts_of_a_url_are_ready_to_be_sent() -> None:
    url = check_url("https://Hooks.Example.com:8443/A?b=c", PUBLIC)

    assert (url.scheme, url.host, url.port) == ("https", "hooks.example.com", 8443)
    assert (url.target, url.authority) == (b"/A?b=c", b"hooks.example.com:8443")
    assert not url.is_literal


def test_an_ipv6_host_is_compressed_and_keeps_its_brackets_only_where_they_are_sent() -> None:
    url = check_url("https://[2607:F8B0:4005:080a:0:0:0:200e]:8443", LITERALS)

    assert url.host == "2607:f8b0:4005:80a::200e"
    assert url.authority == b"[2607:f8b0:4005:80a::200e]:8443"
    assert url.text == "https://[2607:f8b0:4005:80a::200e]:8443/"


def test_https_only_refuses_http() -> None:
    policy = AddressPolicy(https_only=True)

    with pytest.raises(UrlFault) as fault:
        check_url("http://example.com/", policy)

    assert fault.value.code == "scheme"
    assert check_url("https://example.com/", policy).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/x",
        "http://127.3.2.1:5432/",
        "http://[::1]:9000/",
        "http://localhost:9000/",
        "http://LocalHost.:6379/",
        "http://app.localhost:9000/",
    ],
)
def test_loopback_is_open_on_every_free_port_where_the_operator_lists_it(url: str) -> None:
    assert check_url(url, LOOPBACK).port > 1024


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://93.184.216.34/",
        "http://127.0.0.1:22/",
        "http://example.com:5432/",
        "http://nats:8222/",
        "http://gateway.docker.internal/",
        "http://localhost.localdomain/",
    ],
)
def test_listing_loopback_opens_nothing_else(url: str) -> None:
    with pytest.raises(UrlFault):
        check_url(url, LOOPBACK)


def test_localhost_is_legal_only_as_far_as_loopback_is_listed() -> None:
    only_ipv4 = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))

    assert loopback_addresses(PUBLIC) == ()
    assert loopback_addresses(only_ipv4) == ("127.0.0.1",)
    assert loopback_addresses(LOOPBACK) == ("127.0.0.1", "::1")
    assert is_localhost("a.localhost")
    assert not is_localhost("notlocalhost")


@given(st.text(max_size=60), st.sampled_from(["http://", "https://", "", "http://[", "https://1"]))
def test_any_text_is_either_refused_as_a_fault_or_spelled_so_that_it_is_stable(
    text: str, start: str
) -> None:
    for policy in (PUBLIC, LITERALS, LOOPBACK):
        try:
            url = check_url(start + text, policy)
        except UrlFault:
            continue
        assert check_url(url.text, policy) == url
        assert url.text.isascii()


@given(st.ip_addresses())
def test_an_allowed_address_is_never_in_a_refused_network(ip: object) -> None:
    address = ip_address(str(ip))

    assert allowed(address, PUBLIC) == (classify(address) is None)
    assert allowed(address, AddressPolicy(allowed_networks=(ip_network(address),)))
