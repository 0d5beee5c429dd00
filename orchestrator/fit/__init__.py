"""Whether a model fits: what its files say of it, what it takes of a card's memory, and what would make it fit. Pure.

Facts come in as values (a config.json as read, the headers of weight files, a card's memory) and figures go out, each
with where it comes from. Nothing here opens a file, asks a driver or knows a deployment.
"""
