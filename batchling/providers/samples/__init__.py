"""Plausible answers to requests, made from the request alone: for the dry run and for the embedded server.

Pure and deterministic: equal requests get equal answers. No time, no randomness, no I/O.
"""
