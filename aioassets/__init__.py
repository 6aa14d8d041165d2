"""Versioned assets on object stores, asyncio-native and with no server of its own."""

from aioassets._version import __version__
from aioassets.dispatch import Budget, Dispatcher, RetryPolicy
from aioassets.drivers.local import LocalDriver
from aioassets.drivers.memory import MemoryDriver
from aioassets.drivers.protocol import Driver
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    AssetExists,
    AssetNotFound,
    BucketNotFound,
    BulkUpdateError,
    CacheError,
    Conflict,
    IntegrityError,
    InvalidName,
    InvalidSetting,
    InvalidSpec,
    InvalidVersion,
    ManagerStateError,
    NotFound,
    PartNotFound,
    PublicationUncertain,
    PushContended,
    SourceChanged,
    SourceError,
    SourceNotFound,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
    UsageError,
    VersionNotFound,
)
from aioassets.manager import AssetsManager, AssetVersions
from aioassets.manifest import FileEntry, Manifest, Pusher
from aioassets.progress import BytesTransferred, Event, FileTransferred, Progress, TransferFinished, TransferStarted
from aioassets.publication import PushPlan, PushResult
from aioassets.retrieval import FetchedAsset
from aioassets.spec import AssetSpec
from aioassets.versioning import Bump, MajorMinor, SimpleDate, VersioningScheme

__all__ = [
    "AccessDenied",
    "AioAssetsError",
    "AssetExists",
    "AssetNotFound",
    "AssetSpec",
    "AssetVersions",
    "AssetsManager",
    "BucketNotFound",
    "Budget",
    "BulkUpdateError",
    "Bump",
    "BytesTransferred",
    "CacheError",
    "Conflict",
    "Dispatcher",
    "Driver",
    "Event",
    "FetchedAsset",
    "FileEntry",
    "FileTransferred",
    "IntegrityError",
    "InvalidName",
    "InvalidSetting",
    "InvalidSpec",
    "InvalidVersion",
    "LocalDriver",
    "MajorMinor",
    "ManagerStateError",
    "Manifest",
    "MemoryDriver",
    "NotFound",
    "PartNotFound",
    "Progress",
    "PublicationUncertain",
    "PushContended",
    "PushPlan",
    "PushResult",
    "Pusher",
    "RetryPolicy",
    "SimpleDate",
    "SourceChanged",
    "SourceError",
    "SourceNotFound",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoreUnsuitable",
    "TransferFinished",
    "TransferStarted",
    "UsageError",
    "VersionNotFound",
    "VersioningScheme",
    "__version__",
]
