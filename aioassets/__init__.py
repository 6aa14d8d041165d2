"""Versioned assets on object stores, asyncio-native and with no server of its own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aioassets._version import __version__ as __version__

if TYPE_CHECKING:
    from aioassets.dispatch import (
        Budget as Budget,
    )
    from aioassets.dispatch import (
        Dispatcher as Dispatcher,
    )
    from aioassets.dispatch import (
        RetryPolicy as RetryPolicy,
    )
    from aioassets.drivers.azure import (
        AzureDriver as AzureDriver,
    )
    from aioassets.drivers.gcs import (
        GCSDriver as GCSDriver,
    )
    from aioassets.drivers.local import (
        LocalDriver as LocalDriver,
    )
    from aioassets.drivers.memory import (
        MemoryDriver as MemoryDriver,
    )
    from aioassets.drivers.protocol import (
        Driver as Driver,
    )
    from aioassets.drivers.s3 import (
        S3Driver as S3Driver,
    )
    from aioassets.entries import (
        FileEntry as FileEntry,
    )
    from aioassets.errors import (
        AccessDenied as AccessDenied,
    )
    from aioassets.errors import (
        AioAssetsError as AioAssetsError,
    )
    from aioassets.errors import (
        AssetExists as AssetExists,
    )
    from aioassets.errors import (
        AssetNotFound as AssetNotFound,
    )
    from aioassets.errors import (
        BucketNotFound as BucketNotFound,
    )
    from aioassets.errors import (
        BulkUpdateError as BulkUpdateError,
    )
    from aioassets.errors import (
        CacheError as CacheError,
    )
    from aioassets.errors import (
        Conflict as Conflict,
    )
    from aioassets.errors import (
        DocumentTooLarge as DocumentTooLarge,
    )
    from aioassets.errors import (
        IntegrityError as IntegrityError,
    )
    from aioassets.errors import (
        InvalidName as InvalidName,
    )
    from aioassets.errors import (
        InvalidSetting as InvalidSetting,
    )
    from aioassets.errors import (
        InvalidSpec as InvalidSpec,
    )
    from aioassets.errors import (
        InvalidVersion as InvalidVersion,
    )
    from aioassets.errors import (
        ManagerStateError as ManagerStateError,
    )
    from aioassets.errors import (
        MissingCredentials as MissingCredentials,
    )
    from aioassets.errors import (
        NotFound as NotFound,
    )
    from aioassets.errors import (
        ObjectNotFound as ObjectNotFound,
    )
    from aioassets.errors import (
        PartNotFound as PartNotFound,
    )
    from aioassets.errors import (
        PreconditionFailed as PreconditionFailed,
    )
    from aioassets.errors import (
        PublicationUncertain as PublicationUncertain,
    )
    from aioassets.errors import (
        PushContended as PushContended,
    )
    from aioassets.errors import (
        SourceChanged as SourceChanged,
    )
    from aioassets.errors import (
        SourceError as SourceError,
    )
    from aioassets.errors import (
        SourceNotFound as SourceNotFound,
    )
    from aioassets.errors import (
        StoreCorrupt as StoreCorrupt,
    )
    from aioassets.errors import (
        StoreError as StoreError,
    )
    from aioassets.errors import (
        StoreUnavailable as StoreUnavailable,
    )
    from aioassets.errors import (
        StoreUnsuitable as StoreUnsuitable,
    )
    from aioassets.errors import (
        UsageError as UsageError,
    )
    from aioassets.errors import (
        VersionNotFound as VersionNotFound,
    )
    from aioassets.leftovers import (
        CleaningPlan as CleaningPlan,
    )
    from aioassets.leftovers import (
        CleaningResult as CleaningResult,
    )
    from aioassets.leftovers import (
        CleaningRules as CleaningRules,
    )
    from aioassets.leftovers import (
        Leftover as Leftover,
    )
    from aioassets.leftovers import (
        LeftoverKind as LeftoverKind,
    )
    from aioassets.manager import (
        AssetsManager as AssetsManager,
    )
    from aioassets.manager import (
        AssetVersions as AssetVersions,
    )
    from aioassets.manifest import (
        Manifest as Manifest,
    )
    from aioassets.manifest import (
        Pusher as Pusher,
    )
    from aioassets.progress import (
        BytesTransferred as BytesTransferred,
    )
    from aioassets.progress import (
        Event as Event,
    )
    from aioassets.progress import (
        FileTransferred as FileTransferred,
    )
    from aioassets.progress import (
        Progress as Progress,
    )
    from aioassets.progress import (
        TransferFinished as TransferFinished,
    )
    from aioassets.progress import (
        TransferStarted as TransferStarted,
    )
    from aioassets.push import (
        PushPlan as PushPlan,
    )
    from aioassets.push import (
        PushResult as PushResult,
    )
    from aioassets.retrieval import (
        FetchedAsset as FetchedAsset,
    )
    from aioassets.spec import (
        AssetSpec as AssetSpec,
    )
    from aioassets.verification import (
        Verification as Verification,
    )
    from aioassets.versioning import (
        Bump as Bump,
    )
    from aioassets.versioning import (
        MajorMinor as MajorMinor,
    )
    from aioassets.versioning import (
        SimpleDate as SimpleDate,
    )
    from aioassets.versioning import (
        VersioningScheme as VersioningScheme,
    )

_HOMES = {
    name: module
    for module, names in {
        "aioassets.dispatch": (
            "Budget",
            "Dispatcher",
            "RetryPolicy",
        ),
        "aioassets.drivers.azure": ("AzureDriver",),
        "aioassets.drivers.gcs": ("GCSDriver",),
        "aioassets.drivers.local": ("LocalDriver",),
        "aioassets.drivers.memory": ("MemoryDriver",),
        "aioassets.drivers.s3": ("S3Driver",),
        "aioassets.drivers.protocol": ("Driver",),
        "aioassets.entries": ("FileEntry",),
        "aioassets.errors": (
            "AccessDenied",
            "AioAssetsError",
            "AssetExists",
            "AssetNotFound",
            "BucketNotFound",
            "BulkUpdateError",
            "CacheError",
            "Conflict",
            "DocumentTooLarge",
            "IntegrityError",
            "InvalidName",
            "InvalidSetting",
            "InvalidSpec",
            "InvalidVersion",
            "ManagerStateError",
            "ObjectNotFound",
            "PreconditionFailed",
            "MissingCredentials",
            "NotFound",
            "PartNotFound",
            "PublicationUncertain",
            "PushContended",
            "SourceChanged",
            "SourceError",
            "SourceNotFound",
            "StoreCorrupt",
            "StoreError",
            "StoreUnavailable",
            "StoreUnsuitable",
            "UsageError",
            "VersionNotFound",
        ),
        "aioassets.leftovers": (
            "CleaningPlan",
            "CleaningResult",
            "CleaningRules",
            "Leftover",
            "LeftoverKind",
        ),
        "aioassets.manager": (
            "AssetVersions",
            "AssetsManager",
        ),
        "aioassets.manifest": (
            "Manifest",
            "Pusher",
        ),
        "aioassets.progress": (
            "BytesTransferred",
            "Event",
            "FileTransferred",
            "Progress",
            "TransferFinished",
            "TransferStarted",
        ),
        "aioassets.push": (
            "PushPlan",
            "PushResult",
        ),
        "aioassets.retrieval": ("FetchedAsset",),
        "aioassets.spec": ("AssetSpec",),
        "aioassets.verification": ("Verification",),
        "aioassets.versioning": (
            "Bump",
            "MajorMinor",
            "SimpleDate",
            "VersioningScheme",
        ),
    }.items()
    for name in names
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - names of ours


def __getattr__(name: str) -> Any:
    # Each part is imported at its first use, so that `aioassets --help` and imports stay quick.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
