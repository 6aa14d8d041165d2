"""Places in which bucket names are unique: an AWS partition, or the endpoint of another store."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from aioassets.drivers.http.endpoints import normal_endpoint
from aioassets.drivers.s3.options import Options

AWS: Final = "aws"
_AWS: Final = "https://s3.amazonaws.com"

_AWS_ENDPOINT: Final = re.compile(
    r"https?://s3(?:-fips|-accelerate)?(?:\.dualstack)?(?:\.(?P<region>[a-z]+(?:-[a-z]+)+-\d+))?"
    r"\.amazonaws\.com(?P<china>\.cn)?"
)
_FILES: Final = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
"""The SDK's configuration files: the environment variables that name them, and their default paths."""
_UNUSUAL: Final = re.compile(r"endpoint_url|data_path|\bcn-|us-gov-|-iso|eusc-", re.IGNORECASE)
"""Matches text that may indicate a place other than `aws`: an endpoint, or a region in another partition."""
_UNUSUAL_VARIABLES: Final = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_DATA_PATH")
_UNUSED: Final = "unused"
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Environment variables that take precedence over the files, in this order."""


def place_of(endpoint: str) -> str:
    """Return the place in which an endpoint's bucket names are unique: a partition such as `aws`, or a URL.

    An AWS endpoint that isn't recognized, such as one in another partition, counts as a separate place.
    """
    normal = normal_endpoint(endpoint)
    found = _AWS_ENDPOINT.fullmatch(normal)
    if found is None:
        return normal
    if found["china"]:
        return "aws-cn"
    return "aws-us-gov" if (found["region"] or "").startswith("us-gov-") else AWS


def configured_endpoint(options: Options, sdk: Any = None) -> str:
    """Return the endpoint of a bucket without sending a request. Blocking.

    The SDK is imported only if its configuration mentions an endpoint or a region in another partition.

    Args:
        options: the options configured by the user.
        sdk: an SDK client to use instead of one created from the options.
    """
    if sdk is not None:
        return str(sdk.meta.endpoint_url)
    return options.endpoint_url or _plain_endpoint(options.region) or _asked(options)


def _plain_endpoint(region: str | None) -> str | None:
    """Return the endpoint if it can be determined without the SDK, otherwise `None`."""
    files = [_variable(name) or path for name, path in _FILES.items()]
    if any(map(_variable, _UNUSUAL_VARIABLES)) or any(_UNUSUAL.search(_text(path)) for path in files):
        return None
    if endpoint := next(filter(None, map(_variable, _ENDPOINT_VARIABLES)), None):
        return endpoint
    return None if _UNUSUAL.search(region or _variable("AWS_DEFAULT_REGION")) else _AWS


def _variable(name: str) -> str:
    """Return one of the SDK's environment variables, or an empty string if it isn't set."""
    return os.environ.get(name, "")


def _text(path: str) -> str:
    """Return the contents of a configuration file, or an empty string if it can't be read (the SDK ignores it too)."""
    try:
        with open(os.path.expanduser(os.path.expandvars(path)), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _asked(options: Options) -> str:
    """Return the endpoint of a new SDK client. With dummy credentials, the SDK doesn't look for real ones."""
    from botocore.session import Session  # noqa: PLC0415 - optional, and slow

    session = Session(profile=options.profile)
    client = session.create_client("s3", options.region, aws_access_key_id=_UNUSED, aws_secret_access_key=_UNUSED)
    try:
        return str(client.meta.endpoint_url)
    finally:
        client.close()
