"""The process that talks to the Hub. It is given its whole environment, one job on stdin (the token in it, so that it
is on no command line), tells its progress as JSON lines on stderr and its result as one JSON document on stdout, and
dies at once of SIGTERM: whatever came by then is kept.
"""
