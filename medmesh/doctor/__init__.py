"""The doctor: what is wrong with this machine, configuration, server, streams and certificates, in plain words."""
