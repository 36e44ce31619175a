"""What carries messages: NATS, its in-memory twin, and the embedded server. `protocol` is the seam."""
