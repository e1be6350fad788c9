"""Calls between components and providers: the seam (`api`), and its way over NATS."""
