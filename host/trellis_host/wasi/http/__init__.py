"""`wasi:http`: the types, outgoing requests, and the serving of an incoming one."""
