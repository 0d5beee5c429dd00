"""Reads the catalogue of signatures that is shipped with orch."""
