"""Events that are published later, once or again and again, sealed all the way."""
