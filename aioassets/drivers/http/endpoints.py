"""Checking and normalizing the server URLs that options specify."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from aioassets.errors import InvalidSetting

_PORTS: Final = {"http": 80, "https": 443}


def normal_endpoint(url: str) -> str:
    """Return a server's URL in a normalized form, without a user name or password.

    The scheme and the host are in lower case. A default port and a trailing slash are removed. The slashes in the
    path are encoded, so that a path can be appended.

    Raises:
        ValueError: the URL is malformed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host.removesuffix(".")
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    path = unquote(parts.path).strip("/")
    return f"{parts.scheme}://{host}{port}{quote(f'/{path}', safe='') if path else ''}"


def server_url(option: str, url: str, *, query: bool = False) -> SplitResult:
    """Check and parse a server's URL, which may appear in error messages and be recorded.

    Args:
        option: the name of the option.
        url: the URL. Error messages don't include it, since it may contain a password.
        query: whether a query is allowed.

    Raises:
        InvalidSetting: the value is not an HTTP URL, or contains credentials, a fragment or a disallowed query.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unmatched bracket, or an invalid port
        sound = False
    if not sound or not url.isprintable() or " " in url:
        raise InvalidSetting(f"The option {option} must be an HTTP URL such as https://host:9000.")
    if "@" in url.partition("?")[0] or parts.fragment or (parts.query and not query):
        raise InvalidSetting(
            f"The URL in the option {option} must not contain a user name, password, query or fragment. "
            "Pass credentials as separate options."
        )
    return parts
