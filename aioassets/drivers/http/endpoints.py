"""Addresses of servers, as users give them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from aioassets.errors import InvalidSetting


def server_url(option: str, url: str, *, query: bool = False) -> SplitResult:
    """Check the URL of a server, which becomes part of what errors, records and notes say.

    Args:
        option: what the user calls it.
        url: as given; never echoed, since what is wrong with it may be a password.
        query: whether it may have a query.

    Raises:
        InvalidSetting: it isn't one, or holds credentials.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket without its other one, or a port that is no number
        sound = False
    if not sound or not url.isprintable() or " " in url:
        raise InvalidSetting(f"The option {option} must be a URL of HTTP, like https://host:9000.")
    if "@" in url.partition("?")[0] or parts.fragment or (parts.query and not query):
        raise InvalidSetting(
            f"The option {option} takes no user, password, query or fragment: give credentials by their own options."
        )
    return parts
