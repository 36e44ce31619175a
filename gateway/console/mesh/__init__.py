"""What the console's sources are on a real mesh: streams, consumers, dead letters, sealed contents."""
