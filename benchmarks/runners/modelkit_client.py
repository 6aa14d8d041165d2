"""modelkit's assets, as a program: `modelkit_client.py ACTION SOURCE`. modelkit's variables address the store."""

from __future__ import annotations

import sys

from modelkit.assets.manager import AssetsManager
from modelkit.assets.remote import StorageProvider

if __name__ == "__main__":
    action, source = sys.argv[1:]
    if action == "push":
        StorageProvider().new(source, "data", "0.0")
    else:
        AssetsManager().fetch_asset("data:0.0")
