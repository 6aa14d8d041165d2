"""Removing what interrupted pushes left behind.

It deletes content only below a number that it has ended itself, and imports neither `push` nor `fetch`.
"""
