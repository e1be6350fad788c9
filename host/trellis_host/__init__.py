"""The host: joins a lattice, runs components in fresh sandboxes and providers beside them."""
