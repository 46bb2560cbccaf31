"""The Kafka edge: source, decoding, the transactional outbox, restore."""
