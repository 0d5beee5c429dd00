"""Gathers the facts that the chain is judged by. Reads, and runs what only answers; what is broken is a fact, too."""
