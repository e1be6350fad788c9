"""The fault campaign: real hosts, a real NATS and a steady load, while machines and networks break.

`python -m tests.faults [--short] [SCENARIO...]` prints what was measured against what is promised; see `__main__`.
"""
