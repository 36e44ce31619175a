"""C-STORE: a data set is streamed into the blob store, its header is checked, it is indexed, announced, answered."""
