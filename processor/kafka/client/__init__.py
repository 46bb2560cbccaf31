"""librdkafka: its options, errors and logs, and a producer with deadlines."""
