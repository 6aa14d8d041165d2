"""Exit codes and their messages. See test_signals for 130 and 143."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.servers import free_ports

import aioassets
from aioassets import AccessDenied, AioAssetsError, AssetsManager
from aioassets.cli.process import EXIT_CODES

Invoke = Callable[..., Any]
Listed = Callable[..., None]
Spawn = Callable[..., "subprocess.Popen[str]"]


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object, **options: object) -> list[str]:
        raise error

    monkeypatch.setattr(AssetsManager, "list_versions", fail)


def test_0_success(invoke: Invoke, source: Path) -> None:
    assert invoke("new", source, "name", "--yes").code == 0


def test_1_failure(invoke: Invoke, source: Path) -> None:
    (source / "c").symlink_to("nowhere")
    ran = invoke("new", source, "name", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"Error: Cannot push '{source / 'c'}': ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["new", ".", "name:1"], "write name instead of name:1."),
        (["new", ".", "name[part]"], "write name instead of name[part]."),
        (["update", ".", "name:1.2"], "write name, or name:1 for the next 1.x version, instead of name:1.2."),
        (["update", ".", "name:1", "--bump-major"], "write name instead of name:1."),
        (["update", ".", "name:1[part]"], "write name:1 instead of name:1[part]."),
        (["update", "."], "Missing argument 'NAME[:MAJOR]'."),
        (["upate", ".", "name"], "No such command 'upate'. Did you mean 'update'?"),
        (["alias", "sett"], "No such command 'sett'. Did you mean 'set'?"),
        (["fetch", "name", "--offlne"], "No such option '--offlne'. Did you mean '--offline'?"),
        (["list", "--colour"], "No such option"),
        (["list", "-o", "region"], "Invalid value for '--storage-option' / '-o': The format is KEY=VALUE."),
        (["new", ".", "name", "--label", "=x"], "Invalid value for '--label': The format is KEY=VALUE."),
    ],
)
def test_2_usage(invoke: Invoke, args: list[str], message: str) -> None:
    ran = invoke(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: aioassets")
    assert message in ran.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["new", ".", "team/1.0", "-y"], "Error: 'team/1.0' is not a valid asset name: its segment '1.0' looks like"),
        (["fetch", "name:"], "Error: '' is not a valid version: "),
        (["list", "--storage-provider", "ftp"], "Error: Unknown storage provider 'ftp'. "),
        (["list", "--versioning", "roman"], "Error: Unknown versioning scheme 'roman'. "),
        (["list", "--bucket", ""], "Error: No bucket is set. "),
    ],
)
def test_2_usage_errors_of_the_library_are_one_line(invoke: Invoke, args: list[str], message: str) -> None:
    ran = invoke(*args)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(message)


def test_2_a_push_without_a_bucket_shows_the_option(
    invoke: Invoke, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIOASSETS_BUCKET")
    ran = invoke("new", source, "name", "--yes")
    assert ran.code == 2
    assert "--bucket ./store" in ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["versions", "nix"], "No asset 'nix' in "),
        (["fetch", "nix"], "No asset 'nix' in "),
        (["update", "source", "nix", "-y"], "No asset 'nix' in "),
        (["update", "source", "name:3", "-y"], "Asset 'name' has no version 3 in "),
        (["update", "source", "name:3"], "Asset 'name' has no version 3 in "),
        (["fetch", "name:0.7"], "Asset 'name' has no version 0.7 in "),
        (["new", "./nix", "other", "-y"], "Cannot push './nix': no such file or directory."),
        (["update", "./nix", "name", "-y"], "Cannot push './nix': no such file or directory."),
        (["update", "./nix", "name", "-y", "--json"], "Cannot push './nix': no such file or directory."),
    ],
)
def test_3_not_found(invoke: Invoke, listed: Listed, source: Path, args: list[str], message: str) -> None:
    listed("name", "0.0")
    ran = invoke(*args)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"Error: {message}")


def test_3_a_missing_part(invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes")
    ran = invoke("fetch", "name[c]")
    assert (ran.code, ran.err) == (
        3,
        "Error: name:0.0 has no file or folder 'c'. A part must match whole path segments.\n",
    )


def test_4_conflict(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "name", "--yes")
    ran = invoke("new", source, "name", "--yes")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == (
        f"Error: Cannot create asset 'name': it already exists in {(tmp_path / 'store' / 'assets').as_uri()} "
        "(its latest version is 0.0). Push a new version with `update` (update_asset).\n"
    )


def test_4_text_from_a_store_is_escaped(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    claim = {"state": "claimed", "token": "t", "operation": "create", "fingerprint": "f", "machine": "m", "pid": 1}
    holder = {"user": "\x1b[2Jann\nError: none", "host": "\u202emoc\x9b31m"}
    meta = tmp_path / "store" / "assets" / "name" / "0.0.meta"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"aioassets_claim": {**claim, "started": "", "holder": holder}}))
    ran = invoke("new", source, "name", "--yes")
    assert ran.code == 4
    assert ran.err.splitlines()[-1] == (
        "Error: Cannot create asset 'name': "
        r"'\x1b[2Jann\nError: none'@'\u202emoc\x9b31m' is already creating it."
    )


def test_5_integrity(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "name", "--yes")
    (tmp_path / "store" / "assets" / "name" / "0.0" / "a").write_bytes(b"fIrst")
    ran = invoke("fetch", "name")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("Error: name:0.0[a] differs from what was pushed: expected sha256 ")


def test_6_missing_credentials(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PYTHONWARNINGS")  # the SDKs emit warnings
    process = spawn("list", "--bucket", "s3://name", "-o", "endpoint_url=http://127.0.0.1:1", "-o", "region=us-east-1")
    out, err = process.communicate()
    assert (process.returncode, out) == (6, "")
    assert err.startswith("Error: Found no usable credentials for s3://name: the AWS SDK did not find any. Set AWS_ACC")
    assert err.count("\n") == 1


def test_7_a_missing_store(invoke: Invoke, tmp_path: Path) -> None:
    ran = invoke("list")
    assert (ran.code, ran.out) == (7, "")
    assert ran.err.startswith(f"Error: {(tmp_path / 'store').as_uri()} doesn't exist. ")


@pytest.mark.parametrize(
    ("bucket", "options"),
    [
        ("s3://name", ["endpoint_url={url}", "region=us-east-1", "access_key_id=key", "secret_access_key=secret"]),
        ("gs://name", ["api_root={url}"]),
        ("az://name", ["account_url={url}/account", "account_key=a2V5"]),
    ],
)
def test_7_a_refused_connection(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, bucket: str, options: list[str]
) -> None:
    (port,) = free_ports(1)
    given = (word for option in options for word in ("-o", option.format(url=f"http://127.0.0.1:{port}")))
    ran = invoke("list", "--bucket", bucket, "--retry-for", "0s", *given)
    assert (ran.code, ran.out) == (7, "")
    assert ran.err == f"Error: {bucket} is unavailable: 127.0.0.1:{port} refused the connection.\n"


def test_every_error_class_has_an_exit_code() -> None:
    codes = {
        name: next(code for kind, code in EXIT_CODES if issubclass(error, kind))
        for name in aioassets.__all__
        if isinstance(error := getattr(aioassets, name), type) and issubclass(error, AioAssetsError)
    }
    assert {name for name, code in codes.items() if code == 1} == {
        "AioAssetsError",
        "BulkError",
        "BulkFetchError",
        "BulkUpdateError",
        "CacheError",
        "CannotCompose",
        "DestinationError",
        "ManagerStateError",
        "NotSameStore",
        "ObjectError",
        "OutOfThreads",
        "ObjectNotFound",
        "PreconditionFailed",
        "PublicationUncertain",
        "SourceChanged",
        "SourceError",
    }
    assert {name for name, code in codes.items() if code == 4} == {
        "AliasMoved",
        "AssetExists",
        "Conflict",
        "DestinationOccupied",
        "PushContended",
        "VersionClaimed",
        "VersionContended",
        "VersionDiffers",
        "VersionInUse",
        "VersionYanked",
    }
    assert codes["InvalidSetting"] == 2
    assert codes["StoreUnsuitable"] == 7


def test_an_unexpected_exception_is_reported_as_a_bug(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(RuntimeError("oops"), monkeypatch)
    ran = invoke("versions", "name")
    assert ran.code == 1
    assert ran.err == (
        "Error: This is a bug in aioassets: RuntimeError('oops'). "
        "Set AIOASSETS_DEBUG=1 to see the traceback, and report the bug.\n"
    )


def test_1_running_out_of_threads_is_not_reported_as_a_bug(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK may start threads, too."""
    failing(RuntimeError("can't start new thread"), monkeypatch)
    ran = invoke("versions", "name")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith("Error: Cannot start a thread: ")
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    assert "in fail\n" in invoke("versions", "name").err


@pytest.mark.parametrize("error", [RuntimeError("oops"), AccessDenied("s3://name", "read", "oops.")])
def test_tracebacks_are_shown_in_debug_mode_only(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(error, monkeypatch)
    assert "Traceback" not in invoke("versions", "name").err
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    assert invoke("versions", "name").err.startswith("Traceback (most recent call last):\n")


def test_tracebacks_contain_no_signatures(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(RuntimeError("GET https://h/k?X-Amz-Signature=c0ffee&part=1, Authorization: Bearer c0ffee"), monkeypatch)
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    ran = invoke("versions", "name")
    assert "c0ffee" not in ran.err
    assert "X-Amz-Signature=***&part=1" in ran.err


def test_an_invalid_debug_variable_is_a_usage_error(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOASSETS_DEBUG", "perhaps")
    ran = invoke("list")
    assert (ran.code, ran.err) == (2, "Error: Invalid value AIOASSETS_DEBUG='perhaps': write true or false.\n")
