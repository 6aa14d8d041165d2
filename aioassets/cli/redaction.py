"""Removing secrets from text written by SDKs, servers and users."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "***"
SHORTEST: Final = 6
"""Minimum length of a secret, in characters. Shorter secrets could match ordinary words."""

_FIELDS: Final = (
    r"x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|upload_id|uploadid"
    r"|signature|sig|access_token|refresh_token|id_token|client_secret|assertion|accountkey|sharedaccesssignature"
    r"|[\w.]*(?:secret_access_key|session_token|account_key|sas_token|connection_string)"
)
_URL: Final = r"\b(?!(?:s3|gs|az)://(?:arn:|[^\s/:'\"]+@))[a-z][a-z0-9+.-]*://"
"""Matches the start of a URL, except that of a store identity, which contains the endpoint after an `@`."""
_PATTERNS: Final = (
    re.compile(rf"(?P<before>(?<![\w-])(?:{_FIELDS})['\"]?\s*[=:]\s*)['\"]?[^&;,\s'\"<>()]+", re.IGNORECASE),
    re.compile(r"(?P<before>authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+", re.IGNORECASE),
    re.compile(r"(?P<before>\b(?:bearer|sharedkey)\s+)[^\s'\"]+", re.IGNORECASE),
    # A password may contain an unescaped `@`, or an unescaped slash unless a port number precedes the slash.
    re.compile(rf"(?P<before>{_URL})[^\s/'\"]+@", re.IGNORECASE),
    re.compile(rf"(?P<before>{_URL})[^\s/@:'\"]*:(?!\d{{0,5}}/)[^\s'\"@]*@", re.IGNORECASE),
    re.compile(r"(?P<before>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace any secrets in the text with `***`.

    Signatures, tokens and passwords are recognised by the text around them. Known secrets are found
    anywhere, whether verbatim, URL-encoded or in Base64.

    Args:
        text: any text.
        secrets: known secrets.
    """
    forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):  # one may contain another
        text = text.replace(form, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text


def _forms(secret: str) -> set[str]:
    data = secret.encode(errors="surrogateescape")  # arguments and variables may contain bytes that aren't valid UTF-8
    coded = base64.b64encode(data).decode()
    return {secret, quote(data), quote(data, safe=""), quote_plus(data), repr(secret)[1:-1], coded}
