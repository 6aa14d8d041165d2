"""URLs of servers in options."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from aioassets.errors import InvalidSetting


def server_url(option: str, url: str, *, query: bool = False) -> SplitResult:
    """Check and parse the URL of a server, which appears in errors and records.

    Args:
        option: the name of the option.
        url: the URL. Errors do not show it, since it may contain a password.
        query: whether a query is allowed.

    Raises:
        InvalidSetting: it is no HTTP URL, or contains credentials.
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
            f"The URL in the option {option} must not contain a user, password, query or fragment. "
            "Use the options for credentials."
        )
    return parts
