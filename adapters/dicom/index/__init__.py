"""What the node knows of its instances: studies, series, instances and their blobs, in SQLite."""
