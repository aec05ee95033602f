import pytest

from dispatcher.egress import Proxy, ProxyKind, read_proxy

PASSWORD = "pa55-word"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", Proxy(kind=ProxyKind.CONNECT, host="proxy", port=3128)),
        ("HTTP://Proxy.Corp:3128/", Proxy(kind=ProxyKind.CONNECT, host="proxy.corp", port=3128)),
        ("socks5://10.0.0.1:1080", Proxy(kind=ProxyKind.SOCKS5, host="10.0.0.1", port=1080)),
        ("socks5://[fd00::1]:1080", Proxy(kind=ProxyKind.SOCKS5, host="fd00::1", port=1080)),
        (
            f"http://hook%40line:{PASSWORD}%2F%3A@proxy:3128",
            Proxy(
                kind=ProxyKind.CONNECT,
                host="proxy",
                port=3128,
                user="hook@line",
                password=f"{PASSWORD}/:",
            ),
        ),
    ],
    ids=["connect", "case", "socks5", "ipv6", "credentials"],
)
def test_a_setting_names_a_proxy(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "proxy:3128",
        f"https://u:{PASSWORD}@proxy:3128",
        f"socks4://u:{PASSWORD}@proxy:1080",
        f"socks5h://u:{PASSWORD}@proxy:1080",
        f"http://u:{PASSWORD}@proxy",
        f"http://u:{PASSWORD}@:3128",
        f"http://u:{PASSWORD}@proxy:0",
        f"http://u:{PASSWORD}@proxy:99999",
        f"http://u:{PASSWORD}@proxy:3128/path",
        f"http://u:{PASSWORD}@proxy:3128?query",
        f"http://u:{PASSWORD}@proxy:3128#fragment",
        f"http://u:{PASSWORD}@[proxy:3128",
        f"http://:{PASSWORD}@proxy:3128",
        f"http://a%3Ab:{PASSWORD}@proxy:3128",
        f"http://a%0D%0Ab:{PASSWORD}@proxy:3128",
        f"http://u:{PASSWORD}%00@proxy:3128",
        f"http://\u00fc:{PASSWORD}@proxy:3128",
        "socks5://u@proxy:1080",
        f"socks5://u:{PASSWORD * 40}@proxy:1080",
        "",
    ],
)
def test_what_names_no_proxy_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^http://\[user:password@\]host:port or ") as fault:
        read_proxy(text)

    assert PASSWORD not in str(fault.value)
    assert fault.value.__cause__ is None


def test_a_proxy_that_would_resolve_names_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="names are resolved and judged here"):
        read_proxy("socks5h://proxy:1080")


def test_a_proxy_does_not_show_its_password() -> None:
    proxy = read_proxy(f"http://user:{PASSWORD}@proxy:3128")

    assert PASSWORD not in repr(proxy) + str(proxy)
