"""`trellis up`: a supervisor that runs a NATS server and hosts as child processes, and ends them all.

The laws of this package: whatever is started is recorded with process id and start time before anything else
happens; whatever was started ends with the supervisor, in whichever way that ends; nothing that is not in the
record is ever signalled; every wait during a stop is bounded and then the process is killed.
"""
