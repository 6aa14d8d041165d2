"""Documents in a store: indexes, claims and manifests. Also the probe for conditional writes.

The modules here use drivers only through their protocol, and don't transfer the content of assets.
"""
