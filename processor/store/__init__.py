"""The local store: a cache of the status topic, one LMDB environment per partition."""
