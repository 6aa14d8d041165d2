"""Removing leftovers of interrupted pushes and fetches.

The modules here delete a version's content only after they have abandoned its claim. They import neither `push`
nor `fetch`.
"""
