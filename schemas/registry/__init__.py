"""What may be said on which subject: schemas by their hash, bindings of subject patterns to them. Pure."""
