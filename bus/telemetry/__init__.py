"""Codes, counters and logs that operators see. Patient data never enters them."""
