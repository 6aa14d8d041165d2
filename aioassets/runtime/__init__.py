"""Infrastructure on top of asyncio: budget, retries, cancellation, threads, disk, clocks.

The modules here know nothing about assets or any particular store.
"""
