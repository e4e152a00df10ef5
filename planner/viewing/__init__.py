"""Runs are looked at: live, as videos, and as a page that explains itself."""
