"""Withdrawing versions, and removing leftovers of interrupted pushes and fetches.

The modules in this package delete a version's content only after they have marked its claim as abandoned, or replaced
its manifest with a tombstone. They import neither `push` nor `fetch`.
"""
