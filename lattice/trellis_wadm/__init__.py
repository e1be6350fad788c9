"""The reconciler: manifests in, a plan out, the lattice brought to what was asked."""
