"""The chain from the driver to torch that a start on a GPU hangs on, link by link: facts in, findings out. Pure."""
