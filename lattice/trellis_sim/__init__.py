"""Deterministic simulation: many hosts with the real state machines, a simulated bus, a virtual clock, one seed."""
