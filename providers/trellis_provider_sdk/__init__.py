"""Write a capability provider as a Python class."""
