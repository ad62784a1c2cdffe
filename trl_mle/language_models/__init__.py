"""Frozen language models: backends that answer a conversation, and a client with cache, retries and circuit breaker."""
