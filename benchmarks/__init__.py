"""Measures aioassets beside its peers: `nox -s bench`."""
