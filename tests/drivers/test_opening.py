"""A store is opened beside the event loop, and at no more cost than it has to be."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from botocore.regions import EndpointResolver
from tools.servers import free_ports

from aioassets.drivers.s3.driver import S3Driver
from aioassets.drivers.s3.models import Models, _Files, models
from aioassets.errors import StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import NO_RETRY

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
    async with AssetsManager(url, storage_options={option: value}, retry=RetryPolicy(attempts=1)) as manager:
        try:
            async for _ in manager.list_assets(): pass
        except StoreUnavailable:
            print(*imported)

asyncio.run(list_nothing(*sys.argv[1:]))
"""
"""Prints what is imported in the thread of the loop."""

SMALL = {"aioassets", "concurrent", "platformdirs", "tempfile", "xml", "_elementtree", "pyexpat"}
"""Packages of which little is imported on the loop: our own drivers, and what takes a millisecond or two."""

WITHOUT_A_STORE: dict[str, Any] = {
    "endpoint_url": "http://127.0.0.1:9",
    "region": "us-east-1",
    "access_key_id": "key",
    "secret_access_key": "secret",
}


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
def test_nothing_large_is_imported_on_the_loop(url: str, option: str, value: str, tmp_path: Path) -> None:
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AIOASSETS_GCS_ANONYMOUS": "1"}
    value = value.format(port=free_ports(1)[0])
    done = subprocess.run(
        [sys.executable, "-c", LISTING, url, option, value],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **credentials, "AIOASSETS_DIR": str(tmp_path)},
    )

    assert done.stdout.endswith("\n")  # it was tried
    assert {name.partition(".")[0] for name in done.stdout.split()} <= SMALL


def _endpoint(resolver: Any, *asked: str | None) -> Any:
    service, region, partition = asked
    try:
        return resolver.construct_endpoint(service, region, partition)
    except BotoCoreError as error:
        return str(error)


class TestModels:
    @pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
    def test_they_are_what_the_sdk_reads_itself(self, kind: str) -> None:
        ours, theirs = (kind_of().load_service_model("s3", kind) for kind_of in (Models, Loader))

        assert json.dumps(ours) == json.dumps(theirs)  # in this order

    def test_of_endpoints_those_are_kept_that_may_be_asked(self) -> None:
        ours, theirs = (EndpointResolver(kind_of().load_data("endpoints")) for kind_of in (Models, Loader))

        partitions = theirs.get_available_partitions()
        assert ours.get_available_partitions() == partitions
        assert {"aws", "aws-cn", "aws-us-gov"} <= {*partitions}
        for partition in partitions:
            for service in ("s3", "sts", "portal.sso", "oidc", "signin"):
                ask = (service, partition)
                assert ours.get_available_endpoints(*ask) == theirs.get_available_endpoints(*ask)
                for region in (*theirs.get_available_endpoints("s3", partition, allow_non_regional=True), None):
                    found = [_endpoint(resolver, service, region, partition) for resolver in (ours, theirs)]
                    assert found[0] == found[1]

    def test_endpoints_of_the_user_with_other_fields_are_the_sdks_to_judge(self, tmp_path: Path) -> None:
        (tmp_path / "endpoints.json").write_text('{"partitions": [{"partition": "mine"}], "version": 3}')

        assert models(str(tmp_path)).load_data("endpoints")["partitions"][0]["partition"] == "mine"

    @pytest.mark.parametrize(
        "content",
        ["[]", "3", "{}", '{"partitions": null}', '{"partitions": [1]}', '{"partitions": [{"services": []}]}'],
    )
    def test_so_are_those_that_make_no_sense(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "endpoints.json").write_text(content)

        assert models(str(tmp_path)).load_data("endpoints") == json.loads(content)

    def test_other_services_are_found_as_well(self) -> None:
        assert Models().load_service_model("sts", "service-2")["metadata"]["serviceId"] == "STS"

    def test_a_service_that_is_none_is_an_error_of_the_sdk(self) -> None:
        with pytest.raises(BotoCoreError, match="nonsense"):
            Models().load_service_model("nonsense", "service-2")

    def test_no_folder_of_another_service_is_looked_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked: list[str] = []
        listdir = os.listdir

        def watch(path: str) -> list[str]:
            looked.append(str(path))
            return listdir(path)

        monkeypatch.setattr(os, "listdir", watch)
        Models().load_service_model("s3", "service-2")

        assert {os.path.basename(path) for path in looked} <= {"models", "data", "s3"}

    def test_those_of_the_user_are_found(self, tmp_path: Path) -> None:
        (tmp_path / "s3" / "2099-01-01").mkdir(parents=True)
        (tmp_path / "s3" / "2099-01-01" / "service-2.json").write_text('{"mine": true}')

        assert models(str(tmp_path)).load_service_model("s3", "service-2") == {"mine": True}
        assert "metadata" in models(None).load_service_model("s3", "service-2")

    async def test_all_clients_share_them_as_long_as_there_are_any(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))  # of no other test's clients
        read: list[str] = []
        load = _Files.load_file

        def watch(files: _Files, file_path: str) -> Any:
            read.append(file_path)
            return load(files, file_path)

        monkeypatch.setattr(_Files, "load_file", watch)
        drivers = [S3Driver(f"bucket-{n}", **WITHOUT_A_STORE, dispatcher=Dispatcher(retry=NO_RETRY)) for n in range(2)]
        with pytest.raises(StoreUnavailable):
            await drivers[0].stat("key")
        read_by_the_first = len(read)
        shared = weakref.ref(models(str(tmp_path)))
        with pytest.raises(StoreUnavailable):
            await drivers[1].stat("key")

        assert len(read) == read_by_the_first > 0
        assert shared() is models(str(tmp_path))

        for driver in drivers:
            await driver.aclose()
        gc.collect()
        assert shared() is None
