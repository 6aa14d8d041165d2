"""What asyncio lacks for this project: budget, retries, cancellation, threads, disk, clocks.

Nothing here knows assets or any store.
"""
