"""Untrained copies of a network, and what they follow: the baseline of what training made."""
