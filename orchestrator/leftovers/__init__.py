"""What orch left behind on this host: gathered as facts, which `garbage` judges, and removed. Nothing that orch did not
make is removed, and no link is followed to it."""
