"""Infrastructure on top of asyncio: budget, retries, cancellation, threads, disk, clocks.

These modules know nothing about assets or any particular store.
"""

import logging

# The package is silent unless the application configures logging. All modules that log import this one.
logging.getLogger("aioassets").addHandler(logging.NullHandler())
