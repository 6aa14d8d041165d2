"""Removing leftovers of interrupted pushes and fetches.

The modules in this package delete a version's content only after they have marked its claim as abandoned. They
import neither `push` nor `fetch`.
"""
