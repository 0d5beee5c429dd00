"""Declarative deployment of vLLM: profiles and environments in YAML, reconciled with what runs."""

__version__ = "0.1.0"
