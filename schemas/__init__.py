"""What is said on the mesh: subjects, errors, protobuf messages, configuration models. No input or output."""
