"""The lattice: names, types, wire formats and the client side of a Trellis mesh. Imports no other room."""
