"""A deterministic simulation of many processes that push, fetch and clean on one unreliable store.

The package under test is real, from the manager down to the dispatcher. The store, the clock, the
processes and the machines are simulated. `docs/simulation.md` describes it.
"""
