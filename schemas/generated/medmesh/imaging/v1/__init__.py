"""Generated from schemas/proto by scripts/generate.py."""
