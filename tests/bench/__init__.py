"""What `make bench` measures: ratios within one run, never a limit in a test."""
