"""Benchmarks of aioassets and comparable tools: `nox -s bench`."""
