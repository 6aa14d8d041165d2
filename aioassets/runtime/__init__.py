"""Infrastructure on top of asyncio: budget, retries, cancellation, threads, disk, clocks.

Modules here know neither assets nor any store.
"""
