"""Pushing a version: plan, claim, upload, seal, list.

It imports neither `fetch` nor `cleanup`, and names no SDK.
"""
