"""Slips in the name of a bucket, which would make a local folder out of a URL."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_QUOTES: Final = "'\"`\u2018\u2019\u201c\u201d"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BAD_COLON: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)\s*[:;]\s*[/\\]+\s*(.*)", re.DOTALL)
"""A scheme with one slash, with backslashes, with a semicolon or with blanks. Single letters are drives."""
_BARE_COLON: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)[:;](.*)", re.DOTALL)
_NO_COLON: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)[,.]?[/\\]{2,}(.*)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A name that can be shown: it holds no password."""


def slip_in(bucket: str, schemes: Collection[str]) -> str | None:
    """Return a sentence about a slip that makes a bucket's URL look like a path, or `None`.

    Args:
        bucket: the text, which doesn't begin like a path.
        schemes: the known schemes of URLs, in lower case.
    """
    bare = bucket.strip().strip(_QUOTES).strip()
    if not bare:
        return "The bucket is blank. Name one, or leave it out."
    if bare != bucket:
        shown = bare if _NAME.fullmatch(bare.partition("://")[2] or bare) else "it"
        return f"The bucket has quotes, blanks or line breaks around it. Write {shown} without them."
    if _URL.match(bucket):
        return None
    for pattern, known_only in ((_BAD_COLON, False), (_BARE_COLON, True), (_NO_COLON, True)):
        match = pattern.fullmatch(bucket)
        if match is None or (known_only and match[1].lower() not in schemes):
            continue
        scheme, name = match[1].lower(), match[2].strip("/\\ ").partition("/")[0]
        example = f"{scheme}://{name}" if _NAME.fullmatch(name) else f"{scheme}://name"
        return f"The bucket looks like a URL with a slip. Write {example}, or ./ before the path of a folder."
    return None
