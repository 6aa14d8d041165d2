"""Infrastructure on top of asyncio: budget, retries, cancellation, threads, disk, clocks.

These modules know nothing about assets or any particular store.
"""
