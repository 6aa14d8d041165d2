"""Detecting misspelt URLs, which would otherwise be taken for paths of new folders."""

from __future__ import annotations

import os
import re
from typing import Final

from aioassets.errors import InvalidSetting

SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""The beginning of a URL."""
_ADVICE: Final = "Write ./store, file:///path, s3://name, gs://name or az://container."
_AROUND: Final = "\"'`\u201c\u201d\u2018\u2019\ufeff\u200b"
"""Quotes, and invisible characters that `str.strip` doesn't remove."""
_LIKE_A_PATH: Final = re.compile(r"(?:/|\./|\.\./|~|\.\.?$)")
_FIRST_SEGMENT: Final = re.compile(r"[\w.][\w .+-]*")
"""The first segment of a relative path that can't be mistaken for a URL."""
_SLIP: Final = re.compile(r"\W*(?P<scheme>[A-Za-z][A-Za-z0-9+-]*)\W*?[^\w\s.+-]\W*(?P<rest>.*)", re.DOTALL)
"""A misspelt URL that has something other than `://` after its scheme."""
_SHOWABLE: Final = re.compile(r"[\w ./~+-]*")
"""Text that can't contain credentials or a signature, so that messages may quote it."""
_NEVER_IN_A_NAME: Final = re.compile(r"[\s\"'`\\{}<>;,|\u201c\u201d\u2018\u2019\ufeff\u200b]")
_SCHEMES: Final = {"gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az", "wasb": "az", "s3a": "s3", "s3n": "s3"}
"""URL schemes that other tools use, mapped to aioassets' equivalents."""
_OURS: Final = ("s3", "gs", "az", "file", "memory")


def is_like_a_path(text: str) -> bool:
    """Return whether the text can only be a path."""
    return _LIKE_A_PATH.match(text) is not None


def check_edges(what: str, text: str) -> None:
    """Raise `InvalidSetting` if the text has quotes or whitespace around it, which `docker --env-file` keeps."""
    if (plain := _plain(text)) != text:
        raise InvalidSetting(f"{what} has quotes or whitespace around it. {_suggestion(_mended(plain))}")


def check_location(text: str) -> None:
    """Raise `InvalidSetting` if the location is quoted, or looks like a misspelt URL."""
    check_edges("The bucket", text)
    if SCHEME.match(text):
        _check_name(text)
    elif not is_like_a_path(text) and _resembles_a_url(text):
        raise InvalidSetting(f"The bucket looks like a misspelt URL. {_suggestion(_mended(text))}")


def check_assets_dir(text: str) -> None:
    """Raise `InvalidSetting` if the assets directory is quoted, or looks like a URL."""
    check_edges("The assets directory", text)
    if not is_like_a_path(text) and (SCHEME.match(text) or _resembles_a_url(text)):
        raise InvalidSetting(
            "The assets directory (assets_dir, AIOASSETS_DIR) must be a local path, but looks like a URL."
        )


def which(name: str) -> InvalidSetting:
    """Return the error for a name that could be either a bucket or a folder."""
    shown = name if _SHOWABLE.fullmatch(name) else "name"
    return InvalidSetting(
        f"The name {shown!r} could refer to a folder or a bucket, and no such folder exists. "
        f"Write ./{shown} for a folder, s3://{shown} (or gs://, az://) for a bucket, or specify the storage provider."
    )


def renamed(scheme: str) -> str | None:
    """Return aioassets' equivalent of a URL scheme that other tools use, or `None`."""
    return _SCHEMES.get(scheme.lower())


def _plain(text: str) -> str:
    before = None
    while before != text:
        before, text = text, text.strip().strip(_AROUND)
    return text


def _check_name(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme.lower() != "file" and _NEVER_IN_A_NAME.search(rest.partition("/")[0]):
        plain = "".join(_NEVER_IN_A_NAME.split(rest))
        raise InvalidSetting(
            f"The bucket name contains characters that are not allowed in bucket names. {_suggestion(scheme, plain)}"
        )


def _resembles_a_url(text: str) -> bool:
    first, slash, rest = text.partition("/")
    known = first.lower() in (*_OURS, *_SCHEMES, "http", "https")
    if _FIRST_SEGMENT.fullmatch(first) and not (slash and (known or rest.startswith("/"))):
        return False
    return ":" in first or not os.path.isdir(text)


def _mended(text: str) -> str:
    """Return the corrected URL, or the text itself if it doesn't resemble a URL."""
    if is_like_a_path(text):
        return text
    if SCHEME.match(text):
        scheme, _, rest = text.partition("://")
    elif (match := _SLIP.fullmatch(text)) is not None:
        scheme, rest = match["scheme"], match["rest"]
    else:
        return text.replace("\\", "/")
    scheme = scheme.lower()
    return f"{_SCHEMES.get(scheme, scheme)}://{'/' if scheme == 'file' else ''}{rest}"


def _suggestion(*parts: str) -> str:
    text = "://".join(parts)
    scheme, separator, rest = text.partition("://")
    if not _SHOWABLE.fullmatch(rest if separator else text) or not text:
        return _ADVICE
    if separator and scheme.lower() not in _OURS:
        return f"Did you mean {text}? {_ADVICE}"
    return f"Did you mean {text}?"
