"""Messages of containerd's gRPC API, generated from ``contracts/containerd``; never edited by hand."""
