"""What only the fake has: its life (start, readiness, death) and its HTTP side."""
