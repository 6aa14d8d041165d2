"""Drivers import their SDKs in worker threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools.servers import free_ports

LISTING = """
import asyncio, sys, threading
from aioassets import AssetsManager, RetryPolicy, StoreUnavailable

imported = []
main = threading.get_ident()

def watch(event, details):
    if event == "import" and threading.get_ident() == main:
        imported.append(details[0])

async def list_nothing(url, option, value):
    sys.addaudithook(watch)
    async with AssetsManager(url, storage_options={option: value}, retry=RetryPolicy(retry_for=0)) as manager:
        try:
            async for _ in manager.list_assets(): pass
        except StoreUnavailable:
            print(*imported)

asyncio.run(list_nothing(*sys.argv[1:]))
"""
"""A program that prints the modules imported in the event loop's thread."""

SMALL = {"aioassets", "concurrent", "platformdirs", "tempfile", "xml", "_elementtree", "pyexpat"}
"""Packages that may be imported on the loop, since that takes a millisecond or two."""


@pytest.mark.parametrize(
    ("url", "option", "value"),
    [
        ("s3://bucket", "endpoint_url", "http://127.0.0.1:{port}"),
        ("gs://bucket", "api_root", "http://127.0.0.1:{port}"),
        (
            "az://bucket",
            "connection_string",
            "AccountName=name;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{port}/name",
        ),
    ],
)
def test_no_large_package_is_imported_on_the_loop(url: str, option: str, value: str, tmp_path: Path) -> None:
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AIOASSETS_GCS_ANONYMOUS": "1"}
    value = value.format(port=free_ports(1)[0])
    done = subprocess.run(
        [sys.executable, "-c", LISTING, url, option, value],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **credentials, "AIOASSETS_DIR": str(tmp_path)},
    )

    assert done.stdout.endswith("\n")  # the request was tried
    assert {name.partition(".")[0] for name in done.stdout.split()} <= SMALL
