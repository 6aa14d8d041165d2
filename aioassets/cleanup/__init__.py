"""Removing leftovers of interrupted pushes and fetches.

It deletes content only of versions whose number it has abandoned itself, and imports neither `push` nor `fetch`.
"""
