"""What `orch gpus` prints: the cards of this host, and who holds them. Pure."""
